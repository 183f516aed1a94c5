"""Nodes as programs of the Session network know them: one entry of `service_node_states`.

The names are those of that network's own interface. Amounts are atomic units, heights are ours.
Nothing here is signed: it is for clients that exist and cannot check a list.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

NO_SWARM: Final = 2**64 - 1
"""Swarm id of a node that is not active."""

NO_ADDRESS: Final = "0.0.0.0"
"""Address of a node without IPv4."""


class SessionContributor(msgspec.Struct, frozen=True):
    """One contributor's stake."""

    address: str
    amount: int


class SessionNode(msgspec.Struct, frozen=True):
    """One node. The order of the fields is that of the entry."""

    service_node_pubkey: str
    """64 hex digits: the node key, as the next one."""
    pubkey_ed25519: str
    pubkey_x25519: str
    """64 hex digits: the node key as a Montgomery point."""
    public_ip: str
    """IPv4 in dotted form, `NO_ADDRESS` if the node has none."""
    storage_port: int
    storage_lmq_port: int
    requested_unlock_height: int
    """About the height at which it leaves; 0 if nobody asked."""
    storage_server_version: tuple[int, int, int]
    service_node_version: tuple[int, int, int]
    swarm_id: int
    swarm: str
    """The same in hex, without padding."""
    funded: bool
    active: bool
    state_height: int
    """Height of the block in which its state began."""
    registration_height: int
    last_reward_block_height: int
    last_uptime_proof: int
    """Unix seconds, 0 if there was none."""
    earned_downtime_blocks: int
    decommission_count: int
    staking_requirement: int
    total_contributed: int
    operator_fee: int
    """Millionths."""
    operator_address: str
    contributors: list[SessionContributor]


def is_reachable(node: SessionNode) -> bool:
    """Whether a node has an IPv4 address: clients of that network know no other kind."""
    return node.public_ip != NO_ADDRESS


def select_reachable(nodes: Iterable[SessionNode]) -> Iterator[SessionNode]:
    """Yield the nodes that clients of that network can reach."""
    return filter(is_reachable, nodes)
