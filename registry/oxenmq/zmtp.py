"""ZMTP 3, the protocol below ZeroMQ, as a server speaks it: bytes in, messages out; no socket.

    greeting     64 bytes each way: version, and the mechanism that keeps the connection safe
    handshake    commands of that mechanism; the last one says what kind of socket each side is
    traffic      messages in parts, and PING, which gets a PONG

A frame is a byte of flags, a length, and a body: a part of a message or a command. The rules are
those of ZeroMQ's RFC 23 and 37, https://rfc.zeromq.org; `curve` has the encrypted mechanism.

Nobody may send more than `MAX_PARTS` and `MAX_MESSAGE_BYTES` before a message ends, so what a
connection holds is bounded by that. Who breaks a rule is `Broken`: it has no other answer than the
end of the connection.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from registry.oxenmq.wire import MAX_MESSAGE_BYTES, MAX_PARTS, Parts

GREETING_BYTES: Final = 64
SIGNATURE: Final = b"\xff" + bytes(8) + b"\x7f"
"""How a greeting begins."""

VERSION: Final = b"\x03\x01"
OLDEST_MAJOR: Final = 3
MECHANISM_BYTES: Final = 20

MORE, LONG, COMMAND = 1, 2, 4
"""Flags of a frame: another part follows, its length has eight bytes, it is a command."""

SHORT_BYTES: Final = 255
"""Longest body whose length has one byte."""

MAX_SEALED_BYTES: Final = MAX_MESSAGE_BYTES + 64
"""Longest body of a frame: a part, or one with what encryption adds to it."""

READY: Final = b"\x05READY"
ERROR: Final = b"\x05ERROR"
PING: Final = b"\x04PING"
PONG: Final = b"\x04PONG"

TTL_BYTES: Final = 2
"""What a PING says of its own patience, before what the PONG repeats."""

MAX_CONTEXT_BYTES: Final = 16

METADATA: Final = b"\x0bSocket-Type\x00\x00\x00\x06ROUTER\x08Identity\x00\x00\x00\x00"
CLIENTS: Final = frozenset({b"DEALER", b"ROUTER"})
"""Kinds of sockets that OxenMQ uses. A REQ puts an empty part first, which is no command."""


class Broken(Exception):
    """The far side does not speak the protocol, or says more than anybody may."""


class Frame(NamedTuple):
    """A part of a message, or a command."""

    body: bytes
    is_last: bool = True
    """Whether the message ends with it."""
    is_command: bool = False

    def encode(self) -> bytes:
        """Return the frame as it goes over the wire."""
        flags = (COMMAND if self.is_command else 0) | (0 if self.is_last else MORE)
        if len(self.body) > SHORT_BYTES:
            return bytes([flags | LONG]) + len(self.body).to_bytes(8, "big") + self.body
        return bytes([flags, len(self.body)]) + self.body


class Mechanism(Protocol):
    """What keeps a connection safe, or does not."""

    name: bytes
    is_done: bool
    """Whether the handshake is over."""

    def begin(self) -> Sequence[bytes]:
        """Return the commands to send when the greeting was taken."""

    def shake(self, command: bytes) -> Sequence[bytes]:
        """Take a command of the handshake, and return those to send. Raises `Broken`."""

    def open(self, frame: Frame) -> Frame:
        """Return what a frame holds. Raises `Broken`."""

    def seal(self, frame: Frame) -> Frame:
        """Return the frame to send for one."""


class Null:
    """The mechanism that protects nothing."""

    name = b"NULL"

    def __init__(self) -> None:
        self.is_done = False

    def begin(self) -> Sequence[bytes]:
        """Say what we are, without being asked."""
        return (READY + METADATA,)

    def shake(self, command: bytes) -> Sequence[bytes]:
        """Take what the far side is."""
        if not command.startswith(READY):
            raise Broken("it does not say what it is")
        check_metadata(command[len(READY) :])
        self.is_done = True
        return ()

    def open(self, frame: Frame) -> Frame:
        """Return the frame."""
        return frame

    def seal(self, frame: Frame) -> Frame:
        """Return the frame."""
        return frame


def check_metadata(raw: bytes) -> None:
    """Check what the far side says about itself. Raises `Broken`."""
    values: dict[bytes, bytes] = {}
    at = 0
    while at < len(raw):
        name, at = _take_piece(raw, at, 1)
        value, at = _take_piece(raw, at, 4)
        values[name.lower()] = value
    if values.get(b"socket-type") not in CLIENTS:
        raise Broken("its kind of socket does not talk to ours")


def _take_piece(raw: bytes, at: int, length_bytes: int) -> tuple[bytes, int]:
    """Return the piece behind a length, and where it ends."""
    start = at + length_bytes
    end = start + int.from_bytes(raw[at:start], "big")
    if end > len(raw):
        raise Broken("a piece of what it says about itself is missing")
    return raw[start:end], end


class Session:
    """One connection, from its first byte on."""

    def __init__(self, mechanism: Mechanism, send: Callable[[bytes], None]) -> None:
        """Greet; `send` takes what goes out, now and later."""
        self._mechanism = mechanism
        self._send = send
        self._buffer = bytearray()
        self._is_greeted = False
        self._parts: list[bytes] = []
        name = mechanism.name.ljust(MECHANISM_BYTES, b"\0")
        send((SIGNATURE + VERSION + name).ljust(GREETING_BYTES, b"\0"))

    @property
    def is_open(self) -> bool:
        """Whether messages can go either way."""
        return self._mechanism.is_done

    def send(self, parts: Parts) -> None:
        """Send a message. The session has to be open."""
        last = len(parts) - 1
        frames = (Frame(part, is_last=place == last) for place, part in enumerate(parts))
        self._send(b"".join(self._mechanism.seal(frame).encode() for frame in frames))

    def feed(self, data: bytes) -> Iterator[Parts | None]:
        """Take bytes; yield each message that ends in them, and None for each command.

        Raises `Broken`.
        """
        self._buffer += data
        if not self._is_greeted and not self._take_greeting():
            return
        for frame in self._cut_frames():
            if not self.is_open:
                self._shake(frame)
                yield None
                continue
            opened = self._mechanism.open(frame)
            if opened.is_command:
                self._obey(opened.body)
                yield None
            elif (parts := self._collect(opened)) is not None:
                yield parts

    def _take_greeting(self) -> bool:
        """Return whether all of it is there. What is wrong is seen as soon as it can be."""
        raw = self._buffer
        last, behind = len(SIGNATURE) - 1, len(SIGNATURE)
        # what is between the two says something to older versions
        if raw[0] != SIGNATURE[0] or (len(raw) > last and raw[last] != SIGNATURE[last]):
            raise Broken("this is no greeting")
        if len(raw) > behind and raw[behind] < OLDEST_MAJOR:
            raise Broken("its protocol is older than ZMTP 3")
        if len(raw) < GREETING_BYTES:
            return False
        start = behind + len(VERSION)
        mechanism = bytes(raw[start : start + MECHANISM_BYTES]).rstrip(b"\0")
        if mechanism != self._mechanism.name:
            raise Broken("it wants another mechanism")
        del raw[:GREETING_BYTES]
        self._is_greeted = True
        self._command(self._mechanism.begin())
        return True

    def _cut_frames(self) -> Iterator[Frame]:
        """Yield the whole frames that have arrived."""
        raw, start = self._buffer, 0
        try:
            while len(raw) >= start + 2:
                flags, behind = raw[start], start + (9 if raw[start] & LONG else 2)
                if flags > MORE | LONG | COMMAND or (flags & COMMAND and flags & MORE):
                    raise Broken("this is no frame")
                if len(raw) < behind:
                    return
                end = behind + int.from_bytes(raw[start + 1 : behind], "big")
                if end - behind > MAX_SEALED_BYTES:
                    raise Broken("a part is too long")
                if len(raw) < end:
                    return
                body, start = bytes(raw[behind:end]), end
                yield Frame(body, not flags & MORE, bool(flags & COMMAND))
        finally:
            del raw[:start]

    def _shake(self, frame: Frame) -> None:
        if not frame.is_command:
            raise Broken("it speaks before it has shaken hands")
        self._command(self._mechanism.shake(frame.body))

    def _command(self, commands: Sequence[bytes]) -> None:
        for command in commands:
            self._send(Frame(command, is_command=True).encode())

    def _obey(self, command: bytes) -> None:
        """Answer a command; what is none of ours is passed over, as the protocol has it."""
        if command.startswith(ERROR):
            raise Broken("it ends the connection")
        if command.startswith(PING):
            context = command[len(PING) + TTL_BYTES :]
            if len(context) > MAX_CONTEXT_BYTES:
                raise Broken("a PING says too much")
            self._send(self._mechanism.seal(Frame(PONG + context, is_command=True)).encode())

    def _collect(self, frame: Frame) -> Parts | None:
        """Return the message that ends with this part; None if it goes on."""
        parts = self._parts
        parts.append(frame.body)
        if len(parts) > MAX_PARTS or sum(map(len, parts)) > MAX_MESSAGE_BYTES:
            raise Broken("a message does not come to an end")
        if not frame.is_last:
            return None
        self._parts = []
        return parts
