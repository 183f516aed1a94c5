"""The list as storage servers hand it to clients: 51 bytes a node and nothing else.

    Ed25519 key 32 ‖ swarm id 8 ‖ IPv4 address 4 ‖ HTTPS port 2 ‖ port of QUIC and OxenMQ 2 ‖
    version of the storage server 3

Big-endian, one byte for each part of the version. An entry for each active node that has an IPv4
address, by ascending key. There is no header and no signature.
"""

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from ledger.crypto import is_public_key
from ledger.errors import Refusal
from ledger.messages.contact import Version
from ledger.messages.lists import MAX_NODES
from ledger.types import Key
from registry.formats.session import NO_SWARM, SessionNode, select_reachable

_ENTRY: Final = struct.Struct(">32sQ4sHH3s")

ENTRY_BYTES: Final = _ENTRY.size
MAX_SESSION_BINARY_BYTES: Final = MAX_NODES * ENTRY_BYTES

_LARGEST_PART: Final = 255


def encode_session_binary(nodes: Iterable[SessionNode]) -> bytes:
    """Return the file of a list's nodes by ascending key."""
    return b"".join(
        _ENTRY.pack(
            bytes.fromhex(node.pubkey_ed25519),
            node.swarm_id,
            bytes(map(int, node.public_ip.split("."))),
            node.storage_port,
            node.storage_lmq_port,
            bytes([min(part, _LARGEST_PART) for part in node.storage_server_version]),
        )
        for node in select_reachable(nodes)
    )


class BinaryNode(NamedTuple):
    """All that the file says of a node."""

    key: Key
    swarm_id: int
    ipv4: bytes
    """4 bytes in network order."""
    storage_port: int
    router_port: int
    storage_version: Version


def decode_session_binary(data: bytes) -> tuple[BinaryNode, ...]:
    """Return the nodes of a file.

    Refuses with `too_large`, and with `bad_list`: a length that is no multiple of 51, keys that
    are none or do not ascend, a node without swarm, address or port.
    """
    if len(data) > MAX_SESSION_BINARY_BYTES:
        raise Refusal("too_large", size=len(data), limit=MAX_SESSION_BINARY_BYTES)
    if len(data) % ENTRY_BYTES:
        raise Refusal("bad_list", why=f"{len(data)} bytes are no multiple of {ENTRY_BYTES}")
    nodes: list[BinaryNode] = []
    for index, fields in enumerate(_ENTRY.iter_unpack(data)):
        key, swarm_id, ipv4, storage_port, router_port, version = fields
        node = BinaryNode(key, swarm_id, ipv4, storage_port, router_port, Version(*version))
        if not is_public_key(node.key):
            raise _refuse(index, node, "it is not a usable Ed25519 key")
        if nodes and node.key <= nodes[-1].key:
            raise _refuse(index, node, "the keys do not ascend")
        if node.swarm_id == NO_SWARM:
            raise _refuse(index, node, "it has no swarm")
        if not any(node.ipv4) or not node.storage_port or not node.router_port:
            raise _refuse(index, node, "it has no address or no port")
        nodes.append(node)
    return tuple(nodes)


def _refuse(index: int, node: BinaryNode, why: str) -> Refusal:
    return Refusal("bad_list", why=f"entry {index} ({node.key.hex()}): {why}")
