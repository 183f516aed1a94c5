"""The records of the state. `ledger/state.py` says under which keys they lie."""

from typing import Annotated, Final

import msgspec

from ledger.codec import (
    U8,
    U16,
    U32,
    U63,
    U64,
    Bytes32,
    Bytes64,
    Record,
    UpTo32,
)
from ledger.messages.contact import Contact
from ledger.messages.lists import Attestor
from ledger.messages.transactions import Place

# States of a node; numbers are never reused.
AWAITING: Final = 1
QUEUED: Final = 2
ACTIVE: Final = 3
EXITED: Final = 4

NODE_STATES: Final = {AWAITING: "awaiting", QUEUED: "queued", ACTIVE: "active", EXITED: "exited"}
"""Name of each state, for people."""

# Roles that a key is bound to; numbers are never reused.
NODE_ROLE: Final = 1
DUTY_ROLE: Final = 2
LIST_ROLE: Final = 3
CONSENSUS_ROLE: Final = 4

ROLES: Final = {
    NODE_ROLE: "node",
    DUTY_ROLE: "duty",
    LIST_ROLE: "list",
    CONSENSUS_ROLE: "consensus",
}
"""Name of each role, for people."""


class Account(Record, frozen=True):
    """An account. One that never existed reads as (0, 0)."""

    balance: U63
    """Atomic units that can be spent now."""
    nonce: U63
    """Transactions sent so far."""


class Contribution(Record, frozen=True):
    """One contributor's stake in a node."""

    account: Bytes32
    beneficiary: Bytes32
    amount: U63


class Node(Record, frozen=True):
    """The current life of a node."""

    life: U32
    state: U8
    """`AWAITING`, `QUEUED`, `ACTIVE` or `EXITED`."""
    since_ms: U63
    """Block time at which it entered that state."""
    since_height: U63
    """Height of that block."""
    registered_height: U63
    operator: Bytes32
    fee: U16
    """The operator's fee, parts of 10,000."""
    requirement: U63
    """Atomic units of full funding, fixed when it registered."""
    contributions: tuple[Contribution, ...]
    """The operator's first, the others in the order of their coming."""
    reserved: tuple[Place, ...]
    """Reserved places that are still open."""
    duty_key: Bytes32
    list_key: UpTo32
    list_tip: UpTo32
    consensus_key: UpTo32
    x25519: Bytes32
    """The node key as an X25519 key, computed once."""
    exit_ms: U63
    """Block time from which on its duty may end, since it is to leave; 0 if it is not."""


class KeyHistory(Record, frozen=True):
    """What is remembered of a node key for ever; both numbers only grow."""

    life: U32
    """Lives begun so far."""
    sequence: U63
    """Highest sequence number of contact data accepted."""


class Binding(Record, frozen=True):
    """The one role and node that a key is bound to."""

    role: U8
    node: Bytes32


class PendingContact(Record, frozen=True):
    """Contact data that takes effect at the epoch's end."""

    changes: U8
    """How many came in this epoch."""
    contact: Contact


class Swarm(Record, frozen=True):
    """The swarm of an active node."""

    swarm_id: U64


class Queued(Record, frozen=True):
    """A funded node's place in the queue for activation."""

    node: Bytes32


class Due(Record, frozen=True):
    """A node's place in the queue of exits, or in that of payouts."""

    node: Bytes32


class Pool(Record, frozen=True):
    """The reward pool and what the whole network holds."""

    balance: U63
    """Atomic units that wait to be paid out as rewards."""
    supply: U63
    """Atomic units in existence since genesis: accounts + stakes + pool."""


class EpochState(Record, frozen=True):
    """Where the chain is in time."""

    epoch: U63
    """Number of the epoch that runs."""
    start_ms: U63
    """Time of the last block of the epoch before."""
    start_height: U63
    """Height of that block."""
    seed: Bytes32


class AttestorSets(Record, frozen=True):
    """The attestors of the running epoch's header and those of the next."""

    current: Annotated[tuple[Attestor, ...], msgspec.Meta(max_length=25)]
    next: Annotated[tuple[Attestor, ...], msgspec.Meta(max_length=25)]


class Chainlink(Record, frozen=True):
    """How far an attestor's hash chain was revealed."""

    value: Bytes32
    """The last accepted value: the tip at first, then each reveal."""
    accepted: U63
    """Attestations accepted so far."""


class Attestation(Record, frozen=True):
    """An accepted attestation of the running epoch's header."""

    reveal: Bytes32
    signature: Bytes64


class HistoryState(Record, frozen=True):
    """The RFC 9162 tree over all headers, as its size and peaks."""

    size: U63
    peaks: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=64)]


class RawHeader(Record, frozen=True):
    """A header's bytes; while it waits for its state root, with that field zero."""

    header: bytes


class ParamsState(Record, frozen=True):
    """The parameters in force, in the order of `PARAMETERS`."""

    values: tuple[U63, ...]
