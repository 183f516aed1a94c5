"""Who means harm over OxenMQ costs the others nothing: memory stays bounded, they are answered.

The attacker speaks ZMTP, the protocol below ZeroMQ, by himself, byte by byte.
"""

import contextlib
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.processes import read_memory
from tests.registry.api.fake_ledger import make_node, make_view, push_of
from tests.registry.api.processes import folder, web_process
from tests.registry.oxenmq.face import SERVER_KEY
from tests.registry.oxenmq.speaker import (
    COMMAND,
    CURVE_GREETING,
    GREETING,
    LONG,
    MORE,
    CurveClient,
    frame,
    message,
    ready,
)
from tests.registry.oxenmq_client import OxenClient
from tests.registry.session_client import STORAGE_SERVER

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "tests.registry.oxenmq.program"
PATIENCE_S = 60

NEAR = ("tcp://127.0.0.1:0", "curve://127.0.0.1:0")

NODES = 2_000
"""Rows of the service: an answer with all fields has two megabytes."""

GROWTH_BYTES = 300 * 2**20
"""What the face may grow by under any of this: what may wait unread, several times, and some."""

MOST_BYTES = 2**32
"""What nobody is given the time to send."""

WELCOME_BYTES = 168
WELCOMED_BYTES = len(GREETING) + 2 + WELCOME_BYTES
"""What an encrypted address has said when it has answered HELLO."""

ASKED = 40
"""Requests of each honest client during an attack."""


def request(number: int, **params: object) -> bytes:
    """A request for nodes."""
    body = json.dumps(params).encode()
    return message(b"rpc.get_service_nodes", number.to_bytes(8, "big"), body)


class Cut(Exception):
    """The connection was ended by the far side."""


TRIES: Final = 5
PAUSE_S: Final = 0.5
"""Time between tries: a host's share is that of a second."""


class Attacker:
    """One connection that has shaken hands, or has not."""

    def __init__(
        self,
        port: int,
        *,
        is_greeted: bool = True,
        reads: bool = True,
        identity: bytes = b"",
        source: str = "127.0.0.1",
    ) -> None:
        self._sock = socket.socket()
        self._sock.bind((source, 0))
        if not reads:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._sock.settimeout(PATIENCE_S)
        self._sock.connect(("127.0.0.1", port))
        if is_greeted:
            self.send(GREETING + ready(identity))
            self.read_bytes(len(GREETING + ready()))

    def send(self, data: bytes) -> None:
        """Send bytes, and take no hint that nobody wants them. Raises `Cut`."""
        try:
            self._sock.sendall(data)
        except TimeoutError:
            raise
        except OSError:
            raise Cut from None

    def read(self) -> bytes:
        """Return what comes next. Raises `Cut`."""
        try:
            data = self._sock.recv(65_536)
        except TimeoutError:
            raise
        except OSError:
            raise Cut from None
        if not data:
            raise Cut
        return data

    def read_bytes(self, count: int) -> bytes:
        """Return what comes, once it has so many bytes. Raises `Cut`."""
        came = b""
        while len(came) < count:
            came += self.read()
        return came

    def send_until_cut(self, data: bytes) -> None:
        """Send the same bytes again and again, until the far side ends the connection."""
        with contextlib.suppress(Cut):
            for _ in range(MOST_BYTES // len(data)):
                self.send(data)
            raise AssertionError(f"it took {MOST_BYTES} bytes")

    def wait_for_cut(self) -> None:
        """Read until the far side ends the connection."""
        with contextlib.suppress(Cut):
            while True:
                self.read()

    def close(self) -> None:
        """End the connection."""
        self._sock.close()


class Door:
    """A face as a process, and whoever is connected to it."""

    def __init__(self, url: str, place: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, url, f"ipc://{place}/omq", *NEAR],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.ipc, self.tcp, self.curve = json.loads(self.process.stdout.readline())
        self._attackers: list[Attacker] = []

    def attacker(self, **options: Any) -> Attacker:
        """Return a new connection that means harm."""
        for _ in range(TRIES - 1):
            # what went before may have it cut at once; a face that has ended refuses it
            with contextlib.suppress(ConnectionResetError, Cut):
                return self._attack(**options)
            time.sleep(PAUSE_S)
        return self._attack(**options)

    def _attack(self, *, is_encrypted: bool = False, **options: Any) -> Attacker:
        address = self.curve if is_encrypted else self.tcp
        made = Attacker(int(address.rpartition(":")[2]), **options)
        self._attackers.append(made)
        return made

    def let_go(self) -> None:
        """End all connections that mean harm."""
        for each in self._attackers:
            each.close()
        self._attackers.clear()

    def memory(self) -> int:
        """Return the bytes that the face holds in memory."""
        return read_memory(self.process.pid)

    def end(self) -> int:
        """Stop the face and return its exit code."""
        self.let_go()
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode


class Honest:
    """A client that asks, over and over, and remembers what it was answered."""

    def __init__(self, address: str, server_key: str = "") -> None:
        self._client = OxenClient(address, server_key=server_key)
        self._client.greet()
        self.answered = 0

    def ask(self) -> None:
        """Ask some times."""
        for _ in range(ASKED):
            nodes = self._client.request(
                "rpc.get_service_nodes", STORAGE_SERVER, patience_ms=60_000
            )
            assert len(nodes.json["service_node_states"]) == NODES
            self.answered += 1

    def close(self) -> None:
        """End the connection."""
        self._client.close()


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    """A face before a service with many nodes."""
    with ExitStack() as stack:
        web, ledger = stack.enter_context(web_process())
        rows = [make_node(number) for number in range(1, NODES + 1)]
        ledger.push(make_view(8_641), push_of(*rows, first=True))
        made = Door(web.url, stack.enter_context(folder()))
        yield made
        assert made.end() == 0


# ---- Attacks. Each returns once it is over; those that have to be cut wait for it. ----


def send_without_end(door: Door) -> None:
    """Parts that promise more, and never a last one."""
    door.attacker().send_until_cut(frame(bytes(60_000), MORE))


def drip_without_end(door: Door) -> None:
    """The same in parts of one byte, of which millions fit into little."""
    door.attacker().send_until_cut(frame(b"x", MORE) * 30_000)


def send_too_long_a_part(door: Door) -> None:
    """A part over the limit."""
    door.attacker().send_until_cut(frame(bytes(2**16 + 1)))


def promise_a_huge_part(door: Door) -> None:
    """The length of a part that nobody could hold."""
    for length in (2**31, 2**62, 2**63 - 1, 2**64 - 1):
        attacker = door.attacker()
        attacker.send(bytes([LONG]) + length.to_bytes(8, "big") + bytes(100))
        attacker.wait_for_cut()


def send_too_many_parts(door: Door) -> None:
    """A whole message that no program of OxenMQ would send."""
    attacker = door.attacker()
    attacker.send(message(*[b"part"] * 5_000))
    attacker.wait_for_cut()


def flood_with_greetings(door: Door) -> None:
    """More messages than anybody has to say."""
    door.attacker().send_until_cut(message(b"HI") * 1_000)


def flood_with_requests(door: Door) -> None:
    """More requests than anybody has, each for other fields."""
    names = ["public_ip", "swarm", "swarm_id", "funded", "active", "storage_port", "operator_fee"]
    draws = random.Random(1)
    requests = (
        request(number, fields=draws.sample(names, draws.randrange(1, 7))) for number in range(200)
    )
    door.attacker().send_until_cut(b"".join(requests))


def ask_and_never_read(door: Door) -> None:
    """Requests for all there is, each answer another, and nobody who takes them."""
    attackers = [door.attacker(reads=False) for _ in range(40)]
    for number in range(10):
        for attacker in attackers:
            with contextlib.suppress(Cut):
                attacker.send(request(number, limit=-1))


def connect_and_say_nothing(door: Door) -> None:
    """As many connections as one machine can make."""
    attackers = []
    for _ in range(200):
        with contextlib.suppress(OSError):
            attackers.append(door.attacker(is_greeted=False))
    for attacker in attackers[100:]:
        attacker.wait_for_cut()


def talk_nonsense(door: Door) -> None:
    """Bytes that are no greeting, half a greeting, or no frame."""
    draws = random.Random(2)
    for number in range(60):
        attacker = door.attacker(is_greeted=False)
        start = (GREETING + ready())[: draws.randrange(0, 110)]
        with contextlib.suppress(Cut):
            attacker.send(start + draws.randbytes(draws.randrange(1, 2_000)))
        if number % 2:
            attacker.close()
    door.let_go()


def send_requests_that_are_none(door: Door) -> None:
    """Whole messages with anything in them."""
    draws = random.Random(3)
    heads = [b"rpc.get_service_nodes", b"rpc.get_block_hash", b"sub.block", b"REPLY", b"", b"BYE"]
    for _ in range(20):
        attacker = door.attacker()
        with contextlib.suppress(Cut):
            for _ in range(20):
                parts = [draws.randbytes(draws.randrange(0, 300)) for _ in range(3)]
                attacker.send(message(draws.choice(heads), *parts[: draws.randrange(1, 4)]))
        attacker.close()


def subscribe_over_and_over(door: Door) -> None:
    """More subscriptions than there are places, from connections that end."""
    for number in range(150):
        with contextlib.suppress(ConnectionResetError, Cut):
            attacker = door.attacker()
            attacker.send(message(b"sub.block", number.to_bytes(8, "big")) * 3)
            attacker.read()
            attacker.close()


def subscribe_and_break_off(door: Door) -> None:
    """Subscriptions of connections that are cut before they are answered, from many addresses."""
    for number in range(300):
        with contextlib.suppress(ConnectionResetError, Cut):
            attacker = door.attacker(source=f"127.0.80.{number % 250 + 1}")
            attacker.send(message(b"sub.block", b"tag") + b"\xff\xff")
            attacker.wait_for_cut()
    late = OxenClient(door.tcp.replace("tcp://", "tcp://127.0.0.4:0;"))
    late.greet()
    assert late.request("sub.block").data == [b"OK"]
    late.close()


def ask_for_many_fields(door: Door) -> None:
    """As many names as a message has room for, over many connections."""
    names = ["all", *(f"-{number}" for number in range(15_000))]
    body = json.dumps({"fields": names, "poll_block_hash": "00" * 32}).encode()
    for number in range(100):
        with contextlib.suppress(ConnectionResetError, Cut):
            attacker = door.attacker(source=f"127.0.81.{number + 1}")
            attacker.send(message(b"rpc.get_service_nodes", b"tag", body) * 2)


def take_all_places(door: Door) -> None:
    """Connections from many addresses that shake hands and are silent then."""
    for number in range(600):
        with contextlib.suppress(ConnectionResetError, Cut):
            door.attacker(source=f"127.0.82.{number // 40 + 1}")
    late = Honest(door.tcp.replace("tcp://", "tcp://127.0.0.4:0;"))
    late.ask()
    late.close()


def speak_an_old_protocol(door: Door) -> None:
    """ZMTP 1 and 2."""
    old_greetings = (
        (b"\x01\x00", b"\x03\x00HI"),
        (b"\xff" + bytes(8) + b"\x7f\x01\x05" + b"\x00\x00", b"\x00\x02HI"),
    )
    for greeting, hello in old_greetings:
        attacker = door.attacker(is_greeted=False)
        attacker.send(greeting)
        attacker.send_until_cut(hello * 10_000)


def claim_identities(door: Door) -> None:
    """Identities of others, the same one many times, and those that servers give by themselves."""
    draws = random.Random(4)
    for _ in range(40):
        claimed = [b"Lrouter", b"\x00" + draws.randbytes(4), draws.randbytes(255)]
        for identity in claimed:
            attacker = door.attacker(identity=identity)
            with contextlib.suppress(Cut):
                attacker.send(message(b"HI") + message(b"sub.block", b"tag"))
        if draws.randrange(2):
            door.let_go()


def send_commands(door: Door) -> None:
    """Commands of ZMTP: signs of life without end, and those that have no place here."""
    draws = random.Random(5)
    names = [b"PING", b"PONG", b"ERROR", b"READY", b"SUBSCRIBE", b"CANCEL", b"JOIN", b"NONSENSE"]
    for _ in range(20):
        attacker = door.attacker()
        with contextlib.suppress(Cut):
            for _ in range(200):
                name = draws.choice(names)
                body = bytes([len(name)]) + name + draws.randbytes(draws.randrange(0, 60))
                attacker.send(frame(body, COMMAND))
    attacker = door.attacker()
    attacker.send_until_cut(frame(b"\x04PING\x00\x00" + bytes(16), COMMAND) * 5_000)


def shake_hands_over_and_over(door: Door) -> None:
    """Encryption begun, which costs the face more than who begins it, and never used."""
    hello = frame(CurveClient(bytes.fromhex(SERVER_KEY)).hello(), COMMAND)
    for _ in range(300):
        with contextlib.suppress(ConnectionResetError, Cut):
            attacker = door.attacker(is_greeted=False, is_encrypted=True)
            attacker.send(CURVE_GREETING + hello)
            attacker.read_bytes(WELCOMED_BYTES)
            attacker.close()


def send_what_does_not_open(door: Door) -> None:
    """A box with one bit changed, at each step of encryption."""
    draws = random.Random(6)
    for number in range(120):
        client = CurveClient(bytes.fromhex(SERVER_KEY))
        attacker = door.attacker(is_greeted=False, is_encrypted=True)
        attacker.send(CURVE_GREETING)
        with contextlib.suppress(Cut):
            for step in range(number % 3 + 1):
                body = (client.hello, client.initiate, partial(client.seal, b"HI"))[step]()
                if step == number % 3:
                    body = flip(body, draws)
                attacker.send(frame(body, COMMAND))
                if step == 0:
                    client.read_welcome(attacker.read_bytes(WELCOMED_BYTES)[-WELCOME_BYTES:])
            attacker.wait_for_cut()
        attacker.close()


def flip(body: bytes, draws: random.Random) -> bytes:
    """Change one bit of the box at the end."""
    changed = bytearray(body)
    changed[-draws.randrange(1, 19)] ^= 1 << draws.randrange(8)
    return bytes(changed)


ATTACKS: tuple[Callable[[Door], None], ...] = (
    send_without_end,
    drip_without_end,
    send_too_long_a_part,
    promise_a_huge_part,
    send_too_many_parts,
    flood_with_greetings,
    flood_with_requests,
    ask_and_never_read,
    connect_and_say_nothing,
    talk_nonsense,
    send_requests_that_are_none,
    subscribe_over_and_over,
    subscribe_and_break_off,
    ask_for_many_fields,
    take_all_places,
    speak_an_old_protocol,
    claim_identities,
    send_commands,
    shake_hands_over_and_over,
    send_what_does_not_open,
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_others_are_served(door: Door, attack: Callable[[Door], None]) -> None:
    before = door.memory()
    # one over the Unix socket, the others from other addresses of this machine
    honest = [
        Honest(door.ipc),
        Honest(door.tcp.replace("tcp://", "tcp://127.0.0.2:0;")),
        Honest(door.curve.replace("curve://", "tcp://127.0.0.3:0;"), SERVER_KEY),
    ]
    most = 0
    is_over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not is_over.wait(0.02):
            most = max(most, door.memory() - before)

    threads = [threading.Thread(target=client.ask) for client in honest]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    attack(door)
    for thread in threads[:-1]:
        thread.join()
    is_over.set()
    threads[-1].join()
    door.let_go()
    for client in honest:
        client.close()
    assert [client.answered for client in honest] == [ASKED] * len(honest)
    assert most < GROWTH_BYTES, f"it grew by {most >> 20} MB"
    assert door.process.poll() is None
