"""Challenges: answering those of testers, and asking the nodes that are tested.

- An answer goes only to a well-formed challenge to this node, for an epoch that can be the running
  one or one beside it. Everything else is dropped without a word.
- Signing has a limit for each source and one for all together; what is malformed counts for
  neither, since nothing is signed. Sources are forgotten, the longest silent first, so memory is
  bounded.
- A challenge is sent several times with the same nonce, since datagrams get lost; of what comes
  back only an answer that the node's duty key signed counts.
"""

import asyncio
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, NamedTuple, TypeAlias

import structlog

from ledger.crypto import KeyPair, verify
from ledger.errors import Refusal
from ledger.messages.challenges import (
    ANSWER,
    CHALLENGE_VERSION,
    MAX_ANSWER_BYTES,
    MAX_REQUEST_BYTES,
    REQUEST,
    Challenge,
    ChallengeAnswer,
    answer_challenge,
    challenge_signed,
    encode_challenge,
)
from ledger.messages.contact import Version
from ledger.types import Epoch, Hash, Key

log = structlog.get_logger()

SOURCES: Final = 4_096
"""Sources that are remembered at a time."""

SOURCE_RATE: Final = 10.0
SOURCE_BURST: Final = 40.0
"""Answers that one source gets a second, and at once."""

TOTAL_RATE: Final = 1_000.0
TOTAL_BURST: Final = 2_000.0
"""The same for all sources together: a tenth of what one core signs."""

IPV6_SITE: Final = 4
"""Groups of an IPv6 address that one site has in common: a /64 is one source."""

TRIES: Final = 3
"""How often a challenge is sent before its node counts as silent."""

MOST_WRONG: Final = 64
"""Answers with the right nonce and a wrong signature, after which none is looked at any more."""

Place: TypeAlias = tuple[str, int]
"""An address and a port on which challenges are answered."""

Monotonic: TypeAlias = Callable[[], float]


class Bucket:
    """Tokens that come at a rate, up to a burst."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def take(self, now: float) -> bool:
        """Take one token, if there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Limits:
    """How many answers each source gets, and all of them."""

    def __init__(self, clock: Monotonic = time.monotonic, most: int = SOURCES) -> None:
        self._clock = clock
        self._most = most
        self._all = Bucket(TOTAL_RATE, TOTAL_BURST, clock())
        self._sources: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        """How many sources are remembered."""
        return len(self._sources)

    def admit(self, host: str) -> bool:
        """Whether one more answer goes to an address."""
        now = self._clock()
        source = _source_of(host)
        bucket = self._sources.get(source)
        if bucket is None:
            bucket = self._sources[source] = Bucket(SOURCE_RATE, SOURCE_BURST, now)
            if len(self._sources) > self._most:
                self._sources.popitem(last=False)
        self._sources.move_to_end(source)
        return bucket.take(now) and self._all.take(now)


def _source_of(host: str) -> str:
    if ":" not in host:
        return host
    packed = IPv6Address(host.partition("%")[0])
    if packed.ipv4_mapped is not None:
        return str(packed.ipv4_mapped)
    return ":".join(packed.exploded.split(":")[:IPV6_SITE])


class Identity(NamedTuple):
    """Who answers."""

    genesis_hash: Hash
    node: Key
    agent: Version
    pair_of: Callable[[Epoch], KeyPair]
    """The duty key that the node has in an epoch."""
    admits: Callable[[Epoch], bool]
    """Whether an epoch can be the running one, or one beside it."""


class Responder:
    """Answers challenges on some sockets."""

    def __init__(self, identity: Identity, limits: Limits | None = None) -> None:
        self._identity = identity
        self._limits = Limits() if limits is None else limits
        self._open: dict[Place, asyncio.DatagramTransport] = {}
        self.answered = 0
        """Challenges that were answered."""
        self.dropped = 0
        """Datagrams that were not."""

    @property
    def places(self) -> list[Place]:
        """Where challenges are answered now; a port that was 0 is the one that it got."""
        return [_name_of(transport) for transport in self._open.values()]

    async def listen(self, wanted: Iterable[Place]) -> list[str]:
        """Answer at these places and no others; return why some of them cannot be had."""
        places = list(dict.fromkeys(wanted))
        for place in [place for place in self._open if place not in places]:
            self._open.pop(place).close()
        problems = []
        for place in places:
            if place in self._open and not self._open[place].is_closing():
                continue
            try:
                self._open[place] = await self._bind(place)
            except OSError as error:
                problems.append(f"{place[0]} port {place[1]}: {error.strerror or error}")
        return problems

    async def _bind(self, place: Place) -> asyncio.DatagramTransport:
        host, port = place
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                # both kinds of addresses have a socket of their own
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setblocking(False)
            sock.bind((host, port))
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(lambda: _Answering(self), sock=sock)
        except BaseException:
            sock.close()
            raise
        return transport

    def close(self) -> None:
        """Answer nobody any more."""
        for transport in self._open.values():
            transport.close()
        self._open.clear()

    def answer(self, data: bytes, host: str) -> bytes | None:
        """Return the answer to a datagram; None if it gets none."""
        challenge = self._read(data)
        if challenge is None or not self._limits.admit(host):
            self.dropped += 1
            return None
        self.answered += 1
        identity = self._identity
        pair, now_ms = identity.pair_of(challenge.epoch), time.time_ns() // 1_000_000
        return answer_challenge(identity.genesis_hash, pair, challenge, now_ms, identity.agent)

    def _read(self, data: bytes) -> Challenge | None:
        """Return the challenge in a datagram, if it is one that this node answers."""
        if not MAX_ANSWER_BYTES < len(data) <= MAX_REQUEST_BYTES:
            return None
        try:
            request = REQUEST.decode(data)
        except Refusal:
            return None
        challenge = request.challenge
        is_ours = challenge.target == self._identity.node
        if request.version != CHALLENGE_VERSION or not is_ours:
            return None
        return challenge if self._identity.admits(challenge.epoch) else None


class _Answering(asyncio.DatagramProtocol):
    """One socket of a responder."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = self._responder.answer(data, addr[0])
        # what the system does not take at once would pile up here: the tester asks again
        if answer is not None and self._transport.get_write_buffer_size() == 0:
            self._transport.sendto(answer, addr)

    def error_received(self, exc: Exception) -> None:
        """An answer that nobody took, such as one to a port that is closed: nothing to do."""


def _name_of(transport: asyncio.DatagramTransport) -> Place:
    host, port = transport.get_extra_info("sockname")[:2]
    return host, port


# ------------------------------------------------------------------------------------ asking


class Unroutable(Exception):
    """This machine has no way to an address: nothing is known of who is there."""


class Asked(NamedTuple):
    """Whom to ask, and how one knows that it was he who answered."""

    genesis_hash: Hash
    target: Key
    duty_key: Key
    address: IPv4Address | IPv6Address
    port: int


class Heard(NamedTuple):
    """An answer that the node's duty key signed."""

    answer: ChallengeAnswer
    at_ms: int
    """This machine's clock when it came."""


async def ask(asked: Asked, prober: Key, epoch: Epoch, wait_s: float) -> Heard | None:
    """Challenge a node; return its answer, or None if none that holds came within `wait_s` seconds.

    Raises `Unroutable`.
    """
    challenge = Challenge(asked.target, prober, secrets.token_bytes(32), epoch)
    loop = asyncio.get_running_loop()
    try:
        transport, asking = await loop.create_datagram_endpoint(
            lambda: _Asking(asked, challenge), remote_addr=(str(asked.address), asked.port)
        )
    except OSError as error:
        raise Unroutable(str(error)) from None
    try:
        datagram = encode_challenge(challenge)
        for _ in range(TRIES):
            transport.sendto(datagram)
            done, _ = await asyncio.wait([asking.heard], timeout=wait_s / TRIES)
            if done:
                return asking.heard.result()
        return None
    finally:
        transport.close()


class _Asking(asyncio.DatagramProtocol):
    """One challenge that waits for its answer."""

    def __init__(self, asked: Asked, challenge: Challenge) -> None:
        self._asked = asked
        self._challenge = challenge
        self._wrong = 0
        self.heard: asyncio.Future[Heard | None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.heard.done():
            return
        answer = self._read(data)
        if answer is not None:
            self.heard.set_result(Heard(answer, time.time_ns() // 1_000_000))

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there now; the challenge is sent again all the same."""

    def _read(self, data: bytes) -> ChallengeAnswer | None:
        try:
            answer = ANSWER.decode(data)
        except Refusal:
            return None
        is_ours = (answer.version, answer.nonce) == (CHALLENGE_VERSION, self._challenge.nonce)
        # who does not see the challenge cannot make us verify anything, nor give up
        if not is_ours or self._wrong >= MOST_WRONG:
            return None
        signed = challenge_signed(
            self._asked.genesis_hash, self._asked.duty_key, self._challenge, answer
        )
        if verify(signed):
            return answer
        self._wrong += 1
        return None
