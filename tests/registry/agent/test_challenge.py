"""Challenges over real sockets: who answers what, and what nobody can make a node do."""

import asyncio
import os
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import KeyPair, key_pair, sha256, verify
from ledger.errors import Refusal
from ledger.messages.challenges import (
    ANSWER,
    COOKIE,
    COOKIE_BYTES,
    MAX_ANSWER_BYTES,
    MAX_COOKIE_BYTES,
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
from registry.agent import challenge as module
from registry.agent.challenge import (
    COOKIE_S,
    MOST_COOKIES,
    MOST_WRONG,
    SOURCE_BURST,
    SOURCE_RATE,
    TOTAL_BURST,
    Asked,
    Cookies,
    Identity,
    Limits,
    Place,
    Responder,
    Unroutable,
    ask,
)
from tests.factory import keys
from tests.registry.factory import in_loop, settle

NETWORK: Final = sha256(b"a genesis file")
NODE: Final = keys("tested").public
DUTY: Final = keys("tested duty")
FORMER: Final = keys("tested former duty")
PROBER: Final = keys("tester").public
AGENT: Final = Version(1, 2, 3)
EPOCH: Final = 7
HERE: Final = "127.0.0.1"
LOST_S: Final = 0.3
"""Seconds after which a datagram on this machine counts as dropped."""

ASKED: Final = Challenge(NODE, PROBER, bytes(32), EPOCH)


def pair_of(epoch: int) -> KeyPair:
    return DUTY if epoch >= EPOCH else FORMER


IDENTITY: Final = Identity(
    NETWORK, NODE, AGENT, pair_of, lambda epoch: EPOCH - 1 <= epoch <= EPOCH + 1
)


class Frozen:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def listening(responder: Responder) -> int:
    """Have a responder listen on a free port of this machine; return it."""
    assert await responder.listen([(HERE, 0)]) == []
    ((_, port),) = responder.places
    return port


def cookie_for(responder: Responder, source: Place) -> bytes:
    """Have a responder send a cookie to a source; return it."""
    sent = responder.answer(encode_challenge(ASKED), source)
    assert sent is not None
    return COOKIE.decode(sent).cookie


def answers_to(responder: Responder, datagram: bytes, source: Place, count: int = 10_000) -> int:
    """Send a datagram many times; return how many signed answers there were."""
    sent = [responder.answer(datagram, source) for _ in range(count)]
    return sum(answer is not None and len(answer) > MAX_COOKIE_BYTES for answer in sent)


def asked_of(port: int, **changes: Any) -> Asked:
    return Asked(NETWORK, NODE, DUTY.public, ip_address(HERE), port)._replace(**changes)


# ------------------------------------------------------------------------------ the records


def test_an_answer_is_never_longer_than_the_shortest_request() -> None:
    shortest = encode_challenge(replace(ASKED, epoch=0))
    longest = encode_challenge(replace(ASKED, epoch=2**63 - 1))
    assert len(longest) == MAX_REQUEST_BYTES
    answer = answer_challenge(NETWORK, DUTY, ASKED, 2**63 - 1, Version(255, 255, 255))
    assert len(answer) == MAX_ANSWER_BYTES < len(shortest)
    cookie = encode_cookie(ASKED, bytes(COOKIE_BYTES))
    assert len(cookie) < MAX_COOKIE_BYTES < len(shortest)


@pytest.mark.parametrize(
    "changed",
    [
        {"target": PROBER},
        {"prober": NODE},
        {"nonce": bytes(31) + b"\1"},
        {"epoch": EPOCH + 1},
    ],
    ids=str,
)
def test_a_signature_holds_for_one_challenge_alone(changed: dict[str, Any]) -> None:
    answer = ANSWER.decode(answer_challenge(NETWORK, DUTY, ASKED, 5, AGENT))
    assert verify(challenge_signed(NETWORK, DUTY.public, ASKED, answer))
    other = replace(ASKED, **changed)
    assert not verify(challenge_signed(NETWORK, DUTY.public, other, answer))
    assert not verify(challenge_signed(bytes(32), DUTY.public, ASKED, answer))
    later = replace(answer, time_ms=6)
    assert not verify(challenge_signed(NETWORK, DUTY.public, ASKED, later))
    newer = replace(answer, agent=Version(1, 2, 4))
    assert not verify(challenge_signed(NETWORK, DUTY.public, ASKED, newer))


# -------------------------------------------------------------------------------- answering


@in_loop
async def test_a_node_answers_with_the_duty_key_of_the_epoch() -> None:
    responder = Responder(IDENTITY)
    port = await listening(responder)
    heard = await ask(asked_of(port), PROBER, EPOCH, 5)
    assert heard is not None
    assert heard.answer.agent == AGENT
    assert 0 <= heard.at_ms - heard.answer.time_ms < 60_000
    former = asked_of(port, duty_key=FORMER.public)
    assert await ask(former, PROBER, EPOCH - 1, 5) is not None
    assert (responder.answered, responder.sent_back) == (2, 2)
    # the same answers under the other key are none
    assert await ask(former, PROBER, EPOCH, LOST_S) is None
    responder.close()


DROPPED: Final = {
    "nothing": b"",
    "one byte": b"\x93",
    "too short": encode_challenge(ASKED)[:MAX_ANSWER_BYTES],
    "cut off": encode_challenge(ASKED)[:-1],
    "too long": encode_challenge(ASKED) + bytes(8),
    "as long as a datagram can be": bytes(65_507),
    "random": os.urandom(MAX_REQUEST_BYTES),
    "another version": encode(ChallengeRequest(2, ASKED, NO_COOKIE)),
    "another node": encode_challenge(replace(ASKED, target=PROBER)),
    "an epoch too early": encode_challenge(replace(ASKED, epoch=EPOCH - 2)),
    "an epoch too late": encode_challenge(replace(ASKED, epoch=EPOCH + 2)),
    "not canonical": encode_challenge(ASKED).replace(b"\xc4\x20", b"\xc5\x00\x20", 1),
    "an answer": answer_challenge(NETWORK, DUTY, ASKED, 5, AGENT),
    "a cookie": encode_cookie(ASKED, NO_COOKIE),
}


@pytest.mark.parametrize("name", DROPPED)
@in_loop
async def test_whatever_else_comes_is_dropped_without_a_word(name: str) -> None:
    responder = Responder(IDENTITY)
    port = await listening(responder)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((HERE, port))
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, DROPPED[name])
        # one that gets something comes behind: what would be said to the first is there by then
        await loop.sock_sendall(sock, encode_challenge(ASKED))
        cookie = COOKIE.decode(await loop.sock_recv(sock, 2_000)).cookie
        await loop.sock_sendall(sock, encode_challenge(ASKED, cookie))
        answer = ANSWER.decode(await loop.sock_recv(sock, 2_000))
        assert verify(challenge_signed(NETWORK, DUTY.public, ASKED, answer))
        with pytest.raises(BlockingIOError):
            sock.recv(2_000)
    assert (responder.answered, responder.sent_back, responder.dropped) == (1, 1, 1)
    responder.close()


@in_loop
async def test_a_flood_of_one_source_leaves_the_others_their_answers() -> None:
    clock = Frozen()
    responder = Responder(IDENTITY, clock)
    port = await listening(responder)
    source = ("127.0.0.9", 5_000)
    flood = encode_challenge(ASKED, cookie_for(responder, source))
    assert answers_to(responder, flood, source) == SOURCE_BURST
    # another port is the same source
    other = ("127.0.0.9", 5_001)
    assert responder.answer(encode_challenge(ASKED, cookie_for(responder, other)), other) is None
    assert await ask(asked_of(port), PROBER, EPOCH, 5) is not None
    clock.now += 1
    assert answers_to(responder, flood, source) == SOURCE_RATE
    responder.close()


def test_all_sources_together_have_a_limit_and_a_place_each() -> None:
    clock = Frozen()
    limits = Limits(clock, most=100)
    hosts = [f"127.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(int(TOTAL_BURST) + 500)]
    assert sum(limits.admit(host) for host in hosts) == TOTAL_BURST
    assert len(limits) == 100
    clock.now += 1
    assert limits.admit("127.0.0.1")


def test_malformed_datagrams_use_up_nothing() -> None:
    responder = Responder(IDENTITY, Frozen())
    source = ("127.0.0.9", 5_000)
    for _ in range(5_000):
        assert responder.answer(bytes(MAX_REQUEST_BYTES), source) is None
    assert len(responder.limits) == 0
    flood = encode_challenge(ASKED, cookie_for(responder, source))
    assert answers_to(responder, flood, source) == SOURCE_BURST


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:127.0.0.5", "127.0.0.5", True),
        ("127.0.0.5", "127.0.0.6", False),
    ],
)
def test_a_site_is_one_source(one: str, other: str, same: bool) -> None:
    limits = Limits(Frozen())
    assert all(limits.admit(one) for _ in range(int(SOURCE_BURST)))
    assert limits.admit(other) is not same


# --------------------------------------------------------------------------------- cookies

TESTERS: Final = [f"127.0.9.{n}" for n in range(1, 21)]
SOURCE: Final = ("127.0.0.9", 5_000)
SOURCE6: Final = ("2001:db8::1", 5_000)


def test_who_sends_in_the_names_of_testers_takes_nothing_from_them() -> None:
    clock = Frozen()
    responder = Responder(IDENTITY, clock)
    own = cookie_for(responder, SOURCE)
    for cookie in (NO_COOKIE, os.urandom(COOKIE_BYTES), own):
        forged = encode_challenge(ASKED, cookie)
        for host in TESTERS:
            assert answers_to(responder, forged, (host, 5_000), count=200) == 0
    assert len(responder.limits) == responder.answered == responder.dropped == 0
    for host in TESTERS:
        datagram = encode_challenge(ASKED, cookie_for(responder, (host, 5_000)))
        assert answers_to(responder, datagram, (host, 5_000), count=40) == SOURCE_BURST


def test_nothing_is_held_for_who_has_no_cookie() -> None:
    responder = Responder(IDENTITY, Frozen())
    datagram = encode_challenge(ASKED)
    for n in range(20_000):
        sent = responder.answer(datagram, (f"127.1.{n >> 8}.{n & 255}", n))
        assert sent is not None
        assert len(sent) < MAX_COOKIE_BYTES < len(datagram)
    assert len(responder.limits) == 0
    assert responder.sent_back == 20_000


def test_a_cookie_is_for_one_challenge_and_of_one_kind() -> None:
    responder = Responder(IDENTITY, Frozen())
    first = replace(ASKED, nonce=bytes(31) + b"\1")
    sent = responder.answer(encode_challenge(first), SOURCE)
    assert sent is not None
    brought = COOKIE.decode(sent)
    assert (brought.version, brought.nonce) == (1, first.nonce)
    # a source has one cookie, whatever it asks; each datagram is read in one way alone
    assert brought.cookie == cookie_for(responder, SOURCE)
    answer = responder.answer(encode_challenge(first, brought.cookie), SOURCE)
    assert answer is not None
    assert verify(challenge_signed(NETWORK, DUTY.public, first, ANSWER.decode(answer)))
    for codec, datagram in ((ANSWER, sent), (COOKIE, answer), (REQUEST, sent), (REQUEST, answer)):
        with pytest.raises(Refusal):
            codec.decode(datagram)


@pytest.mark.parametrize(
    ("made_for", "later_s", "source", "is_right"),
    [
        (SOURCE, 0, SOURCE, True),
        (SOURCE, COOKIE_S, SOURCE, True),
        (SOURCE, 2 * COOKIE_S, SOURCE, False),
        (SOURCE, -COOKIE_S, SOURCE, False),
        (SOURCE, 0, ("127.0.0.9", 5_001), False),
        (SOURCE, 0, ("127.0.0.8", 5_000), False),
        (SOURCE, 0, ("127.0.0.95", 0), False),
        (SOURCE6, 0, SOURCE6, True),
        (SOURCE6, 0, ("2001:db8::2", 5_000), False),
    ],
    ids=str,
)
def test_a_cookie_is_right_for_one_source_and_a_while(
    made_for: Place, later_s: float, source: Place, is_right: bool
) -> None:
    clock = Frozen()
    # at the very start of a time slot, so that it ends after all of `COOKIE_S`
    clock.now = 3 * COOKIE_S
    responder = Responder(IDENTITY, clock)
    datagram = encode_challenge(ASKED, cookie_for(responder, made_for))
    clock.now += later_s
    assert answers_to(responder, datagram, source, count=1) is int(is_right)
    assert responder.answered is int(is_right)


def test_a_cookie_is_right_to_the_end_of_the_next_time_slot() -> None:
    clock = Frozen()
    clock.now = 0.0
    cookies = Cookies(clock)
    cookie = cookies.make(SOURCE)
    clock.now = 2 * COOKIE_S - 0.01
    assert cookies.admit(SOURCE, cookie)
    assert cookies.make(SOURCE) != cookie
    clock.now = 2 * COOKIE_S
    assert not cookies.admit(SOURCE, cookie)


def test_each_process_has_cookies_of_its_own() -> None:
    one, other = Cookies(Frozen()), Cookies(Frozen())
    assert one.admit(SOURCE, one.make(SOURCE))
    assert not other.admit(SOURCE, one.make(SOURCE))
    assert not one.admit(SOURCE, one.make(SOURCE)[:-1] + b"\0\0")


class Attacked:
    """A tester's socket at an address of its own, beside an attacker who sends in its name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._make = self._loop.create_datagram_endpoint
        self._host = host
        monkeypatch.setattr(self._loop, "create_datagram_endpoint", self._open)

    async def _open(self, factory: Callable[[], Any], remote_addr: Place) -> Any:
        sock = self._bind(0)
        sock.connect(remote_addr)
        # what comes back goes to the one that is connected: the attacker sees nothing of it
        for port in (sock.getsockname()[1], 0):
            with self._bind(port) as forging:
                for cookie in (NO_COOKIE, os.urandom(COOKIE_BYTES)):
                    for _ in range(int(SOURCE_BURST) + 5):
                        forging.sendto(encode_challenge(ASKED, cookie), remote_addr)
        return await self._make(factory, sock=sock)

    def _bind(self, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((self._host, port))
        return sock


@in_loop
async def test_a_tester_is_answered_while_somebody_sends_in_his_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    responder = Responder(IDENTITY)
    port = await listening(responder)
    for host in TESTERS[:5]:
        with monkeypatch.context() as patch:
            Attacked(patch, host)
            assert await ask(asked_of(port), PROBER, EPOCH, 5) is not None
    assert responder.answered >= 5
    assert responder.sent_back > 5 * SOURCE_BURST
    assert (responder.dropped, len(responder.limits)) == (0, 5)
    responder.close()


@in_loop
async def test_an_answer_leaves_from_the_address_that_was_asked() -> None:
    responder = Responder(IDENTITY)
    assert await responder.listen([("0.0.0.0", 0)]) == []
    ((_, port),) = responder.places
    assert await responder.listen([("0.0.0.0", 0), ("::", port)]) == []
    # from an address that is not the one the system would choose for the way back
    for host in ("127.0.0.1", "127.0.7.1", "127.9.0.3", "::1"):
        asked = asked_of(port, address=ip_address(host))
        assert await ask(asked, PROBER, EPOCH, 5) is not None, host
    responder.close()


@in_loop
async def test_an_answer_that_cannot_be_sent_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    responder = Responder(IDENTITY)
    port = await listening(responder)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        # no datagram is as long as that: the system refuses to send it
        answers = []

        def answer(data: bytes, source: Place) -> bytes | None:
            answers.append(source)
            return bytes(100_000)

        with monkeypatch.context() as patch:
            patch.setattr(responder, "answer", answer)
            sock.sendto(encode_challenge(ASKED), (HERE, port))
            await settle()
        assert answers == [(HERE, sock.getsockname()[1])]
    assert await ask(asked_of(port), PROBER, EPOCH, 5) is not None
    responder.close()


@in_loop
async def test_sockets_follow_the_contact_data() -> None:
    responder = Responder(IDENTITY)
    first = await listening(responder)
    assert await responder.listen([("127.0.0.2", first), ("::1", first)]) == []
    assert sorted(responder.places) == [("127.0.0.2", first), ("::1", first)]
    for host in ("127.0.0.2", "::1"):
        asked = asked_of(first, address=ip_address(host))
        assert await ask(asked, PROBER, EPOCH, 5) is not None
    assert await ask(asked_of(first), PROBER, EPOCH, LOST_S) is None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.3", 0))
        port = taken.getsockname()[1]
        (problem,) = await responder.listen([("127.0.0.3", port), ("127.0.0.2", first)])
        assert problem.startswith(f"127.0.0.3 port {port}: ")
    assert responder.places == [("127.0.0.2", first)]
    # one that was given up is free at once, for every address
    assert await responder.listen([("0.0.0.0", first)]) == []
    assert responder.places == [("0.0.0.0", first)]
    # once the port is free it is taken
    assert await responder.listen([("127.0.0.3", port)]) == []
    responder.close()
    assert responder.places == []


# ----------------------------------------------------------------------------------- asking


class Liar(asyncio.DatagramProtocol):
    """Answers each datagram with what a test says, in order; then no more."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.came: list[bytes] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.came.append(data)
        for answer in self.make(data):
            self.transport.sendto(answer, addr)

    def make(self, data: bytes) -> list[bytes]:
        """Return what is sent back."""
        return self.answers

    async def listen(self) -> int:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, (HERE, 0))
        return int(transport.get_extra_info("sockname")[1])


def read(data: bytes) -> Challenge:
    return REQUEST.decode(data).challenge


@in_loop
async def test_a_silent_node_is_asked_several_times_with_one_nonce() -> None:
    liar = Liar()
    port = await liar.listen()
    assert await ask(asked_of(port), PROBER, EPOCH, LOST_S) is None
    assert len(liar.came) == module.TRIES
    assert len(set(liar.came)) == 1
    challenge = read(liar.came[0])
    assert (challenge.target, challenge.prober, challenge.epoch) == (NODE, PROBER, EPOCH)
    assert await ask(asked_of(port), PROBER, EPOCH, LOST_S) is None
    assert read(liar.came[-1]).nonce != challenge.nonce
    liar.transport.close()


class Forger(Liar):
    """Answers with everything that is no answer, many times over."""

    def make(self, data: bytes) -> list[bytes]:
        challenge = read(data)
        other = replace(challenge, nonce=bytes(32))
        mallory = key_pair(bytes(32))
        good = ANSWER.decode(answer_challenge(NETWORK, DUTY, challenge, 5, AGENT))
        return [
            b"",
            data,
            bytes(65_000),
            answer_challenge(NETWORK, DUTY, other, 5, AGENT),
            answer_challenge(NETWORK, mallory, challenge, 5, AGENT),
            answer_challenge(bytes(32), DUTY, challenge, 5, AGENT),
            encode(replace(good, version=2)),
            encode(replace(good, time_ms=6)),
            encode(good) + b"\0",
        ]


@in_loop
async def test_what_is_no_signed_answer_is_none() -> None:
    forger = Forger()
    port = await forger.listen()
    assert await ask(asked_of(port), PROBER, EPOCH, LOST_S) is None
    assert len(forger.came) == module.TRIES
    forger.transport.close()


class Late(Liar):
    """Answers honestly behind what somebody else sends, who does not know the nonce."""

    def make(self, data: bytes) -> list[bytes]:
        strange = encode(ChallengeAnswer(1, bytes(32), 5, AGENT, bytes(64)))
        honest = answer_challenge(NETWORK, DUTY, read(data), 5, AGENT)
        return [*[strange] * (2 * MOST_WRONG), honest]


@in_loop
async def test_who_does_not_see_a_challenge_cannot_drown_its_answer() -> None:
    late = Late()
    port = await late.listen()
    heard = await ask(asked_of(port), PROBER, EPOCH, 5)
    assert heard is not None
    assert heard.answer.time_ms == 5
    late.transport.close()


class Wasteful(Liar):
    """Makes its tester verify as much as it can, and answers honestly behind that."""

    def make(self, data: bytes) -> list[bytes]:
        challenge = read(data)
        wrong = encode(ChallengeAnswer(1, challenge.nonce, 5, AGENT, bytes(64)))
        return [*[wrong] * MOST_WRONG, answer_challenge(NETWORK, DUTY, challenge, 5, AGENT)]


@in_loop
async def test_a_node_cannot_have_its_tester_verify_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verified = []

    def counted(signed: Any) -> bool:
        verified.append(signed)
        return verify(signed)

    monkeypatch.setattr(module, "verify", counted)
    wasteful = Wasteful()
    port = await wasteful.listen()
    assert await ask(asked_of(port), PROBER, EPOCH, LOST_S) is None
    assert len(verified) == MOST_WRONG
    wasteful.transport.close()


@in_loop
async def test_a_lost_datagram_is_made_up_for() -> None:
    class Deaf(Liar):
        def make(self, data: bytes) -> list[bytes]:
            if len(self.came) < module.TRIES:
                return []
            return [answer_challenge(NETWORK, DUTY, read(data), 5, AGENT)]

    deaf = Deaf()
    port = await deaf.listen()
    assert await ask(asked_of(port), PROBER, EPOCH, LOST_S) is not None
    deaf.transport.close()


@in_loop
async def test_where_there_is_no_way_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut_off(*_: Any, **__: Any) -> Any:
        raise OSError(101, "Network is unreachable")

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "create_datagram_endpoint", cut_off)
    with pytest.raises(Unroutable, match="unreachable"):
        await ask(asked_of(9), PROBER, EPOCH, 1)


# -------------------------------------------------------------------- asking with a cookie


class Careful(Liar):
    """A node behind a network that loses datagrams, on their way there or back."""

    def __init__(self, lost: set[int]) -> None:
        super().__init__()
        self.lost = lost
        """Which datagrams are lost: of all, counted from 0 in their order."""
        self.seen = 0
        self.responder = Responder(IDENTITY)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.came.append(data)
        if self._is_lost():
            return
        answer = self.responder.answer(data, addr[:2])
        assert answer is not None
        if not self._is_lost():
            self.transport.sendto(answer, addr)

    def _is_lost(self) -> bool:
        self.seen += 1
        return self.seen - 1 in self.lost


@pytest.mark.parametrize(
    ("lost", "sent"),
    [
        ((), 2),
        ((0,), 3),  # a challenge
        ((1,), 3),  # its cookie
        ((2,), 3),  # a challenge with the cookie
        ((3,), 3),  # the answer
        ((0, 1), 4),
        ((1, 4), 4),
        ((2, 3), 4),
        ((3, 5), 4),
    ],
    ids=str,
)
@in_loop
async def test_what_is_lost_at_either_step_is_made_up_for(lost: tuple[int, ...], sent: int) -> None:
    careful = Careful(set(lost))
    port = await careful.listen()
    heard = await ask(asked_of(port), PROBER, EPOCH, 2 * LOST_S)
    assert heard is not None
    assert careful.responder.answered >= 1
    assert len(careful.came) >= sent
    requests = [REQUEST.decode(data) for data in careful.came]
    assert len({request.challenge for request in requests}) == 1
    # from the first cookie on it asks with that one
    cookies = [request.cookie for request in requests]
    without = cookies.count(NO_COOKIE)
    assert set(cookies[:without]) == {NO_COOKIE}
    assert len(set(cookies[without:])) == 1
    careful.transport.close()


@in_loop
async def test_a_node_that_starts_again_twice_in_between_is_heard() -> None:
    class Restarting(Careful):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if len(self.came) < 3:
                self.responder = Responder(IDENTITY)

    restarting = Restarting(set())
    port = await restarting.listen()
    assert await ask(asked_of(port), PROBER, EPOCH, 5) is not None
    cookies = [REQUEST.decode(data).cookie for data in restarting.came]
    assert cookies[0] == NO_COOKIE
    assert len(set(cookies)) == 4
    restarting.transport.close()


@in_loop
async def test_cookies_without_end_are_not_followed() -> None:
    class Generous(Liar):
        def make(self, data: bytes) -> list[bytes]:
            return [encode_cookie(read(data), os.urandom(COOKIE_BYTES)) for _ in range(3)]

    generous = Generous()
    port = await generous.listen()
    assert await ask(asked_of(port), PROBER, EPOCH, LOST_S) is None
    assert len(generous.came) == module.TRIES + MOST_COOKIES
    generous.transport.close()


@in_loop
async def test_a_cookie_that_is_none_is_not_taken() -> None:
    class Strange(Liar):
        def make(self, data: bytes) -> list[bytes]:
            challenge, cookie = read(data), os.urandom(COOKIE_BYTES)
            good = encode_cookie(challenge, cookie)
            return [
                encode_cookie(replace(challenge, nonce=bytes(32)), cookie),
                encode(replace(COOKIE.decode(good), version=2)),
                good[:-1],
                good + b"\0",
                encode_cookie(challenge, NO_COOKIE),
            ]

    strange = Strange()
    port = await strange.listen()
    assert await ask(asked_of(port), PROBER, EPOCH, LOST_S) is None
    assert len(strange.came) == module.TRIES
    assert {REQUEST.decode(data).cookie for data in strange.came} == {NO_COOKIE}
    strange.transport.close()
