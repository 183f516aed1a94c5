"""What engines that keep a pool of their own answer to a submission."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

from ledger.crypto import sha256
from ledger.errors import Refusal
from registry.engines.answers import committed_answer, pending_answer, refused_answer
from registry.replica import Replica

WAIT_S: Final = 60.0
"""How long a submission waits for its block; then it is answered with what is known."""


async def answer_all(
    replica: Replica, raws: Sequence[bytes], outcomes: Sequence[Refusal | None], wait_s: float
) -> list[dict[str, Any]]:
    """Answer for what went into the pool with these outcomes; wait so long for their blocks."""
    if wait_s:
        taken = [
            sha256(raw) for raw, outcome in zip(raws, outcomes, strict=True) if outcome is None
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await asyncio.gather(*map(replica.pool.settled, taken))
    return [_answer(replica, raw, outcome) for raw, outcome in zip(raws, outcomes, strict=True)]


def _answer(replica: Replica, raw: bytes, refusal: Refusal | None) -> dict[str, Any]:
    tx_hash = sha256(raw)
    if refusal is not None:
        return refused_answer(tx_hash, "refused", refusal)
    if tx_hash in replica.pool:
        return pending_answer(tx_hash)
    location = replica.chain.view().location(tx_hash)
    if location is not None:
        return committed_answer(tx_hash, location)
    fate = replica.pool.fate(tx_hash)
    if fate is not None and fate.refusal is not None:
        return refused_answer(tx_hash, fate.state, fate.refusal)
    return pending_answer(tx_hash)
