"""Snapshots: on disk for those who join, and a store that is filled from one.

    <folder>/<height>/manifest      the encoded manifest
    <folder>/<height>/<index>       each chunk

- One is made of the height at which an epoch ended whose number is a multiple of `every`, so that
  all nodes have the same ones, byte for byte.
- It is written beside the chain's work, from a picture of the store, and is there whole or not at
  all.
- It is offered once it is older than CometBFT takes evidence: whoever begins with it has no header
  up to its height, and could follow no block with evidence of one. If such a block came already,
  nobody can begin with it, and it is removed.
- The newest two that are offered are kept, and all that are not that old yet.
- Whoever begins with one believes of it what CometBFT verified: the state root. All records have
  to add up to it, and everything else comes from them.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from ledger.chain import Chain, Executed
from ledger.codec import encode
from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.history import (
    MANIFEST,
    MAX_CHUNK_BYTES,
    Manifest,
    iterate_chunks,
    make_manifest,
    restore,
)
from ledger.inheritance import Inheritance
from ledger.messages.blocks import Block
from ledger.messages.evidence import MISBEHAVIOUR
from ledger.messages.genesis import GENESIS
from ledger.params import Params
from ledger.store import Reader, Snapshot, Store
from ledger.types import Hash, Height
from registry.cometbft.genesis import evidence_ages
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
"""Snapshots that are kept of those that are offered."""

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

    Refuses like the codec of manifests.
    """
    decoded = MANIFEST.decode(manifest)
    return abci.Snapshot(
        height=decoded.height,
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
        self._lowest: Height | None = None
        """Lowest height of evidence in the blocks since the newest began to be written."""
        self._chain: Chain | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.iterdir()):
            self._look_at(path)

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
        return [self._kept[height] for height in self._offered()]

    def _offered(self) -> Sequence[Height]:
        """Return the heights before which no evidence counts any more, the newest first."""
        return [height for height in sorted(self._kept, reverse=True) if self._is_old(height)]

    def _is_old(self, height: Height) -> bool:
        """Whether the block of a height is past both ages of evidence at the chain's tip."""
        if self._chain is None:
            return False
        # CometBFT keeps the limits of the genesis file, whatever the ledger's parameters are now
        ages, tip = evidence_ages(Params(*self._chain.genesis.params)), self._chain.tip
        if tip.height - height <= ages.blocks:
            return False
        block = self._chain.view().block(height)
        return block is not None and tip.time_ms - block.header.time_ms > ages.ms

    def load(self, height: Height, format_: int, index: int) -> bytes:
        """Return a chunk; none if it is not offered."""
        described = self._kept.get(height)
        if described is None or format_ != FORMAT or not 0 <= index < described.chunks:
            return b""
        if not self._is_old(height):
            return b""
        with contextlib.suppress(OSError):
            return (self._folder / str(height) / str(index)).read_bytes()
        return b""

    def follow(self, replica: Replica) -> None:
        """Offer snapshots of this replica's chain, and make some from now on."""
        chain = self._chain = replica.chain

        async def on_commit(block: Block, executed: Executed) -> None:
            self._look_for_evidence(block)
            if not executed.ended_epoch:
                return
            self._prune()
            epoch = chain.view().ended_epoch
            if epoch is not None and self._every and epoch % self._every == 0:
                self._begin(chain)

        replica.on_commit.append(on_commit)
        # it may have died between this block and what was to be done after it
        newest = chain.view().block(chain.tip.height)
        if newest is not None:
            self._look_for_evidence(newest)
        self._prune()

    def _look_for_evidence(self, block: Block) -> None:
        """Remove what nobody can begin with: its height is not below that of evidence in a block.

        Whoever began with it would be asked for the header of that evidence, and have none.
        """
        if not block.misbehaviour:
            return
        lowest = min(MISBEHAVIOUR.decode(piece).height for piece in block.misbehaviour)
        self._lowest = lowest if self._lowest is None else min(lowest, self._lowest)
        for height in sorted(self._kept):
            if lowest <= height < block.header.height:
                log.warning("snapshot removed", height=height, reason="evidence is older")
                self._drop(height)

    def _drop(self, height: Height) -> None:
        del self._kept[height]
        _remove(self._folder / str(height))

    def _begin(self, chain: Chain) -> None:
        if self._writing is not None and not self._writing.done():
            log.warning("no snapshot", height=chain.tip.height, reason="one is being written")
            return
        self._lowest = None
        # what was committed last, whatever is written meanwhile
        self._writing = asyncio.create_task(self._write(chain.tip.height, chain.store.snapshot()))

    async def _write(self, height: Height, picture: Snapshot) -> None:
        try:
            made = await asyncio.to_thread(write_snapshot, self._folder, picture)
        except OSError as error:
            log.warning("no snapshot", height=height, reason=str(error))
            with contextlib.suppress(OSError):
                _remove(self._folder / f"{UNFINISHED}{height}")
            return
        finally:
            picture.close()
        if made is None:
            return
        self._kept[height] = _describe(made)
        log.info("snapshot", height=height, chunks=self._kept[height].chunks)
        if self._lowest is not None and self._lowest <= height:
            log.warning("snapshot removed", height=height, reason="evidence is older")
            self._drop(height)

    def _prune(self) -> None:
        for height in self._offered()[KEPT:]:
            self._drop(height)

    async def close(self) -> None:
        """Wait for what is being written."""
        if self._writing is not None:
            await asyncio.wait([self._writing])


def write_snapshot(folder: Path, reader: Reader) -> bytes | None:
    """Write the snapshot of a reader's height, and return its encoded manifest.

    None for one that does not fit CometBFT's messages. Raises OSError.
    """
    manifest = make_manifest(reader)
    encoded, height = encode(manifest), manifest.height
    if len(encoded) > MAX_METADATA_BYTES:
        log.warning("no snapshot", height=height, reason="it has too many chunks to be sent")
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
        self._offer: _Offered | None = None

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
            self._offer = None
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
        self._offer = None
        if request.snapshot.format != FORMAT:
            return Offer(result=Offer.REJECT_FORMAT)
        try:
            manifest = self._check_offer(request.snapshot)
        except Refusal as refusal:
            log.warning("snapshot rejected", height=request.snapshot.height, reason=str(refusal))
            # whoever offers this has not looked at it either: it is false whatever the state is
            return Offer(result=Offer.REJECT_SENDER)
        self._offer = _Offered(manifest, request.app_hash)
        return Offer(result=Offer.ACCEPT)

    def _check_offer(self, offered: abci.Snapshot) -> Manifest:
        """Return the manifest of an offer that is what it says, or refuse it."""
        if sha256(offered.metadata) != offered.hash:
            raise Refusal("bad_snapshot", why="its hash is not that of its manifest")
        manifest = MANIFEST.decode(offered.metadata)
        rules = [
            (manifest.height == offered.height, "its manifest is of another height"),
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
        offer, index, chunk = self._offer, request.index, request.chunk
        if offer is None or index >= len(offer.chunks):
            return Applied(result=Applied.REJECT_SNAPSHOT)
        if sha256(chunk) != offer.manifest.chunks[index]:
            log.warning("chunk rejected", index=index, sender=request.sender)
            return Applied(
                result=Applied.RETRY, refetch_chunks=[index], reject_senders=[request.sender]
            )
        offer.keep(index, chunk, request.sender)
        if len(chunk) > MAX_CHUNK_BYTES or offer.held_bytes > MAX_STATE_BYTES:
            return self._reject(offer, "it is larger than any state")
        if offer.missing:
            return Applied(result=Applied.ACCEPT)
        try:
            chain = await asyncio.to_thread(self._fill, offer)
        except Refusal as refusal:
            return self._reject(offer, str(refusal))
        self._offer = None
        log.info("snapshot restored", height=chain.tip.height, root=chain.tip.root.hex())
        self.done.set_result(chain)
        return Applied(result=Applied.ACCEPT)

    def _reject(self, offer: "_Offered", why: str) -> abci.ResponseApplySnapshotChunk:
        """Take nothing more of an offer, and nothing more from whoever sent its chunks.

        They are what its manifest names, so it is the offer that is false, and all of them made it.
        """
        log.warning("snapshot rejected", reason=why)
        self._offer = None
        return Applied(result=Applied.REJECT_SNAPSHOT, reject_senders=list(offer.senders))

    def _fill(self, offer: "_Offered") -> Chain:
        """Fill the store and open its chain. Refuses like `restore`."""
        chunks = [chunk for chunk in offer.chunks if chunk is not None]
        restore(self._store, sha256(self._genesis), offer.manifest, chunks, offer.root)
        return Chain(self._store, self._genesis, self._at)


class _Offered:
    """An offer that is taken, and what came of it."""

    def __init__(self, manifest: Manifest, root: Hash) -> None:
        self.manifest = manifest
        self.root = root
        """State root that CometBFT verified for its height."""
        self.chunks: list[bytes | None] = [None] * len(manifest.chunks)
        self.missing = len(manifest.chunks)
        self.held_bytes = 0
        self.senders: dict[str, None] = {}

    def keep(self, index: int, chunk: bytes, sender: str) -> None:
        """Keep a chunk that is the one which the manifest names."""
        self.senders[sender] = None
        if self.chunks[index] is None:
            self.chunks[index] = chunk
            self.missing -= 1
            self.held_bytes += len(chunk)
