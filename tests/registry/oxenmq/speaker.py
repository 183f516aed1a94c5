"""The client's side of ZMTP and CurveZMQ, byte by byte; it shares nothing with the server's."""

import os
from typing import Final

from nacl import bindings

GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
CURVE_GREETING: Final = GREETING[:12] + b"CURVE".ljust(20, b"\0") + bytes(32)
NOBODY: Final = bytes(4)
SOCKET: Final = b"\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity"
READY: Final = b"\x05READY" + SOCKET

MORE, LONG, COMMAND = 1, 2, 4


def frame(part: bytes, flags: int = 0) -> bytes:
    """One part, as it goes over the wire."""
    if len(part) > 255:
        return bytes([flags | LONG]) + len(part).to_bytes(8, "big") + part
    return bytes([flags, len(part)]) + part


def message(*parts: bytes) -> bytes:
    """A whole message."""
    return b"".join(frame(part, MORE) for part in parts[:-1]) + frame(parts[-1])


def ready(identity: bytes = b"") -> bytes:
    """The command by which a client in the clear says what it is."""
    return frame(READY + len(identity).to_bytes(4, "big") + identity, COMMAND)


class CurveClient:
    """A client of CurveZMQ that makes each command by itself."""

    def __init__(self, server_key: bytes) -> None:
        self._server = server_key
        self.public, self.secret = bindings.crypto_box_keypair()
        self.lasting_public, self.lasting_secret = bindings.crypto_box_keypair()
        self._number = 0
        self._cookie = b""
        self._theirs = b""

    def hello(self, signed: bytes = bytes(64)) -> bytes:
        """HELLO."""
        nonce = self._next()
        box = bindings.crypto_box(signed, b"CurveZMQHELLO---" + nonce, self._server, self.secret)
        return b"\x05HELLO\x01\x00" + bytes(72) + self.public + nonce + box

    def read_welcome(self, command: bytes) -> None:
        """Take WELCOME."""
        assert command[:8] == b"\x07WELCOME", command
        assert len(command) == 168
        nonce, box = command[8:24], command[24:]
        opened = bindings.crypto_box_open(box, b"WELCOME-" + nonce, self._server, self.secret)
        self._theirs, self._cookie = opened[:32], opened[32:]

    def initiate(self, *, vouched: bytes = b"", metadata: bytes = SOCKET + NOBODY) -> bytes:
        """INITIATE; `vouched` is what the lasting key vouches for instead of what it should."""
        return self.close_initiate(self.introduce(vouched=vouched, metadata=metadata))

    def introduce(self, *, vouched: bytes = b"", metadata: bytes = SOCKET + NOBODY) -> bytes:
        """What the box of INITIATE holds."""
        vouch_nonce = os.urandom(16)
        vouch = bindings.crypto_box(
            vouched or self.public + self._server,
            b"VOUCH---" + vouch_nonce,
            self._theirs,
            self.lasting_secret,
        )
        return self.lasting_public + vouch_nonce + vouch + metadata

    def close_initiate(self, introduction: bytes) -> bytes:
        """INITIATE with anything in its box."""
        nonce = self._next()
        box = bindings.crypto_box(
            introduction, b"CurveZMQINITIATE" + nonce, self._theirs, self.secret
        )
        return b"\x08INITIATE" + self._cookie + nonce + box

    def read_ready(self, command: bytes) -> bytes:
        """Take READY, and return what the server is."""
        assert command[:6] == b"\x05READY", command
        nonce, box = command[6:14], command[14:]
        return bindings.crypto_box_open(box, b"CurveZMQREADY---" + nonce, self._theirs, self.secret)

    def seal(self, part: bytes, flags: int = 0) -> bytes:
        """A part of a message, 1 for more to come, or a command, 2."""
        return self.close(bytes([flags]) + part)

    def close(self, content: bytes) -> bytes:
        """A MESSAGE with anything in its box."""
        nonce = self._next()
        box = bindings.crypto_box(content, b"CurveZMQMESSAGEC" + nonce, self._theirs, self.secret)
        return b"\x07MESSAGE" + nonce + box

    def open(self, body: bytes) -> tuple[int, bytes]:
        """Return flags and part of what the server sent."""
        assert body[:8] == b"\x07MESSAGE", body
        nonce, box = body[8:16], body[16:]
        opened = bindings.crypto_box_open(
            box, b"CurveZMQMESSAGES" + nonce, self._theirs, self.secret
        )
        return opened[0], opened[1:]

    def _next(self) -> bytes:
        self._number += 1
        return self._number.to_bytes(8, "big")
