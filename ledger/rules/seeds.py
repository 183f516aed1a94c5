"""The seed of an epoch: a hash chain of each attestor, one link revealed with each attestation."""

from collections.abc import Iterable

from ledger.crypto import sha256, tagged_hash
from ledger.messages import tags
from ledger.types import Hash


def compute_next_seed(seed: Hash, reveals: Iterable[tuple[int, Hash]]) -> Hash:
    """Return SHA-256(tag ‖ seed ‖ (u8 index ‖ reveal) …) over `reveals` in index order."""
    return tagged_hash(tags.SEED, seed, *(bytes([index]) + r for index, r in sorted(reveals)))


def is_next_link(reveal: Hash, value: Hash) -> bool:
    """Whether `reveal` is the preimage of the last accepted `value`."""
    return sha256(reveal) == value


def swarm_seed(seed: Hash) -> int:
    """Return the 64-bit seed of a reassignment: the first 8 bytes, little-endian."""
    return int.from_bytes(seed[:8], "little")
