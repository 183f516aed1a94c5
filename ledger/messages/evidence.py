"""Evidence of offences: what a report carries, and what a BFT engine gives.

Each record holds two statements that one key signed and that cannot both be honest. Everything
needed to verify it is in it, but for the genesis hash.
"""

from typing import Annotated, Final, TypeAlias

import msgspec

from ledger.codec import U32, U63, Bytes32, Bytes64, Codec, Record, UpTo32
from ledger.messages.duty import Faults
from ledger.messages.lists import HEADER_BYTES

MAX_EVIDENCE_BYTES: Final = 4_096
"""Bound for one piece of evidence."""

HeaderBytes: TypeAlias = Annotated[
    bytes, msgspec.Meta(min_length=HEADER_BYTES, max_length=HEADER_BYTES)
]
Path: TypeAlias = Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=64)]
Address: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=20, max_length=20)]


class VoteEquivocation(Record, frozen=True):
    """A pass and a fail by one duty key for one vote identity."""

    duty_key: Bytes32
    epoch: U63
    node: Bytes32
    """The node that was voted on."""
    life: U32
    pass_signature: Bytes64
    """Over the vote with the faults 0."""
    faults: Faults
    """Those of the failing vote, not 0."""
    fail_signature: Bytes64


class ListEquivocation(Record, frozen=True):
    """Two headers by one list key that cannot belong to one history.

    Both are of one epoch; or the second is of a later one, and its history holds another header
    in the place of the first.
    """

    list_key: Bytes32
    first: HeaderBytes
    first_signature: Bytes64
    second: HeaderBytes
    """Of the same epoch and greater as bytes, or of a later epoch."""
    second_signature: Bytes64
    leaf: UpTo32
    """Hash of the leaf that the second header's history holds for the epoch of the first; none
    where both are of one epoch."""
    path: Path
    """Audit path of that leaf; none where both are of one epoch."""


class Misbehaviour(Record, frozen=True):
    """A BFT engine's word that a validator signed two blocks of one height."""

    address: Address
    """First 20 bytes of the SHA-256 of the validator's consensus key."""
    height: U63
    time_ms: U63
    """Block time of that height."""


MISBEHAVIOUR: Final[Codec[Misbehaviour]] = Codec(Misbehaviour, "misbehaviour", MAX_EVIDENCE_BYTES)
