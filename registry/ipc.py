"""How the processes of one service talk: length-prefixed MessagePack over a Unix socket.

    frame      u32 length ‖ MessagePack
    request    [id, method, [arguments]]
    answer     [id, kind, payload]       kind: ok, refusal, busy, gone, error
    push       [0, event, payload]       to connections that subscribed

The socket has mode 600, so only the user who runs the service reaches it. Requests under way are
bounded: one more is answered `busy` at once and never queued.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import structlog

from ledger.errors import Fault, Refusal, WaypostError
from registry.sockets import UnixListener

MAX_FRAME_BYTES: Final = 2**26
MAX_UNDER_WAY: Final = 256
"""Requests that one server works on at a time."""

MAX_UNSENT_BYTES: Final = 2**26
"""What may wait for a subscriber; one that is slower is dropped and connects again."""

SUBSCRIBE: Final = "subscribe"

Handler: TypeAlias = Callable[..., Awaitable[Any]]

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder().decode
log = structlog.get_logger()


class Busy(WaypostError):
    """The server has as much to do as it takes; ask again in a second."""


class Gone(WaypostError):
    """The height that was asked for is not kept any more."""


class Lost(WaypostError):
    """The other process cannot be reached."""


def frame(message: Any) -> bytes:
    """Return the bytes of one message."""
    body = encode(message)
    return len(body).to_bytes(4, "big") + body


async def read_frame(reader: asyncio.StreamReader) -> Any:
    """Return the next message. Raises `Lost` at the end and on a frame that is too long."""
    try:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if size > MAX_FRAME_BYTES:
            raise Lost(f"a frame of {size} bytes")
        return decode(await reader.readexactly(size))
    except (EOFError, OSError, ValueError, RecursionError) as error:
        raise Lost("the connection ended") from error


# --------------------------------------------------------------------------------- server


class Server:
    """Answers requests with `handlers`, by method name, and pushes events to subscribers.

    `greeting` gives a new subscriber its first events: what it would otherwise wait for. `on_fault`
    hears of a `Fault` that a handler met: the process must not go on answering.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        greeting: Callable[[], Iterable[tuple[str, Any]]] = lambda: (),
        on_fault: Callable[[Fault], None] = lambda _fault: None,
    ) -> None:
        self._handlers = handlers
        self._greeting = greeting
        self._on_fault = on_fault
        self._under_way = 0
        self._subscribers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: UnixListener | None = None

    async def start(self, path: Path) -> None:
        """Listen on a new socket at `path`, which only this user can open."""
        self._listener = await UnixListener.start(path, self._serve)

    async def close(self) -> None:
        """Stop listening, drop every connection, and wait until their work has ended."""
        if self._listener is not None:
            self._listener.close()
        for writer in list(self._connections):
            # not `close`, which waits for a peer that does not read
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        while self._connections or self._tasks:
            await asyncio.sleep(0)

    def push(self, event: str, payload: Any) -> None:
        """Send an event to every subscriber that keeps up."""
        raw = frame([0, event, payload]) if self._subscribers else b""
        for writer in list(self._subscribers):
            if writer.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
                log.warning("subscriber dropped", reason="it does not read")
                self._subscribers.discard(writer)
                writer.transport.abort()
            else:
                writer.write(raw)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while True:
                request_id, method, arguments = await read_frame(reader)
                if method == SUBSCRIBE:
                    self._subscribe(writer)
                elif self._under_way >= MAX_UNDER_WAY:
                    writer.write(frame([request_id, "busy", None]))
                else:
                    self._under_way += 1
                    task = asyncio.create_task(self._answer(writer, request_id, method, arguments))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        except (Lost, TypeError, ValueError):
            pass
        finally:
            self._subscribers.discard(writer)
            self._connections.discard(writer)
            writer.close()

    def _subscribe(self, writer: asyncio.StreamWriter) -> None:
        for event in self._greeting():
            writer.write(frame([0, *event]))
        self._subscribers.add(writer)

    async def _answer(
        self, writer: asyncio.StreamWriter, request_id: int, method: str, arguments: list[Any]
    ) -> None:
        try:
            answer = [request_id, "ok", await self._handlers[method](*arguments)]
        except Refusal as refusal:
            answer = [request_id, "refusal", [refusal.code, refusal.values]]
        except Busy:
            answer = [request_id, "busy", None]
        except Gone:
            answer = [request_id, "gone", None]
        except Exception as error:
            log.exception("request failed", method=method)
            answer = [request_id, "error", f"{method} failed: the log of that process says why"]
            if isinstance(error, Fault):
                self._on_fault(error)
        finally:
            self._under_way -= 1
        with contextlib.suppress(OSError):
            writer.write(frame(answer))
            await writer.drain()


# --------------------------------------------------------------------------------- client


class Connection:
    """A connection to a `Server`; any number of calls may be under way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        self._on_event: Callable[[str, Any], None] = lambda _event, _payload: None
        self._task = asyncio.create_task(self._receive())

    @classmethod
    async def open(cls, path: Path | str) -> "Connection":
        """Connect to the socket at `path`. Raises `Lost`."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(path))
        except OSError as error:
            raise Lost(f"nobody answers at {path}") from error
        return cls(reader, writer)

    async def call(self, method: str, *arguments: Any) -> Any:
        """Return what the method answers. Raises `Refusal`, `Busy`, `Gone`, `Lost`."""
        if self._task.done():
            raise Lost("the connection ended")
        self._last_id += 1
        request_id = self._last_id
        future = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        try:
            await self._send(frame([request_id, method, arguments]))
            return await future
        finally:
            self._waiting.pop(request_id, None)
            if future.done() and not future.cancelled():
                # where sending failed too, nobody else asks how this ended
                future.exception()

    async def _send(self, raw: bytes) -> None:
        """Send a frame. Raises `Lost`."""
        try:
            self._writer.write(raw)
            await self._writer.drain()
        except (OSError, RuntimeError) as error:
            # uvloop raises the latter for a transport that has ended before anybody read so
            raise Lost("the connection ended") from error

    def subscribe(self, on_event: Callable[[str, Any], None]) -> None:
        """Have `on_event(event, payload)` called for each push from now on."""
        self._on_event = on_event
        self._writer.write(frame([0, SUBSCRIBE, []]))

    async def wait_closed(self) -> None:
        """Return once the connection has ended."""
        await asyncio.wait([self._task])

    async def close(self) -> None:
        """End the connection; calls under way raise `Lost`."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._writer.close()

    async def _receive(self) -> None:
        try:
            while True:
                request_id, kind, payload = await read_frame(self._reader)
                if request_id == 0:
                    self._on_event(kind, payload)
                    continue
                future = self._waiting.get(request_id)
                if future is not None and not future.done():
                    _settle(future, kind, payload)
        except (Lost, asyncio.CancelledError):
            pass
        finally:
            self._writer.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(Lost("the connection ended"))


def _settle(future: asyncio.Future[Any], kind: str, payload: Any) -> None:
    if kind == "ok":
        future.set_result(payload)
    elif kind == "refusal":
        code, values = payload
        future.set_exception(Refusal(code, **values))
    elif kind == "busy":
        future.set_exception(Busy("the ledger process has as much to do as it takes"))
    elif kind == "gone":
        future.set_exception(Gone("that height is not kept any more"))
    else:
        future.set_exception(Lost(str(payload)))
