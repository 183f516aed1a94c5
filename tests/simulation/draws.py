"""Which quorums colluders capture, found early, and how often that is to be expected.

- `find_capture` draws as `ledger.rules.quorums.draw_testers` does, and stops as soon as too many
  testers are drawn that do not collude.
- The chances are exact: a quorum is a sample without replacement.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from math import comb, exp, lgamma, log
from typing import Final

from ledger.rules.quorums import PREFIX, Members, has_quorum
from ledger.types import Hash, Key

COUNTERS: Final = tuple(number.to_bytes(4, "big") for number in range(512))
"""More draws than a quorum of 32 among 33 takes, but for a chance that nobody will meet."""


def find_capture(
    members: Members,
    seed: Hash,
    node: Key,
    operator: Key,
    quorum: tuple[int, int],
    is_colluding: Sequence[bool],
) -> tuple[int, ...]:
    """Return the indices of the testers of `node`, as drawn, if enough of them collude; else none.

    `quorum` is its size and the votes that make a verdict; `is_colluding` is by index of member.
    """
    testers, threshold = quorum
    if not has_quorum(members, operator, testers):
        return ()
    operators, count = members.operators, len(members.keys)
    start = sha256(PREFIX + seed + node)
    fair = 2**64 - 2**64 % count
    others = testers - threshold
    drawn: list[int] = []
    for counter in COUNTERS:
        draw = start.copy()
        draw.update(counter)
        value = int.from_bytes(draw.digest()[:8], "big")
        index = value % count
        if value >= fair or index in drawn or operators[index] == operator:
            continue
        if not is_colluding[index]:
            if others == 0:
                return ()
            others -= 1
        drawn.append(index)
        if len(drawn) == testers:
            return tuple(drawn)
    raise AssertionError("a quorum took more draws than there are counters")


@lru_cache(maxsize=100_000)
def chance(eligible: int, special: int, testers: int, threshold: int) -> float:
    """Return the chance that of `testers` of `eligible` at least `threshold` are `special`."""
    if eligible < testers:
        return 0.0
    ways = sum(
        comb(special, hits) * comb(eligible - special, testers - hits)
        for hits in range(threshold, testers + 1)
    )
    return ways / comb(eligible, testers)


def is_plausible(measured: int, expected: float, doubt: float = 1e-9) -> bool:
    """Whether a count fits what was expected: neither tail of Poisson is below `doubt`."""
    if expected == 0:
        return measured == 0
    return min(at_most(measured, expected), at_least(measured, expected)) >= doubt


def at_most(count: int, expected: float) -> float:
    """Return the chance of `count` events or fewer where `expected` are expected."""
    return sum(_poisson(number, expected) for number in range(count + 1))


def at_least(count: int, expected: float) -> float:
    """Return the chance of `count` events or more where `expected` are expected."""
    if count <= expected:
        return max(0.0, 1 - at_most(count - 1, expected))
    most = count + 100 + int(expected)
    return sum(_poisson(number, expected) for number in range(count, most))


def _poisson(count: int, expected: float) -> float:
    return exp(count * log(expected) - expected - lgamma(count + 1))
