"""What stands in for a node's storage server and router on a development network.

    python -m registry.devnet.node --ipv4 127.10.0.10 --storage-port 22021 --router-port 22020

It answers as far as testers ask: HTTPS with the storage server's own ping on the storage port, and
a router port that takes connections. Messages it stores none. The certificate and its key lie in
the open beside this file, so they protect nothing; testers do not look whose certificate it is.
"""

import argparse
import asyncio
import contextlib
import ssl
import sys
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

from registry.lifeline import NONE, until_stopped

PING: Final = "/ping_test/v1"
"""What testers ask a storage server."""

METHODS: Final = ("GET", "POST")

MAX_HEAD_BYTES: Final = 8_192
MAX_BODY_BYTES: Final = 65_536

PATIENCE_S: Final = 10.0
"""Time that one connection has."""

FOLDER: Final = Path(__file__).parent
CERTIFICATE: Final = FOLDER / "insecure_certificate.pem"
PRIVATE_KEY: Final = FOLDER / "insecure_key.pem"


async def serve(ipv4: str, storage_port: int, router_port: int, lifeline: int) -> None:
    """Stand in at an address until told to stop. Raises `OSError` where it cannot listen."""
    stopped = until_stopped(lifeline)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, PRIVATE_KEY)
    storage = await asyncio.start_server(
        answer_storage, ipv4, storage_port, ssl=context, limit=MAX_HEAD_BYTES
    )
    router = await asyncio.start_server(answer_router, ipv4, router_port)
    await stopped
    storage.close()
    router.close()


async def answer_storage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, as a storage server does."""
    with contextlib.suppress(OSError):
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(writer.close)
            status = await _read_status(reader)
            writer.write(
                f"HTTP/1.1 {status} {status.phrase}\r\n"
                "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
            await writer.drain()


async def answer_router(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a connection, which is all that a tester wants to see."""
    writer.close()


async def _read_status(reader: asyncio.StreamReader) -> HTTPStatus:
    """Read a request as a whole; return what it deserves."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, *_ = head.decode("latin-1").split(" ", 2)
            size = _read_size(head)
            if size > MAX_BODY_BYTES:
                return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            await reader.readexactly(size)
    except TimeoutError:
        return HTTPStatus.REQUEST_TIMEOUT
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        return HTTPStatus.BAD_REQUEST
    if path != PING:
        return HTTPStatus.NOT_FOUND
    return HTTPStatus.OK if method in METHODS else HTTPStatus.METHOD_NOT_ALLOWED


def _read_size(head: bytes) -> int:
    """Return the length of the body that a head announces. Raises `ValueError`."""
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            size = int(value)
            if size < 0:
                raise ValueError("a body has no negative length")
            return size
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Stand in until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="waypost-devnet-node", description=__doc__)
    parser.add_argument("--ipv4", required=True)
    parser.add_argument("--storage-port", type=int, required=True)
    parser.add_argument("--router-port", type=int, required=True)
    parser.add_argument("--lifeline", type=int, default=NONE)
    options = parser.parse_args(argv)
    try:
        asyncio.run(
            serve(options.ipv4, options.storage_port, options.router_port, options.lifeline)
        )
    except OSError as error:
        print(f"error: {options.ipv4}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
