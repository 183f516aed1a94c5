"""Everything that is looked at of a node: one row of `PROBES` each.

- A node is looked at, at one of its committed addresses, by a `Visit`, which asks each thing once
  however many rows speak of it.
- A row says what is wrong, or "". A pass takes an answer to a challenge, signed by the node's duty
  key: without one the first row finds fault, whatever the others see.
- Certificates are not checked: storage servers sign their own. Answers are bounded, and every step
  has a time of its own.
"""

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from typing import Final, NamedTuple, TypeAlias

from ledger.messages.contact import IPV4_BYTES, Contact, Version
from ledger.messages.duty import FAULTS
from ledger.types import Epoch, Hash, Key
from registry.agent.challenge import Asked, Heard, Unroutable, ask
from registry.agent.networks import unpack

CLOCK_TOLERANCE_MS: Final = 5 * 60 * 1000
"""How far a node's clock may be off this machine's."""

MAX_HEAD_BYTES: Final = 4_096
"""What is read of a storage server's answer."""

PING: Final = "/ping_test/v1"
"""Path on which a storage server answers a ping."""

LOCAL: Final = frozenset(
    (
        *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM),
        *(errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EAFNOSUPPORT),
    )
)
"""What a connection fails with because of this machine: nobody can send what brings these about.

A node that is down must not get away with `ENETUNREACH`, `EHOSTUNREACH` or `EACCES`: ICMP messages
bring them about too. Where this machine itself has no way, the challenge finds that out."""

BIT_OF: Final = {name: bit for bit, name in FAULTS.items()}


class Target(NamedTuple):
    """A node that is to be tested, as the ledger proves it."""

    node: Key
    life: int
    duty_key: Key
    """The one that it has in the epoch."""
    contact: Contact
    """In force in the epoch."""


class Prober(NamedTuple):
    """Who looks, and how."""

    genesis_hash: Hash
    node: Key
    epoch: Epoch
    wait_s: float
    """Seconds for each step."""
    required_storage: Version
    required_router: Version


class Storage(NamedTuple):
    """How far one got with a storage server."""

    has_port: bool
    has_tls: bool = False
    status: int = 0
    """What it answered to a ping; 0 for nothing that is HTTP."""
    why: str = ""
    """What went wrong in the last step."""


class Visit:
    """One look at a node at one address, within a running loop."""

    def __init__(self, prober: Prober, target: Target, address: bytes) -> None:
        self.prober = prober
        self.target = target
        self.address = unpack(address)
        self._heard: asyncio.Task[Heard | None] | None = None
        self._storage: asyncio.Task[Storage] | None = None

    async def hear(self) -> Heard | None:
        """Return the answer to a challenge. Raises `Unroutable`."""
        if self._heard is None:
            prober, target = self.prober, self.target
            asked = Asked(
                prober.genesis_hash,
                target.node,
                target.duty_key,
                self.address,
                target.contact.storage_port,
            )
            asking = ask(asked, prober.node, prober.epoch, prober.wait_s)
            self._heard = asyncio.ensure_future(asking)
        return await self._heard

    async def reach_storage(self) -> Storage:
        """Return how far one gets with the storage server. Raises `Unroutable`."""
        if self._storage is None:
            port = self.target.contact.storage_port
            reaching = _reach_storage(str(self.address), port, self.prober.wait_s)
            self._storage = asyncio.ensure_future(reaching)
        return await self._storage

    def end(self) -> None:
        """Let go of what still runs."""
        for task in (self._heard, self._storage):
            if task is not None:
                task.cancel()


Check: TypeAlias = Callable[[Visit], Awaitable[str]]


class Probe(NamedTuple):
    """One row of `PROBES`."""

    name: str
    fault: str
    """The name in `ledger.messages.duty.FAULTS` of what it finds."""
    check: Check
    """Returns what is wrong, or ""."""


class Finding(NamedTuple):
    """What a probe found wrong."""

    probe: str
    fault: str
    why: str


# ------------------------------------------------------------------------- what is looked at


async def check_challenge(visit: Visit) -> str:
    """A challenge to the storage port, over UDP, is answered under the node's duty key."""
    heard = await visit.hear()
    return "" if heard else f"no signed answer within {visit.prober.wait_s:g} s"


async def check_clock(visit: Visit) -> str:
    """The clock in that answer is right to five minutes."""
    heard = await visit.hear()
    off_ms = 0 if heard is None else heard.answer.time_ms - heard.at_ms
    return f"its clock is {off_ms} ms ahead" if abs(off_ms) > CLOCK_TOLERANCE_MS else ""


async def check_storage_port(visit: Visit) -> str:
    """The storage port takes a TCP connection."""
    storage = await visit.reach_storage()
    return "" if storage.has_port else storage.why


async def check_storage_tls(visit: Visit) -> str:
    """TLS is spoken there, under whatever certificate."""
    storage = await visit.reach_storage()
    return storage.why if storage.has_port and not storage.has_tls else ""


async def check_storage_ping(visit: Visit) -> str:
    """The storage server behind it answers a ping."""
    storage = await visit.reach_storage()
    if not storage.has_tls or storage.status == 200:
        return ""
    return f"it answered {storage.status}" if storage.status else storage.why


async def check_router_port(visit: Visit) -> str:
    """The router port takes a TCP connection."""
    port = visit.target.contact.router_port
    try:
        _, writer = await _connect(str(visit.address), port, visit.prober.wait_s)
    except (OSError, TimeoutError) as error:
        return _name(error)
    writer.close()
    return ""


async def check_versions(visit: Visit) -> str:
    """The versions in the contact data are not below those that the settings require."""
    contact, prober = visit.target.contact, visit.prober
    for program, has, needed in (
        ("storage server", contact.storage_version, prober.required_storage),
        ("router", contact.router_version, prober.required_router),
    ):
        if _number(has) < _number(needed):
            return f"its {program} is {_text(has)}, below {_text(needed)}"
    return ""


PROBES: Final = (
    Probe("challenge", "wrong address", check_challenge),
    Probe("clock", "clock", check_clock),
    Probe("storage TCP", "storage port", check_storage_port),
    Probe("storage HTTPS", "storage port", check_storage_tls),
    Probe("storage ping", "storage failure", check_storage_ping),
    Probe("router TCP", "router port", check_router_port),
    Probe("version", "outdated version", check_versions),
)
"""Everything that a node is tested for. One more is a row here."""

CONNECTS: Final = frozenset(("storage TCP", "router TCP"))
"""Those of them that find that no TCP connection comes about."""


class Looked(NamedTuple):
    """What one look at a node at one address came to."""

    family: int
    """4 or 6."""
    findings: tuple[Finding, ...]
    was_heard: bool
    """Whether it answered the challenge."""
    was_reached: bool
    """Whether it took some TCP connection."""


def compute_faults(findings: Iterable[Finding]) -> int:
    """Return the bits of `FAULTS` that stand for findings; 0 for none."""
    return sum(BIT_OF[fault] for fault in {finding.fault for finding in findings})


async def look(prober: Prober, target: Target, address: bytes) -> Looked | None:
    """Look at a node at one of its addresses, which the caller checked may be probed.

    None if this machine has no way there, so that nothing can be said.
    """
    visit = Visit(prober, target, address)
    try:
        said = await asyncio.gather(*(probe.check(visit) for probe in PROBES))
        was_heard = await visit.hear() is not None
    except Unroutable:
        return None
    finally:
        visit.end()
    findings = tuple(
        Finding(probe.name, probe.fault, why)
        for probe, why in zip(PROBES, said, strict=True)
        if why
    )
    was_reached = any(probe not in (each.probe for each in findings) for probe in CONNECTS)
    return Looked(4 if len(address) == IPV4_BYTES else 6, findings, was_heard, was_reached)


# ------------------------------------------------------------------------ the storage server


async def _reach_storage(host: str, port: int, wait_s: float) -> Storage:
    """Connect, speak TLS and ping, each within `wait_s` seconds; return how far that went."""
    try:
        reader, writer = await _connect(host, port, wait_s)
    except (OSError, TimeoutError) as error:
        return Storage(False, why=_name(error))
    try:
        async with asyncio.timeout(wait_s):
            await writer.start_tls(_tls())
    except (OSError, TimeoutError) as error:
        writer.close()
        return Storage(True, why=_name(error))
    try:
        async with asyncio.timeout(wait_s):
            return await _ping(reader, writer, host, port)
    except (OSError, TimeoutError, ValueError) as error:
        return Storage(True, True, why=_name(error))
    finally:
        writer.close()


async def _connect(
    host: str, port: int, wait_s: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a TCP connection. Raises `OSError`, `TimeoutError`, and `Unroutable` for `LOCAL`."""
    try:
        async with asyncio.timeout(wait_s):
            return await asyncio.open_connection(host, port, limit=MAX_HEAD_BYTES)
    except OSError as error:
        if error.errno in LOCAL:
            raise Unroutable(str(error)) from None
        raise


async def _ping(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
) -> Storage:
    named = f"[{host}]" if ":" in host else host
    head = f"POST {PING} HTTP/1.1\r\nHost: {named}:{port}\r\nContent-Length: 0\r\n"
    writer.write(head.encode() + b"Connection: close\r\n\r\n")
    await writer.drain()
    protocol, _, rest = (await reader.readline()).partition(b" ")
    status = rest[:3]
    if not protocol.startswith(b"HTTP/1.") or not status.isdigit():
        return Storage(True, True, why="its answer is no HTTP")
    return Storage(True, True, int(status))


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _name(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or repr(error)


def _number(version: Version) -> tuple[int, int, int]:
    return version.major, version.minor, version.patch


def _text(version: Version) -> str:
    return ".".join(map(str, _number(version)))
