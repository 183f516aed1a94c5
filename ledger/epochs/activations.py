"""Who becomes active: nodes that come back, and the next ones of the queue; and their swarms."""

from collections.abc import Generator

from msgspec.structs import replace

from ledger.codec import encode
from ledger.epochs.ending import PAUSE_LOOKS, PAUSE_RECORDS, Ending, Pauses
from ledger.history import SwarmMove, SwarmRow, moves_key
from ledger.lists import read_swarms
from ledger.messages.lists import MAX_NODES
from ledger.messages.state import ACTIVE, DECOMMISSIONED, Due, Node, Swarm
from ledger.messages.tables import EXITS, FAILING, MATURES, NODES, QUEUE, SWARMS
from ledger.nodes import get_members, start_earning
from ledger.rules.credit import compute_returned_credit
from ledger.rules.queues import activation_limit, order_by_turns
from ledger.rules.quorums import has_quorum
from ledger.rules.seeds import swarm_seed
from ledger.rules.swarms import UNASSIGNED, reassign
from ledger.state import State, due_key
from ledger.types import Key


def apply_activations(state: State, ending: Ending) -> Pauses:
    """Let nodes come back, and activate queued ones, operators in turns, up to the limit."""
    returning = tuple(key for key in ending.returning if _return(state, key, ending))
    queue = [(place, entry.node) for place, entry in state.items(QUEUE)]
    active = len(get_members(state, ending.epoch).keys) + len(returning)
    # whoever is down may come back, so a list has to have room for them
    room = MAX_NODES - sum(1 for _ in state.items(FAILING))
    limit = activation_limit(
        active, ending.params.activation_floor, ending.params.activation_share, room
    )
    yield
    place_of = {node: place for place, node in queue}
    rows = [(key, state.one(NODES, key)) for _, key in queue]
    turns = order_by_turns(
        (key, node.operator) for key, node in rows if _has_passed(state, node, ending)
    )
    for count, key in enumerate(turns[:limit], 1):
        _activate(state, key, ending)
        state.delete(QUEUE, place_of[key])
        if count % PAUSE_RECORDS == 0:
            yield
    ending.newcomers = (*returning, *turns[:limit])


def _return(state: State, key: Key, ending: Ending) -> bool:
    """Make a decommissioned node active again, unless it has left meanwhile."""
    node = state.get(NODES, key)
    if node is None or node.state != DECOMMISSIONED:
        return False
    failing = state.one(FAILING, key).count
    credit_ms = compute_returned_credit(node.credit_ms, failing, ending.params.epoch_ms)
    back = replace(node, credit_ms=credit_ms, tested_from=ending.epoch + 1)
    state.put(NODES, ending.enter(start_earning(state, back, ending.time_ms), ACTIVE), key)
    state.delete(FAILING, key)
    if node.exit_ms:
        state.put(EXITS, Due(key), due_key(node.exit_ms, key))
    return True


def _has_passed(state: State, node: Node, ending: Ending) -> bool:
    """Whether a queued node answered at its address, or nobody could have asked it."""
    if node.passed or not ending.params.activation_verdict:
        return True
    members = get_members(state, ending.epoch)
    return not has_quorum(members, node.operator, ending.params.quorum_testers)


def _activate(state: State, key: Key, ending: Ending) -> None:
    params = ending.params
    payable_from_ms = ending.time_ms + params.payable_ms
    node = replace(
        state.one(NODES, key),
        passed=0,
        tested_from=ending.epoch + 1,
        activated_ms=ending.time_ms,
        payable_from_ms=payable_from_ms,
        credit_ms=params.credit_start_ms,
    )
    started = start_earning(state, node, ending.time_ms)
    state.put(NODES, ending.enter(started, ACTIVE), key)
    if not started.earning:
        state.put(MATURES, Due(key), due_key(payable_from_ms, key))


def apply_swarms(state: State, ending: Ending) -> Pauses:
    """Give newcomers a swarm; every epoch, since others may have left one."""
    before = yield from read_swarms(state)
    newcomers = dict.fromkeys(ending.newcomers, UNASSIGNED)
    ending.swarm_of = reassign(before | newcomers, swarm_seed(ending.seed))
    yield
    for count, (key, swarm_id) in enumerate(ending.swarm_of.items(), 1):
        if before.get(key) != swarm_id:
            state.put(SWARMS, Swarm(swarm_id), key)
        if count % PAUSE_LOOKS == 0:
            yield
    moves = yield from _find_moves(state)
    state.archived[moves_key(ending.epoch)] = encode(SwarmRow(moves))


def _find_moves(state: State) -> Generator[None, None, tuple[SwarmMove, ...]]:
    """Return the nodes whose swarm is not what it was before this end, by ascending key."""
    moves = []
    changed = [key[1:] for key in state.changed_records() if key[:1] == SWARMS.letter]
    yield
    for count, key in enumerate(sorted(changed), 1):
        before, after = state.before(SWARMS, key), state.get(SWARMS, key)
        if before != after:
            moves.append(
                SwarmMove(key, *(row.swarm_id if row else UNASSIGNED for row in (before, after)))
            )
        if count % PAUSE_RECORDS == 0:
            yield
    return tuple(moves)
