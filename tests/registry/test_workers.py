"""Verification elsewhere: answers in order, and none is lost with a worker."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.crypto import Signed, key_pair, sha256, sign
from registry import workers as workers_module
from registry.ipc import Connection, Lost, Server
from registry.workers import CHUNK, ThreadVerifier, Verifier, WorkerVerifier, _chunks
from tests.registry.factory import eventually, in_loop, open_files, settle, short_folder

PAIR = key_pair(sha256(b"signs everything here"))


def items(count: int, bad: Sequence[int] = ()) -> list[Signed]:
    """Signatures of which those at the places `bad` are invalid."""
    made = []
    for number in range(count):
        message = b"%d" % number
        signature = sign(PAIR, message if number not in bad else b"another")
        made.append(Signed(PAIR.public, message, signature))
    return made


def answers(count: int, bad: Sequence[int]) -> list[bool]:
    return [number not in bad for number in range(count)]


# ------------------------------------------------------------------------------- chunks


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 1024, 1025, 5000])
def test_chunks_hold_everything_once_and_in_order(count: int) -> None:
    made = [Signed(b"%d" % number, b"", b"") for number in range(count)]
    chunks = _chunks(made)
    assert [item for chunk in chunks for item in chunk] == made
    assert all(0 < len(chunk) <= CHUNK for chunk in chunks)
    # enough pieces for four cores, unless that is not worth it
    assert len(chunks) >= min(4, count // 16)


# ------------------------------------------------------------------------ both verifiers


@asynccontextmanager
async def served(folder: Path, count: int) -> AsyncIterator[list[Path]]:
    """Workers in this process: the same server that a worker process runs."""
    paths = [folder / str(number) for number in range(count)]
    servers = [Server({"verify": workers_module._verify}) for _ in paths]
    for server, path in zip(servers, paths, strict=True):
        await server.start(path)
    try:
        yield paths
    finally:
        for server in servers:
            await server.close()


@asynccontextmanager
async def verifier(kind: str) -> AsyncIterator[Verifier]:
    with short_folder() as folder:
        async with served(folder, 3) as paths:
            made: Verifier = ThreadVerifier(2) if kind == "threads" else WorkerVerifier(paths)
            yield made
            await made.close()


KINDS = pytest.mark.parametrize("kind", ["threads", "workers"])


@KINDS
@pytest.mark.parametrize("count", [0, 1, 100, 700])
@in_loop
async def test_answers_stand_in_the_order_of_the_questions(kind: str, count: int) -> None:
    bad = [number for number in (0, 3, 15, 16, 255, 256, 699) if number < count]
    async with verifier(kind) as made:
        assert await made.verify(items(count, bad)) == answers(count, bad)


@KINDS
@in_loop
async def test_many_ask_at_the_same_time(kind: str) -> None:
    async with verifier(kind) as made:
        asked = [(count, (count // 2,)) for count in range(5, 60, 7)]
        told = await asyncio.gather(*(made.verify(items(count, bad)) for count, bad in asked))
        assert told == [answers(count, bad) for count, bad in asked]


@KINDS
@in_loop
async def test_what_is_no_signature_is_just_invalid(kind: str) -> None:
    good = items(1)[0]
    odd = [
        Signed(b"", b"", b""),
        Signed(bytes(31), good.message, good.signature),
        Signed(good.key, good.message, good.signature[:-1]),
        Signed(bytes(32), good.message, good.signature),
        Signed(good.key, b"", good.signature),
        good,
    ]
    async with verifier(kind) as made:
        assert await made.verify(odd) == [False] * 5 + [True]


# ----------------------------------------------------------------------- dying workers


class Process:
    """A real worker process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        command = [sys.executable, "-m", "registry.workers", "--socket", str(path)]
        root = Path(__file__).parents[2]
        self.popen = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(root)})

    async def ready(self) -> None:
        while True:
            try:
                connection = await Connection.open(self.path)
            except Lost:
                await asyncio.sleep(0.02)
            else:
                await connection.close()
                return

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


@in_loop
async def test_chunks_of_a_worker_that_is_killed_go_to_another() -> None:
    bad = range(0, 6_000, 7)
    question = items(6_000, bad)
    with short_folder() as folder:
        processes = [Process(folder / str(number)) for number in range(2)]
        try:
            for process in processes:
                await process.ready()
            made = WorkerVerifier([process.path for process in processes])
            for victim in (0, None):
                asking = asyncio.create_task(made.verify(question))
                await eventually(lambda: made._connections)
                await asyncio.sleep(0.01)
                if victim is not None:
                    assert not asking.done()
                    processes[victim].popen.send_signal(signal.SIGKILL)
                    processes[victim].popen.wait()
                assert await asking == answers(6_000, bad)
            # one that starts again is used again
            processes[0] = Process(folder / "0")
            await processes[0].ready()
            processes[1].kill()
            assert await made.verify(question[:100]) == answers(100, bad)
            await made.close()
        finally:
            for process in processes:
                process.kill()


@in_loop
async def test_a_worker_stops_when_it_is_told_to_and_when_its_parent_is_gone() -> None:
    with short_folder() as folder:
        told = Process(folder / "0")
        await told.ready()
        told.popen.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(told.popen.wait, 20) == 0
        assert not (folder / "0").exists()
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "registry.workers", "--socket", str(folder / "1")]
        left = subprocess.Popen(
            [*command, "--lifeline", str(reading)],
            pass_fds=[reading],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        os.close(reading)
        await eventually((folder / "1").exists)
        assert left.poll() is None
        os.close(writing)
        assert await asyncio.to_thread(left.wait, 20) == 0


@in_loop
async def test_workers_may_start_later_than_those_who_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers_module, "CONNECT_PAUSE_S", 0.001)
    with short_folder() as folder:
        paths = [folder / "0", folder / "1"]
        made = WorkerVerifier(paths)
        asking = asyncio.create_task(made.verify(items(50, [7])))
        await settle()
        assert not asking.done()
        async with served(folder, 2):
            assert await asking == answers(50, [7])
        await made.close()


@in_loop
async def test_without_any_worker_it_ends_with_an_error_and_not_with_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers_module, "CONNECT_PAUSE_S", 0.0)
    with short_folder() as folder:
        made = WorkerVerifier([folder / "0"])
        with pytest.raises(Lost, match="no worker answers"):
            await made.verify(items(3))
        async with served(folder, 1):
            # what failed holds no worker back
            assert await made.verify(items(3)) == [True] * 3
        await made.close()


@in_loop
async def test_a_lost_worker_leaves_no_connection_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers_module, "CONNECT_PAUSE_S", 0.0)
    with short_folder() as folder:
        made = WorkerVerifier([folder / "0"])
        counts = []
        for _ in range(4):
            async with served(folder, 1):
                assert await made.verify(items(40, [3])) == answers(40, [3])
            await settle()
            counts.append(open_files())
        assert len(set(counts)) == 1
        await made.close()


SHORT_ANSWERS: dict[str, Callable[[list[Any]], Any]] = {
    "too few": lambda asked: bytes(len(asked) - 1),
    "too many": lambda asked: bytes(len(asked) + 1),
    "none": lambda _asked: b"",
}


@pytest.mark.parametrize("answer", SHORT_ANSWERS.values(), ids=SHORT_ANSWERS.keys())
@in_loop
async def test_an_answer_for_other_items_is_never_taken(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[list[Any]], Any]
) -> None:
    monkeypatch.setattr(workers_module, "CONNECT_PAUSE_S", 0.0)

    async def verify(asked: list[Any]) -> Any:
        return answer(asked)

    with short_folder() as folder:
        server = Server({"verify": verify})
        await server.start(folder / "0")
        made = WorkerVerifier([folder / "0"])
        with capture_logs(), pytest.raises(Lost):
            await made.verify(items(20))
        await made.close()
        await server.close()
