"""A service of a test's own on this machine: it answers what the test says, or does not."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, TypeAlias

JSON = "application/json"


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    """With the query."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        """What the body says."""
        return json.loads(self.body)


class Said(NamedTuple):
    """One answer."""

    status: int
    body: bytes
    headers: dict[str, str]


Answer: TypeAlias = Said | Callable[[BaseHTTPRequestHandler], None]
"""An answer, or a function that writes to the connection itself."""


def said(value: Any, status: int = 200, **headers: str) -> Said:
    """An answer in JSON, or bytes as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Said(status, body, {name.replace("_", "-"): text for name, text in headers.items()})


def problem(code: str, status: int = 422, **values: Any) -> Said:
    """A problem as services answer it."""
    fields = {"type": code, "title": code, "status": status, "detail": f"about {code}"}
    return said(fields | {"values": values}, status)


class SmallService:
    """What a running service answers by method and path without a query, else a 404 problem."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, Answer | Callable[[Asked], Answer]] = {}
        self.asked: list[Asked] = []

    def paths(self, method: str = "GET") -> list[str]:
        """The paths that were asked for, in order."""
        return [asked.path for asked in self.asked if asked.method == method]

    def find(self, asked: Asked) -> Answer:
        """Return what is answered to a request."""
        found = self.answers.get(f"{asked.method} {asked.path.partition('?')[0]}")
        if found is None:
            return self.answer_else(asked)
        return found if isinstance(found, Said) else found(asked)  # type: ignore[arg-type,return-value]

    def answer_else(self, asked: Asked) -> Answer:
        """Return what is answered where the test said nothing."""
        return problem("not_found", 404)


@contextmanager
def running(make: Callable[[str], Any] = SmallService) -> Iterator[Any]:
    """Run a service on a free port; `make` gets its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    service = make(f"http://127.0.0.1:{server.server_address[1]}")
    server.service = service  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        service: SmallService = self.server.service  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(method, self.path, headers, body)
        service.asked.append(asked)
        answer = service.find(asked)
        try:
            if isinstance(answer, Said):
                self.send_response(answer.status)
                for name, value in (
                    {"content-length": str(len(answer.body))} | answer.headers
                ).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)
            else:
                answer(self)
                self.close_connection = True
        except OSError:
            self.close_connection = True  # the client has had enough

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
