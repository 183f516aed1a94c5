"""One block: its transactions, and at an epoch's end the steps of `EPOCH_STEPS`.

- A transaction is checked, then applied; a refused one changes nothing.
- Once a header names the network's successor, only what makes it final is taken.
- The first block of an epoch stores the header that the epoch before left as a draft.
- The epoch ends with the first block whose time is at least its start + `epoch_ms`.
- The active set, contact data and swarms change in `EPOCH_STEPS` and nowhere else.
- What a BFT engine found is punished before the first transaction; `solo` can find nothing.
"""

from collections.abc import Generator

from ledger.codec import encode
from ledger.epochs import EPOCH_STEPS
from ledger.epochs.activations import apply_swarms
from ledger.epochs.begin import make_header, write_roster, write_start
from ledger.epochs.ending import Ending
from ledger.errors import Refusal
from ledger.genesis import write_genesis
from ledger.history import ENGINE_INDEX, penalty_key, subtree_key
from ledger.inheritance import Inheritance, inherit, read_inherited
from ledger.lists import BuiltList, complete_header, read_swarms, store_header
from ledger.messages.evidence import MISBEHAVIOUR
from ledger.messages.genesis import Genesis
from ledger.messages.tables import DRAFT, EPOCH
from ledger.offences import BLOCK_EQUIVOCATION
from ledger.offences.punish import open_case, punish
from ledger.state import State
from ledger.succession import check_not_moved
from ledger.transactions.envelope import Context, Transaction, apply_envelope, check_envelope
from ledger.types import Hash, Key


def begin_chain(
    state: State, genesis_hash: Hash, genesis: Genesis, inheritance: Inheritance | None
) -> Generator[None, None, BuiltList]:
    """Write the state of height 0: of the genesis file alone, or with what it inherits.

    Refuses like `read_inherited` and `inherit`.
    """
    old = read_inherited(genesis_hash, genesis, inheritance)
    first = begin_genesis(state, genesis) if old is None else begin_succession(state, genesis, old)
    return (yield from first)


def begin_genesis(state: State, genesis: Genesis) -> Generator[None, None, BuiltList]:
    """Write the state of a genesis file and end epoch 0 with it."""
    newcomers = write_genesis(state, genesis)
    return (yield from _end_epoch_zero(state, genesis, newcomers))


def begin_succession(
    state: State, genesis: Genesis, old: State
) -> Generator[None, None, BuiltList]:
    """Write the last state of another network as that of a genesis file, and end epoch 0 with it.

    Refuses like `inherit`.
    """
    inherit(state, genesis, old)
    return (yield from _end_epoch_zero(state, genesis, ()))


def _end_epoch_zero(
    state: State, genesis: Genesis, newcomers: tuple[Key, ...]
) -> Generator[None, None, BuiltList]:
    time_ms = state.one(EPOCH).start_ms
    ending = Ending(0, 0, time_ms, state.params(), genesis.seed, newcomers=newcomers)
    if newcomers:
        yield from apply_swarms(state, ending)
    else:
        ending.swarm_of = yield from read_swarms(state)
    yield from write_roster(state, ending)
    yield from write_start(state, ending)
    return (yield from make_header(state, ending))


def begin_block(state: State, state_root: Hash) -> None:
    """Store the header whose draft the block before left; `state_root` is the root after it."""
    draft = state.get(DRAFT)
    if draft is None:
        return
    for subtree, root in store_header(state, complete_header(draft.header, state_root)):
        state.archived[subtree_key(subtree)] = root
    state.delete(DRAFT)


def apply_misbehaviour(state: State, pieces: tuple[bytes, ...], context: Context) -> None:
    """Punish what a BFT engine found; what is nothing, or nothing new, has no effect."""
    for place, raw in enumerate(pieces):
        try:
            offender = BLOCK_EQUIVOCATION.identify(MISBEHAVIOUR.decode(raw))
            case = open_case(state, BLOCK_EQUIVOCATION, offender, context.params)
        except Refusal:
            continue
        row = punish(state, BLOCK_EQUIVOCATION, case, context, reporter=None)
        state.archived[penalty_key(context.height, ENGINE_INDEX - place)] = encode(row)


def check_transaction(state: State, tx: Transaction, context: Context) -> None:
    """Check everything but signatures.

    Refuses with `network_moved`, and with the codes of the envelope and the kind.
    """
    check_not_moved(state, is_finishing=tx.kind.is_finishing(tx.body))
    check_envelope(state, tx, context)
    tx.kind.check(state, tx, context)


def apply_transaction(state: State, tx: Transaction, context: Context, index: int) -> None:
    """Apply a checked transaction that stands at `index` in its block."""
    apply_envelope(state, tx)
    tx.kind.apply(state, tx, context, index)


class Room:
    """What of a block's limits is left."""

    def __init__(self, context: Context) -> None:
        self._params = context.params
        self._bytes = context.params.max_block_bytes
        self._transactions = context.params.max_block_transactions
        self._free = context.params.max_free_transactions

    def check(self, tx: Transaction) -> None:
        """Refuses with `block_too_large`."""
        params = self._params
        if len(tx.raw) > self._bytes:
            raise Refusal("block_too_large", limit=params.max_block_bytes, unit="bytes")
        if self._transactions < 1:
            limit = params.max_block_transactions
            raise Refusal("block_too_large", limit=limit, unit="transactions")
        if self._free < 1 and tx.kind.is_free:
            limit = params.max_free_transactions
            raise Refusal("block_too_large", limit=limit, unit="free transactions")

    def take(self, tx: Transaction) -> None:
        """Count a transaction in."""
        self._bytes -= len(tx.raw)
        self._transactions -= 1
        self._free -= tx.kind.is_free


def is_epoch_over(state: State, context: Context) -> bool:
    """Whether a block at this time ends the running epoch."""
    return context.time_ms >= state.one(EPOCH).start_ms + context.params.epoch_ms


def end_epoch(state: State, context: Context) -> Generator[None, None, BuiltList]:
    """Run every step of the epoch's end, in order; returns the list that comes out."""
    running = state.one(EPOCH)
    ending = Ending(running.epoch, context.height, context.time_ms, context.params, running.seed)
    for step in EPOCH_STEPS:
        yield from step(state, ending)
    return (yield from make_header(state, ending))
