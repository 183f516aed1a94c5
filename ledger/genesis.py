"""The first state of a chain, from its genesis file.

- The file is refused whole if one number in it is out of range or does not fit the others.
- Accounts, attestors and nodes stand in ascending order, each once; every key is a usable one,
  and serves in one role of one node.
- Everything in it is vouched for by its hash, which every signature on the network covers.
"""

from collections import Counter

from ledger.crypto import convert_to_x25519, is_public_key
from ledger.errors import Refusal
from ledger.merkle import History
from ledger.messages.genesis import (
    COMET,
    FIXED,
    GENESIS,
    GENESIS_VERSION,
    NEW_SWARM,
    REGISTRY,
    SOLO,
    Genesis,
    GenesisAttestor,
    GenesisNode,
    founders_of,
)
from ledger.messages.lists import MAX_MEMBERS, MAX_NODES, MAX_SWARMS
from ledger.messages.state import (
    ACTIVE,
    CONSENSUS_ROLE,
    DUTY_ROLE,
    LIST_ROLE,
    NODE_ROLE,
    Account,
    AttestorSets,
    Chainlink,
    Contribution,
    Due,
    EpochStart,
    EpochState,
    HistoryState,
    KeyHistory,
    ParamsState,
    Pool,
    Swarm,
    Validator,
    Validators,
)
from ledger.messages.tables import (
    ACCOUNTS,
    CHAINLINKS,
    CONTACTS,
    EPOCH,
    EXITS,
    HEADERS,
    HISTORIES,
    MATURES,
    NODES,
    PARAMS,
    POOL,
    SETS,
    STARTS,
    SWARMS,
    VALIDATORS,
)
from ledger.nodes import bind, new_node
from ledger.params import Params, validate_params
from ledger.rules.contacts import check_contact
from ledger.state import State, due_key, epoch_key
from ledger.types import MAX_AMOUNT, Amount, Key, TimeMs


def load_genesis(raw: bytes) -> Genesis:
    """Return the genesis of a file's bytes.

    Refuses with `not_canonical`, `too_large`, `bad_genesis`, `bad_parameter`, `bad_relation`,
    and those of the contact data.
    """
    genesis = GENESIS.decode(raw)
    params = validate_params(genesis.params)
    for holds, why in _rules(genesis):
        if not holds:
            raise Refusal("bad_genesis", why=why)
    for row in genesis.nodes:
        check_contact(row.contact, params)
    return genesis


def _rules(g: Genesis) -> list[tuple[bool, str]]:
    """Every rule of the file beside those of the parameters, with its sentence."""
    accounts = [row.account for row in g.accounts]
    seats = [row.list_key for row in g.attestors]
    validators = [row.consensus_key for row in g.attestors if row.consensus_key]
    nodes = [row.node for row in g.nodes]
    backing = [row.node for row in g.attestors if row.node]
    recovery = list(g.recovery)
    bound = [*seats, *validators, *nodes, *(row.duty_key for row in g.nodes)]
    operators = sorted({row.operator for row in g.nodes})
    swarms = Counter(row.swarm_id for row in g.nodes if row.swarm_id != NEW_SWARM)
    return [
        (g.version == GENESIS_VERSION, f"its version is not {GENESIS_VERSION}"),
        (_is_name(g.name), "its name has other characters than a-z, 0-9 and -"),
        (g.engine in (SOLO, COMET), "its engine is unknown"),
        (_has_its_producer(g), "its producer is not a usable key, or it has one and needs none"),
        (g.policy in (FIXED, REGISTRY), "its policy for attestors is unknown"),
        (len(g.seed) == 32, "its seed is not 32 bytes"),
        (accounts == sorted(set(accounts)), "its accounts are not in ascending order, once each"),
        (seats == sorted(set(seats)), "its attestors are not in ascending order, once each"),
        (all(map(is_public_key, accounts)), "an account is not a usable key"),
        (all(map(is_public_key, seats)), "a list key is not a usable key"),
        (all(row.weight for row in g.attestors), "an attestor has no weight"),
        (
            (g.engine, g.policy) == (SOLO, FIXED) or all(row.weight == 1 for row in g.attestors),
            "an attestor has another weight than 1 where nodes or validators have the seats",
        ),
        (
            len(validators) == (len(seats) if g.engine == COMET else 0),
            "an attestor has no consensus key and needs one, or has one and needs none",
        ),
        (
            len(g.predecessor) in (0, 32),
            "its predecessor is not the hash of a genesis file",
        ),
        (
            not g.predecessor or not (accounts or nodes or g.pool),
            "it has accounts, nodes or a pool, and inherits those of its predecessor",
        ),
        (
            len(set(backing)) == len(backing) and set(backing) <= set(nodes),
            "the node behind a seat is not one of the file, or stands behind two",
        ),
        (all(row.balance for row in g.accounts), "an account has no balance"),
        (
            recovery == sorted(set(recovery)),
            "its recovery keys are not in ascending order",
        ),
        (all(map(is_public_key, recovery)), "a recovery key is not a usable key"),
        (nodes == sorted(set(nodes)), "its nodes are not in ascending order, once each"),
        (len(nodes) <= MAX_NODES, f"it has more than {MAX_NODES} nodes"),
        (len(swarms) <= MAX_SWARMS, f"it has more than {MAX_SWARMS} swarms"),
        (
            max(swarms.values(), default=0) <= MAX_MEMBERS,
            f"a swarm has more than {MAX_MEMBERS} nodes",
        ),
        (len(set(bound)) == len(bound), "a key serves twice in a role"),
        (all(map(is_public_key, bound)), "a node, duty or consensus key is not a usable key"),
        (all(map(is_public_key, operators)), "an operator is not a usable key"),
        (all(_leaves_later(row, g) for row in g.nodes), "a node leaves before the start"),
        (compute_supply(g) <= MAX_AMOUNT, "its supply is more than an amount can be"),
    ]


def _is_name(name: bytes) -> bool:
    return all(byte in b"abcdefghijklmnopqrstuvwxyz0123456789-" for byte in name)


def _has_its_producer(g: Genesis) -> bool:
    return is_public_key(g.producer) if g.engine == SOLO else g.producer == b""


def _leaves_later(row: GenesisNode, g: Genesis) -> bool:
    return row.exit_ms == 0 or row.exit_ms > g.start_ms


def compute_supply(genesis: Genesis) -> Amount:
    """Return the atomic units that begin to exist: pool, accounts, and the nodes' stakes."""
    stakes = len(genesis.nodes) * Params(*genesis.params).staking_requirement
    return genesis.pool + sum(row.balance for row in genesis.accounts) + stakes


def write_genesis(state: State, genesis: Genesis) -> tuple[Key, ...]:
    """Write the first records; the header of epoch 0 is made from them by the transition.

    Returns the nodes that the file gives no swarm, by ascending key.
    """
    for row in genesis.accounts:
        state.put(ACCOUNTS, Account(row.balance, 0), row.account)
    params = Params(*genesis.params)
    earning = len(genesis.nodes) if params.payable_ms == 0 else 0
    state.put(POOL, Pool(genesis.pool, compute_supply(genesis), 0, 0, earning))
    write_beginning(state, genesis, genesis.start_ms, changed_ms=0)
    for seat in genesis.attestors:
        _write_seat(state, seat)
    seat_of = {seat.node: seat for seat in genesis.attestors if seat.node}
    for node in genesis.nodes:
        _write_node(state, node, seat_of.get(node.node), genesis.start_ms, params)
    return tuple(row.node for row in genesis.nodes if row.swarm_id == NEW_SWARM)


def write_beginning(state: State, genesis: Genesis, time_ms: TimeMs, *, changed_ms: TimeMs) -> None:
    """Write what every network has of its own: its rules, its first epoch, and who attests.

    Its height 0 is at `time_ms`; its parameters came into force at `changed_ms`, or never changed.
    Epoch 0 starts with the file all the same: an engine's first block may have that time.
    """
    state.put(PARAMS, ParamsState(genesis.params, changed_ms, (), 0))
    state.put(EPOCH, EpochState(0, time_ms, 0, genesis.seed))
    state.put(STARTS, EpochStart(genesis.start_ms), epoch_key(0))
    history = History(0, ())
    state.put(HEADERS, HistoryState(history.size, history.peaks))
    members = founders_of(genesis)
    sets = AttestorSets(members, members, 0, (), 0, 0, genesis.recovery, genesis.policy)
    state.put(SETS, sets)
    if genesis.engine == COMET:
        seats = (Validator(row.list_key, row.consensus_key) for row in genesis.attestors)
        state.put(VALIDATORS, Validators(tuple(seats)))


def _write_seat(state: State, seat: GenesisAttestor) -> None:
    # a seat without a node is bound to its list key, so that no node can claim its keys
    holder = seat.node or seat.list_key
    state.put(CHAINLINKS, Chainlink(seat.tip, 0), seat.list_key)
    bind(state, LIST_ROLE, seat.list_key, holder)
    if seat.consensus_key:
        bind(state, CONSENSUS_ROLE, seat.consensus_key, holder)


def _write_node(
    state: State,
    row: GenesisNode,
    seat: GenesisAttestor | None,
    start_ms: TimeMs,
    params: Params,
) -> None:
    stake = params.staking_requirement
    payable_from_ms = start_ms + params.payable_ms
    node = new_node(
        life=1,
        state=ACTIVE,
        since_ms=start_ms,
        since_height=0,
        registered_height=0,
        operator=row.operator,
        fee=0,
        requirement=stake,
        contributions=(Contribution(row.operator, row.operator, stake, 0),),
        reserved=(),
        duty_key=row.duty_key,
        list_key=b"" if seat is None else seat.list_key,
        list_tip=b"" if seat is None else seat.tip,
        consensus_key=b"" if seat is None else seat.consensus_key,
        x25519=convert_to_x25519(row.node),
        exit_ms=row.exit_ms,
        tested_from=1,
        activated_ms=start_ms,
        payable_from_ms=payable_from_ms,
        credit_ms=params.credit_start_ms,
        earning=int(params.payable_ms == 0),
    )
    state.put(NODES, node, row.node)
    state.put(HISTORIES, KeyHistory(1, 0, 0), row.node)
    state.put(CONTACTS, row.contact, row.node)
    bind(state, NODE_ROLE, row.node, row.node)
    bind(state, DUTY_ROLE, row.duty_key, row.node)
    if row.swarm_id != NEW_SWARM:
        state.put(SWARMS, Swarm(row.swarm_id), row.node)
    if row.exit_ms:
        state.put(EXITS, Due(row.node), due_key(row.exit_ms, row.node))
    if not node.earning:
        state.put(MATURES, Due(row.node), due_key(payable_from_ms, row.node))
