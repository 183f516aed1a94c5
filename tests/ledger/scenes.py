"""How a network comes to where something can happen in it.

town             active nodes that can test each other, from the start
share, enter     a node of alice with stakes of bob and carol; the same, active
earn             it has earned rewards that nobody claimed
fail, take_down  a verdict that a node failed; two of them, and it is decommissioned
let_go, expel    a node has left; it is deregistered
pay_out          its stake was paid out
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from ledger.messages.state import ACTIVE, DECOMMISSIONED, DEREGISTERED, EXITED
from ledger.messages.tables import EPOCH, NODES
from tests.factory import (
    SHORT_TIMES,
    Network,
    attestor_roles,
    make_genesis,
    public,
)
from tests.life import FAULTY, judge, townsfolk

WALLET: Final = "a cold wallet"
"""The beneficiary of carol's stake: no account as long as nothing came."""

CIVIC: Final[Mapping[str, Any]] = MappingProxyType({"nodes": townsfolk()})
"""What a genesis file has otherwise to begin with nodes that can test each other."""

SHORT: Final[dict[str, Any]] = SHORT_TIMES | {"lock_ms": 61_001}
"""Parameters under which every stake is paid out a minute after duty ended."""


def town(genesis: Mapping[str, Any] | None = None, **params: int) -> Network:
    """A network of `townsfolk`."""
    return Network(make_genesis(params, **{**CIVIC, **(genesis or {})}))


def share(network: Network, **changes: Any) -> None:
    """A node of alice with a key for every role; bob and carol have stakes in it."""
    requirement = network.params.staking_requirement
    own = -(-requirement // 4)
    bobs = -(-(requirement - own) // 3)
    network.block(
        network.register(stake=own, **(attestor_roles("node") | changes)),
        network.contribute("bob", bobs),
        network.contribute("carol", requirement - own - bobs, beneficiary=public(WALLET)),
    )


def enter(network: Network, **changes: Any) -> None:
    """A shared node that is active."""
    share(network, **changes)
    network.end_epoch()
    assert network.node().state == ACTIVE


def earn(network: Network) -> None:
    """A shared node that has earned rewards for two epochs."""
    enter(network)
    for _ in range(3):
        network.end_epoch()
    assert network.node().earning


def fail(network: Network, node: str = "node") -> None:
    """An epoch in which a node failed its test."""
    network.block(judge(network, node, FAULTY))
    network.end_epoch()


def take_down(network: Network, node: str = "node") -> None:
    """An active node is decommissioned for two failing epochs."""
    fail(network, node)
    fail(network, node)
    network.end_epoch()
    assert network.node(node).state == DECOMMISSIONED


def expel(network: Network, node: str = "node") -> None:
    """A decommissioned node is deregistered, since it goes on failing."""
    while network.node(node).state == DECOMMISSIONED:
        fail(network, node)
    assert network.node(node).state == DEREGISTERED


def let_go(network: Network, who: str = "alice", node: str = "node") -> None:
    """An active node has left; its stake is locked."""
    network.block(network.request_unlock(who, node))
    network.end_epoch()
    assert network.node(node).state == EXITED


def pay_out(network: Network, node: str = "node") -> None:
    """A node that left has its stake back."""
    network.end_epoch(late_ms=max(network.params.unbonding_ms, network.params.lock_ms))
    assert network.state.get(NODES, public(node)) is None


def wait_until(network: Network, time_ms: int) -> None:
    """Go on to a block of exactly this time, and end the running epoch first if it is over then."""
    network.settle()
    start_ms = network.state.one(EPOCH).start_ms
    if time_ms >= start_ms + network.params.epoch_ms:
        network.block(ms=time_ms - network.params.epoch_ms // 2 - network.chain.tip.time_ms)
        network.settle()
    network.block(ms=time_ms - network.chain.tip.time_ms)
