"""What a client believes of a record of the state: what a verified header proves, and nothing else.

- The header was verified by `registry.client.trusted`; it names the root of the state at the end of
  its epoch, and the record is of that moment.
- A proof is one file, from whoever has it. It says which epoch and which key it is of, and is
  refused if that is not what was asked for.
- None means that it is proven that there is no such record.
"""

from typing import TypeVar

from ledger.codec import Record
from ledger.errors import Refusal
from ledger.merkle import SparseProof, sparse_verify
from ledger.messages.lists import ListHeader
from ledger.messages.proofs import PROOF_VERSION, STATE_PROOF, compute_proof_bound
from ledger.messages.tables import Table

R = TypeVar("R", bound=Record)


def read_record(header: ListHeader, table: Table[R], key: bytes, data: bytes) -> R | None:
    """Return the record under `key` of a table that the file `proof` proves, or None if none.

    `table` is a row of `ledger.messages.tables`, `key` is empty for one with a single record.

    Refuses with `too_large`, `not_canonical`, `unknown_format` and `bad_proof`.
    """
    limit = compute_proof_bound(table)
    if len(data) > limit:
        raise Refusal("too_large", size=len(data), limit=limit)
    proof = STATE_PROOF.decode(data)
    if proof.version != PROOF_VERSION:
        raise Refusal("unknown_format", version=proof.version)
    if (proof.epoch, proof.height) != (header.epoch, header.height):
        raise Refusal("bad_proof", why=f"it is of epoch {proof.epoch}, not {header.epoch}")
    if proof.key != table.letter + key:
        raise Refusal("bad_proof", why="it is of another record")
    raw = proof.record[0] if proof.record else None
    path = SparseProof.decode(proof.proof)
    if not sparse_verify(header.state_root, proof.key, raw, path):
        raise Refusal("bad_proof", why="it does not lead to the state root of the header")
    return None if raw is None else table.codec.decode(raw)
