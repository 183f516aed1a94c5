"""Who agrees on blocks from now on: the seats that are in force, with the keys that are in force.

The engine is told at the end of the block that ends the epoch. Until the new ones are in force
there, one block later, the old ones go on.
"""

from ledger.epochs.ending import Ending, Pauses
from ledger.messages.state import Validator, Validators
from ledger.messages.tables import SETS, VALIDATORS
from ledger.state import State
from ledger.validators import find_consensus_key


def apply_validators(state: State, _ending: Ending) -> Pauses:
    """Give each seat of the current set its consensus key, under an engine that has validators."""
    before = state.get(VALIDATORS)
    if before is not None:
        keys = [member.list_key for member in state.one(SETS).current]
        after = Validators(tuple(Validator(key, find_consensus_key(state, key)) for key in keys))
        if after != before:
            state.put(VALIDATORS, after)
    yield
