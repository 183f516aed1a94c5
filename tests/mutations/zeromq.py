"""What strangers say below the messages of OxenMQ: ZMTP, and what is in the boxes of CurveZMQ.

Who has no key cannot make a box, but everybody has the server's, so what a box holds is fuzzed too.
"""

from collections.abc import Iterable
from copy import copy
from typing import Any, Final

from nacl import bindings

from registry.oxenmq.curve import Curve
from registry.oxenmq.zmtp import Broken, Frame, Null, Session
from tests.mutations.rows import Decoder
from tests.registry.oxenmq.speaker import (
    COMMAND,
    GREETING,
    CurveClient,
    frame,
    message,
    ready,
)


def converse(raw: bytes) -> Any:
    """Feed a connection, whole and in two pieces; return what it hears and what it says."""
    cut = len(raw) // 2
    heard = _hear([raw])
    assert heard == _hear([raw[:cut], raw[cut:]])
    return heard


def _hear(pieces: Iterable[bytes]) -> tuple[list[Any], bytes, str]:
    said = bytearray()
    session = Session(Null(), said.extend)
    heard: list[Any] = []
    try:
        for piece in filter(None, pieces):
            heard.extend(session.feed(piece))
    except Broken as broken:
        return heard, bytes(said), str(broken)
    return heard, bytes(said), ""


class Handshake:
    """A server at each step of one handshake. Whoever reads has a server of his own."""

    def __init__(self) -> None:
        public, secret = bindings.crypto_box_keypair()
        self.server = Curve(public, secret)
        self.client = CurveClient(public)
        self.hello = self.client.hello()
        self.welcomed = copy(self.server)
        (welcome,) = self.welcomed.shake(self.hello)
        self.client.read_welcome(welcome)
        self.introduction = self.client.introduce()
        self.shaken = copy(self.welcomed)
        self.shaken.shake(self.client.initiate())

    def take_hello(self, raw: bytes) -> list[int]:
        """Take HELLO; return how long each answer is, which is another one every time."""
        return list(map(len, copy(self.server).shake(raw)))

    def take_introduction(self, raw: bytes) -> list[int]:
        """Take what the box of INITIATE holds."""
        return list(map(len, copy(self.welcomed).shake(self.client.close_initiate(raw))))

    def take_message(self, raw: bytes) -> Frame:
        """Take what the box of a MESSAGE holds."""
        return copy(self.shaken).open(Frame(self.client.close(raw)))


HANDSHAKE: Final = Handshake()

ZEROMQ: Final[dict[str, Decoder]] = {
    "conversation of ZMTP": Decoder(
        GREETING
        + ready()
        + message(b"HI")
        + frame(b"\x04PING\x00\x64abc", COMMAND)
        + message(b"rpc.get_service_nodes", b"tag", b"{}"),
        converse,
        (),
    ),
    "HELLO of CurveZMQ": Decoder(HANDSHAKE.hello, HANDSHAKE.take_hello, Broken),
    "box of INITIATE": Decoder(HANDSHAKE.introduction, HANDSHAKE.take_introduction, Broken),
    "box of a MESSAGE": Decoder(b"\x00HI", HANDSHAKE.take_message, Broken),
}
