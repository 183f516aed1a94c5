"""How a network begins with the last state of another one, its predecessor.

- What is inherited is the state at the end of the predecessor's last epoch: the one that its last
  header names, which names us as the successor. Whoever brings it has verified that header.
- What people own and are owed stays to the unit: balances, stakes, rewards, credit, and the time
  of whatever was to come. Times stay; epochs are counted anew from the last one, which is our 0.
- What was said under the predecessor's rules, and was not settled, begins anew: verdicts, runs of
  failing epochs, announcements. Its signatures say nothing here, so no evidence of it counts.
- Whom the genesis file names as founders is in force whatever happened since the file was made:
  what others do meanwhile must not keep a network from beginning. Stake stands behind the seat of
  a founder whose keys a node names as its own, by its own word, and behind no other.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.genesis import write_beginning
from ledger.history import read_records
from ledger.lists import complete_header
from ledger.merkle import sparse_root
from ledger.messages.genesis import Genesis, GenesisAttestor
from ledger.messages.lists import ListHeader, decode_header, encode_header
from ledger.messages.state import (
    CONSENSUS_ROLE,
    DECOMMISSIONED,
    GONE,
    LIST_ROLE,
    ON_DUTY,
    ROLES,
    Chainlink,
    KeyHistory,
    Node,
)
from ledger.messages.tables import (
    ABSENCES,
    ACCOUNTS,
    ATTESTATIONS,
    BINDINGS,
    CHAINLINKS,
    CONTACTS,
    DRAFT,
    EPOCH,
    EXITS,
    FAILING,
    HEADER,
    HEADERS,
    HISTORIES,
    MATURES,
    NEW_KEYS,
    NODES,
    PARAMS,
    PAYOUTS,
    PENDING,
    POOL,
    PUNISHED,
    QUEUE,
    ROSTERS,
    SETS,
    STARTS,
    SUCCESSION,
    SWARMS,
    VALIDATORS,
    VERDICTS,
    Table,
)
from ledger.nodes import bind, consensus_address
from ledger.offences.punish import is_barred
from ledger.params import Params, check_fixed
from ledger.state import State, build_tree, epoch_key
from ledger.store import MemoryStore
from ledger.types import Epoch, Hash, Key

EPOCH_BYTES: Final = 8
"""Length of the epoch at the end of the key of what was punished."""


class Inheritance(NamedTuple):
    """What a network with a predecessor begins with."""

    genesis: bytes
    """The predecessor's genesis file."""
    header: bytes
    """Its last header, 342 bytes. Who brings it has verified that it is final."""
    chunks: Iterable[bytes]
    """The state that this header names, as `ledger.history.iterate_chunks` cuts it."""


# ---------------------------------------------------------------------------- what is brought


def read_inherited(
    genesis_hash: Hash, genesis: Genesis, inheritance: Inheritance | None
) -> State | None:
    """Return the state that a network begins with; None for one without a predecessor.

    Refuses with `inheritance_missing`, `bad_inheritance` (of another network, for another one, not
    what its header names), and with `not_canonical`, `too_large` and `bad_header` what is no chunk
    or header at all.
    """
    if inheritance is None:
        if genesis.predecessor:
            raise Refusal("inheritance_missing", predecessor=genesis.predecessor.hex())
        return None
    if sha256(inheritance.genesis) != genesis.predecessor:
        raise Refusal("bad_inheritance", why="it is not that of this network's predecessor")
    header = decode_header(inheritance.header)
    if header.successor != genesis_hash:
        raise Refusal("bad_inheritance", why="its last header names another successor")
    records = read_records(inheritance.chunks)
    if records is None:
        raise Refusal("bad_inheritance", why="its records are out of order")
    if sparse_root(build_tree(records.items())) != header.state_root:
        raise Refusal("bad_inheritance", why="its records do not have the root of its last header")
    old = State(MemoryStore(records))
    _check_is_the_end(old, header)
    return old


def _check_is_the_end(old: State, header: ListHeader) -> None:
    """Check that a state is the one at whose making the header was drafted."""
    draft = old.get(DRAFT)
    drafted = b"" if draft is None else complete_header(draft.header, header.state_root)
    if drafted != encode_header(header):
        raise Refusal("bad_inheritance", why="its last header was not drafted in its state")


# ----------------------------------------------------------------------------- what comes of it


class Rule(NamedTuple):
    """What becomes of one table."""

    table: Table[Any]
    take: Callable[[State, Table[Any], Epoch], Iterator[tuple[bytes, Any]]]
    """Yields the records with which the table begins, from the old state and its last epoch."""


def inherit(state: State, genesis: Genesis, old: State) -> None:
    """Write the first records of a network that begins with the state `old`.

    Refuses with `parameter_fixed` where the file's parameters break what the predecessor promised,
    and with `key_in_use` where a founder's key is bound in another role there.
    """
    running = old.one(EPOCH)
    # the epoch that ended; its header was drafted with this state
    last = running.epoch - 1
    check_fixed(old.params(), Params(*genesis.params))
    for table, take in RULES:
        for key, record in take(old, table, last):
            state.put(table, record, key)
    time_ms = max(genesis.start_ms, running.start_ms)
    # a change of rules like any other: for a time nobody is removed
    write_beginning(state, genesis, time_ms, changed_ms=time_ms)
    for seat in genesis.attestors:
        _write_seat(state, seat)


def keep(old: State, table: Table[Any], _last: Epoch) -> Iterator[tuple[bytes, Any]]:
    """Yield every record as it is."""
    return old.items(table)


def begin_anew(_old: State, _table: Table[Any], _last: Epoch) -> Iterator[tuple[bytes, Any]]:
    """Yield nothing: what the table holds is of the predecessor's epochs and rules."""
    return iter(())


def be_empty(old: State, table: Table[Any], _last: Epoch) -> Iterator[tuple[bytes, Any]]:
    """Yield nothing, since an epoch's end leaves nothing there. Refuses with `bad_inheritance`."""
    if any(True for _ in old.items(table)):
        raise Refusal("bad_inheritance", why=f"something waits for the epoch's end: {table.name}")
    return iter(())


def rebase_nodes(old: State, table: Table[Any], last: Epoch) -> Iterator[tuple[bytes, Any]]:
    """Yield the nodes with their epochs and heights as this network counts them."""
    for key, node in old.items(table):
        yield key, _rebase(node, last)


def _rebase(node: Node, last: Epoch) -> Node:
    return replace(
        node,
        since_height=0,
        registered_height=0,
        liable_from=max(0, node.liable_from - last),
        # no verdict can be of an epoch before 1; 0 is that of no epoch
        tested_from=max(1, node.tested_from - last) if node.tested_from else 0,
        # a key that was replaced there signs nothing here
        former_duty_key=b"",
        keys_epoch=0,
    )


def renumber_queue(old: State, table: Table[Any], _last: Epoch) -> Iterator[tuple[bytes, Any]]:
    """Yield the queue in its order, at places of height 0, before those who come later."""
    for place, (_, queued) in enumerate(old.items(table)):
        yield bytes(8) + place.to_bytes(4, "big"), queued


def keep_down(old: State, table: Table[Any], _last: Epoch) -> Iterator[tuple[bytes, Any]]:
    """Yield the count of each decommissioned node; of active ones the run of failures is broken.

    The newest failing epoch is the last one or before, so it becomes 0: who waits for quiet windows
    to come back waits for all of them.
    """
    for key, failing in old.items(table):
        if old.one(NODES, key).state == DECOMMISSIONED:
            yield key, replace(failing, newest=0)


def keep_barred(old: State, table: Table[Any], _last: Epoch) -> Iterator[tuple[bytes, Any]]:
    """Yield the newest penalty of each list key and consensus address, as one of epoch 0.

    So these keys stay barred. A duty key is not: its penalties only kept an epoch of the
    predecessor from being punished twice.
    """
    newest = {key[:-EPOCH_BYTES]: row for key, row in old.items(table)}
    for key, row in newest.items():
        if old.one(BINDINGS, key).role in (LIST_ROLE, CONSENSUS_ROLE):
            yield key + epoch_key(0), replace(row, height=0)


RULES: Final = (
    Rule(ACCOUNTS, keep),
    Rule(POOL, keep),
    Rule(NODES, rebase_nodes),
    Rule(HISTORIES, keep),
    Rule(BINDINGS, keep),
    Rule(CONTACTS, keep),
    Rule(SWARMS, keep),
    Rule(EXITS, keep),
    Rule(PAYOUTS, keep),
    Rule(MATURES, keep),
    Rule(QUEUE, renumber_queue),
    Rule(FAILING, keep_down),
    Rule(PUNISHED, keep_barred),
    Rule(CHAINLINKS, keep),
    Rule(PENDING, be_empty),
    Rule(NEW_KEYS, be_empty),
    Rule(ATTESTATIONS, be_empty),
    Rule(VERDICTS, begin_anew),
    Rule(ROSTERS, begin_anew),
    Rule(STARTS, begin_anew),
    Rule(EPOCH, begin_anew),
    Rule(HEADER, begin_anew),
    Rule(DRAFT, begin_anew),
    Rule(HEADERS, begin_anew),
    Rule(SETS, begin_anew),
    Rule(VALIDATORS, begin_anew),
    Rule(ABSENCES, begin_anew),
    Rule(PARAMS, begin_anew),
    Rule(SUCCESSION, begin_anew),
)
"""What becomes of every table of the state. A test holds it complete."""


# ------------------------------------------------------------------------------- the founders


def _write_seat(state: State, seat: GenesisAttestor) -> None:
    """Bind the keys of a founder, and begin its hash chain."""
    if not _is_named(state, seat):
        _take_over(state, LIST_ROLE, seat.list_key, seat.list_key)
        if seat.consensus_key:
            _take_over(state, CONSENSUS_ROLE, seat.consensus_key, seat.list_key)
    link = state.get(CHAINLINKS, seat.list_key)
    # a chain that was in use goes on: what it revealed is known to everybody
    if link is None or not _comes_from(link, seat.tip):
        state.put(CHAINLINKS, Chainlink(seat.tip, 0), seat.list_key)


def _is_named(state: State, seat: GenesisAttestor) -> bool:
    """Whether the record of a node names the keys of a seat, so that its stake is behind them.

    One that waits to be active may go at any time, with all of its stake.
    """
    binding = state.get(BINDINGS, seat.list_key)
    node = None if binding is None else state.get(NODES, binding.node)
    if node is None or node.state not in (*ON_DUTY, *GONE) or node.list_key != seat.list_key:
        return False
    return not seat.consensus_key or node.consensus_key == seat.consensus_key


def _take_over(state: State, role: int, key: Key, seat: Key) -> None:
    """Bind a key to the seat of a list key; a node that had named it has no keys of an attestor."""
    before = state.get(BINDINGS, key)
    if before is None:
        bind(state, role, key, seat)
        return
    if before.role != role:
        raise Refusal("key_in_use", role=ROLES[role])
    node = state.get(NODES, before.node)
    if node is not None and key in (node.list_key, node.consensus_key):
        bare = replace(node, list_key=b"", list_tip=b"", consensus_key=b"")
        state.put(NODES, bare, before.node)
    if any(is_barred(state, each) for each in (key, consensus_address(key), before.node)):
        # the bar must not be lost with the binding
        state.put(HISTORIES, KeyHistory(0, 0, 1), seat)
    bind(state, role, key, seat)


def _comes_from(link: Chainlink, tip: Hash) -> bool:
    """Whether a tip is one of the values of a hash chain that are public: of its first to now."""
    value = link.value
    for _ in range(link.accepted):
        if value == tip:
            return True
        value = sha256(value)
    return value == tip
