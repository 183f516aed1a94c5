"""Where a face listens.

    ipc:///path/to/socket       a Unix socket, for programs of this user
    tcp://127.0.0.1:22026       in the clear
    curve://127.0.0.1:22026     encrypted, with the node's X25519 key as that of the server

The host is an address and not a name, IPv6 in brackets; port 0 takes a free one. It is one of this
machine that nobody else reaches, since all who ask are the node's own programs.
"""

import ipaddress
import re
from enum import StrEnum
from typing import Final, NamedTuple

from ledger.errors import WaypostError

MAX_IPC_BYTES: Final = 100
"""Longest path of a socket: systems allow 103 bytes and more."""

MAX_PORT: Final = 65_535

_IPC: Final = re.compile(r"ipc://(/[^\0]+)\Z")
_TCP: Final = re.compile(r"(tcp|curve)://(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})\Z")


class BadAddress(WaypostError):
    """A face cannot listen there; the message says why."""


class Scheme(StrEnum):
    """How an address is reached."""

    IPC = "ipc"
    TCP = "tcp"
    CURVE = "curve"


class Place(NamedTuple):
    """One address, taken apart."""

    scheme: Scheme
    host: str
    """The path of a Unix socket, else an IP address without brackets."""
    port: int
    """0 for a free one, and of a Unix socket."""

    def __str__(self) -> str:
        if self.scheme is Scheme.IPC:
            return f"ipc://{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_place(address: str) -> Place:
    """Return an address taken apart. Raises `BadAddress`."""
    ipc, tcp = _IPC.match(address), _TCP.match(address)
    if ipc:
        if len(ipc[1].encode()) > MAX_IPC_BYTES:
            raise BadAddress(f"{address}: a socket's path has at most {MAX_IPC_BYTES} bytes")
        return Place(Scheme.IPC, ipc[1], 0)
    if not tcp:
        raise BadAddress(
            f"{address}: write ipc:///path, tcp://ADDRESS:PORT or curve://ADDRESS:PORT"
        )
    host, port = tcp[2] or tcp[3], int(tcp[4])
    if not _is_address(host, 6 if tcp[2] else 4):
        raise BadAddress(f"{address}: {host} is no IP address")
    if not is_loopback(host):
        raise BadAddress(
            f"{address}: others than this machine reach it: take 127.0.0.1, [::1] or ipc:///path"
        )
    if port > MAX_PORT:
        raise BadAddress(f"{address}: a port is at most {MAX_PORT}")
    return Place(Scheme(tcp[1]), host, port)


def _is_address(host: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(host).version == version
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether an IP address is one of this machine that others cannot have."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
