"""How processes talk: what is asked is answered or fails, whatever the far side does."""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from structlog.testing import capture_logs

from ledger.errors import CorruptStore, Fault, Refusal
from registry import ipc
from registry.ipc import MAX_FRAME_BYTES, Busy, Connection, Gone, Handler, Lost, Server
from tests.registry.factory import eventually, in_loop, open_files, settle, short_folder


async def echo(*arguments: Any) -> Any:
    return list(arguments)


async def raise_error(error: Exception) -> None:
    raise error


class Work:
    """A method that takes as long as the test wants."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.done = asyncio.Event()

    async def __call__(self, *_arguments: Any) -> str:
        self.begun += 1
        try:
            await self.done.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "done"


@asynccontextmanager
async def serving(
    greeting: Callable[[], Iterable[tuple[str, Any]]] = lambda: (), **handlers: Handler
) -> AsyncIterator[tuple[Server, Path]]:
    with short_folder() as folder:
        server = Server({"echo": echo, **handlers}, greeting)
        await server.start(folder / "s")
        try:
            yield server, folder / "s"
        finally:
            await server.close()


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Connection]:
    connection = await Connection.open(path)
    try:
        yield connection
    finally:
        await connection.close()


# -------------------------------------------------------------------------------- calls


@in_loop
async def test_plain_values_go_there_and_back() -> None:
    values = [None, True, 0, -1, 2**64 - 1, "text", b"\0\xff", [1, [2]], {"key": b"value"}]
    async with serving() as (_, path), connected(path) as connection:
        assert await connection.call("echo", *values) == values
        assert await connection.call("echo") == []


@in_loop
async def test_calls_under_way_get_their_own_answers() -> None:
    gates = [asyncio.Event() for _ in range(20)]

    async def wait(number: int) -> int:
        await gates[number].wait()
        return number

    async with serving(wait=wait) as (_, path), connected(path) as connection:
        calls = [asyncio.create_task(connection.call("wait", n)) for n in range(20)]
        await settle()
        for gate in reversed(gates):
            gate.set()
            await settle()
        assert await asyncio.gather(*calls) == list(range(20))


ERRORS: dict[str, tuple[Exception, type[Exception], str]] = {
    "refusal": (Refusal("nonce_used", nonce=3, expected=4), Refusal, "nonce 3 was used"),
    "busy": (Busy("full"), Busy, "as much to do as it takes"),
    "gone": (Gone("height 3"), Gone, "not kept any more"),
    "anything else": (KeyError("a secret"), Lost, "broken failed: the log .* says why"),
}


@pytest.mark.parametrize(("raised", "meets", "says"), ERRORS.values(), ids=ERRORS.keys())
@in_loop
async def test_errors_arrive_as_what_they_are(
    raised: Exception, meets: type[Exception], says: str
) -> None:
    async def broken() -> None:
        await raise_error(raised)

    async with serving(broken=broken) as (_, path), connected(path) as connection:
        with capture_logs(), pytest.raises(meets, match=says) as caught:
            await connection.call("broken")
        assert "a secret" not in str(caught.value)
        if isinstance(caught.value, Refusal):
            assert caught.value.code == "nonce_used"
            assert caught.value.values == {"nonce": 3, "expected": 4}
        assert await connection.call("echo", 1) == [1]


@pytest.mark.parametrize("raised", [CorruptStore("here", "a block"), KeyError("a bug"), Busy("")])
@in_loop
async def test_a_fault_is_told_to_who_has_to_stop_and_nothing_else_is(raised: Exception) -> None:
    async def broken() -> None:
        await raise_error(raised)

    heard: list[Fault] = []
    with short_folder() as folder, capture_logs():
        server = Server({"broken": broken}, on_fault=heard.append)
        await server.start(folder / "socket")
        async with connected(folder / "socket") as connection:
            with pytest.raises((Lost, Busy)):
                await connection.call("broken")
        await server.close()
    assert heard == ([raised] if isinstance(raised, Fault) else [])


@pytest.mark.parametrize(("method", "arguments"), [("unknown", ()), ("one", ()), ("one", (1, 2))])
@in_loop
async def test_a_call_that_does_not_fit_fails_and_nothing_else_does(
    method: str, arguments: tuple[int, ...]
) -> None:
    async def one(value: int) -> int:
        return value

    async with serving(one=one) as (_, path), connected(path) as connection:
        with capture_logs() as lines, pytest.raises(Lost, match=f"{method} failed"):
            await connection.call(method, *arguments)
        assert [line["event"] for line in lines] == ["request failed"]
        assert await connection.call("one", 5) == 5


# ------------------------------------------------------------------------------- bounds


@in_loop
async def test_one_call_too_many_is_busy_at_once() -> None:
    work = Work()
    async with serving(work=work) as (_, path), connected(path) as connection:
        calls = [asyncio.create_task(connection.call("work")) for _ in range(ipc.MAX_UNDER_WAY)]
        await eventually(lambda: work.begun == ipc.MAX_UNDER_WAY)
        for _ in range(3):
            with pytest.raises(Busy):
                await connection.call("echo")
        async with connected(path) as other:
            with pytest.raises(Busy):
                await other.call("work")
        work.done.set()
        assert set(await asyncio.gather(*calls)) == {"done"}
        assert await connection.call("echo", 1) == [1]


@in_loop
async def test_calls_that_fail_make_room() -> None:
    async def refuse() -> None:
        raise Refusal("amount_zero")

    async with serving(refuse=refuse) as (_, path), connected(path) as connection:
        for _ in range(2):
            outcomes = await asyncio.gather(
                *(connection.call("refuse") for _ in range(ipc.MAX_UNDER_WAY)),
                return_exceptions=True,
            )
            assert {type(outcome) for outcome in outcomes} == {Refusal}
        assert await connection.call("echo", 1) == [1]


@in_loop
async def test_a_frame_that_is_too_long_ends_the_connection_before_it_is_read() -> None:
    async with serving() as (_, path), connected(path) as other:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
        assert await reader.read() == b""
        writer.close()
        assert await other.call("echo", 1) == [1]


@in_loop
async def test_a_server_that_announces_too_much_is_lost() -> None:
    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ipc.read_frame(reader)
        writer.write(b"\xff\xff\xff\xff")

    with short_folder() as folder:
        server = await asyncio.start_unix_server(lie, str(folder / "s"))
        async with connected(folder / "s") as connection:
            with pytest.raises(Lost):
                await connection.call("echo")
            with pytest.raises(Lost):
                await connection.call("echo")
        server.close()


# ---------------------------------------------------------------------- malformed frames

MALFORMED = {
    "no MessagePack": b"\0\0\0\1\xc1",
    "half a value": b"\0\0\0\3\x93\1\xa4",
    "more than one value": b"\0\0\0\2\1\2",
    "nothing": b"\0\0\0\0",
    "a number": ipc.frame(7),
    "too few": ipc.frame([1, "echo"]),
    "too many": ipc.frame([1, "echo", [], 0]),
    "text that is not UTF-8": b"\0\0\0\5\x93\1\xa1\xff\x90",
    "half a frame": ipc.frame([1, "echo", []])[:-1],
    "half a length": b"\0\0",
    "deep": b"\0\0\x27\x10" + b"\x91" * 10_000,
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
@in_loop
async def test_a_malformed_frame_ends_its_connection_and_no_other(raw: bytes) -> None:
    async with serving() as (_, path), connected(path) as other:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(raw)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert await other.call("echo", 1) == [1]


WRONG_TYPES = {
    "arguments that are no list": [1, "echo", 5],
    "a method that is no text": [1, ["echo"], []],
    "an id that is no number": ["one", "echo", []],
}


@pytest.mark.parametrize("message", WRONG_TYPES.values(), ids=WRONG_TYPES.keys())
@in_loop
async def test_a_request_of_wrong_types_is_answered_with_its_own_id(message: list[Any]) -> None:
    async with serving() as (_, path):
        reader, writer = await asyncio.open_unix_connection(str(path))
        with capture_logs():
            writer.write(ipc.frame(message))
            answer = await ipc.read_frame(reader)
            assert answer[0] == message[0]
            writer.write(ipc.frame([2, "echo", [3]]))
            assert await ipc.read_frame(reader) == [2, "ok", [3]]
        writer.close()


NO_MESSAGES = {
    "no form of MessagePack": b"\xc1",
    "text that is none": b"\xa1\xff",
    "deep": b"\x91" * 10_000,
    "nothing": b"",
    "cut off": b"\x92\1",
}


@pytest.mark.parametrize("body", NO_MESSAGES.values(), ids=NO_MESSAGES)
@in_loop
async def test_a_frame_that_is_no_message_is_the_end(body: bytes) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(len(body).to_bytes(4, "big") + body)
    reader.feed_eof()
    with pytest.raises(Lost):
        await ipc.read_frame(reader)


ODD_ANSWERS: list[Any] = [7, [1], [1, "ok"], [99, "ok", 1], [1, "refusal", 5]]


@pytest.mark.parametrize("answer", ODD_ANSWERS, ids=map(str, ODD_ANSWERS))
@in_loop
async def test_whatever_a_server_answers_no_call_hangs(answer: Any) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ipc.read_frame(reader)
        writer.write(ipc.frame(answer))
        writer.close()

    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    with short_folder() as folder:
        server = await asyncio.start_unix_server(odd, str(folder / "s"))
        connection = await Connection.open(folder / "s")
        with pytest.raises(Lost):
            await connection.call("echo")
        await connection.close()
        server.close()


# ---------------------------------------------------------------------------- the socket


@in_loop
async def test_only_this_user_reaches_the_socket() -> None:
    before = os.umask(0o022)
    os.umask(before)
    async with serving() as (_, path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert os.umask(before) == before
    assert not path.exists()


@in_loop
async def test_a_socket_that_a_dead_process_left_is_taken_over() -> None:
    with short_folder() as folder:
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(folder / "s"))
        left.close()
        with pytest.raises(Lost, match="nobody answers at"):
            await Connection.open(folder / "s")
        server = Server({"echo": echo})
        await server.start(folder / "s")
        async with connected(folder / "s") as connection:
            assert await connection.call("echo", 1) == [1]
        await server.close()


@in_loop
async def test_a_server_that_closes_late_leaves_the_socket_of_the_next_one_alone() -> None:
    with short_folder() as folder:
        old, new = Server({"echo": echo}), Server({"echo": echo})
        await old.start(folder / "s")
        await new.start(folder / "s")
        await old.close()
        async with connected(folder / "s") as connection:
            assert await connection.call("echo", 1) == [1]
        await new.close()
        assert not (folder / "s").exists()
        await new.close()


@in_loop
async def test_nobody_there_is_lost() -> None:
    with short_folder() as folder, pytest.raises(Lost, match=str(folder / "s")):
        await Connection.open(folder / "s")


# ------------------------------------------------------------------------------- endings


@in_loop
async def test_a_server_that_closes_fails_the_calls_under_way() -> None:
    work = Work()
    async with serving(work=work) as (server, path), connected(path) as connection:
        calls = [asyncio.create_task(connection.call("work")) for _ in range(3)]
        await eventually(lambda: work.begun == 3)
        await server.close()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Lost}
        assert work.cancelled == 3
        await connection.wait_closed()
        with pytest.raises(Lost):
            await connection.call("echo")


@in_loop
async def test_a_connection_that_closes_fails_its_calls_under_way() -> None:
    work = Work()
    async with serving(work=work) as (_, path), connected(path) as connection:
        call = asyncio.create_task(connection.call("work"))
        await eventually(lambda: work.begun == 1)
        await connection.close()
        with pytest.raises(Lost):
            await call
        with pytest.raises(Lost):
            await connection.call("echo")
        work.done.set()
        async with connected(path) as other:
            assert await other.call("echo", 1) == [1]


def test_a_call_on_a_transport_that_has_ended_is_lost() -> None:
    """The loop of the services raises another error than asyncio's own."""
    reported: list[dict[str, Any]] = []

    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: reported.append(context)
        )
        async with serving() as (_, path), connected(path) as connection:
            connection._writer.transport.abort()
            calls = [connection.call("echo"), connection.call("echo")]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [Lost, Lost]
            await connection.wait_closed()
        gc.collect()

    uvloop.run(test())
    assert not reported


@in_loop
async def test_a_call_that_is_given_up_disturbs_no_other() -> None:
    work = Work()
    async with serving(work=work) as (_, path), connected(path) as connection:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.call("work"), 0.01)
        work.done.set()
        await settle()
        assert await connection.call("echo", 1) == [1]


@in_loop
async def test_a_connection_lets_go_of_its_socket_when_the_far_side_is_gone() -> None:
    async with serving() as (server, path):
        before = open_files()
        lost = []
        for _ in range(5):
            connection = await Connection.open(path)
            lost.append(connection)
            assert await connection.call("echo", 1) == [1]
        await server.close()
        for connection in lost:
            await connection.wait_closed()
        await settle()
        # nobody called close(): who replaces a lost connection may just forget it
        assert open_files() == before - 1


# --------------------------------------------------------------------------- subscribers


@in_loop
async def test_a_subscriber_gets_the_greeting_and_then_every_push_in_order() -> None:
    seen: list[tuple[str, Any]] = []
    greeting = [("nodes", {"first": True}), ("nodes", {"first": False}), ("view", {"height": 7})]
    async with serving(lambda: greeting) as (server, path):
        server.push("view", {"height": 6})
        async with connected(path) as connection, connected(path) as other:
            connection.subscribe(lambda event, payload: seen.append((event, payload)))
            await eventually(lambda: len(seen) == 3)
            for height in range(8, 20):
                server.push("view", {"height": height})
            assert await other.call("echo", 1) == [1]
            await eventually(lambda: len(seen) == 15)
        assert seen == greeting + [("view", {"height": height}) for height in range(8, 20)]
        server.push("view", {"height": 20})


@in_loop
async def test_without_a_greeting_a_subscriber_waits_for_the_first_push() -> None:
    seen: list[Any] = []
    async with serving() as (server, path), connected(path) as connection:
        connection.subscribe(lambda _event, payload: seen.append(payload))
        assert await connection.call("echo", 1) == [1]
        server.push("view", 1)
        await eventually(lambda: seen == [1])


async def deaf_subscriber(path: Path) -> socket.socket:
    """Somebody who subscribes and then never reads."""
    deaf = socket.socket(socket.AF_UNIX)
    deaf.setblocking(False)
    deaf.connect(str(path))
    deaf.send(ipc.frame([0, ipc.SUBSCRIBE, []]))
    await asyncio.sleep(0.02)
    return deaf


@in_loop
async def test_a_subscriber_that_does_not_read_is_dropped_and_costs_nothing_more() -> None:
    seen: list[Any] = []
    payload = bytes(2**23)
    async with serving() as (server, path), connected(path) as connection:
        connection.subscribe(lambda _event, payload: seen.append(len(payload)))
        with await deaf_subscriber(path) as deaf:
            before = open_files()
            with capture_logs() as lines:
                for count in range(1, 12):
                    server.push("view", payload)
                    await eventually(lambda n=count: len(seen) == n)  # type: ignore[misc]
            assert [line["event"] for line in lines] == ["subscriber dropped"]
            await settle()
            # its end of the connection is closed, with all that waited there
            assert open_files() == before - 1
            deaf.close()
        assert await connection.call("echo", 1) == [1]


@in_loop
async def test_a_server_closes_although_somebody_does_not_read() -> None:
    async with serving() as (server, path):
        with await deaf_subscriber(path):
            server.push("view", bytes(2**23))
            await asyncio.wait_for(server.close(), 10)


@in_loop
async def test_a_listener_that_fails_ends_the_connection_and_hangs_no_call() -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)

    def fail(_event: str, _payload: Any) -> None:
        raise ValueError("a bug")

    work = Work()
    async with serving(work=work) as (server, path):
        connection = await Connection.open(path)
        connection.subscribe(fail)
        call = asyncio.create_task(connection.call("work"))
        await eventually(lambda: work.begun == 1)
        server.push("view", 1)
        with pytest.raises(Lost):
            await call
        await connection.close()


def test_a_frame_is_a_length_and_message_pack() -> None:
    assert ipc.frame([1, "echo", []]) == b"\0\0\0\x08" + msgspec.msgpack.encode([1, "echo", []])
