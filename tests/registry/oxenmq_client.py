"""A program that talks OxenMQ, written from what such programs send and take; it knows no more.

    with OxenClient("ipc:///path") as client:
        client.greet()                                    [HI] -> [HELLO]
        client.request("rpc.get_info")                    Answer(error="", data=[b"200", b"{...}"])
        client.wait_for_block()                           Block(height, block_hash)

`error` is what stands in the place of `REPLY`, if that is what came back. What is pushed while an
answer is awaited is kept. `raw` sends and takes parts as they are.
"""

import json
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import zmq

PATIENCE_MS = 20_000
"""How long anything may take on a busy machine."""

TAG_BYTES = 8
ERRORS = (b"FORBIDDEN", b"FORBIDDEN_SN", b"NOT_A_SERVICE_NODE", b"UNKNOWNCOMMAND", b"NO_REPLY_TAG")


class Answer(NamedTuple):
    """What became of a request."""

    error: str
    """The library's own error, or nothing."""
    data: list[bytes]
    """The parts behind the tag."""

    @property
    def status(self) -> str:
        """The first part: `200`, or what is wrong."""
        assert not self.error, f"the request failed: {self.error}"
        return self.data[0].decode()

    @property
    def json(self) -> Any:
        """What a good answer says."""
        assert (self.error, self.data[:1], len(self.data)) == ("", [b"200"], 2), self
        return json.loads(self.data[1])


class Block(NamedTuple):
    """A new block, as it is told."""

    height: int
    block_hash: bytes


class NoAnswer(AssertionError):
    """Nothing came in time."""


class OxenClient:
    """One connection. It is a DEALER, as the library's connections are."""

    def __init__(
        self,
        address: str,
        *,
        server_key: str = "",
        identity: bytes = b"",
        receive_limit: int = 1_000,
    ) -> None:
        """Connect; `server_key` has 64 hex digits, for an encrypted connection."""
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, receive_limit)
        if identity:
            self.socket.setsockopt(zmq.IDENTITY, identity)
        if server_key:
            public, secret = zmq.curve_keypair()
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, bytes.fromhex(server_key))
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        self._pushed: deque[list[bytes]] = deque()
        self.socket.connect(address.replace("curve://", "tcp://"))

    def __enter__(self) -> "OxenClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self.socket.close(linger=0)
        self._context.term()

    # ---- Parts as they are ----

    def send(self, *parts: bytes) -> None:
        """Send one message."""
        self.socket.send_multipart(parts)

    def receive(self, patience_ms: int = PATIENCE_MS) -> list[bytes]:
        """Return the next message. Raises `NoAnswer`."""
        if not self.socket.poll(patience_ms):
            raise NoAnswer(f"nothing came within {patience_ms} ms")
        return self.socket.recv_multipart()

    def raw(self, *parts: bytes) -> list[bytes]:
        """Send one message and return the next one that comes."""
        self.send(*parts)
        return self.receive()

    # ---- What the library does ----

    def greet(self) -> None:
        """Shake hands, as every connection does first."""
        answer = self.raw(b"HI")
        assert answer == [b"HELLO"], f"HI was answered by {answer}"

    def request(self, command: str, body: Any = None, *, patience_ms: int = PATIENCE_MS) -> Answer:
        """Send a request, whose body is JSON, and return what becomes of it."""
        tag = self.start(command, body)
        return self.finish(tag, patience_ms)

    def start(self, command: str, body: Any = None) -> bytes:
        """Send a request and return its tag."""
        tag = os.urandom(TAG_BYTES)
        bodies = [] if body is None else [body if isinstance(body, bytes) else _dump(body)]
        self.send(command.encode(), tag, *bodies)
        return tag

    def finish(self, tag: bytes, patience_ms: int = PATIENCE_MS) -> Answer:
        """Return what becomes of a request that was sent."""
        while True:
            first, *rest = self.receive(patience_ms)
            if first == b"REPLY":
                assert rest[:1] == [tag], f"the tag {rest[:1]} is not {tag!r}"
                return Answer("", rest[1:])
            if first in ERRORS:
                if len(rest) == 2:
                    assert rest == [b"REPLY", tag], f"{first!r} came with {rest}"
                return Answer(first.decode(), rest)
            self._pushed.append([first, *rest])

    def wait_for_block(self, patience_ms: int = PATIENCE_MS) -> Block:
        """Return the next block that is pushed."""
        parts = self._pushed.popleft() if self._pushed else self.receive(patience_ms)
        assert parts[0] == b"notify.block", f"{parts[0]!r} was pushed"
        assert len(parts) == 3, f"a block came in {len(parts)} parts"
        _, height, block_hash = parts
        assert height == str(int(height)).encode(), height
        assert len(block_hash) == 32, f"a hash has {len(block_hash)} bytes"
        return Block(int(height), block_hash)


@contextmanager
def subscribed(address: str, **options: Any) -> Iterator[OxenClient]:
    """A client that is told of new blocks."""
    with OxenClient(address, **options) as client:
        client.greet()
        answer = client.request("sub.block")
        assert answer.data == [b"OK"], answer
        yield client


def _dump(body: Any) -> bytes:
    return json.dumps(body).encode()
