"""Who has to test whom, and who takes part: counts over a whole epoch, kept beside the chain.

- Nothing is counted before somebody asks. `prepare` counts in pieces, so that others are answered
  meanwhile; what was not prepared is counted on the spot.
- Whom a node has to test is the same for all of an epoch. Whose votes a verdict carries is the
  same for ever once the judging window is closed.
"""

import asyncio
from collections.abc import Generator, Mapping
from typing import Any, Final, NamedTuple

from ledger.history import VERDICT_ROW, final_key, verdict_key
from ledger.messages.lists import attestor_set_hash, decode_header, decode_signed_header
from ledger.messages.state import Roster
from ledger.messages.tables import EPOCH, NODES, PARAMS, ROSTERS, SETS
from ledger.rules.quorums import Members, draw_testers, unpack_members
from ledger.rules.removals import DOWN_SHARE, removal_limit
from ledger.state import State, epoch_key
from ledger.steps import run
from ledger.types import Epoch, Height, Key
from ledger.views import View
from registry.addresses import encode_node

PAUSE_NODES: Final = 50
"""Quorums, or verdicts, between two pauses: a few milliseconds."""

USUAL_EPOCHS: Final = 16
"""Epochs over which taking part is counted unless somebody asks for more."""

MAX_EPOCHS: Final = 96
"""Two days on mainnet."""

Assigned = Mapping[Key, tuple[Key, ...]]


class RosterSummary(NamedTuple):
    """How nodes are tested in an epoch."""

    active: int
    """Nodes that were active at its start."""
    testers: int
    threshold: int
    coverage: str
    """`all` nodes can be tested, `some` have too few nodes of other operators, or `none` can."""


class Tally(NamedTuple):
    """How a tester took part."""

    drawn: int
    """Quorums that it was drawn for and that reached a verdict."""
    voted: int
    """Those whose verdict carries its vote."""


Tallies = Mapping[Key, Tally]


class Duties:
    """Counts of one chain, by epoch."""

    def __init__(self) -> None:
        self._assigned: dict[Epoch, Assigned] = {}
        self._rosters: dict[Epoch, RosterSummary] = {}
        self._closed: dict[Epoch, Tallies] = {}
        self._open: dict[tuple[Epoch, Height], Tallies] = {}
        # two that ask at a time need not both count
        self._preparing = asyncio.Lock()

    async def prepare(self, view: View, epochs: int, *, assignments: bool) -> None:
        """Count what an answer from this height needs."""
        running = view.state.one(EPOCH).epoch
        async with self._preparing:
            if assignments:
                await drive(self._assign(view.state, running))
            for epoch in _last(running, epochs):
                await drive(self._count(view, epoch, running))

    # ------------------------------------------------------------------- who tests whom

    def get_roster(self, view: View) -> RosterSummary:
        """Return how nodes are tested in the running epoch."""
        epoch = view.state.one(EPOCH).epoch
        known = self._rosters.get(epoch)
        if known is None:
            roster = view.state.one(ROSTERS, epoch_key(epoch))
            members = unpack_members(roster.members)
            # who has no active node yet has most testers, who has most of them fewest
            fewest = len(members.keys) - max(members.nodes_of.values(), default=0)
            coverage = "none" if len(members.keys) < roster.testers else "some"
            if fewest >= roster.testers:
                coverage = "all"
            known = RosterSummary(len(members.keys), roster.testers, roster.threshold, coverage)
            keep(self._rosters, epoch, known, 2)
        return known

    def testers_of(self, view: View, key: Key) -> tuple[Key, ...]:
        """Return who tests a node in the running epoch; none if it is not tested."""
        state = view.state
        epoch = state.one(EPOCH).epoch
        node, roster = state.get(NODES, key), state.get(ROSTERS, epoch_key(epoch))
        if node is None or roster is None or not 0 < node.tested_from <= epoch:
            return ()
        return _draw(unpack_members(roster.members), roster, key, node.operator)

    def tested_by(self, view: View, key: Key) -> tuple[Key, ...]:
        """Return whom a node has to test in the running epoch, by ascending key."""
        state = view.state
        return run(self._assign(state, state.one(EPOCH).epoch)).get(key, ())

    def _assign(self, state: State, epoch: Epoch) -> Generator[None, None, Assigned]:
        known = self._assigned.get(epoch)
        if known is not None:
            return known
        roster = state.get(ROSTERS, epoch_key(epoch))
        assigned: dict[Key, list[Key]] = {}
        members = unpack_members(b"" if roster is None else roster.members)
        for place, (key, node) in enumerate(state.items(NODES), 1):
            if roster is not None and 0 < node.tested_from <= epoch:
                for tester in _draw(members, roster, key, node.operator):
                    assigned.setdefault(tester, []).append(key)
            if place % PAUSE_NODES == 0:
                yield
        made = {tester: tuple(nodes) for tester, nodes in assigned.items()}
        keep(self._assigned, epoch, made, 2)
        return made

    # ---------------------------------------------------------------------- taking part

    def count(self, view: View, epochs: int) -> Tallies:
        """Return how each tester took part in the verdicts for the newest `epochs` epochs."""
        running = view.state.one(EPOCH).epoch
        sums: dict[Key, Tally] = {}
        for epoch in _last(running, epochs):
            for tester, (drawn, voted) in run(self._count(view, epoch, running)).items():
                before = sums.get(tester, Tally(0, 0))
                sums[tester] = Tally(before.drawn + drawn, before.voted + voted)
        return sums

    def _count(self, view: View, epoch: Epoch, running: Epoch) -> Generator[None, None, Tallies]:
        is_open = epoch >= running - 1
        height = view.tip.height
        known = self._open.get((epoch, height)) if is_open else self._closed.get(epoch)
        if known is not None:
            return known
        drawn: dict[Key, int] = {}
        voted: dict[Key, int] = {}
        rows = view.reader.items(verdict_key(epoch), verdict_key(epoch + 1))
        for place, (_, raw) in enumerate(rows, 1):
            row = VERDICT_ROW.load(raw)
            for tester, _ in row.votes:
                voted[tester] = voted.get(tester, 0) + 1
                drawn[tester] = drawn.get(tester, 0) + 1
            for tester in row.silent:
                drawn[tester] = drawn.get(tester, 0) + 1
            if place % PAUSE_NODES == 0:
                yield
        made = {tester: Tally(count, voted.get(tester, 0)) for tester, count in drawn.items()}
        if is_open:
            keep(self._open, (epoch, height), made, 4)
        else:
            keep(self._closed, epoch, made, MAX_EPOCHS)
        return made


def _last(running: Epoch, epochs: int) -> range:
    return range(max(0, running - epochs + 1), running + 1)


def _draw(members: Members, roster: Roster, key: Key, operator: Key) -> tuple[Key, ...]:
    return draw_testers(members, roster.seed, key, operator, roster.testers)


def keep(kept: dict[Any, Any], place: Any, value: Any, most: int) -> None:
    """Keep a value; the one that was kept for longest makes room."""
    kept[place] = value
    if len(kept) > most:
        del kept[next(iter(kept))]


async def drive(steps: Generator[None, None, Any]) -> None:
    for _ in steps:
        await asyncio.sleep(0)


def count_headers(view: View, epochs: int) -> tuple[int, list[int]]:
    """Return how many of the newest frozen headers there are, and how many each seat signed.

    At most `epochs`, and those alone that are of the attestor set in force: a header names its
    signers by their places in its own.
    """
    seats = view.state.one(SETS).current
    set_hash = attestor_set_hash(seats)
    signed = [0] * len(seats)
    headers = 0
    newest = view.state.one(EPOCH).epoch - 2
    for epoch in range(newest, max(-1, newest - epochs), -1):
        raw = view.reader.get(final_key(epoch))
        if raw is None:
            break
        header = decode_signed_header(raw)
        if decode_header(header.header).set_hash != set_hash:
            break
        headers += 1
        for index, _ in header.signatures:
            signed[index] += 1
    return headers, signed


def show_duty(view: View, duties: Duties, down: int) -> dict[str, Any]:
    """Return how nodes are tested in the running epoch, and what becomes of those that fail.

    `down` of them are down now: decommissioned, or deregistered.
    """
    state, params = view.state, view.state.params()
    record, sets = state.one(PARAMS), state.one(SETS)
    roster = duties.get_roster(view)
    grace_ms = record.changed_ms + params.grace_ms if record.changed_ms else 0
    change = "ordered" if sets.ordered else None
    limit = removal_limit(roster.active, params.removal_floor, params.removal_share)
    return {
        "nodes_down": down,
        "most_down": (down + roster.active) // DOWN_SHARE,
        "removal_limit": limit,
        "quorum_testers": roster.testers,
        "quorum_threshold": roster.threshold,
        "quorums": roster.coverage,
        "grace_until_ms": grace_ms if grace_ms > view.tip.time_ms else None,
        "parameters_change_ms": record.from_ms or None,
        "attestors_change": "announced" if sets.next != sets.current else change,
    }


def show_participation(view: View, duties: Duties, epochs: int) -> dict[str, Any]:
    """Return how every tester and attestor took part."""
    headers, signed = count_headers(view, epochs)
    tallies = duties.count(view, epochs)
    return {
        "epochs": epochs,
        "testers": [
            {"node": encode_node(key), "drawn": tallies[key].drawn, "voted": tallies[key].voted}
            for key in sorted(tallies)
        ],
        "headers": headers,
        "attestors": [
            {"index": index, "list_key": seat.list_key.hex(), "signed": signed[index]}
            for index, seat in enumerate(view.state.one(SETS).current)
        ],
    }


def show_own_participation(
    view: View, duties: Duties, key: Key, list_key: bytes, epochs: int
) -> dict[str, Any]:
    """Return how one node took part; what an attestor signed is null for all others."""
    drawn, voted = duties.count(view, epochs).get(key, Tally(0, 0))
    keys = [seat.list_key for seat in view.state.one(SETS).current]
    shown: dict[str, Any] = {"epochs": epochs, "drawn": drawn, "voted": voted}
    if list_key not in keys:
        return shown | {"headers": None, "signed": None}
    headers, signed = count_headers(view, epochs)
    return shown | {"headers": headers, "signed": signed[keys.index(list_key)]}
