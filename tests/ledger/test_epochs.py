"""Epochs: when they end, and what an end changes."""

from collections.abc import Sequence
from hashlib import sha256

import pytest

from ledger import lists as lists_of_ledger
from ledger import state as state_of_ledger
from ledger.epochs import (
    EPOCH_STEPS,
    activations,
    begin,
    changes,
    ending,
    leaving,
    rewards,
    verdicts,
)
from ledger.lists import build_list
from ledger.messages.entries import unpack_columns
from ledger.messages.state import ACTIVE, QUEUED
from ledger.messages.tables import CONTACTS, EPOCH, NODES, PENDING, POOL, QUEUE, SETS, SWARMS
from ledger.rules.swarms import MAX_ID
from ledger.steps import run
from tests.factory import (
    EPOCH_MS,
    FEE,
    START_MS,
    Network,
    links,
    make_contact,
    make_genesis,
    next_seed,
    public,
    verify_cached,
)


def queued_nodes(network: Network, *rows: tuple[str, str]) -> None:
    """Register `(node, operator)` in this order, all in one block."""
    network.block(*[network.register(node, operator) for node, operator in rows])


def active_nodes(network: Network) -> list[str]:
    """The names of the active nodes, for nodes that are called `node <n>`."""
    names = {public(f"node {number}"): f"node {number}" for number in range(100)}
    active = [key for key, node in network.state.items(NODES) if node.state == ACTIVE]
    return sorted(names[key] for key in active)


def numbers(names: Sequence[str]) -> list[int]:
    return sorted(int(name.split()[1]) for name in names)


# ---- when an epoch ends ----


@pytest.mark.parametrize(("ms", "ends"), [(EPOCH_MS - 1, False), (EPOCH_MS, True)])
def test_epoch_ends_with_the_first_block_that_is_late_enough(ms: int, ends: bool) -> None:
    network = Network()
    network.block(ms=100)
    assert network.block(ms=ms - 100).ended_epoch is ends
    assert network.state.one(EPOCH).epoch == (2 if ends else 1)


def test_next_epoch_starts_with_the_last_block() -> None:
    network = Network()
    network.end_epoch(late_ms=300)
    epoch = network.state.one(EPOCH)
    assert epoch.start_ms == START_MS + EPOCH_MS + 300
    assert epoch.start_height == network.chain.tip.height
    assert not network.block(ms=EPOCH_MS - 1).ended_epoch
    assert network.block(ms=1).ended_epoch


def test_a_halt_makes_one_long_epoch() -> None:
    network = Network()
    network.end_epoch(late_ms=1_000 * EPOCH_MS)
    assert network.state.one(EPOCH).epoch == 2
    assert network.header.epoch == 1
    assert not network.block().ended_epoch
    network.end_epoch()
    assert network.state.one(EPOCH).epoch == 3


def test_an_epoch_may_have_one_block() -> None:
    network = Network()
    for epoch in range(1, 5):
        assert network.block(ms=EPOCH_MS).ended_epoch
        assert network.header.epoch == epoch
        assert network.header.height == epoch == network.chain.tip.height


def test_the_clock_of_epochs_is_that_of_blocks_and_not_their_number() -> None:
    network = Network()
    for _ in range(500):
        assert not network.block(ms=1).ended_epoch


def test_steps_of_an_end() -> None:
    assert [step.__name__ for step in EPOCH_STEPS] == [
        "apply_seed",
        "freeze_attestations",
        "apply_verdicts",
        "pay_rewards",
        "apply_exits",
        "apply_payouts",
        "apply_contacts",
        "apply_keys",
        "apply_activations",
        "apply_swarms",
        "apply_attestors",
        "apply_validators",
        "apply_params",
        "forget_absences",
        "write_roster",
        "write_start",
    ]


# ---- who becomes active ----


def test_queued_nodes_become_active_at_the_end_and_not_before() -> None:
    network = Network()
    queued_nodes(network, ("node 0", "alice"))
    network.block(ms=EPOCH_MS - 200)
    assert network.node("node 0").state == QUEUED
    assert list(network.state.items(SWARMS)) == []
    network.end_epoch()
    node = network.node("node 0")
    assert node.state == ACTIVE
    assert node.since_ms == network.chain.tip.time_ms
    assert node.since_height == network.chain.tip.height
    assert list(network.state.items(QUEUE)) == []


def test_operators_take_turns() -> None:
    network = Network(activation_floor=2, activation_share=0)
    queued_nodes(
        network,
        *(("node 1", "alice"), ("node 2", "alice"), ("node 3", "alice")),
        *(("node 4", "bob"), ("node 5", "bob"), ("node 6", "carol")),
    )
    network.end_epoch()
    assert numbers(active_nodes(network)) == [1, 4]
    # turns start anew with those that are left: alice's next, bob's next, carol's first
    network.end_epoch()
    assert numbers(active_nodes(network)) == [1, 2, 4, 5]
    network.end_epoch()
    assert numbers(active_nodes(network)) == [1, 2, 3, 4, 5, 6]


def test_queue_goes_by_height_and_then_by_place_in_the_block() -> None:
    network = Network(activation_floor=1, activation_share=0)
    order = ["node 3", "node 1", "node 2"]
    people = dict(zip(order, ("alice", "bob", "carol"), strict=True))
    network.block(network.register(order[0], people[order[0]]))
    queued_nodes(network, *[(name, people[name]) for name in order[1:]])
    for count in range(1, 4):
        network.end_epoch()
        assert active_nodes(network) == sorted(order[:count])


def test_nodes_that_wait_for_stake_are_passed_over() -> None:
    network = Network()
    network.block(network.register("node 1", stake=network.params.staking_requirement - 1))
    queued_nodes(network, ("node 2", "bob"))
    network.end_epoch()
    assert active_nodes(network) == ["node 2"]


def test_limit_grows_with_the_active_nodes() -> None:
    network = Network(activation_floor=4, activation_share=5_000)
    people = ("alice", "bob", "carol", "dave")
    for start in (0, 12):
        queued_nodes(network, *[(f"node {start + i}", people[i % 4]) for i in range(12)])
    counts = []
    for _ in range(5):
        network.end_epoch()
        counts.append(len(active_nodes(network)))
    assert counts == [4, 8, 12, 18, 24]


def test_every_active_node_has_a_swarm_and_nobody_else() -> None:
    network = Network(activation_floor=5, activation_share=0)
    queued_nodes(network, *[(f"node {i}", "alice") for i in range(8)])
    for expected in (5, 8):
        network.end_epoch()
        swarms = dict(network.state.items(SWARMS))
        active = [key for key, node in network.state.items(NODES) if node.state == ACTIVE]
        assert sorted(swarms) == active
        assert len(active) == expected
        assert all(0 <= swarm.swarm_id <= MAX_ID for swarm in swarms.values())


# ---- contact data ----


def test_contact_data_changes_at_the_end_and_not_before() -> None:
    network = Network()
    network.block(network.register())
    network.end_epoch()
    before = network.chain.newest_list()
    network.block(network.update_contact(sequence=1, contact=make_contact(77)))
    network.block(network.update_contact(sequence=2, contact=make_contact(78)))
    network.block(ms=EPOCH_MS - 1_000)
    assert network.state.one(CONTACTS, public("node")) == make_contact(8)
    assert network.chain.newest_list() == before == run(build_list(network.state))
    header = network.end_epoch()
    assert network.state.one(CONTACTS, public("node")) == make_contact(78)
    assert list(network.state.items(PENDING)) == []
    columns = network.chain.newest_list().columns
    assert [entry.contact for entry in unpack_columns(columns)] == [make_contact(78)]
    assert header.list_hash == sha256(columns).digest()


def test_contact_data_of_a_node_that_is_not_active_changes_too() -> None:
    network = Network()
    network.block(network.register(stake=network.params.staking_requirement - 1))
    network.block(network.update_contact(contact=make_contact(77)))
    network.end_epoch()
    assert network.state.one(CONTACTS, public("node")) == make_contact(77)


def test_limit_of_contact_changes_begins_anew_each_epoch() -> None:
    network = Network()
    network.block(network.register())
    for epoch in range(3):
        for change in (1, 2):
            network.block(network.update_contact(sequence=2 * epoch + change))
        network.end_epoch()


# ---- the seed ----


def test_seed_follows_from_the_reveals_in_order_of_seats() -> None:
    network = Network()
    network.attesting = False
    first = network.genesis.seed
    assert network.header.seed == first
    chains = [links(seat.list_key) for seat in network.state.one(SETS).current]

    # epoch 1: seats 2 and 0 attest, in this order
    network.block(network.attest(2), network.attest(0))
    second = next_seed(first, (0, chains[0][-2]), (2, chains[2][-2]))
    assert network.end_epoch().seed == second

    # epoch 2: nobody does
    third = next_seed(second)
    assert network.end_epoch().seed == third

    # epoch 3: all do, each from where its own chain is
    network.block()
    network.block(network.attest(1))
    network.block(network.attest(2), network.attest(0))
    fourth = next_seed(third, (0, chains[0][-3]), (1, chains[1][-2]), (2, chains[2][-3]))
    assert network.end_epoch().seed == fourth
    assert network.state.one(EPOCH).seed == fourth


def test_transactions_do_not_move_the_seed() -> None:
    one, other = Network(), Network()
    other.block(other.transfer("alice", "bob"))
    assert one.end_epoch().seed == other.end_epoch().seed


# ---- what an end writes ----


def written_at_the_end(network: Network) -> list[bytes]:
    """The store keys of the state that the block at the end of the running epoch writes."""
    network.settle()
    run(network.chain.finalize(network.input(ms=EPOCH_MS)), verify_cached)
    _, batch = network.chain.begin_commit()
    return sorted(key for key in batch if key[:1].islower())


def always_written(network: Network) -> list[bytes]:
    """What every end writes, however many nodes there are: pool, roster, start, draft, epoch."""
    epoch = network.state.one(EPOCH).epoch
    numbers = [
        b"w" + (epoch - 1).to_bytes(8, "big"),
        b"w" + (epoch + 1).to_bytes(8, "big"),
        b"z" + (epoch + 1).to_bytes(8, "big"),
    ]
    return sorted([b"e", b"i", b"r", *numbers, *[b"t" + bytes([index]) for index in range(3)]])


def test_an_end_writes_what_changed_and_no_more() -> None:
    network = Network(payable_ms=0)
    queued_nodes(network, *[(f"node {i}", "alice") for i in range(8)])
    network.end_epoch()
    assert written_at_the_end(network) == always_written(network)
    network.block(network.register("node 8", "bob"), network.update_contact("node 1"))
    network.block()
    moved = written_at_the_end(network)
    node, changed = public("node 8"), public("node 1")
    others = {b"n" + node, b"c" + changed, b"d" + changed}
    assert set(moved) > {*always_written(network), *others}
    # the rest is the place in the queue, and swarms
    rest = [key for key in moved if key not in {*always_written(network), *others}]
    assert sorted({key[:1] for key in rest}) == [b"q", b"s"]
    assert b"s" + node in rest


def test_pauses_change_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    queued_nodes(network, *[(f"node {i}", "alice") for i in range(12)])
    network.block(*[network.update_contact(f"node {i}") for i in range(12)])
    network.settle()
    block = network.input(ms=EPOCH_MS)
    few = len(list(network.chain.finalize(block)))
    root = network.chain.header().state_root
    for module in (activations, changes, leaving, rewards, verdicts):
        monkeypatch.setattr(module, "PAUSE_RECORDS", 5)
    for module in (activations, begin, ending):
        monkeypatch.setattr(module, "PAUSE_LOOKS", 5)
    monkeypatch.setattr(lists_of_ledger, "PAUSE_NODES", 5)
    monkeypatch.setattr(state_of_ledger, "PAUSE_CHANGES", 5)
    monkeypatch.setattr(state_of_ledger, "PAUSE_LEAVES", 5)
    network.reopen()
    many = len(list(network.chain.finalize(block)))
    assert many >= few + 8
    assert network.chain.header().state_root == root


# ---- money ----


def test_fees_go_to_the_pool() -> None:
    network = Network()
    network.block(network.transfer("alice", "bob"), network.transfer("bob", "carol", fee=7 * FEE))
    assert network.state.one(POOL).balance == network.genesis.pool + 8 * FEE


def test_an_end_moves_money_from_the_pool_to_the_rewards_that_wait_and_nowhere_else() -> None:
    network = Network()
    queued_nodes(network, ("node 1", "alice"))
    before = [network.balance(name) for name in ("alice", "bob")]
    pool = network.state.one(POOL)
    for _ in range(3):
        network.end_epoch()
    assert [network.balance(name) for name in ("alice", "bob")] == before
    after = network.state.one(POOL)
    assert (after.supply, after.balance + after.accrued) == (pool.supply, pool.balance)
    assert 0 == pool.accrued < after.accrued


def test_a_network_without_accounts_lives() -> None:
    network = Network(make_genesis(accounts=(), pool=0))
    for _ in range(3):
        network.end_epoch()
    assert network.header.node_count == 0
