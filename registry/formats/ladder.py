"""Which deltas are published, so that few files bring a client up to date from any epoch.

Each epoch's list comes with deltas from the lists 1, 2, 4, … `LONGEST` epochs before. A client that
is n epochs behind takes one for each 1 in n as a binary number, the longest first: files that never
change, and are the same for everybody on the way.
"""

from typing import Final, NamedTuple

from ledger.types import Epoch

LONGEST: Final = 256
"""Epochs that one delta leads on at most."""

MOST_BEHIND: Final = 2 * LONGEST - 1
"""Epochs that a client may be behind for deltas to lead on; past that it takes the whole list."""


class Step(NamedTuple):
    """One delta."""

    start: Epoch
    """Epoch of the list where it begins."""
    end: Epoch
    """Epoch of the list to which it leads, and with which it is published."""


def list_starts(epoch: Epoch) -> list[Epoch]:
    """Return the epochs from which deltas lead to the list of `epoch`, the nearest first."""
    steps = (1 << place for place in range(LONGEST.bit_length()))
    return [epoch - step for step in steps if step <= epoch]


def plan_steps(start: Epoch, end: Epoch) -> list[Step]:
    """Return the deltas that lead from one list to another, in order; none if none do."""
    behind = end - start
    if not 0 < behind <= MOST_BEHIND:
        return []
    steps = []
    for place in reversed(range(behind.bit_length())):
        if behind >> place & 1:
            steps.append(Step(start, start + (1 << place)))
            start += 1 << place
    return steps
