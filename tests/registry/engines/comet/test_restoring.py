"""A store that is filled from a snapshot, over a socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import sha256
from ledger.history import CHUNK, Chunk, Manifest, iterate_chunks, make_manifest
from ledger.messages.blocks import BlockInput
from ledger.messages.tables import EPOCH
from ledger.steps import run
from ledger.store import Crashed, CrashStore, MemoryStore, Store
from ledger.types import ZERO_HASH
from registry.engines.comet import abci_pb2 as abci
from registry.engines.comet import snapshots as snapshots_module
from registry.engines.comet.application import Application
from registry.engines.comet.server import HandlerFailed, Server
from registry.engines.comet.snapshots import fill_store
from registry.engines.comet.translate import BUSY, GONE, WrongNetwork
from tests.factory import Network
from tests.registry.engines.comet.far import (
    PROPOSER,
    Refused,
    Side,
    Wire,
    comet_genesis,
    init_fields,
    served,
    serving,
)
from tests.registry.factory import Node, in_loop, settle

GENESIS = comet_genesis()
RAW = encode(GENESIS)
Offer = abci.ResponseOfferSnapshot
Applied = abci.ResponseApplySnapshotChunk


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few records, so that there are several."""
    monkeypatch.setattr("ledger.history.CHUNK_BYTES", 500)


def grow(store: Store | None = None, epochs: int = 2) -> Network:
    """A network whose last block ended an epoch."""
    network = Network(GENESIS, store)
    network.attesting = False
    for _ in range(epochs):
        network.block(network.transfer("alice", "bob"))
        network.end_epoch()
    return network


# ------------------------------------------------------------------------------------- filling


class Joining:
    """An empty store that is served, and whoever fills it."""

    def __init__(self, store: Store, server: Server, path: Path) -> None:
        self.store = store
        self.server = server
        self.path = path
        self.filling = asyncio.ensure_future(fill_store(server, store, RAW))
        self.wire: Wire
        self.network = grow()
        self.reader = self.network.view.reader
        self.manifest = make_manifest(self.reader)
        self.chunks = list(iterate_chunks(self.reader))
        self.root = self.network.chain.tip.root
        # who has not the block does not know its hash
        self.tip = replace(self.network.chain.tip, block_hash=ZERO_HASH)

    def is_empty(self) -> bool:
        return next(iter(self.store.items()), None) is None

    async def offer(
        self, manifest: Manifest | None = None, app_hash: bytes | None = None, **changes: Any
    ) -> int:
        """What becomes of an offer, by default of the good one."""
        manifest = manifest or self.manifest
        raw = encode(manifest)
        fields: dict[str, Any] = {
            "height": self.manifest.height,
            "format": 1,
            "chunks": len(manifest.chunks),
            "hash": sha256(raw),
            "metadata": raw,
        }
        answer = await self.wire.ask(
            "offer_snapshot",
            snapshot=abci.Snapshot(**(fields | changes)),
            app_hash=self.root if app_hash is None else app_hash,
        )
        return int(answer.result)

    async def apply(self, index: int, chunk: bytes | None = None, sender: str = "peer") -> Any:
        """What becomes of a chunk, by default of the good one."""
        chunk = self.chunks[index] if chunk is None else chunk
        return await self.wire.ask("apply_snapshot_chunk", index=index, chunk=chunk, sender=sender)

    async def apply_all(self) -> list[int]:
        return [(await self.apply(index)).result for index in range(len(self.chunks))]


@asynccontextmanager
async def joining(store: Store | None = None) -> AsyncIterator[Joining]:
    async with serving({}) as (server, path):
        far = Joining(MemoryStore() if store is None else store, server, path)
        far.wire = await Wire.open(path)
        try:
            yield far
        finally:
            far.filling.cancel()
            await asyncio.wait([far.filling])
            far.wire.close()


@in_loop
async def test_a_store_is_filled_and_the_chain_goes_on(small: None) -> None:
    async with joining() as far:
        assert (await far.wire.ask("info")).last_block_height == 0
        assert await far.offer() == Offer.ACCEPT
        # in any order, one of them twice
        order = [*reversed(range(1, len(far.chunks))), 1, 0]
        for index in order[:-1]:
            assert (await far.apply(index)).result == Applied.ACCEPT
            assert far.is_empty()
            assert (await far.wire.ask("info")).last_block_height == 0
        assert (await far.apply(0)).result == Applied.ACCEPT
        info = await far.wire.ask("info")
        tip = far.tip
        assert (info.last_block_height, info.last_block_app_hash) == (tip.height, tip.root)
        assert info.app_version == 1
        chain = await far.filling
        assert chain.tip == tip
        assert chain.store is far.store
        # a block that comes now waits for whoever takes over
        consensus = await Wire.open(far.path)
        network = Network(GENESIS, far.store)
        network.chain = chain
        node = Node(network)
        side = Side(node, far.server, Application(node.replica), far.path)
        consensus.send("finalize_block", **side.next_block())
        await settle()
        far.server.use(side.application.handlers)
        name, executed = await consensus.receive()
        assert name == "finalize_block"
        await consensus.ask("commit")
        block = BlockInput(tip.height + 1, tip.time_ms + 1_000, PROPOSER, (), ())
        assert run(far.network.chain.finalize(block)).root == executed.app_hash
        assert side.node.chain.tip.height == tip.height + 1
        # both connections are those of before
        assert (await far.wire.ask("info")).last_block_app_hash == executed.app_hash
        consensus.close()
        await node.close()


BAD_OFFERS: dict[str, tuple[Any, int]] = {
    "another format": (lambda f: {"format": 2}, Offer.REJECT_FORMAT),
    "format 0": (lambda f: {"format": 0}, Offer.REJECT_FORMAT),
    "another hash": (lambda f: {"hash": bytes(32)}, Offer.REJECT_SENDER),
    "no hash": (lambda f: {"hash": b""}, Offer.REJECT_SENDER),
    "a manifest that is none": (
        lambda f: {"metadata": b"nonsense", "hash": sha256(b"nonsense")},
        Offer.REJECT_SENDER,
    ),
    "another height": (lambda f: {"height": 1}, Offer.REJECT_SENDER),
    "a manifest of another height": (
        lambda f: {"manifest": replace(f.manifest, height=1), "height": f.manifest.height},
        Offer.REJECT_SENDER,
    ),
    "more chunks": (lambda f: {"chunks": len(f.chunks) + 1}, Offer.REJECT_SENDER),
    "no chunks": (lambda f: {"chunks": 0}, Offer.REJECT_SENDER),
    "a manifest without chunks": (
        lambda f: {"manifest": replace(f.manifest, chunks=()), "chunks": 0},
        Offer.REJECT_SENDER,
    ),
}


@pytest.mark.parametrize(("make", "result"), BAD_OFFERS.values(), ids=BAD_OFFERS)
@in_loop
async def test_offers_that_are_rejected(make: Any, result: int) -> None:
    async with joining() as far:
        assert await far.offer() == Offer.ACCEPT
        assert await far.offer(**make(far)) == result
        # nothing of it is taken, and nothing is left of the one before
        assert (await far.apply(0)).result == Applied.REJECT_SNAPSHOT
        assert far.is_empty()
        # and the next one is
        assert await far.offer() == Offer.ACCEPT
        assert (await far.apply_all())[-1] == Applied.ACCEPT
        assert (await far.filling).tip == far.tip


@in_loop
async def test_a_bad_chunk_is_fetched_again_from_somebody_else(small: None) -> None:
    async with joining() as far:
        await far.offer()
        for bad in (b"", far.chunks[1], far.chunks[0] + b"\0"):
            answer = await far.apply(0, bad, sender="liar")
            assert answer.result == Applied.RETRY
            assert list(answer.refetch_chunks) == [0]
            assert list(answer.reject_senders) == ["liar"]
        assert (await far.apply_all())[-1] == Applied.ACCEPT
        assert (await far.filling).tip == far.tip


@in_loop
async def test_a_chunk_that_has_no_place_ends_the_snapshot() -> None:
    async with joining() as far:
        assert (await far.apply(0)).result == Applied.REJECT_SNAPSHOT
        await far.offer()
        for index in (len(far.chunks), 2**32 - 1):
            answer = await far.apply(index, far.chunks[0])
            assert answer.result == Applied.REJECT_SNAPSHOT
        assert far.is_empty()


@in_loop
async def test_another_offer_in_the_middle_begins_anew(small: None) -> None:
    async with joining() as far:
        await far.offer()
        for index in range(len(far.chunks) - 1):
            await far.apply(index)
        # a snapshot of the epoch before
        old = grow(epochs=1)
        manifest = make_manifest(old.view.reader)
        root = old.chain.tip.root
        assert await far.offer(manifest, root, height=old.chain.tip.height) == Offer.ACCEPT
        # what was kept of the other one does not count
        last = len(far.chunks) - 1
        if last < len(manifest.chunks):
            assert (await far.apply(last)).result == Applied.RETRY
        chunks = list(iterate_chunks(old.view.reader))
        results = [(await far.apply(index, chunk)).result for index, chunk in enumerate(chunks)]
        assert results == [Applied.ACCEPT] * len(chunks)
        assert (await far.filling).tip == replace(old.chain.tip, block_hash=ZERO_HASH)


def rechunked(far: Joining, change: Any) -> tuple[Manifest, list[bytes]]:
    """The snapshot with its records changed, and a manifest that says so."""
    rows = [row for chunk in far.chunks for row in CHUNK.decode(chunk).records]
    chunks = [encode(Chunk(tuple(change(rows))))]
    return replace(far.manifest, chunks=tuple(map(sha256, chunks))), chunks


LIES: dict[str, Any] = {
    "a record less": lambda rows: rows[:-1],
    "a record changed": lambda rows: [*rows[:-1], (rows[-1][0], rows[-1][1] + b"\0")],
    "a record more": lambda rows: [*rows, (b"}", b"")],
    "out of order": lambda rows: [rows[1], rows[0], *rows[2:]],
    "no epoch": lambda rows: [row for row in rows if row[0] != EPOCH.letter],
    "an epoch that is none": lambda rows: [
        (key, b"\xc0" if key == EPOCH.letter else value) for key, value in rows
    ],
}


@pytest.mark.parametrize("change", LIES.values(), ids=LIES)
@in_loop
async def test_a_state_that_does_not_add_up_is_rejected(change: Any) -> None:
    async with joining() as far:
        manifest, chunks = rechunked(far, change)
        assert await far.offer(manifest) == Offer.ACCEPT
        answer = await far.apply(0, chunks[0], sender="liar")
        assert answer.result == Applied.REJECT_SNAPSHOT
        # who sent it also offered it, and offers nothing more
        assert list(answer.reject_senders) == ["liar"]
        assert far.is_empty()
        assert (await far.wire.ask("info")).last_block_height == 0
        assert await far.offer() == Offer.ACCEPT
        assert (await far.apply_all())[-1] == Applied.ACCEPT


@pytest.mark.parametrize("off", [-1, 1])
@in_loop
async def test_a_state_of_another_height_is_rejected(off: int) -> None:
    async with joining() as far:
        height = far.manifest.height + off
        manifest = replace(far.manifest, height=height)
        assert await far.offer(manifest, height=height) == Offer.ACCEPT
        assert (await far.apply_all())[-1] == Applied.REJECT_SNAPSHOT
        assert far.is_empty()


@pytest.mark.parametrize("root", [b"", bytes(32)])
@in_loop
async def test_a_state_of_another_root_is_rejected(root: bytes) -> None:
    async with joining() as far:
        assert await far.offer(app_hash=root) == Offer.ACCEPT
        assert (await far.apply_all())[-1] == Applied.REJECT_SNAPSHOT
        assert far.is_empty()


@in_loop
async def test_everybody_who_sent_a_piece_of_a_lie_is_rejected(small: None) -> None:
    async with joining() as far:
        assert len(far.chunks) > 2
        assert await far.offer(app_hash=bytes(32)) == Offer.ACCEPT
        for index in range(len(far.chunks)):
            # one sends two of them, and the same one twice
            for sender in ("one", "one") if index < 2 else (f"peer {index}",):
                answer = await far.apply(index, sender=sender)
        assert answer.result == Applied.REJECT_SNAPSHOT
        others = [f"peer {index}" for index in range(2, len(far.chunks))]
        assert list(answer.reject_senders) == ["one", *others]
        # nothing of that is held against those who send the next one
        assert await far.offer() == Offer.ACCEPT
        assert (await far.apply_all())[-1] == Applied.ACCEPT
        assert (await far.filling).tip == far.tip


@in_loop
async def test_a_state_larger_than_any_is_rejected(
    monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    async with joining() as far:
        monkeypatch.setattr(snapshots_module, "MAX_STATE_BYTES", sum(map(len, far.chunks)) - 1)
        await far.offer()
        # the same chunk again takes no room
        assert [(await far.apply(0)).result for _ in range(3)] == [Applied.ACCEPT] * 3
        for index in range(1, len(far.chunks) - 1):
            assert (await far.apply(index)).result == Applied.ACCEPT
        answer = await far.apply(len(far.chunks) - 1)
        assert answer.result == Applied.REJECT_SNAPSHOT
        assert list(answer.reject_senders) == ["peer"]
        assert far.is_empty()


@in_loop
async def test_what_comes_after_the_last_chunk_is_not_taken() -> None:
    async with joining() as far:
        await far.offer()
        await far.apply_all()
        assert await far.offer() == Offer.ABORT
        assert (await far.apply(0)).result == Applied.ABORT
        assert (await far.filling).tip == far.tip


@in_loop
async def test_genesis_instead_of_a_snapshot() -> None:
    async with joining() as far:
        await far.offer()
        for _ in range(2):
            answer = await far.wire.ask("init_chain", **init_fields(GENESIS))
            assert answer.app_hash == Network(GENESIS).chain.tip.root
        chain = await far.filling
        assert (chain.tip.height, chain.tip.root) == (0, answer.app_hash)
        assert not far.is_empty()
        assert await far.offer() == Offer.ABORT


@in_loop
async def test_another_networks_genesis_ends_it() -> None:
    async with joining() as far:
        with pytest.raises(Refused, match="its chain_id is other"):
            await far.wire.ask("init_chain", **(init_fields(GENESIS) | {"chain_id": "other"}))
        with pytest.raises(WrongNetwork):
            await far.filling
        assert far.is_empty()


@in_loop
async def test_what_is_asked_meanwhile() -> None:
    async with joining() as far:
        answer = await far.wire.ask("query", path="/state", data=b"e")
        assert (answer.code, answer.log) == (GONE, "there is no state here yet")
        checked = await far.wire.ask("check_tx", tx=b"any")
        assert (checked.code, checked.info) == (BUSY, "busy")
        assert not (await far.wire.ask("list_snapshots")).snapshots
        assert (await far.wire.ask("load_snapshot_chunk", height=1)).chunk == b""


@in_loop
async def test_a_store_that_is_not_empty_is_never_filled() -> None:
    store = MemoryStore({b"T": b"something"})
    async with joining(store) as far:
        await far.offer()
        assert (await far.apply_all())[-1] == Applied.REJECT_SNAPSHOT
        assert dict(store.items()) == {b"T": b"something"}


@pytest.mark.parametrize("point", ["store.before_write", "store.after_write"])
@in_loop
async def test_death_while_it_is_filled(point: str) -> None:
    store = CrashStore()
    store.arm(point)
    async with joining(store) as far:
        await far.offer()
        far.wire.send("apply_snapshot_chunk", index=0, chunk=far.chunks[0])
        assert len(far.chunks) == 1
        # nobody answers when he is dead
        assert await far.wire.is_ended()
        with pytest.raises(Crashed):
            await far.filling
        survivor = store.survivor()
        if point == "store.before_write":
            assert list(survivor.items()) == []
        else:
            assert Chain(survivor, RAW).tip == far.tip


@in_loop
async def test_a_write_that_fails_ends_it() -> None:
    store = CrashStore()
    store.fail_next_write(landed=False)
    async with joining(store) as far:
        await far.offer()
        with pytest.raises(Refused, match="simulated"):
            await far.apply_all()
        with pytest.raises(HandlerFailed):
            await far.filling
        assert list(store.survivor().items()) == []


@in_loop
async def test_a_replica_that_has_a_state_takes_no_snapshot() -> None:
    network = grow()
    async with served(GENESIS) as side:
        raw = encode(make_manifest(network.view.reader))
        answer = await side.snapshot.ask(
            "offer_snapshot",
            snapshot=abci.Snapshot(
                height=network.chain.tip.height, format=1, chunks=1, hash=sha256(raw), metadata=raw
            ),
            app_hash=network.chain.tip.root,
        )
        assert answer.result == Offer.ABORT
        applied = await side.snapshot.ask("apply_snapshot_chunk", index=0, chunk=b"")
        assert applied.result == Applied.ABORT
        assert not (await side.snapshot.ask("list_snapshots")).snapshots
        assert side.node.chain.tip.height == 0
