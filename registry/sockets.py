"""Where a service listens, and where its processes do."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ledger.errors import WaypostError

BACKLOG: Final = 1_024
"""Connections that may wait to be accepted."""


class CannotListen(WaypostError):
    """Another program listens where this service was told to, or nobody can."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises `CannotListen`, which names it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(f"port {port} is taken: choose another with --port") from None
        raise CannotListen(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return listening


def bind_unix(path: Path) -> socket.socket:
    """Return a new Unix socket at `path` that only this user can open: its mode is 600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old_mask = os.umask(0o177)
    try:
        bound.bind(str(path))
    except BaseException:
        bound.close()
        raise
    finally:
        os.umask(old_mask)
    return bound


class UnixListener:
    """A listening Unix socket of mode 600, and the file that it is."""

    def __init__(self, path: Path, server: asyncio.Server) -> None:
        self._path = path
        self._inode = path.stat().st_ino
        self._server = server

    @classmethod
    async def start(
        cls, path: Path, accept: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]
    ) -> "UnixListener":
        """Listen on a new socket at `path`; `accept` gets each connection."""
        return cls(path, await asyncio.start_unix_server(accept, sock=bind_unix(path)))

    def close(self) -> None:
        """Stop listening, and remove the socket."""
        with contextlib.suppress(FileNotFoundError):
            # a process that started meanwhile may listen there now
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        self._server.close()
