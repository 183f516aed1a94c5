"""How far a set of attestors may change at once.

A change moves one seat or a tenth of the weight, whichever is more: a client that trusts the old
set then meets enough of it in the new one.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from ledger.messages.lists import Attestor
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
