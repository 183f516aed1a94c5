"""Bounds below HTTP: silent, slow and too many connections, on a server in this process."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from registry.api import wire
from registry.api.bare import AtOnce
from registry.api.library import Headers
from registry.api.wire import MAX_PIPELINED, BoundedHttp
from tests.registry.api.processes import Answer, head_of

PATIENCE_S = 10
BIG = 8_000_000
MUCH = 400_000

Connect: TypeAlias = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers `/big` with much, `/slow` after a while, `/body` to one; anything else at once."""
    if scope["path"] == "/slow":
        await asyncio.sleep(0.6)
    if scope["path"] == "/body":
        while (await receive()).get("more_body"):
            pass
    body = bytes(BIG if scope["path"] == "/big" else 2)
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Ready:
    """The same application, which has some bytes lying ready: `/ready`, and much at `/much`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    def answer_at_once(self, target: bytes, headers: Headers) -> AtOnce | None:
        """Not for whoever says that he wants a range."""
        body = {b"/ready": b"!!", b"/much": bytes(MUCH)}.get(target)
        if body is None or any(name == b"range" for name, _ in headers):
            return None
        return AtOnce(200, b"content-length: %d\r\n" % len(body), body)


@contextlib.asynccontextmanager
async def server(application: Any = app, **settings: Any) -> AsyncIterator[Connect]:
    """A server with our protocol, and a way to connect to it."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
    config = uvicorn.Config(
        application,
        proxy_headers=False,
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
        **settings,
    )
    made = uvicorn.Server(config)
    running = asyncio.create_task(made._serve([listening]))

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, listening.getsockname())
        return await asyncio.open_connection(sock=sock, limit=4_096)

    try:
        yield connect
    finally:
        made.should_exit = True
        await running


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the bounds in tenths of a second."""
    monkeypatch.setattr(wire, "HEAD_S", 0.4)
    monkeypatch.setattr(wire, "STALL_S", 0.8)


def play(story: Callable[[Connect], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        async with server(**settings) as connect:
            await asyncio.wait_for(story(connect), PATIENCE_S)

    asyncio.run(run())


async def exchange(connect: Connect, sent: bytes) -> bytes:
    """Send some bytes and read to the end."""
    reader, writer = await connect()
    writer.write(sent)
    raw = await reader.read()
    writer.close()
    return raw


def test_a_connection_on_which_nothing_comes_is_closed() -> None:
    async def story(connect: Connect) -> None:
        assert await exchange(connect, b"") == b""

    play(story)


def test_a_head_that_drips_is_ended() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        reading = asyncio.create_task(reader.read())
        for _ in range(20):
            writer.write(b"a")
            await asyncio.sleep(0.05)
            if reading.done():
                break
        assert Answer.parse(await reading).code == "too_slow"
        writer.close()

    play(story)


def test_a_half_head_is_answered_when_its_time_is_over() -> None:
    async def story(connect: Connect) -> None:
        answer = Answer.parse(await exchange(connect, head_of("GET /")[:-2]))
        assert (answer.status, answer.code) == (408, "too_slow")
        assert answer.headers["connection"] == "close"

    play(story)


@pytest.mark.parametrize("drip", [b"\r\n", head_of("GET /")[:-2]])
def test_what_drips_after_an_answer_is_ended(drip: bytes) -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(head_of("GET /"))
        await reader.readuntil(b"\0\0")
        writer.write(drip)
        rest = await reader.read()
        assert rest == b"" or Answer.parse(rest).code == "too_slow"
        writer.close()

    play(story)


def test_a_slow_second_head_does_not_get_into_the_first_answer() -> None:
    async def story(connect: Connect) -> None:
        raw = await exchange(connect, head_of("GET /slow") + head_of("GET /")[:-2])
        assert b"too_slow" not in raw
        assert raw == b"" or Answer.parse(raw).body == b"\0\0"

    play(story)


def test_a_connection_has_so_many_requests_under_way_and_no_more() -> None:
    async def story(connect: Connect) -> None:
        asked = head_of("GET /slow") + head_of("GET /") * (MAX_PIPELINED - 1)
        reader, writer = await connect()
        writer.write(asked)
        for _ in range(MAX_PIPELINED):
            assert (await reader.readuntil(b"\0\0")).startswith(b"HTTP/1.1 200")
        # those are done, so that there is room again
        writer.write(asked)
        for _ in range(MAX_PIPELINED):
            assert (await reader.readuntil(b"\0\0")).startswith(b"HTTP/1.1 200")
        writer.write(asked + head_of("GET /"))
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

    play(story)


def test_who_goes_leaves_no_request_behind_that_still_writes() -> None:
    ended: list[Exception | None] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(0.2)
            await app(scope, receive, send)
        except Exception as error:
            ended.append(error)
        else:
            ended.append(None)

    async def story(connect: Connect) -> None:
        _, writer = await connect()
        writer.write(head_of("GET /") * 3)
        await asyncio.sleep(0.1)
        writer.transport.abort()
        while not ended:
            await asyncio.sleep(0.01)
        # the others were never begun
        await asyncio.sleep(0.3)
        assert ended == [None]

    play(story, application=watched)


def test_keeping_a_connection_is_fine() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        for _ in range(3):
            writer.write(head_of("GET /"))
            assert (await reader.readuntil(b"\0\0")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.5)
        writer.close()

    play(story)


def test_who_does_not_read_is_cut_off() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(head_of("GET /big", "Connection: close\r\n"))
        await asyncio.sleep(2.5)
        try:
            raw = await reader.read()
        except ConnectionResetError:
            raw = b""
        assert len(raw) < BIG
        writer.close()

    play(story)


def test_who_reads_slowly_gets_everything() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(head_of("GET /big", "Connection: close\r\n"))
        size = 0
        while piece := await reader.read(65_536):
            size += len(piece)
            if size < 3_000_000:
                await asyncio.sleep(0.01)
        assert size > BIG
        writer.close()

    play(story)


def test_one_connection_too_many_is_turned_away_where_all_others_are_answered() -> None:
    async def story(connect: Connect) -> None:
        kept = [await connect() for _ in range(2)]
        for reader, writer in kept:
            writer.write(head_of("GET /big"))
            assert (await reader.readuntil(b"\0\0")).startswith(b"HTTP/1.1 200")
        answer = Answer.parse(await exchange(connect, head_of("GET /")))
        assert (answer.status, answer.code) == (503, "busy")
        assert (answer.headers["connection"], answer.headers["retry-after"]) == ("close", "1")
        kept[0][1].close()
        await asyncio.sleep(0.05)
        raw = await exchange(connect, head_of("GET /", "Connection: close\r\n"))
        assert Answer.parse(raw).status == 200
        kept[1][1].close()

    play(story, limit_concurrency=2)


WAITS: dict[str, bytes] = {
    "nothing was sent": b"",
    "half a head": b"GET / HTTP/1.1\r\nX: ",
    "half a body": head_of("POST /body", "Content-Length: 10\r\n") + b"12345",
    "answered, and silent since": head_of("GET /"),
    "answered at once, and silent since": head_of("GET /ready"),
}


@pytest.mark.parametrize("sent", WAITS.values(), ids=WAITS.keys())
def test_who_has_waited_longest_makes_room_for_one_more(sent: bytes) -> None:
    async def story(connect: Connect) -> None:
        waiting = []
        for _ in range(2):
            reader, writer = await connect()
            writer.write(sent)
            if b"GET" in sent and sent.endswith(b"\r\n\r\n"):
                await read_answer(reader)
            else:
                await asyncio.sleep(0.02)
            waiting.append((reader, writer))
        fresh = await connect()
        fresh[1].write(head_of("GET /"))
        assert (await read_answer(fresh[0])).status == 200
        with contextlib.suppress(ConnectionResetError):
            assert await waiting[0][0].read() == b""
        # the one that has waited for less is still there
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting[1][0].read(1), 0.05)
        for _, writer in (*waiting, fresh):
            writer.transport.abort()

    play(story, application=Ready(), limit_concurrency=2)


def test_of_many_at_a_time_each_ends_another_one() -> None:
    async def story(connect: Connect) -> None:
        waiting = [await connect() for _ in range(20)]
        await asyncio.sleep(0.02)
        fresh = await asyncio.gather(*(connect() for _ in range(10)))
        for _, writer in fresh:
            writer.write(head_of("GET /ready"))
        for reader, _ in fresh:
            assert (await read_answer(reader)).status == 200
        for reader, _ in waiting[:10]:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        for _, writer in (*waiting, *fresh):
            writer.transport.abort()

    play(story, application=Ready(), limit_concurrency=20)


# ---- what lies ready ----


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer of a connection that stays open."""
    head = await reader.readuntil(b"\r\n\r\n")
    answer = Answer.parse(head)
    return answer._replace(body=await reader.readexactly(int(answer.headers["content-length"])))


def test_what_lies_ready_is_answered_at_once() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        for _ in range(3):
            writer.write(head_of("GET /ready"))
            answer = await read_answer(reader)
            assert (answer.status, answer.body) == (200, b"!!")
            assert "date" in answer.headers
        writer.close()

    play(story, application=Ready())


NOT_AT_ONCE = {
    "another path": head_of("GET /ready?"),
    "another method": b"PUT /ready HTTP/1.1\r\nHost: test\r\n\r\n",
    "a range": head_of("GET /ready", "Range: bytes=0-1\r\n"),
    "the last request": head_of("GET /ready", "Connection: close\r\n"),
    "an old version": b"GET /ready HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", NOT_AT_ONCE.values(), ids=NOT_AT_ONCE.keys())
def test_the_application_answers_the_rest(request_bytes: bytes) -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        # so that it is not the first of its connection
        writer.write(head_of("GET /ready"))
        assert (await read_answer(reader)).body == b"!!"
        writer.write(request_bytes)
        assert (await read_answer(reader)).body == b"\0\0"
        writer.close()

    play(story, application=Ready())


def test_answers_come_in_the_order_of_their_requests() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        paths = ("/ready", "/ready", "/slow", "/ready", "/")
        writer.write(b"".join(head_of(f"GET {path}") for path in paths))
        bodies = [(await read_answer(reader)).body for _ in paths]
        # what comes behind the slow one waits for it, and takes its way
        assert bodies == [b"!!", b"!!", b"\0\0", b"\0\0", b"\0\0"]
        writer.write(head_of("GET /ready"))
        assert (await read_answer(reader)).body == b"!!"
        writer.close()

    play(story, application=Ready())


def test_a_request_in_pieces_is_answered_when_it_is_whole() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        for _ in range(2):
            for piece in (b"GET /rea", b"dy HTTP/1.1\r\nHo", b"st: test\r\n\r", b"\n"):
                writer.write(piece)
                await asyncio.sleep(0.02)
            assert (await read_answer(reader)).body == b"!!"
        writer.close()

    play(story, application=Ready())


@pytest.mark.parametrize("drip", [b"\r\n", head_of("GET /ready")[:-2]])
def test_what_drips_after_an_answer_at_once_is_ended(drip: bytes) -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(head_of("GET /ready") + drip)
        assert (await read_answer(reader)).body == b"!!"
        rest = await reader.read()
        assert rest == b"" or Answer.parse(rest).code == "too_slow"
        writer.close()

    play(story, application=Ready())


def test_a_connection_is_kept_for_as_long_as_it_is_used() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        began = asyncio.get_running_loop().time()
        for path in ("/ready", "/slow", "/ready", "/ready", "/ready"):
            writer.write(head_of(f"GET {path}"))
            await read_answer(reader)
            await asyncio.sleep(0.6)
        assert await reader.read() == b""
        assert asyncio.get_running_loop().time() - began > 3.3
        writer.close()

    play(story, application=Ready(), timeout_keep_alive=1)


def test_who_reads_nothing_does_not_fill_the_memory() -> None:
    async def story(connect: Connect) -> None:
        written: list[int] = []
        real = BoundedHttp._has_answered

        def counted(self: BoundedHttp) -> bool:
            answered = real(self)
            written.append(answered)
            return answered

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(BoundedHttp, "_has_answered", counted)
            _, writer = await connect()
            writer.write(200 * head_of("GET /much"))
            await asyncio.sleep(0.3)
        # the first went out, and nobody read it: the others wait
        assert sum(written) < 5
        writer.transport.abort()

    play(story, application=Ready())


def test_one_connection_too_many_gets_nothing_at_once() -> None:
    async def story(connect: Connect) -> None:
        kept = await connect()
        kept[1].write(head_of("GET /big"))
        assert (await kept[0].readuntil(b"\0\0")).startswith(b"HTTP/1.1 200")
        answer = Answer.parse(await exchange(connect, head_of("GET /ready")))
        assert (answer.status, answer.code) == (503, "busy")
        kept[1].close()

    play(story, application=Ready(), limit_concurrency=1)
