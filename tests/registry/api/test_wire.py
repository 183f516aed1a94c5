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
from registry.api.wire import BoundedHttp
from tests.registry.api.processes import Answer, head_of

PATIENCE_S = 10
BIG = 8_000_000

Connect: TypeAlias = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers `/big` with much, `/slow` after a while, anything else at once."""
    if scope["path"] == "/slow":
        await asyncio.sleep(0.6)
    body = bytes(BIG if scope["path"] == "/big" else 2)
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def server(**settings: Any) -> AsyncIterator[Connect]:
    """A server with our protocol, and a way to connect to it."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
    config = uvicorn.Config(
        app,
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


def test_one_connection_too_many_is_turned_away() -> None:
    async def story(connect: Connect) -> None:
        kept = [await connect() for _ in range(2)]
        for reader, writer in kept:
            writer.write(head_of("GET /"))
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
