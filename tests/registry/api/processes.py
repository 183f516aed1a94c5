"""A real web process, over a ledger in memory behind a real socket, and raw HTTP."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from registry.ipc import Server
from tests.processes import read_memory
from tests.registry.api.fake_ledger import FakeLedger

PATIENCE_S = 20
"""How long anything may take on a busy machine."""


class LedgerProcess:
    """`FakeLedger` behind a Unix socket, on a loop in a thread of its own."""

    def __init__(self, path: Path, ledger: FakeLedger | None = None) -> None:
        self.ledger = ledger or FakeLedger()
        self._path = path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self.start()

    def run(self, coroutine: Any) -> Any:
        """Run something on its loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S)

    def start(self) -> Server:
        """Begin to answer; after `stop`, again."""
        self._server = Server(self.ledger.handlers(), self.ledger.greeting)
        self.run(self._server.start(self._path))
        return self._server

    def stop(self) -> None:
        """Stop answering, as if the process had ended."""
        self.run(self._server.close())

    def push(self, view: dict[str, Any], nodes: Any = None) -> None:
        """Push a view to whoever subscribed, behind nodes if there are any."""

        async def push() -> None:
            self.ledger.view = view
            if nodes is not None:
                self._server.push("nodes", nodes)
            self._server.push("view", view)

        self.run(push())

    def end(self) -> None:
        """Stop, and end the thread."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()


class Web:
    """A web process that runs."""

    def __init__(self, folder: Path, *arguments: str, pass_fds: Sequence[int] = ()) -> None:
        where = ["--socket", str(folder / "s"), "--publish", str(folder / "publish")]
        if "--fd" not in arguments and "--listen" not in arguments:
            where += ["--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "registry.web_process", *where, *arguments],
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
        )
        assert self.process.stderr is not None
        self.lines = self.process.stderr
        self.first = self.lines.readline()
        self.port = 0
        with contextlib.suppress(ValueError):
            self.port = json.loads(self.first)["port"]

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def wait(self) -> tuple[int, str]:
        """Return exit code and the rest of what it said, once it has ended."""
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said

    def connect(self, receive_buffer: int = 0, source: str = "127.0.0.1") -> socket.socket:
        """Open a connection from an address; a small buffer makes a reader slow."""
        sock = socket.socket()
        sock.bind((source, 0))
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(PATIENCE_S)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def ask(self, request: str, headers: str = "", body: bytes = b"") -> "Answer":
        """Send one request over a connection of its own."""
        with self.connect() as sock:
            sock.sendall(head_of(request, f"{headers}Connection: close\r\n") + body)
            return Answer.read(sock)

    def wait_for(self, request: str, is_right: Callable[["Answer"], bool]) -> "Answer":
        """Ask until the answer is right."""
        pause = threading.Event()
        for _ in range(PATIENCE_S * 20):
            answer = self.ask(request)
            if is_right(answer):
                return answer
            pause.wait(0.05)
        raise AssertionError(f"{request} never became right: {answer}")

    def memory(self) -> int:
        """Return the bytes that it holds in memory."""
        return read_memory(self.process.pid)


def head_of(request: str, headers: str = "") -> bytes:
    """The head of a request, given as "GET /path"."""
    return f"{request} HTTP/1.1\r\nHost: test\r\n{headers}\r\n".encode()


class Answer(NamedTuple):
    """An answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def read(cls, sock: socket.socket) -> "Answer":
        """Read until the far side closes."""
        raw = b""
        while piece := sock.recv(65_536):
            raw += piece
        return cls.parse(raw)

    @classmethod
    def parse(cls, raw: bytes) -> "Answer":
        """Cut an answer that is whole into its parts."""
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return cls(int(first.split(" ")[1]), headers, body)

    @property
    def code(self) -> str:
        """The code of a problem."""
        assert self.headers["content-type"] == "application/problem+json"
        return str(json.loads(self.body)["type"])


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder whose name is short enough for a Unix socket in it."""
    with tempfile.TemporaryDirectory(prefix="wp") as name:
        yield Path(name)


@contextlib.contextmanager
def web_process(*arguments: str, view: bool = True) -> Iterator[tuple[Web, LedgerProcess]]:
    """A web process over a ledger; without `view`, the ledger is not there yet."""
    with folder() as place:
        ledger = LedgerProcess(place / "s")
        if not view:
            ledger.stop()
        web = Web(place, *arguments)
        try:
            assert web.port, web.first
            if view:
                web.wait_for("GET /health/ready", lambda answer: "no view" not in str(answer.body))
            yield web, ledger
        finally:
            if web.process.poll() is None:
                web.process.kill()
            web.process.communicate()
            ledger.end()
