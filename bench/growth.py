"""How cost grows: a block with the accounts, an epoch's end with the nodes; memory, start, replay.

- Chains with 1,000, 100,000 and 1,000,000 accounts lie on disk, each with the same number of blocks
  of 2,000 transfers whose senders and recipients are drawn from all of its accounts. A process for
  each opens its chain and replays the blocks; they take turns, block by block, so that whoever else
  is at work on the machine meets all of them alike.
- Costs are processor time of the process that does it, on all its threads: what somebody else does
  meanwhile is not in it. A block is decoded, verified, checked, applied, hashed and written.
- An epoch's end is the steady one of `ends`, up to the files: of a hundred nodes one changed.
- What comes out is drawn too, as `docs/growth.svg`.

What the limits say:

- One changed account costs a path of the tree: log2 of the accounts in hashes, 10 at 1,000 and 20
  at 1,000,000. Were a block nothing but paths, it would cost twice as much. That the paths of a
  small tree have most of their upper part in common comes on top; all the rest of a block, its
  signatures above all, does not grow. What stays below 2.2 times is logarithmic at most.
- Ten times the nodes are ten times the work, and where they are sorted 12.5 times: 15 leaves some
  room for memory that does not fit into the processor's caches any more. The same holds for a start
  with ten times the accounts, and for its memory.
"""

import asyncio
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import msgspec

from bench import ends
from bench.figures import Limit, Section, python_command
from bench.homes import Everything
from bench.networks import (
    PRODUCER_SEED,
    QUIET,
    SEED,
    WIDE,
    make_genesis,
    make_pairs,
    open_with_accounts,
)
from bench.plot import Curve, draw
from bench.replaying import BLOCKS, GENESIS, LEDGER, Replayed, Started
from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import KeyPair, sha256
from ledger.leveldb import LevelStore
from ledger.messages.blocks import BlockInput
from ledger.steps import run as run_steps
from ledger.types import COIN, Key
from registry.keystore import derive
from registry.wallet import Terms, Wallet

ACCOUNTS: Final = (1_000, 100_000, 1_000_000)
SENDERS: Final = 20_000
"""Accounts that send, at most: of the others only the key is needed."""
TRANSACTIONS: Final = 2_000
WARM_UP: Final = 1
REPETITIONS: Final = 7
NODES: Final = {2_000: 9, 10_000: 7, 100_000: 3}
"""Nodes, and the steady ends that are measured."""
LIFETIME_BLOCKS: Final = 1_000

BLOCK_GOAL: Final = Limit(2.2)
"""A block with the most accounts, in blocks with the fewest."""
END_GOAL: Final = Limit(15.0)
"""An end with ten times the nodes."""
LINEAR_GOAL: Final = Limit(15.0)
"""Starting, and memory, with ten times the accounts."""
REPLAY_GOAL: Final = Limit(0.45, is_floor=True)
"""Of the rate with the fewest accounts: the other side of `BLOCK_GOAL`."""

PLOT: Final = Path(__file__).parents[1] / "docs" / "growth.svg"


def run(section: Section) -> None:
    """Measure the section, and draw it."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as scratch:
        folder = Path(scratch)
        blocks = _measure_accounts(section, folder)
        took = _measure_nodes(section, folder)
    draw(
        PLOT,
        (
            Curve("a block of 2,000, by accounts", "ms", blocks),
            Curve("an epoch's end, by nodes", "ms", took),
        ),
    )
    section.say(f"drawn: {PLOT.relative_to(PLOT.parents[1])}")


# ------------------------------------------------------------------------------- accounts


class Child(NamedTuple):
    """A process that holds a chain."""

    process: "subprocess.Popen[str]"
    started: Started

    def replay(self) -> Replayed:
        """Have it replay the next block."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return msgspec.json.decode(_read_line(self.process), type=Replayed)


def _read_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a process that replays has died")
    return line


def _measure_accounts(section: Section, folder: Path) -> dict[int, float]:
    """Return the milliseconds of a block by accounts."""
    for accounts in ACCOUNTS:
        prepare(folder / str(accounts), accounts)
    with ExitStack() as stack:
        children = {
            accounts: stack.enter_context(_replaying(folder / str(accounts)))
            for accounts in ACCOUNTS
        }
        rounds = [
            {accounts: child.replay() for accounts, child in children.items()}
            for _ in range(WARM_UP + REPETITIONS)
        ][WARM_UP:]
    for accounts in ACCOUNTS:
        spent = [1_000 * one[accounts].processor_s for one in rounds]
        section.add(f"block of {TRANSACTIONS:,}, {accounts:,} accounts", "ms", spent)
    _compare(section, "block", ACCOUNTS, rounds)
    for accounts in ACCOUNTS:
        rates = [TRANSACTIONS / one[accounts].processor_s for one in rounds]
        by_clock = statistics.median(TRANSACTIONS / one[accounts].seconds for one in rounds)
        name, note = f"replay, {accounts:,} accounts", f"{by_clock:,.0f} by the clock"
        section.add(name, "a second of one core", rates, note=note)
    shares = [one[ACCOUNTS[0]].processor_s / one[ACCOUNTS[-1]].processor_s for one in rounds]
    section.add("  slowest to fastest", "", shares, REPLAY_GOAL)
    _report_starts(section, {accounts: child.started for accounts, child in children.items()})
    return {
        accounts: statistics.median(1_000 * one[accounts].processor_s for one in rounds)
        for accounts in ACCOUNTS
    }


def _compare(
    section: Section, name: str, sizes: Sequence[int], rounds: Sequence[Mapping[int, Replayed]]
) -> None:
    first, *others = sizes
    for size in others:
        ratios = [one[size].processor_s / one[first].processor_s for one in rounds]
        goal = BLOCK_GOAL if size == sizes[-1] else None
        section.add(f"  {name}: {size:,} to {first:,}", "times", ratios, goal)


def _report_starts(section: Section, starts: Mapping[int, Started]) -> None:
    most, before = ACCOUNTS[-1], ACCOUNTS[-2]
    for accounts, started in starts.items():
        note = f"{started.seconds:.2f} s by the clock"
        section.add(f"start, {accounts:,} accounts", "s", started.processor_s, note=note)
    ratio = starts[most].processor_s / starts[before].processor_s
    section.add(f"  {most:,} to {before:,}", "times", ratio, LINEAR_GOAL)
    for accounts, started in starts.items():
        section.add(f"memory, {accounts:,} accounts", "MB", started.memory_mb)
    ratio = starts[most].memory_mb / starts[before].memory_mb
    section.add(f"  {most:,} to {before:,}", "times", ratio, LINEAR_GOAL)


def prepare(folder: Path, accounts: int) -> None:
    """Make a chain with so many accounts, and blocks that come next and are not in it yet."""
    folder.mkdir()
    genesis = make_genesis(time.time_ns() // 1_000_000, QUIET | WIDE)
    (folder / GENESIS).write_bytes(genesis)
    pairs = make_pairs(min(accounts, SENDERS))
    others = [sha256(b"account %d" % number) for number in range(accounts - len(pairs))]
    keys = [*(pair.public for pair in pairs), *others]
    store = LevelStore(folder / LEDGER)
    open_with_accounts(store, genesis, keys, COIN)
    store.close()
    shutil.copytree(folder / LEDGER, folder / "ahead")
    store = LevelStore(folder / "ahead", create=False)
    chain = Chain(store, genesis)
    blocks = [_make_block(chain, raws) for raws in _draw(chain, pairs, keys)]
    (folder / BLOCKS).write_bytes(msgspec.msgpack.encode(blocks))
    store.close()
    shutil.rmtree(folder / "ahead")


def _draw(chain: Chain, pairs: Sequence[KeyPair], keys: Sequence[Key]) -> Iterator[list[bytes]]:
    """Yield the transactions of each block."""
    random, nonces = Random(SEED), [0] * len(pairs)
    fee = chain.view().state.params().minimum_fee
    wallets = [Wallet(chain.genesis_hash, pair) for pair in pairs]
    for _ in range(WARM_UP + REPETITIONS):
        raws = []
        for _ in range(TRANSACTIONS):
            place = random.randrange(len(pairs))
            terms = Terms(nonces[place], fee, chain.tip.height + LIFETIME_BLOCKS)
            nonces[place] += 1
            raws.append(wallets[place].transfer(terms, random.choice(keys), 1))
        yield raws


def _make_block(chain: Chain, raws: Sequence[bytes]) -> bytes:
    tip, producer = chain.tip, derive(PRODUCER_SEED, "producer")
    block = BlockInput(tip.height + 1, tip.time_ms + 1_000, producer.public, (), tuple(raws))
    executed = run_steps(chain.finalize(block, Everything()))
    if any(executed.codes):
        raise RuntimeError(f"a transaction of the benchmark was refused: {executed.codes}")
    return encode(chain.commit(bytes(64)))


@contextmanager
def _replaying(folder: Path) -> Iterator[Child]:
    process = subprocess.Popen(
        python_command("-m", "bench.replaying", str(folder)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Child(process, msgspec.json.decode(_read_line(process), type=Started))
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait()
        process.stdout.close()


# ---------------------------------------------------------------------------------- nodes


def _measure_nodes(section: Section, folder: Path) -> dict[int, float]:
    """Return the milliseconds of an epoch's end by nodes."""
    took = {}
    for nodes, times in NODES.items():
        measured = asyncio.run(ends.measure_steady(nodes, times, folder / f"nodes {nodes}"))
        name = f"epoch's end, {nodes:,} nodes"
        took[nodes] = section.add(name, "ms", measured).median
    sizes = list(NODES)
    for size, before in zip(sizes[1:], sizes, strict=False):
        goal = END_GOAL if size == sizes[-1] else None
        ratio = took[size] / took[before]
        note = f"{size // before} times the nodes"
        section.add(f"  {size:,} to {before:,}", "times", ratio, goal, note)
    return took
