"""CometBFT's key files, and what others call a node by.

node      a key of this machine alone, in a file: other nodes know it by its id
consensus the key with which a validator votes, derived from its key file; never in a file here
"""

import base64
import json
from pathlib import Path
from secrets import token_bytes
from typing import Any, Final

from ledger.crypto import KeyPair, key_pair
from ledger.errors import WaypostError
from ledger.nodes import consensus_address
from registry.cometbft.genesis import ED25519
from registry.files import create_durably

ED25519_SECRET: Final = "tendermint/PrivKeyEd25519"

_SEED_BYTES: Final = 32


class BadNodeKey(WaypostError):
    """The file with a node's key holds something else."""


def new_key() -> KeyPair:
    """Return a random key."""
    return key_pair(token_bytes(_SEED_BYTES))


def encode_consensus_key(pair: KeyPair) -> bytes:
    """Return the file from which CometBFT learns the key that it votes with."""
    file = {
        "address": consensus_address(pair.public).hex().upper(),
        "pub_key": {"type": ED25519, "value": base64.b64encode(pair.public).decode()},
        "priv_key": _secret(pair),
    }
    return json.dumps(file, indent=2).encode()


def node_id(key: bytes) -> str:
    """Return the name of a node among nodes: 40 hex digits."""
    return consensus_address(key).hex()


def hold_node_key(path: Path) -> str:
    """Return the id of a node, whose key is made if it has none. Raises `BadNodeKey`."""
    if not path.exists():
        file = {"priv_key": _secret(new_key())}
        create_durably(path, json.dumps(file).encode(), mode=0o600)
    return read_node_id(path)


def read_node_id(path: Path) -> str:
    """Return the id of the node whose key is in a file. Raises `BadNodeKey`."""
    try:
        secret = json.loads(path.read_bytes())["priv_key"]
        seed = base64.b64decode(secret["value"], validate=True)[:_SEED_BYTES]
        pair = key_pair(seed)
        if secret != _secret(pair):
            raise ValueError("another key")
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        raise BadNodeKey(
            f"{path} is no key of a node of CometBFT: move it away, and the node gets a new name"
        ) from None
    return node_id(pair.public)


def _secret(pair: KeyPair) -> dict[str, Any]:
    return {"type": ED25519_SECRET, "value": base64.b64encode(pair.secret).decode()}
