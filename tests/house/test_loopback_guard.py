"""No test reaches another machine: what is refused, and what goes on working."""

import asyncio
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

ELSEWHERE = "192.0.2.1"
"""From the block that is reserved for documentation: nobody answers there."""


def with_tcp(use: Callable[[socket.socket], object], family: int = socket.AF_INET) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        use(sock)


def with_udp(use: Callable[[socket.socket], object]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        use(sock)


async def open_elsewhere(host: str) -> None:
    await asyncio.open_connection(host, 9)


REFUSED: dict[str, Callable[[], object]] = {
    "connect": lambda: with_tcp(lambda s: s.connect((ELSEWHERE, 9))),
    "connect by name": lambda: with_tcp(lambda s: s.connect(("waypost.invalid", 9))),
    "connect_ex": lambda: with_tcp(lambda s: s.connect_ex((ELSEWHERE, 9))),
    "connect over IPv6": lambda: with_tcp(lambda s: s.connect(("2001:db8::1", 9)), socket.AF_INET6),
    "connect over IPv4 mapped into IPv6": lambda: with_tcp(
        lambda s: s.connect((f"::ffff:{ELSEWHERE}", 9)), socket.AF_INET6
    ),
    "create_connection": lambda: socket.create_connection((ELSEWHERE, 9)),
    "sendto": lambda: with_udp(lambda s: s.sendto(b"x", (ELSEWHERE, 9))),
    "sendto with flags": lambda: with_udp(lambda s: s.sendto(b"x", 0, (ELSEWHERE, 9))),
    "sendmsg": lambda: with_udp(lambda s: s.sendmsg([b"x"], [], 0, (ELSEWHERE, 9))),
    "getaddrinfo": lambda: socket.getaddrinfo("waypost.invalid", 9),
    "getaddrinfo of bytes": lambda: socket.getaddrinfo(b"waypost.invalid", 9),
    "gethostbyname": lambda: socket.gethostbyname("waypost.invalid"),
    "gethostbyname_ex": lambda: socket.gethostbyname_ex("waypost.invalid"),
    "gethostbyaddr": lambda: socket.gethostbyaddr(ELSEWHERE),
    "asyncio": lambda: asyncio.run(open_elsewhere(ELSEWHERE)),
    "asyncio by name": lambda: asyncio.run(open_elsewhere("waypost.invalid")),
}


@pytest.mark.parametrize("attempt", REFUSED.values(), ids=REFUSED.keys())
def test_leaving_loopback_is_refused(attempt: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match="tests stay on 127"):
        attempt()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_server_on_loopback_is_reached(name: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection((name, server.getsockname()[1])) as client,
    ):
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"


def test_datagrams_on_loopback_arrive() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        sender.sendto(b"x", receiver.getsockname())
        assert receiver.recv(1) == b"x"
        sender.connect(receiver.getsockname())
        sender.sendmsg([b"y"])
        assert receiver.recv(1) == b"y"


def test_unix_sockets_are_free() -> None:
    # pytest's own folders may be too deep for the 100 bytes that such an address has.
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "s"))
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client,
        ):
            server.bind(path)
            server.listen()
            client.connect(path)
            assert client.getpeername() == path


def test_literal_addresses_are_parsed_for_servers() -> None:
    assert socket.getaddrinfo("0.0.0.0", 0, flags=socket.AI_PASSIVE)
    assert socket.getaddrinfo(None, 0, flags=socket.AI_PASSIVE)
