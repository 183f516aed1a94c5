"""Where a service listens."""

import errno
import socket
from typing import Final

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
