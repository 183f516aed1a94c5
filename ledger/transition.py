"""One block: its transactions, and at an epoch's end the steps of `EPOCH_STEPS`.

- A transaction is checked, then applied; a refused one changes nothing.
- The first block of an epoch stores the header that the epoch before left as a draft.
- The epoch ends with the first block whose time is at least its start + `epoch_ms`.
- The active set, contact data and swarms change in `EPOCH_STEPS` and nowhere else.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from msgspec.structs import replace

from ledger.errors import Refusal
from ledger.genesis import write_genesis
from ledger.history import final_key
from ledger.lists import (
    BuiltList,
    build_list,
    complete_header,
    draft_header,
    get_signed_header,
    store_header,
)
from ledger.messages.genesis import Genesis
from ledger.messages.lists import MAX_NODES, encode_signed_header
from ledger.messages.state import (
    ACTIVE,
    EXITED,
    AttestorSets,
    Due,
    EpochState,
    Node,
    RawHeader,
    Swarm,
)
from ledger.params import Params
from ledger.rules.queues import activation_limit, exit_limit, order_by_turns
from ledger.rules.seeds import compute_next_seed, swarm_seed
from ledger.rules.swarms import UNASSIGNED, reassign
from ledger.state import (
    ATTESTATIONS,
    CONTACTS,
    DRAFT,
    EPOCH,
    EXITS,
    NODES,
    PAYOUTS,
    PENDING,
    QUEUE,
    SETS,
    SWARMS,
    State,
    Table,
    due_key,
)
from ledger.transactions.envelope import Context, Transaction, apply_envelope, check_envelope
from ledger.types import Epoch, Hash, Height, Key, TimeMs

PAUSE_RECORDS: Final = 500
"""Records between two pauses: some milliseconds of work."""

Pauses = Generator[None, None, None]
"""Work that can be interrupted at each `yield`; what runs in between changes no state."""


def begin_genesis(state: State, genesis: Genesis) -> Generator[None, None, BuiltList]:
    """Write the state of a genesis file and end epoch 0 with it."""
    newcomers = write_genesis(state, genesis)
    ending = Ending(0, 0, genesis.start_ms, state.params(), genesis.seed, newcomers)
    if newcomers:
        yield from apply_swarms(state, ending)
    return (yield from make_header(state, ending))


def begin_block(state: State, state_root: Hash) -> None:
    """Store the header whose draft the block before left; `state_root` is the root after it."""
    draft = state.get(DRAFT)
    if draft is None:
        return
    store_header(state, complete_header(draft.header, state_root))
    state.delete(DRAFT)


def check_transaction(state: State, tx: Transaction, context: Context) -> None:
    """Check everything but signatures. Refuses with the codes of the envelope and the kind."""
    check_envelope(state, tx, context)
    tx.kind.check(state, tx, context)


def apply_transaction(state: State, tx: Transaction, context: Context, index: int) -> None:
    """Apply a checked transaction that stands at `index` in its block."""
    apply_envelope(state, tx)
    tx.kind.apply(state, tx, context, index)


class Room:
    """What of a block's limits is left."""

    def __init__(self, context: Context, taken: int = 0) -> None:
        self._params = context.params
        self._bytes = context.params.max_block_bytes - taken
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


# ----------------------------------------------------------------------- the epoch's end


@dataclass(slots=True)
class Ending:
    """What the steps of one epoch's end hand to each other."""

    epoch: Epoch
    """The epoch that ends."""
    height: Height
    time_ms: TimeMs
    params: Params
    seed: Hash
    """Seed of the epoch that ends; from `apply_seed` on that of the next."""
    newcomers: tuple[Key, ...] = ()
    """Nodes activated at this end, or at genesis those that have no swarm yet."""

    def enter(self, node: Node, into: int) -> Node:
        """Return a node that enters another state at this end."""
        return replace(node, state=into, since_ms=self.time_ms, since_height=self.height)


def apply_seed(state: State, ending: Ending) -> Pauses:
    """Mix the accepted reveals into the next seed, in index order."""
    reveals = [(key[0], record.reveal) for key, record in state.items(ATTESTATIONS)]
    ending.seed = compute_next_seed(ending.seed, reveals)
    yield


def freeze_attestations(state: State, ending: Ending) -> Pauses:
    """Move the header and its attestations from the state to the history."""
    signed = get_signed_header(state)
    state.archived[final_key(ending.epoch - 1)] = encode_signed_header(signed)
    for index, _ in signed.signatures:
        state.delete(ATTESTATIONS, bytes([index]))
    yield


def apply_exits(state: State, ending: Ending) -> Pauses:
    """End the duty of the nodes that may leave, by the time of that, up to an epoch's limit."""
    due = [(place, row.node) for place, row in _due(state, EXITS, ending.time_ms)]
    if not due:
        return
    limit = exit_limit((yield from _count_active(state)))
    payout_ms = ending.time_ms + ending.params.unbonding_ms
    for count, (place, key) in enumerate(due[:limit], 1):
        node = state.one(NODES, key)
        state.put(NODES, ending.enter(node, EXITED), key)
        state.put(PAYOUTS, Due(key), due_key(payout_ms, key))
        state.delete(EXITS, place)
        state.delete(SWARMS, key)
        if count % PAUSE_RECORDS == 0:
            yield


def apply_payouts(state: State, ending: Ending) -> Pauses:
    """Give back the stake of exited nodes whose time has come, and end their lives."""
    for count, (place, row) in enumerate(list(_due(state, PAYOUTS, ending.time_ms)), 1):
        for contribution in state.one(NODES, row.node).contributions:
            state.credit(contribution.account, contribution.amount)
        state.delete(NODES, row.node)
        state.delete(CONTACTS, row.node)
        state.delete(PENDING, row.node)
        state.delete(PAYOUTS, place)
        if count % PAUSE_RECORDS == 0:
            yield


def _due(state: State, table: Table[Due], time_ms: TimeMs) -> Iterator[tuple[bytes, Due]]:
    """Yield what of a queue is due, by ascending time and node key."""
    return takewhile(lambda item: item[0] < due_key(time_ms + 1, b""), state.items(table))


def apply_contacts(state: State, _ending: Ending) -> Pauses:
    """Put pending contact data in force."""
    for place, (key, pending) in enumerate(list(state.items(PENDING)), 1):
        state.put(CONTACTS, pending.contact, key)
        state.delete(PENDING, key)
        if place % PAUSE_RECORDS == 0:
            yield


def apply_activations(state: State, ending: Ending) -> Pauses:
    """Activate queued nodes, operators in turns, up to the limit of an epoch."""
    queue = [(place, entry.node) for place, entry in state.items(QUEUE)]
    place_of = {node: place for place, node in queue}
    if not queue:
        return
    active = yield from _count_active(state)
    limit = activation_limit(
        active, ending.params.activation_floor, ending.params.activation_share, MAX_NODES
    )
    yield
    turns = order_by_turns((node, state.one(NODES, node).operator) for _, node in queue)
    for count, key in enumerate(turns[:limit], 1):
        state.put(NODES, ending.enter(state.one(NODES, key), ACTIVE), key)
        state.delete(QUEUE, place_of[key])
        if count % PAUSE_RECORDS == 0:
            yield
    ending.newcomers = tuple(turns[:limit])


def _count_active(state: State) -> Generator[None, None, int]:
    count = 0
    for count, _ in enumerate(state.items(SWARMS), 1):
        if count % PAUSE_RECORDS == 0:
            yield
    return count


def apply_swarms(state: State, ending: Ending) -> Pauses:
    """Give newcomers a swarm; every epoch, since others may have left one."""
    swarm_of: dict[Key, int] = {}
    for place, (key, swarm) in enumerate(state.items(SWARMS), 1):
        swarm_of[key] = swarm.swarm_id
        if place % PAUSE_RECORDS == 0:
            yield
    before = dict(swarm_of)
    for key in ending.newcomers:
        swarm_of[key] = UNASSIGNED
    after = reassign(swarm_of, swarm_seed(ending.seed))
    yield
    for place, (key, swarm_id) in enumerate(sorted(after.items()), 1):
        if before.get(key) != swarm_id:
            state.put(SWARMS, Swarm(swarm_id), key)
        if place % PAUSE_RECORDS == 0:
            yield


def apply_attestors(state: State, _ending: Ending) -> Pauses:
    """Let the next set take over; under the policy `fixed` it is the same one."""
    sets = state.one(SETS)
    if sets.current != sets.next:
        state.put(SETS, AttestorSets(sets.next, sets.next))
    yield


def make_header(state: State, ending: Ending) -> Generator[None, None, BuiltList]:
    """Build the list, leave the header's draft, and begin the next epoch: the last step."""
    built = yield from build_list(state)
    draft = draft_header(state, built, ending.epoch, ending.height, ending.time_ms, ending.seed)
    state.put(DRAFT, RawHeader(draft))
    state.put(EPOCH, EpochState(ending.epoch + 1, ending.time_ms, ending.height, ending.seed))
    return built


EPOCH_STEPS: Final[tuple[Callable[[State, Ending], Pauses], ...]] = (
    apply_seed,
    freeze_attestations,
    apply_exits,
    apply_payouts,
    apply_contacts,
    apply_activations,
    apply_swarms,
    apply_attestors,
)
"""An epoch's end: the order is the specification; `make_header` comes last."""
