"""What an offence costs, and whom: everything but who leaves, in the block that proves it.

- The stake pays that is locked now in the life that held the key at the offence, if all of it was
  there then. What was paid out is never touched, and one epoch of one key is punished once.
- The rewards that waited are paid out first: a penalty takes stake, never rewards.
- A tombstone stays on the node's key for ever. The node leaves at the epoch's end, or has left.
- A key without a node has no stake; its seat among the attestors is what it loses. So the mark
  stands under its list key too, whichever of its keys did it.
"""

from typing import NamedTuple, Protocol

from msgspec.structs import replace

from ledger.errors import Refusal
from ledger.history import PenaltyRow
from ledger.messages.state import AWAITING, DUTY_ROLE, GONE, Binding, Node, Punished
from ledger.messages.tables import BINDINGS, EPOCH, HISTORIES, NODES, POOL, PUNISHED, STARTS
from ledger.nodes import ask_to_leave, close_period, get_staked, get_stakes
from ledger.offences.offence import Offence, Offender
from ledger.params import Params
from ledger.rules.penalties import compute_bounty, compute_penalty, split_penalty
from ledger.state import State, epoch_key
from ledger.types import BASIS_POINTS, Amount, Epoch, Height, Key, TimeMs


class Case(NamedTuple):
    """An offence that may be punished, as the state is now."""

    node: Key
    """The node that the key is bound to; a key without a node is bound to itself."""
    epoch: Epoch
    """Epoch of the offence."""
    place: bytes
    """Key of its record among the punished."""
    record: Node | None
    """The node whose stake pays; None where none is liable any more."""
    penalty: Amount
    """What it costs, atomic units."""


class Moment(Protocol):
    """When an offence is punished, and by which parameters."""

    @property
    def height(self) -> Height:
        """Height of the block that proves it."""

    @property
    def time_ms(self) -> TimeMs:
        """Time of that block."""

    @property
    def params(self) -> Params:
        """Parameters in force."""


def open_case(state: State, offence: Offence, offender: Offender, params: Params) -> Case:
    """Return what an offence costs whom.

    Refuses with `unknown_offender`, `evidence_too_old`, `evidence_early`, `punished_already`,
    `nothing_at_stake`.
    """
    binding = state.get(BINDINGS, offender.key)
    if binding is None or binding.role != offender.role:
        raise Refusal("unknown_offender")
    epoch = _get_epoch(state, offender)
    if not offence.tombstones and epoch > state.one(EPOCH).epoch:
        # a vote ahead of its time says nothing of a node; and it could wait for a later life
        raise Refusal("evidence_early", epoch=epoch)
    place = offender.key + epoch_key(epoch)
    before = state.get(PUNISHED, place)
    if before is not None:
        raise Refusal("punished_already", height=before.height)
    record = _get_liable(state, binding, offender.key, epoch)
    penalty = 0 if record is None else _get_penalty(state, offence, binding.node, record, params)
    # a first tombstone counts without any stake, and so does a seat
    is_new = record is not None and not is_tombstoned(state, binding.node)
    marks = offence.tombstones and (is_new or not is_barred(state, offender.key))
    if not penalty and not marks:
        raise Refusal("nothing_at_stake")
    return Case(binding.node, epoch, place, record, penalty)


def _get_penalty(state: State, offence: Offence, key: Key, node: Node, params: Params) -> Amount:
    """Return what an offence takes from a node.

    What costs a little each time costs nothing more once the node has to leave for it, so that a
    stolen duty key cannot burn a whole stake.
    """
    if not offence.tombstones and is_below_floor(node, params):
        return 0
    return compute_penalty(
        get_staked(node),
        node.taken,
        offence.get_share(params),
        is_difference=offence.tombstones or is_tombstoned(state, key),
    )


def _get_epoch(state: State, offender: Offender) -> Epoch:
    """Return the epoch of an offence, if it is not past the age of evidence.

    One of an epoch to come counts: it was signed by now.
    """
    first = next(state.items(STARTS), None)
    oldest = 0 if first is None else int.from_bytes(first[0], "big")
    epoch = _epoch_at(state, offender.time_ms) if offender.epoch is None else offender.epoch
    if epoch < oldest:
        raise Refusal("evidence_too_old", epoch=max(0, epoch))
    return epoch


def _epoch_at(state: State, time_ms: TimeMs) -> Epoch:
    """Return the epoch of a block's time; -1 where none is kept that is so old.

    An epoch starts with the last block of the one before. An engine's first block has the time of
    genesis.
    """
    found = -1
    for key, row in state.items(STARTS):
        is_first = row.start_ms == time_ms and key == epoch_key(0)
        if row.start_ms >= time_ms and not is_first:
            break
        found = int.from_bytes(key, "big")
    return found


def _get_liable(state: State, binding: Binding, key: bytes, epoch: Epoch) -> Node | None:
    """Return the node whose stake stood behind a key in an epoch and is still locked.

    Votes of a duty key for epochs in which the node had changed it are void: so changing a key that
    has leaked ends what it can cost.
    """
    node = state.get(NODES, binding.node)
    if node is None or node.state == AWAITING or epoch < node.liable_from:
        return None
    is_void = binding.role == DUTY_ROLE and key != node.duty_key and epoch >= node.keys_epoch
    return None if is_void else node


def is_barred(state: State, key: bytes) -> bool:
    """Whether a key lost its seat for good: it was punished itself, or its node is tombstoned."""
    row = next(state.items(PUNISHED, key), None)
    if row is not None and row[0][: len(key)] == key:
        return True
    binding = state.get(BINDINGS, key)
    return binding is not None and is_tombstoned(state, binding.node)


def is_tombstoned(state: State, node: Key) -> bool:
    """Whether a node key was slashed for what it never returns from."""
    history = state.get(HISTORIES, node)
    return history is not None and bool(history.tombstoned)


def punish(
    state: State, offence: Offence, case: Case, moment: Moment, reporter: Key | None
) -> PenaltyRow:
    """Take what an offence costs, mark the key, start the exit; return what is kept of it."""
    height, time_ms, params = moment.height, moment.time_ms, moment.params
    state.put(PUNISHED, Punished(offence.number, height, case.penalty), case.place)
    if offence.tombstones:
        _tombstone(state, case)
    if case.record is None:
        return PenaltyRow(offence.number, case.node, case.epoch, 0, 0)
    closed = close_period(state, case.record)
    parts = split_penalty(get_stakes(closed), case.penalty)
    node = replace(
        closed,
        taken=closed.taken + case.penalty,
        contributions=tuple(
            replace(c, amount=c.amount - part)
            for c, part in zip(closed.contributions, parts, strict=True)
        ),
    )
    bounty = 0
    if reporter is not None:
        bounty = compute_bounty(parts[0], params.bounty_share, params.bounty_cap)
        state.credit(reporter, bounty)
    pool = state.one(POOL)
    state.put(POOL, replace(pool, balance=pool.balance + case.penalty - bounty))
    has_to_leave = offence.tombstones or is_below_floor(node, params)
    if has_to_leave and node.state not in GONE:
        node = ask_to_leave(state, case.node, node, time_ms, at_once=offence.tombstones)
    state.put(NODES, node, case.node)
    return PenaltyRow(offence.number, case.node, case.epoch, case.penalty, bounty)


def _tombstone(state: State, case: Case) -> None:
    """Mark a node's key, or a list key without a node.

    A later life than the one that is liable is left alone.
    """
    history = state.get(HISTORIES, case.node)
    if history is None:
        place = case.node + epoch_key(case.epoch)
        if state.get(PUNISHED, place) is None:
            state.put(PUNISHED, state.one(PUNISHED, case.place), place)
        return
    is_later = case.record is None and state.get(NODES, case.node) is not None
    if not is_later:
        state.put(HISTORIES, replace(history, tombstoned=1), case.node)


def is_below_floor(node: Node, params: Params) -> bool:
    """Whether penalties left a node with too little stake to go on."""
    staked = get_staked(node)
    return staked * BASIS_POINTS < (staked + node.taken) * params.stake_floor
