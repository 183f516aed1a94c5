"""Each invariant finds what it is there for, and says which it is."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.codec import Record
from ledger.invariants import INVARIANTS, find_violations
from ledger.messages.lists import Attestor
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    Account,
    Attestation,
    Binding,
    Due,
    PendingContact,
    Queued,
    RawHeader,
    Swarm,
)
from ledger.rules.swarms import UNASSIGNED
from ledger.state import (
    ATTESTATIONS,
    CHAINLINKS,
    CONTACTS,
    DRAFT,
    HEADER,
    HISTORIES,
    NODES,
    PAYOUTS,
    POOL,
    SETS,
    State,
    due_key,
)
from tests.factory import START_MS, Network, founding, make_genesis, public

NODE = public("node")
Changes = Mapping[bytes, Record | None]
Break = Callable[[State], Changes]


@pytest.fixture(scope="module")
def state() -> State:
    """Of a network with a node in each state, one that is to leave, and an attested header."""
    rows = (*founding("leaving", exit_ms=2 * START_MS), *founding("left", exit_ms=START_MS + 1))
    network = Network(make_genesis(nodes=tuple(sorted(rows, key=lambda row: row.node))))
    network.block(network.register())
    network.end_epoch()
    network.block(network.register("queued", "bob"))
    network.block(network.register("waiting", "carol", stake=25 * 10**9))
    return network.state


def node(state: State, /, **changes: Any) -> Changes:
    """The active node with other fields."""
    return {b"n" + NODE: replace(state.one(NODES, NODE), **changes)}


def contributions(state: State, change: int) -> Changes:
    """The active node with more or less stake; the pool makes up for it."""
    only = state.one(NODES, NODE).contributions[0]
    pool = state.one(POOL)
    return {
        **node(state, contributions=(replace(only, amount=only.amount + change),)),
        b"r": replace(pool, balance=pool.balance - change),
    }


def twice(state: State) -> Changes:
    """The active node with its contribution in two halves of one account."""
    only = state.one(NODES, NODE).contributions[0]
    half = replace(only, amount=only.amount // 2)
    return node(state, contributions=(half, half))


def set_with(state: State, *added: Attestor) -> Changes:
    """The attestor set with other members."""
    sets = state.one(SETS)
    return {b"v": replace(sets, next=(*sets.next, *added))}


NOBODY = Attestor(public("nobody"), 1)
LATER = b"q" + bytes([1]) * 12

BROKEN: dict[str, tuple[str, Break]] = {
    "coin from nowhere": (
        "supply_is_conserved",
        lambda s: {b"a" + public("new"): Account(1, 0)},
    ),
    "coin lost": (
        "supply_is_conserved",
        lambda s: {b"r": replace(s.one(POOL), balance=s.one(POOL).balance - 1)},
    ),
    "supply forgotten": (
        "supply_is_conserved",
        lambda s: {b"r": replace(s.one(POOL), supply=0)},
    ),
    "active node with less stake": (
        "stakes_fit_their_state",
        lambda s: contributions(s, -1),
    ),
    "active node with more stake": ("stakes_fit_their_state", lambda s: contributions(s, 1)),
    "funded node that waits": ("stakes_fit_their_state", lambda s: node(s, state=AWAITING)),
    "state that nobody knows": ("stakes_fit_their_state", lambda s: node(s, state=99)),
    "contributor twice": ("stakes_fit_their_state", twice),
    "active node without a swarm": (
        "active_nodes_have_one_swarm",
        lambda s: {b"s" + NODE: None},
    ),
    "swarm of a node that is not active": (
        "active_nodes_have_one_swarm",
        lambda s: {b"s" + public("queued"): Swarm(5)},
    ),
    "swarm that means none": (
        "active_nodes_have_one_swarm",
        lambda s: {b"s" + NODE: Swarm(UNASSIGNED)},
    ),
    "queued node that is not in the queue": (
        "queue_holds_the_queued",
        lambda s: {b"n" + public("waiting"): replace(s.one(NODES, public("waiting")), state=2)},
    ),
    "active node in the queue": ("queue_holds_the_queued", lambda s: {LATER: Queued(NODE)}),
    "node in the queue twice": (
        "queue_holds_the_queued",
        lambda s: {LATER: Queued(public("queued"))},
    ),
    "exit forgotten": (
        "exits_and_payouts_hold_who_leaves",
        lambda s: {b"x" + due_key(2 * START_MS, public("leaving")): None},
    ),
    "exit of a node that stays": (
        "exits_and_payouts_hold_who_leaves",
        lambda s: {b"x" + due_key(2 * START_MS, NODE): Due(NODE)},
    ),
    "exit at another time": (
        "exits_and_payouts_hold_who_leaves",
        lambda s: node(s, exit_ms=START_MS),
    ),
    "payout forgotten": (
        "exits_and_payouts_hold_who_leaves",
        lambda s: {b"o" + next(s.items(PAYOUTS))[0]: None},
    ),
    "payout of an active node": (
        "exits_and_payouts_hold_who_leaves",
        lambda s: {b"o" + due_key(START_MS, NODE): Due(NODE)},
    ),
    "place among the payouts that names another node": (
        "exits_and_payouts_hold_who_leaves",
        lambda s: {b"o" + next(s.items(PAYOUTS))[0]: Due(NODE)},
    ),
    "node without a history": (
        "every_node_has_its_records",
        lambda s: {b"k" + NODE: None},
    ),
    "history of another life": (
        "every_node_has_its_records",
        lambda s: {b"k" + NODE: replace(s.one(HISTORIES, NODE), life=2)},
    ),
    "node without contact data": ("every_node_has_its_records", lambda s: {b"c" + NODE: None}),
    "key that is not bound": (
        "every_node_has_its_records",
        lambda s: {b"b" + public("node duty"): None},
    ),
    "key that is bound to another node": (
        "every_node_has_its_records",
        lambda s: {b"b" + public("node duty"): Binding(2, public("queued"))},
    ),
    "key that is bound in another role": (
        "every_node_has_its_records",
        lambda s: {b"b" + public("node duty"): Binding(3, NODE)},
    ),
    "contact data of nobody": (
        "every_node_has_its_records",
        lambda s: {b"c" + public("nobody"): s.one(CONTACTS, NODE)},
    ),
    "pending contact data of nobody": (
        "every_node_has_its_records",
        lambda s: {b"d" + public("nobody"): PendingContact(1, s.one(CONTACTS, NODE))},
    ),
    "attestation of a seat that is not there": (
        "attestations_belong_to_the_set",
        lambda s: {b"t\x03": Attestation(bytes(32), bytes(64))},
    ),
    "attestor without a hash chain": (
        "attestations_belong_to_the_set",
        lambda s: set_with(s, NOBODY),
    ),
    "hash chain lost": (
        "attestations_belong_to_the_set",
        lambda s: {b"l" + s.one(SETS).current[0].list_key: None},
    ),
    "header lost": ("header_or_draft_is_there", lambda s: {b"h": None}),
    "attestations of the epoch before": (
        "header_or_draft_is_there",
        lambda s: {b"i": RawHeader(b"")},
    ),
}


def broken(state: State, changes: Changes) -> State:
    """The state with these records written over it."""
    over = State(state._base)
    over._changed.update(changes)
    return over


def test_a_good_state_has_no_violations(state: State) -> None:
    assert find_violations(state) == []
    assert state.get(HEADER) is not None
    assert state.get(DRAFT) is None
    assert list(state.items(ATTESTATIONS)) != []
    assert list(state.items(CHAINLINKS)) != []
    assert state.one(NODES, NODE).state == ACTIVE


@pytest.mark.parametrize("name", BROKEN)
def test_violation_is_found(state: State, name: str) -> None:
    invariant, change = BROKEN[name]
    found = find_violations(broken(state, change(state)))
    assert [text for text in found if text.startswith(f"{invariant}: ")], found


def test_every_invariant_is_broken_by_some_case() -> None:
    assert {invariant for invariant, _ in BROKEN.values()} == {
        check.__name__ for check in INVARIANTS
    }
