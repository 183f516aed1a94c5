"""What a user would run instead: Foundry's anvil with a staking contract, beside this service.

- The same client (`flood`) sends JSON batches over HTTP to both, over as many connections, on the
  same cores; both make a block each second. It counts until all stands in blocks.
- The same mix (`traffic`): 90 % transfers, 2 % registrations, 8 % contributions. Each sender's
  transactions take one connection, in their order.
- `Staking.sol` holds balances and stakes and nothing else: no epochs, no lists, and nothing of it
  is synced to a disk. That each transaction succeeded is checked.
- Transactions are signed beforehand on both sides. anvil signs its own, with accounts that it has.
- anvil keeps everything in memory: how many transactions it gets is bounded, and its memory too.
"""

import contextlib
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from bench import flood, homes
from bench.figures import Limit, Section
from bench.homes import HOST, Service
from bench.load import make_post
from bench.networks import SEED, WIDE, make_pairs
from bench.processes import find_family, read_peak_mb, read_processor_s
from bench.submission import (
    count_accepted,
    read_network,
    read_processor,
    report_processor,
    run_flood,
    wait_for_blocks,
)
from bench.traffic import CONTRIBUTE_SHARE, CONTRIBUTIONS, REGISTER_SHARE, Traffic
from ledger.crypto import sha256
from ledger.messages.genesis import GENESIS as GENESIS_FILE
from ledger.params import Params
from registry.api.answers import JSON
from registry.home import GENESIS
from registry.sockets import listen

HERE: Final = Path(__file__).parent
CONTRACT: Final = HERE / "Staking.hex"
"""`Staking.sol`, as `npx solc@0.8.30 --optimize --bin` compiles it."""

ANVIL: Final = "anvil"
PLATFORM: Final = "anvil-linux-amd64"
CHECKOUT_FOLDER: Final = HERE.parent / ".bin"
MISSING: Final = (
    "install anvil (npm install --prefix .bin @foundry-rs/anvil), or put it on the path"
)

# selectors of the contract's functions
FUND: Final = "97944bde"
TRANSFER: Final = "a9059cbb"
REGISTER: Final = "97ac5998"
CONTRIBUTE: Final = "b9539642"

CONNECTIONS: Final = 6
BATCH: Final = 250
ROUNDS: Final = 3
BATCHES: Final = 60
"""Of each round; a faster peer gets `OURS` times as many, so that both work for as long."""
OURS: Final = 3
ACCOUNTS: Final = 600
"""Of anvil's, which derives each from a phrase when it starts."""

COIN: Final = 10**18
EACH: Final = 1_000_000 * COIN
OPERATOR_STAKE: Final = 25 * COIN
CONTRIBUTION: Final = COIN
GAS: Final = 200_000
GAS_PRICE: Final = 2 * 10**9
MEMORY_BYTES: Final = 8 * 2**30
NODES: Final = 100
WORKERS: Final = 2
START_S: Final = 30.0
DRAIN_S: Final = 60.0
FLOOR: Final = Limit(1.2, is_floor=True)
"""Three times was hoped for; docs/performance.md shows what stands between."""


def run(section: Section) -> None:
    """Measure the section."""
    program = find_anvil()
    if program is None:
        section.say(f"skipped: {MISSING}")
        return
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as scratch:
        folder = Path(scratch)
        # one at a time: neither has anything to do while the other is measured
        with _running(program) as anvil:
            anvil.measure(folder)
            theirs = [anvil.measure(folder) for _ in range(ROUNDS)]
            cost = [1e6 * one for one in anvil.processor_s[1:]]
            memory = anvil.read_peak_mb()
        ours, shares = _measure_service(folder)
    section.add("anvil: transactions", "a second", theirs)
    section.add("  processor", "µs a transaction", cost)
    section.add("  its memory at most", "MB", memory)
    section.add("service: transactions", "a second", ours)
    totals = [1e6 * sum(share.values()) / OURS / BATCHES / BATCH for share in shares]
    section.add("  processor", "µs a transaction", totals)
    report_processor(section, shares, OURS * BATCHES * BATCH)
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    section.add("service / anvil", "times", ratios, FLOOR)


def find_anvil() -> Path | None:
    """Return the program: that of the path, or the one npm put into `.bin`."""
    on_path = shutil.which(ANVIL)
    own = CHECKOUT_FOLDER / "node_modules" / "@foundry-rs" / PLATFORM / "bin" / ANVIL
    return Path(on_path) if on_path else own if own.exists() else None


# -------------------------------------------------------------------------------- service


def _measure_service(folder: Path) -> tuple[list[float], list[dict[str, float]]]:
    """Return the transactions a second of each round, and the seconds that each process took."""
    home = folder / "home"
    homes.prepare(home, NODES, WIDE)
    service = Service(home, WORKERS)
    try:
        service.wait_until_ready()
        raw = (home / GENESIS).read_bytes()
        draws = _make_traffic(raw)
        rounds = [_measure_round(service, draws, folder) for _ in range(ROUNDS)]
    finally:
        service.stop()
    return [rate for rate, _ in rounds], [share for _, share in rounds]


def _make_traffic(genesis: bytes) -> list[Traffic]:
    """Return what each connection sends, with accounts of its own."""
    now_ms = time.time_ns() // 1_000_000
    params = Params(*GENESIS_FILE.decode(genesis).params)
    pairs = make_pairs(homes.ACCOUNTS)[NODES:]
    share = len(pairs) // CONNECTIONS
    return [
        Traffic(
            sha256(genesis), params, pairs[place * share : (place + 1) * share], now_ms,
            sha256(SEED + bytes([place])),
        )
        for place in range(CONNECTIONS)
    ]  # fmt: skip


def _measure_round(
    service: Service, draws: Sequence[Traffic], folder: Path
) -> tuple[float, dict[str, float]]:
    height = read_network(service)["height"]
    connections = [
        [
            make_post("/v1/transactions", JSON, _encode_json(draw.draw(BATCH, height)))
            for _ in range(OURS * BATCHES // CONNECTIONS)
        ]
        for draw in draws
    ]
    before = read_processor(service)
    done = run_flood(service.port, connections, folder, count_accepted)
    elapsed = done.seconds + wait_for_blocks(service, done)
    used = {name: seconds - before[name] for name, seconds in read_processor(service).items()}
    if done.accepted != OURS * BATCHES * BATCH:
        raise RuntimeError(f"only {done.accepted} transactions were accepted")
    return done.accepted / elapsed, used


def _encode_json(raws: Sequence[bytes]) -> bytes:
    return msgspec.json.encode({"transactions": [raw.hex() for raw in raws]})


# ---------------------------------------------------------------------------------- anvil


def _words(*values: int | str) -> str:
    """Return the words of a call: numbers, or hex with its `0x`."""
    return "".join(
        f"{value:064x}" if isinstance(value, int) else value.removeprefix("0x").rjust(64, "0")
        for value in values
    )


class Anvil:
    """A running anvil with the contract, and senders that have balances in it."""

    def __init__(self, process: int, port: int) -> None:
        # as npm installs it, anvil is started by a script that stays
        self._processes = tuple(find_family(process))
        for one in self._processes:
            resource.prlimit(one, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        self._port = port
        self._accounts: list[str] = []
        self._nonces = [0] * ACCOUNTS
        self._nodes = count(1)
        self._fresh: list[int] = []
        self._open: list[int] = []
        self._random = Random(SEED)
        self._contract = ""
        self._chain_id = ""
        self.processor_s: list[float] = []
        """What a transaction took of the processor, in each round."""

    def ask(self, method: str, *params: Any) -> Any:
        """Return the result of one call."""
        return self.ask_all([(method, params)])[0]

    def ask_all(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Return the results of a batch of calls."""
        rows = msgspec.json.decode(homes.ask(self._port, "POST", "/", _encode_calls(calls))[1])
        failed = [row["error"] for row in rows if "error" in row]
        if failed:
            raise RuntimeError(f"anvil refuses: {failed[0]}")
        return [row["result"] for row in sorted(rows, key=lambda row: int(row["id"]))]

    def prepare(self) -> None:
        """Make the contract, and give balances to all who send."""
        self._accounts = self.ask("eth_accounts")
        self._chain_id = self.ask("eth_chainId")
        first = self._accounts[0]
        made = self._send(first, "0x" + CONTRACT.read_text(encoding="ascii").strip())
        self._contract = made["contractAddress"]
        words = _words(64, EACH, len(self._accounts), *self._accounts)
        self._send(first, "0x" + FUND + words)
        self._nonces[0] = int(self.ask("eth_getTransactionCount", first, "latest"), 16)

    def _send(self, sender: str, data: str) -> dict[str, Any]:
        fields = {"from": sender, "data": data, "gas": hex(30_000_000)}
        fields |= {"to": self._contract} if self._contract else {}
        tx_hash = self.ask("eth_sendTransaction", fields)
        deadline = time.perf_counter() + START_S
        while time.perf_counter() < deadline:
            receipt: dict[str, Any] | None = self.ask("eth_getTransactionReceipt", tx_hash)
            if receipt is not None:
                if receipt["status"] != "0x1":
                    raise RuntimeError("the contract refuses")
                return receipt
            time.sleep(0.1)
        raise RuntimeError("anvil makes no block")

    def measure(self, folder: Path) -> float:
        """Return the transactions a second of one round, each of which succeeded."""
        # a node takes contributions in the round after its own, as in the traffic of the service
        self._open, self._fresh = self._fresh * CONTRIBUTIONS, []
        share = ACCOUNTS // CONNECTIONS
        connections = [
            [self._draw(place * share, share) for _ in range(BATCHES // CONNECTIONS)]
            for place in range(CONNECTIONS)
        ]
        before = int(self.ask("eth_blockNumber"), 16)
        used = self._read_processor_s()
        done = run_flood(self._port, connections, folder, _count_hashes)
        began = time.perf_counter()
        while int(self.ask("txpool_status")["pending"], 16):
            if time.perf_counter() > began + DRAIN_S:
                raise RuntimeError("anvil does not come to an end")
            time.sleep(0.05)
        seconds = done.seconds + time.perf_counter() - began
        self.processor_s.append((self._read_processor_s() - used) / done.accepted)
        self._check(before, done.accepted)
        return done.accepted / seconds

    def read_peak_mb(self) -> float:
        """Return the most memory that it ever held, in MB."""
        return sum(map(read_peak_mb, self._processes))

    def _read_processor_s(self) -> float:
        return sum(map(read_processor_s, self._processes))

    def _check(self, before: int, expected: int) -> None:
        """Raise unless every transaction stands in a block and did what it should."""
        blocks = {"fromBlock": hex(before + 1), "toBlock": "latest"}
        # each call that succeeds says so once
        good = len(self.ask("eth_getLogs", blocks | {"address": self._contract}))
        if not good == expected == BATCHES * BATCH:
            raise RuntimeError(f"{good} of {BATCHES * BATCH} succeeded, {expected} were taken")

    def _draw(self, first: int, share: int) -> bytes:
        """Return a request with a batch of transactions of these accounts."""
        registers = BATCH * REGISTER_SHARE // 100
        contributes = min(BATCH * CONTRIBUTE_SHARE // 100, len(self._open))
        fresh = [next(self._nodes) for _ in range(registers)]
        self._fresh += fresh
        calls = [REGISTER + _words(node, 500, OPERATOR_STAKE) for node in fresh]
        calls += [CONTRIBUTE + _words(self._open.pop(), CONTRIBUTION) for _ in range(contributes)]
        for _ in range(BATCH - len(calls)):
            recipient = self._random.choice(self._accounts)
            calls.append(TRANSFER + _words(recipient, 1 + self._random.randrange(10**6)))
        signed = self.ask_all(
            [("eth_signTransaction", [self._fill(first, share, data)]) for data in calls]
        )
        body = _encode_calls([("eth_sendRawTransaction", [raw]) for raw in signed])
        return make_post("/", JSON, body)

    def _fill(self, first: int, share: int, data: str) -> dict[str, str]:
        place = first + self._random.randrange(share)
        nonce = self._nonces[place]
        self._nonces[place] += 1
        return {
            "from": self._accounts[place], "to": self._contract, "data": "0x" + data,
            "nonce": hex(nonce), "gas": hex(GAS), "gasPrice": hex(GAS_PRICE),
            "chainId": self._chain_id, "value": "0x0",
        }  # fmt: skip


def _encode_calls(calls: Sequence[tuple[str, Sequence[Any]]]) -> bytes:
    return msgspec.json.encode(
        [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in enumerate(calls)
        ]
    )


def _count_hashes(answer: flood.Answer) -> int:
    """Return how many of a batch were taken."""
    rows = msgspec.json.decode(answer.body)
    refused = [row["error"] for row in rows if "error" in row]
    if refused:
        raise RuntimeError(f"anvil refuses: {refused[0]}")
    return len(rows)


@contextmanager
def _running(program: Path) -> Iterator[Anvil]:
    """Run anvil with an empty chain."""
    listening = listen(HOST, 0)
    port: int = listening.getsockname()[1]
    listening.close()
    process = subprocess.Popen(
        [
            str(program), "--quiet", "--host", HOST, "--port", str(port), "--block-time", "1",
            "--accounts", str(ACCOUNTS), "--balance", "1000000", "--gas-limit", str(10**12),
            "--no-request-size-limit", "--order", "fifo", "--base-fee", "1",
        ]
    )  # fmt: skip
    try:
        _wait_until_open(process, port)
        anvil = Anvil(process.pid, port)
        anvil.prepare()
        yield anvil
    finally:
        process.terminate()
        process.wait()


def _wait_until_open(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.perf_counter() + START_S
    while time.perf_counter() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("anvil does not start")
