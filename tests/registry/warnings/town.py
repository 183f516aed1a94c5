"""A service in memory whose nodes test each other, for programs that warn.

ME, MINE, OPERATOR    a node, its address and its operator's
run_town              the service
fail                  have a node fail for an epoch, in real blocks
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from ledger.messages.genesis import GenesisAccount
from registry.addresses import encode_account, encode_node
from tests.factory import PEOPLE, RICH, Network, founding, public
from tests.life import FAULTY, judge
from tests.registry.cli.fake_service import FakeService, run_service
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


def fail(network: Network, name: str = ME, **changes: Any) -> None:
    """Have a node fail in the running epoch."""
    network.block(judge(network, name, FAULTY, **changes))
