"""CurveZMQ as a server speaks it, with a client made by hand: what is taken, what is broken."""

from collections.abc import Callable

import pytest
from nacl import bindings

from registry.oxenmq.curve import Curve
from registry.oxenmq.zmtp import Broken, Frame, Session
from tests.flip import flip
from tests.registry.oxenmq.speaker import (
    COMMAND,
    CURVE_GREETING,
    NOBODY,
    SOCKET,
    CurveClient,
    frame,
)

PUBLIC, SECRET = bindings.crypto_box_keypair()


def welcomed() -> tuple[Curve, CurveClient]:
    """Return both sides after WELCOME."""
    server, client = Curve(PUBLIC, SECRET), CurveClient(PUBLIC)
    assert server.begin() == ()
    (welcome,) = server.shake(client.hello())
    client.read_welcome(welcome)
    return server, client


def shaken() -> tuple[Curve, CurveClient]:
    """Return both sides after the handshake."""
    server, client = welcomed()
    (ready,) = server.shake(client.initiate())
    assert client.read_ready(ready) == SOCKET.replace(b"DEALER", b"ROUTER") + NOBODY
    assert server.is_done
    return server, client


def test_both_understand_each_other() -> None:
    server, client = shaken()
    for body, flags in ((b"HI", 0), (b"", 1), (bytes(1_000), 1), (b"\x04PING\0\0", 2)):
        expected = Frame(body, not flags & 1, bool(flags & 2))
        assert server.open(Frame(client.seal(body, flags))) == expected
        assert client.open(server.seal(expected).body) == (flags, body)
        # nobody who listens can tell a command, or where a message ends
        assert server.seal(expected)[1:] == (True, False)


def test_a_session_carries_it() -> None:
    sent = bytearray()
    session, client = Session(Curve(PUBLIC, SECRET), sent.extend), CurveClient(PUBLIC)
    assert sent[12:32] == b"CURVE".ljust(20, b"\0")
    assert list(session.feed(CURVE_GREETING + frame(client.hello(), COMMAND))) == [None]
    assert sent[64:66] == bytes([COMMAND, 168])
    client.read_welcome(bytes(sent[66:]))
    sent.clear()
    assert list(session.feed(frame(client.initiate(), COMMAND))) == [None]
    assert client.read_ready(bytes(sent[2:]))
    sent.clear()
    sealed = frame(client.seal(b"a", 1)) + frame(client.seal(b"b")) + frame(client.seal(b"c"))
    assert list(session.feed(sealed)) == [[b"a", b"b"], [b"c"]]
    assert list(session.feed(frame(client.seal(b"\x04PING\0\0hey", 2)))) == [None]
    assert client.open(bytes(sent[2:])) == (2, b"\x04PONGhey")
    sent.clear()
    session.send((b"x", b"y"))
    half = len(sent) // 2
    assert client.open(bytes(sent[2:half])) == (1, b"x")
    assert client.open(bytes(sent[half + 2 :])) == (0, b"y")


def other_client() -> CurveClient:
    """Return one that believes in another server."""
    return CurveClient(bindings.crypto_box_keypair()[0])


HELLOS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "too short": lambda: CurveClient(PUBLIC).hello()[:-1],
    "too long": lambda: CurveClient(PUBLIC).hello() + b"\0",
    "another version": lambda: CurveClient(PUBLIC).hello().replace(b"HELLO\x01", b"HELLO\x02"),
    "another command": lambda: CurveClient(PUBLIC).hello().replace(b"HELLO", b"OLLEH"),
    "another server's": lambda: other_client().hello(),
    "something else in its box": lambda: CurveClient(PUBLIC).hello(bytes(63) + b"\1"),
    "a damaged box": lambda: flip(CurveClient(PUBLIC).hello()),
    "a key of small order": lambda: b"\x05HELLO\x01\x00" + bytes(192),
    "the next step": lambda: b"\x08INITIATE" + bytes(300),
}


@pytest.mark.parametrize("name", HELLOS)
def test_a_hello_that_is_none(name: str) -> None:
    server = Curve(PUBLIC, SECRET)
    with pytest.raises(Broken):
        server.shake(HELLOS[name]())
    assert not server.is_done


def cookie_of_another(_client: CurveClient) -> bytes:
    """INITIATE of another connection to the same server."""
    return welcomed()[1].initiate()


INITIATES: dict[str, Callable[[CurveClient], bytes]] = {
    "HELLO again": lambda client: client.hello(),
    "another connection's": cookie_of_another,
    "another cookie": lambda client: client.initiate()[:9] + bytes(96) + client.initiate()[105:],
    "a damaged box": lambda client: flip(client.initiate()),
    "cut short": lambda client: client.initiate()[:130],
    "cut before the number": lambda client: client.initiate()[:110],
    "a key that vouches for another": lambda client: client.initiate(
        vouched=bindings.crypto_box_keypair()[0] + PUBLIC
    ),
    "a key that vouches for another server": lambda client: client.initiate(
        vouched=client.public + bindings.crypto_box_keypair()[0]
    ),
    "no kind of socket": lambda client: client.initiate(metadata=b""),
    "another kind of socket": lambda client: client.initiate(
        metadata=SOCKET.replace(b"DEALER", b"XYZXYZ") + NOBODY
    ),
}


@pytest.mark.parametrize("name", INITIATES)
def test_an_initiate_that_is_none(name: str) -> None:
    server, client = welcomed()
    with pytest.raises(Broken):
        server.shake(INITIATES[name](client))
    assert not server.is_done


def test_who_has_no_lasting_key_cannot_vouch() -> None:
    server, client = welcomed()
    client.lasting_public = bindings.crypto_box_keypair()[0]
    with pytest.raises(Broken):
        server.shake(client.initiate())
    assert not server.is_done


def test_a_box_counts_once() -> None:
    server, client = shaken()
    first, second = client.seal(b"first"), client.seal(b"second")
    assert server.open(Frame(second)).body == b"second"
    for old in (second, first):
        with pytest.raises(Broken):
            server.open(Frame(old))


NUMBER = (99).to_bytes(8, "big")

MESSAGES: dict[str, Callable[[Curve, CurveClient], bytes]] = {
    "in the clear": lambda _server, _client: b"HI",
    "a damaged box": lambda _server, client: flip(client.seal(b"HI")),
    "a box without its number": lambda _server, _client: b"\x07MESSAGE\0\0",
    "a box too short": lambda _server, _client: b"\x07MESSAGE" + NUMBER + bytes(15),
    "a box that nobody closed": lambda _server, _client: b"\x07MESSAGE" + NUMBER + bytes(40),
    "another client's": lambda _server, _client: shaken()[1].seal(b"HI"),
    "what the server said": lambda server, _client: server.seal(Frame(b"HI")).body,
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_that_is_none(name: str) -> None:
    server, client = shaken()
    with pytest.raises(Broken):
        server.open(Frame(MESSAGES[name](server, client)))
    # what did not open moved nothing
    assert server.open(Frame(client.seal(b"HI"))).body == b"HI"


def test_an_empty_box_is_no_message() -> None:
    server, client = shaken()
    with pytest.raises(Broken):
        server.open(Frame(client.close(b"")))
