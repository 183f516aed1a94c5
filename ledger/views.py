"""A committed height, for reading."""

from ledger.history import (
    ATTESTOR_SET,
    Location,
    Tip,
    decode_location,
    journal_key,
    location_key,
    set_key,
)
from ledger.lists import complete_header, get_signed_header
from ledger.merkle import SparseProof, SparseTree, sparse_prove
from ledger.messages.blocks import BLOCK, Block
from ledger.messages.lists import (
    Attestor,
    SignedHeader,
    attestor_set_hash,
    decode_header,
    weigh,
)
from ledger.state import DRAFT, SETS, State, state_path
from ledger.store import Snapshot
from ledger.types import Hash, Height


class View:
    """One committed height, for reading; it does not change when the chain goes on."""

    def __init__(self, tip: Tip, reader: Snapshot, tree: SparseTree) -> None:
        self.tip = tip
        self.reader = reader
        self.state = State(reader)
        self._tree = tree

    def prove(self, key: bytes) -> tuple[bytes | None, SparseProof]:
        """Return the bytes under a store key of the state, or None, with the proof of it."""
        return self.reader.get(key), sparse_prove(self._tree, state_path(key))

    def block(self, height: Height) -> Block | None:
        """Return a block of the journal, or None where the journal does not reach."""
        raw = self.reader.get(journal_key(height))
        return None if raw is None else BLOCK.load(raw)

    def newest_header(self) -> SignedHeader:
        """Return the header of the newest ended epoch with the attestations accepted so far."""
        draft = self.state.get(DRAFT)
        if draft is not None:
            return SignedHeader(complete_header(draft.header, self.tip.root), ())
        return get_signed_header(self.state)

    def attestors(self, set_hash: Hash) -> tuple[Attestor, ...]:
        """Return the set that headers name by a hash: the one in force, or an earlier one.

        Empty if it was not in force on this chain, or before the snapshot that filled the store.
        """
        members = self.state.one(SETS).current
        if attestor_set_hash(members) == set_hash:
            return members
        raw = self.reader.get(set_key(set_hash))
        return () if raw is None else ATTESTOR_SET.load(raw).members

    def weigh(self, signed: SignedHeader) -> tuple[int, int]:
        """Return the weight that signed a header, and that of the set that it names."""
        members = self.attestors(decode_header(signed.header).set_hash)
        return weigh(signed, members) if members else (0, 0)

    def location(self, tx_hash: Hash) -> Location | None:
        """Return where a committed transaction stands, or None."""
        raw = self.reader.get(location_key(tx_hash))
        return None if raw is None else decode_location(raw)
