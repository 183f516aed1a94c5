"""What the web process tells Prometheus at `/metrics`; `docs/api.md` names everything.

Gauges are read when somebody scrapes, so nothing has to keep them up to date.
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

NOTHING: Final = -1
"""Stands for "none yet" where a gauge has no value."""


class WebState(NamedTuple):
    """What the gauges show, read anew for each scrape; `waypost_` goes before the names."""

    height: int = NOTHING
    """Newest block that this process has seen."""
    epoch: int = NOTHING
    """The epoch that runs."""
    nodes: Mapping[str, int] = {}
    """Nodes by state."""
    pool_coins: int = 0
    """Reward pool, whole coins."""
    final_list_epoch: int = NOTHING
    """Epoch of the newest final list."""
    final_list_age_seconds: float = NOTHING
    """Time since that list's valid-after."""
    final_list_fresh_seconds: float = 0
    """Time for which that list is still fresh; negative past it."""
    view_age_seconds: float = NOTHING
    """Time since the newest block's time."""
    ready: bool = False
    """1 if /health/ready says so."""
    ledger_connected: bool = False
    """1 if the ledger process can be asked."""
    event_streams: int = 0
    """Open streams of /v1/events."""
    votes_held: int = 0
    """Votes that wait for their verdict."""
    verdicts_made: int = 0
    """Verdicts made of votes since the ledger process started."""


class WebMetrics:
    """The metrics of one web process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._read: Callable[[], WebState] = WebState
        self._requests: dict[tuple[str, int], int] = {}
        """Answers by group and the first digit of their status; counted by hand, for speed."""
        self._seconds = Histogram(
            "waypost_request_seconds",
            "Time to the end of an answer, without streams and lists.",
            ("group",),
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
            registry=self._registry,
        )
        self._transactions = Counter(
            "waypost_transactions",
            "Transactions that were sent, by what became of them.",
            ("state",),
            registry=self._registry,
        )
        self._votes = Counter(
            "waypost_votes",
            "Votes that were sent, by what became of them.",
            ("state",),
            registry=self._registry,
        )
        self._limited = Counter(
            "waypost_limited",
            "What was turned away because its client address had its share, by limit.",
            ("limit",),
            registry=self._registry,
        )
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._registry.register(_Gauges(self))

    def watch(self, read: Callable[[], WebState]) -> None:
        """Have the gauges read from now on."""
        self._read = read

    @property
    def state(self) -> WebState:
        """What the gauges show now."""
        return self._read()

    def count_request(self, group: str, status: int) -> None:
        """Count an answer with an HTTP status; 0 means that the client went before it."""
        kind = (group, status // 100)
        self._requests[kind] = self._requests.get(kind, 0) + 1

    def show_requests(self) -> Metric:
        """Return the count of answers as a scrape shows it."""
        family = CounterMetricFamily(
            "waypost_requests",
            "Answers by group of paths and class of status.",
            labels=("group", "status"),
        )
        for (group, hundreds), count in sorted(self._requests.items()):
            family.add_metric((group, f"{hundreds}xx" if hundreds else "none"), count)
        return family

    def time_request(self, group: str, seconds: float) -> None:
        """Take down how long an answer took."""
        self._seconds.labels(group).observe(seconds)

    def count_transactions(self, states: Iterable[str]) -> None:
        """Count transactions that were sent, by their state in the answer."""
        for state, count in collections.Counter(states).items():
            self._transactions.labels(state).inc(count)

    def count_votes(self, states: Iterable[str]) -> None:
        """Count votes that were sent, by their state in the answer."""
        for state in states:
            self._votes.labels(state).inc()

    def count_limited(self, limit: str) -> None:
        """Count what was turned away: by `rate`, `streams` or `connections`."""
        self._limited.labels(limit).inc()

    def render(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self._registry)


class _Gauges:
    """Reads the state when it is scraped, so that nothing has to be kept up to date."""

    def __init__(self, metrics: WebMetrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterator[Metric]:
        """Name everything without reading it."""
        yield self._metrics.show_requests()
        for name in WebState._fields:
            yield GaugeMetricFamily(f"waypost_{name}", "")

    def collect(self) -> Iterator[Metric]:
        """Yield every gauge."""
        yield self._metrics.show_requests()
        state = self._metrics.state
        helps = _HELPS
        for name, value in state._asdict().items():
            if isinstance(value, Mapping):
                family = GaugeMetricFamily(f"waypost_{name}", helps[name], labels=("state",))
                for label, count in sorted(value.items()):
                    family.add_metric((label,), count)
            else:
                family = GaugeMetricFamily(f"waypost_{name}", helps[name], value=float(value))
            yield family


_HELPS: Final = {
    "height": "Newest block that this process has seen.",
    "epoch": "The epoch that runs.",
    "nodes": "Nodes by state.",
    "pool_coins": "Reward pool, whole coins.",
    "final_list_epoch": "Epoch of the newest final list, -1 before the first.",
    "final_list_age_seconds": "Time since the newest final list's valid-after, -1 before it.",
    "final_list_fresh_seconds": "Time for which that list is still fresh; negative past it.",
    "view_age_seconds": "Time since the newest block's time, -1 before the first view.",
    "ready": "1 if /health/ready says so.",
    "ledger_connected": "1 if the ledger process can be asked.",
    "event_streams": "Open streams of /v1/events.",
    "votes_held": "Votes that wait for their verdict.",
    "verdicts_made": "Verdicts made of votes since the ledger process started.",
}
