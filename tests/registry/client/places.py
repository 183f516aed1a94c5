"""Nodes of which only the networks matter that they stand in, and tables of them."""

from collections.abc import Sequence
from random import Random
from typing import Any, TypeAlias

from ledger.messages.contact import Contact, Version
from ledger.messages.entries import Entry
from registry.client.routing import MAX_STRIKES, RoutingTable
from tests.registry.client.factory import digest

Place: TypeAlias = tuple[int | None, int | None]
"""The /24 and the /48 that a node stands in, as numbers; None where it has no such address."""


def node(number: int, place: Place, swarm_id: int = 0) -> Entry:
    """A node in these networks, with an address of its own in each."""
    ipv4, ipv6 = place
    host = number.to_bytes(1, "big")
    return Entry(
        digest(f"node {number}"),
        Contact(
            b"" if ipv4 is None else b"\x2d" + ipv4.to_bytes(2, "big") + host,
            b"" if ipv6 is None else b"\x2a\x01" + ipv6.to_bytes(4, "big") + bytes(9) + host,
            22021,
            22020,
            Version(2, 8, 0),
            Version(11, 5, 0),
        ),
        swarm_id,
    )


def nodes(*places: Place) -> list[Entry]:
    """Nodes in these networks."""
    return [node(number, place) for number, place in enumerate(places)]


def apart(count: int) -> list[Entry]:
    """As many nodes, no two of which share a network."""
    return nodes(*[(number, None) for number in range(count)])


def start(entries: Sequence[Entry], seed: int = 1, **options: Any) -> RoutingTable:
    """A table that draws the same in every run."""
    return RoutingTable(entries, rng=Random(seed), **options)


def strike_out(table: RoutingTable, *entries: Entry, times: int = MAX_STRIKES) -> None:
    """Let nodes fail."""
    for entry in entries:
        for _ in range(times):
            table.strike(entry.key)


def keys(entries: Sequence[Entry]) -> list[bytes]:
    """Their keys."""
    return [entry.key for entry in entries]
