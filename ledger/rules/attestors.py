"""How far a set of attestors may change at once.

A change moves one seat or a tenth of the weight, whichever is more: a client that trusts the old
set then meets enough of it in the new one. This holds for sets that are ordered, and for those into
which nodes take their turns.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from ledger.messages.lists import MAX_ATTESTORS, Attestor
from ledger.types import Key, TimeMs

MOVE_SHARE: Final = 10
"""One part of the weight in so many may move at once."""


def earliest_change(changed_ms: TimeMs, interval_ms: TimeMs) -> TimeMs:
    """Return the block time from which another set may be announced; 0 if none ever was."""
    return changed_ms + interval_ms if changed_ms else 0


def compute_turnover(old: Sequence[Attestor], new: Sequence[Attestor]) -> int:
    """Return the weight that moves: what comes or what goes, whichever is more."""
    before, after = _weights(old), _weights(new)
    keys = sorted({*before, *after})
    steps = [after.get(key, 0) - before.get(key, 0) for key in keys]
    return max(sum(s for s in steps if s > 0), -sum(s for s in steps if s < 0))


def _weights(members: Sequence[Attestor]) -> Mapping[Key, int]:
    return {member.list_key: member.weight for member in members}


def turnover_limit(members: Sequence[Attestor]) -> int:
    """Return the weight that may move at once: the heaviest seat, or a tenth of all of it."""
    weights = [member.weight for member in members]
    return max(*weights, sum(weights) // MOVE_SHARE, 0)


def remove_lost(members: Sequence[Attestor], lost: Sequence[Key]) -> tuple[Attestor, ...]:
    """Return a set without as many of its `lost` seats as may go at once, by ascending key.

    The last seat stays.
    """
    kept = tuple(members)
    for key in sorted(lost):
        fewer = tuple(member for member in kept if member.list_key != key)
        if fewer and compute_turnover(members, fewer) <= turnover_limit(members):
            kept = fewer
    return kept


def rotate(
    members: Sequence[Attestor],
    lost: Sequence[Key],
    going: Sequence[Key],
    coming: Sequence[Key],
    moving: Sequence[tuple[Key, Key]],
    floor: int,
) -> tuple[Attestor, ...]:
    """Return a set of seats of weight 1 after as many of its changes as may be made at once.

    As many of `lost` and then of `going` go and of `coming` come, in their order; what is left of
    the limit is for `moving`, each an old list key and the one that follows on it. Those `going`
    go only as far as `floor` seats are left, so that a smaller set grows first. The last one stays.
    """
    limit = turnover_limit(members)
    gone = [*lost, *going][:limit]
    come = _come(members, gone, coming, limit)
    while len(gone) > len(lost) and len(members) - len(gone) + len(come) < floor:
        gone.pop()
        come = _come(members, gone, coming, limit)
    if not come and len(gone) == len(members):
        gone.pop()
    for old, new in moving[: limit - max(len(gone), len(come))]:
        gone.append(old)
        come.append(new)
    kept = [member.list_key for member in members if member.list_key not in gone]
    return tuple(Attestor(key, 1) for key in sorted((*kept, *come)))


def _come(
    members: Sequence[Attestor], gone: Sequence[Key], coming: Sequence[Key], limit: int
) -> list[Key]:
    """Return who comes: as many as may move at once, and as there is room for."""
    return list(coming[: min(limit, MAX_ATTESTORS - len(members) + len(gone))])
