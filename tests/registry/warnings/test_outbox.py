"""Nothing is lost, nothing overtakes, and who fails holds up nobody else."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import pytest

from registry.warnings import memory
from registry.warnings.channels import NotSent
from registry.warnings.memory import BadMemory, HomeInUse, Keeper, Memory, hold
from registry.warnings.messages import Message
from registry.warnings.outbox import Outbox
from tests.registry.factory import eventually, in_loop
from tests.registry.warnings.receivers import make_message

MOST: Final = 10
"""Messages that wait for one channel here; the real number takes a while to write."""


@pytest.fixture(autouse=True)
def small_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_WAITING", MOST)


class Line:
    """A channel that a test makes fail."""

    def __init__(self, name: str = "line") -> None:
        self.name = name
        self.sent: list[Message] = []
        self.dropped: list[int] = []
        self.tries = 0
        self.is_broken = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, message: Message, dropped: int) -> None:
        """Take a message, unless it is broken."""
        self.tries += 1
        await self.gate.wait()
        if self.is_broken:
            raise NotSent("the line is dead")
        self.sent.append(message)
        self.dropped.append(dropped)

    async def close(self) -> None:
        """There is nothing to let go of."""

    @property
    def numbers(self) -> list[int]:
        """What was sent, by number."""
        return [int(message.id, 16) for message in self.sent]


class Running:
    """An outbox that runs."""

    def __init__(self, path: Path, lines: Sequence[Line], longest_wait_s: float = 0.02) -> None:
        self.keeper = Keeper(path)
        self.outbox = Outbox(self.keeper, lines, 0.01, longest_wait_s)
        self.task = asyncio.ensure_future(self.outbox.run())

    def put(self, *numbers: int) -> None:
        """Have messages wait, durably."""
        self.outbox.put([make_message(number) for number in numbers])
        self.keeper.save()
        self.outbox.wake()

    async def stop(self) -> None:
        """End it, as a process that is killed ends."""
        self.task.cancel()
        await asyncio.wait([self.task])


@contextmanager
def kept_at() -> Iterator[Path]:
    """A path for a memory's file."""
    with TemporaryDirectory() as name:
        yield Path(name) / "memory.json"


def waiting(path: Path, name: str = "line") -> list[int]:
    """What a file says waits for a channel."""
    return [int(message.id, 16) for message in Keeper(path).memory.queue_of(name).messages]


@in_loop
async def test_messages_go_out_in_order_and_off_the_file() -> None:
    with kept_at() as path:
        line = Line()
        running = Running(path, [line])
        running.put(1, 2, 3)
        await eventually(lambda: len(line.sent) == 3)
        running.put(4)
        await eventually(lambda: len(line.sent) == 4)
        await eventually(lambda: waiting(path) == [])
        assert line.numbers == [1, 2, 3, 4]
        assert running.outbox.standings["line"] == (0, 0, "")
        await running.stop()


@in_loop
async def test_one_that_fails_is_tried_again_and_keeps_the_order() -> None:
    with kept_at() as path:
        line, other = Line(), Line("other")
        line.is_broken = True
        running = Running(path, [line, other])
        running.put(1, 2)
        await eventually(lambda: line.tries >= 3 and len(other.sent) == 2)
        # the other one is not held up, and nothing is lost of this one
        assert (line.sent, waiting(path), waiting(path, "other")) == ([], [1, 2], [])
        standing = running.outbox.standings["line"]
        assert (standing.waiting, standing.error) == (2, "the line is dead")
        assert standing.failures >= 3
        running.put(3)
        line.is_broken = False
        await eventually(lambda: len(line.sent) == 3)
        assert line.numbers == other.numbers == [1, 2, 3]
        assert running.outbox.standings["line"].failures == 0
        await running.stop()


@in_loop
async def test_a_fault_in_one_channel_ends_no_other() -> None:
    class Faulty(Line):
        async def send(self, message: Message, dropped: int) -> None:
            self.tries += 1
            raise ZeroDivisionError

    with kept_at() as path:
        faulty, line = Faulty("faulty"), Line()
        running = Running(path, [faulty, line])
        running.put(1)
        await eventually(lambda: line.sent and faulty.tries > 1)
        assert waiting(path, "faulty") == [1]
        assert "ZeroDivisionError" in running.outbox.standings["faulty"].error
        await running.stop()


@in_loop
async def test_what_waited_goes_out_after_a_restart() -> None:
    with kept_at() as path:
        line = Line()
        line.is_broken = True
        running = Running(path, [line])
        running.put(1, 2)
        await eventually(lambda: line.tries)
        await running.stop()
        line = Line()
        running = Running(path, [line])
        await eventually(lambda: len(line.sent) == 2)
        assert line.numbers == [1, 2]
        await running.stop()


@in_loop
async def test_what_was_sent_but_not_noted_is_sent_again_with_the_same_id() -> None:
    with kept_at() as path, pytest.MonkeyPatch.context() as patch:
        line = Line()
        running = Running(path, [line])
        running.put(1, 2)
        # it dies between the two
        patch.setattr(Keeper, "save", die)
        with pytest.raises(ExceptionGroup):
            await running.task
        assert line.numbers == [1]
        patch.undo()
        again = Line()
        running = Running(path, [again])
        await eventually(lambda: len(again.sent) == 2)
        assert again.sent == [make_message(1), make_message(2)]
        assert again.sent[0].id == line.sent[0].id
        await running.stop()


def die(_: Keeper) -> bool:
    """As if the process ended here."""
    raise ProcessLookupError


@in_loop
async def test_waits_grow_up_to_a_most() -> None:
    with kept_at() as path:
        line = Line()
        line.is_broken = True
        outbox = Outbox(Keeper(path), [line], 5.0, 600.0)
        outbox.put([make_message(1)])
        waits = []
        for _ in range(40):
            await outbox.send_once()
            waits.append(outbox._wait_s("line"))
        assert waits[:8] == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0]
        assert set(waits[8:]) == {600.0}


@in_loop
async def test_past_a_bound_the_oldest_give_way_and_are_counted() -> None:
    with kept_at() as path:
        line = Line()
        keeper = Keeper(path)
        outbox = Outbox(keeper, [line])
        outbox.put([make_message(number) for number in range(MOST + 5)])
        queue = keeper.memory.queue_of("line")
        assert (len(queue.messages), queue.dropped) == (MOST, 5)
        await outbox.send_once()
        # the first one might have been on its way
        assert line.numbers == [0, *range(6, MOST + 5)]
        assert (line.dropped[0], set(line.dropped[1:])) == (5, {0})


@in_loop
async def test_a_message_that_gives_way_while_another_is_sent_is_counted_for_the_next() -> None:
    with kept_at() as path:
        line = Line()
        keeper = Keeper(path)
        outbox = Outbox(keeper, [line])
        outbox.put([make_message(number) for number in range(MOST)])
        line.gate.clear()
        task = asyncio.ensure_future(outbox.send_once())
        await eventually(lambda: line.tries)
        outbox.put([make_message(MOST)])
        line.gate.set()
        await task
        assert line.numbers == [0, *range(2, MOST + 1)]
        assert line.dropped[:3] == [0, 1, 0]


# ------------------------------------------------------------------------------------ the file


def test_a_file_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    for raw in (b"", b"{", b'{"version": 2}', b'{"told": 7}', b"\xff", b'{"a":' * 10_000):
        path.write_bytes(raw)
        with pytest.raises(BadMemory, match="move it away"):
            Keeper(path)
        assert path.read_bytes() == raw


def test_a_new_home_begins_with_nothing(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "new" / "memory.json")
    assert keeper.memory == Memory()
    assert keeper.save()
    assert (tmp_path / "new" / "memory.json").stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_where_nothing_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper(tmp_path / "memory.json")
    keeper.save()
    monkeypatch.setattr(memory, "write_durably", lambda *_: pytest.fail("it was written"))
    assert keeper.save()
    assert Keeper(tmp_path / "memory.json").save()


def test_a_disk_that_is_full_is_no_reason_to_be_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper(tmp_path / "memory.json")
    keeper.memory.put("line", make_message(1))

    def fail(*_: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(memory, "write_durably", fail)
    assert not keeper.save()
    monkeypatch.undo()
    assert keeper.save()
    assert waiting(tmp_path / "memory.json") == [1]


def test_one_process_at_a_time_holds_a_home(tmp_path: Path) -> None:
    with hold(tmp_path), pytest.raises(HomeInUse, match="stop it"), hold(tmp_path):
        pass
    with hold(tmp_path):
        pass


def test_a_memory_comes_back_as_it_was() -> None:
    kept = Memory(genesis_hash="5f" * 32, blind_from_ms=7, failing={"http://x": 5})
    kept.put("mail", make_message(3))
    assert msgspec.json.decode(msgspec.json.encode(kept), type=Memory) == kept
