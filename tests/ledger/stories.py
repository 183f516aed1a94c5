"""What stories of whole networks share.

refuse      a transaction has a code, in a block too, and changes nothing
is_there    whether a node lives
amounts     the stakes in a node
earned      what a node earned
is_tested   whether somebody can judge a node
"""

from ledger.messages.state import Node
from ledger.messages.tables import NODES, POOL
from ledger.transactions.judge import get_quorum
from tests.factory import Network, public
from tests.ledger.effects import expect_refused
from tests.life import running


def refuse(network: Network, raw: bytes, code: str) -> None:
    """What is sent now has this code, in a block too, and changes nothing."""
    network.settle()
    expect_refused(network, raw, code)


def is_there(network: Network, name: str = "node") -> bool:
    """Whether a node lives."""
    return network.state.get(NODES, public(name)) is not None


def amounts(network: Network, name: str = "node") -> list[int]:
    """The stakes in a node."""
    return [row.amount for row in network.node(name).contributions]


def earned(network: Network, name: str = "node") -> int:
    """What a node earned in this period, as its record and the pool say."""
    node: Node = network.node(name)
    grown = network.state.one(POOL).accumulator - node.entry if node.earning else 0
    return node.accrued + grown


def is_tested(network: Network, name: str) -> bool:
    """Whether somebody can judge a node in the running epoch."""
    node = network.state.get(NODES, public(name))
    if node is None or not 0 < node.tested_from <= running(network):
        return False
    return bool(get_quorum(network.state, running(network), public(name)))
