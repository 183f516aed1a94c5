"""Which addresses others can reach: tables of prefixes, applied to packed bytes.

- What is meant for one network, one machine, one document or one test is not reached.
- What stands for an IPv4 address is not reached: it would give a node a second address.
- What any number of machines share by design is nobody's own address.

`ipaddress` is kept out because its answers changed between Python versions.
"""

from typing import Final, NamedTuple


class Prefix(NamedTuple):
    """A range of addresses: the first `bits` of `address`."""

    address: bytes
    bits: int
    why: str


def _v4(text: str, bits: int, why: str) -> Prefix:
    return Prefix(bytes(int(part) for part in text.split(".")), bits, why)


def _v6(head: str, bits: int, why: str) -> Prefix:
    return Prefix(bytes.fromhex(head).ljust(16, b"\0"), bits, why)


LOOPBACK: Final = "loopback"

UNROUTABLE_IPV4: Final = (
    _v4("0.0.0.0", 8, "this network"),
    _v4("10.0.0.0", 8, "private"),
    _v4("100.64.0.0", 10, "carrier's own"),
    _v4("127.0.0.0", 8, LOOPBACK),
    _v4("169.254.0.0", 16, "link-local"),
    _v4("172.16.0.0", 12, "private"),
    _v4("192.0.0.0", 24, "protocol assignments"),
    _v4("192.0.2.0", 24, "documentation"),
    _v4("192.31.196.0", 24, "AS112"),
    _v4("192.52.193.0", 24, "multicast relays"),
    _v4("192.88.99.0", 24, "6to4 relay"),
    _v4("192.168.0.0", 16, "private"),
    _v4("192.175.48.0", 24, "AS112"),
    _v4("198.18.0.0", 15, "benchmarks"),
    _v4("198.51.100.0", 24, "documentation"),
    _v4("203.0.113.0", 24, "documentation"),
    _v4("224.0.0.0", 4, "multicast"),
    _v4("240.0.0.0", 4, "reserved"),
)

UNROUTABLE_IPV6: Final = (
    _v6("00000000000000000000000000000001", 128, LOOPBACK),
    _v6("000000000000000000000000", 96, "IPv4-compatible"),
    _v6("00000000000000000000ffff", 96, "IPv4-mapped"),
    _v6("0000000000000000ffff0000", 96, "IPv4-translated"),
    _v6("0064ff9b0000000000000000", 96, "NAT64"),
    _v6("0064ff9b0001", 48, "local NAT64"),
    _v6("0100000000000000", 64, "discard"),
    _v6("20010000", 32, "Teredo"),
    _v6("2001", 23, "protocol assignments"),
    _v6("20010db8", 32, "documentation"),
    _v6("2002", 16, "6to4"),
    _v6("2620004f8000", 48, "AS112"),
    _v6("3fff", 20, "documentation"),
    _v6("5f00", 16, "segment routing"),
    _v6("fc00", 7, "private"),
    _v6("fe80", 10, "link-local"),
    _v6("fec0", 10, "site-local"),
    _v6("ff00", 8, "multicast"),
)

ISATAP: Final = (bytes.fromhex("00005efe"), bytes.fromhex("02005efe"))
"""Bytes 8 to 11 of an IPv6 address that has an IPv4 address behind them, whatever its prefix."""

GLOBAL_IPV6: Final = _v6("2000", 3, "global unicast")
"""The only IPv6 range that is routed in public today; loopback stands outside of it."""


def compute_unroutable_reason(address: bytes, allow_loopback: bool) -> str:
    """Return why others cannot reach a packed IPv4 or IPv6 address, or "" if they can."""
    if len(address) not in (4, 16):
        return "neither 4 nor 16 bytes"
    for prefix in UNROUTABLE_IPV4 if len(address) == 4 else UNROUTABLE_IPV6:
        if _is_within(address, prefix):
            return "" if allow_loopback and prefix.why == LOOPBACK else prefix.why
    if len(address) == 16 and not _is_within(address, GLOBAL_IPV6):
        return "not a global unicast address"
    if address[8:12] in ISATAP:
        return "ISATAP"
    return ""


def _is_within(address: bytes, prefix: Prefix) -> bool:
    shift = 8 * len(address) - prefix.bits
    value = int.from_bytes(address, "big")
    return value >> shift == int.from_bytes(prefix.address, "big") >> shift
