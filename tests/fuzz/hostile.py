"""What attackers send, and somebody who asks as usual meanwhile.

Steady        asks every face of the web process over and over, and sends transactions
Memory        what the processes of a service hold, and how much that grew
send_raw      bytes over a connection of one's own, and all that comes back
drip          bytes so slowly that nobody waits for them
MALFORMED     requests that are none, and bodies that are not what they say, by name
"""

import asyncio
import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx2
import msgspec

from ledger.crypto import sha256
from tests.fuzz.lived import Lived
from tests.registry.api.processes import Answer, head_of

PATIENCE_S: Final = 60.0

SOURCES: Final = (
    f"127.{a}.{b}.{c}" for a in range(20, 30) for b in range(256) for c in range(1, 255)
)
"""Addresses of attackers, each used once."""


class Steady:
    """A client from an address of its own that is served as if nothing happened."""

    FACES: Final = (
        ("GET", "/v1/network"),
        ("GET", "/v1/lists/latest/full"),
        ("GET", "/v1/nodes?limit=5"),
        ("GET", "/nodes?q=5.6.7.8"),
        ("GET", "/search?q=1"),
        ("GET", "/health/live"),
        ("POST", "/json_rpc"),
    )
    """A path of each face."""

    PAUSE_S: Final = 0.1
    LEAST: Final = 3
    """Times that each face is asked, and events that are waited for."""

    def __init__(self, service: Lived, source: str = "127.0.9.1") -> None:
        self._service = service
        self._source = source
        self._client = httpx2.Client(
            base_url=service.url,
            timeout=PATIENCE_S,
            trust_env=False,
            transport=httpx2.HTTPTransport(local_address=source),
        )
        self._going = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.served: Counter[str] = Counter()
        self.refused: list[str] = []
        self.sent: list[bytes] = []
        self.streamed = 0
        """Events that arrived."""

    def __enter__(self) -> "Steady":
        """Begin."""
        self._service.follow()
        self._service.network.forget_sent()
        # made before the thread starts: the test's copy of the chain is used by one at a time
        self._raws = iter(
            [self._service.network.transfer("ivan", "judy", **self._service.terms)
             for _ in range(600)]
        )  # fmt: skip
        self._service.network.forget_sent()
        self._stream = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self._stream.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, and see that everybody was served, and that nothing that was accepted is lost."""
        self._going.set()
        self._thread.join(PATIENCE_S)
        self._stream.join(PATIENCE_S)
        if kind is None:
            assert not self.refused, self.refused[:5]
            assert {path for _, path in self.FACES} <= self.served.keys(), self.served
            assert min(self.served.values()) >= self.LEAST, self.served
            assert self.streamed >= self.LEAST
            assert self.sent
            for raw in self.sent:
                assert self._find(raw)["state"] == "committed"
        self._client.close()

    def _run(self) -> None:
        for turn in itertools.count():
            for method, path in self.FACES:
                self._ask(method, path)
            if turn % 5 == 0:
                self._send()
            # what happens meanwhile may be over sooner
            if self._going.wait(self.PAUSE_S) and turn + 1 >= self.LEAST:
                return

    def _ask(self, method: str, path: str) -> None:
        try:
            body = {"method": "get_service_nodes", "params": {"limit": 2}}
            answer = self._client.request(method, path, json=body if method == "POST" else None)
        except httpx2.HTTPError as error:
            self.refused.append(f"{path}: {error!r}")
            return
        if answer.status_code == 200:
            self.served[path] += 1
        else:
            self.refused.append(f"{path}: {answer.status_code} {answer.text[:200]}")

    def _send(self) -> None:
        raw = next(self._raws)
        body = {"transaction": raw.hex()}
        answer = self._client.post("/v1/transactions", json=body)
        if answer.status_code in (200, 202):
            self.sent.append(raw)
        else:
            self.refused.append(f"a transfer: {answer.status_code} {answer.text[:200]}")

    def _listen(self) -> None:
        try:
            with self._client.stream("GET", "/v1/events") as answer:
                for line in answer.iter_lines():
                    self.streamed += line.startswith("event: block")
                    if self._going.is_set() and self.streamed >= self.LEAST:
                        return
        except httpx2.HTTPError as error:
            self.refused.append(f"the stream: {error!r}")

    def _find(self, raw: bytes) -> Any:
        pause = threading.Event()
        for _ in range(200):
            found = self._client.get(f"/v1/transactions/{sha256(raw).hex()}").json()
            if found.get("state") == "committed":
                break
            pause.wait(0.1)
        return found


class Memory:
    """The memory of the web and the ledger process, from now on."""

    MODULES: Final = ("web_process", "ledger_process")

    def __init__(self, service: Lived) -> None:
        self._pids = {module: service.pid_of(module) for module in self.MODULES}
        self._before = self.read()

    def read(self) -> dict[str, int]:
        """Return the bytes that each holds."""
        return {module: self._read(pid) for module, pid in self._pids.items()}

    def grown(self) -> dict[str, int]:
        """Return by how many bytes each grew."""
        return {module: size - self._before[module] for module, size in self.read().items()}

    def _read(self, pid: int) -> int:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        (kilobytes,) = (line.split()[1] for line in status.splitlines() if "VmRSS" in line)
        return 1_024 * int(kilobytes)


# ---------------------------------------------------------------------------------- sending


@contextlib.asynccontextmanager
async def connected(service: Lived, source: str = "") -> Any:
    """A connection from an address that nobody else has."""
    local = (source or next(SOURCES), 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, local_addr=local)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def send_raw(service: Lived, sent: Iterable[bytes] | bytes, source: str = "") -> bytes:
    """Send bytes, and return all that comes until the far side closes."""
    async with connected(service, source) as (reader, writer):
        with contextlib.suppress(OSError):
            for piece in [sent] if isinstance(sent, bytes) else sent:
                writer.write(piece)
                await writer.drain()
        return await read_all(reader)


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Return all that comes; a far side that resets says no more."""
    raw = bytearray()
    with contextlib.suppress(OSError):
        async with asyncio.timeout(PATIENCE_S):
            while piece := await reader.read(65_536):
                raw += piece
    return bytes(raw)


async def drip(service: Lived, first: bytes, rest: bytes, pause_s: float, limit_s: float) -> bytes:
    """Send a beginning, then a byte now and then, until the far side closes; return its words."""
    async with connected(service) as (reader, writer):
        reading = asyncio.create_task(read_all(reader))
        writer.write(first)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(limit_s):
                for byte in itertools.cycle(rest):
                    if reading.done():
                        break
                    writer.write(bytes((byte,)))
                    await asyncio.sleep(pause_s)
        assert reading.done(), "it still waits"
        return await reading


def post(path: str, body: bytes, media: str = "application/json", headers: str = "") -> bytes:
    """A request with a body."""
    length = f"Content-Length: {len(body)}\r\n"
    return head_of(f"POST {path}", f"Content-Type: {media}\r\n{length}{headers}") + body


def get(target: str, headers: str = "") -> bytes:
    """A request without one, whose target is sent as it is."""
    return f"GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode("latin-1")


CLOSE: Final = "Connection: close\r\n"
PACKED: Final = "application/msgpack"
POSTS: Final = ("/v1/transactions", "/v1/reports", "/v1/reports/check", "/v1/verdicts",
                "/v1/checkins", "/json_rpc")  # fmt: skip
"""Every path that takes a body."""


def _bodies() -> Iterator[tuple[str, str, bytes]]:
    """Name, media type and bytes of bodies that are not what they should be."""
    deep = 200_000
    json, packed = "application/json", PACKED
    yield "nothing", json, b""
    yield "no JSON", json, b"\x00\xff{"
    yield "JSON that is deep", json, b"[" * deep
    yield "JSON objects that are deep", json, b'{"a":' * deep
    yield "JSON that is deep and whole", json, b"[" * deep + b"]" * deep
    yield "a number that is long", json, b'{"transaction":' + b"9" * 1_000_000 + b"}"
    yield "a number with an exponent", json, b'{"transaction":1e999999999}'
    yield "wrong UTF-8", json, b'{"transaction":"\xff\xfe\xed\xa0\x80"}'
    yield "half a surrogate", json, b'{"transaction":"\\ud800"}'
    yield "a text that is long", json, b'{"transaction":"' + b"a" * 3_900_000 + b'"}'
    yield "a key a million times", json, b'{"a":1' + b',"a":1' * 500_000 + b"}"
    yield "arrays of nothing", json, b'{"transactions":[' + b"[]," * 900_000 + b"[]]}"
    yield "empty texts", json, b'{"transactions":[' + b'"",' * 900_000 + b'""]}'
    yield "null", json, b"null"
    yield "NaN", json, b'{"vote":NaN}'
    yield "an array of four thousand millions", packed, b"\xdd\xff\xff\xff\xff"
    yield "a map of four thousand millions", packed, b"\xdf\xff\xff\xff\xff"
    yield "a binary of four thousand millions", packed, b"\xc6\xff\xff\xff\xff"
    yield "an array in an array in an array", packed, b"\x91" * 1_000_000
    yield "bombs in a row", packed, b"\xdd\x00\xff\xff\xff" * 100_000
    yield "an extension", packed, b"\xc9\xff\xff\xff\xff\x01"
    yield "a timestamp", packed, b"\xd7\xff" + b"\xff" * 8
    yield "a million binaries of nothing", packed, b"\xdd\x00\x0f\x42\x40" + b"\xc4\x00" * 1_000_000
    yield "rubbish", packed, bytes(range(256)) * 1_000
    yield "half of something", packed, msgspec.msgpack.encode([b"x" * 1_000])[:-1]
    yield "another type", "text/plain", b"{}"
    yield "a type that is long", "x" * 20_000, b"{}"


def _requests() -> Iterator[tuple[str, bytes]]:
    """Requests that are not HTTP, or try what a parser might take in two ways."""
    yield "no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "a method that is long", b"A" * 40_000
    yield "a target that is long", get("/" + "a" * 40_000)
    yield "a header that is long", get("/v1/network", "X: " + "a" * 40_000 + "\r\n")
    yield "ten thousand headers", get("/v1/network", "X: 1\r\n" * 10_000)
    yield "a header without a name", get("/v1/network", ": 1\r\n" + CLOSE)
    yield "a header with a zero byte", get("/v1/network", "X: a\0b\r\n" + CLOSE)
    yield "a header with a line feed", get("/v1/network", "X: a\nY: b\r\n" + CLOSE)
    yield "no host", b"GET /v1/network HTTP/1.1\r\nConnection: close\r\n\r\n"
    yield "a negative length", b"POST /json_rpc HTTP/1.1\r\nContent-Length: -1\r\n\r\n"
    yield (
        "two lengths",
        (
            b"POST /json_rpc HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 40\r\n"
            b"Connection: close\r\n\r\n{}"
        ),
    )
    yield (
        "a length and chunks",
        (
            b"POST /json_rpc HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n"
            b"Connection: close\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n"
        ),
    )
    yield (
        "a chunk of all there is",
        (b"POST /json_rpc HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}"),
    )
    yield (
        "a chunk that is no number",
        (b"POST /json_rpc HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
    )
    yield (
        "a length past all that is",
        (b"POST /json_rpc HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n{}"),
    )
    yield "an upgrade", get("/v1/network", "Connection: upgrade\r\nUpgrade: websocket\r\n")
    for name, target in {
        "a path up": "/../../../../etc/passwd",
        "a path up in hex": "/%2e%2e/%2e%2e/etc/passwd",
        "a static path up": "/static/../../../etc/passwd",
        "a static path up in hex": "/static/..%2f..%2f..%2fetc%2fpasswd",
        "a list path up": "/v1/lists/..%2f..%2fgenesis/full",
        "wrong UTF-8 in a path": "/v1/nodes/%ff%fe%00",
        "bytes in a path": "/v1/nodes/\xff\xfe",
        "a zero byte in a path": "/v1/nodes/%00",
        "an epoch of many digits": "/v1/epochs/" + "9" * 10_000,
        "a height past all": "/v1/blocks/99999999999999999999",
        "a limit past all": "/v1/nodes?limit=" + "9" * 5_000,
        "a cursor that is long": "/v1/nodes?cursor=" + "A" * 30_000,
        "a cursor of another": "/v1/reports?cursor=AAAAAAAAAAAAAAAAAAAA",
        "ten thousand parameters": "/v1/nodes?" + "a&" * 10_000,
        "markup in a search": "/search?q=%3Cscript%3Ealert(1)%3C/script%3E",
        "a search that is long": "/search?q=" + "a" * 20_000,
        "wrong UTF-8 in a search": "/search?q=%ff%fe%ed%a0%80",
        "markup in a filter": "/nodes?q=%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E&page=-1",
        "a page of many digits": "/nodes?page=" + "9" * 5_000,
        "another site": "http://example.org/v1/network",
        "a star": "*",
    }.items():
        yield name, get(target, CLOSE)


def _list_malformed() -> dict[str, bytes]:
    found = dict(_requests())
    for name, media, body in _bodies():
        for path in POSTS:
            found[f"{name} to {path}"] = post(path, body, media, CLOSE)
    return found


MALFORMED: Final = _list_malformed()


def read_answers(raw: bytes) -> list[Answer]:
    """Return the answers that came over a connection, the last of which may be cut off."""
    found = []
    while raw.startswith(b"HTTP/1.1 "):
        head, _, rest = raw.partition(b"\r\n\r\n")
        answer = Answer.parse(head + b"\r\n\r\n")
        size = int(answer.headers.get("content-length", len(rest)))
        found.append(answer._replace(body=rest[:size]))
        raw = rest[size:]
    return found
