"""What must hold after every block: named checks over the whole state.

They read everything, so they run in tests, simulations and audits, not in every block of a
service.
"""

from collections.abc import Callable, Iterator
from typing import Final

from ledger.messages.genesis import REGISTRY
from ledger.messages.lists import decode_header
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    CONSENSUS_ROLE,
    DECOMMISSIONED,
    GONE,
    LIST_ROLE,
    NODE_STATES,
    ON_DUTY,
    QUEUED,
    ROLES,
    Binding,
    Node,
)
from ledger.messages.tables import (
    ABSENCES,
    ACCOUNTS,
    ATTESTATIONS,
    BINDINGS,
    CHAINLINKS,
    CONTACTS,
    DRAFT,
    EPOCH,
    EXITS,
    FAILING,
    HEADER,
    HISTORIES,
    MATURES,
    NEW_KEYS,
    NODES,
    PAYOUTS,
    PENDING,
    POOL,
    QUEUE,
    ROSTERS,
    SETS,
    STARTS,
    SWARMS,
    VALIDATORS,
    VERDICTS,
)
from ledger.nodes import get_members, get_owed, get_staked, get_total
from ledger.rules.swarms import UNASSIGNED
from ledger.state import State, due_key
from ledger.succession import get_succession, get_successor
from ledger.types import ZERO_HASH
from ledger.validators import find_consensus_key, get_holder, is_missing


def find_violations(state: State) -> list[str]:
    """Return `name: what is wrong` for everything that does not hold; empty is good."""
    return [f"{check.__name__}: {text}" for check in INVARIANTS for text in check(state)]


def supply_is_conserved(state: State) -> Iterator[str]:
    """Accounts + stakes + rewards that wait + pool = supply."""
    pool = state.one(POOL)
    accounts = sum(account.balance for _, account in state.items(ACCOUNTS))
    stakes = sum(c.amount for _, node in state.items(NODES) for c in node.contributions)
    total = accounts + stakes + pool.accrued + pool.balance
    if total != pool.supply:
        yield f"{total} atomic units instead of {pool.supply}"


def stakes_fit_their_state(state: State) -> Iterator[str]:
    """A waiting node has less than its requirement, every other one that, less its penalties.

    Penalties take nothing of a node that waits.
    """
    for key, node in state.items(NODES):
        staked = get_staked(node) + node.taken
        if node.state not in NODE_STATES:
            yield f"{key.hex()} is in state {node.state}"
        if staked > node.requirement or (staked < node.requirement and node.state != AWAITING):
            yield f"{key.hex()} holds {staked} of {node.requirement} while {node.state}"
        if node.state == AWAITING and (node.taken or staked == node.requirement):
            yield f"{key.hex()} is funded, or has paid a penalty, and waits for stake"
        if len({c.account for c in node.contributions}) != len(node.contributions):
            yield f"{key.hex()} has a contributor twice"


def rewards_are_accounted_for(state: State) -> Iterator[str]:
    """The rewards that wait are those of all nodes, and who earns is active and counted."""
    pool = state.one(POOL)
    waiting = earning = 0
    for key, node in state.items(NODES):
        total = get_total(node, pool)
        waiting += total - sum(c.paid for c in node.contributions)
        earning += node.earning
        if any(part < 0 for part in get_owed(node, pool)):
            yield f"{key.hex()} has paid out more than it earned"
        if node.earning and node.state != ACTIVE:
            yield f"{key.hex()} earns while {NODE_STATES.get(node.state, node.state)}"
    if (waiting, earning) != (pool.accrued, pool.earning):
        yield f"{waiting} wait for {earning} nodes, the pool says {pool.accrued}, {pool.earning}"


def active_nodes_have_one_swarm(state: State) -> Iterator[str]:
    """Swarms hold the active nodes, all of them and nobody else."""
    active = [key for key, node in state.items(NODES) if node.state == ACTIVE]
    if active != [key for key, _ in state.items(SWARMS)]:
        yield "swarms and active nodes differ"
    if any(swarm.swarm_id == UNASSIGNED for _, swarm in state.items(SWARMS)):
        yield "an active node has no swarm"


def queue_holds_the_queued(state: State) -> Iterator[str]:
    """Each queued node stands in the queue once."""
    waiting = sorted(place.node for _, place in state.items(QUEUE))
    if waiting != [key for key, node in state.items(NODES) if node.state == QUEUED]:
        yield "queue and queued nodes differ"


def exits_and_payouts_hold_who_leaves(state: State) -> Iterator[str]:
    """Who is to leave stands among the exits, unless it is down; who has left among payouts."""
    leaving = {
        due_key(node.exit_ms, key)
        for key, node in state.items(NODES)
        if node.exit_ms and node.state not in GONE and not _waits_down(state, key, node)
    }
    if leaving != {place for place, _ in state.items(EXITS)}:
        yield "the queue of exits and the nodes that leave differ"
    payouts = [place[8:] for place, _ in state.items(PAYOUTS)]
    if sorted(payouts) != [key for key, node in state.items(NODES) if node.state in GONE]:
        yield "the queue of payouts and the nodes that have left differ"
    for table in (EXITS, PAYOUTS, MATURES):
        if any(place[8:] != row.node for place, row in state.items(table)):
            yield f"a place in the table {table.letter!r} is that of another node"


def _waits_down(state: State, key: bytes, node: Node) -> bool:
    return node.state == DECOMMISSIONED and not state.one(HISTORIES, key).tombstoned


def failing_holds_who_is_down(state: State) -> Iterator[str]:
    """Each decommissioned node has its count of failing epochs; of the others only active ones."""
    nodes = dict(state.items(NODES))
    rows = [key for key, _ in state.items(FAILING)]
    down = [key for key, node in sorted(nodes.items()) if node.state == DECOMMISSIONED]
    if any(key not in nodes or nodes[key].state not in ON_DUTY for key in rows):
        yield "a node that is not on duty is said to fail"
    if not {*down} <= {*rows}:
        yield "a decommissioned node has no count"


def duty_is_of_these_epochs(state: State) -> Iterator[str]:
    """Rosters and verdicts are of the running epoch and the one before; who is active may test.

    Every epoch since the oldest that evidence may be of has its start.
    """
    epoch = state.one(EPOCH).epoch
    known = [int.from_bytes(key, "big") for key, _ in state.items(ROSTERS)]
    if epoch and known != list(range(max(1, epoch - 1), epoch + 1)):
        yield f"rosters of {known} are kept in epoch {epoch}"
    if epoch and get_members(state, epoch).keys != tuple(key for key, _ in state.items(SWARMS)):
        yield "the roster of the running epoch is not who is active"
    if any(int.from_bytes(key[:8], "big") not in known for key, _ in state.items(VERDICTS)):
        yield "a verdict is kept for an epoch that is over"
    starts = [int.from_bytes(key, "big") for key, _ in state.items(STARTS)]
    if epoch and starts != list(range(starts[0], epoch + 1)):
        yield "the start of an epoch is missing"


def every_node_has_its_records(state: State) -> Iterator[str]:
    """A node has contact data, a history that knows its life, and its keys are bound to it.

    Contact data in force or to come, and keys to come, belong to a node.
    """
    for key, node in state.items(NODES):
        history = state.get(HISTORIES, key)
        if history is None or history.life != node.life:
            yield f"{key.hex()} lives life {node.life}, its history says otherwise"
        if state.get(CONTACTS, key) is None:
            yield f"{key.hex()} has no contact data"
        role_keys = (key, node.duty_key, node.list_key, node.consensus_key)
        for role, role_key in zip(ROLES, role_keys, strict=True):
            if role_key and state.get(BINDINGS, role_key) != Binding(role, key):
                yield f"{key.hex()} has a key that is not bound to it as {ROLES[role]} key"
    for key, _ in (*state.items(CONTACTS), *state.items(PENDING), *state.items(NEW_KEYS)):
        if state.get(NODES, key) is None:
            yield f"{key.hex()} is no node and has contact data or keys"


def attestations_belong_to_the_set(state: State) -> Iterator[str]:
    """Attestations name seats of the current set, and each seat has a hash chain.

    The node whose key has a seat is there, so that there is stake behind what it signs.
    """
    sets = state.one(SETS)
    for key, _ in state.items(ATTESTATIONS):
        if key[0] >= len(sets.current):
            yield f"an attestation names seat {key[0]}"
    for seat in (*sets.current, *sets.next):
        if state.get(CHAINLINKS, seat.list_key) is None:
            yield f"attestor {seat.list_key.hex()} has no hash chain"
        binding = state.get(BINDINGS, seat.list_key)
        if binding is None or binding.role != LIST_ROLE:
            yield f"attestor {seat.list_key.hex()} has a key that is not bound as a list key"
        elif binding.node != seat.list_key and state.get(NODES, binding.node) is None:
            yield f"attestor {seat.list_key.hex()} has a seat, and its node is gone"


def validators_are_the_seats(state: State) -> Iterator[str]:
    """Each seat of the current set has a validator, each of the next one a consensus key.

    No key agrees twice, and each is bound to whom its seat's list key is bound to.
    """
    sets, record = state.one(SETS), state.get(VALIDATORS)
    if record is None:
        return
    if [seat.list_key for seat in record.seats] != [seat.list_key for seat in sets.current]:
        yield "validators and seats differ"
    if len({seat.consensus_key for seat in record.seats}) != len(record.seats):
        yield "a consensus key agrees twice"
    for validator in record.seats:
        own = Binding(CONSENSUS_ROLE, get_holder(state, validator.list_key))
        if state.get(BINDINGS, validator.consensus_key) != own:
            yield f"attestor {validator.list_key.hex()} agrees with a key that is not its own"
    for seat in sets.next:
        if not find_consensus_key(state, seat.list_key):
            yield f"attestor {seat.list_key.hex()} is to agree on blocks and has no key for it"


def turns_are_equal(state: State) -> Iterator[str]:
    """Where the registry fills the seats, each weighs 1 and no node has two.

    Absences are counted there alone: those of seats, and of keys that lost theirs for it.
    """
    sets, params = state.one(SETS), state.params()
    is_registry = sets.policy == REGISTRY
    for members in (sets.current, sets.next) if is_registry else ():
        if any(seat.weight != 1 for seat in members):
            yield "a seat has another weight than 1"
        if len({get_holder(state, seat.list_key) for seat in members}) != len(members):
            yield "a node has two seats"
    seated = [seat.list_key for seat in sets.current] if is_registry else []
    for key, row in state.items(ABSENCES):
        if row.count == 0 or (key not in seated and not is_missing(state, key, params)):
            yield f"what {key.hex()} missed is kept for nothing"


def nobody_stands_ahead_of_time(state: State) -> Iterator[str]:
    """Times from which nodes are active, or stand for a seat, are those of ends that were."""
    now_ms = state.one(EPOCH).start_ms
    for key, node in state.items(NODES):
        if max(node.activated_ms, node.stands_ms) > now_ms:
            yield f"{key.hex()} is active, or stands for a seat, from a time to come"


def header_or_draft_is_there(state: State) -> Iterator[str]:
    """Past genesis a header is stored, and while a draft waits no attestation is."""
    epoch = state.one(EPOCH)
    if epoch.epoch > 1 and state.get(HEADER) is None:
        yield "no header is stored"
    if state.get(DRAFT) is not None and any(True for _ in state.items(ATTESTATIONS)):
        yield "attestations of an epoch that ended were kept"


def headers_name_the_successor(state: State) -> Iterator[str]:
    """The newest header names the successor from its time on, and none before."""
    epoch = state.one(EPOCH)
    newest = state.get(DRAFT) or state.get(HEADER)
    successor = get_successor(state, epoch.start_ms)
    if newest is not None and decode_header(newest.header).successor != successor:
        yield f"the newest header does not name {successor.hex()}"
    last_epoch = get_succession(state).last_epoch
    if last_epoch and (successor == ZERO_HASH or last_epoch >= epoch.epoch - 1):
        yield f"epoch {last_epoch} cannot have been the last one"


INVARIANTS: Final[tuple[Callable[[State], Iterator[str]], ...]] = (
    supply_is_conserved,
    stakes_fit_their_state,
    rewards_are_accounted_for,
    active_nodes_have_one_swarm,
    queue_holds_the_queued,
    exits_and_payouts_hold_who_leaves,
    failing_holds_who_is_down,
    duty_is_of_these_epochs,
    every_node_has_its_records,
    attestations_belong_to_the_set,
    validators_are_the_seats,
    turns_are_equal,
    nobody_stands_ahead_of_time,
    header_or_draft_is_there,
    headers_name_the_successor,
)
"""Every invariant; a new record type comes with one."""
