"""The records of the state. `ledger.messages.tables` says under which keys they lie."""

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
from ledger.messages.transactions import Place, Seat

# States of a node; numbers are never reused.
AWAITING: Final = 1
QUEUED: Final = 2
ACTIVE: Final = 3
EXITED: Final = 4
DECOMMISSIONED: Final = 5
DEREGISTERED: Final = 6
TOMBSTONED: Final = 7

NODE_STATES: Final = {
    AWAITING: "awaiting",
    QUEUED: "queued",
    ACTIVE: "active",
    EXITED: "exited",
    DECOMMISSIONED: "decommissioned",
    DEREGISTERED: "deregistered",
    TOMBSTONED: "tombstoned",
}
"""Name of each state, for people."""

ON_DUTY: Final = (ACTIVE, DECOMMISSIONED)
"""States of a node that is judged."""

GONE: Final = (EXITED, DEREGISTERED, TOMBSTONED)
"""States of a node whose duty has ended; its stake waits for the payout."""

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
    """Atomic units; a penalty may take all of them."""
    paid: U63
    """Rewards of the running period that were claimed."""


class Node(Record, frozen=True):
    """The current life of a node."""

    life: U32
    state: U8
    """A number in `NODE_STATES`."""
    since_ms: U63
    """Block time at which it entered that state."""
    since_height: U63
    """Height of that block."""
    registered_height: U63
    liable_from: U63
    """First epoch whose offences its stake pays for, the one after it was funded; 0 while it awaits
    stake, and then there is none."""
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
    tested_from: U63
    """First epoch whose verdicts count for the state that it is in; 0 while it awaits stake."""
    passed: U8
    """1 if it is queued and passed a test at the contact in force."""
    activated_ms: U63
    """Block time at which this life was first active; 0 if it was not yet."""
    payable_from_ms: U63
    """Block time from which on it earns rewards while it is active."""
    credit_ms: U63
    """Uptime credit at `since_ms` of an active node; of a decommissioned one all it had then."""
    taken: U63
    """Atomic units of its stake that penalties took in this life."""
    former_duty_key: UpTo32
    """The duty key before the last change; none if there was no change."""
    keys_epoch: U63
    """First epoch in which `duty_key` signs; votes for an epoch before are by the former one."""
    accrued: U63
    """Rewards of the running period, up to `entry`."""
    entry: U63
    """The network's accumulator when the node began to earn, if it earns."""
    earning: U8
    """1 while it earns rewards."""
    stands_ms: U63
    """Block time from which it counts as standing for a seat; 0 if from its activation on."""


class KeyHistory(Record, frozen=True):
    """What is remembered of a node key for ever; no number here ever shrinks."""

    life: U32
    """Lives begun so far."""
    sequence: U63
    """Highest sequence number of contact data and role keys accepted."""
    tombstoned: U8
    """1 once a key of the node was slashed for equivocating on lists or blocks."""


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
    """A node's place in a queue by time: of exits, of payouts, of those who begin to earn."""

    node: Bytes32


class Pool(Record, frozen=True):
    """The reward pool and what the whole network holds."""

    balance: U63
    """Atomic units that wait to be paid out as rewards."""
    supply: U63
    """Atomic units in existence since genesis: accounts + stakes + accrued + pool."""
    accrued: U63
    """Atomic units that were paid as rewards and are not claimed yet."""
    accumulator: U63
    """Atomic units that a node would have earned which earned from the start."""
    earning: U32
    """Nodes that earn rewards now."""


class Failing(Record, frozen=True):
    """The failing epochs of an active node whose newest verdict failed, or of a node that is down.

    Of a decommissioned node only those count through which it was decommissioned.
    """

    count: U32
    newest: U63
    """The newest failing epoch; at first that at whose end it was decommissioned."""


class Verdict(Record, frozen=True):
    """What testers found of a node in an epoch; it waits for its judging window to end."""

    life: U32
    faults: U8
    """0 for a pass, else all faults that one of the votes named."""


class Roster(Record, frozen=True):
    """Who may test in an epoch, and how quorums are drawn in it."""

    seed: Bytes32
    testers: U8
    """Size of a quorum."""
    threshold: U8
    """Votes that make a verdict."""
    members: bytes
    """Node key ‖ operator of each node that was active at the epoch's start, by ascending key."""


class EpochStart(Record, frozen=True):
    """When an epoch started."""

    start_ms: U63


class Punished(Record, frozen=True):
    """A penalty: the same offence is never punished twice."""

    offence: U8
    height: U63
    taken: U63
    """Atomic units."""


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
    """The attestors of the running epoch's header, those of the next, and those to come."""

    current: Annotated[tuple[Attestor, ...], msgspec.Meta(max_length=25)]
    next: Annotated[tuple[Attestor, ...], msgspec.Meta(max_length=25)]
    changed_ms: U63
    """Block time at which another next set was last announced; 0 if never."""
    ordered: Annotated[tuple[Seat, ...], msgspec.Meta(max_length=25)]
    """Seats that were ordered and are not announced yet; none if there is no order."""
    ordered_by: U8
    """`BY_ATTESTORS` or `BY_RECOVERY`; 0 without an order."""
    begin: U63
    """As in the order; 0 without one."""
    recovery: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=25)]
    """Keys that may replace the attestors, by ascending key; may be none."""
    policy: U8
    """How the set changes: that of the genesis file."""


class Validator(Record, frozen=True):
    """A seat's part in the agreement on blocks."""

    list_key: Bytes32
    consensus_key: Bytes32


class Validators(Record, frozen=True):
    """Who agrees on blocks: the seats of the current set of attestors."""

    seats: Annotated[tuple[Validator, ...], msgspec.Meta(max_length=25)]
    """By ascending list key."""


class Absence(Record, frozen=True):
    """How often a seat was missing under a final header."""

    count: U32
    """Headers that it missed, less those that it attested, never below zero."""


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
    """The parameters in force and those announced, in the order of `PARAMETERS`."""

    values: tuple[U63, ...]
    changed_ms: U63
    """Block time at which they came into force; 0 for those of genesis."""
    next: tuple[U63, ...]
    """Values to come, or none."""
    from_ms: U63
    """Block time from which those are in force, from the next epoch's end on; 0 for none."""


class Succession(Record, frozen=True):
    """The network that goes on after this one, as it was ordered last."""

    genesis_hash: Bytes32
    """Hash of its genesis file; zeros once it was withdrawn."""
    from_ms: U63
    """Block time from which headers name it, from the next epoch's end on."""
    last_epoch: U63
    """Epoch of the first final header that names it, the last of this network; 0 before."""
