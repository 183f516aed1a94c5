"""Connections to one address, and what they may cost.

- They are counted. One too many of a host is cut. Where there is no place for one of another host,
  that one of whoever has most ends which has been silent longest: on one machine anybody has as
  many addresses as he likes.
- Who has not shaken hands after `HANDSHAKE_S` is cut, and who breaks the protocol at once.
- While somebody does not read what waits for him, nothing more is read from him. Who has not read
  `LEAST_READ_BYTES` of it in `MAX_UNREAD_S` is cut. If all that waits has more than
  `MAX_UNREAD_BYTES`, that one of the host with most of it is cut which waits longest.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from registry.oxenmq.addresses import is_loopback
from registry.oxenmq.allowance import Peer
from registry.oxenmq.wire import Parts
from registry.oxenmq.zmtp import Broken, Mechanism, Session

MAX_CONNECTIONS: Final = 128
"""A few listeners together have room where a process may have 1,024 files open."""

MAX_OF_ONE_HOST: Final = 64
HANDSHAKE_S: Final = 10.0
MAX_UNREAD_S: Final = 30.0
MAX_UNREAD_BYTES: Final = 2**26
LEAST_READ_BYTES: Final = 2**16


class Connection(asyncio.Protocol):
    """The near end of one."""

    peer: Peer
    until_s: float
    """When it is cut, while it shakes hands and while something waits to be read."""
    noted_bytes: int
    """What waited to be read when that time was set."""

    def __init__(self, every: "Connections") -> None:
        self._every = every
        self._transport: Any = None
        self._session: Session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, if there is a place."""
        self._transport = transport
        name = transport.get_extra_info("peername")
        is_local = not isinstance(name, tuple)
        host = "" if is_local else str(name[0])
        self.peer = Peer(
            self._every.listener, self._every.count(), host, is_local or is_loopback(host)
        )
        if self._every.admit(self):
            self._session = Session(self._every.make_mechanism(), self._transport.write)
        else:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hand over the messages in what arrived."""
        try:
            for parts in self._session.feed(data):
                self._every.note_heard(self)
                self._every.take(self.peer, parts)
                if self._transport.is_closing():
                    return
        except Broken:
            self._every.cut(self)

    def pause_writing(self) -> None:
        """Read nothing more until what waits was read."""
        self._transport.pause_reading()
        self._every.note_unread(self)

    def resume_writing(self) -> None:
        """Go on."""
        self._every.note_read(self)
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, _why: Exception | None) -> None:
        """It is over."""
        self._every.forget(self)

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._session.is_open and not self._transport.is_closing()

    @property
    def unread_bytes(self) -> int:
        """Bytes that wait for the far side to read."""
        return int(self._transport.get_write_buffer_size())

    def send(self, parts: Parts) -> None:
        """Send a message; it has to be open."""
        self._session.send(parts)

    def abort(self) -> None:
        """End it, whatever waits."""
        self._transport.abort()


class Connections:
    """Those of one listener."""

    def __init__(
        self,
        listener: int,
        make_mechanism: Callable[[], Mechanism],
        take: Callable[[Peer, Parts | None], None],
        lost: Callable[[Peer], None],
        monotonic: Callable[[], float],
    ) -> None:
        """Prepare: `take` gets each message, and None for a command; `lost` who has gone."""
        self.listener = listener
        self.make_mechanism = make_mechanism
        self.take = take
        self._lost = lost
        self._monotonic = monotonic
        self._numbers = 0
        self._open: dict[Peer, Connection] = {}
        """All of them, whoever has been silent longest first."""
        self._hosts: Counter[str] = Counter()
        self._new: dict[Peer, Connection] = {}
        """Those that may still be shaking hands, oldest first."""
        self._unread: dict[Peer, Connection] = {}
        """Those that something waits for, oldest first."""

    def make(self) -> Connection:
        """Return what a new connection is given to."""
        return Connection(self)

    def count(self) -> int:
        """Return the number of a new connection."""
        self._numbers += 1
        return self._numbers

    def admit(self, connection: Connection) -> bool:
        """Take a new connection in; False if there is no place for it."""
        host = connection.peer.host
        if host and self._hosts[host] >= MAX_OF_ONE_HOST:
            return False
        if len(self._open) >= MAX_CONNECTIONS:
            self._end_one_of(max(self._hosts, key=lambda other: self._hosts[other]))
        self._open[connection.peer] = self._new[connection.peer] = connection
        self._hosts[host] += 1
        connection.until_s = self._monotonic() + HANDSHAKE_S
        return True

    def _end_one_of(self, host: str) -> None:
        self.cut(next(each for peer, each in self._open.items() if peer.host == host))

    def note_heard(self, connection: Connection) -> None:
        """Note that somebody is not silent."""
        if self._open.pop(connection.peer, None) is not None:
            self._open[connection.peer] = connection

    def send(self, peer: Peer, parts: Parts) -> bool:
        """Send a message at once; False if the far side has gone."""
        connection = self._open.get(peer)
        if connection is None or not connection.is_open:
            return False
        connection.send(parts)
        self._bound_unread()
        return True

    def cut(self, connection: Connection) -> None:
        """End a connection."""
        self.forget(connection)
        connection.abort()

    def cut_peer(self, peer: Peer) -> None:
        """End the connection to somebody."""
        if peer in self._open:
            self.cut(self._open[peer])

    def cut_all(self) -> None:
        """End every connection."""
        for connection in list(self._open.values()):
            self.cut(connection)

    def forget(self, connection: Connection) -> None:
        """Take a connection out that has ended."""
        peer = connection.peer
        if self._open.pop(peer, None) is None:
            return
        self._new.pop(peer, None)
        self._unread.pop(peer, None)
        self._hosts[peer.host] -= 1
        if not self._hosts[peer.host]:
            del self._hosts[peer.host]
        self._lost(peer)

    def note_unread(self, connection: Connection) -> None:
        """Note that something waits for the far side to read it."""
        self._unread[connection.peer] = connection
        self._give_time(connection)

    def note_read(self, connection: Connection) -> None:
        """Note that it was read."""
        self._unread.pop(connection.peer, None)

    def _give_time(self, connection: Connection) -> None:
        connection.until_s = self._monotonic() + MAX_UNREAD_S
        connection.noted_bytes = connection.unread_bytes

    def check(self) -> None:
        """Cut those who take too long."""
        now_s = self._monotonic()
        self._new = {peer: each for peer, each in self._new.items() if not each.is_open}
        for connection in list(self._unread.values()):
            if connection.unread_bytes + LEAST_READ_BYTES <= connection.noted_bytes:
                self._give_time(connection)
        for connection in [*self._new.values(), *self._unread.values()]:
            if connection.until_s <= now_s:
                self.cut(connection)

    def _bound_unread(self) -> None:
        while True:
            waiting: Counter[str] = Counter()
            for peer, each in self._unread.items():
                waiting[peer.host] += each.unread_bytes
            if waiting.total() <= MAX_UNREAD_BYTES:
                return
            ((most, _),) = waiting.most_common(1)
            self.cut(next(each for peer, each in self._unread.items() if peer.host == most))
