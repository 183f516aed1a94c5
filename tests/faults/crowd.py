"""Thousands of connections that send nothing, half a head or half a body, and others meanwhile.

The crowd comes from addresses of 127.0.0.0/8, as many connections from each as one may have, and
connects again when it is cut off. The web process starts under a usual limit of open files.
"""

import asyncio
import contextlib
import itertools
import resource
import time
from pathlib import Path
from typing import Final

import httpx2

from ledger.crypto import sha256
from registry.settings import CONFIG
from tests.faults.kill import Acknowledged, Home
from tests.faults.services import connect, fill, running

FROM_ONE: Final = 64
"""Connections from one address."""

OPEN_FILES: Final = (1_024, 20_000)
"""Soft limit of open files: of the service when it starts, and of the crowd."""

AGAIN_S: Final = 1.0
"""After what time who was cut off comes again."""

BEGINNINGS: Final = (
    b"",
    b"GET /v1/network HTTP/1.1\r\nX: a",
    b"POST /json_rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
)
"""What each of them sends, and nothing else."""

PATHS: Final = ("/v1/network", "/v1/lists/latest/full", "/", "/v1/nodes?limit=5", "/health/live")


class Crowd:
    """So many connections, held for as long as this lasts."""

    def __init__(self, port: int, size: int) -> None:
        self._port = port
        self._size = size
        self._tasks: list[asyncio.Task[None]] = []
        self.begun = 0
        """Connections so far."""

    async def __aenter__(self) -> "Crowd":
        """Begin; return once each has connected."""
        self._tasks = [asyncio.create_task(self._hold(place)) for place in range(self._size)]
        while self.begun < self._size:
            await asyncio.sleep(0.05)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Let all go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hold(self, place: int) -> None:
        host = place // FROM_ONE
        source = (f"127.3.{host // 250}.{host % 250 + 1}", 0)
        for turn in itertools.count(place):
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self._port, local_addr=source
                )
                self.begun += 1
                try:
                    writer.write(BEGINNINGS[turn % len(BEGINNINGS)])
                    await reader.read()
                finally:
                    writer.transport.abort()
            await asyncio.sleep(AGAIN_S)


async def stand(size: int, rounds: int, folder: Path) -> dict[str, float]:
    """Have a crowd stand before a real service, and ask it for everything so many times.

    Everybody else is answered each time, over a connection that is new. Returns how many answers,
    how long the slowest took, and how many connections the crowd made.
    """
    home = Home(folder / "home", sha256(b"crowd"))
    (home.folder / CONFIG).write_text("[limits]\nlimit_local = true\n")
    slowest, answers = 0.0, 0
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(_limit_files, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        _limit_files(OPEN_FILES[0])
        service = await stack.enter_async_context(running(home.folder, *home.keys))
        _limit_files(OPEN_FILES[1])
        acknowledged = Acknowledged()
        await fill(home, service.url, 20, acknowledged)
        async with Crowd(int(service.url.rsplit(":", 1)[1]), size) as crowd:
            for turn in range(rounds):
                for path in PATHS:
                    began = time.monotonic()
                    source = httpx2.AsyncHTTPTransport(local_address=f"127.0.9.{turn % 250 + 1}")
                    async with connect(service.url, transport=source) as client:
                        answer = await client.get(path)
                    assert answer.status_code == 200, (path, answer.status_code, answer.text)
                    slowest = max(slowest, time.monotonic() - began)
                    answers += 1
            # what it sends is committed too
            await fill(home, service.url, 20, acknowledged, sender=1)
        assert crowd.begun >= size
    return {"answers": answers, "slowest_s": round(slowest, 2), "connections": crowd.begun}


def _limit_files(soft: int) -> None:
    """Limit the open files of this process, and of those that it starts."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard), hard))
