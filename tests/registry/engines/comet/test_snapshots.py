"""Snapshots on disk: when they are made, what is in them, what survives a crash."""

import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.history import CHUNK, iterate_chunks, make_manifest
from ledger.leveldb import LevelStore
from ledger.merkle import sparse_root
from ledger.params import Params
from ledger.state import build_tree
from ledger.store import Crashed, Store
from registry.cometbft.genesis import evidence_ages
from registry.engines.comet import abci_pb2 as abci
from registry.engines.comet import snapshots as snapshots_module
from registry.engines.comet.snapshots import FORMAT, Snapshots, write_snapshot
from registry.files import create_durably
from tests.factory import EPOCH_MS, Network
from tests.registry.engines.comet.far import (
    Side,
    comet_genesis,
    served,
    stamp,
)
from tests.registry.factory import in_loop

GENESIS = comet_genesis({"block_ms": EPOCH_MS, "attest_blocks": 1})
AGES = evidence_ages(Params(*GENESIS.params))
"""24 blocks, each of which is meant to take an epoch."""


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


def records_of(chunks: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The records of a state, from its chunks."""
    for chunk in chunks:
        yield from CHUNK.decode(chunk).records


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


def kept(folder: Path) -> set[str]:
    """Heights of the snapshots on disk."""
    return {path.name for path in (folder / "snapshots").iterdir()}


async def grow_old(side: Side, blocks: int = AGES.blocks + 1, ms: int = AGES.ms + 1) -> None:
    """Make so many blocks; the first of them comes after `ms`, and so ends an epoch."""
    await side.decide(ms=ms)
    for _ in range(blocks - 1):
        await side.decide(ms=1)


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
        assert await heights(side) == []
        await grow_old(side)
        await snapshots.close()
        (row,) = (await side.snapshot.ask("list_snapshots")).snapshots
        assert (row.height, row.format, row.chunks) == (2, FORMAT, len(chunks))
        assert (row.metadata, row.hash) == (encode(wanted), sha256(encode(wanted)))
        assert sparse_root(build_tree(records_of(chunks))) == executed.app_hash
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
        # one that is kept and not offered is not given either
        assert kept(tmp_path) == {"2", "4"}
        answer = await side.snapshot.ask("load_snapshot_chunk", height=4, format=1, chunk=0)
        assert answer.chunk == b""
        assert {name for name in files(tmp_path / "snapshots") if name.startswith("2/")} == {
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


@pytest.mark.parametrize(("every", "made"), [(0, []), (1, [5, 4, 3, 2, 1]), (2, [4, 2]), (7, [])])
@in_loop
async def test_every_so_many_epochs(tmp_path: Path, every: int, made: list[int]) -> None:
    async with producing(tmp_path, every) as (side, snapshots):
        for height in range(1, 6):
            await side.decide(ms=EPOCH_MS)
            await snapshots.close()
            assert side.node.chain.view().ended_epoch == height
        # all of them are too young, and so none is offered and none is in the way
        assert await heights(side) == []
        assert kept(tmp_path) == {*map(str, made)}


@pytest.mark.parametrize(
    ("blocks", "ms", "offered"),
    [
        (AGES.blocks, AGES.ms, []),
        (AGES.blocks + 1, AGES.ms - AGES.blocks, []),
        (AGES.blocks, AGES.ms + 1, []),
        (AGES.blocks + 1, AGES.ms - AGES.blocks + 1, [1]),
    ],
)
@in_loop
async def test_one_is_offered_once_it_is_past_both_ages(
    tmp_path: Path, blocks: int, ms: int, offered: list[int]
) -> None:
    async with producing(tmp_path) as (side, snapshots):
        await side.decide(ms=EPOCH_MS)
        await snapshots.close()
        await grow_old(side, blocks, ms)
        await snapshots.close()
        assert await heights(side) == offered
        assert kept(tmp_path) == {"1", "2"}


@in_loop
async def test_the_newest_two_that_are_offered_are_kept(tmp_path: Path) -> None:
    async with producing(tmp_path) as (side, snapshots):
        for _ in range(4):
            await side.decide(ms=EPOCH_MS)
            await snapshots.close()
        await grow_old(side)
        await snapshots.close()
        assert await heights(side) == [4, 3, 2, 1]
        # when the next epoch ends, those that nobody needs any more go
        await side.decide(ms=EPOCH_MS)
        await snapshots.close()
        end = side.node.chain.tip.height
        assert await heights(side) == [4, 3]
        assert kept(tmp_path) == {"3", "4", "5", str(end)}
        before = (await side.snapshot.ask("list_snapshots")).snapshots
        # after a start they are offered as soon as it is known how old they are
        again = Snapshots(tmp_path / "snapshots", 1)
        assert list(again.list()) == []
        again.follow(side.node.replica)
        assert list(again.list()) == list(before)
        assert again.load(4, FORMAT, 0) == (tmp_path / "snapshots/4/0").read_bytes()
        assert again.load(5, FORMAT, 0) == b""


def evidence(height: int) -> abci.Misbehavior:
    """What CometBFT says of two votes for a height."""
    return abci.Misbehavior(
        type=abci.DUPLICATE_VOTE,
        validator=abci.Validator(address=b"v" * 20, power=1),
        height=height,
        time=stamp(0),
    )


@pytest.mark.parametrize(
    ("of", "left"),
    [
        # whoever begins with a snapshot has the headers above its height
        ([1], {"5"}),
        ([2], {"1", "5"}),
        ([3], {"1", "2", "5"}),
        ([4, 3], {"1", "2", "5"}),
        ([4], {"1", "2", "3", "5"}),
    ],
)
@in_loop
async def test_nobody_is_to_begin_where_he_lacks_the_header_of_evidence(
    tmp_path: Path, of: list[int], left: set[str]
) -> None:
    async with producing(tmp_path) as (side, snapshots):
        for _ in range(3):
            await side.decide(ms=EPOCH_MS)
            await snapshots.close()
        await side.decide()
        # the block that ends an epoch is not executed by who begins after it
        await side.decide(ms=EPOCH_MS, misbehavior=[evidence(height) for height in of])
        await snapshots.close()
        assert kept(tmp_path) == left
        # nor is it when its process starts again right after that block
        Snapshots(tmp_path / "snapshots", 1).follow(side.node.replica)
        assert kept(tmp_path) == left
        await grow_old(side)
        await snapshots.close()
        assert await heights(side) == sorted(map(int, left), reverse=True)


@in_loop
async def test_evidence_that_comes_while_a_snapshot_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()
    real = write_snapshot

    def write(*arguments: Any) -> bytes | None:
        assert may_write.wait(30)
        return real(*arguments)

    monkeypatch.setattr(snapshots_module, "write_snapshot", write)
    async with producing(tmp_path) as (side, snapshots):
        await side.decide(ms=EPOCH_MS)
        await side.decide(misbehavior=[evidence(1)])
        may_write.set()
        await snapshots.close()
        assert kept(tmp_path) == set()
        # what is written later has nothing to do with it
        await side.decide(ms=EPOCH_MS)
        await snapshots.close()
        assert kept(tmp_path) == {"3"}


@in_loop
async def test_evidence_of_the_newest_block_is_looked_for_after_a_death(tmp_path: Path) -> None:
    async with producing(tmp_path) as (side, snapshots):
        await side.decide(ms=EPOCH_MS)
        await snapshots.close()
        lost = files(tmp_path / "snapshots")
        await side.decide(misbehavior=[evidence(1)])
        assert kept(tmp_path) == set()
        # it died after that block, and before the snapshot was removed
        for name, data in lost.items():
            (tmp_path / "snapshots" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "snapshots" / name).write_bytes(data)
        again = Snapshots(tmp_path / "snapshots", 1)
        assert kept(tmp_path) == {"1"}
        again.follow(side.node.replica)
        assert kept(tmp_path) == set()


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
    Snapshots(folder, 1)
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
            Snapshots(tmp_path, 1)
            assert files(tmp_path) == first
        else:
            write_snapshot(tmp_path, reader)
    Snapshots(tmp_path, 1)
    assert {path.name for path in tmp_path.iterdir()} == {"2", str(network.chain.tip.height)}


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("MAX_METADATA_BYTES", "it has too many chunks to be sent"),
        ("MAX_SENT_BYTES", "a chunk is too large to be sent"),
    ],
)
@in_loop
async def test_what_does_not_fit_a_message_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, reason: str
) -> None:
    monkeypatch.setattr(snapshots_module, limit, 10)
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
        assert kept(tmp_path) == {"2"}
