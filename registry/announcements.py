"""The rules in force and those announced, in the shape of the API: parameters and attestors.

And what follows on this network, once that is announced.
"""

from collections.abc import Sequence
from typing import Any, Final

from ledger.messages.lists import Attestor
from ledger.messages.tables import EPOCH, PARAMS, SETS
from ledger.messages.transactions import BY_ATTESTORS, BY_RECOVERY
from ledger.params import PARAMETERS
from ledger.rules.attestors import earliest_change
from ledger.succession import get_succession, get_successor
from ledger.transactions.orders import earliest_succession, get_members_of
from ledger.types import ZERO_HASH
from ledger.views import View

AUTHORITIES: Final = {BY_ATTESTORS: "attestors", BY_RECOVERY: "recovery"}
"""Name of who signed an order, for people."""


def get_rules(view: View) -> dict[str, Any]:
    """Everything that an order can change, what was ordered, and from when on more can be."""
    state, now_ms = view.state, view.tip.time_ms
    record, sets, params = state.one(PARAMS), state.one(SETS), state.params()
    following = record.next or (None,) * len(PARAMETERS)
    succession, epoch = get_succession(state), state.one(EPOCH)
    is_announced = succession.genesis_hash != ZERO_HASH
    return {
        "time_ms": now_ms,
        "epoch": epoch.epoch,
        "parameters": [
            {
                "name": row.name,
                "unit": row.unit,
                "value": str(value),
                "next": None if later is None else str(later),
            }
            for row, value, later in zip(PARAMETERS, record.values, following, strict=True)
        ],
        "parameters_from_ms": record.from_ms or None,
        "parameters_earliest_ms": now_ms + params.unbonding_ms,
        "attestors": _seats(sets.current),
        "next_attestors": _seats(sets.next),
        "ordered": _seats(get_members_of(sets.ordered)),
        "ordered_by": AUTHORITIES.get(sets.ordered_by),
        "ordered_begin": sets.begin or None,
        "attestors_earliest_ms": max(
            now_ms, earliest_change(sets.changed_ms, params.set_change_ms)
        ),
        "recovery": [key.hex() for key in sets.recovery],
        "successor": succession.genesis_hash.hex() if is_announced else None,
        "successor_from_ms": succession.from_ms if is_announced else None,
        "successor_earliest_ms": earliest_succession(succession, now_ms, params.unbonding_ms),
        "has_moved": get_successor(state, epoch.start_ms) != ZERO_HASH,
        "last_epoch": succession.last_epoch or None,
    }


def _seats(members: Sequence[Attestor]) -> list[dict[str, Any]]:
    return [
        {"index": index, "list_key": member.list_key.hex(), "weight": member.weight}
        for index, member in enumerate(members)
    ]
