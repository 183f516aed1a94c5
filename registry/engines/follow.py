"""The engine `follow`: blocks from other nodes, every one executed and checked here.

- A block must extend the chain that is held, bear the producer's seal, and hold only transactions
  that are valid here; executing it must give the state root that it states.
- What a source cannot prove is the source's fault: the next one is asked, also after one that has
  had nothing new for a while.
- What the producer sealed and does not hold is the producer's fault: the replica stops, says at
  which block and why, and never goes on along such a chain.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import httpx2
import msgspec
import structlog

from ledger.crypto import sha256, verify
from ledger.errors import REFUSALS, Diverged, Refusal, WaypostError, describe
from ledger.messages.blocks import BLOCK, MAX_BLOCK_BYTES, Block, block_seal
from ledger.replay import check_outcome, check_sealed
from ledger.types import Height
from registry.engines.answers import refused_answer
from registry.ipc import Lost
from registry.replica import Replica
from registry.verdicts import SentVote, refused_vote

FETCH_BLOCKS: Final = 100
"""Blocks in one request."""

MAX_ANSWER_BYTES: Final = 2 * MAX_BLOCK_BYTES
TIMEOUT_S: Final = 20.0
"""How long a source may be silent, unless it waits for a block."""

DEADLINE_S: Final = 90.0
"""How long a whole answer may take; above what a source waits for a block."""

RETRY_S: Final = 1.0
PATIENCE_BLOCKS: Final = 4
"""Block times without a block after which another source is asked."""

UNREADABLE: Final = (ValueError, KeyError, TypeError, RecursionError)
"""What comes of reading an answer that is none."""

log = structlog.get_logger()


class BadSource(WaypostError):
    """A source answers with what is of no use; another one may be better."""


class _Answer(msgspec.Struct):
    """What a source says of one transaction that was submitted."""

    hash: str
    state: Literal["pending", "committed", "refused", "expired", "dropped"]
    height: int | None
    index: int | None
    code: str | None
    detail: str | None
    values: dict[str, int | str]


class _VoteAnswer(msgspec.Struct):
    """What a source says of one vote that was passed on."""

    state: Literal["held", "noted", "judged", "contradiction", "refused"]
    held: int
    needed: int
    code: str | None
    detail: str | None
    values: dict[str, int | str]


class Follow:
    """Follows the chain that `sources` serve."""

    def __init__(self, replica: Replica, sources: Sequence[str]) -> None:
        self._replica = replica
        self._sources = list(sources)
        self._client = httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False)
        params = replica.chain.view().state.params()
        self._pause_s = min(1.0, params.block_ms / 3000)
        self._patience_s = PATIENCE_BLOCKS * params.block_ms / 1000
        self._submissions = 0

    async def run(self) -> None:
        """Fetch and execute blocks until cancelled. Raises `Diverged`."""
        await self.catch_up(None)

    async def catch_up(self, height: Height | None) -> None:
        """Fetch and execute blocks up to `height`, or for ever. Raises `Diverged`."""
        idle_s = 0.0
        while height is None or self._replica.chain.tip.height < height:
            try:
                found = await self._fetch(self._sources[0])
                for block in found:
                    await self._execute(block)
            except BadSource as error:
                log.warning("source failed", source=self._sources[0], reason=str(error))
                self._rotate()
                await asyncio.sleep(RETRY_S)
                continue
            idle_s = 0.0 if found else idle_s + self._pause_s
            if idle_s > self._patience_s:
                # it may keep back what others have
                idle_s = 0.0
                self._rotate()
            if len(found) < FETCH_BLOCKS:
                await asyncio.sleep(self._pause_s)

    def _rotate(self) -> None:
        self._sources.append(self._sources.pop(0))

    async def _fetch(self, source: str) -> list[Block]:
        start = self._replica.chain.tip.height + 1
        status, answer = await self._ask(
            "GET", f"{source}/v1/blocks", params={"start": start, "limit": FETCH_BLOCKS}
        )
        if status != 200:
            raise BadSource(f"it answers {status}")
        try:
            raws = msgspec.msgpack.decode(answer, type=list[bytes])
            return [BLOCK.decode(raw) for raw in raws]
        except (msgspec.MsgspecError, Refusal) as error:
            raise BadSource(f"it sends no blocks: {error}") from None

    async def _ask(self, method: str, url: str, **request: Any) -> tuple[int, bytes]:
        """Return status and body. Raises `BadSource` if none comes whole, in time and in bounds."""
        answer = bytearray()
        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                self._client.stream(method, url, **request) as response,
            ):
                async for piece in response.aiter_bytes():
                    answer += piece
                    if len(answer) > MAX_ANSWER_BYTES:
                        raise BadSource("it sends more than was asked for")
                return response.status_code, bytes(answer)
        except TimeoutError:
            raise BadSource(f"it did not answer within {DEADLINE_S:g} s") from None
        except httpx2.DecodingError as error:
            raise BadSource(f"its answer cannot be unpacked: {error}") from None
        except httpx2.HTTPError as error:
            raise BadSource(f"it did not answer: {describe(error)}") from None

    async def _execute(self, block: Block) -> None:
        """Check, execute and commit one block. Raises `BadSource` and `Diverged`."""
        chain, header = self._replica.chain, block.header
        try:
            check_sealed(chain, block)
        except Refusal as refusal:
            if self._is_fork(block):
                raise Diverged(header.height, "it is sealed, and follows another block") from None
            raise BadSource(str(refusal)) from None
        try:
            await self._replica.drive(chain.validate(block.input))
        except Refusal as refusal:
            raise Diverged(header.height, refusal.text) from None
        executed = await self._replica.finalize(block.input)
        check_outcome(chain, block)
        await self._replica.commit(executed, block.seal)

    def _is_fork(self, block: Block) -> bool:
        """Whether the producer sealed a next block that contradicts the one before it."""
        chain, header = self._replica.chain, block.header
        is_next = header.height == chain.tip.height + 1
        seal = block_seal(chain.genesis_hash, chain.genesis.producer, header, block.seal)
        return is_next and header.previous != chain.tip.block_hash and verify(seal)

    async def submit(self, raws: list[bytes], wait: bool) -> list[dict[str, Any]]:
        """Pass transactions on to a source. Raises `Lost` if none takes them."""
        return await self._pass_on(
            "transactions",
            raws,
            lambda answer: _read_answers(raws, answer),
            params={"wait": "commit"} if wait else {},
            timeout=DEADLINE_S if wait else TIMEOUT_S,
        )

    async def vote(self, votes: list[SentVote]) -> list[dict[str, Any]]:
        """Pass votes on to a source. Raises `Lost` if none takes them."""
        return await self._pass_on(
            "verdicts", votes, lambda answer: _read_vote_answers(len(votes), answer)
        )

    async def _pass_on(
        self,
        what: str,
        items: Sequence[Any],
        read: Callable[[list[Any] | Refusal], list[dict[str, Any]]],
        **request: Any,
    ) -> list[dict[str, Any]]:
        """Send something to a source and return what `read` makes of its answer.

        Each goes to another one first: what a source keeps for itself arrives when it is repeated.
        """
        first = self._submissions % len(self._sources)
        self._submissions += 1
        for source in self._sources[first:] + self._sources[:first]:
            try:
                status, answer = await self._ask(
                    "POST",
                    f"{source}/v1/{what}",
                    content=msgspec.msgpack.encode(items),
                    headers={"Content-Type": "application/msgpack"},
                    **request,
                )
                return read(_open(status, answer, len(items)))
            except (BadSource, *UNREADABLE) as error:
                log.warning("submission not passed on", source=source, reason=str(error))
        raise Lost(f"no source takes {what} now")

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()


def _open(status: int, raw: bytes, count: int) -> list[Any] | Refusal:
    """Return what was answered to so many items: a row for each, or why one alone is refused.

    Raises `BadSource` for a problem that the source has itself, and what `UNREADABLE` names.
    """
    try:
        answer = msgspec.json.decode(raw, type=dict[str, Any])
    except UNREADABLE as error:
        raise BadSource(f"it answers {status}, unreadable: {error}") from None
    if "results" in answer:
        rows: list[Any] = answer["results"]
        return rows
    code = answer.get("type")
    if code not in REFUSALS or count != 1:
        raise BadSource(f"it answers {status}: {code}")
    return Refusal(code, **answer["values"])


def _read_answers(raws: list[bytes], answer: list[Any] | Refusal) -> list[dict[str, Any]]:
    """Return what a source answered to a submission. Raises `ValueError` if it is none."""
    if isinstance(answer, Refusal):
        return [refused_answer(sha256(raws[0]), "refused", answer)]
    results = msgspec.convert(answer, list[_Answer])
    if [row.hash for row in results] != [sha256(raw).hex() for raw in raws]:
        raise ValueError("it answers for other transactions")
    plain: list[dict[str, Any]] = msgspec.to_builtins(results)
    return plain


def _read_vote_answers(count: int, answer: list[Any] | Refusal) -> list[dict[str, Any]]:
    """Return what a source answered to votes. Raises `ValueError` if it is no answer."""
    if isinstance(answer, Refusal):
        return [refused_vote(answer)]
    results = msgspec.convert(answer, list[_VoteAnswer])
    if len(results) != count:
        raise ValueError("it answers for other votes")
    plain: list[dict[str, Any]] = msgspec.to_builtins(results)
    return plain
