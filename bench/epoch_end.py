"""A whole service with 10,000 active nodes under load, while its epochs end.

- `waypost run` as it is: ledger, web, two workers, one attestor; blocks each second, epochs of
  10 s. Readers come at a fixed rate, a third of them for what only the ledger process knows;
  transactions come in beside them, and a few nodes register in each epoch.
- Around an epoch's end: from the time of its last block until half a second after its list is
  final. The limits hold there, and over all.
- The parts of an end are taken in this process, on a copy of the same chain.
"""

import shutil
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from bench import homes
from bench.figures import Limit, Section, percentile, python_command
from bench.homes import HOST, Service
from bench.load import Kind, Plan, Result, Sample
from bench.networks import make_pairs
from ledger.chain import Chain
from ledger.crypto import KeyPair, sha256
from ledger.epochs import EPOCH_STEPS
from ledger.epochs.begin import make_header
from ledger.epochs.ending import Ending
from ledger.leveldb import LevelStore
from ledger.messages.lists import decode_header, decode_signed_header
from ledger.messages.tables import EPOCH
from ledger.state import STATE_START, STATE_STOP, State, build_tree, update_tree
from ledger.transition import begin_block
from ledger.types import COIN, Hash
from registry.addresses import encode_account, encode_node
from registry.formats import FORMATS
from registry.home import GENESIS
from registry.keystore import derive
from registry.wallet import Terms, Wallet

NODES: Final = 10_000
NEWCOMERS: Final = 100
REPETITIONS: Final = 5
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

T = TypeVar("T")


def run(section: Section) -> None:
    """Measure the section."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as scratch:
        folder = Path(scratch)
        homes.prepare(folder / "home", NODES)
        shutil.copytree(folder / "home", folder / "copy")
        _measure_parts(section, folder / "copy")
        service = Service(folder / "home", WORKERS)
        try:
            section.add("service: start to its first final list", "s", service.wait_until_ready())
            plan = make_plan(service, folder / "home")
            result = _run_load(plan, folder)
            _report(section, service, result)
        finally:
            service.stop()


# ------------------------------------------------------------------------- the parts


class Stopwatch(NamedTuple):
    """The time of a piece of work, and of its longest piece between two pauses, in ms."""

    total: float
    longest: float


def _measure_parts(section: Section, home: Path) -> None:
    store = LevelStore(home / "ledger", create=False)
    genesis = (home / GENESIS).read_bytes()
    chain = Chain(store, genesis)
    _report_parts(section, "nothing changed", [_end_epoch(chain) for _ in range(REPETITIONS)])
    pairs = make_pairs(homes.ACCOUNTS)[-NEWCOMERS:]
    registrations = [
        homes.register(chain.genesis_hash, pair, NODES + place, chain.tip.time_ms)
        for place, pair in enumerate(pairs)
    ]
    with homes.signing(home) as signer:
        homes.commit_block(chain, signer, registrations, 1)
    title = f"{NEWCOMERS} newcomers"
    _report_parts(section, title, [_end_epoch(chain) for _ in range(REPETITIONS)])
    store.close()


def _end_epoch(chain: Chain) -> dict[str, Stopwatch]:
    """End the running epoch on an overlay, and return the time of each part; nothing is kept."""
    view = chain.view()
    params = view.state.params()
    state = State(view.reader)
    begin_block(state, view.tip.root)
    running = state.one(EPOCH)
    time_ms = running.start_ms + params.epoch_ms
    ending = Ending(running.epoch, view.tip.height + 1, time_ms, params, running.seed)
    parts: dict[str, Stopwatch] = {}
    for step in EPOCH_STEPS:
        parts[step.__name__] = _drive(step(state, ending))[1]
    built, parts["make_header"] = _drive(make_header(state, ending))
    tree = build_tree(view.reader.items(STATE_START, STATE_STOP))
    parts["root"] = _drive(update_tree(tree, state.changes()))[1]
    parts["encode full, on a thread"] = _drive(
        _once(lambda: FORMATS["full"].encode(built.columns))
    )[1]
    return parts


def _drive(steps: Generator[None, None, T]) -> tuple[T, Stopwatch]:
    total = longest = 0.0
    while True:
        began = time.perf_counter()
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            took = 1_000 * (time.perf_counter() - began)
            return result, Stopwatch(total + took, max(longest, took))
        took = 1_000 * (time.perf_counter() - began)
        total, longest = total + took, max(longest, took)


def _once(work: Callable[[], T]) -> Generator[None, None, T]:
    yield
    return work()


def _report_parts(section: Section, title: str, ends: Sequence[dict[str, Stopwatch]]) -> None:
    section.say(f"the end of an epoch with {NODES:,} nodes, {title}")
    for name in ends[0]:
        pieces = [end[name].longest for end in ends]
        note = f"longest piece {statistics.median(pieces):.1f} ms"
        section.add(f"  {name}", "ms", [end[name].total for end in ends], note=note)


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
        "latest": [_get("/v1/lists/latest")],
        "header": [_get("/v1/lists/{epoch}")],
        "full": [_get("/v1/lists/{epoch}/full")],
        "not_modified": [_get("/v1/lists/{epoch}/full", "If-None-Match: {etag}")],
        "node": [_get(f"/v1/nodes/{node}") for node in nodes],
        "account": [_get(f"/v1/accounts/{account}") for account in accounts],
        "network": [_get("/v1/network")],
        "nodes": [_get("/v1/nodes?limit=100")],
        "submit": _submissions(genesis_hash, pairs, network["height"], network["time_ms"]),
    }
    kinds = [Kind(name, rate, requests[name]) for name, rate in RATES.items()]
    return Plan(HOST, service.port, SECONDS, network["latest_final"]["epoch"], kinds)


def _get(path: str, *fields: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: bench", *fields, "", ""]
    return "\r\n".join(lines).encode()


def _submissions(
    genesis_hash: Hash, pairs: Sequence[KeyPair], height: int, now_ms: int
) -> list[bytes]:
    """Return enough submissions for the whole time; no two need the same account."""
    spare = iter(pairs[-(-NODES // homes.NODES_OF_OPERATOR) :])
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
        head = (
            "POST /v1/transactions HTTP/1.1", "Host: bench", "Content-Type: application/msgpack",
            f"Content-Length: {len(body)}", "", "",
        )  # fmt: skip
        made.append("\r\n".join(head).encode() + body)
    return made


def _run_load(plan: Plan, folder: Path) -> Result:
    (folder / "plan").write_bytes(msgspec.msgpack.encode(plan))
    command = python_command("-m", "bench.load", str(folder / "plan"), str(folder / "result"))
    subprocess.run(command, check=True, timeout=2 * SECONDS)
    return msgspec.msgpack.decode((folder / "result").read_bytes(), type=Result)


# -------------------------------------------------------------------------- the answers


def _report(section: Section, service: Service, result: Result) -> None:
    ends = {event.epoch: event.at for event in result.events if event.name == "epoch"}
    finals = {event.epoch: event.at for event in result.events if event.name == "list_final"}
    began = {epoch: _end_of(service, epoch) for epoch in ends}
    published = [1_000 * (ends[epoch] - began[epoch]) for epoch in sorted(ends)]
    final = [1_000 * (finals[epoch] - began[epoch]) for epoch in sorted(ends) if epoch in finals]
    section.add("last block of an epoch to its list published", "ms", published)
    section.add("  to its list final", "ms", final)
    windows = [(began[e], finals.get(e, ends[e]) + AFTER_S) for e in ends]

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
