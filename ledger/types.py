"""Plain names for plain values. Nothing here computes."""

from typing import Final, TypeAlias

Key: TypeAlias = bytes
"""32 bytes: an Ed25519 public key of an account, a node or a role."""

Hash: TypeAlias = bytes
"""32 bytes: SHA-256 of something."""

Amount: TypeAlias = int
"""Atomic units, 0 to `MAX_AMOUNT`."""

Height: TypeAlias = int
"""Number of a block; genesis is 0."""

Epoch: TypeAlias = int
"""Number of an epoch; genesis ends epoch 0, block 1 belongs to epoch 1."""

TimeMs: TypeAlias = int
"""Block time: Unix milliseconds, given by the engine, strictly increasing."""

COIN: Final = 10**9
"""Atomic units in one coin."""

MAX_AMOUNT: Final = 2**63 - 1
"""The largest amount; the whole supply is at most this."""

BASIS_POINTS: Final = 10_000
"""Parts in a whole, for fees and shares."""

ZERO_HASH: Final = bytes(32)
"""Stands for "none" where a field has room for a hash."""
