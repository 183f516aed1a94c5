"""Who is in which swarm, and how that changed: what a storage node has to know of its data.

- Members of swarms stay the same for an epoch, and what an epoch's end changed is the same for
  ever: both are read once. How they changed lies in the ledger's history, also after a restart.
- From the swarms of now the feed goes back, epoch by epoch. Where the history does not reach, it
  says so: a replica that a snapshot filled begins with the epoch after it.
"""

from bisect import bisect_left
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from ledger.history import SWARM_ROW, SwarmMove, moves_key
from ledger.messages.tables import CONTACTS, EPOCH, NODES, SWARMS
from ledger.rules.swarms import U64_COUNT, UNASSIGNED, nearest_swarm
from ledger.state import State
from ledger.steps import run
from ledger.types import Epoch, Key
from ledger.views import View
from registry.addresses import encode_node
from registry.duties import drive, keep
from registry.status import show_contact

MAX_FEED_EPOCHS: Final = 512
"""Epochs whose changes one answer tells: more than ten days on mainnet."""

PAUSE_ROWS: Final = 20
"""Epochs whose changes are read between two pauses."""

PAUSE_NODES: Final = 1_000
"""Nodes whose swarms are read between two pauses."""

Members: TypeAlias = Mapping[int, Sequence[Key]]
"""By swarm, the nodes by ascending key."""

Moves: TypeAlias = Sequence[SwarmMove]


class Swarms:
    """Swarms of one chain, by epoch."""

    def __init__(self) -> None:
        self._members: dict[Epoch, Members] = {}
        self._moves: dict[Epoch, Moves] = {}

    async def prepare(self, view: View, since: Epoch | None = None) -> None:
        """Read in pieces what an answer from this height needs; `since` as in `show_swarm`."""
        await drive(self._read_members(view.state))
        if since is not None:
            await drive(self._read_moves(view, since))

    def members(self, view: View) -> Members:
        """Return who is in which swarm in the running epoch."""
        return run(self._read_members(view.state))

    def moves(self, view: View, epoch: Epoch) -> Moves | None:
        """Return how swarms changed at an epoch's end; None where that is not known."""
        known = self._moves.get(epoch)
        if known is None:
            raw = view.reader.get(moves_key(epoch))
            if raw is None:
                return None
            known = SWARM_ROW.load(raw).moves
            keep(self._moves, epoch, known, 2 * MAX_FEED_EPOCHS)
        return known

    def _read_members(self, state: State) -> Generator[None, None, Members]:
        epoch = state.one(EPOCH).epoch
        known = self._members.get(epoch)
        if known is not None:
            return known
        members: dict[int, list[Key]] = {}
        for place, (key, row) in enumerate(state.items(SWARMS), 1):
            members.setdefault(row.swarm_id, []).append(key)
            if place % PAUSE_NODES == 0:
                yield
        keep(self._members, epoch, members, 2)
        return members

    def _read_moves(self, view: View, since: Epoch) -> Generator[None, None, None]:
        for count, epoch in enumerate(_ends_after(view, since), 1):
            self.moves(view, epoch)
            if count % PAUSE_ROWS == 0:
                yield


def _ends_after(view: View, since: Epoch) -> range:
    """Return the epochs at whose ends the swarms of later epochs than `since` came to be.

    The newest first, and no more than an answer tells of.
    """
    running = view.state.one(EPOCH).epoch
    return range(running - 1, max(since, running - MAX_FEED_EPOCHS) - 1, -1)


# -------------------------------------------------------------------------------- the feed


def show_swarm(view: View, swarms: Swarms, key: Key, since: Epoch | None) -> dict[str, Any] | None:
    """Return a node's swarm, and how it changed with each later epoch than `since`, oldest first.

    Without `since` there are no changes. None if there is no such node.
    """
    if view.state.get(NODES, key) is None:
        return None
    running = view.state.one(EPOCH).epoch
    start = running if since is None else since
    changes, is_whole = _list_changes(view, swarms, key, start)
    members = swarms.members(view)
    own = view.state.get(SWARMS, key)
    others = sorted({swarm for row in changes for swarm in row.owners if swarm in members})
    return {
        "node": encode_node(key),
        "epoch": running,
        "swarm": None if own is None else str(own.swarm_id),
        "members": [] if own is None else show_members(view, members[own.swarm_id]),
        "since": start,
        "changes": [_show_change(row) for row in changes],
        "owners": [
            {"swarm": str(swarm), "members": show_members(view, members[swarm])} for swarm in others
        ],
        "gap": not is_whole,
    }


def show_members(view: View, members: Sequence[Key]) -> list[dict[str, Any]]:
    """Return the nodes of a swarm, with where each is reached."""
    return [
        {"node": encode_node(key), "contact": show_contact(view.state.one(CONTACTS, key))}
        for key in members
    ]


class Change(NamedTuple):
    """What an epoch brought for one node."""

    epoch: Epoch
    """The first epoch in which it is so."""
    swarm: int | None
    """The node's swarm from then on."""
    entered: bool
    """Whether it was not in that swarm before."""
    joined: Sequence[Key]
    """Other nodes that came into that swarm."""
    left: Sequence[Key]
    """Other nodes that went out of it."""
    dissolved: bool
    """Whether the swarm that the node was in is no more."""
    moved_from: int | None
    """That swarm, if the node left it."""
    owners: Sequence[int]
    """Other swarms that now serve accounts which that swarm, or its own, served before."""


def _list_changes(view: View, swarms: Swarms, key: Key, since: Epoch) -> tuple[list[Change], bool]:
    """Return what changed for a node, oldest first, and whether that is all since then."""
    members = swarms.members(view)
    sizes = {swarm: len(nodes) for swarm, nodes in members.items()}
    ring = sorted(members)
    row = view.state.get(SWARMS, key)
    own = UNASSIGNED if row is None else row.swarm_id
    changes: list[Change] = []
    ends = _ends_after(view, since)
    for ended in ends:
        moves = swarms.moves(view, ended)
        if moves is None:
            return changes[::-1], False
        before = _go_back(sizes, ring, moves)
        change, own = _find_change(ended + 1, key, own, moves, before, ring)
        if change is not None:
            changes.append(change)
        ring = before
    return changes[::-1], since >= ends.stop + 1


def _go_back(sizes: dict[int, int], ring: list[int], moves: Moves) -> list[int]:
    """Return the swarms before some moves, ascending; `sizes` becomes what it was then."""
    touched = {swarm for move in moves for swarm in (move.before, move.after)} - {UNASSIGNED}
    were_there = {swarm for swarm in touched if sizes.get(swarm)}
    for move in moves:
        sizes[move.before] = sizes.get(move.before, 0) + 1
        sizes[move.after] = sizes.get(move.after, 0) - 1
    are_there = {swarm for swarm in touched if sizes[swarm]}
    if were_there == are_there:
        return ring
    return sorted((set(ring) - were_there) | are_there)


def _find_change(
    epoch: Epoch, key: Key, own: int, moves: Moves, before: list[int], after: list[int]
) -> tuple[Change | None, int]:
    """Return what some moves meant for a node whose swarm is `own` after them, and that before."""
    was = next((move.before for move in moves if move.node == key), own)
    others = [move for move in moves if move.node != key and own != UNASSIGNED]
    joined = [move.node for move in others if move.after == own]
    left = [move.node for move in others if move.before == own]
    owners = find_owners(before, was, after) if was != UNASSIGNED and before != after else []
    owners = [swarm for swarm in owners if swarm != was]
    if was == own and not joined and not left and not owners:
        return None, was
    is_gone = was != UNASSIGNED and was not in after
    change = Change(
        epoch,
        None if own == UNASSIGNED else own,
        own not in (was, UNASSIGNED),
        joined,
        left,
        is_gone,
        was if was not in (own, UNASSIGNED) else None,
        owners,
    )
    return change, was


def find_owners(before: Sequence[int], swarm: int, after: Sequence[int]) -> list[int]:
    """Return the swarms that serve, after a change of all of them, what one served before.

    `before` and `after` are ascending; `swarm` is one of `before`, and may be one of the answer.
    """
    if not after:
        return []
    at = bisect_left(before, swarm)
    right, left = before[(at + 1) % len(before)], before[at - 1]
    # who is as near to two swarms belongs to the left one
    last = (swarm + _distance(swarm, right) // 2) % U64_COUNT
    first = (left + _distance(left, swarm) // 2 + 1) % U64_COUNT
    span = (last - first) % U64_COUNT
    inside = [other for other in after if (other - first) % U64_COUNT <= span]
    ends = [nearest_swarm(after, first), nearest_swarm(after, last)]
    return sorted({*inside, *ends})


def _distance(left: int, right: int) -> int:
    """Return how far it is to the right from one swarm to the next, which may be the same one."""
    return (right - left) % U64_COUNT or U64_COUNT


def _show_change(change: Change) -> dict[str, Any]:
    return {
        "epoch": change.epoch,
        "swarm": None if change.swarm is None else str(change.swarm),
        "entered": change.entered,
        "joined": [encode_node(key) for key in change.joined],
        "left": [encode_node(key) for key in change.left],
        "dissolved": change.dissolved,
        "moved_from": None if change.moved_from is None else str(change.moved_from),
        "owners": [str(swarm) for swarm in change.owners],
    }
