"""Homes of services with many active nodes, and the services that run in copies of them.

A home is prepared by driving a chain on LevelDB through real registrations; signatures that were
made a moment before are not verified, so it takes some seconds.
"""

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from bench.figures import python_command
from bench.networks import (
    ATTESTOR_SEED,
    NODES_OF_OPERATOR,
    PRODUCER_SEED,
    SEED,
    WIDE,
    make_genesis,
    make_pairs,
    open_with_accounts,
)
from bench.processes import find_family
from bench.traffic import make_contact
from ledger.chain import Chain
from ledger.crypto import KeyPair, sha256
from ledger.leveldb import LevelStore
from ledger.messages.blocks import BlockInput
from ledger.steps import run
from ledger.types import COIN, Hash, TimeMs
from registry.home import GENESIS
from registry.keystore import named_seed, save_insecure_seed
from registry.signer import BlockSigner
from registry.sockets import listen
from registry.wallet import NodeTerms, Terms, Wallet, sign_registration
from registry.watermarks import Watermarks

ACCOUNTS: Final = 20_000
EACH: Final = 1_000 * COIN
NODES_IN_BLOCK: Final = 5_000
REQUIREMENT: Final = 100 * COIN
DAY_MS: Final = 86_400_000
START_S: Final = 60.0
STOP_S: Final = 30.0
ANSWER_S: Final = 30.0
HOST: Final = "127.0.0.1"


class Everything:
    """Holds whatever is asked for: here signatures were verified when they were made."""

    def __contains__(self, _item: object) -> bool:
        return True


# ----------------------------------------------------------------------------- preparing


def prepare(home: Path, nodes: int, params: Mapping[str, int] = WIDE) -> None:
    """Make the home of a chain with that many active nodes; `params` change the preset."""
    home.mkdir(mode=0o700)
    start_ms = time.time_ns() // 1_000_000 - DAY_MS
    genesis = make_genesis(start_ms, params)
    (home / GENESIS).write_bytes(genesis)
    save_insecure_seed(home / "producer.json", PRODUCER_SEED)
    save_insecure_seed(home / "attestor.json", ATTESTOR_SEED)
    store = LevelStore(home / "ledger")
    pairs = make_pairs(ACCOUNTS)
    chain = open_with_accounts(store, genesis, [pair.public for pair in pairs], EACH)
    with signing(home) as signer:
        for first in range(0, nodes, NODES_IN_BLOCK):
            numbers = range(first, min(nodes, first + NODES_IN_BLOCK))
            commit_block(chain, signer, [_register(chain, pairs, number) for number in numbers], 1)
        commit_block(chain, signer, [], chain.view().state.params().epoch_ms)
    store.close()


def _register(chain: Chain, pairs: Sequence[KeyPair], number: int) -> bytes:
    operator, nonce = divmod(number, NODES_OF_OPERATOR)
    return register(chain.genesis_hash, pairs[operator], number, chain.tip.time_ms, nonce)


def register(
    genesis_hash: Hash, pair: KeyPair, number: int, now_ms: TimeMs, nonce: int = 0, height: int = 0
) -> bytes:
    """Return a transaction that registers node `number`, wholly paid for by its operator."""
    wallet = Wallet(genesis_hash, pair)
    terms = NodeTerms(
        life=1,
        operator=wallet.account,
        beneficiary=wallet.account,
        fee=500,
        reserved=(),
        contact=make_contact(number),
        expiry_ms=now_ms + DAY_MS,
        attests=False,
    )
    registration = sign_registration(genesis_hash, node_seed(number), terms, REQUIREMENT)
    return wallet.register(Terms(nonce, COIN, height + 1_000), registration)


def node_seed(number: int) -> bytes:
    """Return the seed of a node's keys."""
    return named_seed(SEED, f"node {number}")


@contextmanager
def signing(home: Path) -> Iterator[BlockSigner]:
    """Be the producer of a home, with its watermark."""
    genesis_hash = sha256((home / GENESIS).read_bytes())
    with closing(Watermarks(home / "watermarks", genesis_hash)) as watermarks:
        yield BlockSigner(PRODUCER_SEED, watermarks)


def commit_block(
    chain: Chain, signer: BlockSigner, transactions: Sequence[bytes], later_ms: int
) -> None:
    """Execute and commit the next block, `later_ms` after the one before."""
    tip = chain.tip
    block = BlockInput(
        tip.height + 1, tip.time_ms + later_ms, signer.pair.public, (), tuple(transactions)
    )
    executed = run(chain.finalize(block, Everything()))
    if any(executed.codes):
        raise RuntimeError(f"a transaction of the benchmark was refused: {executed.codes}")
    header = chain.header()
    chain.commit(signer.seal(header))
    signer.note(header)


# ------------------------------------------------------------------------------- running


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Return status and body of an answer; a body that is sent is JSON."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_S)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Service:
    """`waypost run` on a home, with everything that belongs to it."""

    def __init__(self, home: Path, workers: int) -> None:
        # found by asking the system; nobody else takes it within the second that starting needs
        listening = listen(HOST, 0)
        self.port: int = listening.getsockname()[1]
        listening.close()
        self._log = (home / "log").open("wb")
        self._process = subprocess.Popen(
            python_command(
                "-m", "registry", "run", "--home", str(home), "--port", str(self.port),
                "--producer", str(home / "producer.json"),
                "--attest", str(home / "attestor.json"), "--workers", str(workers),
                "--new-watermark",  # the attestor's: its key is new, the network is not
            ),
            stdout=self._log,
            stderr=self._log,
            env={name: value for name, value in os.environ.items() if "WAYPOST" not in name},
        )  # fmt: skip
        self._log_path = home / "log"

    def wait_until_ready(self) -> float:
        """Return the seconds until a fresh final list is served."""
        began = time.perf_counter()
        while time.perf_counter() < began + START_S:
            if self._process.poll() is not None:
                break
            try:
                status, _ = self.get("/health/ready")
            except OSError:
                status = 0
            if status == 200:
                return time.perf_counter() - began
            time.sleep(0.05)
        raise RuntimeError(f"the service is not ready:\n{self.log_tail()}")

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        return ask(self.port, "GET", path)

    def family(self) -> dict[int, str]:
        """Return its processes, and what each of them is."""
        return find_family(self._process.pid)

    def log_tail(self) -> str:
        """Return the last lines of the log."""
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-20:])

    def stop(self) -> None:
        """End the service, and all its processes with it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()
