"""Seats that do not attest, where the registry fills the seats.

- A header that is final without a seat counts one against it, one that it attested counts one
  less. Nobody is to blame for a header that was never final.
- Above `absences_most` the seat is lost: its count stays what it is, so that the list key has no
  seat again.
- What else is known of keys without a seat is forgotten.
"""

from collections.abc import Container, Sequence

from ledger.epochs.ending import Ending, Pauses
from ledger.messages.lists import Attestor
from ledger.messages.state import Absence
from ledger.messages.tables import ABSENCES, SETS
from ledger.params import Params
from ledger.state import State
from ledger.validators import is_missing


def count_absences(
    state: State, members: Sequence[Attestor], attested: Container[int], params: Params
) -> None:
    """Count who missed a final header; `attested` are the places of those who did not."""
    for index, member in enumerate(members):
        if is_missing(state, member.list_key, params):
            continue
        row = state.get(ABSENCES, member.list_key)
        count = (0 if row is None else row.count) + (-1 if index in attested else 1)
        if count > 0:
            state.put(ABSENCES, Absence(count), member.list_key)
        elif row is not None:
            state.delete(ABSENCES, member.list_key)


def forget_absences(state: State, ending: Ending) -> Pauses:
    """Forget what keys missed that have no seat any more, and did not lose it for that."""
    seated = [member.list_key for member in state.one(SETS).current]
    rows = [key for key, _ in state.items(ABSENCES)]
    for key in rows:
        if key not in seated and not is_missing(state, key, ending.params):
            state.delete(ABSENCES, key)
    yield
