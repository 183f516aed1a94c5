"""One address, with the connections to it.

A Unix socket has mode 600. `curve:` has the node's X25519 key, which lists show, so that clients
need no other; whoever knows that key may connect.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from nacl import bindings

from ledger.crypto import KeyPair, convert_to_x25519
from registry.oxenmq.addresses import Place, Scheme
from registry.oxenmq.allowance import Peer
from registry.oxenmq.connections import Connections
from registry.oxenmq.curve import Curve
from registry.oxenmq.wire import Parts
from registry.oxenmq.zmtp import Mechanism, Null
from registry.sockets import CannotListen, UnixListener, bind_unix

BACKLOG: Final = 32
"""Connections that may wait to be accepted."""


class Listener:
    """A socket that listens."""

    def __init__(
        self, place: Place, server: UnixListener | asyncio.Server, connections: Connections
    ) -> None:
        self._place = place
        self._server = server
        self.connections = connections

    @classmethod
    async def start(
        cls,
        number: int,
        place: Place,
        node_key: KeyPair,
        take: Callable[[Peer, Parts | None], None],
        lost: Callable[[Peer], None],
        monotonic: Callable[[], float],
    ) -> "Listener":
        """Listen. Raises `CannotListen`."""
        make_mechanism = _choose_mechanism(place, node_key)
        connections = Connections(number, make_mechanism, take, lost, monotonic)
        loop = asyncio.get_running_loop()
        try:
            if place.scheme is Scheme.IPC:
                path = Path(place.host)
                if _is_listening(path):
                    raise CannotListen(f"cannot listen on {place}: another program does")
                server = await loop.create_unix_server(
                    connections.make, sock=bind_unix(path), backlog=BACKLOG
                )
                return cls(place, UnixListener(path, server), connections)
            server = await loop.create_server(
                connections.make, place.host, place.port, backlog=BACKLOG
            )
        except OSError as error:
            raise CannotListen(f"cannot listen on {place}: {error.strerror}") from None
        port = server.sockets[0].getsockname()[1]
        return cls(place._replace(port=port), server, connections)

    @property
    def address(self) -> str:
        """Where it listens, with the port that it got."""
        return str(self._place)

    def close(self) -> None:
        """Stop listening, and end all connections."""
        self._server.close()
        self.connections.cut_all()


def _choose_mechanism(place: Place, node_key: KeyPair) -> Callable[[], Mechanism]:
    if place.scheme is not Scheme.CURVE:
        return Null
    secret = bindings.crypto_sign_ed25519_sk_to_curve25519(node_key.secret)
    return partial(Curve, convert_to_x25519(node_key.public), secret)


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        # one that accepts nobody would have us wait
        sock.setblocking(False)
        return sock.connect_ex(str(path)) in (0, errno.EAGAIN)
