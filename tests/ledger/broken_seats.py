"""What breaks the invariants of seats, where validators agree and the registry fills the seats."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from msgspec.structs import replace

from ledger.codec import Record
from ledger.messages.genesis import COMET, FIXED, REGISTRY
from ledger.messages.lists import Attestor
from ledger.messages.state import CONSENSUS_ROLE, Absence, Binding, Validator, Validators
from ledger.messages.tables import EPOCH, NODES, SETS, VALIDATORS
from ledger.state import State
from tests.factory import Network, attestor_roles, make_genesis, public

Changes = Mapping[bytes, Record | None]
Break = Callable[[State], Changes]


@cache
def make_state() -> State:
    """Of a network in which a node with every key came for a founder, and one is to come."""
    params = {"founders_until": 2, "set_change_ms": 0}
    network = Network(make_genesis(params, engine=COMET, producer=b"", policy=REGISTRY))
    for name in ("node", "node 2"):
        network.block(network.register(name, **attestor_roles(name)))
        network.end_epoch()
    network.end_epoch()
    sets = network.state.one(SETS)
    assert public("node list") in [seat.list_key for seat in sets.current]
    assert public("node 2 list") in [seat.list_key for seat in sets.next]
    return network.state


def with_sets(state: State, **changes: Any) -> Changes:
    """The sets with other fields."""
    return {b"v": replace(state.one(SETS), **changes)}


def with_next(state: State, change: Callable[[tuple[Attestor, ...]], Any]) -> Changes:
    """Another next set."""
    return with_sets(state, next=tuple(change(state.one(SETS).next)))


def with_validators(
    state: State, change: Callable[[tuple[Validator, ...]], tuple[Validator, ...]]
) -> Changes:
    """Other validators."""
    return {b"|": Validators(change(state.one(VALIDATORS).seats))}


def keyless(state: State) -> Changes:
    """The node that is to come names no consensus key."""
    key = public("node 2")
    return {b"n" + key: replace(state.one(NODES, key), consensus_key=b"")}


def bound_elsewhere(state: State) -> Changes:
    """The consensus key of a founder is bound to somebody else."""
    seats = state.one(VALIDATORS).seats
    key = next(seat.consensus_key for seat in seats if seat.list_key == founder(state))
    return {b"b" + key: Binding(CONSENSUS_ROLE, public("somebody"))}


def founder(state: State) -> bytes:
    """The list key of a founder that has a seat."""
    node = public("node list")
    return next(seat.list_key for seat in state.one(SETS).current if seat.list_key != node)


BROKEN_SEATS: dict[str, tuple[str, Break]] = {
    "validator of a seat lost": (
        "validators_are_the_seats",
        lambda s: with_validators(s, lambda seats: seats[1:]),
    ),
    "validators in another order": (
        "validators_are_the_seats",
        lambda s: with_validators(s, lambda seats: seats[::-1]),
    ),
    "consensus key twice": (
        "validators_are_the_seats",
        lambda s: with_validators(
            s, lambda seats: (replace(seats[0], consensus_key=seats[1].consensus_key), *seats[1:])
        ),
    ),
    "consensus key of somebody else": ("validators_are_the_seats", bound_elsewhere),
    "seat to come without a consensus key": ("validators_are_the_seats", keyless),
    "seat to come with another weight": (
        "turns_are_equal",
        lambda s: with_next(s, lambda seats: (replace(seats[0], weight=2), *seats[1:])),
    ),
    "seat with another weight": (
        "turns_are_equal",
        lambda s: with_sets(
            s, current=tuple(replace(seat, weight=2) for seat in s.one(SETS).current)
        ),
    ),
    "seat twice": (
        "turns_are_equal",
        lambda s: with_next(s, lambda seats: (seats[0], *seats)),
    ),
    "absence of no headers": (
        "turns_are_equal",
        lambda s: {b"}" + founder(s): Absence(0)},
    ),
    "absence of who has no seat": (
        "turns_are_equal",
        lambda s: {b"}" + public("node 2 list"): Absence(s.params().absences_most)},
    ),
    "absence where attestors order the set": (
        "turns_are_equal",
        lambda s: {
            b"}" + founder(s): Absence(1),
            **with_sets(s, policy=FIXED),
        },
    ),
}

GOOD: dict[str, Break] = {
    "node that stands from the last end on": lambda s: {
        b"n" + public("node"): replace(
            s.one(NODES, public("node")), stands_ms=s.one(EPOCH).start_ms
        )
    },
    "seat that missed a header": lambda s: {b"}" + founder(s): Absence(1)},
    "key that lost its seat": lambda s: {
        b"}" + public("node 2 list"): Absence(s.params().absences_most + 1)
    },
    "weights where attestors order the set": lambda s: with_sets(
        s, policy=FIXED, next=tuple(replace(seat, weight=2) for seat in s.one(SETS).next)
    ),
}
"""What looks like it and is as it should be."""
