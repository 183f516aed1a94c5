"""The socket on which CometBFT asks: framing, order and batches, and nothing of what is asked.

- A frame is its length as an unsigned varint, and then a protobuf `Request` or `Response`.
- A connection is answered first in, first out; connections do not wait for each other.
- Requests to check a transaction that have arrived one after the other are handed over as one, so
  that their signatures are verified together.
- What is no request ends its connection, and a frame that is too long does so before it is read.
- What a handler raises is answered with its text, ends the connection, and comes out of `wait`: to
  go on would be wrong.
- What no handler answers yet waits until there is one.

The socket has mode 600, so only the user who runs the service reaches it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import structlog
from google.protobuf.message import DecodeError

from ledger.errors import Misuse, WaypostError, describe
from registry.engines.comet import abci_pb2 as abci
from registry.sockets import UnixListener

MAX_FRAME_BYTES: Final = 2**26
MAX_AHEAD_BYTES: Final = 2**26
"""What is read of a connection before it is worked on, one frame aside."""

MAX_BATCH: Final = 500
"""Transactions that are checked together: about 20 ms of verifying on one core."""

READ_BYTES: Final = 2**16
VARINT_BYTES: Final = 5
"""A longer length is over every limit."""

CHECK: Final = "check_tx"
FLUSH: Final = "flush"

Handlers: TypeAlias = Mapping[str, Callable[[Any], Awaitable[Any]]]
"""By the name of a request's field. That of `check_tx` takes and gives a list, the others one."""

log = structlog.get_logger()


class Malformed(WaypostError):
    """What arrives is no request."""


class HandlerFailed(WaypostError):
    """A handler could not answer, because of something that it relies on."""


def frame(message: abci.Request | abci.Response) -> bytes:
    """Return the bytes of one message on the wire."""
    body: bytes = message.SerializeToString()
    size, head = len(body), bytearray()
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*head, size]) + body


class Frames:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterable[bytes]:
        """Yield the bodies that are complete now. Raises `Malformed`."""
        self._buffer += data
        while True:
            head = self._read_head()
            if head is None:
                return
            start, size = head
            if len(self._buffer) < start + size:
                return
            body = bytes(self._buffer[start : start + size])
            del self._buffer[: start + size]
            yield body

    def _read_head(self) -> tuple[int, int] | None:
        """Return where the next body starts and how long it is, once its length is there."""
        size = 0
        for place, byte in enumerate(self._buffer[:VARINT_BYTES]):
            size |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                if size > MAX_FRAME_BYTES:
                    raise Malformed(f"a frame of {size} bytes")
                return place + 1, size
        if len(self._buffer) >= VARINT_BYTES:
            raise Malformed("a frame whose length does not end")
        return None


class Connection:
    """One connection: what has arrived on it, and what it was asked so far."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.asked: set[str] = set()
        """Names of the requests that came."""
        self._reader = reader
        self._arrived: deque[bytes] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._end: Exception | None = None
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        frames = Frames()
        try:
            while data := await self._reader.read(READ_BYTES):
                for body in frames.feed(data):
                    self._arrived.append(body)
                    self._bytes += len(body)
                self._changed.set()
                while self._bytes > MAX_AHEAD_BYTES:
                    self._changed.clear()
                    await self._changed.wait()
            self._end = EOFError("the connection was closed")
        except (Malformed, OSError) as error:
            self._end = error
        self._changed.set()

    async def next(self) -> list[abci.Request]:
        """Return the next request, or several that may be checked together.

        Raises `Malformed`, and `EOFError` or `OSError` at the end.
        """
        while not self._arrived:
            if self._end is not None:
                raise self._end
            self._changed.clear()
            await self._changed.wait()
        run = [self._pop()]
        if _name(run[0]) == CHECK:
            # a flush among them is answered in its place
            while len(run) < MAX_BATCH and self._arrived:
                request = _parse(self._arrived[0])
                if _name(request) not in (CHECK, FLUSH):
                    break
                run.append(self._pop(request))
        self.asked |= {_name(request) for request in run}
        return run

    def _pop(self, parsed: abci.Request | None = None) -> abci.Request:
        body = self._arrived.popleft()
        self._bytes -= len(body)
        self._changed.set()
        return _parse(body) if parsed is None else parsed

    async def close(self) -> None:
        """Stop reading; what was answered is still sent."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self.writer.close()


def _parse(body: bytes) -> abci.Request:
    request = abci.Request()
    try:
        request.ParseFromString(body)
    except DecodeError:
        raise Malformed("a frame that is no request") from None
    if request.WhichOneof("value") is None:
        raise Malformed("a request that is none of those known")
    return request


def _name(request: abci.Request) -> str:
    name: str = request.WhichOneof("value")
    return name


class Server:
    """Answers requests with handlers by name, which can be exchanged while it runs."""

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self.on_lost: Callable[[Connection], None] = lambda _connection: None
        """Called when a connection has ended that this side did not close."""
        self._handlers: Handlers = {}
        self._exchanged = asyncio.Event()
        self._failed: asyncio.Future[None] | None = None
        self._listener: UnixListener | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> None:
        """Listen on a new socket at `path`, which only this user can open."""
        self._failed = asyncio.get_running_loop().create_future()
        self._listener = await UnixListener.start(path, self._accept)

    def use(self, handlers: Handlers) -> None:
        """Answer with these from now on; what is being answered is not disturbed."""
        self._handlers = handlers
        self._exchanged.set()

    def fail(self, error: BaseException) -> None:
        """Have `wait` raise this, unless it has something to raise already."""
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def wait(self) -> None:
        """Wait until a handler fails or `fail` is called, and raise that."""
        if self._failed is None:
            raise Misuse("the server is not started")
        await asyncio.shield(self._failed)

    async def close(self) -> None:
        """Stop listening, drop every connection, and wait until their work has ended."""
        if self._listener is not None:
            self._listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failed is not None and not self._failed.cancel() and not self._failed.cancelled():
            # nobody may have waited for what is in it
            self._failed.exception()

    # ------------------------------------------------------------------- connections

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(Connection(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    async def _serve(self, connection: Connection) -> None:
        self.connections.add(connection)
        is_lost = False
        try:
            while True:
                await self._answer(connection, await connection.next())
        except (Malformed, EOFError, OSError) as error:
            is_lost = True
            log.info("connection ended", asked=sorted(connection.asked), reason=str(error))
        finally:
            self.connections.discard(connection)
            await connection.close()
        if is_lost:
            self.on_lost(connection)

    async def _answer(self, connection: Connection, requests: list[abci.Request]) -> None:
        """Answer in order. Raises what a handler raises, once that was answered too."""
        writer = connection.writer
        try:
            answers = await self._handle(requests)
        except Exception as error:
            exception = abci.ResponseException(error=describe(error))
            writer.write(frame(abci.Response(exception=exception)))
            with contextlib.suppress(OSError):
                await writer.drain()
            if isinstance(error, (Malformed, EOFError, OSError)):
                # it is the handler's, not this connection's
                raise HandlerFailed(str(error)) from error
            raise
        writer.write(b"".join(map(frame, answers)))
        await writer.drain()

    async def _handle(self, requests: list[abci.Request]) -> list[abci.Response]:
        first = _name(requests[0])
        if first == FLUSH:
            return [abci.Response(flush=abci.ResponseFlush())]
        if first == "echo":
            message = requests[0].echo.message
            return [abci.Response(echo=abci.ResponseEcho(message=message))]
        handler = await self._find(first)
        if first != CHECK:
            answer = await handler(getattr(requests[0], first))
            return [abci.Response(**{first: answer})]
        checked = [request.check_tx for request in requests if _name(request) == CHECK]
        answers = iter(await handler(checked))
        return [
            abci.Response(check_tx=next(answers))
            if _name(request) == CHECK
            else abci.Response(flush=abci.ResponseFlush())
            for request in requests
        ]

    async def _find(self, name: str) -> Callable[[Any], Awaitable[Any]]:
        while name not in self._handlers:
            self._exchanged.clear()
            await self._exchanged.wait()
        return self._handlers[name]
