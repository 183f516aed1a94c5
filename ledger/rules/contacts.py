"""What contact data has to say, from whomever it comes.

- A node has an address at least, and others can reach each that it has.
- Ports and versions say something.
"""

from typing import Final

from ledger.errors import Refusal
from ledger.messages.contact import IPV4_BYTES, IPV6_BYTES, Contact, Version
from ledger.params import Params
from ledger.rules.routable import compute_unroutable_reason

NO_VERSION: Final = Version(0, 0, 0)


def check_contact(contact: Contact, params: Params) -> None:
    """Check contact data by itself. Refuses with `bad_address`, `bad_port`, `bad_version`."""
    if not contact.ipv4 and not contact.ipv6:
        raise Refusal("bad_address", address="none", why="one of IPv4 and IPv6 is needed")
    for address, length in ((contact.ipv4, IPV4_BYTES), (contact.ipv6, IPV6_BYTES)):
        if len(address) not in (0, length):
            raise Refusal("bad_address", address=_text(address), why=f"not {length} bytes")
        reason = compute_unroutable_reason(address, bool(params.allow_loopback)) if address else ""
        if reason:
            raise Refusal("bad_address", address=_text(address), why=reason)
    for port in (contact.storage_port, contact.router_port):
        if port == 0:
            raise Refusal("bad_port", port=port)
    if NO_VERSION in (contact.storage_version, contact.router_version):
        raise Refusal("bad_version")


def _text(address: bytes) -> str:
    """Return a packed address as people write it, the groups of IPv6 in full."""
    if len(address) == IPV4_BYTES:
        return ".".join(str(byte) for byte in address)
    return address.hex(":", 2)
