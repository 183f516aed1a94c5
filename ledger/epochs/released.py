"""What follows for nodes whose seats leave the current set, by a turn, an order, or a recovery.

- Stake stays behind a seat that is gone as long as what it signed can be held against it.
- A node that has no seat any more and goes on stands anew: behind all who wait for one.
- A seat that moved to another list key of its node keeps what it missed.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from ledger.epochs.ending import Ending
from ledger.messages.lists import Attestor
from ledger.messages.state import ON_DUTY
from ledger.messages.tables import ABSENCES, NODES
from ledger.nodes import delay_payout
from ledger.state import State
from ledger.types import Key
from ledger.validators import get_holder


def release_seats(
    state: State, before: Sequence[Attestor], after: Sequence[Attestor], ending: Ending
) -> None:
    """Settle the seats that were in the current set before and are not any more."""
    kept = [member.list_key for member in after]
    key_of = {get_holder(state, key): key for key in kept}
    for list_key in [member.list_key for member in before if member.list_key not in kept]:
        holder = get_holder(state, list_key)
        delay_payout(state, holder, ending.time_ms + ending.params.unbonding_ms)
        if holder in key_of:
            _move_absences(state, list_key, key_of[holder])
        else:
            _stand_anew(state, holder, ending)


def _move_absences(state: State, old: Key, new: Key) -> None:
    """Count what a seat missed under its new list key; the old one is forgotten, or stays lost."""
    row = state.get(ABSENCES, old)
    if row is not None:
        state.put(ABSENCES, row, new)


def _stand_anew(state: State, key: Key, ending: Ending) -> None:
    node = state.get(NODES, key)
    if node is not None and node.state in ON_DUTY:
        state.put(NODES, replace(node, stands_ms=ending.time_ms), key)
