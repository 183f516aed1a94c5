"""Asks several services over HTTP, for programs that run beside a node. It believes nothing: what
has to be proven goes through `registry.client.trusted` and `registry.client.proofs`.

    Unavailable         no service gave an answer of its own
    Busy                of these: it said that it cannot answer now
    ServiceRefused      a service answered with a problem: its code, its text, its values

- Services are asked in turn, the one that answered last first. A problem makes `get` ask the next
  one too, since that may know more; `post` takes it as the answer.
- An answer has a bound in bytes and one in time, whatever a service sends. Redirects are not
  followed, and nothing is decoded that a transfer packed.
- Proxies of the environment are not asked: a service is mostly on this very machine.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import msgspec

from ledger.errors import Misuse, WaypostError, describe
from registry.client.transport import Unavailable, load_certificates

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S: Final = 10.0
"""Seconds that one service has for one answer."""

SILENCE_S: Final = 300.0
"""Seconds without a byte after which a stream of events is given up."""

MAX_JSON_BYTES: Final = 2**23
MAX_EVENT_BYTES: Final = 2**16

BUSY_STATUSES: Final = (429, *range(500, 600))
"""Statuses by which a service says that it cannot answer now, whatever else it says."""

SECONDS: Final = re.compile(r"[0-9]{1,6}")
"""What `Retry-After` says, where it is no date."""

Parameter: TypeAlias = str | int


class ServiceRefused(WaypostError):
    """A service answers with a problem. `code` and `values` are the problem's."""

    def __init__(self, code: str, detail: str, values: dict[str, Any]) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.values = values


class Busy(Unavailable):
    """A service says that it cannot answer now."""

    def __init__(self, text: str, wait_s: int) -> None:
        """`wait_s` are the seconds after which to ask again, 0 where it does not say."""
        super().__init__(text)
        self.wait_s = wait_s


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    data: Any
    """What its JSON says."""
    id: str
    """Of the newest event that had one; what to go on from."""


class _Problem(msgspec.Struct):
    type: str
    detail: str
    values: dict[str, Any] = {}


class Services:
    """Services at some URLs, for the one event loop that uses them first."""

    def __init__(self, urls: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> None:
        if not urls:
            raise Misuse("there is no service to ask")
        self.urls: Final = tuple(dict.fromkeys(url.rstrip("/") for url in urls))
        self.timeout_s: Final = timeout_s
        """Seconds that one service has for one answer."""
        self._preferred = self.urls[0]
        self._client: httpx2.AsyncClient | None = None

    async def get(self, path: str, **parameters: Parameter) -> Any:
        """Return what the JSON that answers says. Raises `ServiceRefused` and `Unavailable`."""

        async def ask(url: str) -> Any:
            return await self.get_from(url, path, **parameters)

        return await self._ask_in_turn(ask)

    async def get_from(self, url: str, path: str, **parameters: Parameter) -> Any:
        """Return what `get` does, of one service. Raises `ServiceRefused` and `Unavailable`."""
        body = await self._request("GET", url + path, MAX_JSON_BYTES, params=parameters)
        return _read_json(body)

    async def get_bytes(self, path: str, limit: int, **parameters: Parameter) -> bytes:
        """Return an answer of at most `limit` bytes as it is.

        Raises `ServiceRefused` and `Unavailable`.
        """

        async def ask(url: str) -> bytes:
            return await self.get_bytes_from(url, path, limit, **parameters)

        answer: bytes = await self._ask_in_turn(ask)
        return answer

    async def get_bytes_from(
        self, url: str, path: str, limit: int, **parameters: Parameter
    ) -> bytes:
        """Return what `get_bytes` does, of one service."""
        return await self._request("GET", url + path, limit, params=parameters)

    async def post(self, path: str, body: Any) -> Any:
        """Send JSON to the first service that takes it; return what the JSON that answers says.

        Raises `ServiceRefused`, also where another service might not refuse, and `Unavailable`.
        """

        async def ask(url: str) -> Any:
            return await self.post_to(url, path, body)

        return await self._ask_in_turn(ask, ends_with_refusal=True)

    async def post_to(self, url: str, path: str, body: Any, limit: int = MAX_JSON_BYTES) -> Any:
        """Do what `post` does, to one service, whose answer has at most `limit` bytes.

        Raises `ServiceRefused` and `Unavailable`.
        """
        raw = msgspec.json.encode(body)
        headers = {"content-type": "application/json"}
        answer = await self._request("POST", url + path, limit, content=raw, headers=headers)
        return _read_json(answer)

    async def get_from_all(self, path: str, **parameters: Parameter) -> dict[str, Any]:
        """Ask every service; return each one's answer, or what it or the way to it failed with."""
        return await self._ask_all(lambda url: self.get_from(url, path, **parameters))

    async def get_bytes_from_all(
        self, path: str, limit: int, **parameters: Parameter
    ) -> dict[str, bytes | ServiceRefused | Unavailable]:
        """Ask every service for an answer as it is, like `get_from_all`."""
        return await self._ask_all(lambda url: self.get_bytes_from(url, path, limit, **parameters))

    async def post_to_all(
        self, path: str, body: Any, limit: int = MAX_JSON_BYTES
    ) -> dict[str, Any]:
        """Send JSON to every service; return each one's answer, or what it failed with."""
        return await self._ask_all(lambda url: self.post_to(url, path, body, limit))

    async def stream(self, path: str, last_id: str = "") -> AsyncIterator[Event]:
        """Yield the server-sent events of the first service that has a stream, until it ends.

        `last_id` is the id of the last event that arrived before. Raises `Unavailable` where no
        service has one, and once a stream breaks off, falls silent or is no such stream.
        """
        import httpx2

        headers = {"last-event-id": last_id} if last_id else {}
        error = Unavailable("no service has a stream")
        for url in self._in_turn():
            is_open = False
            try:
                async with self._open().stream(
                    "GET", url + path, headers=headers, timeout=_stream_timeout(self.timeout_s)
                ) as response:
                    if response.status_code != 200:
                        error.add_note(f"{url}: it answered {response.status_code}")
                        continue
                    self._preferred, is_open = url, True
                    async for event in _read_events(response):
                        yield event
                    return
            except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as failure:
                if is_open:
                    raise Unavailable(f"{url} broke off: {describe(failure)}") from None
                error.add_note(f"{url}: {describe(failure)}")
        raise error

    async def close(self) -> None:
        """End all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # ------------------------------------------------------------------------- one request

    async def _ask_in_turn(
        self, ask: Callable[[str], Awaitable[Any]], *, ends_with_refusal: bool = False
    ) -> Any:
        refusal: ServiceRefused | None = None
        error = Unavailable("no service answers")
        for url in self._in_turn():
            try:
                answer = await ask(url)
            except ServiceRefused as refused:
                if ends_with_refusal:
                    raise
                refusal = refusal or refused
            except Unavailable as failure:
                error.add_note(f"{url}: {failure.text}")
            else:
                self._preferred = url
                return answer
        raise refusal or error

    def _in_turn(self) -> list[str]:
        return sorted(self.urls, key=lambda url: url != self._preferred)

    async def _ask_all(self, ask: Callable[[str], Awaitable[Any]]) -> dict[str, Any]:
        async def try_one(url: str) -> Any:
            try:
                return await ask(url)
            except (ServiceRefused, Unavailable) as failure:
                return failure

        answers = await asyncio.gather(*(try_one(url) for url in self.urls))
        return dict(zip(self.urls, answers, strict=True))

    async def _request(self, method: str, url: str, limit: int, **arguments: Any) -> bytes:
        import httpx2

        try:
            async with (
                asyncio.timeout(self.timeout_s),
                self._open().stream(method, url, **arguments) as response,
            ):
                body = bytearray()
                async for piece in response.aiter_raw():
                    body += piece
                    if len(body) > limit:
                        raise Unavailable(f"it answers with more than {limit} bytes")
        except TimeoutError:
            raise Unavailable(f"it did not answer within {self.timeout_s:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            raise Unavailable(f"it did not answer: {describe(error)}") from None
        if response.is_success and "content-encoding" not in response.headers:
            return bytes(body)
        raise _read_failure(response, bytes(body))

    def _open(self) -> "httpx2.AsyncClient":
        import httpx2

        if self._client is None:
            # What this machine believes of certificates takes a while to read, and only TLS asks
            # for it: where no URL is `https:`, no connection is, since redirects are not followed.
            is_secret = any(url.startswith("https:") for url in self.urls)
            self._client = httpx2.AsyncClient(
                verify=load_certificates() if is_secret else False,
                timeout=self.timeout_s,
                trust_env=False,
                headers={"accept-encoding": "identity", "user-agent": "waypost"},
            )
        return self._client


def _stream_timeout(timeout_s: float) -> "httpx2.Timeout":
    import httpx2

    return httpx2.Timeout(timeout_s, read=SILENCE_S)


def _read_json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unavailable("it answers with no JSON: is it a Waypost service?") from None


def _read_failure(response: "httpx2.Response", body: bytes) -> ServiceRefused | Unavailable:
    """Return what an answer that is no success means."""
    status = response.status_code
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Unavailable(f"it answers {status} without a reason: is it a Waypost service?")
    if status in BUSY_STATUSES:
        after = response.headers.get("retry-after", "")
        wait_s = int(after) if SECONDS.fullmatch(after) else 0
        return Busy(f"it answers {status}: {problem.detail}", wait_s)
    return ServiceRefused(problem.type, problem.detail, problem.values)


async def _read_events(response: "httpx2.Response") -> AsyncIterator[Event]:
    """Yield the events of a stream. Raises `Unavailable` where one is too long, or no JSON."""
    waiting = b""
    name, last_id = "message", ""
    data = b""
    async for piece in response.aiter_raw():
        *lines, waiting = (waiting + piece).replace(b"\r\n", b"\n").split(b"\n")
        if len(waiting) > MAX_EVENT_BYTES:
            raise _too_long()
        for line in lines:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                name = value.decode()
            elif field == b"id":
                last_id = value.decode()
            elif field == b"data":
                data += value + b"\n"
                if len(data) > MAX_EVENT_BYTES:
                    raise _too_long()
            elif not line:
                if data:
                    yield Event(name, _read_json(data), last_id)
                name, data = "message", b""


def _too_long() -> Unavailable:
    return Unavailable(f"an event has more than {MAX_EVENT_BYTES} bytes")
