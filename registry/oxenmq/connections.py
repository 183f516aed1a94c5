"""Bounds that libzmq does not have: on connections, endless messages, answers that nobody reads.

- Connections are counted, for each host too, and one too many is cut.
- libzmq hands a message over when its last part has arrived, and holds the others for so long. Who
  has sent `MAX_UNFINISHED_BYTES` since his last whole message is cut.
- An answer waits until it was read. Who does not read one for `MAX_UNREAD_S` is cut; if all that
  waits has more than `MAX_UNREAD_BYTES`, so is whoever has waited longest.

libzmq has no call that ends a connection. It tells the descriptor of each, so the connection below
is reset, after a look whether the descriptor still is one of this listener. How many bytes have
arrived only Linux says; elsewhere the second rule is not held.
"""

import contextlib
import ctypes
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

MAX_CONNECTIONS: Final = 512
MAX_OF_ONE_HOST: Final = 64
MAX_UNFINISHED_BYTES: Final = 2**20
MAX_UNREAD_BYTES: Final = 2**26
MAX_UNREAD_S: Final = 30.0

COUNTED_BYTES: Final = 512
"""Shorter answers are not counted: libzmq holds no more than some of them."""

ADDRESS_BYTES: Final = 16
"""Length of a `struct sockaddr`; connecting to one of zeros takes a connection apart."""

_TCP_INFO: Final = getattr(socket, "TCP_INFO", 11)
_BYTES_RECEIVED: Final = slice(128, 136)
"""Where `struct tcp_info` has it, in the order of the machine's bytes."""


@contextlib.contextmanager
def _borrow(descriptor: int) -> Iterator[socket.socket | None]:
    """Give a descriptor as a socket of its own; None if there is no such socket."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            yield sock
    except OSError:
        yield None


@dataclass
class _Connection:
    host: str
    heard_bytes: int = 0
    """Bytes that had arrived when the last whole message was taken."""
    was_heard: bool = False
    """Whether one was taken since the last look."""


class Connections:
    """Those of one listener, by their descriptors."""

    def __init__(self, is_ours: Callable[[socket.socket], bool]) -> None:
        self._is_ours = is_ours
        self._open: dict[int, _Connection] = {}

    def add(self, descriptor: int) -> None:
        """Count a new connection, or cut it."""
        with _borrow(descriptor) as sock:
            host = None if sock is None else _host_of(sock)
        if host is None:
            return
        hosts = Counter(each.host for each in self._open.values())
        is_full = len(self._open) >= MAX_CONNECTIONS or (
            host != "" and hosts[host] >= MAX_OF_ONE_HOST
        )
        self._open[descriptor] = _Connection(host)
        if is_full:
            self.cut(descriptor)

    def remove(self, descriptor: int) -> None:
        """Forget a connection that has ended."""
        self._open.pop(descriptor, None)

    def hear(self, descriptor: int) -> None:
        """Note that a whole message was taken."""
        connection = self._open.get(descriptor)
        if connection is not None:
            connection.was_heard = True

    def cut(self, descriptor: int) -> None:
        """End a connection."""
        self._open.pop(descriptor, None)
        with _borrow(descriptor) as sock:
            if sock is not None and self._is_ours(sock):
                _reset(sock)

    def check(self) -> None:
        """Cut those whose message does not come to an end."""
        for descriptor, connection in list(self._open.items()):
            with _borrow(descriptor) as sock:
                is_there = sock is not None and self._is_ours(sock)
                received = _count_received(sock) if sock is not None and is_there else 0
            if not is_there:
                self.remove(descriptor)
            elif connection.was_heard:
                connection.heard_bytes, connection.was_heard = received, False
            elif received - connection.heard_bytes > MAX_UNFINISHED_BYTES:
                self.cut(descriptor)


def _reset(sock: socket.socket) -> None:
    """End a connection of which other descriptors are open.

    After `shutdown` alone what goes on arriving would still be read.
    """
    if sock.family != socket.AF_UNIX:
        ctypes.CDLL(None).connect(sock.fileno(), bytes(ADDRESS_BYTES), ADDRESS_BYTES)
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _host_of(sock: socket.socket) -> str | None:
    """Return the far side's IP address, nothing of a Unix socket; None if it has gone."""
    try:
        name = sock.getpeername()
    except OSError:
        return None
    return str(name[0]) if isinstance(name, tuple) else ""


def _count_received(sock: socket.socket) -> int:
    """Return how many bytes have arrived on a connection of TCP; 0 where nobody counts them."""
    if sys.platform != "linux" or sock.family == socket.AF_UNIX:
        return 0
    info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _BYTES_RECEIVED.stop)
    return int.from_bytes(info[_BYTES_RECEIVED], sys.byteorder)


# ---- Answers that nobody reads ----


class Tracker(Protocol):
    """What pyzmq gives for a message that it sends without copying it."""

    @property
    def done(self) -> bool:
        """Whether libzmq has let go of the message."""


@dataclass(frozen=True)
class _Unread:
    tracker: Tracker
    size: int
    until_s: float
    descriptor: int


class Unread:
    """Answers that wait to be read, oldest first."""

    def __init__(self, cut: Callable[[int], None], monotonic: Callable[[], float]) -> None:
        self._cut = cut
        self._monotonic = monotonic
        self._waiting: list[_Unread] = []

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return sum(each.size for each in self._waiting)

    def add(self, tracker: Tracker, size: int, descriptor: int) -> None:
        """Note an answer that was sent on a connection."""
        self._waiting.append(_Unread(tracker, size, self._monotonic() + MAX_UNREAD_S, descriptor))
        self.check()

    def check(self) -> None:
        """Cut those who do not read."""
        now_s = self._monotonic()
        self._waiting = [each for each in self._waiting if not each.tracker.done]
        while self._waiting and (self.size > MAX_UNREAD_BYTES or self._waiting[0].until_s <= now_s):
            slow = self._waiting.pop(0)
            self._cut(slow.descriptor)
