"""One chain with everything that has to happen in step with it; engines drive it.

A block goes through here in this order: its work in pieces, so that requests are answered
meanwhile; the synced write on a thread of its own, and beside it, in pieces too, what follows from
the block for census and roster; then, and only then, everybody hears of it.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Container, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

import structlog

from ledger.chain import Chain, Executed
from ledger.crypto import sha256
from ledger.messages.blocks import Block, BlockInput
from ledger.steps import Steps
from ledger.types import Hash
from registry.census import Census
from registry.checkins import CheckIns
from registry.pool import Pool
from registry.roster import Roster
from registry.verdicts import SentVote, Verdicts
from registry.workers import Verifier

TURNS: Final = 4
"""Turns of the loop between two pieces of work: a request takes so many from its first byte to its
answer, and would wait for a piece in each of them."""

T = TypeVar("T")
log = structlog.get_logger()


class Engine(Protocol):
    """What orders blocks."""

    async def run(self) -> None:
        """Work until cancelled. Raises a `Fault` where going on would be wrong."""

    async def submit(self, raws: list[bytes], wait: bool) -> list[dict[str, Any]]:
        """Take transactions in; `wait` answers once their fate is known."""

    async def vote(self, votes: list[SentVote]) -> list[dict[str, Any]]:
        """Take votes in; answer for each what became of it."""

    async def close(self) -> None:
        """Let go of what it holds, once `run` has ended."""


@contextmanager
def fill_memory() -> Iterator[None]:
    """Make what stays as long as this process, a chain and what is kept beside it.

    These are objects by the million, and the collector would only walk them again and again, so
    from here on it passes them over. It also looks less often: blocks make records by the thousand
    and no circles of them.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class Replica:
    """A chain, its pool, votes and check-ins, its census and its roster, on one event loop."""

    def __init__(self, chain: Chain, verifier: Verifier) -> None:
        self.chain = chain
        self.verifier = verifier
        self.pool = Pool(chain, verifier)
        self.verdicts = Verdicts(chain, self.pool, verifier)
        self.check_ins = CheckIns(chain, verifier)
        self.census = Census()
        self.census.count_all(chain)
        self.roster = Roster()
        self.roster.read_all(chain.view().state)
        self.on_commit: list[Callable[[Block, Executed], Awaitable[None]]] = [
            self.verdicts.on_commit,
            self.check_ins.on_commit,
        ]
        """Called in order after each block, when it lasts."""
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")

    async def drive(self, steps: Steps[T] | Generator[None, None, T]) -> T:
        """Run pausable work on the loop; signatures are verified elsewhere."""
        answer: list[bool] | None = None
        while True:
            try:
                asked = steps.send(answer)  # type: ignore[arg-type]
            except StopIteration as stop:
                result: T = stop.value
                return result
            answer = None
            if asked is None:
                for _ in range(TURNS):
                    await asyncio.sleep(0)
            else:
                answer = await self.verifier.verify(asked)

    async def finalize(self, block: BlockInput, verified: Container[Hash] = ()) -> Executed:
        """Execute a block up to its root."""
        return await self.drive(self.chain.finalize(block, verified))

    async def commit(
        self, executed: Executed, seal: bytes, note: Callable[[Block], None] = lambda _: None
    ) -> Block:
        """Make the finalized block last, then tell everybody.

        `note` runs on the writing thread, after the write and before anybody hears of the block.
        """
        block, batch = self.chain.begin_commit(seal)

        def write() -> None:
            self.chain.store.write(batch, sync=True)
            note(block)

        writing = asyncio.get_running_loop().run_in_executor(self._writer, write)
        changes, before = self.chain.changed_records(), self.chain.view().state
        counts = await self.drive(self.census.prepare(changes))
        rows = await self.drive(self.roster.prepare(changes, before))
        # a write that was begun is waited for, whatever happens to who waits
        await asyncio.shield(writing)

        def end_commit() -> None:
            self.chain.end_commit(block)
            self.census.adopt(counts)
            self.roster.adopt(rows)

        await self.pool.committed(map(sha256, block.transactions), end_commit)
        for listener in self.on_commit:
            await listener(block, executed)
        return block

    async def close(self) -> None:
        """Wait for the last write."""
        self._writer.shutdown(wait=True)
        await self.verifier.close()
