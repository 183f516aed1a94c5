"""The web process: HTTP on one event loop, from the view that the ledger process pushes.

    python -m registry.web_process --socket PATH (--listen HOST:PORT | --fd N) --publish DIR
        [--limits JSON]

- It holds nothing but the newest view, and asks the ledger process over `--socket` for the rest.
  When that process starts again, it connects again.
- It stops on SIGTERM, on SIGINT, and when `--lifeline` ends: streams end at once, other answers
  get `STOP_S` to finish.
- Its first log line is `listening`, with the port. Exit code 4: there is nowhere to listen.
"""

import argparse
import asyncio
import contextlib
import resource
import socket
import sys
from collections.abc import AsyncIterator, Generator, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from registry.api.app import App, make_app
from registry.api.ports import OnEvent
from registry.api.wire import STALL_S, BoundedHttp
from registry.ipc import Connection, Lost
from registry.lifeline import NONE, until_stopped
from registry.logs import set_up_logs
from registry.settings import ClientLimits
from registry.sockets import BACKLOG, CannotListen, listen
from registry.web import pages

EXIT_TAKEN: Final = 4
STOP_S: Final = 5
"""Seconds that answers under way get when the process stops."""

IDLE_S: Final = 15
"""Seconds for which a connection stays open between two requests."""

MAX_CONNECTIONS: Final = 2_000
OTHER_FILES: Final = 200
"""Descriptors for all but connections."""

RECONNECT_S: Final = 0.2
"""Seconds between two tries to reach the ledger process."""

log = structlog.get_logger()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the web process; return its exit code."""
    options = _parse(argv)
    set_up_logs("web")
    try:
        listening = listen(*options.listen) if options.listen else socket.socket(fileno=options.fd)
    except (CannotListen, OSError) as error:
        print(error, file=sys.stderr)
        return EXIT_TAKEN
    link = Link(options.socket)
    app = make_app(link, options.publish, lifespan=link.lifespan, limits=options.limits)
    pages.install(app.framework, app.live)
    serve(app, listening, options.lifeline)
    return 0


# ------------------------------------------------------------------------------- listening


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="waypost-web")
    parser.add_argument("--socket", type=Path, required=True, help="of the ledger process")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--listen", type=_host_and_port, metavar="HOST:PORT")
    where.add_argument("--fd", type=int, metavar="N", help="a listening socket, handed over")
    parser.add_argument("--publish", type=Path, required=True, help="directory of list files")
    parser.add_argument(
        "--limits",
        type=ClientLimits.model_validate_json,
        default=ClientLimits(),
        metavar="JSON",
        help="what each client address gets",
    )
    parser.add_argument("--lifeline", type=int, default=NONE, help="stop when this ends")
    return parser.parse_args(argv)


def _host_and_port(text: str) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:8420` or `[::1]:8420`; port 0 means any."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text}: say HOST:PORT, as in 127.0.0.1:8420")
    return host.removeprefix("[").removesuffix("]"), int(port)


# -------------------------------------------------------------------------------- the link


class Link:
    """The way to the ledger process (`api.ports.Ledger`), kept open for as long as it can be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: Connection | None = None
        self._on_event: OnEvent = lambda _event, _payload: None

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._connection is not None

    async def call(self, method: str, *arguments: Any) -> Any:
        """Return what the ledger process answers. Raises `Lost` without a connection."""
        if self._connection is None:
            raise Lost(f"nobody answers at {self._path}")
        return await self._connection.call(method, *arguments)

    def subscribe(self, on_event: OnEvent) -> None:
        """Have pushes handed to `on_event`, over each connection that there will be."""
        self._on_event = on_event

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Keep the link for as long as the server runs."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(Lost):
                await self._hold(await Connection.open(self._path))
                log.warning("ledger process lost")
            await asyncio.sleep(RECONNECT_S)

    async def _hold(self, connection: Connection) -> None:
        """Use a connection until it ends."""
        self._connection = connection
        try:
            connection.subscribe(self._on_event)
            log.info("ledger process reached")
            await connection.wait_closed()
        finally:
            self._connection = None
            await connection.close()


# ------------------------------------------------------------------------------ the server


def serve(app: App, listening: socket.socket, lifeline: int = NONE) -> None:
    """Serve until a signal, or until the lifeline ends."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # each connection inherits it: a peer that reads nothing keeps no closed connection alive
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1_000 * STALL_S)
    host, port = listening.getsockname()[:2]
    log.info("listening", host=host, port=port)
    uvloop.run(_serve(app, listening, lifeline))
    log.info("stopped")


async def _serve(app: App, listening: socket.socket, lifeline: int) -> None:
    config = uvicorn.Config(
        app,
        http=BoundedHttp,
        # of no effect with httptools, but right if somebody changes that
        h11_max_incomplete_event_size=2**15,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_make_room(MAX_CONNECTIONS),
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=STOP_S,
    )
    server = _Server(config, app)
    stop = until_stopped(lifeline)
    stop.add_done_callback(lambda _: server.stop())
    try:
        await server.serve(sockets=[listening])
    finally:
        stop.cancel()


def _make_room(connections: int) -> int:
    """Have descriptors for so many connections; return how many the system lets there be.

    Without one nobody can be turned away either: connections would wait and never be accepted.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning("few connections", open_files=allowed, connections=allowed - OTHER_FILES)
    return max(1, allowed - OTHER_FILES)


class _Server(uvicorn.Server):
    """uvicorn's server, which ends streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self._app = app

    def stop(self) -> None:
        """Begin to stop."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go of everybody who waits for something to happen, then of all the others."""
        self._app.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to `until_stopped`: uvicorn raises them again, and that is no clean end."""
        yield


if __name__ == "__main__":
    sys.exit(main())
