"""The state: an overlay over the store that a block writes to, and the root of it all.

- Which record lies under which key is told by the tables in `ledger/messages/tables.py`.
- A block writes to an overlay; the store changes at commit and not before.
"""

from collections.abc import Generator, Iterable, Iterator
from typing import Any, Final

from ledger.codec import Record, encode
from ledger.crypto import sha256
from ledger.errors import CorruptStore, Misuse
from ledger.merkle import SparseChange, SparseTree, sparse_build, sparse_update
from ledger.messages import state as records
from ledger.messages.tables import ACCOUNTS, PARAMS, R, Table
from ledger.params import Params
from ledger.steps import run
from ledger.store import Reader
from ledger.types import Amount, Epoch, Hash, Key, TimeMs

STATE_START: Final = b"a"
STATE_STOP: Final = b"~"
"""All state lies in this range of store keys: the first letter is a … z, or { behind them."""

PAUSE_LEAVES: Final = 500
"""Changed leaves between two pauses: some milliseconds of work."""

PAUSE_CHANGES: Final = 2_000
"""Changed records between two pauses of what is done to each of them: some milliseconds too."""

NO_ACCOUNT: Final = records.Account(0, 0)


class State:
    """Typed reads of a store, and the writes of one block on top of them.

    `recent` keeps records as `base` has them, decoded; the Chain keeps it true. None keeps none.
    """

    __slots__ = ("_base", "_changed", "_recent", "archived")

    def __init__(self, base: Reader, recent: dict[bytes, Record | None] | None = None) -> None:
        self._base = base
        self._recent = recent
        self._changed: dict[bytes, Record | None] = {}
        self.archived: dict[bytes, bytes] = {}
        """History that this block adds: store key to value, outside the state root."""

    # ---------------------------------------------------------------- records

    def get(self, table: Table[R], key: bytes = b"") -> R | None:
        """Return the record under `key`, or None."""
        full = table.letter + key
        changed = self._changed
        if full in changed:
            return changed[full]  # type: ignore[return-value]
        recent = self._recent
        if recent is not None and full in recent:
            return recent[full]  # type: ignore[return-value]
        raw = self._base.get(full)
        record = None if raw is None else table.codec.load(raw)
        if recent is not None:
            recent[full] = record
        return record

    def before(self, table: Table[R], key: bytes = b"") -> R | None:
        """Return the record that was under `key` before this block, or None."""
        return State(self._base, self._recent).get(table, key)

    def one(self, table: Table[R], key: bytes = b"") -> R:
        """Return a record that must be there. Raises `CorruptStore` where it is not."""
        record = self.get(table, key)
        if record is None:
            raise CorruptStore("of this chain", f"there is no {table.codec.what} {key.hex()}")
        return record

    def put(self, table: Table[R], record: R, key: bytes = b"") -> None:
        """Set the record under `key`."""
        self._changed[table.letter + key] = record

    def delete(self, table: Table[R], key: bytes = b"") -> None:
        """Remove the record under `key`."""
        self._changed[table.letter + key] = None

    def items(self, table: Table[R], start: bytes = b"") -> Iterator[tuple[bytes, R]]:
        """Yield `(key, record)` of a table from key `start` on, by ascending key.

        The table must not change meanwhile.
        """
        letter, load, changed = table.letter, table.codec.load, self._changed
        first = letter + start
        # the next key of the overlay stands last
        overlay = sorted(
            (key for key in changed if key[:1] == letter and key >= first), reverse=True
        )
        for key, raw in self._base.items(first, _after(letter)):
            while overlay and overlay[-1] < key:
                yield from self._item(overlay.pop())
            if overlay and overlay[-1] == key:
                yield from self._item(overlay.pop())
            else:
                yield key[1:], load(raw)
        while overlay:
            yield from self._item(overlay.pop())

    def _item(self, key: bytes) -> Iterator[tuple[bytes, Any]]:
        """Yield what the overlay holds under a store key, unless it deletes it."""
        record = self._changed[key]
        if record is not None:
            yield key[1:], record

    # --------------------------------------------------- what is read most often

    def account(self, key: Key) -> records.Account:
        """Return an account; one that never existed is empty."""
        return self.get(ACCOUNTS, key) or NO_ACCOUNT

    def credit(self, key: Key, amount: Amount) -> None:
        """Add to an account. The supply bounds every sum, so it cannot overflow."""
        account = self.account(key)
        self.put(ACCOUNTS, records.Account(account.balance + amount, account.nonce), key)

    def debit(self, key: Key, amount: Amount) -> None:
        """Take from an account what was checked to be there."""
        account = self.account(key)
        if amount > account.balance:
            raise Misuse("a debit was not checked")
        self.put(ACCOUNTS, records.Account(account.balance - amount, account.nonce), key)

    def params(self) -> Params:
        """Return the parameters in force."""
        return Params(*self.one(PARAMS).values)

    # ------------------------------------------------------------------ results

    def changes(self) -> dict[bytes, bytes | None]:
        """Return what the overlay changes: store key to encoded record, or None to delete."""
        return run(self.encode_changes())

    def encode_changes(self) -> Generator[None, None, dict[bytes, bytes | None]]:
        """Return `changes`, with pauses; the overlay stays as it is meanwhile."""
        changes: dict[bytes, bytes | None] = {}
        for key, record in self._changed.items():
            if len(changes) % PAUSE_CHANGES == PAUSE_CHANGES - 1:
                yield
            changes[key] = None if record is None else encode(record)
        return changes

    def changed_records(self) -> dict[bytes, Record | None]:
        """Return the overlay's records by store key, as they will be once committed."""
        return self._changed


def _after(letter: bytes) -> bytes:
    return bytes([letter[0] + 1])


def due_key(time_ms: TimeMs, node: Key) -> bytes:
    """Return the key of a node's place in a queue by time."""
    return time_ms.to_bytes(8, "big") + node


def epoch_key(epoch: Epoch, node: Key = b"") -> bytes:
    """Return the key of what belongs to an epoch, and to a node in it."""
    return epoch.to_bytes(8, "big") + node


def state_path(key: bytes) -> Hash:
    """Return the place of a store key in the state tree: SHA-256 of letter ‖ key."""
    return sha256(key)


def update_tree(
    tree: SparseTree, changes: dict[bytes, bytes | None]
) -> Generator[None, None, SparseTree]:
    """Return the state tree after `changes`; a record's leaf holds the SHA-256 of its bytes.

    Pauses between pieces. What begins with the same byte of a path stays together, and the pieces
    come in the order of these bytes, so that they share next to nothing of the tree.
    """
    yield
    leaves: list[list[SparseChange]] = [[] for _ in range(256)]
    for count, (key, raw) in enumerate(changes.items(), 1):
        path = sha256(key)
        leaves[path[0]].append((path, None if raw is None else sha256(raw)))
        if count % PAUSE_CHANGES == 0:
            yield
    piece: list[SparseChange] = []
    for some in leaves:
        piece += some
        if len(piece) >= PAUSE_LEAVES:
            yield
            tree = sparse_update(tree, piece)
            piece = []
    yield
    return sparse_update(tree, piece)


def build_tree(items: Iterable[tuple[bytes, bytes]]) -> SparseTree:
    """Return the state tree of all `(store key, encoded record)`, as a start computes it."""
    leaves = [(sha256(key), sha256(raw)) for key, raw in items]
    leaves.sort()
    return sparse_build(leaves)
