"""A source of lists on this machine that serves, lies, or never comes to an end."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

from tests.registry.client.factory import MadeList

Answer: TypeAlias = bytes | int | Callable[[BaseHTTPRequestHandler], None]
"""A body, a status without one, or a function that writes to the connection itself."""


class Source:
    """What a running source answers, by path; another path is a 404."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        """The paths that were asked for, in order."""

    def serve(self, made: MadeList) -> None:
        """Answer like an honest source whose newest final list this is."""
        self.answers["/v1/lists/latest"] = made.signed
        self.answers[f"/v1/lists/{made.header.epoch}/full"] = made.full


@contextmanager
def run_source() -> Iterator[Source]:
    """Run a source on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
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


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        source: Source = self.server.source  # type: ignore[attr-defined]
        source.asked.append(self.path)
        answer = source.answers.get(self.path, 404)
        try:
            if callable(answer):
                answer(self)
            elif isinstance(answer, int):
                send(self, b"", status=answer)
            else:
                send(self, answer)
        except OSError:
            self.close_connection = True  # the client has had enough

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
