"""Nodes as the Session network shows them: one that is valid, and a whole network.

make_session_node      a row, minimal and valid, so that a test breaks exactly one thing
session_network        a published list of the size and shape of the real one, as a file
"""

from functools import cache
from hashlib import sha256
from itertools import chain, repeat
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ledger.crypto import convert_to_x25519, key_pair
from registry.formats.session import SessionContributor, SessionNode

REAL: Final = Path(__file__).resolve().parents[3] / "shared" / "data" / "session_network.json"
"""The public network of 2026 on loopback addresses, where it lies beside the project."""

NODES: Final = 1_552
ADDRESSES: Final = 1_033
NETWORKS: Final = 756
"""Networks of 24 bits in which these addresses lie."""
LEAVING: Final = 114
HEIGHT: Final = 2_051_822


def make_session_node(number: int = 1, **changes: Any) -> SessionNode:
    """The row of an active node with the address 127.0.0.`number`; `changes` are its fields."""
    key = make_key(number)
    node = SessionNode(
        service_node_pubkey=key.hex(),
        pubkey_ed25519=key.hex(),
        pubkey_x25519=convert_to_x25519(key).hex(),
        public_ip=f"127.0.0.{number}",
        storage_port=22021,
        storage_lmq_port=22020,
        requested_unlock_height=0,
        storage_server_version=(2, 11, 0),
        service_node_version=(11, 6, 0),
        swarm_id=2**63,
        swarm=f"{2**63:x}",
        funded=True,
        active=True,
        state_height=10,
        registration_height=5,
        last_reward_block_height=10,
        last_uptime_proof=0,
        earned_downtime_blocks=0,
        decommission_count=0,
        staking_requirement=100,
        total_contributed=100,
        operator_fee=50_000,
        operator_address="wpa1",
        contributors=[SessionContributor("wpa1", 100)],
    )
    return replace(node, **changes)


@cache
def make_key(number: int) -> bytes:
    """The node key of a number."""
    return key_pair(sha256(b"session node %d" % number).digest()).public


@cache
def session_network() -> bytes:
    """The real network's list where it lies beside the project, otherwise one of its shape."""
    return REAL.read_bytes() if REAL.exists() else make_network()


@cache
def make_network() -> bytes:
    """A list of the real one's shape: many nodes share addresses, and addresses networks."""
    chance = Random(1)
    first = [f"127.{16 + n // 256}.{n % 256}.{chance.randrange(1, 128)}" for n in range(NETWORKS)]
    more = [f"127.{16 + n // 256}.{n % 256}.200" for n in range(ADDRESSES - NETWORKS)]
    addresses = first + more
    # one address has 38 nodes, the others a second and a third at most
    crowd = NODES - ADDRESSES
    places = chain(addresses, repeat(addresses[0], 37), addresses[1 : 1 + crowd - 37])
    used: dict[str, int] = {}
    entries = []
    for number, address in enumerate(places):
        used[address] = used.get(address, -1) + 1
        key = make_key(number)
        leaves = HEIGHT + chance.randrange(4_000, 11_000) if number < LEAVING else 0
        entries.append(
            {
                "public_ip": address,
                "storage_port": 22_100 + used[address] if used[address] else 22_021,
                "pubkey_ed25519": key.hex(),
                "pubkey_x25519": convert_to_x25519(key).hex(),
                "requested_unlock_height": leaves,
            }
        )
    entries.sort(key=lambda entry: str(entry["pubkey_ed25519"]))
    return msgspec.json.encode({"height": HEIGHT, "service_node_states": entries})
