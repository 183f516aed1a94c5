"""The ledger process: it alone opens the database, and holds chain, engine, pool and signers.

State is touched on this loop's thread only. Blocks are worked on in pieces; between two pieces
the loop answers requests from the last committed height.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from ledger.chain import Chain, Executed
from ledger.errors import CorruptStore, Fault
from ledger.history import TIP_KEY
from ledger.leveldb import LevelStore
from ledger.messages.blocks import Block
from ledger.messages.genesis import GENESIS
from ledger.messages.lists import decode_header, decode_signed_header
from ledger.messages.tables import EPOCH
from registry.engines import check_engine
from registry.engines.attestor import Attestor
from registry.engines.follow import Follow
from registry.engines.refill import Refill
from registry.engines.solo import Solo
from registry.handover import Seeds, run_child
from registry.inheritance import load_inheritance
from registry.ipc import MAX_UNDER_WAY, Busy, Handler, Server
from registry.keystore import load_seed
from registry.lifeline import until_stopped
from registry.publisher import Publisher
from registry.queries import Queries
from registry.replica import Engine, Replica, fill_memory
from registry.settings import Settings
from registry.signer import BlockSigner, HeaderSigner
from registry.verdicts import SentVote
from registry.view import Event, PushedView, cut_nodes
from registry.watermarks import Watermarks
from registry.workers import ThreadVerifier, Verifier, WorkerVerifier

if TYPE_CHECKING:
    # its messages need the extra `comet`
    from registry.engines.comet.server import Server as Abci

MAX_WAITS: Final = MAX_UNDER_WAY // 2
"""Submissions that may wait for their blocks at a time."""

log = structlog.get_logger()


class Service:
    """Everything that the ledger process holds."""

    def __init__(
        self,
        settings: Settings,
        seeds: Seeds | None = None,
        *,
        chain: Chain | None = None,
        abci: "Abci | None" = None,
    ) -> None:
        """What is not among `seeds` is read from its key file, if that is in the clear.

        `chain` is that of the home, where it was opened before, and `abci` the socket on which
        CometBFT waits then.
        """
        self._settings = settings
        self._abci = abci
        self._seeds = seeds or {}
        verifier: Verifier = (
            WorkerVerifier(settings.worker_sockets) if settings.web else ThreadVerifier()
        )
        with fill_memory():
            self.chain = chain or _open_chain(settings)
            self.replica = Replica(self.chain, verifier)
        self.publisher = Publisher(self.chain, self.replica.roster, settings.publish_path)
        replica = self.replica
        self.queries = Queries(
            self.chain, replica.pool, replica.census, replica.verdicts, replica.check_ins.newest
        )
        handlers: dict[str, Handler] = {
            "submit": self._submit,
            "vote": self._vote,
            "check_in": replica.check_ins.add,
            "query": self._query,
        }
        self.server = Server(handlers, self._greet, self._break_off)
        self._broken = asyncio.Event()
        self._fault: Fault | None = None
        """What a question met, such as a record that is damaged; nothing is served after it."""
        self._watermarks: Watermarks | None = None
        self._attestor: Attestor | None = None
        self._final_pushed: int | None = None
        self._waits = 0

    async def _make_engine(self) -> Engine:
        settings = self._settings
        if settings.engine == "follow":
            if not settings.follow:
                raise Fault("the engine follow needs the URL of a node: --follow")
            return Follow(self.replica, settings.follow)
        if settings.engine == "comet":
            return await self._make_comet()
        if settings.producer is None:
            raise Fault("the engine solo needs the key file of the producer: --producer")
        signer = BlockSigner(self._get_seed(settings.producer), self._hold_watermarks())
        if signer.pair.public != self.chain.genesis.producer:
            raise Fault(f"{settings.producer} is not the key of this network's producer")
        if settings.refill:
            await self._refill(settings.refill)
        is_vouched = settings.new_watermark or bool(settings.refill)
        return Solo(self.replica, signer, is_vouched=is_vouched)

    async def _make_comet(self) -> Engine:
        from registry.engines.comet.engine import Comet
        from registry.engines.comet.snapshots import Snapshots

        settings = self._settings
        return Comet(
            self.replica,
            self._abci or await _listen(settings),
            settings.cometbft_rpc_socket,
            Snapshots(settings.snapshot_path, settings.snapshot_epochs),
            halt_height=settings.halt_height,
        )

    async def _refill(self, sources: tuple[str, ...]) -> None:
        """Bring the database up to date; also where it fits its watermark, as two copies do."""
        source = Refill(self.replica, sources)
        await source.fetch()
        await source.close()

    def _hold_watermarks(self) -> Watermarks:
        """Keep every other process from signing with this home."""
        if self._watermarks is None:
            network = self.chain.genesis_hash
            self._watermarks = Watermarks(self._settings.watermark_path, network)
        return self._watermarks

    def _get_seed(self, path: Path) -> bytes:
        return self._seeds[path] if path in self._seeds else load_seed(path)

    async def run(self, lifeline: int) -> None:
        """Serve until told to stop. Raises a `Fault` where going on would be wrong."""
        work = asyncio.create_task(self._work())
        # from the first moment on: a refill may take long, and it may wait for ever
        stop = until_stopped(lifeline)
        broken = asyncio.create_task(self._wait_broken())
        try:
            await asyncio.wait([work, stop, broken], return_when=asyncio.FIRST_COMPLETED)
            for task in (work, broken):
                if task.done():
                    task.result()
        finally:
            await self._close(work, stop, broken)

    def _break_off(self, fault: Fault) -> None:
        self._fault = self._fault or fault
        self._broken.set()

    async def _wait_broken(self) -> None:
        await self._broken.wait()
        if self._fault is not None:
            raise self._fault

    async def _work(self) -> None:
        settings = self._settings
        engine = self._engine = await self._make_engine()
        if settings.web:
            await self.publisher.start()
            self._final_pushed = self.publisher.latest
            self.replica.on_commit.append(self._publish)
            settings.run_path.mkdir(parents=True, exist_ok=True)
            await self.server.start(settings.ledger_socket)
        if settings.attest is not None:
            seed = self._get_seed(settings.attest)
            signer = await asyncio.to_thread(
                HeaderSigner,
                seed,
                self._hold_watermarks(),
                is_vouched=settings.new_watermark,
            )
            self._attestor = Attestor(self.replica, signer, engine.submit)
            self.replica.on_commit.append(self._attestor.on_commit)
        log.info("ledger ready", height=self.chain.tip.height, root=self.chain.tip.root.hex())
        try:
            await engine.run()
        finally:
            await engine.close()

    async def _close(self, *tasks: asyncio.Future[None]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.server.close()
        await self.publisher.close()
        if self._attestor is not None:
            await self._attestor.close()
        await self.replica.close()
        if self._watermarks is not None:
            self._watermarks.close()
        self.chain.store.close()

    # ---------------------------------------------------------------------- requests

    async def _submit(self, raws: list[bytes], wait: bool) -> list[dict[str, Any]]:
        if not wait:
            return await self._engine.submit(raws, wait)
        # who waits holds a place of the server for long, so not all of them may be taken
        if self._waits >= MAX_WAITS:
            raise Busy("too many submissions wait for their blocks")
        self._waits += 1
        try:
            return await self._engine.submit(raws, wait)
        finally:
            self._waits -= 1

    async def _vote(self, votes: list[Any]) -> list[dict[str, Any]]:
        return await self._engine.vote([SentVote(*vote) for vote in votes])

    async def _query(
        self, name: str, arguments: dict[str, Any], height: int | None
    ) -> dict[str, Any]:
        at = await self.queries.prepare(name, arguments, height)
        return self.queries.answer(name, arguments, at)

    # -------------------------------------------------------------------------- view

    async def _publish(self, block: Block, executed: Executed) -> None:
        await self.publisher.update()
        events = [Event("block", block.header.height, _block_event(block))]
        epoch = self.chain.view().state.one(EPOCH).epoch
        if executed.ended_epoch:
            events.append(Event("epoch", block.header.height, {"epoch": epoch - 1}))
        latest = self.publisher.latest
        if latest != self._final_pushed:
            self._final_pushed = latest
            events.append(Event("list_final", block.header.height, {"epoch": latest}))
        changed = self.replica.roster.take_changed()
        if any(changed):
            for piece in cut_nodes(*changed):
                self.server.push("nodes", piece)
        self.server.push("view", self._view(events))

    def _greet(self) -> Iterator[tuple[str, Any]]:
        for piece in cut_nodes(self.replica.roster.all(), first=True):
            yield "nodes", piece
        yield "view", self._view([])

    def _view(self, events: list[Event]) -> PushedView:
        view = self.chain.view()
        epoch = view.state.one(EPOCH)
        return PushedView(
            height=view.tip.height,
            time_ms=view.tip.time_ms,
            root=view.tip.root.hex(),
            block_hash=view.tip.block_hash.hex(),
            epoch=epoch.epoch,
            epoch_ends_ms=epoch.start_ms + view.state.params().epoch_ms,
            chain=self.chain.genesis.name.decode(),
            genesis=self.chain.genesis_bytes,
            ready=self._is_ready(),
            network=self.queries.answer("network", {}, None)["result"],
            lists=self.publisher.lists,
            latest=self.publisher.latest,
            events=events,
            votes_held=self.replica.verdicts.held,
            verdicts_made=self.replica.verdicts.made,
        )

    def _is_ready(self) -> bool:
        """Whether the newest final list is fresh by this machine's clock."""
        for row in self.publisher.lists:
            if row.epoch == self.publisher.latest:
                header = decode_header(decode_signed_header(row.header).header)
                return time.time_ns() // 1_000_000 <= header.fresh_until_ms
        return False


def _block_event(block: Block) -> dict[str, Any]:
    header = block.header
    return {
        "height": header.height,
        "time_ms": header.time_ms,
        "transactions": len(block.transactions),
        "state_root": header.state_root.hex(),
    }


def _open_chain(settings: Settings) -> Chain:
    genesis = _read_genesis(settings)
    chain = Chain(LevelStore(settings.database_path), genesis)
    if not chain.is_initialised:
        now_ms = time.time_ns() // 1_000_000
        chain.init(load_inheritance(settings.home, genesis, now_ms))
    return chain


def _read_genesis(settings: Settings) -> bytes:
    genesis = settings.read_genesis()
    check_engine(GENESIS.decode(genesis), settings.engine)
    return genesis


async def _listen(settings: Settings) -> "Abci":
    """Return the socket on which CometBFT asks."""
    from registry.engines.comet.server import Server as Abci

    abci = Abci()
    await abci.start(settings.abci_socket)
    return abci


async def serve(settings: Settings, seeds: Seeds, lifeline: int) -> None:
    """Serve until told to stop; a node that is to begin with a snapshot is filled with it first.

    Raises a `Fault` where going on would be wrong.
    """
    if settings.engine != "comet" or not settings.state_sync:
        await Service(settings, seeds).run(lifeline)
        return
    genesis = _read_genesis(settings)
    store = LevelStore(settings.database_path)
    if store.get(TIP_KEY) is not None:
        await Service(settings, seeds, chain=Chain(store, genesis)).run(lifeline)
        return
    abci = await _listen(settings)
    chain = await _fill(settings, store, genesis, abci, lifeline)
    if chain is not None:
        await Service(settings, seeds, chain=chain, abci=abci).run(lifeline)


async def _fill(
    settings: Settings, store: LevelStore, genesis: bytes, abci: "Abci", lifeline: int
) -> Chain | None:
    """Return the chain of an empty store once CometBFT has filled it; None if told to stop."""
    from registry.engines.comet.snapshots import fill_store

    inheritance = load_inheritance(settings.home, genesis, time.time_ns() // 1_000_000)
    filling = asyncio.create_task(fill_store(abci, store, genesis, inheritance))
    stop = until_stopped(lifeline)
    waiting: list[asyncio.Future[Any]] = [filling, stop]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if filling.done():
        return filling.result()
    filling.cancel()
    await asyncio.wait([filling])
    await abci.close()
    store.close()
    return None


def main(argv: Sequence[str] | None = None) -> None:
    """Run the ledger process with the settings that its supervisor hands over as JSON.

    Seeds of key files that it opened come through the pipe `--seeds`.
    """
    run_child("ledger", Settings.model_validate_json, _serve, argv)


async def _serve(settings: Settings, seeds: Seeds, lifeline: int) -> None:
    """Serve, and say what to do about what is no fault of this program."""
    try:
        await serve(settings, seeds, lifeline)
    except CorruptStore as error:
        raise Fault(
            f"{error}. Move {settings.database_path} away, leave the rest of the home as it is, "
            "and start again: a follower fetches everything anew, and so does a producer with "
            "--refill and the URL of a node that followed"
        ) from error
    except OSError as error:
        raise Fault(
            f"the system refuses: {error}. Nothing that was acknowledged is lost: see to it (is "
            "the disk full?) and start again"
        ) from error


if __name__ == "__main__":
    main()
