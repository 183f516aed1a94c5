"""The Chain: the face of the state machine that an engine drives.

    init · tip · decode · signatures · check · propose · validate · finalize · commit · view

Snapshots are in `ledger/history.py`.

- Work on a block comes as `Steps`, so that it can be paused; `run` drives it to its end in place.
- propose and validate leave the execution of their block ready, so that finalize of the same
  input does not execute it again; any number of rounds may go before.
- finalize changes nothing that lasts. commit writes state, journal and history in one synced
  batch; a driver with an event loop calls `begin_commit`, writes on another thread, and then
  calls `end_commit`.
- A refused transaction in a finalized block changes nothing and gets its code as its result;
  validate refuses a block that holds one.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from ledger.codec import Record, encode
from ledger.crypto import Signed, sha256
from ledger.errors import CorruptStore, Misuse, Refusal
from ledger.genesis import load_genesis
from ledger.history import (
    GENESIS_KEY,
    TIP,
    TIP_KEY,
    Location,
    Tip,
    check_layout,
    encode_location,
    find_gap,
    journal_key,
    link_to,
    location_key,
)
from ledger.inheritance import Inheritance
from ledger.lists import BuiltList, build_list
from ledger.merkle import SparseTree, sparse_root
from ledger.messages.blocks import BLOCK, Block, BlockHeader, BlockInput, block_hash, inputs_hash
from ledger.messages.genesis import GENESIS, SOLO
from ledger.messages.lists import SignedHeader
from ledger.messages.tables import EPOCH
from ledger.state import STATE_START, STATE_STOP, State, build_tree, update_tree
from ledger.steps import Steps, run
from ledger.store import Store
from ledger.transactions import WIRE
from ledger.transactions.envelope import Context, Transaction, get_signatures
from ledger.transition import (
    Room,
    apply_misbehaviour,
    apply_transaction,
    begin_block,
    begin_chain,
    check_transaction,
    end_epoch,
    is_epoch_over,
)
from ledger.types import Epoch, Hash, Height, Key, TimeMs
from ledger.validators import get_validators
from ledger.views import Heights, View

PAUSE_TRANSACTIONS: Final = 100
"""Transactions between two pauses."""

MAX_RECENT: Final = 500_000
"""Decoded records kept between blocks."""

CRASH_POINTS: Final = (
    "init.before_write",
    "init.after_write",
    "finalize.executed",
    "commit.before_write",
    "commit.after_write",
    "commit.done",
)
"""Named places at which a test lets the process die."""


class Executed(NamedTuple):
    """The outcome of a block, before it lasts."""

    input: BlockInput
    codes: tuple[int, ...]
    """For each transaction 0 or the number of its refusal."""
    root: Hash
    ended_epoch: bool
    validators: tuple[Key, ...] | None = None
    """Consensus keys that agree on blocks from now on, ascending, if this block changed them."""


@dataclass(slots=True)
class _Execution:
    """A block as far as it was executed."""

    input: BlockInput
    state: State
    context: Context
    refusals: list[Refusal | None]
    decoded: Sequence[Transaction | Refusal]
    """Each transaction, or why it was refused before it could be checked."""
    built: BuiltList | None = None
    tree: SparseTree = None
    changes: dict[bytes, bytes | None] = field(default_factory=dict)
    header: BlockHeader | None = None
    """Set once the block is finalized, as are the tree and the changes."""


class Chain:
    """A chain in a store. One thread calls it; see the head of this file."""

    def __init__(
        self, store: Store, genesis: bytes, at: Callable[[str], None] = lambda _point: None
    ) -> None:
        """Open the chain that `store` holds, or one that is not initialised yet.

        `at` is called at each of `CRASH_POINTS`. Refuses like `load_genesis` and `check_layout`;
        raises `CorruptStore` where the store does not hold what its tip says.
        """
        self.genesis_bytes = genesis
        self.genesis_hash = sha256(genesis)
        self.store = store
        # a file that was checked when this store was made need not be checked again
        is_known = store.get(GENESIS_KEY) == self.genesis_hash
        self.genesis = GENESIS.decode(genesis) if is_known else load_genesis(genesis)
        self._at = at
        self._recent: dict[bytes, Record | None] = {}
        self._tree: SparseTree = None
        self._built: BuiltList | None = None
        self._heights = Heights()
        self._tip: Tip | None = None
        self._execution: _Execution | None = None
        self._scratch: State | None = None
        self._open()

    # ------------------------------------------------------------------------- start

    def _open(self) -> None:
        check_layout(self.store)
        if (raw := self.store.get(TIP_KEY)) is None:
            return
        tip = TIP.load(raw)
        if self.store.get(GENESIS_KEY) != self.genesis_hash:
            raise Refusal("bad_genesis", why="the store belongs to another network")
        self._tree = build_tree(self.store.items(STATE_START, STATE_STOP))
        if sparse_root(self._tree) != tip.root:
            raise CorruptStore("of this chain", f"its state is not that of height {tip.height}")
        self._check_journal(tip)
        self._adopt(tip, self._tree)

    def _check_journal(self, tip: Tip) -> None:
        """Check that the tip's block is there, and every one before it.

        A damaged database may lose batches in the middle without a word.
        """
        missing = find_gap(self.store, tip.height)
        if missing is not None:
            raise CorruptStore("of this chain", f"its journal has lost block {missing}")
        newest = self.store.get(journal_key(tip.height))
        header = None if newest is None else BLOCK.load(newest).header
        if header and (block_hash(header), header.state_root) != (tip.block_hash, tip.root):
            raise CorruptStore("of this chain", f"its journal has another block {tip.height}")

    def init(self, inheritance: Inheritance | None = None) -> None:
        """Write height 0; done already, it does nothing. Refuses like `begin_chain`."""
        if self._tip is not None:
            return
        state = State(self.store)
        built = run(begin_chain(state, self.genesis_hash, self.genesis, inheritance))
        changes = state.changes()
        tree = run(update_tree(None, changes))
        tip = Tip(0, state.one(EPOCH).start_ms, sparse_root(tree), self.genesis_hash)
        self._at("init.before_write")
        beside = {TIP_KEY: encode(tip), GENESIS_KEY: self.genesis_hash}
        self.store.write(changes | beside, sync=True)
        self._at("init.after_write")
        self._adopt(tip, tree)
        self._built = built

    def _adopt(self, tip: Tip, tree: SparseTree) -> None:
        """Make `tip` the committed state that everything reads from."""
        self._tip = tip
        self._tree = tree
        self._execution = None
        self._scratch = None
        self._heights.add(View(tip, self.store.snapshot(), tree))
        self._params = self.view().state.params()
        if len(self._recent) > MAX_RECENT:
            self._recent.clear()

    # -------------------------------------------------------------------------- info

    @property
    def tip(self) -> Tip:
        """The newest committed block; height 0 is genesis."""
        if self._tip is None:
            raise Misuse("the chain is not initialised: call init first")
        return self._tip

    @property
    def is_initialised(self) -> bool:
        """Whether `init`, or a restore, was done."""
        return self._tip is not None

    def view(self) -> View:
        """Return the newest committed height."""
        return self._heights.newest

    def view_at(self, height: Height) -> View | None:
        """Return one of the newest committed heights; None if it is not kept any more."""
        return self._heights.at(height)

    def end_of(self, epoch: Epoch) -> View | None:
        """Return the height at which an epoch ended; None unless it is kept for proofs."""
        return self._heights.end_of(epoch)

    def newest_header(self) -> SignedHeader:
        """Return the header of the newest ended epoch with the attestations accepted so far."""
        return self.view().newest_header()

    def newest_list(self) -> BuiltList:
        """Return the list that `newest_header` stands for."""
        if self._built is None:
            self._built = run(build_list(self.view().state))
        return self._built

    # ------------------------------------------------------------------ transactions

    def decode(self, raw: bytes) -> Transaction:
        """Return the transaction of `raw`. Refuses like `Wire.decode`."""
        return WIRE.decode(raw)

    def signatures(self, tx: Transaction) -> list[Signed]:
        """Return what has to be verified before `check` may be believed."""
        return get_signatures(self._get_scratch(), tx, self.genesis_hash)

    def next_nonce(self, sender: Key) -> int:
        """Return the nonce that `check` expects of a sender."""
        return self._get_scratch().account(sender).nonce

    def check(self, tx: Transaction) -> None:
        """Check a transaction, its signatures aside, after those that were checked before it.

        What passes counts as sent until the next commit, so that several of one sender fit.
        Refuses with the codes of the transaction's kind.
        """
        state = self._get_scratch()
        context = self._context(self.tip.height + 1, self.tip.time_ms)
        check_transaction(state, tx, context)
        apply_transaction(state, tx, context, 0)

    def peek(self, tx: Transaction) -> None:
        """Check like `check`, but leave no trace: for what costs nothing to its sender."""
        context = self._context(self.tip.height + 1, self.tip.time_ms)
        check_transaction(self._get_scratch(), tx, context)

    def _get_scratch(self) -> State:
        if self._scratch is None:
            self._scratch = self._begin()
        return self._scratch

    def _begin(self) -> State:
        # a picture of the tip: a commit that is being written must not show through
        state = State(self.view().reader, self._recent)
        begin_block(state, self.tip.root)
        return state

    def _context(self, height: Height, time_ms: TimeMs) -> Context:
        return Context(self.genesis_hash, height, time_ms, self._params)

    # ------------------------------------------------------------------------ blocks

    def propose(
        self,
        height: Height,
        time_ms: TimeMs,
        proposer: bytes,
        candidates: Iterable[Transaction],
        misbehaviour: tuple[bytes, ...] = (),
    ) -> Steps[BlockInput]:
        """Return a block of those candidates, in their order, that are valid and fit the limits.

        The signatures of the candidates were verified; the pool holds no others. Refuses with
        `block_height` and `block_time`.
        """
        self._check_place(height, time_ms)
        state = self._begin()
        context = self._context(height, time_ms)
        self._apply_misbehaviour(state, misbehaviour, context)
        room = Room(context)
        chosen: list[Transaction] = []
        for place, tx in enumerate(candidates):
            if place % PAUSE_TRANSACTIONS == PAUSE_TRANSACTIONS - 1:
                yield None
            try:
                room.check(tx)
                check_transaction(state, tx, context)
            except Refusal:
                continue
            apply_transaction(state, tx, context, len(chosen))
            room.take(tx)
            chosen.append(tx)
        block = BlockInput(height, time_ms, proposer, misbehaviour, tuple(tx.raw for tx in chosen))
        self._execution = _Execution(block, state, context, [None] * len(chosen), chosen)
        return block

    def validate(self, block: BlockInput, verified: Container[Hash] = ()) -> Steps[None]:
        """Refuse a block that is not the next one, over a limit, or holds a bad transaction.

        `verified` holds hashes of transactions whose signatures were verified before. Refuses
        with `block_height`, `block_time`, `block_too_large`, `block_transaction`.
        """
        self._check_size(block)
        execution = yield from self._execute(block, verified)
        room = Room(execution.context)
        for index, (tx, refusal) in enumerate(
            zip(execution.decoded, execution.refusals, strict=True)
        ):
            if isinstance(tx, Refusal) or refusal is not None:
                raise Refusal(
                    "block_transaction", index=index, height=block.height, why=str(refusal)
                )
            room.check(tx)
            room.take(tx)

    def _check_size(self, block: BlockInput) -> None:
        """Refuse with `block_too_large` before anything of the block is looked at."""
        params = self._params
        # a BFT engine bounds by itself what it found, and no proposer can leave it out
        pieces = block.misbehaviour if self.genesis.engine == SOLO else ()
        size = sum(map(len, (*block.transactions, *pieces)))
        if size > params.max_block_bytes:
            raise Refusal("block_too_large", limit=params.max_block_bytes, unit="bytes")
        if len(block.transactions) > params.max_block_transactions:
            limit = params.max_block_transactions
            raise Refusal("block_too_large", limit=limit, unit="transactions")

    def finalize(self, block: BlockInput, verified: Container[Hash] = ()) -> Steps[Executed]:
        """Execute a block to its end, for `commit` to make it last.

        Refuses with `block_height` and `block_time`.
        """
        ready = self._execution
        if ready is None or ready.input != block:
            ready = yield from self._execute(block, verified)
        # until it is done nothing is ready: who drops this halfway has it executed anew
        self._execution = None
        if is_epoch_over(ready.state, ready.context) and ready.built is None:
            ready.built = yield from end_epoch(ready.state, ready.context)
        ready.changes = yield from ready.state.encode_changes()
        ready.tree = yield from update_tree(self._tree, ready.changes)
        ready.header = BlockHeader(
            block.height,
            block.time_ms,
            block.proposer,
            link_to(self.tip, self.genesis.engine),
            inputs_hash(block.transactions, block.misbehaviour),
            sparse_root(ready.tree),
        )
        self._execution = ready
        self._at("finalize.executed")
        codes = tuple(0 if refusal is None else refusal.number for refusal in ready.refusals)
        validators = self._changed_validators(ready) if ready.built is not None else None
        return Executed(block, codes, ready.header.state_root, ready.built is not None, validators)

    def _changed_validators(self, ready: _Execution) -> tuple[Key, ...] | None:
        """Return who agrees on blocks after an epoch's end, if these are others than before."""
        after = get_validators(ready.state)
        return None if after == get_validators(self.view().state) else tuple(after)

    def _execute(self, block: BlockInput, verified: Container[Hash]) -> Steps[_Execution]:
        """Run the transactions of a block on a new overlay, and leave the result ready."""
        self._check_place(block.height, block.time_ms)
        state = self._begin()
        context = self._context(block.height, block.time_ms)
        self._apply_misbehaviour(state, block.misbehaviour, context)
        decoded = yield from self._decode_and_verify(state, block.transactions, verified)
        refusals: list[Refusal | None] = []
        for index, outcome in enumerate(decoded):
            if index % PAUSE_TRANSACTIONS == PAUSE_TRANSACTIONS - 1:
                yield None
            if isinstance(outcome, Refusal):
                refusals.append(outcome)
                continue
            try:
                check_transaction(state, outcome, context)
            except Refusal as refusal:
                refusals.append(refusal)
                continue
            apply_transaction(state, outcome, context, index)
            refusals.append(None)
        self._execution = _Execution(block, state, context, refusals, decoded)
        return self._execution

    def _apply_misbehaviour(
        self, state: State, pieces: tuple[bytes, ...], context: Context
    ) -> None:
        """Punish what validators agreed on; one producer's word alone is no proof."""
        if self.genesis.engine != SOLO:
            apply_misbehaviour(state, pieces, context)

    def _decode_and_verify(
        self, state: State, raws: Sequence[bytes], verified: Container[Hash]
    ) -> Steps[list[Transaction | Refusal]]:
        """Decode every transaction and ask for all their signatures in one go."""
        outcomes: list[Transaction | Refusal] = []
        wanted: list[tuple[int, int]] = []
        items: list[Signed] = []
        for index, raw in enumerate(raws):
            if index % PAUSE_TRANSACTIONS == PAUSE_TRANSACTIONS - 1:
                yield None
            try:
                tx = self.decode(raw)
                if tx.hash not in verified:
                    added = get_signatures(state, tx, self.genesis_hash)
                    items += added
                    wanted.append((index, len(added)))
                outcomes.append(tx)
            except Refusal as refusal:
                outcomes.append(refusal)
        answers = iter((yield items) or ()) if items else iter(())
        for index, count in wanted:
            valid = list(islice(answers, count))
            if len(valid) < count or not all(valid):
                outcomes[index] = Refusal("bad_signature")
        return outcomes

    def _check_place(self, height: Height, time_ms: TimeMs) -> None:
        if height != self.tip.height + 1:
            raise Refusal("block_height", height=height, tip=self.tip.height)
        if not self.tip.time_ms < time_ms < 2**63:
            raise Refusal("block_time", time_ms=time_ms, tip_ms=self.tip.time_ms)

    # ------------------------------------------------------------------------ commit

    def header(self) -> BlockHeader:
        """Return the header of the finalized block, which its producer may seal."""
        return self._finalized()[1]

    def _finalized(self) -> tuple[_Execution, BlockHeader]:
        ready = self._execution
        if ready is None or ready.header is None:
            raise Misuse("there is no finalized block")
        return ready, ready.header

    def commit(self, seal: bytes = b"") -> Block:
        """Make the finalized block last, in one synced write, and return it."""
        block, batch = self.begin_commit(seal)
        self._at("commit.before_write")
        self.store.write(batch, sync=True)
        self._at("commit.after_write")
        self.end_commit(block)
        self._at("commit.done")
        return block

    def begin_commit(self, seal: bytes = b"") -> tuple[Block, dict[bytes, bytes | None]]:
        """Return the finalized block and the one batch that makes it last."""
        ready, header = self._finalized()
        if len(seal) > 64 or len(header.proposer) > 32:
            raise Misuse("a seal has 64 bytes at most, a proposer 32")
        block = Block(header, ready.input.misbehaviour, ready.input.transactions, seal)
        tip = Tip(header.height, header.time_ms, header.state_root, block_hash(header))
        batch = dict(ready.changes)
        batch.update(ready.state.archived)
        batch.update(self._locations(ready))
        batch[journal_key(header.height)] = encode(block)
        batch[TIP_KEY] = encode(tip)
        return block, batch

    def _locations(self, ready: _Execution) -> Iterator[tuple[bytes, bytes]]:
        """Yield where each transaction stands; one refused never hides where it was applied."""
        seen: dict[Hash, None] = {}
        for index, (tx, refusal) in enumerate(zip(ready.decoded, ready.refusals, strict=True)):
            raw = ready.input.transactions[index]
            tx_hash = sha256(raw) if isinstance(tx, Refusal) else tx.hash
            key = location_key(tx_hash)
            if refusal is None or (tx_hash not in seen and self.store.get(key) is None):
                code = 0 if refusal is None else refusal.number
                yield key, encode_location(Location(ready.input.height, index, code))
            seen[tx_hash] = None

    def changed_records(self) -> Mapping[bytes, Record | None]:
        """Return the records that the finalized block changes, by store key."""
        return self._finalized()[0].state.changed_records()

    def end_commit(self, block: Block) -> Mapping[bytes, Record | None]:
        """Go on from a block whose batch was written; returns its records by store key."""
        ready, header = self._finalized()
        changed = ready.state.changed_records()
        self._recent.update(changed)
        if ready.built is not None:
            self._built = ready.built
        tip = Tip(header.height, header.time_ms, header.state_root, block_hash(header))
        self._adopt(tip, ready.tree)
        return changed
