"""A pool in a test, and what is asked of it.

made       a node of a network whose parameters the test says
codes      why each of a batch was refused
waiting    what waits, in its order
fate       what is known of one that does not
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ledger.crypto import sha256
from ledger.errors import Refusal
from tests.factory import Network, make_genesis
from tests.registry.factory import Node


@asynccontextmanager
async def made(**params: int) -> AsyncIterator[Node]:
    """A node of a network whose blocks hold what the test says."""
    network = Network(make_genesis(params))
    network.attesting = False
    node = Node(network)
    try:
        yield node
    finally:
        await node.close()


def codes(outcomes: Sequence[Refusal | None]) -> list[str | None]:
    return [None if outcome is None else outcome.code for outcome in outcomes]


def waiting(node: Node) -> list[bytes]:
    return [tx.raw for tx in node.pool.candidates()]


def fate(node: Node, raw: bytes) -> tuple[str, str | None] | None:
    found = node.pool.fate(sha256(raw))
    return found and (found.state, found.refusal.code if found.refusal else None)
