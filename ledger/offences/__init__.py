"""Offences: one table, and nothing else dispatches.

offence             what all offences share: the row, who did it and when, what has to be there
vote_equivocation   a pass and a fail by one duty key
list_equivocation   two list headers by one list key
block_equivocation  two blocks by one validator, as its engine saw them
punish              what an offence costs, and whom
"""

from typing import Final

from ledger.offences import block_equivocation, list_equivocation, vote_equivocation
from ledger.offences.offence import Offence

OFFENCES: Final = (
    Offence(1, "vote_equivocation", vote_equivocation.CODEC, vote_equivocation.identify,
            vote_equivocation.signatures, "vote_penalty", tombstones=False),
    Offence(2, "list_equivocation", list_equivocation.CODEC, list_equivocation.identify,
            list_equivocation.signatures, "list_penalty", tombstones=True),
    Offence(3, "block_equivocation", block_equivocation.CODEC, block_equivocation.identify,
            None, "block_penalty", tombstones=True),
)  # fmt: skip
"""Every offence; a number is never used again."""

BLOCK_EQUIVOCATION: Final = OFFENCES[2]
"""The one that engines give."""


def get_offence(number: int) -> Offence | None:
    """Return the offence of a number that a report can prove."""
    return next((o for o in OFFENCES if o.number == number and o.signatures is not None), None)
