"""What an epoch pays: to whoever was active at its start and still is after the verdicts.

The cost grows with those who begin to earn, and neither with nodes nor with contributors.
"""

from msgspec.structs import replace

from ledger.codec import encode
from ledger.epochs.ending import PAUSE_RECORDS, Ending, Pauses, collect_due
from ledger.history import EpochRow, end_key
from ledger.messages.state import ACTIVE
from ledger.messages.tables import MATURES, NODES, POOL
from ledger.nodes import start_earning
from ledger.rules.rewards import epoch_share
from ledger.state import State


def pay_rewards(state: State, ending: Ending) -> Pauses:
    """Let those begin to earn whose time has come, and raise the accumulator by one share."""
    due = yield from collect_due(state, MATURES, ending.time_ms)
    for count, (place, row) in enumerate(due, 1):
        node = state.get(NODES, row.node)
        if node is not None and node.state == ACTIVE:
            state.put(NODES, start_earning(state, node, ending.time_ms), row.node)
        state.delete(MATURES, place)
        if count % PAUSE_RECORDS == 0:
            yield
    pool, params = state.one(POOL), ending.params
    share = epoch_share(
        pool.balance, params.reward_rate, params.epoch_ms, pool.earning, pool.accumulator
    )
    paid = share * pool.earning
    after = replace(
        pool,
        balance=pool.balance - paid,
        accrued=pool.accrued + paid,
        accumulator=pool.accumulator + share,
    )
    if paid:
        state.put(POOL, after)
    ended = EpochRow(
        ending.height, ending.time_ms, share, pool.earning, after.balance, after.accumulator
    )
    state.archived[end_key(ending.epoch)] = encode(ended)
    yield
