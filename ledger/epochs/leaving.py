"""How nodes leave: the end of duty, and the payout."""

from ledger.epochs.ending import PAUSE_RECORDS, Ending, Pauses, collect_due
from ledger.messages.state import ACTIVE, AWAITING, EXITED, QUEUED, TOMBSTONED
from ledger.messages.tables import EXITS, HISTORIES, NODES, PAYOUTS, QUEUE
from ledger.nodes import end_duty, end_life, get_members, get_seated
from ledger.rules.queues import exit_limit
from ledger.state import State, due_key


def apply_exits(state: State, ending: Ending) -> Pauses:
    """End the duty of those who leave, in the order of asking, up to an epoch's limit.

    Outside the limit: who was slashed for equivocating goes at once, and who was not active yet
    gets everything back.
    """
    due = yield from collect_due(state, EXITS, ending.time_ms)
    if not due:
        return
    limit = exit_limit(len(get_members(state, ending.epoch).keys))
    place_of = {row.node: place for place, row in state.items(QUEUE)}
    for count, (_, row) in enumerate(due, 1):
        key, node = row.node, state.one(NODES, row.node)
        if node.state == QUEUED:
            state.delete(QUEUE, place_of[key])
        if state.one(HISTORIES, key).tombstoned:
            gone = end_duty(state, key, node, ending.time_ms + ending.params.lock_ms)
            state.put(NODES, ending.enter(gone, TOMBSTONED), key)
        elif node.state in (AWAITING, QUEUED):
            state.delete(EXITS, due_key(node.exit_ms, key))
            end_life(state, key, node)
        elif node.state == ACTIVE and limit:
            limit -= 1
            gone = end_duty(state, key, node, ending.time_ms + ending.params.unbonding_ms)
            state.put(NODES, ending.enter(gone, EXITED), key)
        if count % PAUSE_RECORDS == 0:
            yield


def apply_payouts(state: State, ending: Ending) -> Pauses:
    """Give back stake and rewards of those whose time has come, and end their lives.

    Who still holds an attestor's seat waits: its signature counts, so its stake stays behind it.
    """
    due = yield from collect_due(state, PAYOUTS, ending.time_ms)
    seated = get_seated(state) if due else ()
    for count, (place, row) in enumerate(due, 1):
        if row.node in seated:
            continue
        end_life(state, row.node, state.one(NODES, row.node))
        state.delete(PAYOUTS, place)
        if count % PAUSE_RECORDS == 0:
            yield
