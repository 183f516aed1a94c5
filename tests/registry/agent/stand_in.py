"""Nodes of a test's own: a storage server, a router and an agent's port, each of which may fail."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, Final

from ledger.crypto import KeyPair, sha256
from ledger.messages.challenges import REQUEST, answer_challenge
from ledger.messages.contact import Contact, Version
from registry.agent.probes import Prober, Target
from registry.devnet.node import CERTIFICATE, PRIVATE_KEY
from tests.factory import keys, make_contact

NETWORK: Final = sha256(b"a genesis file")
NODE: Final = keys("tested").public
DUTY: Final = keys("tested duty")
AGENT: Final = Version(1, 2, 3)
EPOCH: Final = 7
PROBER: Final = Prober(
    NETWORK, keys("tester").public, EPOCH, 5.0, Version(0, 0, 0), Version(0, 0, 0)
)

PONG: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def serve_tls() -> ssl.SSLContext:
    """The context of a server with a certificate that nobody vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, PRIVATE_KEY)
    return context


class StandIn:
    """What a node does; a test changes one thing of it."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.duty: KeyPair | None = DUTY
        """By what it answers challenges; None for one that does not."""
        self.clock_ms = 0
        """How far its clock is ahead."""
        self.has_storage = True
        self.tls: ssl.SSLContext | None = serve_tls()
        self.answer: bytes | None = PONG
        """What it says to a ping; None for one that says nothing."""
        self.has_router = True
        self.pings: list[bytes] = []
        """The heads of the requests that came."""
        self.changes: dict[str, Any] = {}
        """Fields of its contact data."""
        self._open: list[Callable[[], None]] = []
        self.contact: Contact = make_contact()

    @property
    def target(self) -> Target:
        """It, as the ledger would prove it."""
        return Target(NODE, 1, DUTY.public, self.contact)

    @property
    def address(self) -> bytes:
        """Its address."""
        return ip_address(self.host).packed

    async def start(self) -> None:
        """Do all that."""
        storage = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls)
        port = storage.sockets[0].getsockname()[1]
        if self.has_storage:
            self._open.append(storage.close)
        else:
            storage.close()
        router = await asyncio.start_server(self._hang_up, self.host, 0)
        router_port = router.sockets[0].getsockname()[1]
        if self.has_router:
            self._open.append(router.close)
        else:
            router.close()
        if self.duty is not None:
            loop = asyncio.get_running_loop()
            place = (self.host, port)
            transport, _ = await loop.create_datagram_endpoint(lambda: _Answering(self), place)
            self._open.append(transport.close)
        kind = "ipv6" if ":" in self.host else "ipv4"
        addresses = {"ipv4": b"", "ipv6": b""} | {kind: self.address}
        ports = {"storage_port": port, "router_port": router_port}
        self.contact = make_contact(**(addresses | ports | self.changes))

    def stop(self) -> None:
        """Do none of it any more."""
        for close in self._open:
            close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.pings.append(await reader.readuntil(b"\r\n\r\n"))
            if self.answer is None:
                await reader.read()
            else:
                writer.write(self.answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def _hang_up(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()


class _Answering(asyncio.DatagramProtocol):
    def __init__(self, node: StandIn) -> None:
        self._node = node
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert self._node.duty is not None
        now_ms = time.time_ns() // 1_000_000 + self._node.clock_ms
        challenge = REQUEST.decode(data).challenge
        answer = answer_challenge(NETWORK, self._node.duty, challenge, now_ms, AGENT)
        self._transport.sendto(answer, addr)


@asynccontextmanager
async def standing_in(**changes: Any) -> AsyncIterator[StandIn]:
    """Run a node with these changes for the time of a test."""
    node = StandIn(changes.pop("host", "127.0.0.1"))
    for name, value in changes.items():
        assert hasattr(node, name)
        setattr(node, name, value)
    await node.start()
    try:
        yield node
    finally:
        node.stop()
