"""Refusals of orders and keys where validators agree on blocks, or the registry fills the seats."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from ledger.messages.genesis import COMET, REGISTRY
from ledger.messages.lists import Attestor
from ledger.messages.tables import SETS
from ledger.messages.transactions import Seat
from tests.factory import Network, attestor_roles, links, public, with_validators
from tests.factory import make_genesis as made
from tests.ledger.refusals.orders import RECOVERY, RECOVERY_NAMES, orders, with_weights
from tests.ledger.refusals.rows import Row, Sent, after
from tests.ledger.scenes import SHORT
from tests.life import current, seats, set_keys

VALIDATORS: dict[str, Any] = {"engine": COMET, "producer": b""}
TAKES_TURNS: dict[str, Any] = {"policy": REGISTRY} | RECOVERY
BOTH: dict[str, Any] = VALIDATORS | TAKES_TURNS


def seat_of(name: str, weight: int = 1) -> Attestor:
    """A seat of a node's list key."""
    return Attestor(public(f"{name} list"), weight)


def kept(network: Network, *members: Attestor) -> Sequence[Seat]:
    """The seats of now and these."""
    return seats(network, kept=(*current(network), *members))


def node(network: Network, name: str = "node", **roles: Any) -> None:
    """A node of alice is active; it has a key for every role, unless told otherwise."""
    network.block(network.register(name, **(attestor_roles(name) | roles)))
    network.end_epoch()


def validating(network: Network) -> None:
    """A node without a consensus key is active."""
    node(network, consensus_key=b"")


def moved(network: Network) -> None:
    """A node named another list key; both are bound to it."""
    node(network)
    key = public("node 2 list")
    network.block(set_keys(network, list_key=key, list_tip=links(key)[-1]))
    network.end_epoch()


def missed(network: Network) -> None:
    """A founding seat of four missed two final headers, one more than it may."""
    network.attesting = False
    for _ in range(2):
        network.block()
        network.block(*(network.attest(place) for place in (1, 2, 3)))
        network.end_epoch()
    network.attesting = True


def recover(new: Any) -> Any:
    """A function that makes an order by recovery keys."""
    return orders(new, recovery=RECOVERY_NAMES)


def announced(network: Network) -> None:
    """The seat of a node is announced and does not count yet."""
    node(network)
    assert seat_of("node") in network.state.one(SETS).next
    network.attesting = False


def heavy(network: Network) -> Sequence[Seat]:
    """The seats of now, one of them with more weight."""
    first, *rest = current(network)
    return seats(network, kept=(replace(first, weight=2), *rest))


def two_of_one(network: Network) -> Sequence[Seat]:
    """The seats of now, and both list keys that a node had."""
    return kept(network, seat_of("node"), seat_of("node 2"))


FOUR = {"attestors": with_validators(made(**with_weights(1, 1, 1, 1))).attestors}
SOON = SHORT | {"set_change_ms": 0, "founders_until": 1}

SEATS_OF_NODES: dict[str, Row] = {
    "order by attestors where the registry fills the seats": Sent(
        "bad_order", orders(), genesis=TAKES_TURNS
    ),
    "recovery with another weight where the registry fills the seats": Sent(
        "bad_order", recover(heavy), genesis=TAKES_TURNS
    ),
    "recovery that seats a node twice where the registry fills the seats": Sent(
        "bad_order", recover(two_of_one), moved, genesis=TAKES_TURNS
    ),
    "recovery that seats who missed too many headers": Sent(
        "key_barred",
        recover(lambda n: seats(n, kept=current(n))),
        missed,
        {"absences_most": 1},
        BOTH | FOUR,
    ),
    "order with another weight among validators": Sent(
        "bad_order", orders(heavy), genesis=VALIDATORS
    ),
    "order that seats a node twice among validators": Sent(
        "bad_order", orders(two_of_one), moved, genesis=VALIDATORS
    ),
    "order that seats a new key among validators": Sent("bad_order", orders(), genesis=VALIDATORS),
    "recovery that seats a new key among validators": Sent(
        "bad_order", recover(lambda n: seats(n, "attestor 9")), genesis=VALIDATORS | RECOVERY
    ),
    "order that seats a node without a consensus key among validators": Sent(
        "bad_order", orders(lambda n: kept(n, seat_of("node"))), validating, genesis=VALIDATORS
    ),
    "keys without a consensus key before the seat counts": Sent(
        "attestor_keys",
        lambda n: set_keys(n, consensus_key=b""),
        announced,
        SOON,
        BOTH,
    ),
    "no keys of an attestor before the seat counts": Sent(
        "attestor_keys",
        lambda n: set_keys(n, list_key=b"", consensus_key=b""),
        after(announced, lambda n: n.block()),
        SOON,
        BOTH,
    ),
}
"""Each is taken under one producer, where attestors order their set."""
