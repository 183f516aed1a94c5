"""Snapshots: on disk for those who join, and a store that is filled from one.

    <folder>/<height>/manifest      the encoded manifest
    <folder>/<height>/<index>       each chunk

- One is made of the height at which an epoch ended whose number is a multiple of `every`, so that
  all nodes have the same ones, byte for byte.
- It is written beside the chain's work, from a picture of the store, and is there whole or not at
  all. The newest two are kept.
- Whoever begins with one believes of it what CometBFT verified: the state root. All records have
  to add up to it, and the time of its block has to be that at which the state says an epoch began.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from ledger.chain import Chain, Executed
from ledger.codec import encode
from ledger.crypto import sha256
from ledger.errors import Fault, Refusal
from ledger.history import (
    CHUNK,
    MANIFEST,
    MAX_CHUNK_BYTES,
    TIP,
    TIP_KEY,
    Manifest,
    iterate_chunks,
    make_manifest,
    restore,
)
from ledger.inheritance import Inheritance
from ledger.messages.blocks import BLOCK, Block
from ledger.messages.genesis import GENESIS
from ledger.messages.tables import EPOCH
from ledger.store import Reader, Snapshot, Store
from ledger.types import Height
from registry.engines.comet import abci_pb2 as abci
from registry.engines.comet.server import Handlers, Server
from registry.engines.comet.translate import (
    GONE,
    busy_answer,
    check_init_chain,
    make_info,
    query_refused,
)
from registry.files import create_durably, sync_folder
from registry.replica import Replica

FORMAT: Final = 1
KEPT: Final = 2
"""Snapshots that are kept."""

MAX_METADATA_BYTES: Final = 3_900_000
"""CometBFT sends a snapshot's description in a message of 4,000,000 bytes at most."""

MAX_SENT_BYTES: Final = 15_900_000
"""CometBFT sends a chunk in a message of 16,000,000 bytes at most."""

MAX_STATE_BYTES: Final = 2**31
"""What is held of a snapshot until it is complete: far above the state of any network."""

MANIFEST_FILE: Final = "manifest"
UNFINISHED: Final = "."
"""First letter of a folder that is being written or removed."""

Offer = abci.ResponseOfferSnapshot
Applied = abci.ResponseApplySnapshotChunk

log = structlog.get_logger()


def _describe(manifest: bytes) -> abci.Snapshot:
    """Return the snapshot of an encoded manifest as CometBFT tells others of it.

    Refuses like the codecs of manifests and blocks.
    """
    decoded = MANIFEST.decode(manifest)
    return abci.Snapshot(
        height=BLOCK.decode(decoded.block).header.height,
        format=FORMAT,
        chunks=len(decoded.chunks),
        hash=sha256(manifest),
        metadata=manifest,
    )


# ---------------------------------------------------------------------------------- on disk


class Snapshots:
    """The snapshots in a folder; one loop uses it."""

    def __init__(self, folder: Path, every: int) -> None:
        """`every` says how many epochs lie between two; 0 makes none. Removes what is half-made."""
        self._folder = folder
        self._every = every
        self._kept: dict[Height, abci.Snapshot] = {}
        self._writing: asyncio.Task[None] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.iterdir()):
            self._look_at(path)
        self._prune()

    def _look_at(self, path: Path) -> None:
        try:
            manifest = (path / MANIFEST_FILE).read_bytes()
            described = _describe(manifest)
            if path.name != str(described.height):
                raise Refusal("bad_snapshot", why="its folder has another name")
            self._kept[described.height] = described
        except (OSError, Refusal) as error:
            log.warning("snapshot removed", folder=path.name, reason=str(error))
            _remove(path)

    def list(self) -> Sequence[abci.Snapshot]:
        """Return what others may begin with, the newest first."""
        return [self._kept[height] for height in sorted(self._kept, reverse=True)]

    def load(self, height: Height, format_: int, index: int) -> bytes:
        """Return a chunk; none if it is not kept."""
        described = self._kept.get(height)
        if described is None or format_ != FORMAT or not 0 <= index < described.chunks:
            return b""
        with contextlib.suppress(OSError):
            return (self._folder / str(height) / str(index)).read_bytes()
        return b""

    def follow(self, replica: Replica) -> None:
        """Make snapshots of this replica from now on."""

        async def on_commit(_block: Block, executed: Executed) -> None:
            epoch = replica.chain.view().ended_epoch
            is_time = epoch is not None and self._every and epoch % self._every == 0
            if executed.ended_epoch and is_time:
                self._begin(replica.chain)

        replica.on_commit.append(on_commit)

    def _begin(self, chain: Chain) -> None:
        if self._writing is not None and not self._writing.done():
            log.warning("no snapshot", height=chain.tip.height, reason="one is being written")
            return
        # what was committed last, whatever is written meanwhile
        self._writing = asyncio.create_task(self._write(chain.tip.height, chain.store.snapshot()))

    async def _write(self, height: Height, picture: Snapshot) -> None:
        try:
            made = await asyncio.to_thread(write_snapshot, self._folder, picture)
        except OSError as error:
            log.warning("no snapshot", height=height, reason=str(error))
            return
        finally:
            picture.close()
        if made is not None:
            self._kept[height] = _describe(made)
            self._prune()
            log.info("snapshot", height=height, chunks=self._kept[height].chunks)

    def _prune(self) -> None:
        for height in sorted(self._kept)[:-KEPT]:
            del self._kept[height]
            _remove(self._folder / str(height))

    async def close(self) -> None:
        """Wait for what is being written."""
        if self._writing is not None:
            await asyncio.wait([self._writing])


def write_snapshot(folder: Path, reader: Reader) -> bytes | None:
    """Write the snapshot of a reader's height, and return its encoded manifest.

    None for one that does not fit CometBFT's messages. Raises OSError.
    """
    manifest = make_manifest(reader)
    encoded = encode(manifest)
    height = TIP.load(reader.get(TIP_KEY) or b"").height
    if len(encoded) > MAX_METADATA_BYTES:
        log.warning("no snapshot", height=height, reason="its block is too large to be sent")
        return None
    unfinished = folder / f"{UNFINISHED}{height}"
    _remove(unfinished)
    unfinished.mkdir(parents=True)
    for index, chunk in enumerate(iterate_chunks(reader)):
        if len(chunk) > MAX_SENT_BYTES:
            log.warning("no snapshot", height=height, reason="a chunk is too large to be sent")
            _remove(unfinished)
            return None
        create_durably(unfinished / str(index), chunk)
    create_durably(unfinished / MANIFEST_FILE, encoded)
    _remove(folder / str(height))
    unfinished.rename(folder / str(height))
    sync_folder(folder)
    return encoded


def _remove(path: Path) -> None:
    """Remove a file or folder; one that is interrupted leaves nothing that counts."""
    if path.is_dir():
        hidden = path
        if not path.name.startswith(UNFINISHED):
            hidden = path.with_name(f"{UNFINISHED}{path.name}.old")
            shutil.rmtree(hidden, ignore_errors=True)
            path.rename(hidden)
        shutil.rmtree(hidden)
    elif path.exists():
        path.unlink()


# -------------------------------------------------------------------------------- restoring


async def fill_store(
    server: Server,
    store: Store,
    genesis: bytes,
    inheritance: Inheritance | None = None,
    at: Callable[[str], None] = lambda _point: None,
) -> Chain:
    """Answer CometBFT until an empty store holds a state, from a snapshot or the genesis file.

    Whoever called exchanges the server's handlers then; until he does, blocks wait. `inheritance`
    is needed where it begins with the genesis file and that has a predecessor; `at` goes to the
    chain. Raises what a handler raises.
    """
    restoring = Restoring(store, genesis, inheritance, at)
    server.use(restoring.handlers)
    failed = asyncio.ensure_future(server.wait())
    try:
        ends: list[asyncio.Future[Any]] = [failed, restoring.done]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
    finally:
        failed.cancel()
    return restoring.done.result()


class Restoring:
    """Answers CometBFT for a store that is still empty."""

    def __init__(
        self,
        store: Store,
        genesis: bytes,
        inheritance: Inheritance | None = None,
        at: Callable[[str], None] = lambda _point: None,
    ) -> None:
        self.done: asyncio.Future[Chain] = asyncio.get_running_loop().create_future()
        """The chain, once the store holds a state."""
        self._store = store
        self._genesis = genesis
        self._inheritance = inheritance
        self._at = at
        self._manifest: Manifest | None = None
        self._block: Block | None = None
        self._chunks: list[bytes | None] = []

    @property
    def handlers(self) -> Handlers:
        """The calls by the names of their requests; those of blocks are not among them."""
        return {
            "info": self.info,
            "init_chain": self.init_chain,
            "query": self.query,
            "check_tx": self.check_txs,
            "list_snapshots": self.list_snapshots,
            "load_snapshot_chunk": self.load_snapshot_chunk,
            "offer_snapshot": self.offer_snapshot,
            "apply_snapshot_chunk": self.apply_snapshot_chunk,
        }

    async def info(self, _request: abci.RequestInfo) -> abci.ResponseInfo:
        """Answer with height 0, or with the one that was restored."""
        if not self.done.done():
            return make_info(0, b"", "")
        tip = self.done.result().tip
        return make_info(tip.height, tip.root, "")

    async def init_chain(self, request: abci.RequestInitChain) -> abci.ResponseInitChain:
        """Begin with the genesis file after all. Raises `WrongNetwork`."""
        check_init_chain(request, GENESIS.decode(self._genesis), sha256(self._genesis))
        if not self.done.done():
            chain = Chain(self._store, self._genesis, self._at)
            chain.init(self._inheritance)
            self._let_go()
            self.done.set_result(chain)
        return abci.ResponseInitChain(app_hash=self.done.result().tip.root)

    async def query(self, _request: abci.RequestQuery) -> abci.ResponseQuery:
        """There is no state yet."""
        return query_refused(GONE, "there is no state here yet")

    async def check_txs(
        self, requests: Sequence[abci.RequestCheckTx]
    ) -> Sequence[abci.ResponseCheckTx]:
        """There is no state yet to check anything against."""
        return [busy_answer("there is no state here yet") for _ in requests]

    async def list_snapshots(
        self, _request: abci.RequestListSnapshots
    ) -> abci.ResponseListSnapshots:
        """There are none here."""
        return abci.ResponseListSnapshots()

    async def load_snapshot_chunk(
        self, _request: abci.RequestLoadSnapshotChunk
    ) -> abci.ResponseLoadSnapshotChunk:
        """There are none here."""
        return abci.ResponseLoadSnapshotChunk()

    # ------------------------------------------------------------------------ offers

    async def offer_snapshot(
        self, request: abci.RequestOfferSnapshot
    ) -> abci.ResponseOfferSnapshot:
        """Take a snapshot of the state root that CometBFT verified, instead of one before it."""
        if self.done.done():
            return Offer(result=Offer.ABORT)
        self._let_go()
        if request.snapshot.format != FORMAT:
            return Offer(result=Offer.REJECT_FORMAT)
        try:
            manifest = self._check_offer(request.snapshot, request.app_hash)
        except Refusal as refusal:
            log.warning("snapshot rejected", height=request.snapshot.height, reason=str(refusal))
            return Offer(result=Offer.REJECT)
        self._manifest = manifest
        self._block = BLOCK.decode(manifest.block)
        self._chunks = [None] * len(manifest.chunks)
        return Offer(result=Offer.ACCEPT)

    def _check_offer(self, offered: abci.Snapshot, app_hash: bytes) -> Manifest:
        """Return the manifest of an offer that may be restored, or refuse it."""
        if sha256(offered.metadata) != offered.hash:
            raise Refusal("bad_snapshot", why="its hash is not that of its manifest")
        manifest = MANIFEST.decode(offered.metadata)
        header = BLOCK.decode(manifest.block).header
        rules = [
            (header.height == offered.height, "its block is of another height"),
            (header.state_root == app_hash, "its block does not have the verified root"),
            (0 < len(manifest.chunks) == offered.chunks, "its manifest names other chunks"),
        ]
        for holds, why in rules:
            if not holds:
                raise Refusal("bad_snapshot", why=why)
        return manifest

    # ------------------------------------------------------------------------ chunks

    async def apply_snapshot_chunk(
        self, request: abci.RequestApplySnapshotChunk
    ) -> abci.ResponseApplySnapshotChunk:
        """Keep a chunk; with the last one that was missing, fill the store."""
        if self.done.done():
            return Applied(result=Applied.ABORT)
        index, chunk = request.index, request.chunk
        if self._manifest is None or index >= len(self._chunks):
            return Applied(result=Applied.REJECT_SNAPSHOT)
        if sha256(chunk) != self._manifest.chunks[index]:
            log.warning("chunk rejected", index=index, sender=request.sender)
            return Applied(
                result=Applied.RETRY, refetch_chunks=[index], reject_senders=[request.sender]
            )
        self._chunks[index] = chunk
        held = [len(row) for row in self._chunks if row is not None]
        if len(chunk) > MAX_CHUNK_BYTES or sum(held) > MAX_STATE_BYTES:
            return self._reject("it is larger than any state")
        if len(held) < len(self._chunks):
            return Applied(result=Applied.ACCEPT)
        try:
            chain = await asyncio.to_thread(self._fill)
        except Refusal as refusal:
            return self._reject(str(refusal))
        self._let_go()
        log.info("snapshot restored", height=chain.tip.height, root=chain.tip.root.hex())
        self.done.set_result(chain)
        return Applied(result=Applied.ACCEPT)

    def _reject(self, why: str) -> abci.ResponseApplySnapshotChunk:
        log.warning("snapshot rejected", reason=why)
        self._let_go()
        return Applied(result=Applied.REJECT_SNAPSHOT)

    def _let_go(self) -> None:
        self._manifest = self._block = None
        self._chunks = []

    def _fill(self) -> Chain:
        """Fill the store and open its chain. Refuses like `restore`."""
        manifest, block = self._manifest, self._block
        if manifest is None or block is None:
            raise Fault("a snapshot is restored that was not offered")
        chunks = [chunk for chunk in self._chunks if chunk is not None]
        check_time(chunks, block)
        restore(self._store, sha256(self._genesis), manifest, chunks)
        return Chain(self._store, self._genesis, self._at)


def check_time(chunks: Iterable[bytes], block: Block) -> None:
    """Check that a snapshot's block has the time at which its state began an epoch.

    CometBFT vouches for the state root alone, and the next block's time depends on this one's.
    Refuses with `bad_snapshot`, and like the codecs of chunks and epochs.
    """
    for chunk in chunks:
        for key, value in CHUNK.decode(chunk).records:
            if key == EPOCH.letter and EPOCH.codec.decode(value).start_ms == block.header.time_ms:
                return
    raise Refusal("bad_snapshot", why="its block does not have the time that its state says")
