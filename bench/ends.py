"""From an epoch's last block to its list published, in this process and without any load.

- Chain, replica and publisher as the ledger process has them, on LevelDB and real files. It counts
  from the block that is given to finalize until `full` and `header` are written and the lists are
  packed for the web process.
- A steady end: of a hundred nodes one changed. Two fifths of these leave, as many join, the rest
  has another address. The limits hold there.
- Beside it the heaviest end of a network: all its nodes began at once, and begin to earn at this
  end. So every record of a node changes, and enters the root.
- The parts of an end are taken on an overlay of the same chain, with the records that do not change
  decoded before, as in a service that has run for an epoch.
"""

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from msgspec.structs import replace

from bench.figures import Limit, Section
from bench.homes import Everything
from bench.lists import make_contacts
from bench.networks import ATTESTOR_SEED, PRODUCER_SEED, make_genesis, node_key, open_with_nodes
from ledger.chain import Chain
from ledger.codec import Record, encode
from ledger.epochs import EPOCH_STEPS
from ledger.epochs.begin import make_header
from ledger.epochs.ending import Ending
from ledger.leveldb import LevelStore
from ledger.merkle import SparseTree
from ledger.messages.blocks import BlockInput
from ledger.messages.tables import CHAINLINKS, CONTACTS, EPOCH
from ledger.messages.transactions import VERSION, Attest, ContactUpdate, Free, UpdateContact
from ledger.params import HOUR
from ledger.state import STATE_START, STATE_STOP, State, build_tree, update_tree
from ledger.transition import begin_block
from registry.formats import FORMATS
from registry.ipc import frame
from registry.keystore import CHAIN, derive, derive_secret
from registry.publisher import Publisher
from registry.replica import Replica, fill_memory
from registry.signer import HashChain
from registry.wallet import KIND_TAGS
from registry.workers import ThreadVerifier

STEADY: Final = {10_000: 9, 100_000: 3}
"""Steady ends by nodes."""
GOALS: Final = {10_000: Limit(150.0), 100_000: Limit(2_000.0)}
"""Milliseconds of a steady one."""
PARTS_OF: Final = 10_000
"""Nodes of the network whose ends are taken apart."""
REPETITIONS: Final = 5
EPOCH_MS: Final = HOUR
DAY_MS: Final = 24 * HOUR

T = TypeVar("T")


def run(section: Section) -> None:
    """Measure."""
    for nodes, goal in GOALS.items():
        with tempfile.TemporaryDirectory(prefix="waypost-bench-") as folder:
            asyncio.run(_measure(section, nodes, goal, Path(folder)))


async def _measure(section: Section, nodes: int, goal: Limit, folder: Path) -> None:
    network = Network(nodes, STEADY[nodes], folder)
    await network.start()
    if nodes == PARTS_OF:
        _report_parts(section, "all nodes begin to earn", network.chain)
    heaviest = await network.end_epoch()
    ends = [await network.end_epoch() for _ in range(STEADY[nodes])]
    if nodes == PARTS_OF:
        await network.move_some()
        _report_parts(section, "1 % of the nodes changed", network.chain)
    await network.close()
    name = f"last block to list published, {nodes:,} nodes"
    section.add(name, "ms", [sum(end) for end in ends], goal)
    for part in End._fields:
        section.add(f"  {part}", "ms", [getattr(end, part) for end in ends])
    note = ", ".join(f"{part} {getattr(heaviest, part):.0f}" for part in End._fields)
    section.add("  if all of them begin to earn at this end", "ms", sum(heaviest), note=note)


async def measure_steady(nodes: int, times: int, folder: Path) -> list[float]:
    """Return the processor time of so many steady ends of a network, in ms."""
    network = Network(nodes, times, folder)
    await network.start()
    for _ in range(1 + times):
        await network.end_epoch()
    await network.close()
    return network.processor_ms[1:]


# --------------------------------------------------------------------------- whole ends


class End(NamedTuple):
    """One end of an epoch, in ms."""

    execute: float
    """Steps of the end, list and root."""
    commit: float
    """The synced write, and what is kept beside the chain."""
    publish: float
    """Files, and lists packed for the web process."""


class Network:
    """A network of which one node in a hundred changes in each epoch."""

    def __init__(self, nodes: int, steady: int, folder: Path) -> None:
        """`steady` ends are to come after the heaviest."""
        changing = nodes // 100
        self._change, self._moving = 2 * changing // 5, changing // 5
        contacts = make_contacts(nodes + (steady + 2) * self._change)
        params = {
            "epoch_ms": EPOCH_MS, "payable_ms": EPOCH_MS, "activation_floor": self._change,
            "fresh_ms": 2 * EPOCH_MS, "valid_ms": 4 * EPOCH_MS,
        }  # fmt: skip
        genesis = make_genesis(time.time_ns() // 1_000_000 - DAY_MS, params)
        self._store = LevelStore(folder / "ledger")
        with fill_memory():
            self.chain = open_with_nodes(self._store, genesis, contacts, nodes, self._change)
            self._replica = Replica(self.chain, ThreadVerifier())
        self._publisher = Publisher(self.chain, self._replica.roster, folder / "publish")
        self._links = HashChain(derive_secret(ATTESTOR_SEED, CHAIN))
        self._moved = nodes
        self.processor_ms: list[float] = []
        """What each end of an epoch took of the processor, on all threads."""

    async def start(self) -> None:
        """Publish the list of height 0."""
        await self._publisher.start()

    async def move_some(self) -> None:
        """Let some nodes announce another address."""
        raws, state = [], self.chain.view().state
        for _ in range(self._moving):
            self._moved -= 1
            key = node_key(self._moved)
            host = bytes([51 + key[0] % 49]) + key[1:4]
            contact = replace(state.one(CONTACTS, key), ipv4=host)
            body = UpdateContact(ContactUpdate(key, 1, 1, contact), bytes(64))
            raws.append(encode(Free(VERSION, KIND_TAGS["update_contact"], body)))
        await self._commit(raws, 1)

    async def end_epoch(self) -> End:
        """Let some nodes change, and end an epoch; its list becomes final and gets its deltas."""
        await self.move_some()
        used = time.process_time()
        end = await self._commit([], EPOCH_MS)
        self.processor_ms.append(1_000 * (time.process_time() - used))
        link = self.chain.view().state.one(CHAINLINKS, derive(ATTESTOR_SEED, "list").public)
        reveal = self._links.reveal(link.value, link.accepted)
        assert reveal is not None
        epoch = self.chain.view().state.one(EPOCH).epoch - 1
        body = Attest(epoch, 0, reveal, bytes(64))
        await self._commit([encode(Free(VERSION, KIND_TAGS["attest"], body))], 1)
        assert self._publisher.latest == epoch
        await self._publisher.finish()
        return end

    async def _commit(self, raws: Sequence[bytes], later_ms: int) -> End:
        tip, producer = self.chain.tip, derive(PRODUCER_SEED, "producer").public
        block = BlockInput(tip.height + 1, tip.time_ms + later_ms, producer, (), tuple(raws))
        began = time.perf_counter()
        executed = await self._replica.finalize(block, Everything())
        executed_at = time.perf_counter()
        await self._replica.commit(executed, b"")
        committed_at = time.perf_counter()
        await self._publisher.update()
        frame([0, "lists", self._publisher.lists])
        published_at = time.perf_counter()
        if any(executed.codes):
            raise RuntimeError(f"a transaction of the benchmark was refused: {executed.codes}")
        moments = (began, executed_at, committed_at, published_at)
        return End(*(1_000 * (after - before) for before, after in pairwise(moments)))

    async def close(self) -> None:
        """Let go of it."""
        await self._replica.close()
        await self._publisher.close()
        self._store.close()
        gc.unfreeze()


# ------------------------------------------------------------------------- the parts


class Stopwatch(NamedTuple):
    """The time of a piece of work, and of its longest piece between two pauses, in ms."""

    total: float
    longest: float


def _report_parts(section: Section, title: str, chain: Chain) -> None:
    recent: dict[bytes, Record | None] = {}
    tree = build_tree(chain.view().reader.items(STATE_START, STATE_STOP))
    ends = [_end_epoch(chain, recent, tree) for _ in range(1 + REPETITIONS)][1:]
    section.say(f"the parts of an end with {PARTS_OF:,} nodes, {title}")
    for name in ends[0]:
        pieces = [end[name].longest for end in ends]
        note = f"longest piece {statistics.median(pieces):.1f} ms"
        section.add(f"  {name}", "ms", [end[name].total for end in ends], note=note)


def _end_epoch(
    chain: Chain, recent: dict[bytes, Record | None], tree: SparseTree
) -> dict[str, Stopwatch]:
    """End the running epoch on an overlay, and return the time of each part; nothing is kept."""
    view = chain.view()
    params = view.state.params()
    state = State(view.reader, recent)
    begin_block(state, view.tip.root)
    running = state.one(EPOCH)
    time_ms = running.start_ms + params.epoch_ms
    ending = Ending(running.epoch, view.tip.height + 1, time_ms, params, running.seed)
    parts: dict[str, Stopwatch] = {}
    for step in EPOCH_STEPS:
        parts[step.__name__] = _drive(step(state, ending))[1]
    built, parts["make_header"] = _drive(make_header(state, ending))
    changes, parts["encode what changed"] = _drive(state.encode_changes())
    _, parts["root"] = _drive(update_tree(tree, changes))
    _, parts["full, on a thread"] = _drive(_once(lambda: FORMATS["full"].encode(built.columns)))
    return parts


def _drive(steps: Generator[None, None, T]) -> tuple[T, Stopwatch]:
    total = longest = 0.0
    while True:
        began = time.perf_counter()
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            took = 1_000 * (time.perf_counter() - began)
            return result, Stopwatch(total + took, max(longest, took))
        took = 1_000 * (time.perf_counter() - began)
        total, longest = total + took, max(longest, took)


def _once(work: Callable[[], T]) -> Generator[None, None, T]:
    yield
    return work()
