"""A source of lists on this machine that serves, lies, or never comes to an end."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any, Final, TypeAlias

from registry.formats.ladder import list_starts
from tests.registry.client.factory import MadeList

Answer: TypeAlias = bytes | int | Callable[[BaseHTTPRequestHandler], None]
"""A body, a status without one, or a function that writes to the connection itself."""

SEND_BUFFER: Final = 2**16
"""What a source hands to the system before anybody has read it, so that little more than what a
client takes is counted as sent."""


class Source:
    """What a running source answers, by path; another path is a 404."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        """The paths that were asked for, in order."""
        self.made: dict[str, MadeList] = {}
        """Lists to which there are trust paths, by epoch."""
        self.only_ladder = False
        """Whether, as on a mirror, paths begin at genesis or 1, 2, 4, … epochs before only."""
        self.ahead_s = 0
        """How far its clock is ahead."""
        self.sent = 0
        """Bytes of all answers, heads included."""
        self.cut_off: list[str] = []
        """The paths whose answers the client did not want to the end."""

    def serve(self, made: MadeList) -> None:
        """Answer like an honest source whose newest final list this is."""
        self.answers["/v1/lists/latest"] = made.signed
        self.add(made)

    def add(self, made: MadeList) -> None:
        """Answer for a list that is not the newest."""
        epoch = str(made.header.epoch)
        self.answers[f"/v1/lists/{epoch}"] = made.signed
        self.answers[f"/v1/lists/{epoch}/full"] = made.full
        self.made[epoch] = made

    def find(self, path: str) -> Answer:
        """Return what is answered for a path."""
        trust = re.fullmatch(r"/v1/trust/(\d+)(?:\?from=(\d+))?", path)
        if path in self.answers or trust is None or trust[1] not in self.made:
            return self.answers.get(path, 404)
        held = None if trust[2] is None else int(trust[2])
        made = self.made[trust[1]]
        if self.only_ladder and held is not None and held not in list_starts(made.header.epoch):
            return 404
        return made.path(None if held == made.header.epoch else held)


@contextmanager
def run_source() -> Iterator[Source]:
    """Run a source on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.socket.setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER)
    source = Source(f"http://127.0.0.1:{server.server_address[1]}")
    server.source = source  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield source
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()


class _Counted:
    """A stream that tells its source how much was written."""

    def __init__(self, source: Source, stream: Any) -> None:
        self._source = source
        self._stream = stream

    def write(self, data: bytes) -> None:
        self._stream.write(data)
        self._source.sent += len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Handler(BaseHTTPRequestHandler):
    def setup(self) -> None:
        super().setup()
        self.source: Source = self.server.source  # type: ignore[attr-defined]
        self.wfile = _Counted(self.source, self.wfile)  # type: ignore[assignment]

    def do_GET(self) -> None:
        source = self.source
        source.asked.append(self.path)
        answer = source.find(self.path)
        try:
            if callable(answer):
                answer(self)
            elif isinstance(answer, int):
                send(self, b"", status=answer)
            else:
                send(self, answer)
        except OSError:
            self.close_connection = True  # the client has had enough
            source.cut_off.append(self.path)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The time that this source says it is."""
        now = time.time() if timestamp is None else timestamp
        return super().date_time_string(now + self.source.ahead_s)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    """Answer with a body; `content_encoding="gzip"` adds a header."""
    handler.send_response(status)
    for name, value in {"content_length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def send_without_end(handler: BaseHTTPRequestHandler) -> None:
    """Answer with zeros for as long as somebody listens."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(65536))


def send_hints_without_end(handler: BaseHTTPRequestHandler) -> None:
    """Answer with one head after another that says that the answer will come."""
    while True:
        handler.wfile.write(
            b"HTTP/1.1 103 Early Hints\r\nlink: " + bytes([120]) * 60_000 + b"\r\n\r\n"
        )


def drip(
    parts: Callable[[], Iterator[bytes]], stop: threading.Event
) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with raw parts, one every 50 ms."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        for part in parts():
            handler.wfile.write(part)
            handler.wfile.flush()
            if stop.wait(0.05):
                return

    return answer
