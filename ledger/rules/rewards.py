"""What an epoch pays, and to whom.

- An epoch pays a fixed part of the pool, in equal whole shares; what does not divide stays there.
- Within a period of constant fee and stakes, what a contributor is owed follows from the node's
  total alone, with one division rounded down: it does not matter who settles when.
- The operator gets his fee with his own part, and at the end of a period what is left over.
"""

from collections.abc import Sequence
from typing import Final

from ledger.types import BASIS_POINTS, MAX_AMOUNT, Amount

YEAR_MS: Final = 31_536_000_000
"""365 days."""


def epoch_share(pool: Amount, rate: int, epoch_ms: int, nodes: int, accumulator: Amount) -> Amount:
    """Return what each of `nodes` earning nodes gets for an epoch; 0 without any.

    The accumulator stays an amount, whatever happens.
    """
    if nodes == 0:
        return 0
    paid = pool * rate * epoch_ms // (BASIS_POINTS * YEAR_MS)
    return min(paid // nodes, MAX_AMOUNT - accumulator)


def compute_owed(total: Amount, fee: int, stakes: Sequence[Amount]) -> list[Amount]:
    """Return what each contributor is owed of a period's `total`; the operator's part comes first.

    The parts never shrink while `total` grows, and are together at most `total`. Where no stake is
    left, all is the operator's.
    """
    staked = sum(stakes)
    if staked == 0:
        return [total, *(0 for _ in stakes[1:])]
    whole = BASIS_POINTS * staked
    parts = [(BASIS_POINTS - fee) * stake for stake in stakes]
    parts[0] += fee * staked
    return [total * part // whole for part in parts]


def close_owed(total: Amount, fee: int, stakes: Sequence[Amount]) -> list[Amount]:
    """Return what each contributor gets of a period that ends: all of `total`, to the unit."""
    owed = compute_owed(total, fee, stakes)
    owed[0] += total - sum(owed)
    return owed
