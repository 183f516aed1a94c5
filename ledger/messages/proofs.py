"""The proof of one record of the state, as it travels: a file that anybody can pass on."""

from typing import Annotated, Any, Final

import msgspec

from ledger.codec import U8, U63, Codec, Record
from ledger.messages.tables import MAX_KEY_BYTES, MAX_ROSTER_BYTES, Table

PROOF_VERSION: Final = 1

MAX_SPARSE_PROOF_BYTES: Final = 8_291
"""A leaf and 256 siblings: docs/spec/merkle.md."""

MAX_AROUND_BYTES: Final = MAX_SPARSE_PROOF_BYTES + MAX_KEY_BYTES + 32
"""Everything of a file but the record in it."""


class StateProof(Record, frozen=True):
    """What the state at an epoch's end holds under a store key, with the proof of that."""

    version: U8
    """`PROOF_VERSION`."""
    epoch: U63
    """The epoch whose header names the root."""
    height: U63
    """Last block of that epoch."""
    key: Annotated[bytes, msgspec.Meta(max_length=MAX_KEY_BYTES)]
    """The store key, letter included."""
    record: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=1)]
    """The record's encoding; none, if there is no such record."""
    proof: Annotated[bytes, msgspec.Meta(max_length=MAX_SPARSE_PROOF_BYTES)]
    """The sparse proof."""


STATE_PROOF: Final[Codec[StateProof]] = Codec(
    StateProof, "state proof", MAX_ROSTER_BYTES + MAX_AROUND_BYTES
)


def compute_proof_bound(table: Table[Any]) -> int:
    """Return how many bytes the proof of a record of a table has at most."""
    return table.codec.max_bytes + MAX_AROUND_BYTES
