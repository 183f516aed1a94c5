"""Bounds below HTTP, where uvicorn and its parser have none of their own.

- A head is at most `MAX_HEAD_BYTES` and arrives within `HEAD_S` of its first byte, or of the
  connection's beginning; what else drips in between two requests has no more time than that.
- Who reads less than `STALL_BYTES` of what he asked for in `STALL_S` is cut off: closing politely
  would wait for him for ever.
- A client address that has as many connections as one gets is told so at the next one, at once.
- A connection has `MAX_PIPELINED` requests under way at most; one more ends it.
- One connection over the limit of all ends the one that has waited longest for a request, or for
  the rest of one. Where all others are being answered, it is answered `busy` and closed.
- What is not HTTP is answered by a problem too.

And one way past all that stands above it: what lies ready is written at once, in a fraction of the
time that an ASGI call takes. Such a request has a head and no body, nothing before it is under way,
and its connection stays open; `App.answer_at_once` says what it gets.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from registry.api.bare import AtOnce
from registry.api.library import Headers
from registry.api.limits import Client, Limits
from registry.api.problems import MEDIA_TYPE, ProblemAnswer, make_problem

MAX_HEAD_BYTES: Final = 2**15
HEAD_S: Final = 10
MAX_PIPELINED: Final = 64
STALL_S: Final = 60
STALL_BYTES: Final = 16_384
JOINED_BYTES: Final = 32_768
"""A body up to this goes out together with its head: copying it costs less than a second call."""
LAST_S: Final = 3
"""What somebody who still reads gets when the server stops; less than it waits for all."""


AnswerAtOnce: TypeAlias = Callable[[bytes, Headers], AtOnce | None]


def _never(_target: bytes, _headers: Headers) -> AtOnce | None:
    """Have everything answered by the application."""
    return None


_WAITING: Final[WeakKeyDictionary[ServerState, dict["BoundedHttp", None]]] = WeakKeyDictionary()
"""Each server's connections that wait for a request or the rest of one, the longest first."""


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol, for one connection, with the bounds above."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._max_connections = config.limit_concurrency
        # uvicorn's own limit answers in plain text
        self.limit_concurrency = None
        self._waiting = _WAITING.setdefault(server_state, {})
        self._is_too_much = False
        """Whether it is over the limit, and took nobody's place."""
        self._usual_app: Any = self.app
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_in_head = False
        self._is_much = False
        """Whether a head may be too long although it came whole."""
        self._is_answered = False
        """Whether the newest request was answered at once."""
        self._rest_timer: asyncio.TimerHandle | None = None
        self._rests_since = 0.0
        self._answer_at_once: AnswerAtOnce = getattr(config.app, "answer_at_once", _never)
        self._cycles: deque[Any] = deque()
        """Requests under way, the oldest first; uvicorn itself tells the newest alone of an end."""
        self._limits: Limits | None = getattr(config.app, "limits", None)
        self._counted_for: Client | None = None
        """The client among whose connections this one is."""
        self._stall_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0

    # ---------------------------------------------------------------------- requests

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first request its time."""
        super().connection_made(transport)
        if self._limits is not None:
            counted = self._limits.connect(self.client[0] if self.client else None)
            if isinstance(counted, ProblemAnswer):
                self._end(counted)
                return
            self._counted_for = counted
        self._begin_head()
        self._is_too_much = self._is_full and not self._end_longest_wait()
        self._wait()

    def _end_longest_wait(self) -> bool:
        """End the connection that has waited longest; say whether there was one."""
        longest = next(iter(self._waiting), None)
        if longest is None:
            return False
        # it is lost a moment later, and the next one over the limit ends another one
        del self._waiting[longest]
        longest.transport.abort()
        return True

    def _wait(self) -> None:
        """Wait for a request from now on, unless the far side still reads the last answer."""
        self._waiting.pop(self, None)
        if not (self.flow.write_paused or self.transport.is_closing()):
            self._waiting[self] = None

    @property
    def _is_full(self) -> bool:
        limit = self._max_connections
        return limit is not None and len(self.connections) > limit

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and stop a head that is too long."""
        before = self._head_timer
        self._is_answered = False
        self._is_much = len(data) > MAX_HEAD_BYTES
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_timer is None:
            # a head that came whole, as most do, needs no timer
            if self._is_in_head or not (self._is_answering or self._is_answered):
                self._begin_head()
        elif self._head_timer is before:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._end(make_problem("head_too_large", {"limit": MAX_HEAD_BYTES}))

    def on_message_begin(self) -> None:
        """Begin a head. What an ASGI call needs besides is made once there is to be one."""
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._is_in_head = True
        self._is_answered = False

    def on_headers_complete(self) -> None:
        """Hand the request over, or turn it away if there are too many connections."""
        self._is_in_head = False
        self._end_head()
        if self._is_much and self._has_long_head():
            self._end(make_problem("head_too_large", {"limit": MAX_HEAD_BYTES}))
        while self._cycles and self._cycles[0].response_complete:
            self._cycles.popleft()
        if len(self._cycles) >= MAX_PIPELINED:
            self.transport.abort()
        if self.transport.is_closing():
            # nothing behind it is looked at
            self._is_answered = True
            return
        is_full = self._is_too_much and self._is_full
        if not is_full and self._is_at_rest and self._has_answered():
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        self.app = _busy if is_full else self._usual_app
        super().on_headers_complete()
        self._cycles.append(self.cycle)

    def _has_long_head(self) -> bool:
        sizes = (len(name) + len(value) + 4 for name, value in self.headers)
        return len(self.url) + sum(sizes) > MAX_HEAD_BYTES

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body in; one of a request that was answered already is left aside."""
        if not self._is_answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a request; one that was answered already has nothing else to it."""
        if not self._is_answered:
            self._waiting.pop(self, None)
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request that came already, or wait for it."""
        super().on_response_complete()
        if not self._is_answering:
            self._wait()

    def _has_answered(self) -> bool:
        """Answer from what lies ready, if that is all it takes."""
        parser = self.parser
        is_usual = parser.get_method() == b"GET" and parser.get_http_version() == "1.1"
        if not (is_usual and parser.should_keep_alive()):
            return False
        found = self._answer_at_once(self.url, self.headers)
        if found is None:
            return False
        lines = [b"%s: %s\r\n" % header for header in self.server_state.default_headers]
        head = b"".join((STATUS_LINE[found.status], *lines, found.head, b"\r\n"))
        if len(found.body) <= JOINED_BYTES:
            self.transport.write(head + found.body)
        else:
            self.transport.write(head)
            self.transport.write(found.body)
        self._is_answered = True
        self.server_state.total_requests += 1
        self._rest()
        return True

    def _rest(self) -> None:
        """Begin to wait for the next request. One timer lasts for many: it looks when it ends."""
        self._wait()
        self._rests_since = self.loop.time()
        if self._rest_timer is None:
            self._rest_timer = self.loop.call_later(self.timeout_keep_alive, self._on_rest)

    def _on_rest(self) -> None:
        self._rest_timer = None
        if self._is_in_head or self._is_answering or self.timeout_keep_alive_task is not None:
            # another timer bounds that
            return
        left = self._rests_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._rest_timer = self.loop.call_later(left, self._on_rest)
        else:
            self.transport.close()

    @property
    def _is_at_rest(self) -> bool:
        """Whether nothing is being answered, and the far side has read what it asked for before."""
        return not (self._is_answering or self.flow.write_paused)

    @property
    def _is_answering(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _begin_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_S, self._on_slow_head)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_slow_head(self) -> None:
        if self._head_bytes:
            self._end(make_problem("too_slow", {"seconds": HEAD_S}))
        else:
            self.transport.close()

    # ----------------------------------------------------------------------- answers

    def pause_writing(self) -> None:
        """Begin to lose patience with somebody who does not read."""
        super().pause_writing()
        self._waiting.pop(self, None)
        self._begin_stall()

    def resume_writing(self) -> None:
        """He reads again."""
        super().resume_writing()
        if not self._is_answering:
            self._wait()
        self._end_stall()

    def shutdown(self) -> None:
        """Begin to stop: who is behind with reading must not hold the others up."""
        super().shutdown()
        if self._stall_timer is not None:
            self.loop.call_later(LAST_S, self.transport.abort)

    def _begin_stall(self) -> None:
        self._end_stall()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(STALL_S, self._on_stall)

    def _on_stall(self) -> None:
        if self._unsent_bytes - self.transport.get_write_buffer_size() < STALL_BYTES:
            self.transport.abort()
        else:
            self._begin_stall()

    def _end_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the timers."""
        self._waiting.pop(self, None)
        self._end_head()
        self._end_stall()
        if self._rest_timer is not None:
            self._rest_timer.cancel()
        for cycle in self._cycles:
            cycle.disconnected = True
            cycle.message_event.set()
        if self._limits is not None and self._counted_for is not None:
            self._limits.disconnect(self._counted_for)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._end(make_problem("bad_request", {"why": msg}))

    def _end(self, problem: ProblemAnswer) -> None:
        """Write a problem past the application, unless that is writing, and close."""
        self._end_head()
        if not self._is_answering:
            headers = {
                "content-type": MEDIA_TYPE,
                "content-length": str(len(problem.body)),
                "connection": "close",
            }
            lines = [f"{name}: {value}\r\n" for name, value in (headers | problem.headers).items()]
            head = STATUS_LINE[problem.status] + "".join(lines).encode()
            self.transport.write(head + b"\r\n" + problem.body)
        self.transport.close()


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    """Turn a request away; its connection makes room for another."""
    await make_problem("busy", headers={"Connection": "close"}).response()(scope, receive, send)
