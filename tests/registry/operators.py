"""A map of operators for a published list, as its founders would collect it."""

import json
from functools import cache
from hashlib import sha256

from ledger.crypto import key_pair
from registry.addresses import encode_account, encode_node

OPERATORS = 97


@cache
def make_key(what: str) -> bytes:
    """The public key of some holder."""
    return key_pair(sha256(what.encode()).digest()).public


def make_owner(number: int) -> dict[str, str]:
    """The entry of one node; every so many nodes have one operator."""
    return {
        "operator": encode_account(make_key(f"operator {number % OPERATORS}")),
        "duty_key": make_key(f"duty {number}").hex(),
    }


def make_operators(published: bytes) -> bytes:
    """The map for every node of a list; every other node is written as an address."""
    keys = [entry["pubkey_ed25519"] for entry in json.loads(published)["service_node_states"]]
    names = [key if n % 2 else encode_node(bytes.fromhex(key)) for n, key in enumerate(keys)]
    return json.dumps({name: make_owner(n) for n, name in enumerate(names)}).encode()
