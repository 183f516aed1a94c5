"""Committed heights, for reading: one of them, and which are kept.

- The newest `PINNED_HEIGHTS` are kept, for answers that come in pages.
- A header names the state at its epoch's end, so that state is kept for proofs, however long the
  next epoch lasts: of the newest epoch that ended, and of the newest one before it whose header was
  final when that one ended.
- What is kept lies in snapshots and shared trees, and is gone after a restart but for the tip.
"""

from collections import deque
from functools import cached_property
from typing import Final

from ledger.errors import CorruptStore, Misuse
from ledger.history import (
    ATTESTOR_SET,
    Location,
    Tip,
    decode_location,
    final_key,
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
    decode_signed_header,
    is_final,
    weigh,
)
from ledger.messages.proofs import PROOF_VERSION, StateProof
from ledger.messages.tables import DRAFT, SETS
from ledger.state import State, state_path
from ledger.store import Snapshot
from ledger.types import Epoch, Hash, Height

PINNED_HEIGHTS: Final = 64
"""Newest committed heights that can be read."""


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

    @cached_property
    def ended_epoch(self) -> Epoch | None:
        """The epoch whose last block this is, or None."""
        draft = self.state.get(DRAFT)
        return None if draft is None else decode_header(draft.header).epoch

    def make_proof(self, key: bytes) -> StateProof:
        """Return the proof of a store key that travels. An epoch has to have ended here."""
        if self.ended_epoch is None:
            raise Misuse(f"no header names the state of height {self.tip.height}")
        raw, proof = self.prove(key)
        record = () if raw is None else (raw,)
        return StateProof(
            PROOF_VERSION, self.ended_epoch, self.tip.height, key, record, proof.encode()
        )

    def block(self, height: Height) -> Block | None:
        """Return a block of the journal, or None where the journal does not reach."""
        raw = self.reader.get(journal_key(height))
        return None if raw is None else BLOCK.load(raw)

    def committed_block(self, height: Height) -> Block:
        """Return the block of something that the store says was committed there.

        Raises `CorruptStore` if the journal has none.
        """
        block = self.block(height)
        if block is None:
            raise CorruptStore("of this chain", f"block {height} is missing")
        return block

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

    def has_final(self, epoch: Epoch) -> bool:
        """Whether the frozen header of an epoch is there, and final."""
        raw = self.reader.get(final_key(epoch))
        return raw is not None and is_final(*self.weigh(decode_signed_header(raw)))

    def weigh(self, signed: SignedHeader) -> tuple[int, int]:
        """Return the weight that signed a header, and that of the set that it names."""
        members = self.attestors(decode_header(signed.header).set_hash)
        return weigh(signed, members) if members else (0, 0)

    def location(self, tx_hash: Hash) -> Location | None:
        """Return where a committed transaction stands, or None."""
        raw = self.reader.get(location_key(tx_hash))
        return None if raw is None else decode_location(raw)


class Heights:
    """The committed heights that are kept; see the head of this file."""

    def __init__(self) -> None:
        self._newest: deque[View] = deque()
        self._ends: dict[Epoch, View] = {}

    def add(self, view: View) -> None:
        """Keep the height that was committed, and let go of what it makes unneeded."""
        self._newest.append(view)
        left = []
        if len(self._newest) > PINNED_HEIGHTS:
            left.append(self._newest.popleft())
        if view.ended_epoch is not None:
            left += self._ends.values()
            final = [epoch for epoch in self._ends if view.has_final(epoch)][-1:]
            self._ends = {epoch: self._ends[epoch] for epoch in final}
            self._ends[view.ended_epoch] = view
        for old in left:
            if old not in self._newest and old not in self._ends.values():
                old.reader.close()

    @property
    def newest(self) -> View:
        """The newest committed height; there is one."""
        return self._newest[-1]

    def at(self, height: Height) -> View | None:
        """Return one of the newest heights, or None."""
        place = height - self._newest[0].tip.height
        return self._newest[place] if 0 <= place < len(self._newest) else None

    def end_of(self, epoch: Epoch) -> View | None:
        """Return the height at which an epoch ended, if it is kept for proofs."""
        return self._ends.get(epoch)
