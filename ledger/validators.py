"""What belongs to a seat beside its weight: who agrees on blocks with it, and how often it missed.

- Under an engine that has validators there is one for each seat of the current set. Both change
  together, at an epoch's end, and every validator has the same weight.
- A seat's consensus key is the one that its node names now. Where it names none any more, or the
  seat has no node, it is the one with which it agreed on blocks before.
- Where the registry fills the seats, a seat that missed too many headers is lost for good.
"""

from collections.abc import Sequence

from ledger.messages.tables import ABSENCES, BINDINGS, NODES, VALIDATORS
from ledger.params import Params
from ledger.state import State
from ledger.types import Key


def get_validators(state: State) -> Sequence[Key]:
    """Return the consensus keys in force, ascending; none under an engine without validators."""
    record = state.get(VALIDATORS)
    return sorted(seat.consensus_key for seat in record.seats) if record is not None else ()


def has_validators(state: State) -> bool:
    """Whether the engine has validators, so that every seat needs a consensus key."""
    return state.get(VALIDATORS) is not None


def get_holder(state: State, list_key: Key) -> Key:
    """Return the node that a list key is bound to; the key itself where it has no node."""
    binding = state.get(BINDINGS, list_key)
    return list_key if binding is None else binding.node


def find_consensus_key(state: State, list_key: Key) -> Key:
    """Return the key with which a seat of this list key agrees on blocks; none if it has none."""
    holder = get_holder(state, list_key)
    node = state.get(NODES, holder)
    if node is not None and node.consensus_key:
        return node.consensus_key
    record = state.get(VALIDATORS)
    for seat in record.seats if record is not None else ():
        if get_holder(state, seat.list_key) == holder:
            return seat.consensus_key
    return b""


def is_missing(state: State, list_key: Key, params: Params) -> bool:
    """Whether a seat of this list key missed more headers than it may."""
    row = state.get(ABSENCES, list_key)
    return row is not None and row.count > params.absences_most
