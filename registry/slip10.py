"""SLIP 10 for Ed25519: a tree of secrets that grows from one seed.

Only hardened children exist on this curve, so indexes are written without their 2^31 everywhere:
`m/8420'/0'` is `(8420, 0)`.
"""

import hmac
from collections.abc import Iterable
from typing import Final, NamedTuple

HARDENED: Final = 2**31
"""What is added to every index."""

_CURVE: Final = b"ed25519 seed"


class ExtendedKey(NamedTuple):
    """A place in the tree. Never logged, never printed."""

    key: bytes
    """The 32-byte secret, an Ed25519 seed."""
    chain_code: bytes
    """32 bytes that its children need too."""

    def __repr__(self) -> str:
        return "ExtendedKey(…)"


def master_key(seed: bytes) -> ExtendedKey:
    """Return the root `m` of a seed's tree."""
    return _split(_CURVE, seed)


def derive_path(parent: ExtendedKey, indexes: Iterable[int]) -> ExtendedKey:
    """Return what is found below `parent`, one hardened index after the other, each below 2^31."""
    found = parent
    for index in indexes:
        child = (HARDENED + index).to_bytes(4, "big")
        found = _split(found.chain_code, b"\0" + found.key + child)
    return found


def _split(key: bytes, data: bytes) -> ExtendedKey:
    digest = hmac.digest(key, data, "sha512")
    return ExtendedKey(digest[:32], digest[32:])
