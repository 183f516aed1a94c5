"""The challenge port of a real agent, under what is no challenge and under far too many."""

import asyncio
import json
import os
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
    MAX_ANSWER_BYTES,
    MAX_REQUEST_BYTES,
    PADDING,
    Challenge,
    ChallengeRequest,
    encode_challenge,
)
from registry.agent.challenge import SOURCES, Asked, ask
from registry.keystore import derive, save_insecure_seed
from tests.factory import make_genesis, public
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
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

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
    return encode(ChallengeRequest(draw.randint(2, 255), challenge(), PADDING))


def honest(draw: random.Random) -> bytes:
    return encode_challenge(challenge(nonce=draw.randbytes(32)))


FLOODS: Final = {
    make.__name__: make for make in (random_bytes, mutated, misdirected, untimely, outdated, honest)
}


WELL_FORMED: Final = ("mutated", "honest")
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
    # nothing that came back is longer than what it answers, and only what is well-formed got any
    assert all(len(answer) <= MAX_ANSWER_BYTES < MAX_REQUEST_BYTES for answer in got)
    assert bool(got) is (name in WELL_FORMED)
    for answer in got:
        ANSWER.decode(answer)


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
