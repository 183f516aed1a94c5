"""A network that begins with the last state of another one: what stays, and what begins anew."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import Record, encode
from ledger.crypto import sha256
from ledger.errors import REFUSALS
from ledger.history import CHUNK
from ledger.inheritance import RULES
from ledger.invariants import find_violations
from ledger.messages.evidence import Misbehaviour
from ledger.messages.genesis import COMET, REGISTRY, SOLO, GenesisAttestor
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    DECOMMISSIONED,
    QUEUED,
    Absence,
    Binding,
    Chainlink,
    EpochStart,
    EpochState,
    Failing,
    Node,
    ParamsState,
    Queued,
    Verdict,
)
from ledger.messages.tables import (
    ABSENCES,
    ACCOUNTS,
    ATTESTATIONS,
    BINDINGS,
    CHAINLINKS,
    CONTACTS,
    DRAFT,
    EPOCH,
    EXITS,
    FAILING,
    HEADER,
    HEADERS,
    HISTORIES,
    MATURES,
    NEW_KEYS,
    NODES,
    PARAMS,
    PAYOUTS,
    PENDING,
    POOL,
    PUNISHED,
    QUEUE,
    ROSTERS,
    SETS,
    STARTS,
    SUCCESSION,
    SWARMS,
    TABLES,
    VALIDATORS,
    VERDICTS,
    Table,
)
from ledger.nodes import consensus_address, get_owed
from ledger.offences.punish import is_barred
from ledger.replay import execute_block
from ledger.state import epoch_key
from ledger.store import MemoryStore
from tests.factory import (
    QUARTER,
    Network,
    attestor_roles,
    links,
    make_genesis,
    public,
    validator_of,
)
from tests.ledger.moving import (
    CAUGHT,
    DOWN,
    FIRST_QUEUED,
    FOUNDERS,
    GOING,
    GONE,
    LATER,
    NEWEST,
    OPEN,
    SECOND_QUEUED,
    SHARED,
    announce,
    everything,
    founders,
    hand_over,
    make_successor,
    move,
    succeed,
    wait,
)
from tests.ledger.scenes import SHORT, WALLET, enter, let_go, pay_out
from tests.life import header_evidence, judge, report, running, set_keys, vote_evidence

LEAVERS: Final = (GOING, LATER, GONE, CAUGHT)

ENGINES: Final = pytest.mark.parametrize("engine", [SOLO, COMET], ids=["solo", "comet"])


def rows(network: Network, table: Table[Any]) -> dict[bytes, Record]:
    """All records of a table."""
    return dict(network.state.items(table))


@pytest.fixture(scope="module")
def moved() -> tuple[Network, Network]:
    """A network at its end, and the one that began with its state; nobody changes them."""
    network, successor = everything()
    return network, succeed(successor, hand_over(network))


def last_epoch(network: Network) -> int:
    """The epoch whose end it is."""
    return network.header.epoch


# ---------------------------------------------------------------------------- table by table


def test_every_table_has_one_rule() -> None:
    assert sorted(rule.table.name for rule in RULES) == sorted(table.name for table in TABLES)


KEPT = (ACCOUNTS, POOL, HISTORIES, CONTACTS, SWARMS, EXITS, PAYOUTS, MATURES)


@pytest.mark.parametrize("table", KEPT, ids=lambda table: str(table.name))
def test_what_is_owned_and_owed_stays_to_the_byte(
    moved: tuple[Network, Network], table: Table[Any]
) -> None:
    old, new = moved
    assert rows(old, table)
    assert rows(new, table) == rows(old, table)


EMPTY = (PENDING, NEW_KEYS, ATTESTATIONS, VERDICTS, HEADER, ABSENCES, SUCCESSION)


@pytest.mark.parametrize("table", EMPTY, ids=lambda table: str(table.name))
def test_what_was_not_settled_is_not_there(
    moved: tuple[Network, Network], table: Table[Any]
) -> None:
    assert rows(moved[1], table) == {}


def test_verdicts_and_absences_begin_anew() -> None:
    network, successor = everything()
    key = public(SHARED)
    network.rewrite(
        {
            VERDICTS.letter + epoch_key(last_epoch(network), key): Verdict(1, 1),
            ABSENCES.letter + public("attestor 0"): Absence(2),
        }
    )
    assert rows(network, VERDICTS)
    assert rows(network, ABSENCES)
    new = succeed(successor, hand_over(network))
    assert rows(new, VERDICTS) == rows(new, ABSENCES) == {}


def test_nodes_keep_all_but_epochs_and_heights(moved: tuple[Network, Network]) -> None:
    old, new = moved
    last = last_epoch(old)
    assert rows(old, NODES).keys() == rows(new, NODES).keys()
    for key, before in old.state.items(NODES):
        after = new.state.one(NODES, key)
        counted = {
            "since_height": 0,
            "registered_height": 0,
            "liable_from": after.liable_from,
            "tested_from": after.tested_from,
            "former_duty_key": b"",
            "keys_epoch": 0,
        }
        assert after == replace(before, **counted)
        # who is liable, or tested, from the epoch that begins is so from its first
        assert after.liable_from == int(before.liable_from == last + 1)
        expected = {0: 0, last + 1: 1, last + 2: 2}
        assert after.tested_from == expected.get(before.tested_from, 1)


def test_each_epoch_of_a_node_was_looked_at(moved: tuple[Network, Network]) -> None:
    old, _ = moved
    following = last_epoch(old) + 1
    assert old.node(SHARED).keys_epoch == following
    assert old.node(SHARED).former_duty_key == public(f"{SHARED} duty")
    assert old.node(FIRST_QUEUED).liable_from == old.node(NEWEST).tested_from == following
    assert old.node(FIRST_QUEUED).tested_from == following + 1
    assert 0 < old.node(SHARED).tested_from < following
    assert 0 < old.node(SHARED).liable_from < following
    assert old.node(OPEN).tested_from == old.node(GOING).tested_from == 0


def test_the_queue_stays_in_order_before_who_comes_later(moved: tuple[Network, Network]) -> None:
    old, new = moved
    expected = [Queued(public(name)) for name in (FIRST_QUEUED, SECOND_QUEUED)]
    assert list(rows(old, QUEUE).values()) == expected
    places = [bytes(8) + index.to_bytes(4, "big") for index in range(2)]
    assert rows(new, QUEUE) == dict(zip(places, expected, strict=True))


def test_who_is_down_stays_down_and_runs_of_others_are_broken() -> None:
    network, successor = everything()
    key = public(SHARED)
    down = network.state.one(FAILING, public(DOWN))
    assert 0 < down.newest < last_epoch(network)
    network.rewrite(
        {
            FAILING.letter + key: Failing(1, last_epoch(network) - 1),
            FAILING.letter + public(DOWN): replace(down, count=3),
        }
    )
    new = succeed(successor, hand_over(network))
    assert rows(new, FAILING) == {public(DOWN): Failing(3, 0)}


def test_keys_that_equivocated_stay_barred(moved: tuple[Network, Network]) -> None:
    old, new = moved
    caught, voter = public(f"{CAUGHT} list"), public("town 1 duty")
    assert {key[:32] for key in rows(old, PUNISHED)} == {caught, voter}
    (penalty,) = [row for key, row in old.state.items(PUNISHED) if key[:32] == caught]
    assert rows(new, PUNISHED) == {caught + epoch_key(0): replace(penalty, height=0)}
    assert is_barred(new.state, caught)
    assert not is_barred(new.state, voter)


def test_a_key_that_was_punished_twice_is_kept_with_its_newest_penalty() -> None:
    network, successor = everything()
    caught = public(f"{CAUGHT} list")
    (place,) = [key for key in rows(network, PUNISHED) if key[:32] == caught]
    first = network.state.one(PUNISHED, place)
    later = caught + epoch_key(last_epoch(network) + 1)
    address = consensus_address(public(f"{CAUGHT} consensus"))
    network.rewrite({b"g" + later: replace(first, taken=7), b"g" + address + epoch_key(3): first})
    new = succeed(successor, hand_over(network))
    assert rows(new, PUNISHED) == {
        caught + epoch_key(0): replace(first, taken=7, height=0),
        address + epoch_key(0): replace(first, height=0),
    }
    assert is_barred(new.state, address)


def test_rules_and_epochs_are_those_of_the_file(moved: tuple[Network, Network]) -> None:
    old, new = moved
    genesis, time_ms = new.genesis, old.chain.tip.time_ms
    assert new.chain.tip.time_ms == time_ms == old.header.valid_after_ms > genesis.start_ms
    assert new.state.one(PARAMS) == ParamsState(genesis.params, time_ms, (), 0)
    assert new.state.one(EPOCH) == EpochState(1, time_ms, 0, genesis.seed)
    starts = {0: genesis.start_ms, 1: time_ms}
    assert rows(new, STARTS) == {epoch_key(e): EpochStart(ms) for e, ms in starts.items()}
    assert [*rows(new, ROSTERS)] == [epoch_key(1)]
    assert new.state.one(HEADERS).size == 0
    sets = new.state.one(SETS)
    seated = tuple(seat.list_key for seat in genesis.attestors)
    assert tuple(member.list_key for member in sets.current) == seated
    assert (sets.current, sets.changed_ms, sets.ordered) == (sets.next, 0, ())
    seats = new.state.one(VALIDATORS).seats
    assert [seat.list_key for seat in seats] == [*seated]
    assert [*rows(new, DRAFT)] == [b""]


def test_the_list_is_the_last_one_again(moved: tuple[Network, Network]) -> None:
    old, new = moved
    assert new.chain.newest_list() == old.chain.newest_list()
    before, after = old.header, new.header
    assert (after.epoch, after.height) == (0, 0)
    for field in ("node_count", "swarm_count", "list_hash", "swarm_root", "valid_after_ms"):
        assert getattr(after, field) == getattr(before, field)


def test_hash_chains_of_others_go_on(moved: tuple[Network, Network]) -> None:
    old, new = moved
    added = {public(name): Chainlink(links(public(name))[-1], 0) for name in FOUNDERS}
    assert rows(new, CHAINLINKS) == rows(old, CHAINLINKS) | added
    assert rows(old, CHAINLINKS)


def test_keys_stay_bound_and_founders_get_theirs(moved: tuple[Network, Network]) -> None:
    old, new = moved
    added: dict[bytes, Record] = {}
    for seat in new.genesis.attestors:
        listed, validates = Binding(3, seat.list_key), Binding(4, seat.list_key)
        added |= {seat.list_key: listed, seat.consensus_key: validates}
        added[consensus_address(seat.consensus_key)] = validates
    assert rows(new, BINDINGS) == rows(old, BINDINGS) | added
    assert len(added) == 3 * len(FOUNDERS)


# ----------------------------------------------------------------------------------- founders


def test_height_0_waits_for_the_start_of_the_file() -> None:
    network, successor = everything()
    later_ms = network.chain.tip.time_ms + 5
    late, _ = everything(lambda old: make_successor(old, start_ms=later_ms))
    new = succeed(make_successor(late, start_ms=later_ms), hand_over(late))
    assert new.chain.tip.time_ms == new.state.one(EPOCH).start_ms == later_ms
    assert new.header.valid_after_ms == later_ms
    assert successor.start_ms < network.chain.tip.time_ms


def of_nodes(*names: str) -> tuple[GenesisAttestor, ...]:
    """Founders with the list keys and consensus keys of nodes, beside new ones."""
    own = tuple(
        replace(founders(f"{name} list")[0], consensus_key=public(f"{name} consensus"))
        for name in names
    )
    return tuple(sorted((*own, *founders(*FOUNDERS)), key=lambda seat: seat.list_key))


def with_attestors(*seats: GenesisAttestor) -> tuple[Network, Network]:
    """A network that moves to one with these founders; a shared node has a key for every role."""
    network = Network(**SHORT)
    enter(network)
    successor = make_successor(network, attestors=seats)
    announce(network, successor)
    wait(network, 1)
    move(network, successor)
    return network, succeed(successor, hand_over(network))


def test_a_hash_chain_in_use_goes_on_where_it_was() -> None:
    old, new = with_attestors(*founders("attestor 0", *FOUNDERS))
    key = public("attestor 0")
    link = old.state.one(CHAINLINKS, key)
    assert link.accepted > 5
    assert new.state.one(CHAINLINKS, key) == link
    new.block()
    assert new.state.one(CHAINLINKS, key).accepted == link.accepted + 1
    new.end_epoch()


def test_a_new_tip_of_an_old_key_begins_a_chain() -> None:
    network = Network(**SHORT)
    seat = replace(founders("attestor 0")[0], tip=sha256(b"another chain"))
    successor = make_successor(network, attestors=(seat,))
    announce(network, successor)
    move(network, successor)
    new = succeed(successor, hand_over(network))
    assert new.state.one(CHAINLINKS, seat.list_key) == Chainlink(seat.tip, 0)


def test_stake_is_behind_a_founder_whose_key_its_node_named() -> None:
    _, new = with_attestors(*of_nodes("node"))
    assert new.state.one(BINDINGS, public("node list")) == Binding(3, public("node"))
    assert new.state.one(BINDINGS, public("node consensus")) == Binding(4, public("node"))
    assert new.node().list_key == public("node list")
    new.end_epoch()
    new.settle()
    new.block(report(new, "bob", header_evidence(new, public("node list"))))
    assert new.node().taken == new.params.staking_requirement // 5
    supply = new.state.one(POOL).supply
    new.end_epoch()
    assert new.state.one(POOL).supply == supply


def test_no_stake_is_behind_a_consensus_key_that_its_node_did_not_name() -> None:
    """Who made the file could put anybody's stake behind a key of his own."""
    _, new = with_attestors(*founders("node list", *FOUNDERS))
    key = public("node list")
    assert new.state.one(BINDINGS, key) == Binding(3, key)
    assert new.state.one(BINDINGS, validator_of(key)) == Binding(4, key)
    assert new.state.one(BINDINGS, public("node consensus")) == Binding(4, public("node"))
    node = new.node()
    assert (node.list_key, node.list_tip, node.consensus_key) == (b"", b"", b"")
    new.end_epoch()
    new.settle()
    new.block(report(new, "bob", header_evidence(new, key)))
    assert (new.node().taken, new.node().state) == (0, ACTIVE)
    assert is_barred(new.state, key)
    # it may name keys again
    named: dict[str, Any] = {
        "list_key": public("another list"),
        "list_tip": links(public("another list"))[-1],
    }
    new.block(set_keys(new, consensus_key=public("node consensus"), **named))
    new.end_epoch()
    assert new.node().list_key == public("another list")


def test_a_consensus_key_of_another_node_is_taken_from_it() -> None:
    seat = replace(founders("founder")[0], consensus_key=public("node consensus"))
    _, new = with_attestors(seat)
    assert new.state.one(BINDINGS, seat.consensus_key) == Binding(4, seat.list_key)
    assert new.state.one(BINDINGS, public("node list")) == Binding(3, public("node"))
    assert (new.node().list_key, new.node().consensus_key) == (b"", b"")


def test_a_node_is_behind_the_seat_of_the_keys_that_it_names_now() -> None:
    network = Network(**SHORT)
    enter(network)
    seats = of_nodes("node", "other")
    successor = make_successor(network, policy=REGISTRY, attestors=seats)
    announce(network, successor)
    wait(network, 2)
    named: dict[str, Any] = {
        "list_key": public("other list"),
        "list_tip": links(public("other list"))[-1],
    }
    network.block(set_keys(network, consensus_key=public("other consensus"), **named))
    move(network, successor)
    new = succeed(successor, hand_over(network))
    assert new.state.one(BINDINGS, public("other list")) == Binding(3, public("node"))
    assert new.state.one(BINDINGS, public("node list")) == Binding(3, public("node list"))
    assert new.node().consensus_key == public("other consensus")


@ENGINES
def test_a_list_key_that_its_node_has_replaced_has_no_stake(engine: int) -> None:
    network = Network(**SHORT)
    enter(network)
    (seat,) = founders("node list")
    own = public("node consensus") if engine == COMET else b""
    successor = make_successor(network, engine, attestors=(replace(seat, consensus_key=own),))
    announce(network, successor)
    wait(network, 2)
    named: dict[str, Any] = {
        "list_key": public("other list"),
        "list_tip": links(public("other list"))[-1],
    }
    network.block(set_keys(network, **named))
    move(network, successor)
    new = succeed(successor, hand_over(network))
    assert new.state.one(BINDINGS, seat.list_key) == Binding(3, seat.list_key)
    kept = b"" if engine == COMET else public("other list")
    assert new.node().list_key == kept


def test_no_stake_is_behind_a_founder_whom_no_node_named() -> None:
    old, new = with_attestors(*founders(*FOUNDERS))
    new.end_epoch()
    new.settle()
    stakes = [node.contributions for _, node in new.state.items(NODES)]
    new.block(report(new, "bob", header_evidence(new, public(FOUNDERS[0]))))
    assert [node.contributions for _, node in new.state.items(NODES)] == stakes
    assert is_barred(new.state, public(FOUNDERS[0]))
    assert not is_barred(old.state, public(FOUNDERS[0]))


def test_a_founder_whose_node_has_left_for_good_has_its_seat_without_stake() -> None:
    network = Network(**SHORT)
    enter(network)
    successor = make_successor(network, attestors=of_nodes("node"))
    announce(network, successor)
    let_go(network)
    pay_out(network)
    move(network, successor)
    new = succeed(successor, hand_over(network))
    key = public("node list")
    assert network.state.one(BINDINGS, key) == Binding(3, public("node"))
    assert new.state.one(BINDINGS, key) == Binding(3, key)
    assert not is_barred(new.state, key)
    new.end_epoch()


def test_a_bar_of_a_node_that_has_left_stays_on_the_key() -> None:
    network = Network(**SHORT)
    enter(network)
    successor = make_successor(network, attestors=of_nodes("node"))
    announce(network, successor)
    # the node's other key: the list key itself was never caught
    address = consensus_address(public("node consensus"))
    let_go(network)
    history = network.state.one(HISTORIES, public("node"))
    network.rewrite({b"k" + public("node"): replace(history, tombstoned=1)})
    pay_out(network)
    move(network, successor)
    assert not rows(network, PUNISHED)
    new = succeed(successor, hand_over(network))
    assert is_barred(new.state, public("node list"))
    assert network.state.one(BINDINGS, address) == Binding(4, public("node"))
    assert new.state.one(BINDINGS, address) == Binding(4, public("node list"))
    new.end_epoch()
    assert public("node list") not in [m.list_key for m in new.state.one(SETS).next]


def accuse(network: Network, key: bytes, time_ms: int) -> None:
    """A block with misbehaviour of a consensus key."""
    height = network.chain.tip.height
    said = encode(Misbehaviour(consensus_address(key), height, time_ms))
    network.block(misbehaviour=(said,))


def validating(*names: str, **changes: Any) -> Network:
    """A network whose founders of these names agree on blocks, without nodes."""
    rows = tuple(
        replace(seat, consensus_key=validator_of(seat.list_key)) for seat in founders(*names)
    )
    return Network(make_genesis(SHORT | changes, engine=COMET, producer=b"", attestors=rows))


def blocks_twice(network: Network, caught: GenesisAttestor) -> None:
    """Its consensus key made two blocks: that is noted under its list key too."""
    accuse(network, caught.consensus_key, network.chain.tip.time_ms)
    assert is_barred(network.state, caught.list_key)


def signs_twice(network: Network, caught: GenesisAttestor) -> None:
    """Its list key signed two headers."""
    network.block(report(network, "leo", header_evidence(network, caught.list_key)))
    assert not is_barred(network.state, consensus_address(caught.consensus_key))


def was_caught_alone(network: Network, caught: GenesisAttestor) -> None:
    """Nothing is noted but under the address of its consensus key."""
    blocks_twice(network, caught)
    key = caught.list_key
    (row,) = [place for place in rows(network, PUNISHED) if place[:-8] == key]
    network.rewrite({PUNISHED.letter + row: None})
    assert not is_barred(network.state, key)


@pytest.mark.parametrize("act", [blocks_twice, signs_twice, was_caught_alone])
def test_a_bar_without_a_node_stays_on_the_seat_that_has_the_consensus_key(
    act: Callable[[Network, GenesisAttestor], None],
) -> None:
    network = validating(*FOUNDERS)
    (caught, *_), others = network.genesis.attestors, founders("a", "b", "c")
    taken = replace(founders("fresh list key")[0], consensus_key=caught.consensus_key)
    seats = tuple(sorted((taken, *others), key=lambda seat: seat.list_key))
    successor = make_successor(network, attestors=seats)
    announce(network, successor)
    network.end_epoch()
    network.block()
    act(network, caught)
    move(network, successor)
    new = succeed(successor, hand_over(network))
    assert is_barred(new.state, taken.list_key)
    assert [is_barred(new.state, seat.list_key) for seat in others] == [False] * 3
    new.end_epoch()
    assert taken.list_key not in [m.list_key for m in new.state.one(SETS).next]


def test_a_consensus_key_that_was_not_caught_bars_nobody() -> None:
    network = validating(*FOUNDERS)
    caught, clean = network.genesis.attestors[:2]
    taken = replace(founders("fresh list key")[0], consensus_key=clean.consensus_key)
    successor = make_successor(network, attestors=(taken,))
    announce(network, successor)
    network.block()
    accuse(network, caught.consensus_key, network.chain.tip.time_ms)
    move(network, successor)
    new = succeed(successor, hand_over(network))
    assert not is_barred(new.state, taken.list_key)
    assert is_barred(new.state, caught.list_key)


def test_two_blocks_of_height_1_cost_a_seat() -> None:
    """An engine gives its first block the time of the file, which is before height 0 here."""
    network, successor = everything()
    new = succeed(successor, hand_over(network))
    assert new.genesis.start_ms < new.chain.tip.time_ms
    first, second = new.genesis.attestors[:2]
    new.block()
    accuse(new, first.consensus_key, new.genesis.start_ms - 1)
    assert not is_barred(new.state, first.list_key)
    accuse(new, first.consensus_key, new.genesis.start_ms)
    assert is_barred(new.state, first.list_key)
    # so is what was done between the two times
    accuse(new, second.consensus_key, new.genesis.start_ms + 1)
    assert is_barred(new.state, second.list_key)


def test_no_stake_is_behind_a_founder_whose_node_only_waits() -> None:
    """It could take its stake back at any time, and keep the seat."""
    network = Network(**SHORT, activation_floor=1, activation_share=0)
    successor = make_successor(network, attestors=of_nodes("late", "open"))
    announce(network, successor)
    wait(network, 1)
    network.block(
        network.register("sooner", "alice"),
        network.register("late", "bob", **attestor_roles("late")),
        network.register("open", "carol", QUARTER, **attestor_roles("open")),
    )
    move(network, successor)
    assert [network.node(name).state for name in ("late", "open")] == [QUEUED, AWAITING]
    new = succeed(successor, hand_over(network))
    for name in ("late", "open"):
        listed, key = public(f"{name} list"), public(f"{name} consensus")
        assert new.state.one(BINDINGS, listed) == Binding(3, listed)
        assert new.state.one(BINDINGS, key) == Binding(4, listed)
        node = new.node(name)
        assert (node.list_key, node.list_tip, node.consensus_key) == (b"", b"", b"")
    # it leaves with all that it has, and the seat stays what it is
    new.block(new.request_unlock("bob", "late"))
    new.end_epoch()
    assert new.state.get(NODES, public("late")) is None
    assert find_violations(new.state) == []


@pytest.mark.parametrize("accepted", [0, 2, 4])
def test_a_tip_out_of_the_middle_of_a_chain_does_not_reset_it(accepted: int) -> None:
    """Up to its newest value all of a chain is public."""
    network = Network(**SHORT)
    key = public("attestor 0")
    while network.state.one(CHAINLINKS, key).accepted < accepted:
        network.end_epoch()
    tip = network.state.one(CHAINLINKS, key).value
    successor = make_successor(network, attestors=(replace(founders("attestor 0")[0], tip=tip),))
    announce(network, successor)
    move(network, successor)
    link = network.state.one(CHAINLINKS, key)
    assert link.accepted > accepted
    new = succeed(successor, hand_over(network))
    assert new.state.one(CHAINLINKS, key) == link
    new.block()
    assert new.state.one(CHAINLINKS, key).accepted == link.accepted + 1


def test_who_stands_for_a_seat_stands_as_long_as_before() -> None:
    network = Network(**SHORT)
    enter(network)
    network.block(network.register("other", "bob"))
    network.end_epoch()
    network.block(set_keys(network, "other", 1, "other duty", **attestor_roles("other")))
    successor = make_successor(network)
    announce(network, successor)
    network.end_epoch()
    stands_ms = network.node("other").stands_ms
    assert stands_ms == network.chain.tip.time_ms
    move(network, successor)
    new = succeed(successor, hand_over(network))
    assert new.node("other").stands_ms == stands_ms
    assert new.node("other").list_key == public("other list")


def test_a_founder_whose_node_is_leaving_has_its_seat_at_first() -> None:
    network = Network(**SHORT)
    enter(network)
    successor = make_successor(network, attestors=of_nodes("node"))
    announce(network, successor)
    wait(network, 2)
    network.block(network.request_unlock())
    move(network, successor)
    new = succeed(successor, hand_over(network))
    listed = public("node list")
    assert listed in [member.list_key for member in new.state.one(SETS).current]
    new.end_epoch()
    assert listed not in [member.list_key for member in new.state.one(SETS).next]


# -------------------------------------------------------------------------------- it goes on


def as_moved(node: Node, other: Node) -> Node:
    """A node of the network that went on, with what the other counts in its own way."""
    names = (
        *("since_height", "registered_height", "liable_from", "tested_from"),
        *("former_duty_key", "keys_epoch"),
    )
    return replace(node, **{name: getattr(other, name) for name in names})


@ENGINES
def test_everybody_is_paid_what_he_would_have_been_paid(engine: int) -> None:
    """Epoch by epoch, beside the same chain as it goes on since nobody signs its last header."""
    old, successor = everything(lambda network: make_successor(network, engine), is_well=True)
    new = succeed(successor, hand_over(old))
    old.attesting = False
    last = last_epoch(old)
    seen: set[tuple[str, int]] = set()
    while any(old.state.get(NODES, public(name)) for name in LEAVERS):
        old.end_epoch()
        new.block()
        new.block(ms=old.chain.tip.time_ms - new.chain.tip.time_ms)
        assert new.chain.tip.time_ms == old.chain.tip.time_ms
        assert new.header.epoch == old.header.epoch - last
        for table in (ACCOUNTS, POOL, EXITS, PAYOUTS, MATURES, CONTACTS, HISTORIES):
            assert rows(new, table) == rows(old, table), table.name
        for key, node in old.state.items(NODES):
            after = new.state.one(NODES, key)
            assert as_moved(node, after) == after
            assert get_owed(after, new.state.one(POOL)) == get_owed(node, old.state.one(POOL))
            seen.add((node.operator.hex(), node.state))
        assert rows(new, NODES).keys() == rows(old, NODES).keys()
        assert new.chain.newest_list().node_count == old.chain.newest_list().node_count
    assert {state for _, state in seen} >= {ACTIVE, QUEUED}
    owed = get_owed(old.node(SHARED), old.state.one(POOL))
    assert all(owed)
    before = {who: new.balance(who) for who in ("alice", "bob", WALLET)}
    new.block(*(new.claim_rewards(who) for who in ("alice", "bob", "carol")))
    fee = new.params.minimum_fee
    paid = [new.balance(who) - before[who] for who in ("alice", "bob", WALLET)]
    assert paid == [owed[0] - fee, owed[1] - fee, owed[2]]


@ENGINES
def test_everybody_goes_on_with_what_he_has(engine: int) -> None:
    old, successor = everything(lambda network: make_successor(network, engine))
    new = succeed(successor, hand_over(old))
    supply = new.state.one(POOL).supply
    for who in ("alice", "bob"):
        assert new.state.account(public(who)) == old.state.account(public(who))
    # a reserved place is kept, who waits can be funded, and a node that is down comes back
    assert new.node(OPEN).reserved == old.node(OPEN).reserved
    need = new.params.staking_requirement - 2 * QUARTER
    new.block(
        new.transfer("alice", "bob"),
        new.contribute("grace", QUARTER, OPEN),
        new.contribute("heidi", need, OPEN),
        judge(new, DOWN),
    )
    assert new.node(OPEN).state == QUEUED
    assert [row.node for _, row in new.state.items(QUEUE)] == [
        public(name) for name in (FIRST_QUEUED, SECOND_QUEUED, OPEN)
    ]
    new.end_epoch()
    assert new.node(FIRST_QUEUED).state == ACTIVE
    assert new.node(SECOND_QUEUED).state == QUEUED
    new.end_epoch()
    assert new.node(DOWN).state == ACTIVE
    new.end_epoch()
    assert new.node(OPEN).state == ACTIVE
    new.end_epoch(late_ms=new.params.lock_ms)
    new.end_epoch()
    assert not [name for name in LEAVERS if new.state.get(NODES, public(name))]
    assert new.state.one(POOL).supply == supply == old.state.one(POOL).supply


def test_a_new_life_begins_and_ends_where_the_old_one_was_lived() -> None:
    """A node that left there comes here in its next life, earns, and takes all of it with it."""
    old, successor = everything(is_well=True)
    new = succeed(successor, hand_over(old))
    assert old.node(GONE).life == 1
    new.end_epoch(late_ms=new.params.lock_ms)
    new.end_epoch()
    assert new.state.get(NODES, public(GONE)) is None
    before, pool = new.balance("leo"), new.state.one(POOL)
    new.block(new.register(GONE, "leo", life=2, duty_key=public("another duty")))
    # those who wait from before come first
    while new.node(GONE).state == QUEUED:
        new.end_epoch()
    for _ in range(4):
        new.end_epoch()
    node = new.node(GONE)
    assert (node.life, node.state, node.earning) == (2, ACTIVE, 1)
    new.block(new.request_unlock("leo", GONE, life=2))
    new.end_epoch()
    earned = new.node(GONE).accrued
    assert earned > 0
    new.end_epoch(late_ms=new.params.unbonding_ms)
    assert new.state.get(NODES, public(GONE)) is None
    assert new.balance("leo") == before + earned - 2 * new.params.minimum_fee
    assert new.state.one(POOL).supply == pool.supply


def test_nobody_is_removed_in_the_time_of_grace() -> None:
    old, successor = everything()
    new = succeed(successor, hand_over(old))
    count = new.state.one(FAILING, public(DOWN)).count
    grace_ends = new.chain.tip.time_ms + new.params.grace_ms
    while new.chain.tip.time_ms + new.params.epoch_ms < grace_ends:
        new.block(judge(new, DOWN, 1), judge(new, SHARED, 1))
        new.end_epoch()
    assert running(new) > 3
    assert new.node(SHARED).state == ACTIVE
    assert new.node(DOWN).state == DECOMMISSIONED
    assert new.state.one(FAILING, public(DOWN)).count == count


def test_evidence_of_the_predecessor_proves_nothing_here() -> None:
    old, successor = everything()
    votes, headers = vote_evidence(old, "town 2"), header_evidence(old, public("attestor 0"))
    new = succeed(successor, hand_over(old))
    bad = REFUSALS["bad_signature"].number
    for evidence in (votes, headers):
        new.block(report(new, "bob", evidence), codes=[bad])
    assert {key[:32] for key in rows(new, PUNISHED)} == {public(f"{CAUGHT} list")}


def test_transactions_of_the_predecessor_are_none_of_this_network() -> None:
    old, successor = everything()
    sent = old.transfer("alice", "bob", nonce=old.state.account(public("alice")).nonce)
    new = succeed(successor, hand_over(old))
    new.block(sent, codes=[REFUSALS["bad_signature"].number])


def test_a_network_moves_again() -> None:
    first, successor = everything()
    second = succeed(successor, hand_over(first))
    following = make_successor(second, SOLO, name=b"test-net-3", attestors=founders("attestor 0"))
    announce(second, following)
    move(second, following)
    third = succeed(following, hand_over(second))
    assert third.state.one(POOL) == second.state.one(POOL)
    assert third.state.one(POOL).supply == first.state.one(POOL).supply
    assert rows(third, SWARMS) == rows(second, SWARMS)
    assert third.state.get(VALIDATORS) is None
    third.end_epoch()


# ------------------------------------------------------------------------------------ the chain


def test_replicas_that_inherit_agree_and_open_again() -> None:
    old, successor = everything()
    inheritance = hand_over(old)
    new = succeed(successor, inheritance)
    new.block(new.transfer("alice", "bob"))
    new.end_epoch()
    beside = Chain(MemoryStore(), new.raw)
    beside.init(inheritance)
    for block in new.blocks:
        execute_block(beside, block)
    assert beside.tip == new.chain.tip
    assert new.reopen().tip == beside.tip
    # who is initialised wants nothing any more
    new.chain.init()
    assert find_violations(new.state) == []


def test_how_the_state_was_cut_is_nothing() -> None:
    old, successor = everything()
    inheritance = hand_over(old)
    records = [row for chunk in inheritance.chunks for row in CHUNK.decode(chunk).records]
    pieces = tuple(encode(((row,),)) for row in records)
    other = succeed(successor, inheritance._replace(chunks=pieces))
    assert other.chain.tip == succeed(successor, inheritance).chain.tip


def test_consensus_keys_of_founders_are_in_force() -> None:
    old, successor = everything()
    new = succeed(successor, hand_over(old))
    keys = [validator_of(seat.list_key) for seat in successor.attestors]
    assert [seat.consensus_key for seat in new.state.one(VALIDATORS).seats] == keys
