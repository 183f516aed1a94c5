"""Challenges over real sockets: who answers what, and what nobody can make a node do."""

import asyncio
import os
import socket
from ipaddress import ip_address
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import KeyPair, key_pair, sha256, verify
from ledger.messages.challenges import (
    ANSWER,
    MAX_ANSWER_BYTES,
    MAX_REQUEST_BYTES,
    PADDING,
    REQUEST,
    Challenge,
    ChallengeAnswer,
    ChallengeRequest,
    answer_challenge,
    challenge_signed,
    encode_challenge,
)
from ledger.messages.contact import Version
from registry.agent import challenge as module
from registry.agent.challenge import (
    MOST_WRONG,
    SOURCE_BURST,
    SOURCE_RATE,
    TOTAL_BURST,
    Asked,
    Identity,
    Limits,
    Responder,
    Unroutable,
    ask,
)
from tests.factory import keys
from tests.registry.factory import in_loop

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


def asked_of(port: int, **changes: Any) -> Asked:
    return Asked(NETWORK, NODE, DUTY.public, ip_address(HERE), port)._replace(**changes)


# ------------------------------------------------------------------------------ the records


def test_an_answer_is_never_longer_than_the_shortest_request() -> None:
    shortest = encode_challenge(replace(ASKED, epoch=0))
    longest = encode_challenge(replace(ASKED, epoch=2**63 - 1))
    assert len(longest) == MAX_REQUEST_BYTES
    answer = answer_challenge(NETWORK, DUTY, ASKED, 2**63 - 1, Version(255, 255, 255))
    assert len(answer) == MAX_ANSWER_BYTES < len(shortest)


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
    assert responder.answered == 2
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
    "another version": encode(ChallengeRequest(2, ASKED, PADDING)),
    "another node": encode_challenge(replace(ASKED, target=PROBER)),
    "an epoch too early": encode_challenge(replace(ASKED, epoch=EPOCH - 2)),
    "an epoch too late": encode_challenge(replace(ASKED, epoch=EPOCH + 2)),
    "not canonical": encode_challenge(ASKED).replace(b"\xc4\x20", b"\xc5\x00\x20", 1),
    "an answer": answer_challenge(NETWORK, DUTY, ASKED, 5, AGENT),
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
        # one that is answered comes behind: what would be said to the first is there by then
        await loop.sock_sendall(sock, encode_challenge(ASKED))
        answer = ANSWER.decode(await loop.sock_recv(sock, 2_000))
        assert verify(challenge_signed(NETWORK, DUTY.public, ASKED, answer))
        with pytest.raises(BlockingIOError):
            sock.recv(2_000)
    assert (responder.answered, responder.dropped) == (1, 1)
    responder.close()


@in_loop
async def test_a_flood_of_one_source_leaves_the_others_their_answers() -> None:
    clock = Frozen()
    limits = Limits(clock)
    responder = Responder(IDENTITY, limits)
    port = await listening(responder)
    flood = encode_challenge(ASKED)
    answers = sum(responder.answer(flood, "127.0.0.9") is not None for _ in range(10_000))
    assert answers == SOURCE_BURST
    assert await ask(asked_of(port), PROBER, EPOCH, 5) is not None
    clock.now += 1
    answers = sum(responder.answer(flood, "127.0.0.9") is not None for _ in range(10_000))
    assert answers == SOURCE_RATE
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
    limits = Limits(Frozen())
    responder = Responder(IDENTITY, limits)
    for _ in range(5_000):
        assert responder.answer(bytes(MAX_REQUEST_BYTES), "127.0.0.9") is None
    assert len(limits) == 0
    assert responder.answer(encode_challenge(ASKED), "127.0.0.9") is not None


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
