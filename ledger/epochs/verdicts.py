"""What verdicts do: those for the epoch before the one that ends, whose judging window is over.

- Failing verdicts for two epochs running: decommissioned. A missing verdict breaks the run.
- Down time counts in failing epochs through which the node was decommissioned. When it reaches the
  credit, and never by one verdict, the node is deregistered.
- A passing verdict, or four judging windows without a failing one, brings a node back.
- One limit covers both removals. Who has no turn stays as he is, and has one again only if his next
  verdict fails. For a time after a change of rules nobody is removed.
"""

from msgspec.structs import replace

from ledger.epochs.ending import PAUSE_RECORDS, Ending, Pauses
from ledger.messages.state import (
    ACTIVE,
    DECOMMISSIONED,
    DEREGISTERED,
    QUEUED,
    Failing,
    Node,
    Verdict,
)
from ledger.messages.tables import (
    EXITS,
    FAILING,
    HISTORIES,
    NODES,
    PARAMS,
    PAYOUTS,
    SWARMS,
    VERDICTS,
)
from ledger.nodes import end_duty, get_credit, get_members, stop_earning
from ledger.rules.credit import FAILING_EPOCHS, QUIET_WINDOWS, is_used_up
from ledger.rules.removals import may_be_down, order_removals, removal_limit
from ledger.state import State, due_key, epoch_key
from ledger.types import Epoch, Key


def apply_verdicts(state: State, ending: Ending) -> Pauses:
    """Let the verdicts for the epoch before have their effect."""
    judged = ending.epoch - 1
    start, stop = epoch_key(judged), epoch_key(judged + 1)
    rows = [(key, row) for key, row in state.items(VERDICTS, start) if key < stop]
    candidates: dict[Key, int] = {}
    returning: list[Key] = []
    is_grace = _is_grace(state, ending)
    for count, (key, verdict) in enumerate(rows, 1):
        state.delete(VERDICTS, key)
        node = state.get(NODES, key[8:])
        if node is not None and _is_judged(state, key[8:], node, verdict, judged):
            if verdict.faults:
                _fail(state, key[8:], node, judged, ending, candidates, is_grace=is_grace)
            else:
                _pass(state, key[8:], node, returning)
        if count % PAUSE_RECORDS == 0:
            yield
    returning += _lapse(state, judged, ending)
    if not is_grace:
        yield from _remove(state, candidates, ending)
    ending.returning = tuple(sorted(returning))
    yield


def _is_judged(state: State, key: Key, node: Node, verdict: Verdict, judged: Epoch) -> bool:
    """Whether a verdict still speaks of what the node is; an equivocator leaves in any case."""
    is_same = node.life == verdict.life and 0 < node.tested_from <= judged
    return is_same and not state.one(HISTORIES, key).tombstoned


def _is_grace(state: State, ending: Ending) -> bool:
    changed_ms = state.one(PARAMS).changed_ms
    return changed_ms > 0 and ending.time_ms < changed_ms + ending.params.grace_ms


def _fail(
    state: State,
    key: Key,
    node: Node,
    judged: Epoch,
    ending: Ending,
    candidates: dict[Key, int],
    *,
    is_grace: bool,
) -> None:
    """Count a failing epoch; the node may have to be removed for it."""
    before = state.get(FAILING, key)
    if node.state == ACTIVE:
        runs_on = before is not None and before.newest == judged - 1
        count = before.count + 1 if before is not None and runs_on else 1
        state.put(FAILING, Failing(count, judged), key)
        if count >= FAILING_EPOCHS:
            candidates[key] = count
    elif node.state == DECOMMISSIONED and before is not None:
        # in the time of grace a node that fails stays down, and its credit is not used
        count = before.count if is_grace else before.count + 1
        state.put(FAILING, Failing(count, judged), key)
        if is_used_up(node.credit_ms, count, ending.params.epoch_ms):
            candidates[key] = count


def _pass(state: State, key: Key, node: Node, returning: list[Key]) -> None:
    if node.state == QUEUED:
        state.put(NODES, replace(node, passed=1), key)
    elif node.state == DECOMMISSIONED:
        returning.append(key)


def _lapse(state: State, judged: Epoch, ending: Ending) -> list[Key]:
    """Forget runs that are broken; return who is back since nobody could fail it for long."""
    back = []
    for key, failing in list(state.items(FAILING)):
        if state.one(NODES, key).state == DECOMMISSIONED:
            if judged - failing.newest >= QUIET_WINDOWS:
                back.append(key)
        elif failing.newest < judged:
            state.delete(FAILING, key)
    return back


def _remove(state: State, candidates: dict[Key, int], ending: Ending) -> Pauses:
    """Decommission and deregister, in the order of turns, as many as may be."""
    if not candidates:
        return
    params = ending.params
    active = len(get_members(state, ending.epoch).keys)
    down = count_down(state)
    limit = removal_limit(active, params.removal_floor, params.removal_share)
    for key in order_removals(candidates.items(), ending.seed):
        node = state.one(NODES, key)
        if limit == 0:
            return
        if node.state == DECOMMISSIONED and may_be_down(down, active):
            _deregister(state, key, node, ending)
            limit -= 1
        elif node.state == ACTIVE and may_be_down(down + 1, active - 1):
            _decommission(state, key, node, ending)
            down, active, limit = down + 1, active - 1, limit - 1
    yield


def count_down(state: State) -> int:
    """Return how many nodes are decommissioned, or deregistered with their stake locked."""
    failing = (state.one(NODES, key).state for key, _ in state.items(FAILING))
    leaving = (state.one(NODES, row.node).state for _, row in state.items(PAYOUTS))
    return sum(s == DECOMMISSIONED for s in failing) + sum(s == DEREGISTERED for s in leaving)


def _decommission(state: State, key: Key, node: Node, ending: Ending) -> None:
    """Take a node out of its swarm; its credit stops, and it earns nothing."""
    credit_ms = get_credit(node, ending.time_ms, ending.params)
    stopped = stop_earning(state, node)
    down = replace(stopped, credit_ms=credit_ms, tested_from=ending.epoch + 1)
    state.put(NODES, ending.enter(down, DECOMMISSIONED), key)
    state.put(FAILING, Failing(0, ending.epoch), key)
    state.delete(SWARMS, key)
    if node.exit_ms:
        state.delete(EXITS, due_key(node.exit_ms, key))


def _deregister(state: State, key: Key, node: Node, ending: Ending) -> None:
    """End a node's duty for good; its stake is locked."""
    gone = end_duty(state, key, node, ending.time_ms + ending.params.lock_ms)
    state.put(NODES, ending.enter(gone, DEREGISTERED), key)
