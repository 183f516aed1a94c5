"""A committed height, for reading."""

from ledger.history import Location, Tip, decode_location, journal_key, location_key
from ledger.lists import complete_header, get_signed_header
from ledger.merkle import SparseProof, SparseTree, sparse_prove
from ledger.messages.blocks import BLOCK, Block
from ledger.messages.lists import SignedHeader
from ledger.state import DRAFT, State, state_path
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

    def location(self, tx_hash: Hash) -> Location | None:
        """Return where a committed transaction stands, or None."""
        raw = self.reader.get(location_key(tx_hash))
        return None if raw is None else decode_location(raw)
