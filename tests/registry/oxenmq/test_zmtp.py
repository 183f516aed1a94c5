"""ZMTP as a server speaks it: what comes out of which bytes, and what is broken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.oxenmq.wire import MAX_MESSAGE_BYTES, MAX_PARTS, Parts
from registry.oxenmq.zmtp import Broken, Null, Session
from tests.registry.oxenmq.speaker import (
    COMMAND,
    GREETING,
    LONG,
    MORE,
    NOBODY,
    READY,
    frame,
    message,
    ready,
)

PING = b"\x04PING\x00\x64"


class Line:
    """A session, and what it has sent."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.session = Session(Null(), self.sent.extend)

    def feed(self, data: bytes) -> list[Parts | None]:
        """Return what comes out of bytes."""
        return list(self.session.feed(data))

    def is_open(self) -> bool:
        """Whether messages can go."""
        return self.session.is_open

    def take_sent(self) -> bytes:
        """Return what was sent since the last time."""
        taken = bytes(self.sent)
        self.sent.clear()
        return taken


def greeted() -> Line:
    """Return a line that has shaken hands."""
    line = Line()
    assert line.feed(GREETING + ready()) == [None]
    line.sent.clear()
    return line


def test_a_handshake() -> None:
    line = Line()
    greeting = line.take_sent()
    assert (len(greeting), greeting[:12]) == (64, b"\xff" + bytes(8) + b"\x7f\x03\x01")
    assert greeting[12:] == b"NULL".ljust(20, b"\0") + bytes(32)
    assert line.feed(GREETING) == []
    ours = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER\x08Identity\x00\x00\x00\x00"
    assert line.take_sent() == frame(ours, COMMAND)
    assert not line.is_open()
    assert line.feed(ready(b"somebody")) == [None]
    assert line.is_open()
    assert line.take_sent() == b""


TAKEN = {
    "one part": ([b"HI"], message(b"HI")),
    "an empty part": ([b""], message(b"")),
    "a long part": ([bytes(256)], message(bytes(256))),
    "a short part with a long length": ([b"x"], bytes([LONG]) + (1).to_bytes(8, "big") + b"x"),
    "parts": ([b"a", b"", b"c"], message(b"a", b"", b"c")),
    "as many as may be": ([b"x"] * MAX_PARTS, message(*[b"x"] * MAX_PARTS)),
    "as long as may be": ([bytes(MAX_MESSAGE_BYTES)], message(bytes(MAX_MESSAGE_BYTES))),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken(name: str) -> None:
    parts, raw = TAKEN[name]
    line = greeted()
    assert line.feed(raw * 2) == [parts, parts]
    assert line.take_sent() == b""


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_bytes_may_come_in_any_pieces(size: int) -> None:
    raw = GREETING + ready(b"me") + message(b"HI") + frame(PING + b"abc", COMMAND)
    raw += message(b"rpc.get_info", b"tag", bytes(300))
    line = Line()
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    told = [each for piece in pieces for each in line.feed(piece)]
    assert told == [None, [b"HI"], None, [b"rpc.get_info", b"tag", bytes(300)]]
    assert line.take_sent().endswith(frame(b"\x04PONGabc", COMMAND))


def test_what_is_sent() -> None:
    line = greeted()
    line.session.send((b"REPLY", b"", bytes(256)))
    assert line.take_sent() == message(b"REPLY", b"", bytes(256))


@pytest.mark.parametrize("body", [b"\x04PONG", b"\x09SUBSCRIBE", b"\x08NONSENSE", b""])
def test_commands_that_are_passed_over(body: bytes) -> None:
    line = greeted()
    assert line.feed(frame(body, COMMAND) + message(b"HI")) == [None, [b"HI"]]
    assert line.take_sent() == b""


FIRST = {
    "no greeting": b"GET / HTTP/1.1\r\n",
    "ZMTP 1": b"\x01\x00",
    "half a signature, another end": b"\xff" + bytes(8) + b"\x00",
    "ZMTP 2": b"\xff" + bytes(8) + b"\x7f\x01",
    "another mechanism": GREETING.replace(b"NULL", b"LLUN"),
    "one with more to its name": GREETING.replace(b"NULL\0", b"NULLS"),
    "encryption": GREETING.replace(b"NULL\0", b"CURVE"),
    "a message before the handshake": GREETING + message(b"HI"),
    "another command": GREETING + frame(PING, COMMAND),
    "an error": GREETING + frame(b"\x05ERROR\x00", COMMAND),
    "a kind of socket that has no business here": GREETING
    + frame((READY + NOBODY).replace(b"DEALER", b"SUBPUB"), COMMAND),
    "a kind that puts an empty part first": GREETING
    + frame((READY + NOBODY).replace(b"\x06DEALER", b"\x03REQ"), COMMAND),
    "no kind of socket": GREETING + frame(b"\x05READY", COMMAND),
    "a name without its end": GREETING + frame(b"\x05READY\xffSocket-Type", COMMAND),
    "a value without its end": GREETING + frame(READY + b"\x00\x00\x00\x05me", COMMAND),
    "a value without its length": GREETING + frame(READY + b"\x00\x00", COMMAND),
}


@pytest.mark.parametrize("name", FIRST)
def test_what_is_broken_at_first(name: str) -> None:
    line = Line()
    with pytest.raises(Broken):
        line.feed(FIRST[name])
    assert not line.is_open()


LATER = {
    "too many parts": message(*[b"x"] * (MAX_PARTS + 1)),
    "too many parts, and no end": frame(b"x", MORE) * (MAX_PARTS + 1),
    "too much": message(bytes(MAX_MESSAGE_BYTES), b"x"),
    "too much in one": message(bytes(MAX_MESSAGE_BYTES + 1)),
    "the length of too much": bytes([LONG]) + (2**63).to_bytes(8, "big"),
    "flags that nobody knows": b"\x08\x00",
    "a command that goes on": b"\x05\x00",
    "an error": frame(b"\x05ERROR\x03why", COMMAND),
    "a PING that says too much": frame(PING + bytes(17), COMMAND),
}


@pytest.mark.parametrize("name", LATER)
def test_what_is_broken_later(name: str) -> None:
    line = greeted()
    with pytest.raises(Broken):
        line.feed(LATER[name])


def test_what_was_whole_before_it_broke_is_told() -> None:
    line = greeted()
    coming = line.session.feed(message(b"HI") + b"\xff\xff")
    assert next(coming) == [b"HI"]
    with pytest.raises(Broken):
        next(coming)


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.builds(frame, st.binary(max_size=300), st.sampled_from([0, MORE, COMMAND])),
    ),
    max_size=12,
)


@given(PIECES, st.integers(1, 50), st.booleans())
def test_any_bytes_end_well_and_the_same_in_all_pieces(
    pieces: list[bytes], size: int, is_greeted: bool
) -> None:
    raw = b"".join([GREETING + ready()] * is_greeted + pieces)
    outcomes = []
    for step in (size, len(raw) + 1):
        line, told = Line(), []
        try:
            for at in range(0, len(raw), step):
                for parts in line.session.feed(raw[at : at + step]):
                    told.append(parts)
                    assert parts is None or len(parts) <= MAX_PARTS
            is_broken = False
        except Broken:
            is_broken = True
        outcomes.append((told, is_broken, line.take_sent()))
    assert outcomes[0] == outcomes[1]
