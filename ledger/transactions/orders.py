"""Rules that change: `set_attestors` and `set_params`; and the end, `set_successor`.

- An order carries the signatures of more than two thirds of the current attestors' weight; whoever
  sends it pays, and decides nothing.
- A key of a node can have a seat while the node is on duty: so there is stake behind it.
- Where the registry fills the seats, attestors order no set. There, and under an engine that has
  validators, every seat of an order has the weight 1, and no node has two; and what signs blocks
  has to be known of each seat, since an order brings no consensus key.
- A set is announced as the next one when its time has come, at most every `set_change_ms`, and may
  move one seat or a tenth of the weight. It takes over once the header that names it is final.
- The recovery keys of genesis, more than two thirds of them, may replace the set at the end of the
  running epoch, whatever was announced: for when the attestors are lost.
- Other parameters are in force after at least one unbonding time. What clients and locked stake
  rely on never changes, and stake is never locked for less.
- A successor is named after at least two unbonding times: one to ask to leave, one for the payout.
  Who withdraws it names its time, and the next one comes later: an order counts once, however
  often it is sent.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import Signed, is_public_key, sha256, signing_bytes
from ledger.errors import Refusal
from ledger.history import RecoveryRow, recovery_key
from ledger.messages import tags
from ledger.messages.genesis import REGISTRY
from ledger.messages.lists import Attestor, attestor_set_hash, is_final
from ledger.messages.state import LIST_ROLE, AttestorSets, Binding, Succession
from ledger.messages.tables import BINDINGS, CHAINLINKS, EPOCH, PARAMS, SETS, SUCCESSION
from ledger.messages.transactions import (
    BY_ATTESTORS,
    BY_RECOVERY,
    ParamsOrder,
    Seat,
    SetAttestors,
    SetOrder,
    SetParams,
    SetSuccessor,
    Signer,
)
from ledger.nodes import is_off_duty
from ledger.offences.punish import is_barred
from ledger.params import PARAMETERS, Params, check_fixed, validate_params
from ledger.rules.attestors import compute_turnover, earliest_change, turnover_limit
from ledger.state import State
from ledger.succession import get_succession
from ledger.transactions.envelope import Context, Transaction
from ledger.types import ZERO_HASH, Amount, Hash, Key, TimeMs
from ledger.validators import find_consensus_key, get_holder, has_validators, is_missing

MOST_NOTICE_MS: Final = 30 * 86_400_000
"""How much later than it could be an order may begin: while one waits, no other is taken, and one
that was signed and not sent is good for no longer."""

# ------------------------------------------------------------------------- set_attestors


def check_set_attestors(state: State, tx: Transaction, context: Context) -> None:
    """Refuses with `bad_order`, `too_few_signers`, `bad_key`, `key_in_use`, `key_barred`,
    `not_on_duty`, `change_pending`, `change_too_soon`, `turnover_too_high`.
    """
    body: SetAttestors = tx.body
    sets = state.one(SETS)
    if body.authority == BY_ATTESTORS and sets.policy == REGISTRY:
        raise Refusal("bad_order", why="the registry fills the seats of this network")
    voters = _get_voters(sets, body.authority)
    if not voters:
        raise Refusal("bad_order", why="this network has no recovery keys")
    check_signers(body.signers, voters)
    _check_seats(state, body.seats, context.params)
    if sets.policy == REGISTRY or has_validators(state):
        _check_equal_seats(state, body.seats)
    if body.authority == BY_RECOVERY:
        _check_recovery(state, sets, body)
    else:
        _check_change(sets, body, context)


def _get_voters(sets: AttestorSets, authority: int) -> Mapping[Key, int]:
    """Return the weight of each key that may sign an order."""
    if authority == BY_RECOVERY:
        return dict.fromkeys(sets.recovery, 1)
    return {member.list_key: member.weight for member in sets.current}


def check_signers(signers: Sequence[Signer], voters: Mapping[Key, int]) -> None:
    """Check who signed. Refuses with `bad_order` and `too_few_signers`.

    Signers are named by their keys, so that a signature stays good or bad whoever may sign now.
    """
    keys = [signer.key for signer in signers]
    if keys != sorted(set(keys)) or any(key not in voters for key in keys):
        raise Refusal("bad_order", why="its signers are not keys that may sign it, ascending")
    weight, total = sum(voters[key] for key in keys), sum(voters.values())
    if not is_final(weight, total):
        raise Refusal("too_few_signers", weight=weight, total=total)


def _check_seats(state: State, seats: Sequence[Seat], params: Params) -> None:
    keys = [seat.list_key for seat in seats]
    for holds, why in (
        (keys == sorted(set(keys)), "its seats are not in ascending order, once each"),
        (all(seat.weight for seat in seats), "a seat has no weight"),
        (all((len(s.tip), len(s.proof)) in ((0, 0), (32, 64)) for s in seats),
         "a tip and its proof come together"),
        (all(s.tip or state.get(CHAINLINKS, s.list_key) is not None for s in seats),
         "a new list key comes with its tip"),
    ):  # fmt: skip
        if not holds:
            raise Refusal("bad_order", why=why)
    for place, seat in enumerate(seats):
        if not is_public_key(seat.list_key):
            raise Refusal("bad_key", field=f"list key {place}")
        binding = state.get(BINDINGS, seat.list_key)
        if binding is not None and binding.role != LIST_ROLE:
            raise Refusal("key_in_use", role="list")
        if is_barred(state, seat.list_key) or is_missing(state, seat.list_key, params):
            raise Refusal("key_barred", place=place)
        if is_off_duty(state, seat.list_key):
            raise Refusal("not_on_duty", place=place)


def _check_equal_seats(state: State, seats: Sequence[Seat]) -> None:
    holders = {get_holder(state, seat.list_key) for seat in seats}
    needs_validators = has_validators(state)
    for holds, why in (
        (all(seat.weight == 1 for seat in seats), "a seat has another weight than 1"),
        (len(holders) == len(seats), "two seats are of one node"),
        (not needs_validators or all(find_consensus_key(state, s.list_key) for s in seats),
         "a seat is neither of now nor of a node that names a consensus key"),
    ):  # fmt: skip
        if not holds:
            raise Refusal("bad_order", why=why)


def _check_recovery(state: State, sets: AttestorSets, body: SetAttestors) -> None:
    if body.begin != state.one(EPOCH).epoch:
        raise Refusal("bad_order", why="it is not for the end of the running epoch")
    if sets.ordered_by == BY_RECOVERY:
        raise Refusal("change_pending")


def _check_change(sets: AttestorSets, body: SetAttestors, context: Context) -> None:
    if sets.ordered or sets.current != sets.next:
        raise Refusal("change_pending")
    earliest_ms = earliest_change(sets.changed_ms, context.params.set_change_ms)
    check_begin(body.begin, earliest_ms, context.time_ms)
    moved = compute_turnover(sets.current, get_members_of(body.seats))
    if moved == 0 and not any(seat.tip for seat in body.seats):
        raise Refusal("bad_order", why="it changes nothing")
    limit = turnover_limit(sets.current)
    if moved > limit:
        raise Refusal("turnover_too_high", moved=moved, limit=limit)


def check_begin(begin_ms: TimeMs, earliest_ms: TimeMs, now_ms: TimeMs) -> None:
    """Check from when an order is to be in force. Refuses with `change_too_soon`, `bad_order`."""
    first_ms = max(earliest_ms, now_ms)
    if begin_ms < first_ms:
        raise Refusal("change_too_soon", from_ms=first_ms)
    if begin_ms > first_ms + MOST_NOTICE_MS:
        raise Refusal("bad_order", why="it is more than thirty days later than it could be")


def get_members_of(seats: Sequence[Seat]) -> tuple[Attestor, ...]:
    """Return the set that seats of an order make."""
    return tuple(Attestor(seat.list_key, seat.weight) for seat in seats)


def apply_set_attestors(state: State, tx: Transaction, _context: Context, _index: int) -> None:
    """Keep the order for an epoch's end, and bind keys that have no node to themselves."""
    body: SetAttestors = tx.body
    for seat in body.seats:
        if state.get(BINDINGS, seat.list_key) is None:
            state.put(BINDINGS, Binding(LIST_ROLE, seat.list_key), seat.list_key)
    if body.authority == BY_RECOVERY:
        order = order_of(body)
        row = RecoveryRow(order.set_hash, order.tips_hash, body.signers)
        state.archived[recovery_key(body.begin)] = encode(row)
    sets = state.one(SETS)
    state.put(
        SETS,
        replace(sets, ordered=body.seats, ordered_by=body.authority, begin=body.begin),
    )


def set_attestors_cost(_body: SetAttestors) -> Amount:
    """Nothing beside the fee."""
    return 0


def set_attestors_signatures(_state: State, body: SetAttestors, genesis_hash: Hash) -> list[Signed]:
    """Return the signatures of the order, and the proofs of the seats that bring a tip."""
    tag = tags.RECOVERY_ORDER if body.authority == BY_RECOVERY else tags.SET_ORDER
    items = sign_order(body.signers, signing_bytes(tag, genesis_hash, encode(order_of(body))))
    items += [
        Signed(seat.list_key, signing_bytes(tags.SEAT, genesis_hash, seat.tip), seat.proof)
        for seat in body.seats
        if seat.tip or seat.proof
    ]
    return items


def order_of(body: SetAttestors) -> SetOrder:
    """Return what is signed for a set."""
    tips = b"".join(seat.tip or ZERO_HASH for seat in body.seats)
    return SetOrder(body.begin, attestor_set_hash(get_members_of(body.seats)), sha256(tips))


def sign_order(signers: Sequence[Signer], message: bytes) -> list[Signed]:
    """Return what has to be verified of those who signed."""
    return [Signed(signer.key, message, signer.signature) for signer in signers]


# ---------------------------------------------------------------------------- set_params


def check_set_params(state: State, tx: Transaction, context: Context) -> None:
    """Refuses with `bad_order`, `too_few_signers`, `change_pending`, `change_too_soon`,
    `bad_parameter`, `bad_relation`, `parameter_fixed`.
    """
    body: SetParams = tx.body
    order = body.order
    check_signers(body.signers, _get_voters(state.one(SETS), BY_ATTESTORS))
    if state.one(PARAMS).next:
        raise Refusal("change_pending")
    check_begin(order.from_ms, context.time_ms + context.params.unbonding_ms, context.time_ms)
    check_values(order, context.params)


def check_values(order: ParamsOrder, old: Params) -> None:
    """Check what an order makes of the parameters in force.

    Refuses with `bad_order`, `bad_parameter`, `bad_relation`, `parameter_fixed`.
    """
    if len(order.values) != len(PARAMETERS):
        raise Refusal("bad_order", why=f"{len(PARAMETERS)} parameters are needed")
    new = validate_params(order.values)
    if new == old:
        raise Refusal("bad_order", why="it changes nothing")
    check_fixed(old, new)


def apply_set_params(state: State, tx: Transaction, _context: Context, _index: int) -> None:
    """Announce the values; headers commit to them from the next one on."""
    body: SetParams = tx.body
    params = state.one(PARAMS)
    state.put(PARAMS, replace(params, next=body.order.values, from_ms=body.order.from_ms))


def set_params_cost(_body: SetParams) -> Amount:
    """Nothing beside the fee."""
    return 0


def set_params_signatures(_state: State, body: SetParams, genesis_hash: Hash) -> list[Signed]:
    """Return the signatures of the order."""
    message = signing_bytes(tags.PARAMS_ORDER, genesis_hash, encode(body.order))
    return sign_order(body.signers, message)


# ------------------------------------------------------------------------- set_successor


def check_set_successor(state: State, tx: Transaction, context: Context) -> None:
    """Refuses with `bad_order`, `too_few_signers`, `change_pending`, `change_too_soon`."""
    body: SetSuccessor = tx.body
    order, last = body.order, get_succession(state)
    check_signers(body.signers, _get_voters(state.one(SETS), BY_ATTESTORS))
    if order.genesis_hash == ZERO_HASH:
        if last.genesis_hash == ZERO_HASH or order.from_ms != last.from_ms:
            raise Refusal("bad_order", why="nothing is announced that it withdraws")
        return
    if order.genesis_hash == context.genesis_hash:
        raise Refusal("bad_order", why="a network cannot follow on itself")
    if last.genesis_hash != ZERO_HASH:
        raise Refusal("change_pending")
    earliest_ms = earliest_succession(last, context.time_ms, context.params.unbonding_ms)
    check_begin(order.from_ms, earliest_ms, context.time_ms)


def earliest_succession(last: Succession, now_ms: TimeMs, unbonding_ms: int) -> TimeMs:
    """Return the block time from which headers may name a successor that is ordered now."""
    return max(now_ms + 2 * unbonding_ms, last.from_ms + 1)


def apply_set_successor(state: State, tx: Transaction, _context: Context, _index: int) -> None:
    """Announce the successor, or nothing any more."""
    order = tx.body.order
    state.put(SUCCESSION, Succession(order.genesis_hash, order.from_ms, 0))


def set_successor_cost(_body: SetSuccessor) -> Amount:
    """Nothing beside the fee."""
    return 0


def set_successor_signatures(_state: State, body: SetSuccessor, genesis_hash: Hash) -> list[Signed]:
    """Return the signatures of the order."""
    message = signing_bytes(tags.SUCCESSOR_ORDER, genesis_hash, encode(body.order))
    return sign_order(body.signers, message)
