"""Making the genesis file of a network, from what is public of its founders."""

from collections.abc import Iterable, Mapping
from time import time_ns
from typing import Final

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import tagged_hash
from ledger.genesis import load_genesis
from ledger.messages.genesis import (
    FIXED,
    GENESIS_VERSION,
    SOLO,
    Genesis,
    GenesisAccount,
    GenesisAttestor,
    GenesisNode,
)
from ledger.params import preset
from ledger.types import Amount, Hash, Key
from registry.keystore import CHAIN, derive, derive_secret
from registry.signer import HashChain

FIRST_SEED: Final = b"waypost first seed"
"""Tag of the hash that is the first seed."""


def make_seat(seed: bytes, weight: int = 1, *, validates: bool = False) -> GenesisAttestor:
    """Return the seat of whoever holds a seed; one that `validates` agrees on blocks too."""
    tip = HashChain(derive_secret(seed, CHAIN)).tip
    consensus = derive(seed, "consensus").public if validates else b""
    return GenesisAttestor(derive(seed, "list").public, weight, tip, consensus)


def make_genesis(
    name: str,
    preset_name: str,
    changes: Mapping[str, int],
    producer: Key,
    attestors: Iterable[GenesisAttestor],
    accounts: Iterable[tuple[Key, Amount]],
    pool: Amount,
    start_ms: int | None = None,
    nodes: Iterable[GenesisNode] = (),
    recovery: Iterable[Key] = (),
    *,
    engine: int = SOLO,
    policy: int = FIXED,
    predecessor: Hash = b"",
) -> bytes:
    """Return a genesis file that holds every rule; under `COMET` the producer is none.

    It starts now unless told otherwise. The first seed is a hash of everything else, so that who
    makes the file does not choose it. Refuses like `load_genesis`.
    """
    genesis = Genesis(
        version=GENESIS_VERSION,
        name=name.encode(),
        start_ms=time_ns() // 1_000_000 if start_ms is None else start_ms,
        engine=engine,
        producer=producer,
        policy=policy,
        seed=bytes(32),
        params=tuple(preset(preset_name, changes)),
        pool=pool,
        attestors=tuple(sorted(attestors, key=lambda seat: seat.list_key)),
        recovery=tuple(sorted(recovery)),
        accounts=tuple(GenesisAccount(*row) for row in sorted(accounts)),
        nodes=tuple(sorted(nodes, key=lambda row: row.node)),
        predecessor=predecessor,
    )
    raw = encode(replace(genesis, seed=tagged_hash(FIRST_SEED, encode(genesis))))
    load_genesis(raw)
    return raw
