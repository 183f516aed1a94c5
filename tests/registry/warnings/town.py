"""A service in memory whose nodes test each other, for programs that warn.

ME, MINE, OPERATOR    a node, its address and its operator's
run_town              the service
Limited               the same service, to a client who gets so much a second
run_limited           one that listens
fail                  have a node fail for an epoch, in real blocks
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from ledger.messages.genesis import GenesisAccount
from registry.addresses import encode_account, encode_node
from registry.api.limits import OTHER_COST, Buckets
from tests.factory import PEOPLE, RICH, Network, founding, public
from tests.life import FAULTY, judge
from tests.registry.cli.fake_service import FakeService, run_service
from tests.registry.small_service import Answer, Asked, Said, SmallService, problem, running
from tests.registry.town import NODES_NAMES

ME: Final = NODES_NAMES[0]
MINE: Final = encode_node(public(ME))
OWNER: Final = PEOPLE[0]
OPERATOR: Final = encode_account(public(OWNER))


@contextmanager
def run_town(**params: int) -> Iterator[FakeService]:
    """Run a service of eight nodes with an operator each, whose lists become final."""
    rows = [
        founding(name, operator=operator)[0]
        for name, operator in zip(NODES_NAMES, PEOPLE, strict=False)
    ]
    nodes = tuple(sorted(rows, key=lambda row: row.node))
    accounts = tuple(GenesisAccount(key, RICH) for key in sorted(map(public, PEOPLE)))
    with run_service({"nodes": nodes, "accounts": accounts}, **params) as service:
        service.network.block()
        yield service


class Limited(SmallService):
    """Answers as a town does, and refuses what is past the share of a client."""

    def __init__(self, url: str, town: FakeService, rate: int, burst: int) -> None:
        super().__init__(url)
        self.buckets = Buckets(rate, burst, time.monotonic)
        self.refused: list[str] = []
        """Paths that were."""
        self._town = town

    def answer_else(self, asked: Asked) -> Answer:
        """Answer within what flows into the bucket."""
        wait_s = self.buckets.take(b"\x7f\x00\x00\x01", OTHER_COST)
        if wait_s:
            self.refused.append(asked.path)
            return be_busy(wait_s)
        return Said(*self._town.answer(asked.method, asked.path, asked.body), {})


def be_busy(wait_s: int) -> Said:
    """The answer to who asked too much."""
    refusal = problem("too_many_requests", 429, seconds=wait_s)
    return refusal._replace(headers={"Retry-After": str(wait_s)})


@contextmanager
def run_limited(town: FakeService, rate: int, burst: int) -> Iterator[Limited]:
    """Run a service that gives a client `rate` tokens a second, and `burst` at once."""
    with running(lambda url: Limited(url, town, rate, burst)) as service:
        yield service


def fail(network: Network, name: str = ME, **changes: Any) -> None:
    """Have a node fail in the running epoch."""
    network.block(judge(network, name, FAULTY, **changes))
