"""How many nodes verdicts may take off duty in an epoch, and whose turn it is.

- One limit covers decommissions and deregistrations.
- A node counts as down while it is decommissioned, and while it is deregistered and its stake is
  locked; never more than a quarter of those registered are made to be down.
- Who has failed for the most epochs goes first; a hash with the seed decides between equals.
"""

from collections.abc import Iterable
from typing import Final

from ledger.crypto import tagged_hash
from ledger.messages import tags
from ledger.types import BASIS_POINTS, Hash, Key

DOWN_SHARE: Final = 4
"""One in so many registered nodes may be down."""


def removal_limit(active: int, floor: int, share: int) -> int:
    """Return how many nodes one epoch may remove: `floor`, or `share`/10,000 of the active."""
    return max(floor, active * share // BASIS_POINTS)


def may_be_down(down: int, active: int) -> bool:
    """Whether `down` nodes beside `active` ones are no more than a quarter of them all."""
    return DOWN_SHARE * down <= down + active


def order_removals(candidates: Iterable[tuple[Key, int]], seed: Hash) -> list[Key]:
    """Return the nodes of `(node, failing epochs)` in the order of their turn."""
    turns = sorted((-failing, tagged_hash(tags.REMOVAL, seed, node), node)
                   for node, failing in candidates)  # fmt: skip
    return [node for _, _, node in turns]
