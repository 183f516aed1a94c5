"""What people send: the envelope, its bodies, and the free kinds that carry their own signatures.

On the wire a transaction is one of

- `[[version, kind, sender, nonce, fee, expiry, body], signature]`: an account pays and signs;
- `[version, kind, body]`: free, the body carries the signatures that it needs.
"""

from typing import Annotated, Final, Generic, TypeAlias, TypeVar

import msgspec

from ledger.codec import U8, U16, U32, U63, Bytes32, Bytes64, Record, UpTo32, UpTo64
from ledger.messages.contact import Contact

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
