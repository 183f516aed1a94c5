"""Executing blocks of signed transactions, as the service does.

- A `Replica` on LevelDB drives the chain; two worker processes verify; a block counts from its
  raw transactions to the synced commit. Nothing was seen before: decode, verify, check, apply,
  root, write.
- The limit is what libsodium alone verifies on both cores, measured before and after each block.
- The producer's way is measured too: every transaction passes the pool first, so it is checked
  twice, and its signature was verified before the block began.
"""

import asyncio
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from bench.figures import Limit, Section
from bench.networks import QUIET, SEED, WIDE, make_genesis, make_pairs, open_with_accounts
from bench.sodium import Sodium
from bench.traffic import Traffic
from ledger.chain import Chain
from ledger.crypto import Signed
from ledger.leveldb import LevelStore
from ledger.messages.blocks import BlockInput
from ledger.steps import Steps
from ledger.types import COIN
from registry.replica import Replica
from registry.supervisor import Child
from registry.workers import WorkerVerifier

ACCOUNTS: Final = 100_000
EACH: Final = 1_000 * COIN
LARGE: Final = 2_000
SMALL: Final = 200
REPETITIONS: Final = 9
SMALL_REPETITIONS: Final = 20
WORKERS: Final = 2
GOAL: Final = Limit(0.3, is_floor=True)

T = TypeVar("T")


class Phases(NamedTuple):
    """Where the time of one block went, in seconds."""

    decode: float
    """Until all signatures are asked for."""
    verify: float
    """Until the answers are there; the workers are at work, this process waits."""
    apply: float
    """Check and apply, and the encoding of what changed."""
    root: float
    """The state's tree."""
    commit: float
    """The batch, its synced write, and what follows."""

    @property
    def total(self) -> float:
        """The whole block."""
        return sum(self)


@dataclass
class Marks:
    """When the work on a block came to its stations."""

    began: float
    asked: float = 0.0
    answered: float = 0.0
    paused: float = 0.0
    """The last pause is the one before the tree."""
    ended: float = 0.0


class Watched(Replica):
    """A replica that notes when its work on a block pauses."""

    marks: Marks

    async def drive(self, steps: Steps[T] | Generator[None, None, T]) -> T:
        """Drive like any replica."""
        self.marks = Marks(time.perf_counter())
        return await super().drive(self._noted(steps))

    def _noted(self, steps: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        answer: Any = None
        while True:
            try:
                asked = steps.send(answer)
            except StopIteration as stop:
                self.marks.ended = time.perf_counter()
                result: T = stop.value
                return result
            if asked is None:
                self.marks.paused = time.perf_counter()
                answer = yield None
            else:
                self.marks.asked = time.perf_counter()
                answer = yield asked
                self.marks.answered = time.perf_counter()


class Bench:
    """A replica with its workers, and transactions for it."""

    def __init__(self, replica: Watched, traffic: Traffic) -> None:
        self.replica = replica
        self.chain = replica.chain
        self._traffic = traffic

    def draw(self, count: int) -> BlockInput:
        """Return the next block."""
        tip = self.chain.tip
        raws = self._traffic.draw(count, tip.height + 1)
        producer = self.chain.genesis.producer
        return BlockInput(tip.height + 1, tip.time_ms + 1_000, producer, (), tuple(raws))

    async def execute(self, block: BlockInput) -> Phases:
        """Execute and commit a block that nobody saw before."""
        executed = await self.replica.finalize(block)
        assert not any(executed.codes), executed.codes
        await self.replica.commit(executed, bytes(64))
        done = time.perf_counter()
        marks = self.replica.marks
        return Phases(
            decode=marks.asked - marks.began,
            verify=marks.answered - marks.asked,
            apply=marks.paused - marks.answered,
            root=marks.ended - marks.paused,
            commit=done - marks.ended,
        )

    async def produce(self, block: BlockInput) -> tuple[float, float]:
        """Take a block's transactions in, then make the block; return the seconds of each."""
        began = time.perf_counter()
        refusals = await self.replica.pool.add(block.transactions)
        assert not any(refusals), refusals
        taken = time.perf_counter()
        candidates = self.replica.pool.candidates()
        made = await self.replica.drive(
            self.chain.propose(block.height, block.time_ms, block.proposer, candidates)
        )
        executed = await self.replica.finalize(made)
        assert len(made.transactions) == len(block.transactions)
        await self.replica.commit(executed, bytes(64))
        return taken - began, time.perf_counter() - taken


async def _measure(section: Section, folder: Path) -> None:
    pairs = make_pairs(ACCOUNTS)
    start_ms = time.time_ns() // 1_000_000
    genesis = make_genesis(start_ms, QUIET | WIDE)
    store = LevelStore(folder / "ledger")
    chain = open_with_accounts(store, genesis, [pair.public for pair in pairs], EACH)
    sockets = [folder / f"worker-{number}" for number in range(WORKERS)]
    workers = [
        await Child.start("worker", "registry.workers", ["--socket", str(path)]) for path in sockets
    ]
    replica = Watched(chain, WorkerVerifier(sockets))
    params = chain.view().state.params()
    bench = Bench(replica, Traffic(chain.genesis_hash, params, pairs, start_ms, SEED))
    warm_up = bench.draw(LARGE)
    sodium = Sodium(_signatures(chain, warm_up.transactions[: LARGE // 2]), folder)
    try:
        await bench.execute(warm_up)
        await _measure_blocks(section, bench, sodium)
    finally:
        sodium.close()
        await replica.close()
        for worker in workers:
            await worker.stop()
        store.close()


def _signatures(chain: Chain, raws: Sequence[bytes]) -> list[Signed]:
    return [item for raw in raws for item in chain.signatures(chain.decode(raw))]


async def _measure_blocks(section: Section, bench: Bench, sodium: Sodium) -> None:
    section.add("libsodium, one process", "signatures/s", [sodium.measure(1) for _ in range(5)])
    for size, times in ((LARGE, REPETITIONS), (SMALL, SMALL_REPETITIONS)):
        limits: list[float] = [sodium.measure()]
        phases: list[Phases] = []
        for _ in range(times):
            block = bench.draw(size)
            phases.append(await bench.execute(block))
            limits.append(sodium.measure())
        _report(section, size, limits, phases)
    section.say(f"the same blocks of {LARGE:,} by their producer, whose pool takes them in first")
    taken, made = zip(*[await bench.produce(bench.draw(LARGE)) for _ in range(5)], strict=True)
    section.add("into the pool: decode, verify, check", "ms", [1_000 * one for one in taken])
    section.add("propose, finalize, commit", "ms", [1_000 * one for one in made])


def _report(section: Section, size: int, limits: Sequence[float], phases: Sequence[Phases]) -> None:
    if size == LARGE:
        section.add("libsodium, two processes", "signatures/s", limits)
    rates = [size / one.total for one in phases]
    section.add(f"blocks of {size:,}", "transactions/s", rates)
    ratios = [
        2 * rate / (before + after)
        for rate, before, after in zip(rates, limits[:-1], limits[1:], strict=True)
    ]
    section.add(
        f"blocks of {size:,}, share of libsodium alone", "", ratios, GOAL if size == LARGE else None
    )
    for place, name in enumerate(Phases._fields):
        each = [1e6 * one[place] / size for one in phases]
        section.add(f"  {name}", "µs a transaction", each)


def run(section: Section) -> None:
    """Measure the section."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as folder:
        asyncio.run(_measure(section, Path(folder)))
