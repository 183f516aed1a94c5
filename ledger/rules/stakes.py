"""How much has to be staked, and how much may be."""

from typing import NamedTuple

from ledger.types import BASIS_POINTS, Amount, TimeMs


class Open(NamedTuple):
    """What is still open for accounts without a reserved place."""

    amount: Amount
    """Atomic units."""
    places: int


def minimum_operator_stake(requirement: Amount, share: int) -> Amount:
    """Return the least stake of an operator: `share`/10,000 of the requirement, rounded up."""
    return -(-requirement * share // BASIS_POINTS)


def compute_open(
    requirement: Amount, staked: Amount, places: int, reserved: tuple[Amount, ...]
) -> Open:
    """Return what is open: the requirement less what is staked and what is reserved.

    `places` are the contributors' places that are not taken; each reservation keeps one of them.
    """
    return Open(requirement - staked - sum(reserved), places - len(reserved))


def minimum_contribution(free: Open) -> Amount:
    """Return the least contribution: an equal part of what is open, rounded up."""
    return -(-free.amount // free.places)


def is_reserved(registered_ms: TimeMs, time_ms: TimeMs, reservation_ms: int) -> bool:
    """Whether the reserved places of a registration are still kept for their accounts."""
    return time_ms < registered_ms + reservation_ms
