"""Signed lists past the framework: bytes ready in memory, one look-up and one send.

    GET /v1/lists/{epoch}             signed header of one epoch
    GET /v1/lists/{epoch}/{format}    its list in one of `FORMATS`, or as a bundle
    GET /v1/lists/{epoch}/delta/{from}    what changed since the list of an earlier epoch
    GET /v1/lists/{epoch}/swarm/{account id}    the swarm that serves an account, with its proof
    GET /v1/lists/latest, /v1/lists/latest/…    the same of the newest final list, but for deltas
    GET /v1/lists/manifest            what there is, for mirrors
    GET /v1/trust/{epoch}?from=…      the path to a header, if it is a file; else the framework

- Answers with headers and full lists are made when a view arrives. Older ones, and the formats
  that prove nothing, come from the publication directory, through a small cache.
- Slices are made when they are asked for, of the lists in memory.
- What cannot change any more may be kept for ever; `latest`, and a header that still takes
  attestations, for about a block. So may what proves nothing: whoever reads it cannot tell how old
  it is, so no cache may pass it on for long, and the service lets go of it after some epochs.
- ETags are strong: the first half of the bytes' SHA-256. A client that was interrupted gets the
  rest of the bytes that it has a part of (`ranges`).
- A GET for what is ready does not even become an ASGI call: `wire` asks `answer_at_once` first.
- Every origin may read, so that pages can check lists by themselves.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.api.library import CORS, FOREVER, Headers, Library, Ready, make_ready
from registry.api.problems import MEDIA_TYPE, ProblemAnswer, make_problem
from registry.api.ranges import Beyond, read_range
from registry.api.slices import Slices
from registry.formats import FORMATS
from registry.formats.bundle import NAME as BUNDLE
from registry.manifest import PASSING
from registry.view import PushedView

PREFIX: Final = "/v1/lists/"
LATEST: Final = f"{PREFIX}latest"
MANIFEST: Final = f"{PREFIX}manifest"
NAMES: Final = (*FORMATS, BUNDLE)
"""Files that carry a whole list."""
METHODS: Final = "GET, HEAD, OPTIONS"
MAX_SHORT_S: Final = 10
"""Longest time, in seconds, that what still changes may be kept by others."""

# no sign and no leading zeros, so that a list has one name in every cache
_PATH: Final = re.compile(
    re.escape(PREFIX) + rf"(latest|0|[1-9][0-9]{{0,18}})(?:/({'|'.join(NAMES)}))?\Z", re.ASCII
)
_DELTA_PATH: Final = re.compile(
    re.escape(PREFIX) + r"(0|[1-9][0-9]{0,18})/(delta/(?:0|[1-9][0-9]{0,18}))\Z", re.ASCII
)

_SWARM_PATH: Final = re.compile(
    re.escape(PREFIX) + r"(latest|0|[1-9][0-9]{0,18})/swarm/((?:[0-9a-f]{2})?[0-9a-f]{64})\Z",
    re.ASCII,
)

_TRUST_PATH: Final = re.compile(r"/v1/trust/(0|[1-9][0-9]{0,18})\Z", re.ASCII)
_TRUST_FROM: Final = re.compile(rb"(?:from=(0|[1-9][0-9]{0,18}))?\Z", re.ASCII)

_NOT_AT_ONCE: Final = frozenset(
    (b"content-length", b"expect", b"if-range", b"range", b"transfer-encoding", b"upgrade")
)
"""Headers with which a request wants more than bytes as they are."""

_EMPTY: Final[Message] = {"type": "http.response.body", "body": b""}
_PREFLIGHT: Final[Message] = {
    "type": "http.response.start",
    "status": 204,
    "headers": [
        *CORS,
        (b"allow", METHODS.encode()),
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", b"If-None-Match, If-Range, Range"),
        (b"access-control-max-age", b"86400"),
    ],
}


class AtOnce(NamedTuple):
    """An answer that lies ready."""

    status: int
    head: bytes
    """Its headers as they go over the wire."""
    body: bytes


class Lists:
    """An ASGI application that answers for the lists and hands all else to the next one."""

    def __init__(self, app: ASGIApp, library: Library, clock: Callable[[], int]) -> None:
        self._app = app
        self._library = library
        self._clock = clock
        self._view: PushedView | None = None
        self._ready: dict[str, Ready] = {}
        self._at_once: dict[bytes, Ready] = {}
        """The same, by what stands in a request."""
        self._slices = Slices()

    def show(self, view: PushedView) -> None:
        """Make the answers of a view; bytes that did not change keep what was made of them."""
        short = _short(view)
        ready: dict[str, Ready] = {}
        for each in view.lists:
            path = f"{PREFIX}{each.epoch}"
            caching = FOREVER if each.is_frozen else short
            ready[path] = self._make(path, "header", each.header, caching)
            full = f"{path}/full"
            ready[full] = self._make(full, "full", each.full, FOREVER)
            if each.epoch == view.latest:
                ready[LATEST] = self._make(LATEST, "header", each.header, short)
                full = f"{LATEST}/full"
                ready[full] = self._make(full, "full", each.full, short)
        self._ready, self._view = ready, view
        self._at_once = {path.encode(): each for path, each in ready.items()}
        self._slices.keep([each.epoch for each in view.lists])

    def _make(self, path: str, form: str, body: bytes, caching: bytes) -> Ready:
        old = self._ready.get(path)
        if old is not None and old.caching == caching and old.body == body:
            return old
        return make_ready(form, body, caching)

    def answer_at_once(self, target: bytes, headers: Headers) -> AtOnce | None:
        """Return the answer to a GET; None if it takes more than a look-up."""
        ready = self._at_once.get(target)
        if ready is None:
            return None
        known: bytes | None = None
        for name, value in headers:
            if name == b"if-none-match":
                known = value
            elif name in _NOT_AT_ONCE:
                return None
        if known is not None and ready.is_named_by(known):
            return AtOnce(304, ready.not_modified_head, b"")
        return AtOnce(200, ready.head, ready.body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            path = await self._find_trust(scope)
            if path is None:
                await self._app(scope, receive, send)
            else:
                await _send_ready(path, scope, send)
            return
        method = scope["method"]
        if method == "OPTIONS":
            await send(_PREFLIGHT)
            await send(_EMPTY)
        elif method not in ("GET", "HEAD"):
            values = {"allowed": METHODS, "method": method}
            await _refuse(
                make_problem("method_not_allowed", values, headers={"Allow": METHODS}), method, send
            )
        else:
            ready = self._ready.get(scope["path"]) or await self._find(scope["path"])
            if isinstance(ready, ProblemAnswer):
                await _refuse(ready, method, send)
            else:
                await _send_ready(ready, scope, send)

    async def _find_trust(self, scope: Scope) -> Ready | None:
        """Return a trust path that was published; None if it has to be found, or is none."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return None
        match, start = _TRUST_PATH.match(scope["path"]), _TRUST_FROM.match(scope["query_string"])
        if match is None or start is None:
            return None
        name = "genesis" if start[1] is None else start[1].decode()
        return await self._library.get(int(match[1]), f"trust/{name}", FOREVER)

    async def _find(self, path: str) -> Ready | ProblemAnswer:
        """Return what is not in memory: an older list, or the reason why there is none."""
        view = self._view
        if view is None:
            return make_problem("unavailable")
        if path == MANIFEST:
            manifest = await self._library.read_manifest(_short(view))
            return manifest or make_problem("not_found", {"what": "manifest yet"})
        match = _PATH.match(path) or _DELTA_PATH.match(path) or _SWARM_PATH.match(path)
        if match is None:
            return make_problem("not_found", {"what": f"path {path}"})
        name, form = match.groups()
        epoch = view.latest if name == "latest" else int(name)
        if epoch is None:
            headers = {"Retry-After": str(_short_s(view))}
            return make_problem("not_found", {"what": "final list yet"}, headers=headers)
        if epoch > max((each.epoch for each in view.lists), default=-1):
            return self._not_due(view, epoch)
        if match.re is _SWARM_PATH:
            found = await self._slice(view, name, epoch, bytes.fromhex(form))
        elif form not in PASSING:
            found = await self._library.get(epoch, form or "header", FOREVER)
        elif any(each.epoch == epoch for each in view.lists):
            found = await self._library.get(epoch, form, _short(view))
        else:
            # removed, or about to be: whether somebody read it before must not matter
            found = None
        return found or make_problem("not_kept", {"epoch": epoch})

    async def _slice(
        self, view: PushedView, name: str, epoch: int, account_id: bytes
    ) -> Ready | None:
        """Return a slice of a list in memory; None of any other, and of one without nodes."""
        for each in view.lists:
            if each.epoch == epoch:
                body = await self._slices.get(each, account_id)
                lasts = each.is_frozen and name != "latest"
                caching = FOREVER if lasts else _short(view)
                return None if body is None else make_ready("slice", body, caching)
        return None

    def _not_due(self, view: PushedView, epoch: int) -> ProblemAnswer:
        """Say when the list of an epoch is due at the earliest: at that epoch's end."""
        due_ms = view.epoch_ends_ms + (epoch - view.epoch) * view.network["epoch_ms"]
        seconds = max(1, -(-(due_ms - self._clock()) // 1_000))
        # a second in caches takes the rush off the service, and nobody waits much longer for it
        headers = {"Retry-After": str(seconds), "Cache-Control": "public, max-age=1"}
        return make_problem("not_due", {"epoch": epoch, "seconds": seconds}, headers=headers)


def _short(view: PushedView) -> bytes:
    return b"public, max-age=%d" % _short_s(view)


def _short_s(view: PushedView) -> int:
    block_s: int = view.network["block_ms"] // 1_000
    return max(1, min(MAX_SHORT_S, block_s))


async def _send_ready(ready: Ready, scope: Scope, send: Send) -> None:
    asked = dict(scope["headers"])
    known, wanted = asked.get(b"if-none-match"), asked.get(b"range")
    if known is not None and ready.is_named_by(known):
        await send(ready.not_modified)
        await send(_EMPTY)
    elif scope["method"] == "HEAD":
        await send(ready.start)
        await send(_EMPTY)
    elif wanted is None:
        await send(ready.start)
        await send({"type": "http.response.body", "body": ready.body})
    else:
        await _send_part(ready, wanted, asked.get(b"if-range"), send)


async def _send_part(ready: Ready, wanted: bytes, if_range: bytes | None, send: Send) -> None:
    size = len(ready.body)
    part = read_range(wanted, if_range, ready.etag, size)
    if isinstance(part, Beyond):
        beyond = {"Content-Range": f"bytes */{size}"}
        await _refuse(make_problem("range_beyond", {"size": size}, headers=beyond), "GET", send)
        return
    start, body = ready.start, ready.body
    if part is not None:
        body = body[part.first : part.end]
        own = {
            b"content-length": b"%d" % len(body),
            b"content-range": b"bytes %d-%d/%d" % (part.first, part.end - 1, size),
        }
        headers = [*(dict(start["headers"]) | own).items()]
        start = {"type": "http.response.start", "status": 206, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def _refuse(problem: ProblemAnswer, method: str, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    own = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(problem.body)),
    ]
    start = {"type": "http.response.start", "status": problem.status}
    await send(start | {"headers": own + headers + list(CORS)})
    await send(_EMPTY if method == "HEAD" else {"type": "http.response.body", "body": problem.body})
