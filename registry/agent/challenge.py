"""Challenges: answering those of testers, and asking the nodes that are tested.

- An answer goes only to a well-formed challenge to this node, for an epoch that can be the running
  one or one beside it. Everything else is dropped without a word.
- Whoever asks without the right cookie is sent it, and has to ask again: so a source is where it
  says. A cookie is a hash under a secret of this process; nothing is held for who asked.
- Signing has a limit for each source and one for all together. Only what has the right cookie
  counts for them: nobody uses up what belongs to another by sending in his name. Sources are
  forgotten, the longest silent first, so memory is bounded.
- Cookies have no limit: one for each source could be used up in its name, and one for all by who
  sends most. They cost three hashes, and are shorter than what they answer.
- A challenge is sent several times with the same nonce, since datagrams get lost, and at once when
  a cookie comes; of what comes back only an answer that the node's duty key signed counts.
"""

import asyncio
import hmac
import secrets
import socket
import sys
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
    COOKIE,
    COOKIE_BYTES,
    MAX_ANSWER_BYTES,
    MAX_REQUEST_BYTES,
    NO_COOKIE,
    REQUEST,
    Challenge,
    ChallengeAnswer,
    ChallengeRequest,
    answer_challenge,
    challenge_signed,
    encode_challenge,
    encode_cookie,
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

COOKIE_S: Final = 120.0
"""Seconds after which another cookie is sent to the same source; the one before is right still."""

IPV6_SITE: Final = 4
"""Groups of an IPv6 address that one site has in common: a /64 is one source."""

TRIES: Final = 3
"""How often a challenge is sent before its node counts as silent."""

MOST_WRONG: Final = 64
"""Answers with the right nonce and a wrong signature, after which none is looked at any more."""

MOST_COOKIES: Final = 8
"""Cookies that a tester takes for one challenge: a node that starts again sends another one."""

IP_PKTINFO: Final = 8
"""Linux's number for it: Python has had the name since 3.14."""
ANCILLARY_BYTES: Final = socket.CMSG_SPACE(20)
"""Room for where a datagram went to: an `in6_pktinfo`, the longer one of the two."""

Place: TypeAlias = tuple[str, int]
"""An address and a port: where challenges are answered, or where one came from."""

Ancillary: TypeAlias = list[tuple[int, int, bytes]]
"""What goes with a datagram from and to the system: level, kind and bytes of each part."""

Monotonic: TypeAlias = Callable[[], float]


class Cookies:
    """What only a source can send back that receives what is sent to it."""

    def __init__(self, clock: Monotonic = time.monotonic) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)

    def make(self, source: Place) -> bytes:
        """Return the cookie of a source now."""
        return self._make(source, self._slot)

    def admit(self, source: Place, cookie: bytes) -> bool:
        """Whether a cookie is the one of a source, now or one time slot ago."""
        slots = (self._slot, self._slot - 1)
        return any(hmac.compare_digest(cookie, self._make(source, slot)) for slot in slots)

    @property
    def _slot(self) -> int:
        return int(self._clock() // COOKIE_S)

    def _make(self, source: Place, slot: int) -> bytes:
        host, port = source
        return hmac.digest(self._secret, f"{slot} {host} {port}".encode(), "sha256")[:COOKIE_BYTES]


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

    def __init__(self, identity: Identity, clock: Monotonic = time.monotonic) -> None:
        self._identity = identity
        self._cookies = Cookies(clock)
        self.limits = Limits(clock)
        self._open: dict[Place, _Answering] = {}
        self.answered = 0
        """Challenges that were answered."""
        self.sent_back = 0
        """Challenges for which a cookie was sent."""
        self.dropped = 0
        """Datagrams to which nothing was said."""

    @property
    def places(self) -> list[Place]:
        """Where challenges are answered now; a port that was 0 is the one that it got."""
        return [answering.place for answering in self._open.values()]

    async def listen(self, wanted: Iterable[Place]) -> list[str]:
        """Answer at these places and no others; return why some of them cannot be had."""
        places = list(dict.fromkeys(wanted))
        for place in [place for place in self._open if place not in places]:
            self._open.pop(place).close()
        problems = []
        for place in places:
            if place in self._open:
                continue
            try:
                self._open[place] = _Answering(self, place)
            except OSError as error:
                problems.append(f"{place[0]} port {place[1]}: {error.strerror or error}")
        return problems

    def close(self) -> None:
        """Answer nobody any more."""
        for answering in self._open.values():
            answering.close()
        self._open.clear()

    def answer(self, data: bytes, source: Place) -> bytes | None:
        """Return what a datagram gets, a signed answer or a cookie; None if it gets nothing."""
        request = self._read(data)
        if request is None:
            self.dropped += 1
            return None
        challenge = request.challenge
        if not self._cookies.admit(source, request.cookie):
            self.sent_back += 1
            return encode_cookie(challenge, self._cookies.make(source))
        if not self.limits.admit(source[0]):
            self.dropped += 1
            return None
        self.answered += 1
        identity = self._identity
        pair, now_ms = identity.pair_of(challenge.epoch), time.time_ns() // 1_000_000
        return answer_challenge(identity.genesis_hash, pair, challenge, now_ms, identity.agent)

    def _read(self, data: bytes) -> ChallengeRequest | None:
        """Return what a datagram asks, if it is something that this node answers."""
        if not MAX_ANSWER_BYTES < len(data) <= MAX_REQUEST_BYTES:
            return None
        try:
            request = REQUEST.decode(data)
        except Refusal:
            return None
        is_ours = request.challenge.target == self._identity.node
        if request.version != CHALLENGE_VERSION or not is_ours:
            return None
        return request if self._identity.admits(request.challenge.epoch) else None


class _Answering:
    """One socket of a responder.

    A tester passes over what comes from another address than the one that he asked. So an answer
    leaves from there, also where the machine has several; asyncio's transports do not say where a
    datagram went to.
    """

    def __init__(self, responder: Responder, place: Place) -> None:
        """Listen at a place, on the running loop. Raises `OSError`."""
        self._responder = responder
        self._loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                # both kinds of addresses have a socket of their own
                self._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                self._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            elif sys.platform == "linux":
                self._sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            self._sock.setblocking(False)
            self._sock.bind(place)
        except BaseException:
            self._sock.close()
            raise
        self._loop.add_reader(self._sock, self._receive)

    @property
    def place(self) -> Place:
        """Where it listens."""
        host, port = self._sock.getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _receive(self) -> None:
        try:
            # one byte more than the longest: what is too long stays so
            data, ancillary, _, source = self._sock.recvmsg(MAX_REQUEST_BYTES + 1, ANCILLARY_BYTES)
        except OSError:
            return
        answer = self._responder.answer(data, source[:2])
        if answer is None:
            return
        try:
            self._sock.sendmsg([answer], _find_origin(ancillary), 0, source)
        except OSError:
            # the system is busy, or has no way back: the tester asks again
            return


def _find_origin(received: Ancillary) -> Ancillary:
    """Return what has an answer leave from where its challenge went to, by whatever interface."""
    for level, kind, info in received:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            # of address and interface the address
            return [(level, kind, info[:16] + bytes(4))]
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            # of interface, address of this machine and address in the packet the second
            return [(level, kind, bytes(4) + info[4:8] + bytes(4))]
    return []


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
        for _ in range(TRIES):
            asking.send()
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
        self._cookie = NO_COOKIE
        self._cookies = 0
        self._wrong = 0
        self._transport: Any = None
        self.heard: asyncio.Future[Heard | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send(self) -> None:
        """Ask, with the newest cookie."""
        self._transport.sendto(encode_challenge(self._challenge, self._cookie))

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.heard.done():
            return
        answer = self._read(data)
        if answer is not None:
            self.heard.set_result(Heard(answer, time.time_ns() // 1_000_000))
        elif self._takes_cookie(data):
            self.send()

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

    def _takes_cookie(self, data: bytes) -> bool:
        """Whether a datagram brought a cookie that is new."""
        try:
            brought = COOKIE.decode(data)
        except Refusal:
            return False
        is_ours = (brought.version, brought.nonce) == (CHALLENGE_VERSION, self._challenge.nonce)
        # a datagram that was sent twice brings the same one twice
        is_new = brought.cookie != self._cookie and self._cookies < MOST_COOKIES
        if not (is_ours and is_new):
            return False
        self._cookie = brought.cookie
        self._cookies += 1
        return True
