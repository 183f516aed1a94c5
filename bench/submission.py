"""Transactions that a service takes in over HTTP, with reads going on; and a service that is full.

- `waypost run` as it is: ledger, web, two workers, one attestor, blocks each second. Transfers were
  signed before; they come in batches over connections that stay open, and each connection sends the
  next batch when the one before was answered. Each sender's transactions take one connection.
- A transaction counts when its sender is told that it waits or stands in a block. What was accepted
  must stand in blocks soon after, all of it: the service may not take in faster than it can work.
- Reads come in an open loop beside it (`load`), and once alone, to have something to compare with.
- Who sends, who reads and the service share the two cores.
- In the second network a block takes only few transactions, and several times as many are sent as
  the pool holds: it says 503 and when to ask again, and its memory stays where it is.
"""

import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final, NamedTuple

import msgspec

from bench import flood, homes, load
from bench.figures import Limit, Section, percentile, python_command
from bench.homes import HOST, Service
from bench.networks import WIDE, make_pairs
from bench.processes import read_memory_mb, read_peak_mb, read_processor_s
from ledger.crypto import KeyPair, sha256
from ledger.types import Hash
from registry.addresses import encode_account, encode_node
from registry.api.answers import MSGPACK
from registry.home import GENESIS
from registry.keystore import derive
from registry.pool import MAX_WAITING
from registry.wallet import Terms, Wallet

NODES: Final = 1_000
WORKERS: Final = 2
CORES: Final = 2
CONNECTIONS: Final = 6
BATCH: Final = 1_000
ROUNDS: Final = 3
BATCHES: Final = 90
"""Of each round."""
FULL_BATCHES: Final = 120
FEE: Final = 1_000
LIFETIME_BLOCKS: Final = 1_000
ALONE_S: Final = 8.0
DRAIN_S: Final = 60.0
PATIENCE: Final = 4
NARROW: Final = WIDE | {"max_block_transactions": 1_000}
"""Parameters of a network whose blocks take less than is sent."""

RATES: Final = {
    "latest": 60.0, "header": 20.0, "full": 10.0, "not_modified": 60.0,
    "node": 20.0, "account": 20.0, "network": 10.0,
}  # fmt: skip
"""Reads a second."""

GOAL: Final = Limit(15_000.0, is_floor=True)
MEMORY_GOAL: Final = Limit(250.0)
"""MB that the whole service may grow by while it is flooded: a full pool of 64 MB, decoded, and
what is on its way."""


class Flood(NamedTuple):
    """One flood, as its senders saw it."""

    accepted: int
    seconds: float
    """From the first request to the last answer."""
    answers: list[flood.Answer]
    cpu_s: float


def run(section: Section) -> None:
    """Measure the section."""
    pairs = make_pairs(homes.ACCOUNTS)
    with _serving(NODES, WIDE) as (service, home, folder):
        _measure_rate(section, service, Network(home, pairs, service), folder)
    with _serving(NODES, NARROW) as (service, home, folder):
        _measure_full(section, service, Network(home, pairs, service), folder)


@contextmanager
def _serving(nodes: int, params: dict[str, int]) -> Iterator[tuple[Service, Path, Path]]:
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as scratch:
        home = Path(scratch) / "home"
        homes.prepare(home, nodes, params)
        service = Service(home, WORKERS)
        try:
            service.wait_until_ready()
            yield service, home, Path(scratch)
        finally:
            service.stop()


# ------------------------------------------------------------------------------- what is sent


class Network:
    """Who sends, and with which nonce comes next."""

    def __init__(self, home: Path, pairs: Sequence[KeyPair], service: Service) -> None:
        # the first accounts are operators, and registered nodes
        self._spare = pairs[NODES:]
        self._genesis_hash: Hash = sha256((home / GENESIS).read_bytes())
        self._turn = 0
        self._service = service
        self.pairs = pairs

    def draw(self, batches: int, fee: int = FEE) -> list[list[bytes]]:
        """Return so many batches of signed transfers for the connections, each with its senders."""
        expiry = read_network(self._service)["height"] + LIFETIME_BLOCKS
        connections: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
        share = len(self._spare) // CONNECTIONS
        for batch in range(batches):
            place = batch % CONNECTIONS
            first = place * share
            raws = []
            for number in range(BATCH):
                nonce, offset = divmod(self._turn + (batch // CONNECTIONS) * BATCH + number, share)
                pair = self._spare[first + offset]
                terms = Terms(nonce, fee, expiry)
                wallet = Wallet(self._genesis_hash, pair)
                raws.append(wallet.transfer(terms, self._spare[number].public, 1))
            connections[place].append(make_request(raws))
        self._turn += batches // CONNECTIONS * BATCH
        return connections


def make_request(raws: Sequence[bytes]) -> bytes:
    """Return the request that sends transactions; its answer comes as MessagePack too."""
    body = msgspec.msgpack.encode(raws)
    return load.make_post("/v1/transactions", MSGPACK, body, f"Accept: {MSGPACK}")


def read_network(service: Service) -> dict[str, int]:
    """Return what the service says of its network."""
    network: dict[str, int] = msgspec.json.decode(service.get("/v1/network")[1])
    return network


def _make_reads(service: Service, pairs: Sequence[KeyPair], seconds: float) -> load.Plan:
    final = msgspec.json.decode(service.get("/v1/network")[1])["latest_final"]["epoch"]
    nodes = [encode_node(derive(homes.node_seed(n), "node").public) for n in range(0, NODES, 7)]
    accounts = [encode_account(pair.public) for pair in pairs[::17]]
    requests = {
        "latest": [load.make_get("/v1/lists/latest")],
        "header": [load.make_get("/v1/lists/{epoch}")],
        "full": [load.make_get("/v1/lists/{epoch}/full")],
        "not_modified": [load.make_get("/v1/lists/{epoch}/full", "If-None-Match: {etag}")],
        "node": [load.make_get(f"/v1/nodes/{node}") for node in nodes],
        "account": [load.make_get(f"/v1/accounts/{account}") for account in accounts],
        "network": [load.make_get("/v1/network")],
    }
    kinds = [load.Kind(name, rate, requests[name]) for name, rate in RATES.items()]
    return load.Plan(HOST, service.port, seconds, final, kinds)


# --------------------------------------------------------------------------------- floods


def run_flood(
    port: int,
    connections: list[list[bytes]],
    folder: Path,
    count_accepted: Callable[[flood.Answer], int],
) -> Flood:
    """Send all requests from a process of its own; `count_accepted` reads each answer."""
    plan = flood.Plan(HOST, port, connections, PATIENCE)
    (folder / "plan").write_bytes(msgspec.msgpack.encode(plan))
    command = python_command("-m", "bench.flood", str(folder / "plan"), str(folder / "flooded"))
    subprocess.run(command, check=True)
    result = msgspec.msgpack.decode((folder / "flooded").read_bytes(), type=flood.Result)
    answers = result.answers
    accepted = sum(count_accepted(answer) for answer in answers)
    return Flood(accepted, max(answer.at for answer in answers), answers, result.cpu_s)


def read_rows(answer: flood.Answer) -> list[dict[str, Any]]:
    """Return what the service says of each transaction; none if it took none of them."""
    if answer.status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
        return []
    decode = msgspec.json.decode if answer.body[:1] == b"{" else msgspec.msgpack.decode
    rows: list[dict[str, Any]] = decode(answer.body)["results"]
    return rows


def count_accepted(answer: flood.Answer) -> int:
    """Return how many transactions of an answer wait or stand in a block."""
    return sum(row["state"] in ("pending", "committed") for row in read_rows(answer))


@contextmanager
def _reading(plan: load.Plan, folder: Path) -> Iterator[list[load.Sample]]:
    """Read beside what is done meanwhile; the samples are there once that is over."""
    (folder / "reads").write_bytes(msgspec.msgpack.encode(plan))
    command = python_command("-m", "bench.load", str(folder / "reads"), str(folder / "read"))
    process = subprocess.Popen(command)
    samples: list[load.Sample] = []
    try:
        yield samples
    finally:
        process.wait()
    samples += msgspec.msgpack.decode((folder / "read").read_bytes(), type=load.Result).samples


def _measure_rate(section: Section, service: Service, network: Network, folder: Path) -> None:
    with _reading(_make_reads(service, network.pairs, ALONE_S), folder) as alone:
        pass
    rates, drained, shares = [], [], []
    reads: list[load.Sample] = []
    for _ in range(ROUNDS):
        batches = network.draw(BATCHES)
        # as long as the flood at its goal: all reads are beside it, or nearly all
        seconds = BATCHES * BATCH / GOAL.value
        with _reading(_make_reads(service, network.pairs, seconds), folder) as samples:
            time.sleep(0.3)
            before = read_processor(service)
            done = run_flood(service.port, batches, folder, count_accepted)
            drained.append(done.accepted / (done.seconds + wait_for_blocks(service, done)))
            after = read_processor(service)
        shares.append({name: after[name] - before[name] for name in after})
        reads += samples
        rates.append(done.accepted / done.seconds)
        if done.accepted != BATCHES * BATCH:
            raise RuntimeError(f"{done.accepted} of {BATCHES * BATCH} transactions were accepted")
        latencies = [1_000 * answer.latency for answer in done.answers]
        note = f"longest {max(latencies):.0f} ms"
        section.add(f"  a batch of {BATCH:,}", "ms", median(latencies), note=note)
        shares[-1]["load generator"] = done.cpu_s
    section.add("accepted", "transactions/s", rates, GOAL)
    section.add("  until all of them stand in blocks", "transactions/s", drained)
    report_processor(section, shares, BATCHES * BATCH)
    # whatever somebody else takes of the cores: the most that two of them could do at this cost
    most = [CORES * BATCHES * BATCH / sum(share.values()) for share in shares]
    section.add("  if all of it kept two cores busy", "transactions/s", most)
    _report_reads(section, "reads alone", alone)
    _report_reads(section, "reads beside it", reads)


def wait_for_blocks(service: Service, done: Flood) -> float:
    """Return the seconds until the last transaction of every batch stands in a block."""
    began = time.perf_counter()
    for last in [rows[-1]["hash"] for rows in map(read_rows, done.answers) if rows]:
        while msgspec.json.decode(service.get(f"/v1/transactions/{last}")[1])["height"] is None:
            if time.perf_counter() > began + DRAIN_S:
                raise RuntimeError("what was accepted does not come into blocks")
            time.sleep(0.05)
    return time.perf_counter() - began


def read_processor(service: Service) -> dict[str, float]:
    """Return the processor time of each kind of process, in seconds."""
    used: dict[str, float] = {}
    for process, name in service.family().items():
        used[name] = used.get(name, 0.0) + read_processor_s(process)
    return used


def report_processor(
    section: Section, shares: Sequence[dict[str, float]], transactions: int
) -> None:
    """Add what one of a round's transactions took of each kind of process."""
    for name in shares[0]:
        micro = [1e6 * share[name] / transactions for share in shares]
        section.add(f"  processor: {name}", "µs a transaction", micro)


def _report_reads(section: Section, name: str, samples: Sequence[load.Sample]) -> None:
    values = [1_000 * sample.latency for sample in samples]
    bad = Counter(f"{one.kind} {one.status}" for one in samples if one.status not in (200, 304))
    note = f"p50 {median(values):.1f}, p99 {percentile(values, 0.99):.0f}, {len(values):,} of them"
    if bad:
        note += ", errors: " + ", ".join(f"{count} × {name}" for name, count in bad.items())
    section.add(f"{name}: mean", "ms", fmean(values), note=note)


# ------------------------------------------------------------------------------- when full


def _measure_full(section: Section, service: Service, network: Network, folder: Path) -> None:
    connections = network.draw(FULL_BATCHES)
    family = service.family()
    before = sum(map(read_memory_mb, family))
    done = run_flood(service.port, connections, folder, count_accepted)
    grown = sum(map(read_peak_mb, family)) - before
    busy = [answer for answer in done.answers if answer.status == flood.BUSY]
    told = Counter(answer.retry_after_s for answer in busy)
    section.say(
        f"{FULL_BATCHES * BATCH:,} transactions sent to a pool of {MAX_WAITING:,}, "
        f"{NARROW['max_block_transactions']:,} in a block"
    )
    section.add("full: accepted", "", done.accepted)
    note = ", ".join(f"{count} × Retry-After: {pause}" for pause, count in told.items())
    section.add("full: answers 503", "", len(busy), note=note)
    section.add("  without Retry-After", "", told[0], Limit(0.0))
    quick = [1_000 * answer.latency for answer in busy]
    section.add("  time of such an answer", "ms", quick)
    section.add("  the service's memory grew by", "MB", grown, MEMORY_GOAL)
    section.add("  other answers", "", sum(not read_rows(a) for a in done.answers) - len(busy))
