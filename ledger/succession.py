"""How a network ends: it goes on as another one, which its last header names.

- What was ordered is announced; it may be withdrawn until the first header names it.
- The header of the first epoch that ends at the announced time, or later, names the successor, and
  so does every header after it.
- Once such a header is stored, nothing is taken any more that the successor might not know of. What
  makes the header final still is: attestations, and an order by the recovery keys.
- The first of them that is final is the last header: nothing is signed after it.
"""

from typing import Final

from msgspec.structs import replace

from ledger.errors import Refusal
from ledger.messages.lists import ListHeader
from ledger.messages.state import Succession
from ledger.messages.tables import EPOCH, SUCCESSION
from ledger.state import State
from ledger.types import ZERO_HASH, Hash, TimeMs

NONE: Final = Succession(ZERO_HASH, 0, 0)
"""Where nothing was ordered."""


def get_succession(state: State) -> Succession:
    """Return what was ordered last."""
    return state.get(SUCCESSION) or NONE


def get_successor(state: State, end_ms: TimeMs) -> Hash:
    """Return the successor that the header of an epoch names which ends at this time, or zeros."""
    record = get_succession(state)
    return record.genesis_hash if record.from_ms <= end_ms else ZERO_HASH


def check_not_moved(state: State, *, is_finishing: bool) -> None:
    """Check that a transaction may still come. Refuses with `network_moved`.

    `is_finishing` says that it helps the header to become final.
    """
    record = get_succession(state)
    if record.genesis_hash == ZERO_HASH:
        return
    # the newest header is that of the epoch which ended when the running one started
    successor = get_successor(state, state.one(EPOCH).start_ms)
    if successor != ZERO_HASH and (record.last_epoch or not is_finishing):
        raise Refusal("network_moved", successor=successor.hex())


def note_final(state: State, header: ListHeader) -> None:
    """Note that a header is final: the first one that names a successor is the last header."""
    record = get_succession(state)
    if header.successor != ZERO_HASH and not record.last_epoch:
        state.put(SUCCESSION, replace(record, last_epoch=header.epoch))


def is_over(state: State) -> bool:
    """Whether the last header is final: no block and no signature comes after it."""
    return get_succession(state).last_epoch > 0
