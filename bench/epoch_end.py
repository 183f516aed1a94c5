"""A whole service with 10,000 active nodes under load, while its epochs end.

- `waypost run` as it is: ledger, web, two workers, one attestor; blocks each second, epochs of
  10 s. Readers come at a fixed rate, a third of them for what only the ledger process knows;
  transactions come in beside them, and a few nodes register in each epoch.
- Around an epoch's end: from the time of its last block until half a second after its list is
  final. The limits hold there, and over all.
- The founding nodes begin to earn at the first end, before the load begins: the ends that it sees
  are steady ones. What an end takes without load, and its parts, is measured in `ends`.
"""

import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench import ends, homes
from bench.figures import Limit, Section, percentile, python_command
from bench.homes import HOST, Service
from bench.load import Kind, Plan, Result, Sample, make_get, make_post
from bench.networks import NODES_OF_OPERATOR, make_pairs
from ledger.crypto import KeyPair, sha256
from ledger.messages.lists import decode_header, decode_signed_header
from ledger.types import COIN, Hash
from registry.addresses import encode_account, encode_node
from registry.api.answers import MSGPACK
from registry.home import GENESIS
from registry.keystore import derive
from registry.wallet import Terms, Wallet

NODES: Final = 10_000
WORKERS: Final = 2
SECONDS: Final = 45.0
AFTER_S: Final = 0.5
LISTS_GOAL: Final = Limit(50.0)
READS_GOAL: Final = Limit(250.0)
LISTS: Final = ("latest", "header", "full", "not_modified")
READS: Final = ("node", "account", "network", "nodes")
RATES: Final = {
    "latest": 100.0, "header": 20.0, "full": 15.0, "not_modified": 60.0,
    "node": 40.0, "account": 40.0, "network": 20.0, "nodes": 2.0, "submit": 10.0,
}  # fmt: skip
"""Requests a second."""
TRANSACTIONS: Final = 5
"""In one submission; every fifth submission holds a registration instead."""


def run(section: Section) -> None:
    """Measure the section."""
    ends.run(section)
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as scratch:
        folder = Path(scratch)
        homes.prepare(folder / "home", NODES)
        service = Service(folder / "home", WORKERS)
        try:
            section.add("service: start to its first final list", "s", service.wait_until_ready())
            plan = make_plan(service, folder / "home")
            result = _run_load(plan, folder)
            _report(section, service, result)
        finally:
            service.stop()


# --------------------------------------------------------------------------- the load


def make_plan(service: Service, home: Path) -> Plan:
    """Return the load for a service that is ready."""
    genesis_hash = sha256((home / GENESIS).read_bytes())
    _, raw = service.get("/v1/network")
    network = msgspec.json.decode(raw)
    pairs = make_pairs(homes.ACCOUNTS)
    nodes = [encode_node(derive(homes.node_seed(n), "node").public) for n in range(0, NODES, 13)]
    accounts = [encode_account(pair.public) for pair in pairs[::17]]
    requests = {
        "latest": [make_get("/v1/lists/latest")],
        "header": [make_get("/v1/lists/{epoch}")],
        "full": [make_get("/v1/lists/{epoch}/full")],
        "not_modified": [make_get("/v1/lists/{epoch}/full", "If-None-Match: {etag}")],
        "node": [make_get(f"/v1/nodes/{node}") for node in nodes],
        "account": [make_get(f"/v1/accounts/{account}") for account in accounts],
        "network": [make_get("/v1/network")],
        "nodes": [make_get("/v1/nodes?limit=100")],
        "submit": _submissions(genesis_hash, pairs, network["height"], network["time_ms"]),
    }
    kinds = [Kind(name, rate, requests[name]) for name, rate in RATES.items()]
    return Plan(HOST, service.port, SECONDS, network["latest_final"]["epoch"], kinds)


def _submissions(
    genesis_hash: Hash, pairs: Sequence[KeyPair], height: int, now_ms: int
) -> list[bytes]:
    """Return enough submissions for the whole time; no two need the same account."""
    spare = iter(pairs[-(-NODES // NODES_OF_OPERATOR) :])
    made = []
    for turn in range(int(2 * SECONDS * RATES["submit"])):
        if turn % 5 == 4:
            raws = [homes.register(genesis_hash, next(spare), NODES + turn, now_ms, 0, height)]
        else:
            terms = Terms(0, COIN, height + 1_000)
            raws = [
                Wallet(genesis_hash, next(spare)).transfer(terms, pairs[turn].public, 1_000)
                for _ in range(TRANSACTIONS)
            ]
        body = msgspec.msgpack.encode(raws)
        made.append(make_post("/v1/transactions", MSGPACK, body))
    return made


def _run_load(plan: Plan, folder: Path) -> Result:
    (folder / "plan").write_bytes(msgspec.msgpack.encode(plan))
    command = python_command("-m", "bench.load", str(folder / "plan"), str(folder / "result"))
    subprocess.run(command, check=True, timeout=2 * SECONDS)
    return msgspec.msgpack.decode((folder / "result").read_bytes(), type=Result)


# -------------------------------------------------------------------------- the answers


def _report(section: Section, service: Service, result: Result) -> None:
    published_at = {event.epoch: event.at for event in result.events if event.name == "epoch"}
    finals = {event.epoch: event.at for event in result.events if event.name == "list_final"}
    began = {epoch: _end_of(service, epoch) for epoch in published_at}
    published = [1_000 * (published_at[epoch] - began[epoch]) for epoch in sorted(began)]
    final = [1_000 * (finals[epoch] - began[epoch]) for epoch in sorted(began) if epoch in finals]
    section.add("under load: last block to list published", "ms", published)
    section.add("  to its list final", "ms", final)
    windows = [(began[e], finals.get(e, published_at[e]) + AFTER_S) for e in began]

    def is_inside(sample: Sample) -> bool:
        return any(start - sample.latency <= sample.due <= stop for start, stop in windows)

    for name, kinds, goal in (
        ("list GET", LISTS, LISTS_GOAL), ("other reads", READS, READS_GOAL),
        ("submissions", ("submit",), None),
    ):  # fmt: skip
        samples = [sample for sample in result.samples if sample.kind in kinds]
        _latencies(section, name, samples, goal)
        near = [sample for sample in samples if is_inside(sample)]
        _latencies(section, f"{name}, at epoch ends", near, goal)
    _judge_load(section, result)


def _end_of(service: Service, epoch: int) -> float:
    _, raw = service.get(f"/v1/lists/{epoch}")
    return decode_header(decode_signed_header(raw).header).valid_after_ms / 1_000


def _latencies(section: Section, name: str, samples: Sequence[Sample], goal: Limit | None) -> None:
    values = [1_000 * sample.latency for sample in samples]
    section.add(f"{name}: p50", "ms", percentile(values, 0.5), note=f"{len(values):,} requests")
    section.add(f"{name}: p99", "ms", percentile(values, 0.99), goal)
    section.add(f"{name}: longest", "ms", max(values))


def _judge_load(section: Section, result: Result) -> None:
    late = [1_000 * sample.late for sample in result.samples]
    bad = Counter(
        f"{sample.kind} {sample.status}"
        for sample in result.samples
        if sample.status not in (200, 202, 304)
    )
    section.add("load: requests", "a second", len(result.samples) / SECONDS)
    section.add("load: sent later than due, p99", "ms", percentile(late, 0.99))
    section.add("load: share of one core", "", result.cpu_share)
    named = ", ".join(f"{count} × {name}" for name, count in sorted(bad.items()))
    section.add("load: answers that were errors", "", bad.total(), note=named)
