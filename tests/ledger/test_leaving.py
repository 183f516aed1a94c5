"""Nodes of a genesis file, and how nodes leave: duty first, the stake when nobody can report."""

import pytest

from ledger.crypto import convert_to_x25519
from ledger.genesis import compute_supply
from ledger.messages.entries import unpack_columns
from ledger.messages.state import (
    ACTIVE,
    DUTY_ROLE,
    EXITED,
    NODE_ROLE,
    Binding,
    Contribution,
    KeyHistory,
)
from ledger.messages.tables import (
    BINDINGS,
    CONTACTS,
    EXITS,
    HISTORIES,
    NODES,
    PAYOUTS,
    PENDING,
    POOL,
    SWARMS,
)
from ledger.nodes import new_node
from ledger.rules.queues import exit_limit
from ledger.rules.seeds import swarm_seed
from ledger.rules.swarms import UNASSIGNED, reassign
from ledger.state import due_key
from tests.factory import (
    DAY_MS,
    EPOCH_MS,
    QUARTER,
    REQUIREMENT,
    SHORT_TIMES,
    START_MS,
    Network,
    founding,
    make_contact,
    make_genesis,
    public,
)

MANY = tuple(f"founder {number}" for number in range(40))
UNBONDING_MS = SHORT_TIMES["unbonding_ms"]


def leaving(*names: str, exit_ms: int = START_MS + 1) -> Network:
    """A network that begins with these nodes, who are all to leave."""
    return Network(make_genesis(SHORT_TIMES, nodes=founding(*names, exit_ms=exit_ms)))


def swarms(network: Network) -> dict[bytes, int]:
    return {key: row.swarm_id for key, row in network.state.items(SWARMS)}


def exited(network: Network) -> list[bytes]:
    return [key for key, node in network.state.items(NODES) if node.state == EXITED]


# ---- at the start ----


def test_founding_node_is_as_if_it_had_been_registered_and_activated() -> None:
    network = Network(make_genesis(nodes=founding("node", operator="bob")))
    key = public("node")
    assert network.node() == new_node(
        life=1,
        state=ACTIVE,
        since_ms=START_MS,
        since_height=0,
        registered_height=0,
        operator=public("bob"),
        fee=0,
        requirement=REQUIREMENT,
        contributions=(Contribution(public("bob"), public("bob"), REQUIREMENT, 0),),
        reserved=(),
        duty_key=public("node duty"),
        list_key=b"",
        list_tip=b"",
        consensus_key=b"",
        x25519=convert_to_x25519(key),
        tested_from=1,
        activated_ms=START_MS,
        payable_from_ms=START_MS + network.params.payable_ms,
        credit_ms=network.params.credit_start_ms,
    )
    state = network.state
    assert state.one(HISTORIES, key) == KeyHistory(1, 0, 0)
    assert state.one(CONTACTS, key) == make_contact()
    assert state.one(BINDINGS, key) == Binding(NODE_ROLE, key)
    assert state.one(BINDINGS, public("node duty")) == Binding(DUTY_ROLE, key)
    assert list(state.items(EXITS)) == []
    assert list(state.items(PENDING)) == []


def test_stakes_of_founding_nodes_are_part_of_the_supply() -> None:
    genesis = make_genesis(nodes=founding(*MANY))
    supply = compute_supply(genesis)
    assert supply == compute_supply(make_genesis()) + len(MANY) * REQUIREMENT
    assert Network(genesis).state.one(POOL).supply == supply


def test_first_list_holds_the_founding_nodes() -> None:
    network = Network(make_genesis(nodes=founding(*MANY)))
    assert (network.header.epoch, network.header.node_count) == (0, len(MANY))
    entries = unpack_columns(network.chain.newest_list().columns)
    assert [entry.key for entry in entries] == sorted(map(public, MANY))
    assert {entry.key: entry.swarm_id for entry in entries} == swarms(network)


def test_swarms_of_founding_nodes_follow_from_the_seed() -> None:
    genesis = make_genesis(nodes=founding(*MANY))
    newcomers = {public(name): UNASSIGNED for name in MANY}
    assert swarms(Network(genesis)) == reassign(newcomers, swarm_seed(genesis.seed))
    other = make_genesis(nodes=founding(*MANY), seed=bytes(32))
    assert swarms(Network(other)) != swarms(Network(genesis))


def test_swarms_that_the_file_names_stay_as_they_are() -> None:
    """Even where the rules would change them: that is for the first epoch's end."""
    rows = founding(*MANY[:4], swarm_id=7) + founding(*MANY[4:8], swarm_id=2**63)
    network = Network(make_genesis(nodes=tuple(sorted(rows, key=lambda row: row.node))))
    given = {row.node: row.swarm_id for row in rows}
    assert swarms(network) == given
    seed = network.end_epoch().seed
    assert swarms(network) == reassign(given, swarm_seed(seed)) != given


def test_nodes_without_a_swarm_join_those_that_the_file_names() -> None:
    rows = founding(*MANY[:8], swarm_id=7) + founding(*MANY[8:])
    genesis = make_genesis(nodes=tuple(sorted(rows, key=lambda row: row.node)))
    given = {row.node: row.swarm_id for row in rows}
    assert swarms(Network(genesis)) == reassign(given, swarm_seed(genesis.seed))


def test_keys_of_founding_nodes_are_bound() -> None:
    network = Network(make_genesis(nodes=founding("node")))
    taken = network.register("other", duty_key=public("node duty"))
    network.block(taken, codes=[36])


# ---- leaving ----


@pytest.mark.parametrize(("active", "limit"), [(0, 1), (1, 1), (199, 1), (200, 2), (10_000, 100)])
def test_limit_of_exits(active: int, limit: int) -> None:
    assert exit_limit(active) == limit


@pytest.mark.parametrize("late", [False, True])
def test_node_leaves_at_the_first_end_that_is_late_enough(late: bool) -> None:
    network = leaving("node", "stays", exit_ms=START_MS + EPOCH_MS + late)
    network.end_epoch()
    assert (network.node().state == EXITED) is not late
    network.end_epoch()
    node = network.node()
    assert node.state == EXITED
    assert node.exit_ms == START_MS + EPOCH_MS + late
    assert node.contributions[0].amount == REQUIREMENT


def test_exit_ends_duty_and_nothing_else() -> None:
    network = leaving("node")
    before, balance = network.node(), network.balance("alice")
    header = network.end_epoch()
    tip = network.chain.tip
    after = network.node()
    assert (after.since_ms, after.since_height) == (tip.time_ms, tip.height)
    assert before.contributions == after.contributions
    assert network.balance("alice") == balance
    assert header.node_count == 0
    assert swarms(network) == {}
    assert list(network.state.items(EXITS)) == []
    place = due_key(tip.time_ms + UNBONDING_MS, public("node"))
    assert [key for key, _ in network.state.items(PAYOUTS)] == [place]
    assert network.state.get(CONTACTS, public("node")) == make_contact()


def test_one_in_a_hundred_leaves_at_an_end_and_one_at_least() -> None:
    network = leaving(*MANY[:3])
    for count in (1, 2, 3):
        network.end_epoch()
        assert len(exited(network)) == count
    many = tuple(f"founder {number}" for number in range(200))
    network = leaving(*many)
    network.end_epoch()
    assert len(exited(network)) == 2


def test_who_may_leave_first_leaves_first_and_then_the_lower_key() -> None:
    first, second, third = sorted(MANY[:3], key=public)
    rows = (
        *founding(first, third, exit_ms=START_MS + 2),
        *founding(second, exit_ms=START_MS + 1),
    )
    network = Network(make_genesis(nodes=tuple(sorted(rows, key=lambda row: row.node))))
    for expected in ([second], [first, second], [first, second, third]):
        network.end_epoch()
        assert exited(network) == [public(name) for name in expected]


def test_last_node_may_leave() -> None:
    network = leaving("node")
    network.end_epoch()
    network.block(network.register("next"))
    assert network.end_epoch().node_count == 1


# ---- payout ----


@pytest.mark.parametrize("early_ms", [0, 1])
def test_stake_is_paid_out_at_the_first_end_after_unbonding(early_ms: int) -> None:
    network = leaving("node")
    balance = network.balance("alice")
    # the only node earns all that its one epoch of duty pays
    earned = network.genesis.pool * 1_510 * EPOCH_MS // (10_000 * 365 * DAY_MS)
    network.end_epoch()
    payout_ms = network.chain.tip.time_ms + UNBONDING_MS
    network.settle()
    network.block(ms=payout_ms - network.chain.tip.time_ms - early_ms)
    is_paid = not early_ms
    assert (network.state.get(NODES, public("node")) is None) is is_paid
    assert network.balance("alice") == balance + is_paid * (REQUIREMENT + earned)


def test_payout_ends_the_life_and_forgets_what_belongs_to_it() -> None:
    network = leaving("node")
    network.end_epoch()
    network.block(ms=UNBONDING_MS - 1)
    network.block(network.update_contact())
    network.end_epoch()
    key, state = public("node"), network.state
    assert state.get(NODES, key) is None
    assert state.get(CONTACTS, key) is None
    assert state.get(PENDING, key) is None
    assert list(state.items(PAYOUTS)) == []
    assert state.one(HISTORIES, key) == KeyHistory(1, 1, 0)
    assert state.one(BINDINGS, key) == Binding(NODE_ROLE, key)


def test_node_may_live_again_once_it_is_paid_out() -> None:
    network = leaving("node")
    network.end_epoch()
    network.block(network.register(life=2), codes=[34])
    network.settle()
    network.block(ms=UNBONDING_MS)
    network.block(network.register(life=1), codes=[31])
    network.block(network.register(life=2))
    assert network.node().life == 2
    network.end_epoch()
    assert network.node().state == ACTIVE


def test_everybody_gets_back_what_he_staked_and_his_part_of_the_rewards() -> None:
    network = Network(make_genesis({**SHORT_TIMES, "payable_ms": 0}))
    network.block(network.register(stake=QUARTER, operator="bob", fee=500))
    network.block(network.contribute("carol", REQUIREMENT - QUARTER))
    network.end_epoch()
    network.block(network.request_unlock("bob"))
    balances = {who: network.balance(who) for who in ("bob", "carol")}
    network.end_epoch()
    earned = network.node().accrued
    assert earned > 0
    assert network.node().state == EXITED
    network.end_epoch(late_ms=UNBONDING_MS)
    gained = {who: network.balance(who) - balances[who] for who in balances}
    part = earned * 9_500 * 3 // (10_000 * 4)
    assert gained == {"bob": QUARTER + earned - part, "carol": REQUIREMENT - QUARTER + part}
