"""Rules that change at an epoch's end: the attestors and the parameters.

- The next set takes over once the header that names it is final; until then nothing else moves.
- Lost seats go first, as many as may move at once; then what was ordered. A seat is lost by an
  offence, or with the duty of the node whose key it is.
- An order that does not fit any more, since seats were lost meanwhile, lapses; then all goes on as
  if there were none.
- Where the registry fills the seats, whose turn it is comes in the place of an order.
- The recovery set replaces the set at once.
"""

from collections.abc import Generator

from msgspec.structs import replace

from ledger.epochs.ending import Ending, Pauses
from ledger.epochs.released import release_seats
from ledger.epochs.standing import choose_seats, is_lost
from ledger.messages.genesis import REGISTRY
from ledger.messages.lists import Attestor
from ledger.messages.state import AttestorSets, Chainlink, ParamsState
from ledger.messages.tables import CHAINLINKS, PARAMS, SETS
from ledger.messages.transactions import BY_RECOVERY
from ledger.params import Params
from ledger.rules.attestors import compute_turnover, earliest_change, remove_lost, turnover_limit
from ledger.state import State
from ledger.validators import find_consensus_key, has_validators


def apply_attestors(state: State, ending: Ending) -> Pauses:
    """Let the next set take over, and announce another one where it is time."""
    sets = state.one(SETS)
    if sets.ordered_by == BY_RECOVERY and _may_sit(state, sets, ending):
        changed = _recover(state, sets, ending)
        release_seats(state, sets.current, changed.current, ending)
    else:
        ready = _clear(sets) if sets.ordered_by == BY_RECOVERY else sets
        taken = _take_over(ready, ending)
        # first, so that who has just lost a seat does not take the next one
        release_seats(state, sets.current, taken.current, ending)
        changed = yield from _announce(state, taken, ending)
    if changed != sets:
        state.put(SETS, changed)
    yield


def _recover(state: State, sets: AttestorSets, ending: Ending) -> AttestorSets:
    members = _seat(state, sets)
    cleared = _clear(sets)
    return replace(cleared, current=members, next=members, changed_ms=ending.time_ms)


def _take_over(sets: AttestorSets, ending: Ending) -> AttestorSets:
    return replace(sets, current=sets.next) if ending.is_final else sets


def _announce(
    state: State, sets: AttestorSets, ending: Ending
) -> Generator[None, None, AttestorSets]:
    """Return the sets with another next one, if nothing is under way and one is due."""
    is_due = ending.time_ms >= earliest_change(sets.changed_ms, ending.params.set_change_ms)
    if sets.current != sets.next or not is_due:
        return sets
    if sets.policy == REGISTRY:
        members = yield from choose_seats(state, sets, ending)
    else:
        members = _remove_lost(state, sets, ending)
    if members != sets.current:
        return replace(sets, next=members, changed_ms=ending.time_ms)
    return _announce_order(state, sets, ending)


def _remove_lost(state: State, sets: AttestorSets, ending: Ending) -> tuple[Attestor, ...]:
    lost = [m.list_key for m in sets.current if is_lost(state, m.list_key, ending.params)]
    return remove_lost(sets.current, lost)


def _announce_order(state: State, sets: AttestorSets, ending: Ending) -> AttestorSets:
    if not sets.ordered or ending.time_ms < sets.begin:
        return sets
    if not _fits(state, sets, ending):
        return _clear(sets)
    return replace(_clear(sets), next=_seat(state, sets), changed_ms=ending.time_ms)


def _fits(state: State, sets: AttestorSets, ending: Ending) -> bool:
    moved = compute_turnover(sets.current, _members(sets))
    return _may_sit(state, sets, ending) and moved <= turnover_limit(sets.current)


def _may_sit(state: State, sets: AttestorSets, ending: Ending) -> bool:
    """Whether no ordered seat was lost, or has lost its consensus key where it needs one."""
    needs_validators = has_validators(state)
    for seat in sets.ordered:
        if is_lost(state, seat.list_key, ending.params):
            return False
        if needs_validators and not find_consensus_key(state, seat.list_key):
            return False
    return True


def _members(sets: AttestorSets) -> tuple[Attestor, ...]:
    return tuple(Attestor(seat.list_key, seat.weight) for seat in sets.ordered)


def _seat(state: State, sets: AttestorSets) -> tuple[Attestor, ...]:
    """Return the ordered set; the hash chains that it brings begin."""
    for seat in sets.ordered:
        if seat.tip:
            state.put(CHAINLINKS, Chainlink(seat.tip, 0), seat.list_key)
    return _members(sets)


def _clear(sets: AttestorSets) -> AttestorSets:
    return replace(sets, ordered=(), ordered_by=0, begin=0)


def apply_params(state: State, ending: Ending) -> Pauses:
    """Put announced parameters in force when their time has come."""
    params = state.one(PARAMS)
    if params.next and ending.time_ms >= params.from_ms:
        state.put(PARAMS, ParamsState(params.next, ending.time_ms, (), 0))
        ending.params = Params(*params.next)
    yield
