"""In which order funded nodes become active, and how many at a time; how many may leave."""

from collections.abc import Iterable
from typing import Final

from ledger.types import BASIS_POINTS, Key

EXIT_SHARE: Final = 100
"""One of so many active nodes may leave in an epoch."""


def activation_limit(active: int, floor: int, share: int, most: int) -> int:
    """Return how many nodes one epoch may activate: `floor`, or `share`/10,000 of the active.

    There are never more than `most` active nodes, since a list holds no more.
    """
    return max(0, min(max(floor, active * share // BASIS_POINTS), most - active))


def exit_limit(active: int) -> int:
    """Return how many nodes one epoch lets go, so that no swarm is emptied at once."""
    return max(1, active // EXIT_SHARE)


def order_by_turns(queue: Iterable[tuple[Key, Key]]) -> list[Key]:
    """Return the nodes of `(node, operator)` so that operators take turns.

    First the first node of each operator, then the second of each, and so on; within a turn in
    the queue's order. Who funds many nodes at once does not keep others waiting.
    """
    turns: list[list[Key]] = []
    seen: dict[Key, int] = {}
    for node, operator in queue:
        turn = seen.get(operator, 0)
        seen[operator] = turn + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(node)
    return [node for turn in turns for node in turn]
