"""A network with something of everything, and the web side over it.

Explored   a ledger that answers from a real chain, as the ledger process does
Site       the web process without the process, over it
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from ledger.messages.genesis import FIXED
from ledger.messages.tables import EPOCH
from registry.api.app import make_app
from registry.publisher import Publisher
from registry.queries import Queries
from registry.replica import Replica
from registry.view import Event, NodeRow, PushedView
from registry.web import pages
from tests.factory import (
    DAY_MS,
    PEOPLE,
    QUARTER,
    Network,
    founding,
    make_contact,
    make_genesis,
    places,
    public,
)
from tests.life import FAULTY, judge, report, running, townsfolk, vote_evidence
from tests.registry.api.fake_ledger import FakeLedger, plain
from tests.registry.factory import Direct
from tests.registry.published import FreshRoster

EPOCH_MS = 600_000
EPOCHS = 12
"""Epochs that the network has behind it."""

PARAMS = {
    "epoch_ms": EPOCH_MS,
    "fresh_ms": 3 * EPOCH_MS,
    "valid_ms": DAY_MS,
    "block_ms": 10_000,
    "reservation_ms": DAY_MS,
}
CROWD = 24
"""Founding nodes beside those that test each other."""

CHAIN = "explored"


class Explored(FakeLedger):
    """A ledger in memory that answers from a real chain.

    `start_ms` is when that began, `policy` how its attestors change, `params` are beside `PARAMS`.
    """

    def __init__(
        self, folder: Path, start_ms: int | None = None, *, policy: int = FIXED, **params: int
    ) -> None:
        now_ms = time.time_ns() // 1_000_000
        self.start_ms = (
            now_ms - (EPOCHS - 1) * EPOCH_MS - EPOCH_MS // 3 if start_ms is None else start_ms
        )
        self.network = make_network(self.start_ms, policy, params)
        self.replica = Replica(self.network.chain, Direct())
        self.publisher = Publisher(self.network.chain, FreshRoster(self.network), folder)
        super().__init__()

    async def start(self) -> None:
        """Have everything happen, publish it, and have the newest view ready."""
        await self.publisher.start()
        for _ in populate(self.network):
            await self.publisher.update()
        await self.publisher.settle()
        self.refresh([])

    def refresh(self, events: list[Event]) -> None:
        """Make the rows and the view of the newest block."""
        self.replica = Replica(self.network.chain, Direct())
        self.nodes: list[NodeRow] = self.replica.roster.all()
        self.view = plain(self._make_view(events))

    async def go_on(self, *raws: bytes, ms: int = 10_000) -> list[tuple[str, Any]]:
        """Make a block, and return what the ledger process would push."""
        latest = self.publisher.latest
        executed = self.network.block(*raws, ms=ms)
        await self.publisher.update()
        height = self.network.chain.tip.height
        events = [Event("block", height, {"transactions": len(raws)})]
        if executed.ended_epoch:
            events.append(Event("epoch", height, {"epoch": running(self.network) - 1}))
        if self.publisher.latest != latest:
            events.append(Event("list_final", height, {"epoch": self.publisher.latest}))
        self.refresh(events)
        return self.greeting()

    @property
    def queries(self) -> Queries:
        """What answers at the newest height."""
        here = self.replica
        return Queries(
            self.network.chain, here.pool, here.census, here.verdicts, here.check_ins.newest
        )

    def _make_view(self, events: list[Event]) -> PushedView:
        chain, state = self.network.chain, self.network.state
        tip, epoch = chain.tip, state.one(EPOCH)
        return PushedView(
            height=tip.height,
            time_ms=tip.time_ms,
            root=tip.root.hex(),
            block_hash=tip.block_hash.hex(),
            epoch=epoch.epoch,
            epoch_ends_ms=epoch.start_ms + EPOCH_MS,
            chain=CHAIN,
            genesis=chain.genesis_bytes,
            ready=True,
            network=self.queries.answer("network", {}, None)["result"],
            lists=self.publisher.lists,
            latest=self.publisher.latest,
            events=events,
        )

    async def _query(
        self, name: str, arguments: dict[str, Any], height: int | None
    ) -> dict[str, Any]:
        self._take_down("query", name, arguments, height)
        at = await self.queries.prepare(name, arguments, height)
        answer: dict[str, Any] = plain(self.queries.answer(name, arguments, at))
        return answer


def make_network(start_ms: int, policy: int, params: Mapping[str, int]) -> Network:
    """The network at its beginning: nodes of many operators, at addresses of their own."""
    crowd = [
        founding(
            f"crowd {number}",
            operator=PEOPLE[number % 7],
            contact=make_contact(100 + number),
        )[0]
        for number in range(CROWD)
    ]
    nodes = tuple(sorted([*townsfolk(), *crowd], key=lambda row: row.node))
    genesis = make_genesis(
        PARAMS | dict(params), name=CHAIN.encode(), start_ms=start_ms, policy=policy, nodes=nodes
    )
    return Network(genesis)


def populate(network: Network) -> Iterator[None]:
    """Nodes in every state of their way, verdicts, an offence, transfers; a block at a time."""
    network.checking = False
    expiry: dict[str, Any] = {"expiry_ms": network.genesis.start_ms + DAY_MS}
    network.block(
        network.register("waits", "alice", QUARTER, **expiry),
        network.register("shared", "bob", 2 * QUARTER, fee=1_250, **expiry),
        network.register("kept", "carol", QUARTER, reserved=places(("leo", QUARTER)), **expiry),
        network.register("funded", "dave", **expiry),
    )
    yield
    network.block(
        network.contribute("erin", QUARTER, "shared"),
        network.transfer("frank", "alice", 1_500_000_000),
    )
    yield
    network.block(report(network, "leo", vote_evidence(network, "town 1")))
    yield
    yield from _end_epoch(network)
    network.block(network.request_unlock("grace", "town 3"))
    yield
    while running(network) < EPOCHS:
        network.block(*verdicts(network))
        yield
        yield from _end_epoch(network)
    network.block()
    yield
    late_expiry: dict[str, Any] = {"expiry_ms": network.chain.tip.time_ms + DAY_MS}
    network.block(network.register("late", "heidi", **late_expiry))
    yield


def _end_epoch(network: Network) -> Iterator[None]:
    """End the running epoch, and have the header that it leaves signed."""
    network.end_epoch()
    yield
    network.block()
    yield


FAILS = {"town 0": range(9, EPOCHS), "town 2": (3, 8), "town 4": (11,)}
"""Who fails in which epochs: the first until it is off duty, the others now and then."""


def verdicts(network: Network) -> list[bytes]:
    """The verdicts of the running epoch."""
    epoch = running(network)
    return [judge(network, name, FAULTY) for name, epochs in FAILS.items() if epoch in epochs]


class Site:
    """The web process without the process."""

    def __init__(self, folder: Path, ledger: FakeLedger, now_ms: int | None = None) -> None:
        self.now_ms = now_ms
        self.ledger = ledger
        self.app = make_app(ledger, folder, clock=self._clock)
        pages.install(self.app.framework, self.app.live)
        self.client = TestClient(self.app)

    def _clock(self) -> int:
        return time.time_ns() // 1_000_000 if self.now_ms is None else self.now_ms

    def get(self, path: str, **headers: str) -> Any:
        """Ask as a browser does, without going on to another page."""
        accept = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"} | headers
        return self.client.get(path, headers=accept, follow_redirects=False)


def key_of(name: str) -> bytes:
    """The key behind a name."""
    return public(name)
