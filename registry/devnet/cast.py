"""Who takes part in a development network: keys by name, and nodes with addresses of their own.

Everything comes from the network's seed, so that a second start finds the same nodes.
"""

import errno
import socket
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from ledger.crypto import KeyPair
from ledger.errors import WaypostError
from ledger.messages.contact import Contact, Version
from ledger.types import Key
from registry.addresses import encode_node
from registry.keystore import derive, named_seed

NODES: Final = 25

NODES_A_NETWORK: Final = 5
"""Nodes in each /24, as if they stood in one place."""

STORAGE_PORT: Final = 22_021
"""Its TCP side is the storage server's, its UDP side the agent's."""

ROUTER_PORT: Final = 22_020

PLACES: Final = range(10, 250)
"""Second numbers of the networks' addresses: several networks may run on one machine."""

FIRST_HOST: Final = 10


class NoAddresses(WaypostError):
    """The addresses of the nodes cannot be used on this machine."""


class CastNode(NamedTuple):
    """One of the nodes."""

    number: int
    """From 0 on."""
    seed: bytes
    contact: Contact

    @property
    def key(self) -> Key:
        """Its node key."""
        return derive(self.seed, "node").public

    @property
    def address(self) -> str:
        """Its node key as people write it."""
        return encode_node(self.key)

    @property
    def ipv4(self) -> str:
        """Where it is reached."""
        return str(IPv4Address(self.contact.ipv4))


class Cast:
    """Everybody whose key comes from a network's seed."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self.nodes: Final = tuple(self._make_node(number) for number in range(NODES))

    def account(self, name: str) -> KeyPair:
        """Return the account key of a name, such as `faucet` or `operator 3`."""
        return derive(self.seed_of(name), "account")

    def seed_of(self, name: str) -> bytes:
        """Return the seed of a name's key file."""
        return named_seed(self._seed, name)

    def _make_node(self, number: int) -> CastNode:
        return CastNode(number, self.seed_of(f"node {number}"), self._make_contact(number))

    def _make_contact(self, number: int) -> Contact:
        block, host = divmod(number, NODES_A_NETWORK)
        place = PLACES[int.from_bytes(self._seed[:4], "big") % len(PLACES)]
        address = bytes((127, place, block, FIRST_HOST + host))
        return Contact(
            address, b"", STORAGE_PORT, ROUTER_PORT, Version(2, 11, 0), Version(11, 6, 0)
        )

    def check_addresses(self) -> None:
        """Check that nodes can have their addresses here. Raises `NoAddresses`."""
        for node in self.nodes:
            for port in (STORAGE_PORT, ROUTER_PORT):
                _check_address(node.ipv4, port)


def _check_address(ipv4: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((ipv4, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise NoAddresses(
                    f"{ipv4} port {port} is taken, maybe by another devnet: stop that, or make "
                    "another network with --fresh"
                ) from None
            raise NoAddresses(
                f"this machine does not have the address {ipv4} of a node ({error.strerror}): give "
                f"it that one and those of the others (on macOS: sudo ifconfig lo0 alias {ipv4}), "
                "or start with --no-agents"
            ) from None
