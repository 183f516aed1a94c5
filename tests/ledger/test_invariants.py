"""Each invariant finds what it is there for, and says which it is."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from ledger import invariants
from ledger.codec import Record
from ledger.invariants import INVARIANTS, find_violations
from ledger.messages.lists import Attestor
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    DECOMMISSIONED,
    DUTY_ROLE,
    EXITED,
    LIST_ROLE,
    QUEUED,
    Account,
    Attestation,
    Binding,
    Due,
    Failing,
    PendingContact,
    Queued,
    Succession,
    Swarm,
    Verdict,
)
from ledger.messages.tables import (
    ATTESTATIONS,
    CHAINLINKS,
    CONTACTS,
    DRAFT,
    EPOCH,
    FAILING,
    HEADER,
    HISTORIES,
    NEW_KEYS,
    NODES,
    PAYOUTS,
    POOL,
    QUEUE,
    ROSTERS,
    SETS,
    STARTS,
    VERDICTS,
)
from ledger.nodes import get_total
from ledger.rules.swarms import UNASSIGNED
from ledger.state import State, due_key, epoch_key
from ledger.types import ZERO_HASH
from tests.factory import START_MS, Network, attestor_roles, founding, make_genesis, public
from tests.ledger.broken_seats import BROKEN_SEATS, GOOD, make_state
from tests.life import FAULTY, SUCCESSOR, judge, set_keys, townsfolk

NODE = public("node")
Changes = Mapping[bytes, Record | None]
Break = Callable[[State], Changes]


DOWN = public("town 0")
"""A decommissioned node."""


@pytest.fixture(scope="module")
def state() -> State:
    """Of a network with a node in each state, one that is to leave, an attested header, a verdict
    that waits, keys to come, and rewards.
    """
    rows = (
        *townsfolk(),
        *founding("leaving", exit_ms=2 * START_MS),
        *founding("left", exit_ms=START_MS + 1),
    )
    network = Network(make_genesis(nodes=tuple(sorted(rows, key=lambda row: row.node))))
    network.block(network.register(), judge(network, "town 0", FAULTY))
    network.end_epoch()
    network.block(judge(network, "town 0", FAULTY), judge(network, "town 1", FAULTY))
    network.end_epoch()
    network.end_epoch()
    network.block(network.register("queued", "bob", **attestor_roles("queued")), set_keys(network))
    network.block(network.register("waiting", "carol", stake=25 * 10**9))
    network.block(judge(network, "town 2", FAULTY))
    return network.state


def down(state: State, /, **changes: Any) -> Changes:
    """The decommissioned node with other fields."""
    return {b"n" + DOWN: replace(state.one(NODES, DOWN), **changes)}


def other(state: State, name: str, /, **changes: Any) -> Changes:
    """A node by its name with other fields."""
    return {b"n" + public(name): replace(state.one(NODES, public(name)), **changes)}


def pool(state: State, **moved: int) -> Changes:
    """The pool with so much more in its fields."""
    record = state.one(POOL)
    fields = {name: getattr(record, name) + amount for name, amount in moved.items()}
    return {b"r": replace(record, **fields)}


def overpaid(state: State) -> Changes:
    """The active node with one unit more claimed than it earned; the pool makes up for it."""
    only = state.one(NODES, NODE).contributions[0]
    claimed = get_total(state.one(NODES, NODE), state.one(POOL)) + 1
    return {
        **node(state, contributions=(replace(only, paid=claimed),)),
        **pool(state, accrued=-claimed, balance=claimed),
    }


def earns_while_down(state: State) -> Changes:
    """The decommissioned node earns, and is counted."""
    return {
        **down(state, earning=1, entry=state.one(POOL).accumulator),
        **pool(state, earning=1),
    }


def roster(state: State, epoch: int, change: Callable[[bytes], bytes]) -> Changes:
    """The roster of an epoch with other members."""
    record = state.one(ROSTERS, epoch_key(RUNNING))
    return {b"w" + epoch_key(epoch): replace(record, members=change(record.members))}


def node(state: State, /, **changes: Any) -> Changes:
    """The active node with other fields."""
    return {b"n" + NODE: replace(state.one(NODES, NODE), **changes)}


def with_member(members: bytes, name: str, operator: str) -> bytes:
    """The members of a roster with one more, in its place."""
    rows = [members[place : place + 64] for place in range(0, len(members), 64)]
    return b"".join(sorted([*rows, public(name) + public(operator)]))


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


def seated(state: State, name: str, binding: Binding | None) -> Changes:
    """The attestor set with a key of this name, which has a hash chain, and is bound so."""
    chain = state.one(CHAINLINKS, state.one(SETS).current[0].list_key)
    return {
        **set_with(state, Attestor(public(name), 1)),
        b"l" + public(name): chain,
        b"b" + public(name): binding,
    }


def unbound(role: str) -> Break:
    """A role key of the queued node that is bound to nothing."""
    return lambda _: {b"b" + public(f"queued{role}"): None}


NOBODY = Attestor(public("nobody"), 1)
LATER = b"q" + bytes([1]) * 12
RUNNING = 4
"""The epoch in which the state is."""

BROKEN: dict[str, tuple[str, Break]] = {
    "coin from nowhere": (
        "supply_is_conserved",
        lambda s: {b"a" + public("new"): Account(1, 0)},
    ),
    "coin lost": ("supply_is_conserved", lambda s: pool(s, balance=-1)),
    "supply forgotten": ("supply_is_conserved", lambda s: pool(s, supply=-1)),
    "active node with less stake": ("stakes_fit_their_state", lambda s: contributions(s, -1)),
    "active node with more stake": ("stakes_fit_their_state", lambda s: contributions(s, 1)),
    "funded node that waits": (
        "stakes_fit_their_state",
        lambda s: {
            b"q" + next(s.items(QUEUE))[0]: None,
            **other(s, "queued", state=AWAITING),
        },
    ),
    "waiting node that paid a penalty": (
        "stakes_fit_their_state",
        lambda s: other(s, "waiting", taken=1),
    ),
    "state that nobody knows": (
        "stakes_fit_their_state",
        lambda s: other(s, "waiting", state=99),
    ),
    "contributor twice": ("stakes_fit_their_state", twice),
    "rewards from nowhere": (
        "rewards_are_accounted_for",
        lambda s: node(s, accrued=s.one(NODES, NODE).accrued + 1),
    ),
    "rewards that are nobody's": (
        "rewards_are_accounted_for",
        lambda s: pool(s, accrued=1, balance=-1),
    ),
    "node that earns and is not counted": (
        "rewards_are_accounted_for",
        lambda s: pool(s, earning=-1),
    ),
    "node that is counted and earns no more": (
        "rewards_are_accounted_for",
        lambda s: node(s, earning=0, accrued=get_total(s.one(NODES, NODE), s.one(POOL))),
    ),
    "node that earns while it is down": ("rewards_are_accounted_for", earns_while_down),
    "more claimed than earned": ("rewards_are_accounted_for", overpaid),
    "active node without a swarm": (
        "active_nodes_have_one_swarm",
        lambda s: {
            b"s" + NODE: None,
            **roster(s, RUNNING, lambda members: members.replace(NODE + public("alice"), b"")),
        },
    ),
    "swarm of a node that is not active": (
        "active_nodes_have_one_swarm",
        lambda s: {
            b"s" + public("queued"): Swarm(5),
            **roster(s, RUNNING, lambda members: with_member(members, "queued", "bob")),
        },
    ),
    "swarm that means none": (
        "active_nodes_have_one_swarm",
        lambda s: {b"s" + NODE: Swarm(UNASSIGNED)},
    ),
    "queued node that is not in the queue": (
        "queue_holds_the_queued",
        lambda s: {b"q" + next(s.items(QUEUE))[0]: None},
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
    "place among the exits that names another node": (
        "exits_and_payouts_hold_who_leaves",
        lambda s: {b"x" + due_key(2 * START_MS, public("leaving")): Due(NODE)},
    ),
    "exit of a node that is down": (
        "exits_and_payouts_hold_who_leaves",
        lambda s: {
            **down(s, exit_ms=START_MS + 7),
            b"x" + due_key(START_MS + 7, DOWN): Due(DOWN),
        },
    ),
    "place among those who mature that names another node": (
        "exits_and_payouts_hold_who_leaves",
        lambda s: {b"m" + due_key(START_MS, NODE): Due(DOWN)},
    ),
    "failing node that waits to become active": (
        "failing_holds_who_is_down",
        lambda s: {b"f" + public("queued"): Failing(1, RUNNING)},
    ),
    "failing node that is gone": (
        "failing_holds_who_is_down",
        lambda s: {b"f" + public("left"): Failing(1, RUNNING)},
    ),
    "failing node that nobody knows": (
        "failing_holds_who_is_down",
        lambda s: {b"f" + public("nobody"): Failing(1, RUNNING)},
    ),
    "count of a node that is down lost": (
        "failing_holds_who_is_down",
        lambda s: {b"f" + DOWN: None},
    ),
    "roster of the epoch before lost": (
        "duty_is_of_these_epochs",
        lambda s: {b"w" + epoch_key(RUNNING - 1): None},
    ),
    "roster that is over kept": (
        "duty_is_of_these_epochs",
        lambda s: roster(s, RUNNING - 2, lambda members: members),
    ),
    "roster without an active node": (
        "duty_is_of_these_epochs",
        lambda s: roster(s, RUNNING, lambda members: members[64:]),
    ),
    "roster with a node that is down": (
        "duty_is_of_these_epochs",
        lambda s: roster(s, RUNNING, lambda members: members + DOWN + public("alice")),
    ),
    "verdict that is over kept": (
        "duty_is_of_these_epochs",
        lambda s: {b"j" + epoch_key(RUNNING - 2, NODE): Verdict(1, FAULTY)},
    ),
    "verdict on an epoch to come": (
        "duty_is_of_these_epochs",
        lambda s: {b"j" + epoch_key(RUNNING + 1, NODE): Verdict(1, FAULTY)},
    ),
    "start of an epoch lost": (
        "duty_is_of_these_epochs",
        lambda s: {b"z" + epoch_key(2): None},
    ),
    "start of the running epoch lost": (
        "duty_is_of_these_epochs",
        lambda s: {b"z" + epoch_key(RUNNING): None},
    ),
    "keys to come of nobody": (
        "every_node_has_its_records",
        lambda s: {b"u" + public("nobody"): s.one(NEW_KEYS, NODE)},
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
    "node key that is not bound": ("every_node_has_its_records", unbound("")),
    "list key that is not bound": ("every_node_has_its_records", unbound(" list")),
    "consensus key that is not bound": ("every_node_has_its_records", unbound(" consensus")),
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
    "seat of a key that is bound to nothing": (
        "attestations_belong_to_the_set",
        lambda s: seated(s, "ghost", None),
    ),
    "seat of a key that is a duty key": (
        "attestations_belong_to_the_set",
        lambda s: seated(s, "node duty", Binding(DUTY_ROLE, NODE)),
    ),
    "seat of a node that is gone": (
        "attestations_belong_to_the_set",
        lambda s: seated(s, "ghost list", Binding(LIST_ROLE, public("ghost"))),
    ),
    "hash chain lost": (
        "attestations_belong_to_the_set",
        lambda s: {b"l" + s.one(SETS).current[0].list_key: None},
    ),
    "active from a time to come": (
        "nobody_stands_ahead_of_time",
        lambda s: node(s, activated_ms=s.one(EPOCH).start_ms + 1),
    ),
    "stands from a time to come": (
        "nobody_stands_ahead_of_time",
        lambda s: node(s, stands_ms=s.one(EPOCH).start_ms + 1),
    ),
    "header lost": ("header_or_draft_is_there", lambda s: {b"h": None}),
    "attestations of the epoch before": (
        "header_or_draft_is_there",
        lambda s: {b"i": s.one(HEADER)},
    ),
    "successor that no header names": (
        "headers_name_the_successor",
        lambda s: {b"{": Succession(SUCCESSOR, s.one(EPOCH).start_ms, 0)},
    ),
    "last epoch without a successor": (
        "headers_name_the_successor",
        lambda s: {b"{": Succession(ZERO_HASH, s.one(EPOCH).start_ms, 1)},
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
    states = {node.state for _, node in state.items(NODES)}
    assert states == {AWAITING, QUEUED, ACTIVE, DECOMMISSIONED, EXITED}
    assert state.one(NODES, NODE).state == ACTIVE
    assert state.one(NODES, DOWN).state == DECOMMISSIONED
    assert state.one(EPOCH).epoch == RUNNING
    assert state.one(POOL).accrued > 0
    for name, rows in (
        ("failing", state.items(FAILING)),
        ("verdicts", state.items(VERDICTS)),
        ("new keys", state.items(NEW_KEYS)),
        ("rosters", state.items(ROSTERS)),
        ("starts", state.items(STARTS)),
    ):
        assert any(True for _ in rows), name


def violations_of(state: State, name: str) -> list[str]:
    """What is found where a case is broken."""
    if name in BROKEN_SEATS:
        state = make_state()
    _, change = (BROKEN | BROKEN_SEATS)[name]
    return find_violations(broken(state, change(state)))


@pytest.mark.parametrize("name", BROKEN | BROKEN_SEATS)
def test_violation_is_found(state: State, name: str) -> None:
    invariant, _ = (BROKEN | BROKEN_SEATS)[name]
    found = violations_of(state, name)
    assert {text.partition(": ")[0] for text in found} == {invariant}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_good_is_no_violation(name: str) -> None:
    assert find_violations(make_state()) == []
    assert find_violations(broken(make_state(), GOOD[name](make_state()))) == []


def test_a_state_that_nobody_knows_stops_no_check(state: State) -> None:
    """Though the node earns, so that two checks speak of the state it is in."""
    found = find_violations(broken(state, node(state, state=99)))
    assert any("earns while 99" in text for text in found)


def test_every_invariant_is_broken_by_some_case() -> None:
    assert {invariant for invariant, _ in (BROKEN | BROKEN_SEATS).values()} == {
        check.__name__ for check in INVARIANTS
    }


def sentences() -> Iterator[tuple[str, str]]:
    """`(invariant, pattern)` of every text that the checks can say, in the order of their code."""
    for check in INVARIANTS:
        for part in ast.walk(ast.parse(inspect.getsource(check))):
            if isinstance(part, ast.Yield):
                pieces: list[ast.expr] = getattr(part.value, "values", [part.value])
                said = [str(p.value) if isinstance(p, ast.Constant) else "" for p in pieces]
                yield check.__name__, ".*".join(map(re.escape, said))


def test_every_sentence_of_every_invariant_is_said_of_some_case(state: State) -> None:
    found = [text for name in BROKEN | BROKEN_SEATS for text in violations_of(state, name)]
    unsaid = [
        (name, said)
        for name, said in sentences()
        if not any(re.fullmatch(f"{name}: {said}", text) for text in found)
    ]
    assert unsaid == []


def test_every_check_of_the_file_is_in_the_table() -> None:
    """A check takes a state and yields texts; whoever adds one adds it to the table."""
    checks = [
        function
        for name, function in inspect.getmembers(invariants, inspect.isgeneratorfunction)
        if function.__module__ == invariants.__name__
    ]
    assert sorted(check.__name__ for check in checks) == sorted(c.__name__ for c in INVARIANTS)
    assert len(set(INVARIANTS)) == len(INVARIANTS)
