"""The network in one page, its epochs, and who signs its lists."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from registry.api.answers import found
from registry.web.visit import Shown, Visit

EPOCHS: Final = 12
"""Epochs in one page: each is asked for by itself."""


async def show_network(visit: Visit) -> Shown:
    """The network in one page."""
    network = visit.network
    final = network.latest_final
    return {
        "counts": network.nodes.model_dump(),
        "final": final,
        "is_late": final is not None and visit.now_ms >= final.fresh_until_ms,
        "fingerprint": network.fingerprint,
    }


async def show_epochs(visit: Visit) -> Shown:
    """Epochs that have ended, the newest first, with their lists."""
    newest = visit.network.newest_header.epoch
    last = visit.number("before", newest + 1, 1) - 1
    last = min(last, newest)
    first = max(0, last - EPOCHS + 1)
    rows = await asyncio.gather(
        *(visit.ask("epoch", epoch=epoch) for epoch in range(last, first - 1, -1))
    )
    return {
        "epochs": [row for row in rows if row is not None],
        "older": first if first > 0 else None,
        "newer": min(last + EPOCHS, newest) + 1 if last < newest else None,
    }


async def show_epoch(visit: Visit) -> Shown:
    """One epoch's header, who signed it, and its fingerprint."""
    number = visit.number("epoch", 0)
    epoch = found(await visit.ask("epoch", epoch=number), f"header of epoch {number} here")
    newest = visit.network.newest_header.epoch
    return {
        "title": f"Epoch {number}",
        "epoch": epoch,
        "before": number - 1 if number else None,
        "after": number + 1 if number < newest else None,
        "hashes": _hashes(epoch["header"]),
    }


def _hashes(header: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """The header's hashes by their names in words."""
    return [
        (name.replace("_", " "), value) for name, value in header.items() if isinstance(value, str)
    ]


async def show_attestors(visit: Visit) -> Shown:
    """The seats of the attestor set, and what each of them signed."""
    return {"attestors": found(await visit.ask("attestors"), "attestor set")}
