"""Hashes and signatures: SHA-256 and Ed25519, through one library (libsodium) everywhere.

What gets signed is always `tag, zero-padded to 32 bytes ‖ SHA-256 of the genesis file ‖ payload`,
so that no signature can serve in another role or on another network.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from nacl import bindings
from nacl.exceptions import BadSignatureError

from ledger.types import Hash, Key

TAG_BYTES: Final = 32
"""Length of a padded tag."""

SIGNATURE_BYTES: Final = 64
"""Length of an Ed25519 signature."""

KEPT_KEYS: Final = 4_096
"""Keys whose check or conversion is kept: pool, proposal and block ask for the same ones."""


class Signed(NamedTuple):
    """Something to verify: `signature` by `key` over the whole of `message`."""

    key: Key
    message: bytes
    signature: bytes


class KeyPair(NamedTuple):
    """An Ed25519 key with its secret. Never logged, never printed."""

    public: Key
    secret: bytes
    """64 bytes, as libsodium keeps them: seed ‖ public key."""

    def __repr__(self) -> str:
        return f"KeyPair({self.public.hex()}, …)"


def sha256(data: bytes) -> Hash:
    """SHA-256 of `data`, 32 bytes."""
    return hashlib.sha256(data).digest()


def signing_bytes(tag: bytes, genesis_hash: Hash, payload: bytes) -> bytes:
    """Return the bytes that a signature under `tag` covers."""
    return tag.ljust(TAG_BYTES, b"\0") + genesis_hash + payload


def tagged_hash(tag: bytes, *parts: bytes) -> Hash:
    """SHA-256 of the padded tag and the parts, for what is hashed and not signed."""
    return sha256(tag.ljust(TAG_BYTES, b"\0") + b"".join(parts))


@lru_cache(maxsize=KEPT_KEYS)
def is_public_key(key: bytes) -> bool:
    """Whether `key` is a canonical point of full order, so that a secret for it can exist."""
    return len(key) == 32 and bool(bindings.crypto_core_ed25519_is_valid_point(key))


@lru_cache(maxsize=KEPT_KEYS)
def convert_to_x25519(key: Key) -> Key:
    """Return a valid Ed25519 key as the X25519 key of the same holder (a Montgomery point)."""
    return bindings.crypto_sign_ed25519_pk_to_curve25519(key)


def key_pair(seed: bytes) -> KeyPair:
    """Return the key pair of a 32-byte seed (RFC 8032)."""
    public, secret = bindings.crypto_sign_seed_keypair(seed)
    return KeyPair(public, secret)


def sign(pair: KeyPair, message: bytes) -> bytes:
    """Return the 64-byte Ed25519 signature of `message`."""
    return bindings.crypto_sign(message, pair.secret)[:SIGNATURE_BYTES]


def verify(item: Signed) -> bool:
    """Whether the signature is valid.

    libsodium refuses keys of small order, keys and points that are not canonical, and S ≥ L.
    """
    if len(item.signature) != SIGNATURE_BYTES or len(item.key) != 32:
        return False
    try:
        bindings.crypto_sign_open(item.signature + item.message, item.key)
    except BadSignatureError:
        return False
    return True


def verify_all(items: Iterable[Signed]) -> Sequence[bool]:
    """Verify each item; the answers stand in the order of the items."""
    return [verify(item) for item in items]
