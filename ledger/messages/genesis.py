"""The genesis file: everything that people have to agree on, and all that a client starts from."""

from typing import Annotated, Final, TypeAlias

import msgspec

from ledger.codec import U8, U32, U63, U64, Bytes32, Codec, Record, UpTo32
from ledger.messages.contact import Contact
from ledger.messages.lists import Attestor

GENESIS_VERSION: Final = 1
MAX_GENESIS_BYTES: Final = 2**26

# How blocks get their order; numbers are never reused.
SOLO: Final = 1
COMET: Final = 2

ENGINES: Final = {SOLO: "solo", COMET: "comet"}
"""Name of each, for people."""

# How the set of attestors changes; numbers are never reused.
FIXED: Final = 1
REGISTRY: Final = 2

POLICIES: Final = {FIXED: "fixed", REGISTRY: "registry"}
"""Name of each, for people."""

NEW_SWARM: Final = 2**64 - 1
"""Swarm id of a node that the seed of the file gives its swarm."""

Name: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=1, max_length=40)]


class GenesisAttestor(Record, frozen=True):
    """A founding attestor."""

    list_key: Bytes32
    weight: U32
    tip: Bytes32
    """Tip of its hash chain: the first reveal is the preimage of this."""
    consensus_key: UpTo32 = b""
    """Ed25519 key with which it validates blocks under `COMET`; none under `SOLO`."""
    node: UpTo32 = b""
    """A node of the file whose stake stands behind the seat; may be none."""


class GenesisAccount(Record, frozen=True):
    """An account that begins with coins."""

    account: Bytes32
    balance: U63


class GenesisNode(Record, frozen=True):
    """A node that is active from the start, its whole stake its operator's.

    It proves nothing by itself: who agrees on the file vouches for it.
    """

    node: Bytes32
    operator: Bytes32
    """Account that owns the node and gets its stake back."""
    duty_key: Bytes32
    contact: Contact
    swarm_id: U64
    """Its swarm, or `NEW_SWARM`."""
    exit_ms: U63
    """Block time from which on its duty may end, since it is to leave; 0 if it is not."""


class Genesis(Record, frozen=True):
    """The genesis file. Its SHA-256 stands in everything that is signed on this network."""

    version: U8
    name: Name
    """Name of the network, ASCII letters, digits, and `-`."""
    start_ms: U63
    """Unix milliseconds; block 1 is later."""
    engine: U8
    """`SOLO`: one producer orders the blocks and seals them. `COMET`: validators agree on them."""
    producer: UpTo32
    """Key that seals blocks under `SOLO`; none under `COMET`."""
    policy: U8
    """`FIXED`: attestors change by their own signatures only. `REGISTRY`: nodes take their turns,
    so that stake stands behind their word."""
    seed: Bytes32
    """Seed of epoch 1."""
    params: tuple[U63, ...]
    """Values in the order of `PARAMETERS`."""
    pool: U63
    """Atomic units in the reward pool."""
    attestors: Annotated[tuple[GenesisAttestor, ...], msgspec.Meta(min_length=1, max_length=25)]
    """By ascending list key."""
    recovery: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=25)]
    """Offline keys, more than two thirds of which may replace the attestors; may be none. By
    ascending key."""
    accounts: tuple[GenesisAccount, ...]
    """By ascending account."""
    nodes: tuple[GenesisNode, ...]
    """By ascending node key."""
    predecessor: UpTo32 = b""
    """Hash of the genesis file of the network whose last state this one begins with; none for a new
    network."""


def founders_of(genesis: Genesis) -> tuple[Attestor, ...]:
    """Return the set of attestors with which a network begins."""
    return tuple(Attestor(seat.list_key, seat.weight) for seat in genesis.attestors)


GENESIS: Final[Codec[Genesis]] = Codec(Genesis, "genesis file", MAX_GENESIS_BYTES)
