"""Refusals of contact data, in `register` and in `update_contact`."""

from typing import Any

from ledger.codec import encode
from ledger.crypto import sign, signing_bytes
from ledger.messages import tags
from ledger.messages.contact import Contact, Version
from ledger.messages.transactions import ContactUpdate, UpdateContact
from tests.factory import QUARTER, Network, free, keys, make_contact, public
from tests.ledger.refusals.envelope import other_network
from tests.ledger.refusals.rows import Row, Sent, after
from tests.ledger.refusals.stake import lives_again, waiting

UNROUTABLE = {
    # IPv4, the first and last address of each range
    "this network": ("0.0.0.0", "0.255.255.255"),
    "private, 10": ("10.0.0.0", "10.255.255.255"),
    "carrier's own": ("100.64.0.0", "100.127.255.255"),
    "loopback": ("127.0.0.1", "127.255.255.255"),
    "link-local": ("169.254.0.0", "169.254.255.255"),
    "private, 172": ("172.16.0.0", "172.31.255.255"),
    "protocol assignments": ("192.0.0.0", "192.0.0.255"),
    "documentation, 192": ("192.0.2.0", "192.0.2.255"),
    "AS112": ("192.31.196.0", "192.31.196.255"),
    "multicast relays": ("192.52.193.0", "192.52.193.255"),
    "6to4 relay": ("192.88.99.0", "192.88.99.255"),
    "private, 192": ("192.168.0.0", "192.168.255.255"),
    "AS112, delegated": ("192.175.48.0", "192.175.48.255"),
    "benchmarks": ("198.18.0.0", "198.19.255.255"),
    "documentation, 198": ("198.51.100.0", "198.51.100.255"),
    "documentation, 203": ("203.0.113.0", "203.0.113.255"),
    "multicast": ("224.0.0.0", "239.255.255.255"),
    "reserved": ("240.0.0.0", "255.255.255.255"),
    # IPv6
    "unspecified": ("::", "::"),
    "IPv6 loopback": ("::1", "::1"),
    "IPv4-compatible": ("::2", "::ffff:ffff"),
    "IPv4-mapped": ("::ffff:0:0", "::ffff:ffff:ffff"),
    "IPv4-mapped, an address that is routed": ("::ffff:808:808", "::ffff:808:808"),
    "IPv4-translated": ("::ffff:0:0:0", "::ffff:0:ffff:ffff"),
    "NAT64": ("64:ff9b::", "64:ff9b::ffff:ffff"),
    "local NAT64": ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
    "discard": ("100::", "100::ffff:ffff:ffff:ffff"),
    "Teredo": ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"),
    "protocol assignments, port control": ("2001:1::1", "2001:1::2"),
    "IPv6 benchmarks": ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"),
    "IPv6 multicast relays": ("2001:3::", "2001:3:ffff:ffff:ffff:ffff:ffff:ffff"),
    "IPv6 AS112": ("2001:4:112::", "2001:4:112:ffff:ffff:ffff:ffff:ffff"),
    "ORCHID": ("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff"),
    "ORCHIDv2": ("2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff"),
    "drone identifiers": ("2001:30::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff"),
    "protocol assignments, the whole": ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "IPv6 documentation": ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    "6to4": ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "IPv6 AS112, delegated": ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
    "newer documentation": ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "segment routing": ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "unique local": ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "IPv6 link-local": ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "site-local": ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "IPv6 multicast": ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "ISATAP": ("2620::5efe:808:808", "2a02:ffff:ffff:ffff:0:5efe:ffff:ffff"),
    "ISATAP, a private address": ("2620::5efe:a00:1", "2620::5efe:c0a8:1"),
    "ISATAP, said to be unique": ("2620::200:5efe:808:808", "2a02::1:200:5efe:a00:1"),
    "below the global range": ("1fff:ffff::", "1fff:ffff::"),
    "above the global range": ("4000::", "5eff::"),
}
"""Each family of addresses that others cannot reach, with the two ends of its range."""

NO_LOOPBACK = {"allow_loopback": 0}


def packed(text: str) -> bytes:
    """The bytes of an address; standard notation, one `::` at most."""
    if "." in text:
        return bytes(int(part) for part in text.split("."))
    head, _, tail = text.partition("::")
    first = [int(part, 16) for part in head.split(":") if part]
    last = [int(part, 16) for part in tail.split(":") if part]
    groups = first + [0] * (8 - len(first) - len(last)) + last
    return b"".join(group.to_bytes(2, "big") for group in groups)


def contact_of(address: bytes) -> Contact:
    """Contact data with this one address."""
    if len(address) == 4:
        return make_contact(ipv4=address)
    return make_contact(ipv4=b"", ipv6=address)


def registers(**changes: Any) -> Any:
    """A function that makes a registration with other contact data."""
    return lambda network: network.register(stake=QUARTER, contact=make_contact(**changes))


def registers_at(address: bytes) -> Any:
    """A function that makes a registration with this address."""
    return lambda network: network.register(stake=QUARTER, contact=contact_of(address))


def updates_to(address: bytes) -> Any:
    """A function that makes an update to this address."""
    return lambda network: network.update_contact(contact=contact_of(address))


def updates(*, sequence: int = 1, **changes: Any) -> Any:
    """A function that makes an update to other contact data."""
    return lambda n: n.update_contact(sequence=sequence, contact=make_contact(**changes))


def changed_twice(network: Network) -> None:
    """A node that changed its contact data twice in this epoch."""
    waiting(network)
    network.block(network.update_contact(sequence=1))
    network.block(network.update_contact(sequence=2))


def signed_for(network: Network, tag: bytes, genesis_hash: bytes) -> bytes:
    """An update whose signature covers something else."""
    update = ContactUpdate(public("node"), 1, 1, make_contact(9))
    message = signing_bytes(tag, genesis_hash, encode(update))
    return free("update_contact", UpdateContact(update, sign(keys("node"), message)))


CONTACT: dict[str, Row] = {
    "no address": Sent("bad_address", registers(ipv4=b"", ipv6=b"")),
    "IPv4 address of three bytes": Sent("bad_address", registers(ipv4=bytes((5, 6, 7)))),
    "IPv6 address of four bytes": Sent("bad_address", registers(ipv6=bytes((5, 6, 7, 8)))),
    "IPv6 address of 15 bytes": Sent("bad_address", registers(ipv6=packed("2620::1")[:15])),
    "good IPv4 beside bad IPv6": Sent("bad_address", registers(ipv6=packed("fe80::1"))),
    "good IPv6 beside bad IPv4": Sent(
        "bad_address", registers(ipv4=packed("10.0.0.1"), ipv6=packed("2620::1"))
    ),
    "loopback where it is not allowed": Sent(
        "bad_address", registers(ipv4=packed("127.0.0.1")), params=NO_LOOPBACK
    ),
    "no storage port": Sent("bad_port", registers(storage_port=0)),
    "no router port": Sent("bad_port", registers(router_port=0)),
    "storage version 0.0.0": Sent("bad_version", registers(storage_version=Version(0, 0, 0))),
    "router version 0.0.0": Sent("bad_version", registers(router_version=Version(0, 0, 0))),
    # update_contact
    "update of no node": Sent("unknown_node", updates()),
    "update for another life": Sent("wrong_life", lambda n: n.update_contact(life=2), waiting),
    "update of the life before": Sent(
        "wrong_life", lambda n: n.update_contact(sequence=9), lives_again
    ),
    "update with a sequence of the life before": Sent(
        "contact_sequence", lambda n: n.update_contact(sequence=5, life=2), lives_again
    ),
    "update with sequence zero": Sent("contact_sequence", updates(sequence=0), waiting),
    "update with the last sequence": Sent(
        "contact_sequence",
        updates(sequence=7),
        after(waiting, lambda n: n.block(n.update_contact(sequence=7))),
    ),
    "update with a sequence before the last": Sent(
        "contact_sequence",
        updates(sequence=6),
        after(waiting, lambda n: n.block(n.update_contact(sequence=7))),
    ),
    "third update in an epoch": Sent("contact_too_often", updates(sequence=3), changed_twice),
    "update without an address": Sent("bad_address", updates(ipv4=b""), waiting),
    "update without a port": Sent("bad_port", updates(router_port=0), waiting),
    "update to an IPv4 address of three bytes": Sent(
        "bad_address", updates(ipv4=bytes((5, 6, 7))), waiting
    ),
    "update to an IPv6 address of 15 bytes": Sent(
        "bad_address", updates(ipv6=packed("2620::1")[:15]), waiting
    ),
    "update to bad IPv6 beside good IPv4": Sent(
        "bad_address", updates(ipv6=packed("fe80::1")), waiting
    ),
    "update to port 0 of storage": Sent("bad_port", updates(storage_port=0), waiting),
    "update to storage version 0.0.0": Sent(
        "bad_version", updates(storage_version=Version(0, 0, 0)), waiting
    ),
    "update to version 0.0.0": Sent(
        "bad_version", updates(router_version=Version(0, 0, 0)), waiting
    ),
    "update signed by another node": Sent(
        "bad_signature", lambda n: n.update_contact(signer="node 2"), waiting
    ),
    "update signed by the operator": Sent(
        "bad_signature", lambda n: n.update_contact(signer="alice"), waiting
    ),
    "update signed by the duty key": Sent(
        "bad_signature", lambda n: n.update_contact(signer="node duty"), waiting
    ),
    "update signed for another network": Sent(
        "bad_signature", lambda n: signed_for(n, tags.CONTACT, other_network()), waiting
    ),
    "update signed under another tag": Sent(
        "bad_signature", lambda n: signed_for(n, tags.REGISTRATION, n.hash), waiting
    ),
}

CONTACT |= {
    f"{name}, {end}": Sent("bad_address", registers_at(packed(text)), params=NO_LOOPBACK)
    for name, ends in UNROUTABLE.items()
    for end, text in zip(("first", "last"), ends, strict=True)
}
CONTACT |= {
    f"update to {name}": Sent("bad_address", updates_to(packed(text)), waiting, NO_LOOPBACK)
    for name, (text, _) in UNROUTABLE.items()
}
