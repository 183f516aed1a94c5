"""Executing blocks of signed transactions, as the service does.

- A `Replica` on LevelDB drives the chain; two worker processes verify; a block counts from its
  raw transactions to the synced commit. Nothing was seen before: decode, verify, check, apply,
  root, write.
- The limit is what libsodium alone verifies on both cores, measured before and after each block.
- Two other ways through the same code are measured beside it. A follower validates a block before
  it finalizes it. A producer takes transactions into its pool first, so they are checked twice, and
  their signatures were verified before the block began.
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from bench.figures import Limit, Section
from bench.networks import QUIET, SEED, WIDE, make_genesis, make_pairs, open_with_accounts
from bench.sodium import Sodium
from bench.traffic import Traffic, make_contact, make_verdicts
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
JUDGED: Final = 2_400
"""Active nodes, of which each is judged once: enough for all blocks."""
LARGE: Final = 2_000
SMALL: Final = 200
REPETITIONS: Final = 9
SMALL_REPETITIONS: Final = 20
FEW: Final = 5
WORKERS: Final = 2
BOTH_CORES: Final = 1.75
"""Times what one process verifies: less, and somebody else took a part of the two cores."""
GOAL: Final = Limit(0.25, is_floor=True)

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


class Round(NamedTuple):
    """One block, with what libsodium alone verified in a second before and after it."""

    phases: Phases
    signatures: int
    """In the block."""
    before: float
    after: float

    @property
    def limit(self) -> float:
        """What libsodium could have verified meanwhile."""
        return (self.before + self.after) / 2

    def had_both_cores(self, alone: float) -> bool:
        """Whether two processes got done what two cores can; `alone` is what one does.

        Another program on one of them takes half of that, but less from a block, during which one
        core is idle for a while: the block's share would look better than it is.
        """
        return min(self.before, self.after) >= BOTH_CORES * alone


@dataclass
class Marks:
    """When the work on a block came to its stations."""

    began: float
    asked: float = 0.0
    answered: float = 0.0
    applied: float = 0.0
    """When `update_tree` began, which comes last and pauses on its own."""
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
                inner = getattr(getattr(steps, "gi_yieldfrom", None), "__name__", "")
                if inner == "update_tree" and not self.marks.applied:
                    self.marks.applied = time.perf_counter()
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
        # what follows the write is driven too, and has marks of its own
        marks = self.replica.marks
        await self.replica.commit(executed, bytes(64))
        done = time.perf_counter()
        return Phases(
            decode=marks.asked - marks.began,
            verify=marks.answered - marks.asked,
            apply=marks.applied - marks.answered,
            root=marks.ended - marks.applied,
            commit=done - marks.ended,
        )

    async def follow(self, block: BlockInput) -> float:
        """Validate, execute and commit a block that a producer sent; return the seconds."""
        began = time.perf_counter()
        await self.replica.drive(self.chain.validate(block))
        executed = await self.replica.finalize(block)
        await self.replica.commit(executed, bytes(64))
        return time.perf_counter() - began

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
    contacts = [make_contact(number) for number in range(JUDGED)]
    accounts = [pair.public for pair in pairs]
    chain = open_with_accounts(store, genesis, accounts, EACH, contacts)
    sockets = [folder / f"worker-{number}" for number in range(WORKERS)]
    workers = [
        await Child.start("worker", "registry.workers", ["--socket", str(path)]) for path in sockets
    ]
    replica = Watched(chain, WorkerVerifier(sockets))
    params = chain.view().state.params()
    verdicts = make_verdicts(chain, JUDGED)
    bench = Bench(replica, Traffic(chain.genesis_hash, params, pairs, start_ms, SEED, verdicts))
    warm_up = bench.draw(LARGE)
    sodium = Sodium(_signatures(chain, warm_up.transactions[: LARGE // 2]), folder)
    try:
        await bench.execute(warm_up)
        # as the ledger process does: what is there stays, and is not looked at again
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        await _measure_blocks(section, bench, sodium)
    finally:
        gc.unfreeze()
        sodium.close()
        await replica.close()
        for worker in workers:
            await worker.stop()
        store.close()


def _signatures(chain: Chain, raws: Sequence[bytes]) -> list[Signed]:
    return [item for raw in raws for item in chain.signatures(chain.decode(raw))]


async def _measure_blocks(section: Section, bench: Bench, sodium: Sodium) -> None:
    alone = [sodium.measure(1) for _ in range(FEW)]
    section.add("libsodium, one process", "signatures/s", alone)
    for size, times in ((LARGE, REPETITIONS), (SMALL, SMALL_REPETITIONS)):
        rounds = await _measure_rounds(bench, sodium, size, times, max(alone))
        quiet = [one for one in rounds if one.had_both_cores(max(alone))]
        if len(quiet) < times:
            section.say(
                f"only {len(quiet)} of {len(rounds)} blocks could have both cores: all of them are "
                "shown, their share of libsodium looks better than it is, and no limit is judged"
            )
            _report(section, size, rounds, None)
        else:
            _report(section, size, quiet, GOAL if size == LARGE else None)
    followed = [1_000 * await bench.follow(bench.draw(LARGE)) for _ in range(FEW)]
    section.add(f"a follower's block of {LARGE:,}: validated too", "ms", followed)
    taken, made = zip(*[await bench.produce(bench.draw(LARGE)) for _ in range(FEW)], strict=True)
    section.add(f"a producer's {LARGE:,}: into the pool", "ms", [1_000 * one for one in taken])
    section.add("  propose, finalize, commit", "ms", [1_000 * one for one in made])


async def _measure_rounds(
    bench: Bench, sodium: Sodium, size: int, times: int, alone: float
) -> list[Round]:
    """Execute blocks until enough of them could have both cores, four times as many at most."""
    rounds: list[Round] = []
    before = sodium.measure()
    quiet = 0
    while quiet < times and len(rounds) < 4 * times:
        block = bench.draw(size)
        phases = await bench.execute(block)
        after = sodium.measure()
        # counted at the end: to look for them reads records, which a block has to find by itself
        signatures = len(_signatures(bench.chain, block.transactions))
        rounds.append(Round(phases, signatures, before, after))
        quiet += rounds[-1].had_both_cores(alone)
        before = after
    return rounds


def _report(section: Section, size: int, rounds: Sequence[Round], goal: Limit | None) -> None:
    if size == LARGE:
        section.add("libsodium, two processes", "signatures/s", [one.limit for one in rounds])
    rates = [size / one.phases.total for one in rounds]
    section.add(f"blocks of {size:,}", "transactions/s", rates)
    checked = [one.signatures / one.phases.total / one.limit for one in rounds]
    section.add(f"blocks of {size:,}, signatures: share of libsodium alone", "", checked, goal)
    ratios = [rate / one.limit for rate, one in zip(rates, rounds, strict=True)]
    section.add("  the same of transactions", "", ratios)
    for place, name in enumerate(Phases._fields):
        each = [1e6 * one.phases[place] / size for one in rounds]
        section.add(f"  {name}", "µs a transaction", each)


def run(section: Section) -> None:
    """Measure the section."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as folder:
        asyncio.run(_measure(section, Path(folder)))
