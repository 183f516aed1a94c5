"""One address with its socket: a ROUTER, which tells each far side by an identity.

Each address has a socket of its own, so that nobody can take the identity, or the place in a queue,
of a program that comes another way.

A Unix socket has mode 600. A socket of `curve:` has the node's X25519 key, which lists show, so
that clients need no other; whoever knows that key may connect.
"""

import contextlib
import ctypes
import os
import secrets
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nacl import bindings

from ledger.crypto import KeyPair, convert_to_x25519
from ledger.errors import Fault
from registry.oxenmq.addresses import Place, Scheme, is_loopback
from registry.oxenmq.allowance import Peer
from registry.oxenmq.connections import COUNTED_BYTES, Connections, Unread
from registry.oxenmq.wire import MAX_PART_BYTES, MAX_PARTS, Parts
from registry.sockets import CannotListen

if TYPE_CHECKING:
    import zmq.asyncio

MAX_WAITING_IN: Final = 64
"""Messages of one connection that wait to be taken."""

MAX_WAITING_OUT: Final = 256
"""Messages that wait until one connection's far side reads them."""

HANDSHAKE_MS: Final = 10_000
HEARTBEAT_MS: Final = 15_000
"""Time after which a silent far side is asked for a sign of life; it has as long again."""

ACCEPTED, CLOSED, DISCONNECTED = 0x20, 0x80, 0x200
"""Events of libzmq's monitor."""

_EVENT: Final = struct.Struct("=HI")
"""An event, and the descriptor that it is about."""


class Message(NamedTuple):
    """A message, and where it came from."""

    peer: Peer
    descriptor: int
    parts: Parts


def open_context() -> "zmq.asyncio.Context":
    """Return what sockets are made with. Raises a `Fault` where pyzmq is not installed."""
    try:
        import zmq.asyncio
    except ImportError:
        raise Fault("OxenMQ needs pyzmq: pip install 'waypost[oxenmq]'") from None
    # Identities are counted from a number that libzmq draws from a generator which nobody seeds.
    # Who knows it makes two connections have one identity, and libzmq then ends the process.
    ctypes.CDLL(None).srand(secrets.randbits(32))
    return zmq.asyncio.Context()


class Listener:
    """One address; messages in, messages out."""

    def __init__(
        self,
        number: int,
        place: Place,
        node_key: KeyPair,
        context: "zmq.asyncio.Context",
        monotonic: Callable[[], float],
    ) -> None:
        """Listen. Raises `CannotListen`."""
        import zmq

        self._zmq = zmq
        self._number = number
        self._place = place
        self._socket = context.socket(zmq.ROUTER)
        self._monitor: Any = None
        self.connections = Connections(self._is_ours)
        self.unread = Unread(self.connections.cut, monotonic)
        try:
            self._set_options(node_key)
            self._monitor = self._socket.get_monitor_socket(ACCEPTED | CLOSED | DISCONNECTED)
            self._bind()
        except zmq.ZMQError as error:
            self.close()
            raise CannotListen(f"cannot listen on {place}: {error.strerror}") from None
        except BaseException:
            self.close()
            raise

    def _set_options(self, node_key: KeyPair) -> None:
        zmq, sock = self._zmq, self._socket
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.MAXMSGSIZE, MAX_PART_BYTES)
        sock.setsockopt(zmq.RCVHWM, MAX_WAITING_IN)
        sock.setsockopt(zmq.SNDHWM, MAX_WAITING_OUT)
        sock.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        sock.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_MS)
        # Whom nothing can be sent to is an error that we see, and no silence.
        sock.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A program that starts again has the identity that it had, maybe before its end was seen.
        sock.setsockopt(zmq.ROUTER_HANDOVER, 1)
        sock.setsockopt(zmq.IPV6, int(":" in self._place.host))
        sock.copy_threshold = 0
        if self._place.scheme is Scheme.CURVE:
            sock.setsockopt(zmq.CURVE_SERVER, 1)
            sock.setsockopt(zmq.CURVE_PUBLICKEY, convert_to_x25519(node_key.public))
            sock.setsockopt(
                zmq.CURVE_SECRETKEY, bindings.crypto_sign_ed25519_sk_to_curve25519(node_key.secret)
            )

    def _bind(self) -> None:
        if self._place.scheme is not Scheme.IPC:
            self._socket.bind(self._place.endpoint)
            port = int(self._socket.getsockopt_string(self._zmq.LAST_ENDPOINT).rpartition(":")[2])
            self._place = self._place._replace(port=port)
            return
        path = Path(self._place.host)
        # libzmq takes the path away from whoever listens there
        if _is_listening(path):
            raise CannotListen(f"cannot listen on {self._place}: another program does")
        path.parent.mkdir(parents=True, exist_ok=True)
        old_mask = os.umask(0o177)
        try:
            self._socket.bind(self._place.endpoint)
        finally:
            os.umask(old_mask)

    @property
    def address(self) -> str:
        """Where it listens, with the port that it got."""
        return str(self._place)

    async def receive(self) -> Message | None:
        """Return the next message; None of one that is not looked at.

        Who sends too many parts is cut. Of who speaks a protocol from before ZMTP 3 libzmq does not
        say where he is, so his messages do not count: he is cut as one whose message has no end.
        """
        frames = await self._socket.recv_multipart(copy=False)
        try:
            descriptor = int(frames[-1].get("__fd"))
            address = str(frames[-1].get("Peer-Address"))
        except self._zmq.ZMQError:
            return None
        self.connections.hear(descriptor)
        if len(frames) > 1 + MAX_PARTS:
            self.connections.cut(descriptor)
            return None
        identity, *parts = [frame.bytes for frame in frames]
        is_ipc = self._place.scheme is Scheme.IPC
        host = "" if is_ipc else address
        peer = Peer(self._number, identity, host, is_ipc or is_loopback(host))
        return Message(peer, descriptor, parts)

    def send(self, peer: Peer, parts: Parts, descriptor: int | None = None) -> bool:
        """Send at once; False if the far side has gone, or as much waits for it as may.

        With the descriptor of its connection, one who does not read is cut then, or after a while.
        """
        size = sum(map(len, parts))
        is_counted = size > COUNTED_BYTES and descriptor is not None
        sent: Any = self._socket.send_multipart(
            [peer.identity, *parts],
            flags=self._zmq.DONTWAIT,
            copy=not is_counted,
            track=is_counted,
        )
        # what does not wait is done when it comes back
        error = sent.exception()
        if isinstance(error, self._zmq.Again) and descriptor is not None:
            self.connections.cut(descriptor)
        if error is not None:
            return False
        if is_counted and descriptor is not None:
            self.unread.add(sent.result(), size, descriptor)
        return True

    async def watch(self) -> None:
        """Count connections until cancelled."""
        while True:
            event, _address = await self._monitor.recv_multipart()
            kind, descriptor = _EVENT.unpack(event)
            if kind == ACCEPTED:
                self.connections.add(descriptor)
            else:
                self.connections.remove(descriptor)

    def close(self) -> None:
        """Stop listening, and end all connections."""
        if self._monitor is not None:
            with contextlib.suppress(self._zmq.ZMQError):
                self._socket.disable_monitor()
            self._monitor.close(linger=0)
        self._socket.close(linger=0)

    def _is_ours(self, sock: socket.socket) -> bool:
        """Whether a socket is a connection that was made to this address."""
        name = sock.getsockname()
        if isinstance(name, tuple):
            return bool(name[1] == self._place.port)
        return bool(name == self._place.host)


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
        return True
