"""The socket: what is a frame, in which order answers come, and what ends what."""

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import Fault, Misuse
from registry.engines.comet import abci_pb2 as abci
from registry.engines.comet import server as server_module
from registry.engines.comet.server import (
    MAX_BATCH,
    MAX_FRAME_BYTES,
    Connection,
    Frames,
    HandlerFailed,
    Malformed,
    Server,
    frame,
)
from tests.registry.engines.comet.far import Wire, request_of, serving
from tests.registry.factory import eventually, in_loop, open_files, settle, short_folder


class Calls:
    """Handlers that note what they were asked, and answer when the test lets them."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.paths: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def handlers(self) -> dict[str, Any]:
        return {"check_tx": self.check, "query": self.query}

    async def check(self, requests: Sequence[Any]) -> list[Any]:
        self.batches.append([request.tx for request in requests])
        await self.gate.wait()
        return [abci.ResponseCheckTx(data=request.tx) for request in requests]

    async def query(self, request: Any) -> Any:
        self.paths.append(request.path)
        await self.gate.wait()
        return abci.ResponseQuery(log=request.path)


async def fail(_request: Any) -> Any:
    raise Fault("the floor gave way")


# ------------------------------------------------------------------------------------ frames


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 16_383, 16_384, 2_097_152])
def test_lengths(size: int) -> None:
    echo = abci.Response(echo=abci.ResponseEcho(message="x" * size))
    body = echo.SerializeToString()
    raw = frame(echo)
    assert list(Frames().feed(raw)) == [body]
    # one byte after the other gives the same, and nothing before the last
    if size < 1_000:
        frames = Frames()
        got = [list(frames.feed(raw[at : at + 1])) for at in range(len(raw))]
        assert got == [[]] * (len(raw) - 1) + [[body]]


def test_several_frames_at_once() -> None:
    assert list(Frames().feed(b"\x01a\x00\x02bc\x03de")) == [b"a", b"", b"bc"]


def test_a_length_at_the_bound_is_waited_for() -> None:
    assert list(Frames().feed(bytes.fromhex("80808020"))) == []


@pytest.mark.parametrize(
    "raw",
    ["81808020", "ffffffff0f", "8080808080", "80808080808080808001", "ffffffffffffffffff01"],
)
def test_a_length_over_the_bound_is_refused_at_once(raw: str) -> None:
    assert MAX_FRAME_BYTES == 0x20 << 21
    with pytest.raises(Malformed):
        list(Frames().feed(bytes.fromhex(raw)))


# ------------------------------------------------------------------------------------- order


@in_loop
async def test_answers_come_in_the_order_of_the_requests() -> None:
    calls = Calls()
    async with serving(calls.handlers) as (_, path):
        wire = await Wire.open(path)
        raw = b"".join(
            [
                request_of("query", path="1"),
                request_of("check_tx", tx=b"2"),
                request_of("echo", message="3"),
                request_of("flush"),
                request_of("check_tx", tx=b"5"),
                request_of("query", path="6"),
            ]
        )
        # in pieces that end anywhere
        for start in range(0, len(raw), 3):
            wire.writer.write(raw[start : start + 3])
            await settle()
        got = [await wire.receive() for _ in range(6)]
        assert [name for name, _ in got] == [
            "query",
            "check_tx",
            "echo",
            "flush",
            "check_tx",
            "query",
        ]
        answers = [got[0][1].log, got[1][1].data, got[2][1].message, got[4][1].data, got[5][1].log]
        assert answers == ["1", b"2", "3", b"5", "6"]
        wire.close()


@in_loop
async def test_connections_do_not_wait_for_each_other() -> None:
    calls = Calls()
    calls.gate.clear()
    async with serving(calls.handlers) as (server, path):
        slow, fast = await Wire.open(path), await Wire.open(path)
        slow.send("query", path="slow")
        await eventually(lambda: calls.paths)
        assert (await fast.ask("echo", message="fast")).message == "fast"
        assert len(server.connections) == 2
        calls.gate.set()
        assert (await slow.receive())[1].log == "slow"
        slow.close()
        fast.close()
        await eventually(lambda: not server.connections)


@in_loop
async def test_what_arrived_together_is_checked_together() -> None:
    calls = Calls()
    calls.gate.clear()
    async with serving(calls.handlers) as (_, path):
        wire = await Wire.open(path)
        wire.send("check_tx", tx=b"first")
        await eventually(lambda: calls.batches)
        for index in range(MAX_BATCH + 3):
            wire.send("check_tx", tx=b"%d" % index)
            if index % 100 == 7:
                wire.send("flush")
        wire.send("query", path="between")
        wire.send("check_tx", tx=b"last")
        await wire.writer.drain()
        await settle()
        calls.gate.set()
        wanted = MAX_BATCH + 3 + 5 + 3
        got = [await wire.receive() for _ in range(wanted)]
        # in the order in which they were sent, flushes and all
        data = [answer.data for name, answer in got if name == "check_tx"]
        assert data == [b"first", *(b"%d" % index for index in range(MAX_BATCH + 3)), b"last"]
        assert [place for place, (name, _) in enumerate(got) if name == "flush"] == [
            9,
            110,
            211,
            312,
            413,
        ]
        assert calls.batches[0] == [b"first"]
        assert calls.batches[-1] == [b"last"]
        # few batches, each within its bound; a flush counts for one
        assert len(calls.batches) <= 6
        assert max(map(len, calls.batches)) > MAX_BATCH // 2
        assert all(len(batch) <= MAX_BATCH for batch in calls.batches)
        wire.close()


@in_loop
async def test_what_is_not_answered_yet_is_not_read_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "MAX_AHEAD_BYTES", 10_000)
    calls = Calls()
    calls.gate.clear()
    async with serving(calls.handlers) as (server, path):
        wire = await Wire.open(path)
        for _ in range(40):
            wire.send("query", path="x" * 50_000)
        await eventually(lambda: calls.paths)
        for _ in range(50):
            await settle()
        (connection,) = server.connections
        # one frame that is too much already, and what came with it
        assert connection._bytes <= 10_000 + 2 * server_module.READ_BYTES
        calls.gate.set()
        for _ in range(40):
            assert len((await wire.receive())[1].log) == 50_000
        wire.close()


# ------------------------------------------------------------------------------------ endings


GARBAGE = {
    "a frame that is too long": bytes.fromhex("81808020") + b"x",
    "a length without end": b"\xff" * 10,
    "bytes that are no message": b"\x03\xff\xff\xff",
    "no request at all": b"\x00",
    "a request that nobody knows": b"\x03\xf2\x07\x00",
    "a call of an older protocol": b"\x02\x3a\x00",
    "text that is none": b"\x05\x0a\x03\x0a\x01\xff",
}


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE)
@in_loop
async def test_garbage_ends_its_connection_and_no_other(raw: bytes) -> None:
    lost: list[Connection] = []
    async with serving(Calls().handlers) as (server, path):
        server.on_lost = lost.append
        wire, other = await Wire.open(path), await Wire.open(path)
        assert (await wire.ask("echo", message="a")).message == "a"
        wire.writer.write(raw)
        assert await wire.is_ended()
        assert (await other.ask("echo", message="b")).message == "b"
        assert [connection.asked for connection in lost] == [{"echo"}]
        waiting = asyncio.ensure_future(server.wait())
        await settle()
        assert not waiting.done()
        waiting.cancel()
        other.close()


@in_loop
async def test_what_came_before_garbage_is_answered() -> None:
    async with serving(Calls().handlers) as (_, path):
        wire = await Wire.open(path)
        wire.writer.write(request_of("echo", message="a") + request_of("flush") + b"\x00")
        assert (await wire.receive())[1].message == "a"
        assert (await wire.receive())[0] == "flush"
        assert await wire.is_ended()


@in_loop
async def test_who_hangs_up_is_noted_with_what_it_asked() -> None:
    lost: list[Connection] = []
    async with serving(Calls().handlers) as (server, path):
        server.on_lost = lost.append
        wire = await Wire.open(path)
        await wire.ask("query", path="a")
        await wire.ask("flush")
        # in the middle of a frame
        wire.writer.write(b"\x09ab")
        wire.close()
        await eventually(lambda: lost)
        assert lost[0].asked == {"query", "flush"}
        assert not server.connections


@in_loop
async def test_what_a_handler_raises_is_answered_and_raised() -> None:
    async with serving({"query": fail, "check_tx": fail}) as (server, path):
        waiting = asyncio.ensure_future(server.wait())
        for name in ("query", "check_tx"):
            wire = await Wire.open(path)
            wire.send(name)
            wire.send("echo", message="never")
            answered, answer = await wire.receive()
            assert (answered, answer.error) == ("exception", "the floor gave way")
            assert await wire.is_ended()
        with pytest.raises(Fault, match="the floor gave way"):
            await waiting


@pytest.mark.parametrize("error", [OSError("disk full"), EOFError("x"), Malformed("y")])
@in_loop
async def test_an_error_of_a_handler_is_not_taken_for_one_of_the_connection(
    error: Exception,
) -> None:
    async def fail(_request: Any) -> Any:
        raise error

    async with serving({"query": fail}) as (server, path):
        wire = await Wire.open(path)
        wire.send("query")
        assert (await wire.receive())[1].error == str(error)
        with pytest.raises(HandlerFailed, match=str(error)):
            await server.wait()


@in_loop
async def test_an_error_without_words_has_its_name() -> None:
    async def fail(_request: Any) -> Any:
        raise ZeroDivisionError

    async with serving({"query": fail}) as (server, path):
        wire = await Wire.open(path)
        wire.send("query")
        assert (await wire.receive())[1].error == "ZeroDivisionError"
        with pytest.raises(ZeroDivisionError):
            await server.wait()


@in_loop
async def test_the_first_failure_is_the_one_that_is_raised() -> None:
    async with serving({}) as (server, _):
        server.fail(Fault("first"))
        server.fail(Fault("second"))
        with pytest.raises(Fault, match="first"):
            await server.wait()


@in_loop
async def test_who_waits_for_a_server_that_was_not_started_made_a_mistake() -> None:
    with pytest.raises(Misuse, match="not started"):
        await Server().wait()


@in_loop
async def test_what_nobody_answers_yet_waits() -> None:
    calls = Calls()
    async with serving({}) as (server, path):
        wire = await Wire.open(path)
        wire.send("query", path="a")
        wire.send("query", path="b")
        await settle()
        assert calls.paths == []
        server.use({"check_tx": calls.check})
        await settle()
        server.use(calls.handlers)
        assert [(await wire.receive())[1].log for _ in range(2)] == ["a", "b"]
        assert calls.paths == ["a", "b"]
        wire.close()


@in_loop
async def test_a_server_that_closes_leaves_nothing_behind() -> None:
    calls = Calls()
    calls.gate.clear()
    before = open_files()
    with short_folder() as folder:
        path = folder / "deeper" / "abci.sock"
        path.parent.mkdir()
        path.write_bytes(b"left over")
        server = Server()
        await server.start(path)
        server.use(calls.handlers)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        lost: list[Connection] = []
        server.on_lost = lost.append
        wire = await Wire.open(path)
        wire.send("query", path="a")
        await eventually(lambda: calls.paths)
        await server.close()
        await server.close()
        assert await wire.is_ended()
        wire.close()
        assert not path.exists()
        # whoever closes lost nothing
        assert lost == []
        assert not server.connections
        with pytest.raises(OSError, match="No such file"):
            await Wire.open(path)
    await settle()
    assert open_files() == before


@in_loop
async def test_a_socket_of_somebody_else_is_left_alone() -> None:
    with short_folder() as folder:
        path: Path = folder / "abci.sock"
        first, second = Server(), Server()
        await first.start(path)
        await second.start(path)
        await first.close()
        assert os.path.exists(path)
        await second.close()
        assert not os.path.exists(path)
