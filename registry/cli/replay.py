"""Executing a chain again from its genesis file, in memory, and comparing what comes out.

- Every block is executed, and the root that its header states has to be the one that comes out.
- Where the blocks came from a database, its records have to be those that come out, all of them.

The first thing that does not hold ends it with a `Finding`: what follows would be nonsense.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, zip_longest
from typing import Any, Final

from ledger.chain import Chain
from ledger.errors import CorruptStore, Diverged, Refusal
from ledger.history import journal_key
from ledger.inheritance import Inheritance
from ledger.messages.blocks import BLOCK, Block
from ledger.messages.genesis import ENGINES
from ledger.messages.tables import TABLES
from ledger.replay import execute_block
from ledger.store import MemoryStore, Reader
from registry.cli.histories import Finding, Source

JOURNAL: Final = b"J"
AFTER_JOURNAL: Final = b"K"

RECORDS: Final = {
    **{table.letter: table.meaning for table in TABLES},
    b"A": "an attestor set",
    b"B": "where the journal begins",
    b"E": "what an epoch paid",
    b"F": "the frozen header of an epoch",
    b"G": "the hash of the genesis file",
    b"H": "a part of the history of headers",
    b"J": "a block",
    b"L": "the layout of the store",
    b"N": "a header that names another attestor set",
    b"O": "a set that recovery keys ordered",
    b"R": "a penalty",
    b"S": "how the swarms changed",
    b"T": "the tip",
    b"V": "a verdict",
    b"X": "where a transaction stands",
}
"""What lies under each first letter of a store key."""


class ReplayStore:
    """Records in memory, for one pass over a chain.

    Its pictures show what is newest: whoever executes block by block reads nothing older, and so
    nothing has to be copied for each block. Blocks themselves are not kept.
    """

    def __init__(self) -> None:
        self._tables: dict[bytes, MemoryStore] = {}

    def get(self, key: bytes) -> bytes | None:
        table = self._tables.get(key[:1])
        return None if table is None else table.get(key)

    def items(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        for letter in sorted(self._tables, reverse=reverse):
            if letter >= start[:1] and (stop is None or letter < stop):
                yield from self._tables[letter].items(start, stop, reverse=reverse)

    def write(self, changes: Mapping[bytes, bytes | None], *, sync: bool = True) -> None:
        parts: dict[bytes, dict[bytes, bytes | None]] = {}
        for key, value in changes.items():
            parts.setdefault(key[:1], {})[key] = value
        parts.pop(JOURNAL, None)
        for letter, part in parts.items():
            self._tables.setdefault(letter, MemoryStore()).write(part)

    def snapshot(self) -> "ReplayStore":
        return self

    def close(self) -> None:
        """There is nothing to let go of; closing a picture must not end the store."""


class Replay:
    """A chain that is executed again."""

    def __init__(self, genesis: bytes, inheritance: Inheritance | None = None) -> None:
        """Begin with a genesis file, and what it inherits. Refuses like `Chain.init`."""
        self._store = ReplayStore()
        self.chain = Chain(self._store, genesis)
        self.chain.init(inheritance)
        self.counts: dict[str, Any] = {"blocks": 0, "transactions": 0}
        self._first_root = self.chain.tip.root

    @property
    def reader(self) -> Reader:
        """The records after the newest block."""
        return self._store

    @property
    def facts(self) -> dict[str, Any]:
        """What was executed, as far as it came, in terms of JSON."""
        chain = self.chain
        return {
            "network": chain.genesis.name.decode(),
            "genesis_hash": chain.genesis_hash.hex(),
            "engine": ENGINES[chain.genesis.engine],
            "genesis_root": self._first_root.hex(),
            "height": chain.tip.height,
            "state_root": chain.tip.root.hex(),
            **self.counts,
        }

    def run(self, source: Source, watch: Callable[[Iterator[bytes]], Iterator[bytes]]) -> None:
        """Execute all blocks of a source; `watch` lets them through. Raises `Finding`."""
        for height, raw in enumerate(watch(source.blocks()), 1):
            try:
                block = BLOCK.decode(raw)
                self._execute(block, is_last=height == source.height)
            except Diverged as diverged:
                raise Finding(height, diverged.why, "diverged") from None
            except CorruptStore as error:
                raise Finding(height, str(error), "damaged") from None
            except Refusal as refusal:
                raise Finding(height, str(refusal), refusal.code) from None
            self.counts["blocks"] += 1
            self.counts["transactions"] += len(block.transactions)
        if source.root not in (None, self.chain.tip.root):
            ours, theirs = self.chain.tip.root.hex(), source.root.hex()
            why = f"{source.name} claims the root {theirs}, this is {ours}"
            raise Finding(source.height, why, "claim")

    def _execute(self, block: Block, *, is_last: bool) -> None:
        execute_block(self.chain, block)

    def compare(self, reader: Reader) -> None:
        """Compare every record with those of a database, whose blocks were executed.

        Raises `Finding`.
        """
        theirs = (item for item in reader.items() if item[0][:1] != JOURNAL)
        for ours, found in zip_longest(self._store.items(), theirs):
            if ours != found:
                raise self._refuse(min(item[0] for item in (ours, found) if item is not None))
            self.counts["records"] = self.counts.get("records", 0) + 1
        height = self.chain.tip.height
        spans = ((JOURNAL, journal_key(1)), (journal_key(height + 1), AFTER_JOURNAL))
        for key, _ in chain.from_iterable(reader.items(*span) for span in spans):
            raise self._refuse(key)

    def _refuse(self, key: bytes) -> Finding:
        what = RECORDS.get(key[:1], "nothing that is known")
        why = f"the database holds another record under {key.hex()} ({what}) than comes out"
        return Finding(self.chain.tip.height, why, "record")
