"""The outermost layer: bounds what comes in, counts what goes out, and is the last net.

- A body is at most `MAX_BODY_BYTES`, and all of it arrives within `BODY_S`. What is too long is
  read off up to `DRAIN_BYTES`, so that a client that is still sending gets to see the answer.
- Each client address gets its share (`limits`); what is turned away is read off too.
- An exception that nobody expected is logged here, once, and answered as `internal`.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.api.limits import Limits
from registry.api.problems import MAX_BODY_BYTES, ProblemError, make_problem
from registry.metrics import WebMetrics

BODY_S: Final = 30
DRAIN_BYTES: Final = 4 * MAX_BODY_BYTES

GROUPS: Final = frozenset(
    ("accounts", "attestors", "blocks", "epochs", "events", "genesis", "lists", "network", "nodes")
) | {"checkins", "participation", "proofs", "reports", "rules", "transactions", "trust", "verdicts"}
"""Groups of paths below `/v1`, as the metrics name them."""

OTHER_GROUPS: Final = frozenset(("health", "json_rpc", "metrics", "openapi.json", "static"))
"""Groups of other paths, by their first name."""

PAGES: Final = frozenset(
    ("", "accounts", "api", "attestors", "blocks", "epochs", "nodes", "open", "reports", "search")
) | {"swarms", "transactions", "verify"}
"""First names of the paths of pages, which are one group."""

UNTIMED: Final = frozenset(("events", "lists"))
"""A stream has no end, and a list takes less than the measurement."""

Tell: TypeAlias = Callable[[Request, ProblemError], Awaitable[Response]]
"""Makes the answer to who is turned away."""

log = structlog.get_logger()


async def tell_program(_request: Request, refused: ProblemError) -> Response:
    """Answer with the problem itself."""
    return make_problem(refused.code, refused.values, headers=refused.headers).response()


class Edge:
    """An ASGI application round all the others."""

    def __init__(
        self, app: ASGIApp, metrics: WebMetrics, limits: Limits, tell: Tell = tell_program
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._limits = limits
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        group = group_of(scope["path"])
        began = time.perf_counter()

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with self._limits.admit(scope, group) as charge:
                await self._app(scope, Body(receive, charge), counted)
        except ProblemError as refused:
            # the framework answers its own: this one was not admitted
            await _read_off(Body(receive))
            response = await self._tell(Request(scope), refused)
            await response(scope, receive, counted)
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["path"])
            if status == 0:
                await make_problem("internal").response()(scope, receive, counted)
        finally:
            self._metrics.count_request(group, status)
            if group not in UNTIMED:
                self._metrics.time_request(group, time.perf_counter() - began)


def group_of(path: str) -> str:
    """Return the group of a path: a word of our own, never one of the client's."""
    _, first, *rest = path.split("/", 3) if path.startswith("/") else ("", "")
    if first == "v1" and rest and rest[0] in GROUPS:
        return rest[0]
    if first in PAGES and path.startswith("/"):
        return "pages"
    return first if first in OTHER_GROUPS else "other"


class Body:
    """Receives a request's body within its bounds."""

    def __init__(self, receive: Receive, charge: Callable[[int], None] | None = None) -> None:
        """`charge` is told how many bytes came."""
        self._receive = receive
        self._charge = charge
        self._size = 0
        self._is_whole = False
        self._deadline = 0.0

    async def __call__(self) -> Message:
        """Return the next message. Ends with `body_too_large` or `too_slow`."""
        if self._is_whole:
            return await self._receive()
        loop = asyncio.get_running_loop()
        self._deadline = self._deadline or loop.time() + BODY_S
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._next()
                while self._size > MAX_BODY_BYTES and not self._is_whole:
                    message = await self._next()
        except TimeoutError:
            raise ProblemError("too_slow", seconds=BODY_S, headers=_CLOSE) from None
        if self._size > MAX_BODY_BYTES:
            raise ProblemError("body_too_large", limit=MAX_BODY_BYTES, headers=_CLOSE)
        return message

    async def _next(self) -> Message:
        message = await self._receive()
        size = len(message.get("body", b""))
        self._size += size
        if self._charge is not None and size:
            self._charge(size)
        self._is_whole = not message.get("more_body", False) or self._size > DRAIN_BYTES
        return message


async def _read_off(body: Body) -> None:
    """Read what is on its way, so that a client that is still sending gets to see the answer."""
    with contextlib.suppress(ProblemError):
        while (await body()).get("more_body"):
            pass


_CLOSE: Final = {"Connection": "close"}
"""The connection may hold more of the body: nothing else comes over it."""
