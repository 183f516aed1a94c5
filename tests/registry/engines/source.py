"""A node over HTTP, as one that follows sees it: honest, or lying in one way.

Source        a small real server in a thread, on a free port of this machine
make_chain    blocks of a real producer, over several epochs
resealed      a block that the producer sealed, with something else in it
"""

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.crypto import sign
from ledger.history import Tip
from ledger.messages.blocks import BLOCK, Block, inputs_hash, seal_bytes
from ledger.store import Store
from ledger.types import ZERO_HASH
from registry.engines.follow import Follow
from tests.factory import QUARTER
from tests.registry.factory import PRODUCER, Node, Site, produce

Lie: TypeAlias = Callable[["Answering", list[bytes]], None]
"""Answers a request for these blocks in its own way."""


class Answering(BaseHTTPRequestHandler):
    """One request to a `Source`."""

    protocol_version = "HTTP/1.1"
    # head and body in one packet, which the far side acknowledges at once
    wbufsize = 2**16

    @property
    def source(self) -> "Source":
        """The source that is asked."""
        found: Source = self.server.source  # type: ignore[attr-defined]
        return found

    def do_GET(self) -> None:
        """Answer `GET /v1/blocks`, and of `GET /v1/network` the height."""
        path = urlsplit(self.path)
        if path.path == "/v1/network":
            self.source.network(self)
            return
        query = {name: int(values[0]) for name, values in parse_qs(path.query).items()}
        assert path.path == "/v1/blocks"
        self.source.asked.append(query["start"])
        first = query["start"] - 1
        raws = self.source.blocks[first : first + query["limit"]]
        if self.source.lie is None:
            self.send(msgspec.msgpack.encode(raws))
        else:
            self.source.lie(self, raws)

    def do_POST(self) -> None:
        """Answer what is sent, transactions or votes, with what the test says."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.source.posted.append((self.path, msgspec.msgpack.decode(body)))
        status, answer = self.source.to_posts
        self.send(answer, status)

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin(self) -> None:
        """Begin an answer without a length, which ends with the connection."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_arguments: Any) -> None:
        """Who is asked by a test may lose his connection."""


class Source:
    """Serves `blocks` until `stop`."""

    def __init__(self, blocks: Sequence[bytes] = (), lie: Lie | None = None) -> None:
        self.blocks = list(blocks)
        self.lie = lie
        self.asked: list[int] = []
        self.posted: list[tuple[str, Any]] = []
        self.to_posts: tuple[int, bytes] = (200, b"")
        self.ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), Answering)
        self._server.source = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def network(self, handler: Answering) -> None:
        """Answer how high it is."""
        genesis_hash = BLOCK.decode(self.blocks[0]).header.previous if self.blocks else ZERO_HASH
        answer = {"genesis_hash": genesis_hash.hex(), "height": len(self.blocks)}
        handler.send(msgspec.json.encode(answer))

    def stop(self) -> None:
        """Go away."""
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def sources(*made: Source) -> Iterator[list[str]]:
    """The URLs of sources, which stop at the end."""
    try:
        yield [source.url for source in made]
    finally:
        for source in made:
            source.stop()


class Made(NamedTuple):
    """A chain that a producer made, from its genesis file on."""

    blocks: list[Block]
    raws: list[bytes]
    tip: Tip
    dump: dict[bytes, Record]
    nodes: dict[str, int]


async def make_chain(site: Site, blocks: int) -> Made:
    """Have a producer make blocks over several epochs."""
    node = Node.at(site)
    solo = node.solo(site)
    network = node.network
    await node.pool.add([network.register("node"), network.register("open", "bob", QUARTER)])
    await produce(site, solo)
    await node.pool.add([network.contribute("carol", 3 * QUARTER, "open")])
    for _ in range(blocks - 1):
        await node.pool.add([network.transfer("alice", "dave"), network.transfer("erin", "bob")])
        await produce(site, solo)
    found = [node.chain.view().block(height) for height in range(1, blocks + 1)]
    made = [block for block in found if block is not None]
    by_state = node.replica.census.by_state()
    await node.close()
    return Made(made, [encode(block) for block in made], node.chain.tip, network.dump(), by_state)


def resealed(site_hash: bytes, block: Block, **changes: Any) -> bytes:
    """A block with other transactions or another header, sealed by the producer all the same."""
    raws = changes.pop("transactions", block.transactions)
    header = replace(block.header, **({"inputs": inputs_hash(raws, ())} | changes))
    return encode(Block(header, (), raws, sign(PRODUCER, seal_bytes(site_hash, header))))


@asynccontextmanager
async def following(
    site: Site, urls: Sequence[str], store: Store | None = None
) -> AsyncIterator[tuple[Node, Follow]]:
    """A replica that knows the genesis file and URLs, and nothing else."""
    node = Node.at(site, store)
    follow = Follow(node.replica, urls)
    try:
        yield node, follow
    finally:
        await follow.close()
        await node.close()
