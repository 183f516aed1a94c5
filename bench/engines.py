"""Transactions a second, and time to commit: one producer, and four validators on one machine.

- Each engine runs as users run it: services under their supervisors, a real CometBFT beside each
  validator, real sockets. All of it, and who sends, shares the cores of this machine.
- Blocks are meant to come every half second. Transfers were signed before; they are sent over HTTP
  in batches, to the services in turn, and count when their sender is told that they stand in a
  block. The last batch of a round ends its time.
- Time to commit is that of one transfer at a time on a network that has nothing else to do, from
  the request to the answer that it stands in a block.
"""

import http.client
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.figures import Section, percentile, python_command
from bench.networks import SEED, make_pairs
from ledger.crypto import KeyPair, sha256
from ledger.messages.genesis import COMET, FIXED, REGISTRY, SOLO
from ledger.types import COIN, Hash
from registry.cometbft.home import prepare_node
from registry.cometbft.version import NoCometbft, find_program
from registry.founding import make_genesis, make_seat
from registry.home import GENESIS
from registry.keystore import derive, named_seed, save_insecure_seed
from registry.settings import Settings
from registry.sockets import listen
from registry.wallet import Terms, Wallet

HOST: Final = "127.0.0.1"
PARAMS: Final = {"block_ms": 500, "epoch_ms": 10_000}
VALIDATORS: Final = 4
ACCOUNTS: Final = 4_000
ROUNDS: Final = 3
BATCH: Final = 250
SENDERS: Final = 8
"""Batches on their way at a time."""

SINGLE: Final = 20
"""Transfers that are sent alone."""

START_S: Final = 60.0
STOP_S: Final = 30.0
COMMIT_S: Final = 120.0


def run(section: Section) -> None:
    """Measure the section."""
    solo = _measure(section, "solo", SOLO, 1)
    try:
        find_program()
    except NoCometbft as missing:
        section.say(f"not measured: {missing}")
        return
    comet = _measure(section, f"{VALIDATORS} validators", COMET, VALIDATORS)
    section.add("four validators to one producer", "times", [comet / solo])


def _measure(section: Section, name: str, engine: int, nodes: int) -> float:
    """Measure one engine; return its transactions a second."""
    pairs = make_pairs(ACCOUNTS + 1)
    with tempfile.TemporaryDirectory(prefix="wp", dir="/tmp") as folder:
        genesis = _make_genesis(engine, nodes, pairs)
        transfers = _sign(sha256(genesis), pairs)
        with _running(Path(folder), genesis, engine, nodes) as ports:
            spans = _send_alone(sha256(genesis), pairs[-1], ports[0])
            rates = [_send_all(batches, ports) for batches in transfers]
    section.add(f"{name}: transactions", "a second", rates)
    section.add(f"{name}: time to commit", "s", spans, note=f"p95 {percentile(spans, 0.95):.2f} s")
    return section.figures[-2].median


# ------------------------------------------------------------------------------- networks


def _holder(number: int) -> bytes:
    return named_seed(SEED, f"holder {number}")


def _make_genesis(engine: int, nodes: int, pairs: Sequence[KeyPair]) -> bytes:
    is_comet = engine == COMET
    return make_genesis(
        "bench",
        "minimal",
        PARAMS,
        b"" if is_comet else derive(_holder(0), "producer").public,
        [make_seat(_holder(number), validates=is_comet) for number in range(nodes)],
        [(pair.public, COIN) for pair in pairs],
        COIN,
        engine=engine,
        policy=REGISTRY if is_comet else FIXED,
    )


@contextmanager
def _running(folder: Path, genesis: bytes, engine: int, nodes: int) -> Iterator[list[int]]:
    """Run a network; yield the ports of its services, once each of them has a block."""
    ports = _free_ports(2 * nodes)
    all_settings = [
        _make_home(
            folder / str(number), genesis, engine, ports[number], ports[nodes + number], nodes
        )
        for number in range(nodes)
    ]
    peers = [
        f"{prepare_node(settings)}@{HOST}:{settings.p2p_port}" if engine == COMET else ""
        for settings in all_settings
    ]
    processes = []
    try:
        for number, settings in enumerate(all_settings):
            others = tuple(peer for place, peer in enumerate(peers) if place != number and peer)
            processes.append(_start(settings.model_copy(update={"peers": others})))
        for settings in all_settings:
            _wait_for_block(settings)
        yield [settings.port for settings in all_settings]
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _make_home(
    home: Path, genesis: bytes, engine: int, port: int, p2p_port: int, nodes: int
) -> Settings:
    home.mkdir(mode=0o700)
    (home / GENESIS).write_bytes(genesis)
    key = home / "key.json"
    save_insecure_seed(key, _holder(int(home.name)))
    # as many workers as one producer has, shared among all
    workers = max(1, (os.cpu_count() or 1) // nodes)
    common = Settings(home=home, port=port, attest=key, workers=workers)
    if engine == COMET:
        changes = {"engine": "comet", "validator": key, "p2p_port": p2p_port}
        return common.model_copy(update=changes)
    return common.model_copy(update={"producer": key})


def _start(settings: Settings) -> subprocess.Popen[bytes]:
    with (settings.home / "log").open("wb") as log:
        return subprocess.Popen(
            python_command(
                "-m", "registry.supervisor", "--settings", settings.model_dump_json()
            ),
            stdout=log,
            stderr=log,
            env={name: value for name, value in os.environ.items() if "WAYPOST" not in name},
        )  # fmt: skip


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody takes within the seconds that starting needs."""
    sockets = [listen(HOST, 0) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_for_block(settings: Settings) -> None:
    deadline = time.perf_counter() + START_S
    while time.perf_counter() < deadline:
        try:
            if _ask(settings.port, "GET", "/v1/network").get("height", 0) > 0:
                return
        except OSError:
            pass
        time.sleep(0.1)
    tail = (settings.home / "log").read_text(errors="replace")[-2_000:]
    raise RuntimeError(f"no block came:\n{tail}")


# -------------------------------------------------------------------------------- sending


def _sign(genesis_hash: Hash, pairs: Sequence[KeyPair]) -> list[list[bytes]]:
    """Return the requests of each round: a transfer of every account, in batches."""
    rounds = []
    for nonce in range(ROUNDS):
        raws = [
            Wallet(genesis_hash, pair).transfer(Terms(nonce, 1_000, 3_000), pairs[-1].public, 1)
            for pair in pairs[:-1]
        ]
        parts = [raws[start : start + BATCH] for start in range(0, len(raws), BATCH)]
        rounds.append([_encode(part) for part in parts])
    return rounds


def _encode(raws: Sequence[bytes]) -> bytes:
    return json.dumps({"transactions": [raw.hex() for raw in raws]}).encode()


def _send_all(batches: Sequence[bytes], ports: Sequence[int]) -> float:
    """Send every batch; return transactions a second until all of them stand in blocks."""
    began = time.perf_counter()
    with ThreadPoolExecutor(SENDERS) as senders:
        turns = [ports[place % len(ports)] for place in range(len(batches))]
        list(senders.map(_send, turns, batches))
    return ACCOUNTS / (time.perf_counter() - began)


def _send_alone(genesis_hash: Hash, pair: KeyPair, port: int) -> list[float]:
    """Return the seconds until each transfer of one account stands in a block."""
    wallet, spans = Wallet(genesis_hash, pair), []
    for nonce in range(SINGLE):
        body = _encode([wallet.transfer(Terms(nonce, 1_000, 3_000), pair.public, 1)])
        began = time.perf_counter()
        _send(port, body)
        spans.append(time.perf_counter() - began)
    return spans


def _send(port: int, body: bytes) -> None:
    results = _ask(port, "POST", "/v1/transactions?wait=commit", body).get("results", [])
    if not results or any(row["state"] != "committed" for row in results):
        raise RuntimeError(f"a transaction of the benchmark is not committed: {results[:1]}")


def _ask(port: int, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
    connection = http.client.HTTPConnection(HOST, port, timeout=COMMIT_S)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()
