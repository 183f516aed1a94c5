"""The engine `follow`: blocks from other nodes, every one executed and checked here.

- A block must extend the chain that is held, bear the producer's seal, and hold only transactions
  that are valid here; executing it must give the state root that it states.
- What a source cannot prove is the source's fault: the next one is asked.
- What the producer sealed and does not hold is the producer's fault: the replica stops, says at
  which block and why, and never goes on along such a chain.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import httpx2
import msgspec
import structlog

from ledger.errors import Diverged, Refusal, WaypostError
from ledger.messages.blocks import BLOCK, MAX_BLOCK_BYTES, Block
from ledger.replay import check_sealed
from ledger.types import Height
from registry.engines.answers import refused_answer
from registry.ipc import Lost
from registry.replica import Replica

FETCH_BLOCKS: Final = 100
"""Blocks in one request."""

MAX_ANSWER_BYTES: Final = 2 * MAX_BLOCK_BYTES
TIMEOUT_S: Final = 20.0
RETRY_S: Final = 1.0

log = structlog.get_logger()


class BadSource(WaypostError):
    """A source answers with what is no proven block; another one may be better."""


class Follow:
    """Follows the chain that `sources` serve."""

    def __init__(self, replica: Replica, sources: Sequence[str]) -> None:
        self._replica = replica
        self._sources = list(sources)
        self._client = httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False)
        params = replica.chain.view().state.params()
        self._pause_s = min(1.0, params.block_ms / 3000)

    async def run(self) -> None:
        """Fetch and execute blocks until cancelled. Raises `Diverged`."""
        await self.catch_up(None)

    async def catch_up(self, height: Height | None) -> None:
        """Fetch and execute blocks up to `height`, or for ever. Raises `Diverged`."""
        while height is None or self._replica.chain.tip.height < height:
            try:
                found = await self._fetch(self._sources[0])
                for block in found:
                    await self._execute(block)
            except (BadSource, httpx2.HTTPError) as error:
                log.warning("source failed", source=self._sources[0], reason=str(error))
                self._sources.append(self._sources.pop(0))
                await asyncio.sleep(RETRY_S)
                continue
            if len(found) < FETCH_BLOCKS:
                await asyncio.sleep(self._pause_s)

    async def _fetch(self, source: str) -> list[Block]:
        start = self._replica.chain.tip.height + 1
        answer = bytearray()
        async with self._client.stream(
            "GET", f"{source}/v1/blocks", params={"start": start, "limit": FETCH_BLOCKS}
        ) as response:
            if response.status_code != 200:
                raise BadSource(f"it answers {response.status_code}")
            async for piece in response.aiter_bytes():
                answer += piece
                if len(answer) > MAX_ANSWER_BYTES:
                    raise BadSource("it sends more than was asked for")
        try:
            raws = msgspec.msgpack.decode(bytes(answer), type=list[bytes])
            return [BLOCK.decode(raw) for raw in raws]
        except (msgspec.MsgspecError, Refusal) as error:
            raise BadSource(f"it sends no blocks: {error}") from None

    async def _execute(self, block: Block) -> None:
        """Check, execute and commit one block. Raises `BadSource` and `Diverged`."""
        chain, header = self._replica.chain, block.header
        try:
            check_sealed(chain, block)
        except Refusal as refusal:
            raise BadSource(str(refusal)) from None
        try:
            await self._replica.drive(chain.validate(block.input))
        except Refusal as refusal:
            raise Diverged(header.height, refusal.text) from None
        executed = await self._replica.finalize(block.input)
        if executed.root != header.state_root:
            raise Diverged(
                header.height,
                f"it states the root {header.state_root.hex()}, executing it gives "
                f"{executed.root.hex()}",
            )
        await self._replica.commit(executed, block.seal)

    async def submit(self, raws: list[bytes], wait: bool) -> list[dict[str, Any]]:
        """Pass transactions on to a source. Raises `Lost` if none takes them."""
        for source in list(self._sources):
            try:
                response = await self._client.post(
                    f"{source}/v1/transactions",
                    params={"wait": "commit"} if wait else {},
                    content=msgspec.msgpack.encode(raws),
                    headers={"Content-Type": "application/msgpack"},
                )
                return _read_answers(raws, response.json())
            except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
                log.warning("submission not passed on", source=source, reason=str(error))
        raise Lost("no source takes transactions now")

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()


def _read_answers(raws: list[bytes], answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a source answered to a submission; one refused alone comes as a problem.

    Raises `KeyError` and its like where it answered something else.
    """
    if "results" in answer or len(raws) != 1:
        results: list[dict[str, Any]] = answer["results"]
        return results
    refusal = Refusal(answer["type"], **answer["values"])
    return [refused_answer(raws[0], "refused", refusal)]
