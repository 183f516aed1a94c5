"""What people send: the envelope, its bodies, and the free kinds that carry their own signatures.

On the wire a transaction is one of

- `[[version, kind, sender, nonce, fee, expiry, body], signature]`: an account pays and signs;
- `[version, kind, body]`: free, the body carries the signatures that it needs.
"""

from typing import Annotated, Final, Generic, TypeAlias, TypeVar

import msgspec

from ledger.codec import U8, U16, U32, U63, Bytes32, Bytes64, Record, UpTo32, UpTo64
from ledger.messages.contact import Contact
from ledger.messages.duty import Faults
from ledger.messages.evidence import MAX_EVIDENCE_BYTES

VERSION: Final = 1
"""Version of the transaction format; it fixes the whole suite of algorithms."""

Version1: TypeAlias = Annotated[int, msgspec.Meta(ge=VERSION, le=VERSION)]
Kind: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=127)]

B = TypeVar("B")


class Envelope(Record, Generic[B], frozen=True):
    """What an account signs, under the tag `TRANSACTION`."""

    version: Version1
    kind: Kind
    """Tag of the kind in `TX_KINDS`."""
    sender: Bytes32
    """The account that pays and signs."""
    nonce: U63
    """Number of transactions that this account sent before."""
    fee: U63
    """Atomic units, paid to the reward pool."""
    expiry: U63
    """Last height at which it may stand in a block."""
    body: B


class Paid(Record, Generic[B], frozen=True):
    """A transaction that an account pays for."""

    envelope: Envelope[B]
    signature: Bytes64
    """By `envelope.sender` over the encoded envelope."""


class Free(Record, Generic[B], frozen=True):
    """A transaction without a sender."""

    version: Version1
    kind: Kind
    body: B


class Transfer(Record, frozen=True):
    """Move coins to another account, which comes into being with them."""

    recipient: Bytes32
    amount: U63
    """Atomic units, at least 1."""


class Place(Record, frozen=True):
    """A place in a node's stake that is kept for one account."""

    account: Bytes32
    amount: U63
    """Atomic units, taken in one go or not at all."""


class Registration(Record, frozen=True):
    """What a node key signs to begin a life; any account may hold it, only `operator` use it."""

    node: Bytes32
    """The node key."""
    life: U32
    """Life number that begins, 1 for a key's first."""
    operator: Bytes32
    """Account that may use this registration and owns the node."""
    beneficiary: Bytes32
    """Account that gets the operator's rewards."""
    fee: U16
    """The operator's fee, parts of 10,000."""
    reserved: Annotated[tuple[Place, ...], msgspec.Meta(max_length=10)]
    """Places for others, by ascending account."""
    contact: Contact
    duty_key: Bytes32
    """Signs verdicts and challenge answers."""
    list_key: UpTo32
    """Signs headers if the node attests: 32 bytes, or none."""
    list_tip: UpTo32
    """Tip of the list key's hash chain: 32 bytes, or none."""
    consensus_key: UpTo32
    """Signs blocks under a BFT engine: 32 bytes, or none."""
    expiry_ms: U63
    """Last block time at which it may be used."""


class Register(Record, frozen=True):
    """Begin a node's life with the operator's stake."""

    registration: Registration
    node_signature: Bytes64
    """By the node key, tag `REGISTRATION`, over the encoded registration, as all the next."""
    duty_signature: Bytes64
    """By the duty key, tag `DUTY_KEY`."""
    list_signature: UpTo64
    """By the list key, tag `LIST_KEY`; none without a list key."""
    consensus_signature: UpTo64
    """By the consensus key, tag `CONSENSUS_KEY`; none without a consensus key."""
    stake: U63
    """Atomic units of the operator's own."""


class Contribute(Record, frozen=True):
    """Add stake to a node that waits for it."""

    node: Bytes32
    life: U32
    """The life that is meant: a later one never gets the stake."""
    amount: U63
    """Atomic units."""
    beneficiary: Bytes32
    """Account that gets the contributor's rewards."""


class Withdraw(Record, frozen=True):
    """Take one's whole stake back from a node that still waits for stake."""

    node: Bytes32
    life: U32


class ContactUpdate(Record, frozen=True):
    """What a node key signs, under the tag `CONTACT`, to change its contact data."""

    node: Bytes32
    life: U32
    sequence: U63
    """Above every sequence number that the key used before, in whichever life."""
    contact: Contact


class UpdateContact(Record, frozen=True):
    """Change a node's contact data at the epoch's end. Free."""

    update: ContactUpdate
    signature: Bytes64


class Attest(Record, frozen=True):
    """An attestor's signature of the newest header, with the next link of its hash chain. Free."""

    epoch: U63
    """Epoch of the header, one before the epoch that carries this."""
    index: U8
    """Place of the attestor in the set that the header names."""
    reveal: Bytes32
    """Preimage under SHA-256 of the attestor's last accepted value."""
    signature: Bytes64
    """By the list key, tag `LIST_HEADER`, over the header's bytes."""


class RequestUnlock(Record, frozen=True):
    """Ask a node to end its duty, so that all its stake comes back."""

    node: Bytes32
    life: U32


class ClaimRewards(Record, frozen=True):
    """Take what waits in a node for the sender, as contributor or as beneficiary."""

    node: Bytes32
    life: U32


class KeyChange(Record, frozen=True):
    """What a node key signs, under the tag `KEY_CHANGE`, to change its role keys."""

    node: Bytes32
    life: U32
    sequence: U63
    """Above every sequence number that the key used before, as for contact data."""
    duty_key: Bytes32
    list_key: UpTo32
    """32 bytes, or none."""
    list_tip: UpTo32
    """Tip of a new hash chain for the list key; none where its chain goes on."""
    consensus_key: UpTo32
    """32 bytes, or none."""


class SetKeys(Record, frozen=True):
    """Change a node's role keys at the epoch's end. Free."""

    change: KeyChange
    node_signature: Bytes64
    """By the node key, tag `KEY_CHANGE`, over the encoded change, as all the next."""
    duty_signature: Bytes64
    """By the duty key, tag `DUTY_KEY`."""
    list_signature: UpTo64
    """By the list key, tag `LIST_KEY`; none without a list key."""
    consensus_signature: UpTo64
    """By the consensus key, tag `CONSENSUS_KEY`; none without a consensus key."""


class TesterVote(Record, frozen=True):
    """One tester's vote inside a verdict."""

    place: U8
    """The tester's place in the order in which the node's testers were drawn."""
    faults: Faults
    """0 for a pass."""
    signature: Bytes64
    """By the duty key that the tester had in that epoch, tag `VOTE`."""


MAX_TESTERS: Final = 32
"""Testers of one node at most."""


class Judge(Record, frozen=True):
    """A verdict: the votes of enough testers that agree on pass or fail. Free."""

    epoch: U63
    node: Bytes32
    life: U32
    votes: Annotated[tuple[TesterVote, ...], msgspec.Meta(min_length=1, max_length=MAX_TESTERS)]
    """By ascending place."""


Evidence: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=MAX_EVIDENCE_BYTES)]


class Report(Record, frozen=True):
    """Prove an offence. The fee comes back."""

    offence: U8
    """Number of the offence in `OFFENCES`."""
    evidence: Evidence
    """The encoded record of that offence."""


class Seat(Record, frozen=True):
    """A seat in an order of attestors."""

    list_key: Bytes32
    weight: U32
    """At least 1."""
    tip: UpTo32
    """Tip of a new hash chain; none where that of the key goes on."""
    proof: UpTo64
    """With a tip: by the list key, tag `SEAT`, over the tip."""


class SetOrder(Record, frozen=True):
    """What is signed to order a set of attestors, under `SET_ORDER` or `RECOVERY_ORDER`."""

    begin: U63
    """Attestors: block time from which the set may be announced. Recovery: the epoch at whose end
    the set takes over."""
    set_hash: Bytes32
    """Hash of the set."""
    tips_hash: Bytes32
    """SHA-256 over the tips of all seats by ascending key, 32 zero bytes where there is none."""


class Signer(Record, frozen=True):
    """One signature of an order."""

    key: Bytes32
    """A list key of the current set, or a recovery key."""
    signature: Bytes64


MAX_SEATS: Final = 25

# Who signed an order of attestors; numbers are never reused.
BY_ATTESTORS: Final = 1
BY_RECOVERY: Final = 2

Signers: TypeAlias = Annotated[tuple[Signer, ...], msgspec.Meta(max_length=MAX_SEATS)]


class SetAttestors(Record, frozen=True):
    """Order another set of attestors."""

    authority: Annotated[int, msgspec.Meta(ge=BY_ATTESTORS, le=BY_RECOVERY)]
    """`BY_ATTESTORS` or `BY_RECOVERY`."""
    begin: U63
    """As in the order that was signed."""
    seats: Annotated[tuple[Seat, ...], msgspec.Meta(min_length=1, max_length=MAX_SEATS)]
    """By ascending list key."""
    signers: Signers
    """By ascending key."""


class ParamsOrder(Record, frozen=True):
    """What list keys sign, under the tag `PARAMS_ORDER`, to order other parameters."""

    from_ms: U63
    """Block time from which they are in force, from the next epoch's end on."""
    values: tuple[U63, ...]
    """All values, in the order of `PARAMETERS`."""


class SetParams(Record, frozen=True):
    """Order other parameters."""

    order: ParamsOrder
    signers: Signers
    """By ascending key."""


class SuccessorOrder(Record, frozen=True):
    """What list keys sign, under the tag `SUCCESSOR_ORDER`, to announce a successor."""

    genesis_hash: Bytes32
    """Hash of the genesis file that this network goes on with; zeros withdraw the one announced."""
    from_ms: U63
    """Block time from which headers name it; of a withdrawal that of what it withdraws."""


class SetSuccessor(Record, frozen=True):
    """Order that this network goes on as another one."""

    order: SuccessorOrder
    signers: Signers
    """By ascending key."""
