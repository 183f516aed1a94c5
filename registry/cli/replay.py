"""Executing a chain again from its genesis file, in memory, and checking what it claims.

- `Replay` executes every block and compares the root that its header states.
- `Audit` believes the producer nothing beyond that: the seal of each block, the limits and the
  transactions in it, the invariants after it, and the signatures of every list's header.
- Where the blocks came from a database, its records have to be those that come out, all of them.

The first thing that does not hold ends it with a `Finding`: what follows would be nonsense.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Final, Protocol

from ledger import crypto
from ledger.chain import Chain
from ledger.crypto import Signed
from ledger.errors import CorruptStore, Diverged, Refusal, WaypostError
from ledger.history import (
    BASE_KEY,
    GENESIS_KEY,
    TIP,
    TIP_KEY,
    check_layout,
    final_key,
    journal_key,
)
from ledger.inheritance import Inheritance
from ledger.invariants import find_violations
from ledger.messages.blocks import BLOCK, Block
from ledger.messages.genesis import SOLO
from ledger.messages.lists import (
    Attestor,
    SignedHeader,
    attestation,
    attestor_set_hash,
    decode_header,
    decode_signed_header,
    is_final,
    weigh,
)
from ledger.messages.tables import EPOCH, SETS, TABLES
from ledger.replay import check_inputs, check_link, check_outcome, check_sealed, execute_block
from ledger.steps import run
from ledger.store import MemoryStore, Reader
from ledger.types import Hash, Height

JOURNAL: Final = b"J"

RECORDS: Final = {
    **{table.letter: table.meaning for table in TABLES},
    b"B": "where the journal begins",
    b"F": "the frozen header of an epoch",
    b"G": "the hash of the genesis file",
    b"L": "the layout of the store",
    b"R": "a penalty",
    b"T": "the tip",
    b"V": "a verdict",
    b"X": "where a transaction stands",
}
"""What lies under each first letter of a store key."""


class Finding(WaypostError):
    """A chain does not hold; the text says at which block, and why."""

    code = "finding"

    def __init__(self, height: Height, why: str) -> None:
        super().__init__(f"block {height}: {why}")
        self.text = f"block {height}: {why}"
        self.height = height


class Source(Protocol):
    """Where the blocks come from."""

    name: str
    genesis: bytes
    height: Height
    """The newest block."""
    root: Hash
    """The state root that is claimed for it."""

    def blocks(self) -> Iterator[bytes]:
        """Yield every encoded block from 1 to `height`. Raises `Finding` where one is missing."""


class StoreSource:
    """A database."""

    def __init__(self, name: str, genesis: bytes, reader: Reader) -> None:
        """Refuses with `bad_genesis` a database of another network, or an empty one.

        Refuses like `check_layout` before.
        """
        self.name = name
        self.genesis = genesis
        self._reader = reader
        check_layout(reader)
        raw, made_from = reader.get(TIP_KEY), reader.get(GENESIS_KEY)
        if raw is None or made_from != crypto.sha256(genesis):
            raise Refusal("bad_genesis", why=f"{name} holds no chain that begins with it")
        tip = TIP.load(raw)
        self.height, self.root = tip.height, tip.root

    def blocks(self) -> Iterator[bytes]:
        """Yield every block of the journal."""
        for height in range(1, self.height + 1):
            raw = self._reader.get(journal_key(height))
            if raw is None:
                raise Finding(height, self._explain_gap())
            yield raw

    def _explain_gap(self) -> str:
        base = int.from_bytes(self._reader.get(BASE_KEY) or b"\1", "big")
        if base > 1:
            return f"the journal begins with block {base}: replay a node that has the whole chain"
        return "it is missing in the journal"


class UpTo:
    """The first blocks of a source, up to a height with a root that somebody vouches for."""

    def __init__(self, source: Source, height: Height, root: Hash) -> None:
        self.name = source.name
        self.genesis = source.genesis
        self.height = height
        self.root = root
        self._source = source

    def blocks(self) -> Iterator[bytes]:
        """Yield every encoded block up to the height."""
        return islice(self._source.blocks(), self.height)


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
        self.counts: dict[str, int] = {"blocks": 0, "transactions": 0}

    @property
    def reader(self) -> Reader:
        """The records after the newest block."""
        return self._store

    def run(self, source: Source, watch: Callable[[Iterator[bytes]], Iterator[bytes]]) -> None:
        """Execute all blocks of a source; `watch` lets them through. Raises `Finding`."""
        for height, raw in enumerate(watch(source.blocks()), 1):
            try:
                block = BLOCK.decode(raw)
                self._execute(block, is_last=height == source.height)
            except Diverged as diverged:
                raise Finding(height, diverged.why) from None
            except (Refusal, CorruptStore) as error:
                raise Finding(height, str(error)) from None
            self.counts["blocks"] += 1
            self.counts["transactions"] += len(block.transactions)
        if self.chain.tip.root != source.root:
            ours, theirs = self.chain.tip.root.hex(), source.root.hex()
            raise Finding(source.height, f"{source.name} claims the root {theirs}, this is {ours}")

    def _execute(self, block: Block, *, is_last: bool) -> None:
        execute_block(self.chain, block)

    def compare(self, reader: Reader) -> None:
        """Compare every record but the journal with those of a database. Raises `Finding`."""
        theirs = (item for item in reader.items() if item[0][:1] != JOURNAL)
        for ours, found in zip_longest(self._store.items(), theirs):
            if ours != found:
                key = min(item[0] for item in (ours, found) if item is not None)
                what = RECORDS.get(key[:1], "nothing that is known")
                raise Finding(
                    self.chain.tip.height,
                    f"the database holds another record under {key.hex()} ({what}) than comes out",
                )
            self.counts["records"] = self.counts.get("records", 0) + 1


class Audit(Replay):
    """A replay that believes nothing."""

    def __init__(
        self, genesis: bytes, inheritance: Inheritance | None = None, every: int = 1
    ) -> None:
        """Check the invariants after each `every`-th block and the last."""
        super().__init__(genesis, inheritance)
        self._every = every
        self.counts |= {
            "seals": 0,
            "signatures": 0,
            "headers": 0,
            "final_headers": 0,
            "attestations": 0,
            "invariant_checks": 0,
        }

    def run(self, source: Source, watch: Callable[[Iterator[bytes]], Iterator[bytes]]) -> None:
        """As `Replay.run`; the newest header is checked too, as far as it is signed."""
        super().run(source, watch)
        members = self.chain.view().state.one(SETS).current
        self._check_header(self.chain.newest_header(), members)

    def _execute(self, block: Block, *, is_last: bool) -> None:
        chain, header = self.chain, block.header
        self._check_origin(block)
        members = chain.view().state.one(SETS).current
        run(chain.validate(block.input), self._verify)
        executed = run(chain.finalize(block.input), self._verify)
        check_outcome(chain, block)
        chain.commit(block.seal)
        if executed.ended_epoch:
            self._check_frozen(members)
        if is_last or header.height % self._every == 0:
            self._check_invariants()

    def _check_origin(self, block: Block) -> None:
        """Check who made a block, where its journal says it: validators agree without a seal."""
        if self.chain.genesis.engine == SOLO:
            check_sealed(self.chain, block)
            self.counts["seals"] += 1
            return
        check_link(self.chain, block)
        check_inputs(block)

    def _verify(self, items: list[Signed]) -> Sequence[bool]:
        self.counts["signatures"] += len(items)
        return crypto.verify_all(items)

    def _check_frozen(self, members: tuple[Attestor, ...]) -> None:
        """Check the header that the epoch which just ended has attested."""
        epoch = self.chain.view().state.one(EPOCH).epoch - 2
        raw = self._store.get(final_key(epoch))
        if raw is None:
            raise CorruptStore("of this chain", f"the header of epoch {epoch} was not frozen")
        self._check_header(decode_signed_header(raw), members)

    def _check_header(self, signed: SignedHeader, members: tuple[Attestor, ...]) -> None:
        header, height = decode_header(signed.header), self.chain.tip.height
        if header.set_hash != attestor_set_hash(members):
            raise Finding(height, f"header {header.epoch} names other attestors than the state")
        for index, signature in signed.signatures:
            key = members[index].list_key
            item = attestation(self.chain.genesis_hash, signed.header, key, signature)
            if not crypto.verify(item):
                raise Finding(height, f"attestor {index} did not sign header {header.epoch}")
        self.counts["headers"] += 1
        self.counts["attestations"] += len(signed.signatures)
        self.counts["final_headers"] += is_final(*weigh(signed, members))

    def _check_invariants(self) -> None:
        violations = find_violations(self.chain.view().state)
        self.counts["invariant_checks"] += 1
        if violations:
            raise Finding(self.chain.tip.height, "; ".join(violations))
