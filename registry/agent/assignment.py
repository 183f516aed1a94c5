"""Whom to test in an epoch, at which contact: drawn by the agent itself, from proven records.

- The roster of the epoch says who is active and who may test. Which of them this node has to test
  is computed, and nobody is asked.
- Who is queued or decommissioned stands in no roster. Services name them in `duties`; all services
  are asked, and whoever they name has to be proven, and to have drawn this node.
- A service that invents a node, an address or a state is refused by the proof; one that leaves
  somebody out is made up for by the others.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic as get_time_s
from typing import Final, NamedTuple

import msgspec
import structlog

from ledger.messages.contact import Contact
from ledger.messages.state import Node, Roster
from ledger.messages.tables import CONTACTS, NODES, ROSTERS
from ledger.nodes import get_duty_key
from ledger.rules.quorums import draw_testers, unpack_members
from ledger.state import epoch_key
from ledger.types import Epoch, Key, TimeMs
from registry.addresses import decode_node, encode_node
from registry.agent.ledger import Ledger, Unproven, now_ms
from registry.agent.probes import Target
from registry.client.services import ServiceRefused, Services
from registry.client.transport import Unavailable

log = structlog.get_logger()

MAX_NAMED: Final = 256
"""Nodes that one service may name beside those of the roster; each costs a proof."""

MAX_DUTIES_BYTES: Final = 2**20

AT_A_TIME: Final = 8
"""Nodes whose records are asked for at a time."""

TRIES: Final = 3
"""How often a node's records are asked for at least before it is left aside for an epoch."""

ASKING: Final = 0.4
"""Part of an epoch after which they are not asked for any more, so that there is time for tests."""

PAUSE_S: Final = (1.0, 60.0)
"""Seconds between two tries at least, or a fortieth of an epoch where that is shorter; and at most,
whatever a busy service asks for."""

CONTROLS: Final = 5
"""Nodes that are asked whether they hear this one, if none of those that it tests does."""


class Assignment(NamedTuple):
    """What a node has to do in an epoch."""

    epoch: Epoch
    start_ms: TimeMs
    roster: Roster
    targets: tuple[Target, ...]
    """By ascending node."""
    unproven: tuple[Key, ...]
    """Nodes that it has to test, as far as is known, and of which nobody has a proof."""


class _Named(msgspec.Struct):
    node: str


class _Duties(msgspec.Struct):
    tests: list[_Named]


async def find_assignment(ledger: Ledger, services: Services, node: Key) -> Assignment:
    """Return what a node has to do in the epoch that the newest header governs.

    Raises `Unproven` where the roster is not proven.
    """
    epoch, start_ms = ledger.running, ledger.started_ms
    if epoch is None:
        raise Unproven("there is no verified header yet")
    roster = await ledger.prove(ROSTERS, epoch_key(epoch))
    if roster is None:
        raise Unproven(f"there is no roster of epoch {epoch}")
    members = unpack_members(roster.members)
    if node not in members.keys:
        return Assignment(epoch, start_ms, roster, (), ())
    drawn = await asyncio.to_thread(draw_assigned, roster, node)
    named = await _ask_for_others(services, node, frozenset(members.keys))
    drawn_by_us = frozenset(drawn)

    async def prove(key: Key) -> Target | None:
        return await find_target(ledger, roster, node, epoch, key)

    found = await _prove_all(ledger, prove, [*drawn, *named], drawn_by_us)
    known = {key: target for key, target in found if target is not None}
    unproven = [key for key, target in found if target is None]
    # what a service names and nobody proves is no duty: it may be an invention
    missing = tuple(key for key in unproven if key in drawn_by_us)
    return Assignment(epoch, start_ms, roster, tuple(known[key] for key in sorted(known)), missing)


def draw_assigned(roster: Roster, node: Key) -> list[Key]:
    """Return the members of a roster whom one of them has to test, ascending."""
    members = unpack_members(roster.members)
    return [
        key
        for key, operator in zip(members.keys, members.operators, strict=True)
        if node in draw_testers(members, roster.seed, key, operator, roster.testers)
    ]


async def _ask_for_others(services: Services, node: Key, active: frozenset[Key]) -> list[Key]:
    """Return who else has to be tested, as the services say."""
    path = f"/v1/nodes/{encode_node(node)}/duties"
    named: dict[Key, None] = {}
    for url, answer in (await services.get_bytes_from_all(path, MAX_DUTIES_BYTES)).items():
        try:
            others = [key for key in _read_named(answer) if key not in active]
        except (ServiceRefused, Unavailable, ValueError, RecursionError) as error:
            log.info("no duties", service=url, reason=str(error))
            continue
        named.update(dict.fromkeys(others[:MAX_NAMED]))
    return list(named)


def _read_named(answer: bytes | ServiceRefused | Unavailable) -> list[Key]:
    """Return the nodes that an answer names. Raises the answer, if it is a failure."""
    if isinstance(answer, Exception):
        raise answer
    return [decode_node(row.node) for row in msgspec.json.decode(answer, type=_Duties).tests]


async def _prove_all(
    ledger: Ledger,
    prove: Callable[[Key], Awaitable[Target | None]],
    keys: Iterable[Key],
    surely: frozenset[Key],
) -> list[tuple[Key, Target | None]]:
    """Return who of these is to be tested, with None for those without a proof.

    Those who are `surely` to be tested are asked for until `ASKING`; of the others anybody may
    have said anything, and they hold nobody up for longer than a busy service does.
    """
    gate = asyncio.Semaphore(AT_A_TIME)
    pause_s = min(PAUSE_S[0], ledger.epoch_ms / 40_000)
    until = get_time_s() + _find_time_s(ledger)

    async def try_again(key: Key) -> tuple[Key, Target | None] | None:
        for number in itertools.count(1):
            try:
                async with gate:
                    target = await prove(key)
                return None if target is None else (key, target)
            except Unproven as error:
                why = error
            wait_s = min(max(pause_s, why.wait_s), PAUSE_S[1])
            has_time = get_time_s() + wait_s <= until
            if number >= TRIES and not (has_time and (key in surely or why.wait_s)):
                break
            await asyncio.sleep(wait_s if has_time else pause_s)
        log.warning("no proof", node=encode_node(key), reason=str(why))
        return key, None

    found = await asyncio.gather(*(try_again(key) for key in keys))
    return [row for row in found if row is not None]


def _find_time_s(ledger: Ledger) -> float:
    """Return the seconds until `ASKING`; a clock that is off does not make them more."""
    part_ms = ASKING * ledger.epoch_ms
    return min(part_ms, ledger.started_ms + part_ms - now_ms()) / 1000


async def find_target(
    ledger: Ledger, roster: Roster, tester: Key, epoch: Epoch, key: Key
) -> Target | None:
    """Return a node as it is to be tested; None if this tester has not to. Raises `Unproven`."""
    node = await ledger.prove(NODES, key)
    if node is None or not 0 < node.tested_from <= epoch:
        return None
    members = unpack_members(roster.members)
    if tester not in draw_testers(members, roster.seed, key, node.operator, roster.testers):
        return None
    return await _make_target(ledger, epoch, key, node)


async def find_control(ledger: Ledger, epoch: Epoch, key: Key) -> Target | None:
    """Return an active node as one may ask it whether it hears this one. Raises `Unproven`."""
    node = await ledger.prove(NODES, key)
    return None if node is None else await _make_target(ledger, epoch, key, node)


async def _make_target(ledger: Ledger, epoch: Epoch, key: Key, node: Node) -> Target | None:
    contact: Contact | None = await ledger.prove(CONTACTS, key)
    if contact is None:
        return None
    return Target(key, node.life, get_duty_key(node, epoch), contact)
