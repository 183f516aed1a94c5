"""Swarms on their ring, and the place of an account among them.

The ring is a drawing: places on it are floats here, and nothing is computed from them.
"""

from collections.abc import Mapping, Sequence
from math import cos, pi, sin
from typing import Final, NamedTuple

from ledger.rules.swarms import U64_COUNT, nearest_swarm, position_of
from registry.api.answers import found
from registry.api.problems import ProblemError
from registry.view import NodeRow
from registry.web.table import Line, make_line
from registry.web.visit import Shown, Visit

PAGE: Final = 50
CENTRE: Final = 200
RADIUS: Final = 168
CROWD: Final = 120
"""Swarms from which on their dots are smaller."""


class Dot(NamedTuple):
    """A swarm on the ring."""

    swarm: int
    x: str
    y: str
    members: int
    is_nearest: bool


class Place(NamedTuple):
    """An account on the ring."""

    account: str
    position: int
    x: str
    y: str
    nearest: int
    to_x: str
    to_y: str
    members: Sequence[Line]


async def show_swarms(visit: Visit) -> Shown:
    """The ring with all swarms, and where an account stands."""
    swarms = _group(visit.live.nodes.rows)
    ids = sorted(swarms)
    account = visit.text("account").lower()
    place = _find_place(visit, account, swarms, ids) if account else None
    pages = max(1, -(-len(ids) // PAGE))
    page = min(visit.number("page", 1, 1), pages)
    nearest = None if place is None else place.nearest
    return {
        "dots": [
            Dot(swarm, *_at(swarm, RADIUS), len(swarms[swarm]), swarm == nearest) for swarm in ids
        ],
        "dot_size": 6 if len(ids) < CROWD else 3,
        "nodes": sum(map(len, swarms.values())),
        "rows": [(swarm, len(swarms[swarm])) for swarm in ids[(page - 1) * PAGE : page * PAGE]],
        "page": page,
        "pages": pages,
        "account": account,
        "place": place,
    }


async def show_swarm(visit: Visit) -> Shown:
    """One swarm with its members."""
    number = visit.number("swarm", 0, 0, U64_COUNT - 1)
    members = _group(visit.live.nodes.rows).get(number)
    newest = visit.live.newest
    return {
        "title": f"Swarm {number}",
        "swarm": number,
        "members": [
            make_line(row, newest) for row in found(members, f"swarm {number}: it may be dissolved")
        ],
    }


def _group(rows: Mapping[str, NodeRow]) -> dict[int, list[NodeRow]]:
    """Return the active nodes by swarm, each by ascending key."""
    swarms: dict[int, list[NodeRow]] = {}
    for row in rows.values():
        if row.active:
            swarms.setdefault(row.swarm_id, []).append(row)
    for members in swarms.values():
        members.sort(key=lambda row: row.service_node_pubkey)
    return swarms


def _find_place(
    visit: Visit, account: str, swarms: Mapping[int, Sequence[NodeRow]], ids: Sequence[int]
) -> Place | None:
    position = position_of(read_account_id(account)[-32:])
    if not ids:
        return None
    nearest = nearest_swarm(ids, position)
    newest = visit.live.newest
    members = [make_line(row, newest) for row in swarms[nearest]]
    return Place(
        account, position, *_at(position, RADIUS - 24), nearest, *_at(nearest, RADIUS), members
    )


def read_account_id(text: str) -> bytes:
    """Return the bytes of an account id, with its prefix or without. Ends with `bad_request`."""
    if not is_account_id(text):
        why = "account: an account id is 66 hex digits with its prefix, or 64 without"
        raise ProblemError("bad_request", why=why)
    return bytes.fromhex(text)


def is_account_id(text: str) -> bool:
    """Whether a text is the hex of 33 bytes, or of 32 without the prefix."""
    return len(text) in (64, 66) and all(letter in "0123456789abcdefABCDEF" for letter in text)


def _at(number: int, radius: int) -> tuple[str, str]:
    """Return where a number of the ring stands in the drawing; 0 is at the top."""
    angle = 2 * pi * number / U64_COUNT
    x, y = CENTRE + radius * sin(angle), CENTRE - radius * cos(angle)
    return f"{x:.1f}", f"{y:.1f}"
