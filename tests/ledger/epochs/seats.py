"""Seats that nodes take in their turns, and what one end does to them, one call away.

realm          a village where the registry fills the seats, with what names founders have
enlist         nodes with every key register and are active
turn           end the epoch; the announced set takes over, and another one is announced
quiet_turn     the same, while only these seats attest
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from ledger.messages.genesis import COMET, REGISTRY
from ledger.messages.lists import Attestor
from ledger.messages.tables import SETS, VALIDATORS
from tests.factory import (
    ATTESTORS,
    EPOCH_MS,
    PEOPLE,
    Network,
    attestor_roles,
    public,
    validator_of,
)
from tests.ledger.epochs.ends import SHORT_LOCK, run_end, village

FOUNDERS: Final = tuple(sorted(ATTESTORS, key=public))
"""List keys of the founding set, by ascending key."""

VALIDATORS_AGREE: Final[dict[str, Any]] = {"engine": COMET, "producer": b""}
"""What a genesis file has otherwise, under an engine with validators."""


def realm(genesis: Mapping[str, Any] | None = None, /, **params: int) -> Network:
    """A village whose nodes have no list keys; three nodes that stand take over."""
    values = SHORT_LOCK | {"set_change_ms": 0, "founders_until": 3, "activation_floor": 30}
    return village(8, {"policy": REGISTRY, **(genesis or {})}, **(values | params))


def enlist(network: Network, *names: str, came: Sequence[str] = (), **expected: Any) -> None:
    """Nodes register with every key, and are active at the end of the epoch.

    One end for each, so that each is younger than the one before; none makes another set, but for
    the last: with it the list keys of `came` come, and what else is expected.
    """
    for place, name in enumerate(names):
        network.block(network.register(name, PEOPLE[place % len(PEOPLE)], **attestor_roles(name)))
        is_last = place == len(names) - 1
        turn(network, joined=(name,), **({"came": came, **expected} if is_last else {}))


def after(
    members: Sequence[Attestor], gone: Collection[str] = (), came: Collection[str] = ()
) -> tuple[Attestor, ...]:
    """A set without these list keys and with those, by name; each weighs 1."""
    keys = {member.list_key for member in members}
    assert {*map(public, gone)} <= keys
    assert not keys & {*map(public, came)}
    keys = keys - {*map(public, gone)} | {*map(public, came)}
    return tuple(Attestor(key, 1) for key in sorted(keys))


def turn(
    network: Network,
    *,
    gone: Collection[str] = (),
    came: Collection[str] = (),
    late_ms: int = 0,
    is_final: bool = True,
    sets: Mapping[str, Any] | None = None,
    validators: Mapping[bytes, bytes] | None = None,
    **expected: Any,
) -> None:
    """End the epoch: what was announced takes over, and a set without `gone` and with `came` is
    announced. Both are list keys by name. `sets` and `validators` are what changes besides: fields
    of the sets, and keys of seats that are not new.
    """
    before = network.state.one(SETS)
    now = before.next if is_final else before.current
    changes = dict(sets or {}) | ({} if now == before.current else {"current": now})
    if gone or came:
        changed_ms = network.header.valid_after_ms + EPOCH_MS + late_ms
        changes |= {"next": after(now, gone, came), "changed_ms": changed_ms}
    keys: dict[bytes, bytes] = {}
    if network.state.get(VALIDATORS) is not None:
        old = [member.list_key for member in before.current]
        keys = {m.list_key: CONSENSUS_OF[m.list_key] for m in now if m.list_key not in old}
        keys |= validators or {}
    run_end(network, late_ms, sets=changes, validators=keys, **expected)


def quiet_turn(network: Network, *seats: str, **expected: Any) -> None:
    """A turn in which only the seats of these list keys attest, by name."""
    network.attesting = False
    network.block()
    places = [m.list_key for m in network.state.one(SETS).current]
    wanted = sorted(places.index(public(name)) for name in seats)
    network.block(*(network.attest(place) for place in wanted))
    is_final = 3 * len(wanted) > 2 * len(places)
    turn(network, is_final=is_final, **expected)
    network.attesting = True


def seated(network: Network) -> list[str]:
    """Who has a seat now, by name, in the order of the list keys."""
    return [NAME_OF[member.list_key] for member in network.state.one(SETS).current]


def list_keys(*nodes: str) -> tuple[str, ...]:
    """The names of the list keys of nodes."""
    return tuple(f"{name} list" for name in nodes)


NODES: Final = tuple(f"n{number}" for number in range(30))
"""Nodes that may stand for a seat; their keys too have names."""

NAME_OF: Final = {public(name): name for name in (*FOUNDERS, *list_keys(*NODES))} | {
    public(f"{name} again list"): f"{name} again list" for name in NODES
}
CONSENSUS_OF: Final = {
    **{public(name): validator_of(public(name)) for name in FOUNDERS},
    **{public(f"{name} list"): public(f"{name} consensus") for name in NODES},
    **{public(f"{name} again list"): public(f"{name} again consensus") for name in NODES},
}
"""The consensus key of each seat, as its owner named it."""
