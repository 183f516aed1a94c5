"""The far side of the socket, and a replica behind it.

Wire            one connection: requests out, answers in
Refused         the answer was an exception
request_of      the bytes of a request
serving         a server with some handlers, on a socket in a folder of its own
stamp           a time as CometBFT writes it
comet_genesis   a small network under `comet`
init_fields     what CometBFT says of a network when it begins
Side, served    a replica that is served, and what CometBFT asks of it
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.messages.genesis import COMET, Genesis
from ledger.store import Store
from registry.engines.comet import abci_pb2 as abci
from registry.engines.comet.application import Application
from registry.engines.comet.server import Frames, Handlers, Server, frame
from registry.engines.comet.snapshots import Snapshots
from tests.factory import Network, make_genesis
from tests.registry.factory import Node, short_folder

PROPOSER = bytes(range(20))
"""Address of whoever proposes, where nothing depends on it."""


class Refused(Exception):
    """The answer was an exception, with this text."""


class Wire:
    """One connection of CometBFT's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._frames = Frames()
        self._answers: list[abci.Response] = []

    @classmethod
    async def open(cls, path: Path) -> "Wire":
        """Connect to a socket."""
        return cls(*await asyncio.open_unix_connection(str(path)))

    def send(self, name: str, **fields: Any) -> None:
        """Send a request and do not wait."""
        self.writer.write(request_of(name, **fields))

    async def receive(self) -> tuple[str, Any]:
        """The next answer with its name. Raises `EOFError` when the connection has ended."""
        while not self._answers:
            data = await self._reader.read(2**16)
            if not data:
                raise EOFError
            for body in self._frames.feed(data):
                response = abci.Response()
                response.ParseFromString(body)
                self._answers.append(response)
        response = self._answers.pop(0)
        name = response.WhichOneof("value")
        return name, getattr(response, name)

    async def ask(self, name: str, **fields: Any) -> Any:
        """The answer to a request. Raises `Refused` where it is an exception."""
        self.send(name, **fields)
        answered, answer = await self.receive()
        if answered == "exception":
            raise Refused(answer.error)
        assert answered == name
        return answer

    async def is_ended(self) -> bool:
        """Whether nothing more comes, and nothing has."""
        try:
            await self.receive()
        except (EOFError, ConnectionError):
            return True
        return False

    def close(self) -> None:
        """Hang up."""
        self.writer.close()


def request_of(name: str, **fields: Any) -> bytes:
    """The frame of a request."""
    request = abci.Request()
    part = getattr(request, name)
    part.SetInParent()
    part.MergeFrom(type(part)(**fields))
    return frame(request)


@asynccontextmanager
async def serving(handlers: Handlers) -> AsyncIterator[tuple[Server, Path]]:
    """A server of these handlers."""
    with short_folder() as folder:
        server = Server()
        await server.start(folder / "abci.sock")
        server.use(handlers)
        try:
            yield server, folder / "abci.sock"
        finally:
            await server.close()


def stamp(ms: int, nanos: int = 0) -> abci.Timestamp:
    """A time in milliseconds, and nanoseconds more."""
    return abci.Timestamp(seconds=ms // 1_000, nanos=ms % 1_000 * 1_000_000 + nanos)


def comet_genesis(params: dict[str, int] | None = None, **changes: Any) -> Genesis:
    """A small network under `comet`."""
    return make_genesis(params, **({"engine": COMET, "producer": b""} | changes))


def init_fields(genesis: Genesis) -> dict[str, Any]:
    """What CometBFT asks with when it begins with this network."""
    named = sha256(encode(genesis)).hex()
    return {
        "time": stamp(genesis.start_ms),
        "chain_id": f"{genesis.name.decode()}-{named[:8]}",
        "initial_height": 1,
        "validators": [
            abci.ValidatorUpdate(pub_key=abci.PublicKey(ed25519=row.consensus_key), power=1)
            for row in genesis.attestors
        ],
        "app_state_bytes": b'{"genesis": "%s"}' % named.encode(),
    }


class Side:
    """A replica that is served over a socket, and the connections to it."""

    def __init__(self, node: Node, server: Server, application: Application, path: Path) -> None:
        self.node = node
        self.server = server
        self.application = application
        self.path = path
        self.query: Wire
        self.snapshot: Wire
        self.mempool: Wire
        self.consensus: Wire

    async def connect(self) -> None:
        """Connect four times, in CometBFT's order."""
        self.query = await Wire.open(self.path)
        self.snapshot = await Wire.open(self.path)
        self.mempool = await Wire.open(self.path)
        self.consensus = await Wire.open(self.path)

    def hang_up(self) -> None:
        """End the connections."""
        for wire in (self.query, self.snapshot, self.mempool, self.consensus):
            wire.close()

    # ---------------------------------------------------------------------- requests

    def next_block(self, *raws: bytes, ms: int = 1_000, **changes: Any) -> dict[str, Any]:
        """Fields of a request that speaks of the next block, `ms` after the one before."""
        tip = self.node.chain.tip
        fields = {
            "height": tip.height + 1,
            "time": stamp(tip.time_ms + ms),
            "proposer_address": PROPOSER,
            "txs": raws,
        }
        return fields | changes

    async def check(self, *raws: bytes, again: bool = False) -> list[int]:
        """The codes of transactions that are checked one by one."""
        kind = abci.RECHECK if again else abci.NEW
        return [(await self.mempool.ask("check_tx", tx=raw, type=kind)).code for raw in raws]

    async def prepare(self, *raws: bytes, most: int = 2**24, **changes: Any) -> Sequence[bytes]:
        """What this replica proposes, when CometBFT's own pool has these."""
        fields = self.next_block(*raws, **changes)
        answer = await self.consensus.ask("prepare_proposal", max_tx_bytes=most, **fields)
        return tuple(answer.txs)

    async def process(self, *raws: bytes, **changes: Any) -> bool:
        """Whether a proposal is accepted."""
        fields = self.next_block(*raws, **changes)
        answer = await self.consensus.ask("process_proposal", **fields)
        assert answer.status in (abci.ResponseProcessProposal.ACCEPT, answer.REJECT)
        return bool(answer.status == abci.ResponseProcessProposal.ACCEPT)

    async def finalize(self, *raws: bytes, **changes: Any) -> abci.ResponseFinalizeBlock:
        """Execute a decided block."""
        fields = self.next_block(*raws, **changes)
        answer: abci.ResponseFinalizeBlock = await self.consensus.ask("finalize_block", **fields)
        return answer

    async def decide(self, *raws: bytes, **changes: Any) -> abci.ResponseFinalizeBlock:
        """Execute a decided block and commit it."""
        answer = await self.finalize(*raws, **changes)
        committed = await self.consensus.ask("commit")
        assert committed.retain_height == 0
        return answer


@asynccontextmanager
async def served(
    genesis: Genesis | None = None,
    *,
    store: Store | None = None,
    snapshots: Snapshots | None = None,
    **options: Any,
) -> AsyncIterator[Side]:
    """A replica of a network under `comet`, and four connections to it."""
    network = Network(genesis or comet_genesis(), store)
    network.attesting = False
    node = Node(network)
    application = Application(node.replica, snapshots, **options)
    async with serving(application.handlers) as (server, path):
        side = Side(node, server, application, path)
        await side.connect()
        try:
            yield side
        finally:
            side.hang_up()
            await node.close()
