"""Verified lists of the nodes that `tests.registry.api.fake_ledger` serves."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

from ledger.messages.contact import Contact, Version
from ledger.messages.entries import Entry
from registry.client import TrustedLists
from registry.formats.session import NO_ADDRESS, SessionNode
from tests.registry.api.fake_ledger import SESSION_NODES
from tests.registry.client.factory import EPOCH, NOW_MS, MadeList, make_list

IPV6 = bytes.fromhex("2a01") + bytes(14)


def make_entry(node: SessionNode, **changes: Any) -> Entry:
    """The entry of a list that agrees with a row; `changes` are fields of the contact data."""
    swarm_id = changes.pop("swarm_id", node.swarm_id)
    has_address = node.public_ip != NO_ADDRESS
    contact: dict[str, Any] = {
        "ipv4": IPv4Address(node.public_ip).packed if has_address else b"",
        "ipv6": b"" if has_address else IPV6,
        "storage_port": node.storage_port,
        "router_port": node.storage_lmq_port,
        "storage_version": Version(*node.storage_server_version),
        "router_version": Version(*node.service_node_version),
    }
    key = bytes.fromhex(node.pubkey_ed25519)
    return Entry(key, Contact(**(contact | changes)), swarm_id)


HONEST: Sequence[Entry] = [make_entry(node) for node in SESSION_NODES if node.active]
"""What the rows of active nodes say, by ascending key."""


def make_proven(entries: Sequence[Entry] = HONEST, epoch: int = EPOCH) -> MadeList:
    """A list that holds."""
    return make_list(epoch, entries=entries)


def verify(made: MadeList, now_ms: int = NOW_MS) -> TrustedLists:
    """What an agent holds that has verified a list."""
    trusted = TrustedLists(made.genesis, now_ms)
    trusted.update(made.signed, made.path())
    trusted.load_full(made.full)
    return trusted
