"""A node in one process, minimal and valid, so that a test breaks exactly one thing.

in_loop            runs an async test, and fails it if it hangs
eventually         waits until something holds
short_folder       a folder for sockets
Clock              a machine's clock that stands still until a test moves it
Direct             a verifier in place, which a test can hold up
Site               a `solo` network whose producer and attestors have key files
Node               one replica of it: chain, pool and engine over a store in memory
queries_of         what it answers
in_states          how many nodes there are, by state
"""

import asyncio
import gc
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, ParamSpec

import pytest

from ledger.chain import Executed
from ledger.codec import encode
from ledger.crypto import Signed, sha256
from ledger.messages.blocks import Block, BlockInput
from ledger.messages.genesis import GenesisAttestor
from ledger.messages.state import NODE_STATES
from ledger.store import Store
from registry import signer
from registry.engines.solo import Solo
from registry.keystore import CHAIN, derive, derive_secret
from registry.queries import Queries
from registry.replica import Replica
from registry.signer import BlockSigner, HashChain, HeaderSigner
from registry.watermarks import SigningRole, Watermark, Watermarks
from tests.factory import START_MS, Network, make_genesis, verify_cached

P = ParamSpec("P")

HANGS_S: Final = 60.0
"""No test takes this long; one that does waits for what never comes."""

LINKS: Final = 2**11
"""Links of a hash chain here; the real number takes a second to compute."""

BLOCK_MS: Final = 1_000


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a loop of its own; what its loop reports as an error fails it."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        reported: list[dict[str, Any]] = []

        async def watched() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: reported.append(context))
            await asyncio.wait_for(test(*args, **kwargs), HANGS_S)

        asyncio.run(watched())
        assert not reported, reported

    return run


async def eventually(holds: Callable[[], object]) -> None:
    """Return once something holds; `in_loop` ends the wait for what never does."""
    while not holds():
        await asyncio.sleep(0.002)


async def settle() -> None:
    """Let everything that can go on do so, up to where it waits for something else."""
    for _ in range(20):
        await asyncio.sleep(0)


def open_files() -> int:
    """Count the descriptors of this process; what nobody refers to any more is closed first."""
    gc.collect()
    return len(os.listdir("/dev/fd"))


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose name is short enough for the paths of sockets on every system."""
    with TemporaryDirectory(prefix="wp", dir="/tmp") as name:
        yield Path(name)


class Clock:
    """A machine's clock. It stands in for the module `time` where code asks for the time."""

    def __init__(self, ms: int = START_MS) -> None:
        self.ms = ms
        self.off_ms = 0
        """How far it is wrong."""

    def time_ns(self) -> int:
        """What `time.time_ns` gives."""
        return (self.ms + self.off_ms) * 1_000_000

    def monotonic_ns(self) -> int:
        """What `time.monotonic_ns` gives."""
        return self.ms * 1_000_000


class Direct:
    """Verifies in place and notes how many signatures were asked for each time.

    While `gate` is clear it waits, as it would for other cores.
    """

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def verify(self, items: Sequence[Signed]) -> list[bool]:
        """Return for each item whether its signature is valid."""
        self.asked.append(len(items))
        await self.gate.wait()
        return verify_cached(items)

    async def close(self) -> None:
        """There is nothing to let go of."""


def seed_of(name: str) -> bytes:
    """The seed in the key file of a name."""
    return sha256(b"seed of " + name.encode())


PRODUCER: Final = derive(seed_of("producer"), "producer")


class Site:
    """A `solo` network; its homes lie in `folder`, and all its machines have one clock."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        folder: Path,
        attestors: Sequence[str] = ("attestor",),
        **params: int,
    ) -> None:
        monkeypatch.setattr(signer, "CHAIN_LINKS", LINKS)
        self.folder = folder
        self._held: dict[str, Watermarks] = {}
        self.clock = Clock()
        for module in ("registry.signer", "registry.engines.solo"):
            monkeypatch.setattr(f"{module}.time", self.clock)
        self.genesis = make_genesis(
            params,
            producer=PRODUCER.public,
            attestors=tuple(
                sorted(map(_founding, attestors), key=lambda founding: founding.list_key)
            ),
        )

    @property
    def hash(self) -> bytes:
        """SHA-256 of the genesis file."""
        return sha256(encode(self.genesis))

    def header_signer(self, name: str) -> HeaderSigner:
        """The signer of an attestor, with its watermark."""
        return HeaderSigner(seed_of(name), self.watermarks(name))

    def block_signer(self) -> BlockSigner:
        """The signer of the producer, with its watermark."""
        return BlockSigner(seed_of("producer"), self.watermarks("producer"))

    def watermarks(self, name: str) -> Watermarks:
        """The watermarks of a machine, held until `let_go`."""
        if name not in self._held:
            self._held[name] = Watermarks(self.folder / name, self.hash)
        return self._held[name]

    def watermark(self, name: str, role: SigningRole) -> Watermark:
        """What a machine's file says now."""
        return self.watermarks(name).open(role, derive(seed_of(name), role.key).public)

    def let_go(self) -> None:
        """As if every machine had stopped."""
        for held in self._held.values():
            held.close()
        self._held.clear()


def _founding(name: str) -> GenesisAttestor:
    tip = HashChain(derive_secret(seed_of(name), CHAIN)).tip
    return GenesisAttestor(derive(seed_of(name), "list").public, 1, tip)


class Node:
    """One replica. Made inside of a loop; `close` it."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.chain = network.chain
        self.verifier = Direct()
        self.replica = Replica(self.chain, self.verifier)
        self.pool = self.replica.pool

    @classmethod
    def at(cls, site: Site, store: Store | None = None) -> "Node":
        """A replica of a site's network that opens `store`, or begins with genesis."""
        network = Network(site.genesis, store)
        network.attesting = False
        return cls(network)

    def solo(self, site: Site) -> Solo:
        """The engine of the producer on this replica."""
        return Solo(self.replica, site.block_signer())

    def next_input(self, *raws: bytes, ms: int = BLOCK_MS) -> BlockInput:
        """The next block with these transactions, whether they are good or not."""
        return self.network.input(*raws, ms=ms)

    async def propose(self, ms: int = BLOCK_MS) -> BlockInput:
        """The next block with what the pool has."""
        tip = self.chain.tip
        return await self.replica.drive(
            self.chain.propose(
                tip.height + 1, tip.time_ms + ms, PRODUCER.public, self.pool.candidates()
            )
        )

    async def block(self, *raws: bytes, ms: int = BLOCK_MS) -> Block:
        """Commit a block of these transactions, or without any of what the pool has."""
        chosen = self.next_input(*raws, ms=ms) if raws else await self.propose(ms)
        executed: Executed = await self.replica.finalize(chosen)
        assert not any(executed.codes)
        return await self.replica.commit(executed, b"")

    async def close(self) -> None:
        """End its threads."""
        await self.replica.close()


def queries_of(node: Node) -> Queries:
    """The answers of a replica."""
    replica = node.replica
    return Queries(
        node.chain, node.pool, replica.census, replica.verdicts, replica.check_ins.newest
    )


def in_states(**counts: int) -> dict[str, int]:
    """Numbers of nodes by state, 0 where none is given."""
    return dict.fromkeys(NODE_STATES.values(), 0) | counts


async def produce(site: Site, solo: Solo, blocks: int = 1, ms: int = BLOCK_MS) -> None:
    """Have the producer make blocks, each `ms` after the one before by the clock."""
    for _ in range(blocks):
        site.clock.ms += ms
        await solo.produce()
