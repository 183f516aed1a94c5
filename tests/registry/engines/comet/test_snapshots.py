"""Snapshots on disk: when they are made, what is in them, what survives a crash."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.history import iterate_chunks, make_manifest
from ledger.leveldb import LevelStore
from ledger.messages.blocks import BLOCK
from ledger.store import Crashed, Store
from registry.engines.comet import abci_pb2 as abci
from registry.engines.comet import snapshots as snapshots_module
from registry.engines.comet.snapshots import FORMAT, Snapshots, write_snapshot
from registry.files import create_durably
from tests.factory import EPOCH_MS, Network
from tests.registry.engines.comet.far import (
    Side,
    comet_genesis,
    served,
)
from tests.registry.factory import in_loop

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


def files(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# -------------------------------------------------------------------------------------- disk


@asynccontextmanager
async def producing(folder: Path, every: int = 1) -> AsyncIterator[tuple[Side, Snapshots]]:
    """A served replica on disk that makes snapshots."""
    snapshots = Snapshots(folder / "snapshots", every)
    store = LevelStore(folder / "ledger")
    async with served(GENESIS, store=store, snapshots=snapshots) as side:
        snapshots.follow(side.node.replica)
        try:
            yield side, snapshots
        finally:
            await snapshots.close()
    store.close()


async def heights(side: Side) -> list[int]:
    answer = await side.snapshot.ask("list_snapshots")
    return [row.height for row in answer.snapshots]


@in_loop
async def test_an_epochs_end_leaves_a_snapshot(tmp_path: Path, small: None) -> None:
    async with producing(tmp_path) as (side, snapshots):
        await side.decide(side.node.network.transfer("alice", "bob"))
        assert await heights(side) == []
        executed = await side.decide(ms=EPOCH_MS)
        view = side.node.chain.view()
        # blocks go on beside it, and nothing of them is in it
        wanted = make_manifest(view.reader)
        chunks = list(iterate_chunks(view.reader))
        assert len(chunks) > 3
        await side.decide(side.node.network.transfer("alice", "bob"))
        await snapshots.close()
        (row,) = (await side.snapshot.ask("list_snapshots")).snapshots
        assert (row.height, row.format, row.chunks) == (2, FORMAT, len(chunks))
        assert (row.metadata, row.hash) == (encode(wanted), sha256(encode(wanted)))
        assert BLOCK.decode(wanted.block).header.state_root == executed.app_hash
        for index, chunk in enumerate(chunks):
            answer = await side.snapshot.ask("load_snapshot_chunk", height=2, format=1, chunk=index)
            assert answer.chunk == chunk
        for fields in (
            {"height": 3, "format": 1, "chunk": 0},
            {"height": 2, "format": 2, "chunk": 0},
            {"height": 2, "format": 1, "chunk": len(chunks)},
            {"height": 2**64 - 1, "format": 1, "chunk": 2**32 - 1},
        ):
            answer = await side.snapshot.ask("load_snapshot_chunk", **fields)
            assert answer.chunk == b""
        assert {*files(tmp_path / "snapshots")} == {
            "2/manifest", *(f"2/{index}" for index in range(len(chunks))),
        }  # fmt: skip


@in_loop
async def test_two_nodes_have_the_same_bytes(tmp_path: Path, small: None) -> None:
    found = []
    for name in ("one", "two"):
        async with producing(tmp_path / name) as (side, snapshots):
            if name == "two":
                # what it proposes and checks for itself shows nowhere
                await side.check(side.node.network.transfer("carol", "dave"))
                side.node.network.forget_sent()
            await side.decide(side.node.network.transfer("alice", "bob"))
            await side.decide(ms=EPOCH_MS)
            await snapshots.close()
        found.append(files(tmp_path / name / "snapshots"))
    assert found[0] == found[1] != {}


@pytest.mark.parametrize(("every", "kept"), [(0, []), (1, [5, 4]), (2, [4, 2]), (3, [3]), (7, [])])
@in_loop
async def test_every_so_many_epochs_and_the_newest_two(
    tmp_path: Path, every: int, kept: list[int]
) -> None:
    async with producing(tmp_path, every) as (side, snapshots):
        for height in range(1, 6):
            await side.decide(ms=EPOCH_MS)
            await snapshots.close()
            assert side.node.chain.view().ended_epoch == height
        assert await heights(side) == kept
        names = {path.name for path in (tmp_path / "snapshots").iterdir()}
        assert names == {*map(str, kept)}


@in_loop
async def test_they_are_there_after_a_start(tmp_path: Path) -> None:
    async with producing(tmp_path) as (side, snapshots):
        for _ in range(3):
            await side.decide(ms=EPOCH_MS)
            await snapshots.close()
        before = (await side.snapshot.ask("list_snapshots")).snapshots
    again = Snapshots(tmp_path / "snapshots", 1)
    assert list(again.list()) == list(before)
    assert again.load(3, FORMAT, 0) == (tmp_path / "snapshots/3/0").read_bytes()


@in_loop
async def test_what_is_half_made_or_damaged_goes_away(tmp_path: Path) -> None:
    async with producing(tmp_path) as (side, snapshots):
        for _ in range(2):
            await side.decide(ms=EPOCH_MS)
            await snapshots.close()
    folder = tmp_path / "snapshots"
    (folder / ".3").mkdir()
    (folder / ".3/0").write_bytes(b"half")
    (folder / ".1.old").mkdir()
    (folder / "7").mkdir()
    (folder / "7/manifest").write_bytes((folder / "2/manifest").read_bytes())
    (folder / "8").mkdir()
    (folder / "file").write_bytes(b"")
    (folder / "1/manifest").write_bytes(b"nonsense")
    again = Snapshots(folder, 1)
    assert [row.height for row in again.list()] == [2]
    assert {path.name for path in folder.iterdir()} == {"2"}


def test_a_crash_at_each_file_leaves_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    network = grow(epochs=1)
    write_snapshot(tmp_path, network.view.reader)
    first = files(tmp_path)
    network.end_epoch()
    reader = network.view.reader
    steps = len(make_manifest(reader).chunks) + 2
    real = create_durably
    for dies_at in range(steps):
        done = 0

        def create(path: Path, data: bytes, dies_at: int = dies_at) -> None:
            nonlocal done
            if done == dies_at:
                raise Crashed("here")
            done += 1
            real(path, data)

        monkeypatch.setattr(snapshots_module, "create_durably", create)
        if dies_at < steps - 1:
            with pytest.raises(Crashed):
                write_snapshot(tmp_path, reader)
            survivors = Snapshots(tmp_path, 1)
            assert [row.height for row in survivors.list()] == [2]
            assert files(tmp_path) == first
        else:
            write_snapshot(tmp_path, reader)
    assert [row.height for row in Snapshots(tmp_path, 1).list()] == [network.chain.tip.height, 2]


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("MAX_METADATA_BYTES", "its block is too large to be sent"),
        ("MAX_SENT_BYTES", "a chunk is too large to be sent"),
    ],
)
@in_loop
async def test_what_does_not_fit_a_message_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, reason: str
) -> None:
    monkeypatch.setattr(snapshots_module, limit, 100)
    async with producing(tmp_path) as (side, snapshots):
        with capture_logs() as lines:
            await side.decide(ms=EPOCH_MS)
            await snapshots.close()
        assert [line["reason"] for line in lines if line["event"] == "no snapshot"] == [reason]
        assert await heights(side) == []
        assert list((tmp_path / "snapshots").iterdir()) == []
        # the chain goes on
        await side.decide()


@in_loop
async def test_a_disk_that_is_full_does_not_stop_the_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(snapshots_module, "create_durably", fail)
    async with producing(tmp_path) as (side, snapshots):
        with capture_logs() as lines:
            await side.decide(ms=EPOCH_MS)
            await snapshots.close()
        assert [line["reason"] for line in lines if line["event"] == "no snapshot"] == ["disk full"]
        monkeypatch.undo()
        await side.decide(ms=EPOCH_MS)
        await snapshots.close()
        assert await heights(side) == [2]
