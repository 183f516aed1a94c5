"""A service that ends while it is asked, as whoever asks it sees that: `ENDS`, and `ending`."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
AWAY: Final = b'{"type":"unavailable","detail":"its ledger process is away","values":{}}'
FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nfull"


class End(NamedTuple):
    """How a service ends while it is asked."""

    said: bytes
    """What of its answer has been sent by then."""
    hears: bool = True
    """Whether it has read the request."""
    resets: bool = False
    """Whether the connection is reset, as with unread bytes in it, or closed."""
    stays: bool = False
    """Whether the connection outlives the answer."""


ENDS: Final = {
    "closed before it hears": End(b"", hears=False),
    "reset before it hears": End(b"", hears=False, resets=True),
    "closed before it answers": End(b""),
    "reset before it answers": End(b"", resets=True),
    "closed within the head": End(HEAD[:20]),
    "reset within the head": End(HEAD[:20], resets=True),
    "closed within the body": End(HEAD + b"[" * 9),
    "reset within the body": End(HEAD + b"[" * 9, resets=True),
    "stands still": End(b"", stays=True),
    "stands still within the body": End(HEAD + b"[" * 9, stays=True),
    "without its ledger process": End(
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n" % len(AWAY) + AWAY
    ),
    "has as many connections as it takes": End(FULL),
}


@contextmanager
def ending(end: End) -> Iterator[str]:
    """The URL of a service that ends so, whenever it is asked."""
    is_over = threading.Event()

    def serve(server: socket.socket) -> None:
        while not is_over.is_set():
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            # whoever asked may be gone
            with connection, suppress(OSError):
                if end.hears:
                    connection.recv(65_536)
                connection.sendall(end.said)
                if end.stays:
                    is_over.wait()
                if end.resets:
                    connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.02)
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            is_over.set()
            thread.join()
