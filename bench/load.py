"""Requests at a fixed rate, whatever the answers do: an open loop, in a process of its own.

    python -m bench.load PLAN RESULT

- Each request has a time at which it is due, drawn beforehand. Its latency counts from then, so
  that one which had to wait for a stuck service, or for this process, counts with its wait.
- It says how late it was itself, and how much of a core it took.
- It ends by itself, `GRACE_S` after the last request was due at most.
"""

import asyncio
import gc
import json
import re
import sys
import time
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import uvloop

GRACE_S: Final = 10.0
MAX_CONNECTIONS: Final = 256
LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
ETAG: Final = re.compile(rb"etag: *(\S+)", re.IGNORECASE)


class Kind(msgspec.Struct, frozen=True):
    """Requests of one kind."""

    name: str
    per_second: float
    requests: list[bytes]
    """Sent in turn; `{epoch}` stands for that of the newest final list, `{etag}` for its ETag."""


class Plan(msgspec.Struct, frozen=True):
    """What to send."""

    host: str
    port: int
    seconds: float
    epoch: int
    """Epoch of the newest final list when it begins."""
    kinds: list[Kind]


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One request."""

    kind: str
    due: float
    """Unix seconds."""
    late: float
    """Seconds until it was sent."""
    latency: float
    """Seconds from when it was due to the last byte of its answer."""
    status: int
    """0 if there was no answer."""
    size: int
    """Bytes of the body."""


class Event(msgspec.Struct, frozen=True, array_like=True):
    """An event of the service's stream, as it arrived."""

    at: float
    name: str
    epoch: int


class Result(msgspec.Struct, frozen=True):
    """All that happened."""

    samples: list[Sample]
    events: list[Event]
    cpu_share: float
    """Of one core, taken by this process."""


def make_get(path: str, *fields: str) -> bytes:
    """Return a GET request with these header fields."""
    lines = [f"GET {path} HTTP/1.1", "Host: bench", *fields, "", ""]
    return "\r\n".join(lines).encode()


def make_post(path: str, media: str, body: bytes, *fields: str) -> bytes:
    """Return a POST request with a body of this media type."""
    head = (
        f"POST {path} HTTP/1.1", "Host: bench", f"Content-Type: {media}",
        f"Content-Length: {len(body)}", *fields, "", "",
    )  # fmt: skip
    return "\r\n".join(head).encode() + body


class Connection:
    """One connection to the service that is kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def is_over(self) -> bool:
        """Whether the other side has closed it."""
        return self._reader.at_eof()

    async def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Return status, head and body of the answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        found = LENGTH.search(head)
        body = await self._reader.readexactly(int(found[1])) if found else b""
        return int(head[9:12]), head, body

    def close(self) -> None:
        """End it."""
        self._writer.close()


class Load:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._epoch = plan.epoch
        self._etags: dict[int, bytes] = {}
        self._idle: list[Connection] = []
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self.samples: list[Sample] = []
        self.events: list[Event] = []

    async def run(self) -> None:
        """Send everything when it is due, and wait for the answers."""
        watching = asyncio.create_task(self._watch())
        # the clock of the loop for waiting, that of the wall for comparing with others
        offset = time.time() - time.perf_counter()
        began = time.perf_counter() + 0.2
        tasks = []
        for due, kind, request in self._schedule():
            pause = began + due - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            tasks.append(asyncio.create_task(self._send(kind, request, began + due, offset)))
        await asyncio.wait(tasks, timeout=GRACE_S)
        watching.cancel()

    def _schedule(self) -> list[tuple[float, str, bytes]]:
        """Return every request with the second at which it is due."""
        due: list[tuple[float, str, bytes]] = []
        for kind in self._plan.kinds:
            random = Random(kind.name)
            at, turn = random.expovariate(kind.per_second), 0
            while at < self._plan.seconds:
                due.append((at, kind.name, kind.requests[turn % len(kind.requests)]))
                at += random.expovariate(kind.per_second)
                turn += 1
        return sorted(due)

    async def _send(self, kind: str, request: bytes, due: float, offset: float) -> None:
        async with self._room:
            epoch = self._epoch
            filled = request.replace(b"{epoch}", b"%d" % epoch)
            filled = filled.replace(b"{etag}", self._etags.get(epoch, b'"none"'))
            status = size = 0
            sent = time.perf_counter()
            try:
                connection = self._take_idle() or await self._connect()
                sent = time.perf_counter()
                status, head, body = await connection.ask(filled)
                size = len(body)
                self._idle.append(connection)
                found = ETAG.search(head)
                if found and kind == "full":
                    self._etags[epoch] = found[1]
            except (OSError, asyncio.IncompleteReadError):
                pass
        latency = time.perf_counter() - due
        self.samples.append(Sample(kind, due + offset, sent - due, latency, status, size))

    def _take_idle(self) -> Connection | None:
        """Return a connection that the service has not closed meanwhile."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_over:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        return Connection(
            *await asyncio.open_connection(self._plan.host, self._plan.port, limit=2**20)
        )

    async def _watch(self) -> None:
        """Take the time of the service's events."""
        reader, writer = await asyncio.open_connection(self._plan.host, self._plan.port)
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: bench\r\n\r\n")
        name = ""
        async for line in reader:
            if line.startswith(b"event:"):
                name = line[6:].strip().decode()
            elif line.startswith(b"data:") and name in ("epoch", "list_final"):
                epoch = json.loads(line[5:])["epoch"]
                self.events.append(Event(time.time(), name, epoch))
                if name == "list_final":
                    self._epoch = epoch


def main(plan_path: str, result_path: str) -> None:
    """Run a plan and write what happened."""
    plan = msgspec.msgpack.decode(Path(plan_path).read_bytes(), type=Plan)
    gc.disable()
    load = Load(plan)
    uvloop.run(load.run())
    result = Result(load.samples, load.events, time.process_time() / plan.seconds)
    Path(result_path).write_bytes(msgspec.msgpack.encode(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
