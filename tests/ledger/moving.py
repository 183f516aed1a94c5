"""A network that ends, and the one that begins with its last state.

make_successor   the genesis file of a network that follows on another one
announce, move   it is ordered; an epoch ends whose header names it
hand_over        what the state of now leaves, as the ledger takes it
succeed          the network that begins with it
everything       a life with nodes in every state, which ends
"""

from collections.abc import Callable
from typing import Any, Final

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.history import iterate_chunks
from ledger.inheritance import Inheritance
from ledger.messages.genesis import COMET, SOLO, Genesis, GenesisAttestor
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    DECOMMISSIONED,
    EXITED,
    QUEUED,
    TOMBSTONED,
)
from ledger.messages.tables import SUCCESSION
from tests.factory import (
    QUARTER,
    Network,
    attestor_roles,
    links,
    make_genesis,
    places,
    public,
)
from tests.ledger.scenes import SHORT, fail, share, town
from tests.life import header_evidence, report, set_keys, set_successor, vote_evidence

FOUNDERS: Final = ("new founder 0", "new founder 1", "new founder 2", "new founder 3")


def founders(*names: str) -> tuple[GenesisAttestor, ...]:
    """Seats of a file, by ascending list key."""
    keys = sorted(map(public, names))
    return tuple(GenesisAttestor(key, 1, links(key)[-1]) for key in keys)


def make_successor(network: Network, engine: int = COMET, **changes: Any) -> Genesis:
    """The genesis file of a network that follows, with the same parameters."""
    fields: dict[str, Any] = {
        "name": b"test-net-2",
        "engine": engine,
        "producer": public("producer") if engine == SOLO else b"",
        "seed": sha256(b"second seed"),
        "pool": 0,
        "accounts": (),
        "attestors": founders(*FOUNDERS),
        "predecessor": network.hash,
        "params": network.genesis.params,
    }
    return make_genesis(**(fields | changes))


def announce(network: Network, successor: Genesis) -> None:
    """The attestors order the successor."""
    network.block(set_successor(network, "leo", sha256(encode(successor))))


def wait(network: Network, epochs: int) -> None:
    """Let the notice pass, up to some epochs before the move."""
    left_ms = network.state.one(SUCCESSION).from_ms - network.chain.tip.time_ms
    for _ in range(-(-left_ms // network.params.epoch_ms) - epochs):
        network.end_epoch()


def move(network: Network, successor: Genesis) -> None:
    """An epoch ends whose header names the successor."""
    left_ms = network.state.one(SUCCESSION).from_ms - network.chain.tip.time_ms
    network.end_epoch(late_ms=max(0, left_ms))
    assert network.header.successor == sha256(encode(successor))


def hand_over(network: Network) -> Inheritance:
    """What the state of now leaves; an epoch has just ended."""
    header = network.chain.newest_header().header
    return Inheritance(network.raw, header, tuple(iterate_chunks(network.view.reader)))


def succeed(successor: Genesis, inheritance: Inheritance) -> Network:
    """The network that begins with what was left."""
    return Network(successor, inheritance=inheritance)


SHARED: Final = "node"
DOWN, GOING, LATER, GONE, CAUGHT = "node 2", "node 3", "node 4", "node 5", "node 6"
NEWEST, FIRST_QUEUED, SECOND_QUEUED, OPEN = "node 7", "node 8", "node 9", "node 10"
STATES: Final = {
    SHARED: ACTIVE,
    DOWN: DECOMMISSIONED,
    GOING: EXITED,
    LATER: ACTIVE,
    GONE: EXITED,
    CAUGHT: TOMBSTONED,
    NEWEST: ACTIVE,
    FIRST_QUEUED: QUEUED,
    SECOND_QUEUED: QUEUED,
    OPEN: AWAITING,
}
"""The nodes of `everything`, as they are at its end."""


def everything(
    successor_of: Callable[[Network], Genesis] = make_successor, *, is_well: bool = False
) -> tuple[Network, Genesis]:
    """A network at the end of its last epoch, and the file of the one that goes on.

    Nobody is down if it `is_well`.
    """
    network = town(**SHORT, contributor_wait_ms=0, activation_floor=1, activation_share=0)
    successor = successor_of(network)
    network.end_epoch()
    share(network)
    network.block(
        network.register(DOWN, "bob"),
        network.register(GOING, "carol"),
        network.register(LATER, "kim"),
        network.register(GONE, "leo"),
        network.register(CAUGHT, "judy", **attestor_roles(CAUGHT)),
    )
    network.end_epoch()
    announce(network, successor)
    wait(network, 4)
    network.block(network.claim_rewards("bob"), network.request_unlock("leo", GONE))
    # erin's key contradicts itself on a verdict: it costs her, and bars nobody
    network.block(report(network, "alice", vote_evidence(network, "town 1")))
    for _ in range(2):
        network.end_epoch() if is_well else fail(network, DOWN)
    network.end_epoch()
    # in the last epoch
    evidence = header_evidence(network, public(f"{CAUGHT} list"))
    network.block(
        report(network, "bob", evidence),
        network.request_unlock("carol", GOING),
        network.request_unlock("kim", LATER),
        network.register(NEWEST, "heidi"),
        network.register(FIRST_QUEUED, "dave"),
        network.register(SECOND_QUEUED, "erin"),
        network.register(OPEN, "frank", QUARTER, reserved=places(("grace", QUARTER))),
        set_keys(network, SHARED),
    )
    move(network, successor)
    expected = STATES | ({DOWN: ACTIVE} if is_well else {})
    assert {name: network.node(name).state for name in STATES} == expected
    return network, successor
