"""Where a node can be reached: signed by the node, part of the committed list."""

from typing import Annotated, Final, TypeAlias

import msgspec

from ledger.codec import U8, U16, Record

IPV4_BYTES: Final = 4
IPV6_BYTES: Final = 16

IPv4: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=IPV4_BYTES)]
IPv6: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=IPV6_BYTES)]


class Version(Record, frozen=True):
    """A version of a program."""

    major: U8
    minor: U8
    patch: U8


class Contact(Record, frozen=True):
    """Contact data of a node. It has an IPv4 address, an IPv6 address, or both."""

    ipv4: IPv4
    """4 bytes in network order, or none."""
    ipv6: IPv6
    """16 bytes in network order, or none."""
    storage_port: U16
    """Port of the storage server's HTTPS, 1 to 65535."""
    router_port: U16
    """Port of QUIC and OxenMQ, 1 to 65535."""
    storage_version: Version
    """Version of the storage server, not 0.0.0."""
    router_version: Version
    """Version of the service node's program, not 0.0.0."""
