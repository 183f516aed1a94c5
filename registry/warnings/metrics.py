"""The facts behind the warnings as gauges for Prometheus, on an address of their own.

- One series for each node, named by its address and nothing else; what has one of several states
  has a series for each, of which one is 1. A node that is not watched any more has none, and what
  is not known is left out.
- Gauges show what the last round found. `waypost_warn_round_timestamp_seconds` says when that was:
  alert on it first, since all others stand still with it.
- The server answers `GET /metrics` and closes; it holds few connections, each for a short time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from ledger.messages.state import NODE_STATES
from ledger.types import COIN
from registry.sockets import listen
from registry.warnings.facts import NodeFacts, Removal, Seen
from registry.warnings.outbox import Standing
from registry.warnings.rounds import Outcome
from registry.warnings.table import NEWS, WARNINGS, Scope

UNREGISTERED: Final = "unregistered"
STATES: Final = (*NODE_STATES.values(), UNREGISTERED)

READ_S: Final = 5.0
MAX_HEAD_BYTES: Final = 8_192
MAX_CONNECTIONS: Final = 16


class NodeGauge(NamedTuple):
    """One row of `NODE_GAUGES`."""

    name: str
    meaning: str
    read: Callable[[NodeFacts, int], float | None]
    """Its value from a node and the time, Unix milliseconds; None where there is none."""


def _seconds(span_ms: int | None) -> float | None:
    return None if span_ms is None else span_ms / 1000


def _of_removal(read: Callable[[Removal], float]) -> Callable[[NodeFacts, int], float | None]:
    return lambda node, _: None if node.removal is None else read(node.removal)


NODE_GAUGES: Final = (
    NodeGauge("credit_seconds", "Uptime credit that the node has; one that is down, had.",
              lambda node, _: _seconds(node.credit_ms)),
    NodeGauge("failing_epochs", "Failing epochs that count against the node so far.",
              _of_removal(lambda removal: removal.failing_epochs)),
    NodeGauge("failing_epochs_left", "Epochs that have to fail before it loses more.",
              _of_removal(lambda removal: removal.failing_epochs_left)),
    NodeGauge("removal_seconds", "Time at least until its next loss, if every test fails.",
              _of_removal(lambda removal: removal.time_left_ms / 1000)),
    NodeGauge("check_in_age_seconds", "Time since its agent last checked in.",
              lambda node, now_ms: None if node.checked_in_ms is None
              else _seconds(max(0, now_ms - node.checked_in_ms))),
    NodeGauge("claimable_coins", "Rewards that wait in the node.",
              lambda node, _: int(node.claimable) / COIN),
    NodeGauge("penalties_coins", "Stake that penalties took in this life.",
              lambda node, _: int(node.penalties_taken) / COIN),
    NodeGauge("payout_timestamp_seconds", "When its stake is paid out, once its duty is over.",
              lambda node, _: _seconds(node.payout_ms)),
)  # fmt: skip
"""What is measured of each node; `waypost_node_` goes before the names."""


class Gauges:
    """The gauges of one process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._outcome: Outcome | None = None
        self._standings: Callable[[], Mapping[str, Standing]] = dict
        self._registry.register(self)

    def watch(self, standings: Callable[[], Mapping[str, Standing]]) -> None:
        """Have channels measured from now on."""
        self._standings = standings

    def show(self, outcome: Outcome) -> None:
        """Show what a round found, from now on."""
        self._outcome = outcome

    def render(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: the registry holds nobody else."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield every gauge."""
        yield from _show_channels(self._standings())
        outcome = self._outcome
        if outcome is None:
            return
        yield _gauge("warn_round_timestamp_seconds", "When the last round was.", {
            (): outcome.now_ms / 1000,
        })  # fmt: skip
        yield from _show_nodes(outcome)
        yield from _show_services(outcome)
        yield from _show_network(outcome)
        yield from _show_warnings(outcome)


Values: TypeAlias = dict[tuple[str, ...], float]
"""A gauge's values by those of its labels."""


def _gauge(name: str, meaning: str, values: Values, labels: tuple[str, ...] = ()) -> Metric:
    family = GaugeMetricFamily(f"waypost_{name}", meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _show_nodes(outcome: Outcome) -> Iterator[Metric]:
    states: Values = {
        (address, state): float(state == (UNREGISTERED if facts is None else facts.state))
        for address, facts in outcome.nodes.items()
        for state in STATES
    }
    yield _gauge("node_state", "1 for the state that the node is in.", states, ("node", "state"))
    for gauge in NODE_GAUGES:
        values: Values = {
            (address,): float(value)
            for address, facts in outcome.nodes.items()
            if facts is not None and (value := gauge.read(facts, outcome.now_ms)) is not None
        }
        yield _gauge(f"node_{gauge.name}", gauge.meaning, values, ("node",))


def _show_services(outcome: Outcome) -> Iterator[Metric]:
    seen = {(url,): answer for url, answer in outcome.answers.items() if isinstance(answer, Seen)}
    up: Values = {(url,): float((url,) in seen) for url in outcome.answers}
    heights: Values = {key: float(answer.network.height) for key, answer in seen.items()}
    late: Values = {
        key: (outcome.now_ms - answer.network.time_ms) / 1000 for key, answer in seen.items()
    }
    yield _gauge("service_up", "1 if the service gave an answer of use.", up, ("service",))
    yield _gauge("service_height", "Its newest block.", heights, ("service",))
    yield _gauge("service_block_age_seconds", "Time since that block.", late, ("service",))


def _show_network(outcome: Outcome) -> Iterator[Metric]:
    final = None if outcome.seen is None else outcome.seen.network.latest_final
    if final is None:
        return
    now_ms = outcome.now_ms
    yield _gauge("warn_list_age_seconds", "Time since the newest final list's valid-after.", {
        (): (now_ms - final.valid_after_ms) / 1000,
    })  # fmt: skip
    yield _gauge("warn_list_fresh_seconds", "Time for which it is still fresh; negative past it.", {
        (): (final.fresh_until_ms - now_ms) / 1000,
    })  # fmt: skip


def _show_warnings(outcome: Outcome) -> Iterator[Metric]:
    due = {due.place for due in outcome.due}
    subjects = {Scope.NODE: tuple(outcome.nodes), Scope.SERVICE: tuple(outcome.answers)}
    for scope in Scope:
        rows = [row for row in WARNINGS if row.scope is scope and row.name not in NEWS]
        labels = ("warning", str(scope)) if scope in subjects else ("warning",)
        values: Values = {
            (row.name, subject)[: len(labels)]: float((row.name, subject) in due)
            for row in rows
            for subject in subjects.get(scope, ("",))
        }
        yield _gauge(f"{scope}_warning", f"1 while a warning on a {scope} is due.", values, labels)


def _show_channels(standings: Mapping[str, Standing]) -> Iterator[Metric]:
    waiting: Values = {(name,): float(row.waiting) for name, row in standings.items()}
    failures: Values = {(name,): float(row.failures) for name, row in standings.items()}
    labels = ("channel",)
    yield _gauge("warn_messages_waiting", "Messages that wait to be sent.", waiting, labels)
    yield _gauge("warn_send_failures", "Attempts that failed since the last one that did not.",
                 failures, labels)  # fmt: skip


# ---------------------------------------------------------------------------------- the server


@contextlib.asynccontextmanager
async def serve(gauges: Gauges, host: str, port: int) -> AsyncIterator[int]:
    """Answer `GET /metrics`; yields the port, a free one for 0. Raises `CannotListen`."""
    places = asyncio.Semaphore(MAX_CONNECTIONS)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if places.locked():
                return
            async with places, asyncio.timeout(READ_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_answer(head, gauges))
                await writer.drain()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            pass  # who asks for anything else, or does not read, is let go of
        finally:
            writer.close()

    listening = listen(host, port)
    server = await asyncio.start_server(accept, sock=listening, limit=MAX_HEAD_BYTES)
    try:
        yield listening.getsockname()[1]
    finally:
        server.close()


def _answer(head: bytes, gauges: Gauges) -> bytes:
    words = head.split(b"\r\n", 1)[0].split(b" ")
    status, body = "404 Not Found", b"ask for /metrics\n"
    if len(words) == 3 and words[1].split(b"?")[0] == b"/metrics":
        if words[0] in (b"GET", b"HEAD"):
            status, body = "200 OK", gauges.render()
        else:
            status, body = "405 Method Not Allowed", b"use GET\n"
    kind = CONTENT_TYPE_PLAIN_0_0_4 if status == "200 OK" else "text/plain"
    lines = (f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}")
    sent = b"" if words[0] == b"HEAD" else body
    return "\r\n".join((*lines, "Allow: GET, HEAD", "Connection: close", "", "")).encode() + sent
