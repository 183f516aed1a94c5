"""Which addresses may be probed at all, whatever anybody says of them.

Without prefixes: those that are routed in public, by the same table that contact data is held to.
With prefixes: those within one of them, and no other.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from ledger.messages.contact import IPV4_BYTES, Contact
from ledger.rules.routable import compute_unroutable_reason

Prefix: TypeAlias = IPv4Network | IPv6Network


class Networks:
    """The networks in which an agent probes."""

    def __init__(self, prefixes: Sequence[Prefix] = ()) -> None:
        self._prefixes = tuple(prefixes)

    def find_reason(self, packed: bytes) -> str:
        """Return why a packed address is not probed, or "" if it may be."""
        if not self._prefixes:
            return compute_unroutable_reason(packed, allow_loopback=False)
        address = unpack(packed)
        if any(address in prefix for prefix in self._prefixes):
            return ""
        return "outside of the networks that the settings name"

    def select(self, contact: Contact) -> list[bytes]:
        """Return the addresses of a node that may be probed, packed."""
        named = (contact.ipv4, contact.ipv6)
        return [packed for packed in named if packed and not self.find_reason(packed)]


def unpack(packed: bytes) -> IPv4Address | IPv6Address:
    """Return a packed address of 4 or 16 bytes."""
    return IPv4Address(packed) if len(packed) == IPV4_BYTES else IPv6Address(packed)
