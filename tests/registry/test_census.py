"""The census is what a full count would give, whatever happened before."""

from random import Random

import pytest

from ledger.messages.state import NODE_STATES
from ledger.messages.tables import NODES
from ledger.steps import run
from registry.census import Census
from tests.factory import (
    PEOPLE,
    QUARTER,
    REQUIREMENT,
    START_MS,
    Network,
    founding,
    make_genesis,
    public,
    verify_cached,
)
from tests.registry.town import lives, make_town

NODES_NAMES = tuple(f"node {number}" for number in range(12))


def count(network: Network) -> tuple[dict[str, int], dict[bytes, list[bytes]]]:
    """Count from the records alone."""
    states = dict.fromkeys(NODE_STATES.values(), 0)
    nodes: dict[bytes, list[bytes]] = {public(who): [] for who in PEOPLE}
    for key, node in network.state.items(NODES):
        states[NODE_STATES[node.state]] += 1
        rows = node.contributions
        for account in {row.account for row in rows} | {row.beneficiary for row in rows}:
            nodes[account].append(key)
    return states, nodes


def commit(network: Network, census: Census, *raws: bytes, ms: int = 100) -> None:
    """A block as a replica takes it in."""
    run(network.chain.finalize(network.input(*raws, ms=ms)), verify_cached)
    block, batch = network.chain.begin_commit()
    network.store.write(batch)
    census.adopt(run(census.prepare(network.chain.end_commit(block))))
    network._sent.clear()


def random_operation(network: Network, chance: Random) -> bytes:
    """A transaction that may have an effect or may be refused."""
    node, who = chance.choice(NODES_NAMES), chance.choice(PEOPLE)
    match chance.randrange(4):
        case 0:
            return network.register(node, who, chance.choice([REQUIREMENT, QUARTER, 2 * QUARTER]))
        case 1 | 2:
            return network.contribute(who, chance.choice([QUARTER, 2 * QUARTER]), node)
        case _:
            return network.withdraw(who, node)


@pytest.mark.parametrize("seed", range(8))
def test_after_any_history_the_census_is_a_full_count(seed: int) -> None:
    chance = Random(seed)
    network = Network(make_genesis(nodes=founding("leaves", exit_ms=START_MS + 1)))
    network.attesting = False
    census = Census()
    census.count_all(network.chain)
    seen: set[str] = set()
    for _ in range(60):
        raws = [random_operation(network, chance) for _ in range(chance.randrange(4))]
        commit(network, census, *raws, ms=chance.choice([100, 100, 100, 10_000]))
        states, nodes = count(network)
        assert census.by_state() == states
        seen |= {state for state, number in states.items() if number}
        assert {account: census.nodes_of(account) for account in nodes} == nodes
    assert seen == {"awaiting", "queued", "active", "exited"}
    afresh = Census()
    afresh.count(network.state)
    assert afresh.by_state() == census.by_state()
    assert all(afresh.nodes_of(account) == census.nodes_of(account) for account in nodes)


def test_every_state_is_counted() -> None:
    network, census = make_town(), Census()
    census.count_all(network.chain)
    seen: set[str] = set()
    for raws, ms in lives(network):
        commit(network, census, *raws, ms=ms)
        states, _ = count(network)
        assert census.by_state() == states
        assert all(census.count_of(state) == states[name] for state, name in NODE_STATES.items())
        seen |= {state for state, number in states.items() if number}
    assert seen == set(NODE_STATES.values())


def test_a_beneficiary_has_a_part_as_long_as_his_contributor() -> None:
    network = Network()
    network.attesting = False
    census = Census()
    commit(network, census, network.register("node", "alice", QUARTER))
    commit(network, census, network.contribute("bob", QUARTER, beneficiary=public("carol")))
    assert census.nodes_of(public("carol")) == [public("node")]
    commit(network, census, network.withdraw("bob"))
    assert census.nodes_of(public("carol")) == census.nodes_of(public("bob")) == []


def test_without_nodes_there_is_a_zero_for_every_state() -> None:
    census = Census()
    census.count_all(Network().chain)
    assert census.by_state() == dict.fromkeys(NODE_STATES.values(), 0)
    assert census.nodes_of(public("alice")) == []


def test_who_withdraws_has_no_stake_there_any_more() -> None:
    network = Network()
    network.attesting = False
    census = Census()
    commit(network, census, network.register("node", "alice", QUARTER))
    commit(network, census, network.contribute("bob", QUARTER))
    assert census.nodes_of(public("bob")) == [public("node")]
    commit(network, census, network.withdraw("bob"))
    assert census.nodes_of(public("bob")) == []
    assert census.nodes_of(public("alice")) == [public("node")]
