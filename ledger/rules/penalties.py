"""How much an offence costs, who pays it, and what its reporter gets."""

from collections.abc import Sequence

from ledger.types import BASIS_POINTS, Amount


def compute_penalty(staked: Amount, taken: Amount, share: int, *, is_difference: bool) -> Amount:
    """Return what an offence takes from a node with `staked` left after `taken` was taken.

    It is `share`/10,000 of the stake as it was before any penalty; where the difference to earlier
    ones is due, less what they took. Never more than is left.
    """
    due = (staked + taken) * share // BASIS_POINTS - (taken if is_difference else 0)
    return min(max(0, due), staked)


def split_penalty(stakes: Sequence[Amount], penalty: Amount) -> list[Amount]:
    """Return what each stake loses of a `penalty` that they cover; the operator's comes first.

    The operator pays as far as his stake goes. The others pay the rest in proportion to theirs,
    rounded down, and then one unit each in their order until all is paid.
    """
    own = min(stakes[0], penalty)
    rest = penalty - own
    others = stakes[1:]
    whole = sum(others)
    parts = [rest * stake // whole if whole else 0 for stake in others]
    missing = rest - sum(parts)
    for place, stake in enumerate(others):
        if missing and parts[place] < stake:
            parts[place] += 1
            missing -= 1
    return [own, *parts]


def compute_bounty(own: Amount, share: int, cap: Amount) -> Amount:
    """Return the reporter's part of what an operator's own stake lost.

    It is less than that loss, so nobody gains by reporting himself.
    """
    return min(own * share // BASIS_POINTS, cap)
