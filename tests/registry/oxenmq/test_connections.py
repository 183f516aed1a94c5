"""Connections over their bounds are cut, and no other: real sockets, without ZeroMQ."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from registry.oxenmq import connections
from registry.oxenmq.connections import MAX_UNFINISHED_BYTES, MAX_UNREAD_S, Connections, Unread
from tests.registry.oxenmq.face import Hand


class Door:
    """A listening socket, and the connections to it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port: int = self._listening.getsockname()[1]
        self.connections = Connections(self._is_ours)

    def _is_ours(self, sock: socket.socket) -> bool:
        return sock.family == socket.AF_INET and sock.getsockname()[1] == self.port

    def let_in(self) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a new connection that is counted: far, near."""
        far = self._stack.enter_context(socket.create_connection(("127.0.0.1", self.port)))
        far.settimeout(20)
        near = self._stack.enter_context(self._listening.accept()[0])
        self.connections.add(near.fileno())
        return far, near

    def fill(self, far: socket.socket, near: socket.socket, count: int) -> None:
        """Send so many bytes, and read them as libzmq does."""
        sent = 0
        while sent < count:
            piece = bytes(min(65_536, count - sent))
            far.sendall(piece)
            sent += len(piece)
            read = 0
            while read < len(piece):
                read += len(near.recv(65_536))


@pytest.fixture
def door() -> Iterator[Door]:
    """A door without connections."""
    with ExitStack() as stack:
        yield Door(stack)


def is_cut(far: socket.socket) -> bool:
    """Whether a connection has ended, with nothing on its way."""
    far.setblocking(False)
    try:
        return far.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_a_message_that_does_not_end_is_cut_off(door: Door) -> None:
    (far, near), (other, near_other) = door.let_in(), door.let_in()
    door.fill(far, near, MAX_UNFINISHED_BYTES)
    door.fill(other, near_other, MAX_UNFINISHED_BYTES)
    door.connections.check()
    assert not is_cut(far)
    far.setblocking(True)
    door.fill(far, near, 1)
    door.connections.check()
    assert is_cut(far)
    assert not is_cut(other)
    # what goes on arriving finds nobody, though the near end is still open
    far.setblocking(True)
    with pytest.raises(ConnectionError):
        far.sendall(bytes(MAX_UNFINISHED_BYTES))


def test_whole_messages_may_go_on_for_ever(door: Door) -> None:
    far, near = door.let_in()
    for _ in range(3):
        door.fill(far, near, 2 * MAX_UNFINISHED_BYTES)
        door.connections.hear(near.fileno())
        door.connections.check()
    assert not is_cut(far)
    far.setblocking(True)
    door.fill(far, near, MAX_UNFINISHED_BYTES + 1)
    door.connections.check()
    assert is_cut(far)


def test_one_host_has_only_so_many(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_OF_ONE_HOST", 3)
    ends = [door.let_in() for _ in range(5)]
    assert [is_cut(far) for far, _ in ends] == [False, False, False, True, True]
    door.connections.remove(ends[0][1].fileno())
    assert not is_cut(door.let_in()[0])


def test_there_are_only_so_many(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    assert [is_cut(door.let_in()[0]) for _ in range(3)] == [False, False, True]


def test_a_descriptor_that_became_another_socket_is_left_alone(door: Door) -> None:
    _, near = door.let_in()
    descriptor = near.detach()
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(fileno=descriptor):
        # the number of the connection now stands for one end of the pair
        os.dup2(ours.fileno(), descriptor)
        door.connections.cut(descriptor)
        assert not is_cut(theirs)
        door.connections.add(descriptor)
        door.connections.check()
        door.connections.cut(descriptor)
        assert not is_cut(theirs)


def test_a_descriptor_that_is_gone_is_no_error(door: Door) -> None:
    _, near = door.let_in()
    descriptor = near.fileno()
    near.close()
    door.connections.check()
    door.connections.cut(descriptor)
    door.connections.add(descriptor)
    door.connections.hear(descriptor)
    door.connections.check()


# ---- Answers that nobody reads ----


class Sent:
    """A message that was sent."""

    done = False


class Pile:
    """What waits to be read, with a clock, and who was cut."""

    def __init__(self) -> None:
        self.clock = Hand()
        self.cut: list[int] = []
        self.unread = Unread(self.cut.append, self.clock)

    def send(self, size: int, descriptor: int) -> Sent:
        """Note an answer."""
        sent = Sent()
        self.unread.add(sent, size, descriptor)
        return sent


def test_who_does_not_read_in_time_is_cut() -> None:
    pile = Pile()
    first = pile.send(10, 1)
    pile.clock.now_s += 1
    pile.send(10, 2)
    pile.send(10, 3)
    first.done = True
    pile.clock.now_s += MAX_UNREAD_S - 0.5
    pile.unread.check()
    assert (pile.cut, pile.unread.size) == ([], 20)
    pile.clock.now_s += 0.5
    pile.unread.check()
    assert (pile.cut, pile.unread.size) == ([2, 3], 0)


def test_of_too_much_the_oldest_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_UNREAD_BYTES", 100)
    pile = Pile()
    first, _ = pile.send(60, 1), pile.send(40, 2)
    assert pile.cut == []
    pile.send(1, 3)
    assert (pile.cut, pile.unread.size) == ([1], 41)
    first.done = True
    pile.send(60, 4)
    assert (pile.cut, pile.unread.size) == ([1, 2], 61)
