"""CurveZMQ, the encrypted mechanism of ZMTP, as a server speaks it: ZeroMQ's RFC 26.

    HELLO       →    the client's key for this connection; it knows the server's lasting key
    WELCOME    ←     the server's key for this connection, and a cookie that has to come back
    INITIATE    →    the client's lasting key, which vouches for the other, and what it is
    READY      ←     what the server is
    MESSAGE    ←→    everything from there on, each with a number that only grows

Every box is NaCl's, between two X25519 keys. Who knows the server's key may connect: the client's
lasting key is checked for being the client's, and asked for no more.
"""

import secrets
from collections.abc import Sequence
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from registry.oxenmq.zmtp import METADATA, READY, Broken, Frame, check_metadata

HELLO: Final = b"\x05HELLO\x01\x00"
"""With the version of the mechanism."""

WELCOME: Final = b"\x07WELCOME"
INITIATE: Final = b"\x08INITIATE"
MESSAGE: Final = b"\x07MESSAGE"

KEY_BYTES: Final = 32
LONG_NONCE_BYTES: Final = 16
"""Random, behind a prefix of eight bytes."""

NONCE_BYTES: Final = 8
"""A number, behind a prefix of sixteen bytes."""

COOKIE_BYTES: Final = 96
VOUCH_BYTES: Final = 80
SIGNED_BYTES: Final = 64
"""Zeros that a HELLO has in its box, to show that its sender can make one."""

HELLO_BYTES: Final = 200
HELLO_KEY_AT: Final = 80
MORE, COMMAND = 1, 2
"""Flags inside of a MESSAGE."""


class Curve:
    """The mechanism, for one connection."""

    name = b"CURVE"

    def __init__(self, public: bytes, secret: bytes) -> None:
        """Take the lasting X25519 key of the server."""
        self.is_done = False
        self._public = public
        self._secret = secret
        self._cookie = b""
        self._client = b""
        """The client's key for this connection."""
        self._ours = b""
        """The secret of our key for this connection."""
        self._shared = b""
        self._number = 0
        """That of the newest box we made."""
        self._heard = 0
        """That of the newest box we opened."""

    def begin(self) -> Sequence[bytes]:
        """Wait for HELLO."""
        return ()

    def shake(self, command: bytes) -> Sequence[bytes]:
        """Take HELLO, then INITIATE."""
        try:
            return self._welcome(command) if not self._cookie else self._take_in(command)
        except CryptoError:
            raise Broken("a box does not open") from None

    def _welcome(self, command: bytes) -> Sequence[bytes]:
        if len(command) != HELLO_BYTES or not command.startswith(HELLO):
            raise Broken("this is no HELLO")
        client, rest = _split(command[HELLO_KEY_AT:], KEY_BYTES)
        nonce, box = _split(rest, NONCE_BYTES)
        shared = bindings.crypto_box_beforenm(client, self._secret)
        if self._open(b"CurveZMQHELLO---", nonce, box, shared) != bytes(SIGNED_BYTES):
            raise Broken("this is no HELLO")
        public, self._ours = bindings.crypto_box_keypair()
        self._client, self._cookie = client, secrets.token_bytes(COOKIE_BYTES)
        nonce = secrets.token_bytes(LONG_NONCE_BYTES)
        ours = public + self._cookie
        box = bindings.crypto_box_easy_afternm(ours, b"WELCOME-" + nonce, shared)
        return (WELCOME + nonce + box,)

    def _take_in(self, command: bytes) -> Sequence[bytes]:
        if not command.startswith(INITIATE + self._cookie):
            raise Broken("this is no INITIATE with our cookie")
        nonce, box = _split(command[len(INITIATE) + COOKIE_BYTES :], NONCE_BYTES)
        self._shared = bindings.crypto_box_beforenm(self._client, self._ours)
        opened = self._open(b"CurveZMQINITIATE", nonce, box, self._shared)
        lasting, rest = _split(opened, KEY_BYTES)
        nonce, rest = _split(rest, LONG_NONCE_BYTES)
        vouch, metadata = _split(rest, VOUCH_BYTES)
        shared = bindings.crypto_box_beforenm(lasting, self._ours)
        vouched = bindings.crypto_box_open_easy_afternm(vouch, b"VOUCH---" + nonce, shared)
        if vouched != self._client + self._public:
            raise Broken("nobody vouches for its key")
        check_metadata(metadata)
        self.is_done = True
        return (READY + self._close(b"CurveZMQREADY---", METADATA),)

    def open(self, frame: Frame) -> Frame:
        """Return what a MESSAGE holds."""
        # libzmq sends them as parts of messages, the RFC says that they are commands
        if not frame.body.startswith(MESSAGE):
            raise Broken("this is no MESSAGE")
        nonce, box = _split(frame.body[len(MESSAGE) :], NONCE_BYTES)
        try:
            flags, body = _split(self._open(b"CurveZMQMESSAGEC", nonce, box, self._shared), 1)
        except CryptoError:
            raise Broken("a box does not open") from None
        return Frame(body, not flags[0] & MORE, bool(flags[0] & COMMAND))

    def seal(self, frame: Frame) -> Frame:
        """Return a MESSAGE that holds a frame."""
        flags = (COMMAND if frame.is_command else 0) | (0 if frame.is_last else MORE)
        return Frame(MESSAGE + self._close(b"CurveZMQMESSAGES", bytes([flags]) + frame.body))

    def _open(self, prefix: bytes, nonce: bytes, box: bytes, shared: bytes) -> bytes:
        """Return what is in a box. Raises `CryptoError`, and `Broken` of a number from before."""
        number = int.from_bytes(nonce, "big")
        if number <= self._heard:
            raise Broken("a box comes for the second time")
        opened = bindings.crypto_box_open_easy_afternm(box, prefix + nonce, shared)
        self._heard = number
        return opened

    def _close(self, prefix: bytes, content: bytes) -> bytes:
        """Return the number of a box, and the box."""
        self._number += 1
        nonce = self._number.to_bytes(NONCE_BYTES, "big")
        return nonce + bindings.crypto_box_easy_afternm(content, prefix + nonce, self._shared)


def _split(raw: bytes, length: int) -> tuple[bytes, bytes]:
    """Return the first bytes, and the rest. Raises `Broken` if there are not so many."""
    if len(raw) < length:
        raise Broken("something is missing at the end")
    return raw[:length], raw[length:]
