"""One node: how it fared before, beside the card of what it is now (`registry.card`)."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from registry.amounts import format_amount
from registry.web.visit import Visit

HISTORY_EPOCHS: Final = 64
"""Epochs of the history that are shown."""


class Past(NamedTuple):
    """How a node fared in an epoch."""

    epoch: int
    ended_ms: int | None
    verdict: str
    """`passed`, `failed` or `none`."""
    faults: Sequence[str]
    reward: int | None
    """Atomic units; None if that is not known."""


async def read_history(visit: Visit, key: bytes) -> list[Past]:
    """Return how a node fared in the newest epochs that ended, the oldest first."""
    answer = await visit.ask("history", key=key, epochs=HISTORY_EPOCHS)
    return [
        Past(
            row["epoch"],
            row["ended_ms"],
            row["verdict"],
            row["faults"],
            None if row["reward"] is None else int(row["reward"]),
        )
        for row in (answer or {"epochs": []})["epochs"]
    ]


def tell_history(history: Sequence[Past]) -> str:
    """Return in a sentence what the plots show."""
    if not history:
        return "No epoch has ended in this life of the node that is known here."
    counts = [sum(row.verdict == kind for row in history) for kind in ("passed", "failed", "none")]
    rewards = [row.reward for row in history if row.reward is not None]
    told = (
        f"Epochs {history[0].epoch} to {history[-1].epoch}: {counts[0]} passed, {counts[1]} "
        f"failed, {counts[2]} without a verdict."
    )
    if not rewards:
        return told
    where = "them" if len(rewards) == len(history) else f"the {len(rewards)} whose reward is known"
    return f"{told} It was paid {format_amount(sum(rewards))} in {where}."
