"""Connections over their bounds are cut, and no other: real sockets, a clock that a test moves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from registry.oxenmq import connections
from registry.oxenmq.allowance import Peer
from registry.oxenmq.connections import HANDSHAKE_S, MAX_UNREAD_S, Connections
from registry.oxenmq.wire import Parts
from registry.oxenmq.zmtp import Null
from tests.registry.oxenmq.face import Hand
from tests.registry.oxenmq.speaker import GREETING, message, ready

PATIENCE_S = 20
MORE_THAN_FITS = 2**24
"""Bytes that no system holds between two ends of a connection by itself."""


class Far:
    """The far end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def is_cut(self) -> bool:
        """Whether it ends, after whatever is on its way."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                while await self.reader.read(2**20):
                    pass
        return True

    async def read(self, count: int) -> None:
        """Read so many bytes, or more."""
        async with asyncio.timeout(PATIENCE_S):
            while count > 0:
                count -= len(await self.reader.read(2**20))

    async def still_answers(self, door: "Door") -> bool:
        """Whether what it sends arrives."""
        before = len(door.taken)
        self.writer.write(message(b"HI"))
        await door.until(lambda: len(door.taken) > before)
        return door.taken[-1][1] == [b"HI"]


class Door:
    """Connections to a port, and what came over them."""

    def __init__(self) -> None:
        self.clock = Hand()
        self.taken: list[tuple[Peer, Parts | None]] = []
        self.lost: list[Peer] = []
        self.connections = Connections(
            7, Null, lambda *each: self.taken.append(each), self.lost.append, self.clock
        )
        self.port = 0
        self._fars: list[Far] = []

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await asyncio.sleep(0.01)

    async def let_in(self, *, shakes: bool = True, host: str = "127.0.0.1") -> Far:
        """Return the far end of a new connection."""
        far = Far(*await asyncio.open_connection("127.0.0.1", self.port, local_addr=(host, 0)))
        self._fars.append(far)
        if shakes:
            before = len(self.taken)
            far.writer.write(GREETING + ready())
            await self.until(lambda: len(self.taken) > before)
        return far

    def newest(self) -> Peer:
        """Who spoke last."""
        return self.taken[-1][0]

    def end(self) -> None:
        """Close all."""
        self.connections.cut_all()
        for far in self._fars:
            far.writer.close()


@asynccontextmanager
async def opened() -> AsyncIterator[Door]:
    """A door without connections."""
    door = Door()
    server = await asyncio.get_running_loop().create_server(door.connections.make, "127.0.0.1", 0)
    door.port = server.sockets[0].getsockname()[1]
    try:
        yield door
    finally:
        server.close()
        door.end()


def on_a_door(test: Callable[[Door], Awaitable[None]]) -> None:
    """Run a test."""

    async def run() -> None:
        async with opened() as door:
            await test(door)

    asyncio.run(run())


def test_messages_come_from_somebody() -> None:
    async def test(door: Door) -> None:
        first, second = await door.let_in(), await door.let_in(host="127.0.0.2")
        assert await first.still_answers(door)
        one = door.newest()
        assert await second.still_answers(door)
        two = door.newest()
        assert one == Peer(7, one.number, "127.0.0.1", True)
        assert two == Peer(7, two.number, "127.0.0.2", True)
        assert one.number != two.number
        assert door.connections.send(one, [b"a", b"b"])
        async with asyncio.timeout(PATIENCE_S):
            await first.reader.readuntil(message(b"a", b"b"))
        first.writer.close()
        await door.until(lambda: door.lost == [one])
        assert not door.connections.send(one, [b"late"])
        assert await second.still_answers(door)
        door.connections.cut_peer(two)
        assert door.lost == [one, two]
        assert await second.is_cut()

    on_a_door(test)


def test_who_breaks_the_protocol_is_cut_at_once() -> None:
    async def test(door: Door) -> None:
        stays, broken = await door.let_in(), await door.let_in()
        peer = door.newest()
        broken.writer.write(message(b"HI") + b"\xff\xff" + message(b"HI"))
        assert await broken.is_cut()
        assert [parts for who, parts in door.taken if who == peer] == [None, [b"HI"]]
        assert door.lost == [peer]
        assert await stays.still_answers(door)

    on_a_door(test)


def test_nothing_is_taken_after_a_cut() -> None:
    async def test(door: Door) -> None:
        def take(peer: Peer, parts: Parts | None) -> None:
            door.taken.append((peer, parts))
            if parts:
                door.connections.cut_peer(peer)

        door.connections.take = take
        far = await door.let_in()
        far.writer.write(message(b"1") + message(b"2"))
        assert await far.is_cut()
        assert [parts for _, parts in door.taken] == [None, [b"1"]]

    on_a_door(test)


def test_one_host_has_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_OF_ONE_HOST", 2)

    async def test(door: Door) -> None:
        first, second = await door.let_in(), await door.let_in()
        assert await (await door.let_in(shakes=False)).is_cut()
        other = await door.let_in(host="127.0.0.2")
        assert door.lost == []
        first.writer.close()
        await door.until(lambda: len(door.lost) == 1)
        for far in (second, other, await door.let_in()):
            assert await far.still_answers(door)

    on_a_door(test)


def test_who_has_most_makes_room_with_whoever_was_silent_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 4)

    async def test(door: Door) -> None:
        lonely = await door.let_in(host="127.0.0.2")
        first, second, third = [await door.let_in() for _ in range(3)]
        assert await first.still_answers(door)
        late = await door.let_in(host="127.0.0.3")
        assert len(door.lost) == 1
        assert await second.is_cut()
        for far in (lonely, first, third, late):
            assert await far.still_answers(door)
        # of the two that somebody has left, the one that was silent longest
        await door.let_in(host="127.0.0.4")
        assert await first.is_cut()
        assert len(door.lost) == 2
        # where everybody has one, whoever came first
        await door.let_in(host="127.0.0.5")
        assert await lonely.is_cut()

    on_a_door(test)


def test_who_does_not_shake_hands_in_time_is_cut() -> None:
    async def test(door: Door) -> None:
        silent, half = await door.let_in(shakes=False), await door.let_in(shakes=False)
        half.writer.write(GREETING + ready()[:-1])
        shaken = await door.let_in()
        door.clock.now_s += HANDSHAKE_S - 0.5
        door.connections.check()
        assert door.lost == []
        door.clock.now_s += 0.5
        late = await door.let_in(shakes=False)
        door.connections.check()
        assert len(door.lost) == 2
        assert await silent.is_cut()
        assert await half.is_cut()
        assert await shaken.still_answers(door)
        late.writer.write(GREETING + ready())
        assert await late.still_answers(door)

    on_a_door(test)


async def leave_unread(door: Door, size: int, host: str = "127.0.0.1") -> tuple[Far, Peer]:
    """Send something to a new connection that is not read; return who does not."""
    far = await door.let_in(host=host)
    peer = door.newest()
    assert door.connections.send(peer, [bytes(size)])
    return far, peer


def test_who_does_not_read_is_not_listened_to_and_is_cut_in_time() -> None:
    async def test(door: Door) -> None:
        slow, peer = await leave_unread(door, MORE_THAN_FITS)
        reads, other = await leave_unread(door, MORE_THAN_FITS)
        slow.writer.write(message(b"more"))
        await reads.read(MORE_THAN_FITS)
        assert await reads.still_answers(door)
        assert (peer, [b"more"]) not in door.taken
        door.clock.now_s += MAX_UNREAD_S - 0.5
        door.connections.check()
        assert door.lost == []
        door.clock.now_s += 0.5
        door.connections.check()
        assert door.lost == [peer]
        assert await slow.is_cut()
        assert door.connections.send(other, [b"ok"])

    on_a_door(test)


def test_who_reads_at_last_is_listened_to_again() -> None:
    async def test(door: Door) -> None:
        far, peer = await leave_unread(door, MORE_THAN_FITS)
        far.writer.write(message(b"more"))
        await far.read(MORE_THAN_FITS)
        await door.until(lambda: (peer, [b"more"]) in door.taken)
        door.clock.now_s += MAX_UNREAD_S
        door.connections.check()
        assert door.lost == []

    on_a_door(test)


def test_of_too_much_the_oldest_of_whoever_has_most_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_UNREAD_BYTES", 3 * MORE_THAN_FITS)

    async def test(door: Door) -> None:
        lonely, _ = await leave_unread(door, MORE_THAN_FITS, "127.0.0.2")
        first, one = await leave_unread(door, MORE_THAN_FITS)
        second, _ = await leave_unread(door, MORE_THAN_FITS)
        assert door.lost == []
        third, _ = await leave_unread(door, MORE_THAN_FITS)
        assert door.lost == [one]
        assert await first.is_cut()
        for far in (lonely, second, third):
            assert not far.reader.at_eof()

    on_a_door(test)


def test_who_reads_slowly_has_time() -> None:
    async def test(door: Door) -> None:
        far, peer = await leave_unread(door, MORE_THAN_FITS)
        for _ in range(3):
            await far.read(MORE_THAN_FITS // 8)
            await asyncio.sleep(0.1)
            door.clock.now_s += MAX_UNREAD_S - 1
            door.connections.check()
        assert door.lost == []
        door.clock.now_s += MAX_UNREAD_S
        door.connections.check()
        assert door.lost == [peer]

    on_a_door(test)
