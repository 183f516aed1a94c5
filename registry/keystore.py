"""Key files. Every key of one holder is derived from one 32-byte seed.

So far a file holds its seed in the clear and says so: for development networks only.
"""

import json
import os
from pathlib import Path
from typing import Final

from ledger.crypto import KeyPair, key_pair, sha256, tagged_hash
from ledger.errors import WaypostError
from registry.files import write_durably

ROLES: Final = ("account", "node", "duty", "list", "consensus", "producer")
"""What a seed's keys are for; each role has a key of its own."""

CHAIN: Final = "hash chain"
"""Role of the secret at the far end of an attestor's hash chain."""

INSECURE: Final = "insecure: the seed stands here in the clear, for development networks only"


class BadKeyFile(WaypostError):
    """A key file cannot be used; the message says why."""


def derive_secret(seed: bytes, role: str) -> bytes:
    """Return the 32-byte secret of a role."""
    return tagged_hash(b"waypost key", seed, role.encode())


def derive(seed: bytes, role: str) -> KeyPair:
    """Return the key pair of one of `ROLES`."""
    return key_pair(derive_secret(seed, role))


def named_seed(seed: bytes, name: str) -> bytes:
    """Return the seed of one holder among many that one seed stands for."""
    return sha256(seed + name.encode())


def save_seed(path: Path, seed: bytes) -> None:
    """Write a new key file of mode 600. Raises `BadKeyFile` where one is already."""
    if path.exists():
        raise BadKeyFile(f"{path} exists already: a key file is never overwritten")
    text = json.dumps({"waypost key": 1, "note": INSECURE, "seed": seed.hex()}, indent=1)
    write_durably(path, text.encode() + b"\n", mode=0o600)


def load_seed(path: Path) -> bytes:
    """Return the seed of a key file. Raises `BadKeyFile`."""
    try:
        fields = json.loads(path.read_bytes())
        seed = bytes.fromhex(fields["seed"])
    except FileNotFoundError:
        raise BadKeyFile(f"there is no key file {path}") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise BadKeyFile(f"{path} is no key file that can be read") from None
    if len(seed) != 32:
        raise BadKeyFile(f"{path} holds no seed of 32 bytes")
    if os.stat(path).st_mode & 0o077:
        raise BadKeyFile(f"{path} can be read by others: chmod 600 it, or make a new key")
    return seed
