"""The challenge port of a real agent: what is no challenge, far too many, others' names."""

import asyncio
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.messages.challenges import (
    ANSWER,
    COOKIE,
    COOKIE_BYTES,
    MAX_ANSWER_BYTES,
    MAX_COOKIE_BYTES,
    MAX_REQUEST_BYTES,
    NO_COOKIE,
    Challenge,
    ChallengeRequest,
    encode_challenge,
)
from registry.agent.challenge import SOURCE_BURST, SOURCES, TOTAL_BURST, Asked, ask
from registry.keystore import derive, save_insecure_seed
from tests.factory import make_genesis, public
from tests.processes import read_memory
from tests.registry.factory import in_loop, seed_of

PATIENCE_S: Final = 60.0
NOBODY: Final = "http://127.0.0.1:1"
GROWTH: Final = 16 * 2**20
"""Bytes that an agent may grow by, whatever comes: its table of sources has a tenth of that."""

NODE: Final = derive(seed_of("flooded"), "node").public
DUTY: Final = derive(seed_of("flooded"), "duty").public
GENESIS: Final = encode(make_genesis(start_ms=time.time_ns() // 1_000_000))


class Flooded:
    """An agent that reaches no service: its port alone is of interest."""

    def __init__(self, folder: Path) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        save_insecure_seed(folder / "node.json", seed_of("flooded"))
        (folder / "genesis.bin").write_bytes(GENESIS)
        contact = {"ipv4": "127.0.0.1", "storage_port": self.port, "router_port": 1}
        versions = {"storage_version": "1.0.0", "router_version": "1.0.0"}
        place = {"home": str(folder), "node": str(folder / "node.json"), "services": [NOBODY]}
        told = json.dumps(place | contact | versions)
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "registry.agent", "--settings", told], stderr=self._log
        )
        self._status = folder / "status.json"

    def wait(self) -> None:
        """Wait until it answers."""
        until = time.monotonic() + PATIENCE_S
        while not self._status.exists() or "port" not in self._status.read_text():
            assert self.process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self._log.close()

    @property
    def memory(self) -> int:
        """Bytes that it holds."""
        return read_memory(self.process.pid)

    async def answers(self, tries: int = 20) -> bool:
        """Whether it answers an honest tester, who asks again as testers do."""
        asked = Asked(sha256(GENESIS), NODE, DUTY, ip_address("127.0.0.1"), self.port)
        for _ in range(tries):
            if await ask(asked, public("tester"), 1, 3) is not None:
                return True
        return False


@pytest.fixture(scope="module")
def flooded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flooded]:
    """An agent that answers."""
    made = Flooded(tmp_path_factory.mktemp("agent"))
    try:
        made.wait()
        yield made
    finally:
        made.stop()


def challenge(**changes: Any) -> Challenge:
    fields: dict[str, Any] = {
        "target": NODE,
        "prober": public("tester"),
        "nonce": bytes(32),
        "epoch": 1,
    }
    return Challenge(**(fields | changes))


def random_bytes(draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice((0, 1, 40, MAX_ANSWER_BYTES, 130, 1_400, 9_000, 60_000)))


def mutated(draw: random.Random) -> bytes:
    raw = bytearray(encode_challenge(challenge(nonce=draw.randbytes(32))))
    for _ in range(draw.randint(1, 4)):
        raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    return bytes(raw)


def misdirected(draw: random.Random) -> bytes:
    return encode_challenge(challenge(target=draw.randbytes(32)))


def untimely(draw: random.Random) -> bytes:
    return encode_challenge(challenge(epoch=draw.randint(10**6, 2**63 - 1)))


def outdated(draw: random.Random) -> bytes:
    return encode(ChallengeRequest(draw.randint(2, 255), challenge(), NO_COOKIE))


def honest(draw: random.Random) -> bytes:
    return encode_challenge(challenge(nonce=draw.randbytes(32)))


def forged(draw: random.Random) -> bytes:
    return encode_challenge(challenge(nonce=draw.randbytes(32)), draw.randbytes(COOKIE_BYTES))


FLOODS: Final = {
    make.__name__: make
    for make in (random_bytes, mutated, misdirected, untimely, outdated, honest, forged)
}


WELL_FORMED: Final = ("mutated", "honest", "forged")
"""Floods in which something is a challenge: a bit of a nonce may be any."""


@pytest.mark.parametrize("name", FLOODS)
@in_loop
async def test_a_flood_leaves_an_honest_tester_his_answer(flooded: Flooded, name: str) -> None:
    draw = random.Random(name)
    datagrams = [FLOODS[name](draw) for _ in range(500)]
    before = flooded.memory
    got = await asyncio.to_thread(send_from_many, flooded.port, datagrams, 40_000)
    assert await flooded.answers()
    assert flooded.process.poll() is None
    assert flooded.memory - before < GROWTH
    got += await asyncio.to_thread(send_slowly, flooded.port, datagrams[:40])
    # nothing was signed, and only what is well-formed got a cookie: shorter than what it answers
    assert bool(got) is (name in WELL_FORMED)
    for answer in got:
        assert len(answer) < MAX_COOKIE_BYTES < MAX_ANSWER_BYTES
        COOKIE.decode(answer)


@in_loop
async def test_a_flood_from_where_it_says_leaves_an_honest_tester_his_answer(
    flooded: Flooded,
) -> None:
    before = flooded.memory
    got = await asyncio.to_thread(send_with_cookies, flooded.port, SOURCES + 500)
    assert await flooded.answers()
    assert flooded.process.poll() is None
    assert flooded.memory - before < GROWTH
    # it is answered as far as the limits go
    assert len(got) > TOTAL_BURST // 4
    for answer in got:
        assert len(answer) <= MAX_ANSWER_BYTES < MAX_REQUEST_BYTES
        ANSWER.decode(answer)


@in_loop
async def test_a_flood_in_the_names_of_testers_leaves_them_their_answers(
    flooded: Flooded,
) -> None:
    draw = random.Random("testers")
    flood = [draw.choice((honest, forged))(draw) for _ in range(int(SOURCE_BURST) + 5)]
    for n in range(1, 21):
        tester = Named(f"127.0.9.{n}", flooded.port)
        assert await asyncio.to_thread(tester.is_answered_under, flood), tester.host
        tester.close()
    assert flooded.process.poll() is None


class Named:
    """A source that is somebody's, whose name an attacker may use and whose mail he cannot read."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self._port = port
        self._sock = self._bind(0)
        self._sock.connect(("127.0.0.1", port))
        self._sock.settimeout(1)

    def close(self) -> None:
        """Leave."""
        self._sock.close()

    def _bind(self, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.host, port))
        return sock

    def is_named_by(self, datagrams: list[bytes]) -> None:
        """Send datagrams from its address: from its own port, then from another one."""
        for port in (self._sock.getsockname()[1], 0):
            # what comes back goes to the socket that is connected
            with self._bind(port) as forging:
                for datagram in datagrams:
                    forging.sendto(datagram, ("127.0.0.1", self._port))

    def is_answered_under(self, flood: list[bytes]) -> bool:
        """Whether it is answered in ten tries, each behind all of a flood in its name."""
        cookie = NO_COOKIE
        for _ in range(10):
            self.is_named_by(flood)
            heard = self._ask(challenge(), cookie)
            if heard is not None and len(heard) > MAX_COOKIE_BYTES:
                return ANSWER.decode(heard).nonce == challenge().nonce
            cookie = cookie if heard is None else COOKIE.decode(heard).cookie
        return False

    def _ask(self, asked: Challenge, cookie: bytes) -> bytes | None:
        """Ask once; return what comes for this challenge and no other."""
        self._sock.send(encode_challenge(asked, cookie))
        try:
            while True:
                heard = self._sock.recv(MAX_REQUEST_BYTES)
                if asked.nonce in heard:
                    return heard
        except TimeoutError:
            return None


def send_slowly(port: int, datagrams: list[bytes]) -> list[bytes]:
    """Send datagrams one by one, with time for an answer to each; return those that came."""
    got: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.05)
        for datagram in datagrams:
            sock.sendto(datagram, ("127.0.0.1", port))
            try:
                got.append(sock.recv(65_536))
            except TimeoutError:
                continue
    return got


def send_with_cookies(port: int, sources: int) -> list[bytes]:
    """Ask with a cookie from many addresses, and go on with it; return the answers that came."""
    got: list[bytes] = []
    for source in range(sources):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((f"127.{70 + source // 65_536}.{source // 256 % 256}.{source % 256}", 0))
            sock.connect(("127.0.0.1", port))
            sock.settimeout(1)
            try:
                sock.send(encode_challenge(challenge()))
                cookie = COOKIE.decode(sock.recv(MAX_REQUEST_BYTES)).cookie
                for _ in range(3):
                    sock.send(encode_challenge(challenge(), cookie))
                sock.settimeout(0.02)
                got.append(sock.recv(MAX_REQUEST_BYTES))
            except TimeoutError:
                continue
    return got


def send_from_many(port: int, datagrams: list[bytes], count: int) -> list[bytes]:
    """Send datagrams from more addresses than an agent remembers; return what came back."""
    got: list[bytes] = []
    per_source = max(1, count // (2 * SOURCES))
    number = 0
    while number < count:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            source = number // per_source
            sock.bind((f"127.{60 + source // 65_536}.{source // 256 % 256}.{source % 256}", 0))
            sock.setblocking(False)
            for _ in range(per_source):
                sock.sendto(datagrams[number % len(datagrams)], ("127.0.0.1", port))
                number += 1
            try:
                got.append(sock.recv(65_536))
            except BlockingIOError:
                continue
    return got
