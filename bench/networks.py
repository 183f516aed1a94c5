"""Networks to measure on: made from a seed, the same ones each time.

- `make_genesis` is a network with a faucet that owns everything.
- `open_with_accounts` gives it many accounts at height 0, as if the genesis file had named them.
- `open_with_nodes` gives it many nodes in the same way, with some that are to come and to go.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import KeyPair, key_pair, sha256
from ledger.epochs.activations import apply_swarms
from ledger.epochs.begin import make_header, write_roster, write_start
from ledger.epochs.ending import Ending
from ledger.history import TIP_KEY, Tip
from ledger.merkle import sparse_root
from ledger.messages.contact import Contact
from ledger.messages.genesis import (
    FIXED,
    GENESIS_VERSION,
    SOLO,
    Genesis,
    GenesisAccount,
    GenesisAttestor,
)
from ledger.messages.state import ACTIVE, QUEUED, Contribution, Due, KeyHistory, Node, Queued
from ledger.messages.tables import CONTACTS, EXITS, HISTORIES, MATURES, NODES, QUEUE
from ledger.nodes import new_node
from ledger.params import HOUR, preset
from ledger.state import STATE_START, STATE_STOP, State, build_tree, due_key, update_tree
from ledger.steps import run
from ledger.store import Store
from ledger.types import COIN, Amount, Key, TimeMs
from registry.keystore import CHAIN, derive, derive_secret, named_seed
from registry.signer import HashChain

SEED: Final = sha256(b"bench")
PRODUCER_SEED: Final = named_seed(SEED, "producer")
ATTESTOR_SEED: Final = named_seed(SEED, "attestor")
FAUCET: Final = derive(named_seed(SEED, "faucet"), "account")
SUPPLY: Final = 10**9 * COIN
NODES_OF_OPERATOR: Final = 4

QUIET: Final = {"epoch_ms": 24 * HOUR, "fresh_ms": 24 * HOUR, "valid_ms": 48 * HOUR}
"""Parameters of a network whose epochs never end while something else is measured."""

WIDE: Final = {
    "max_block_bytes": 2**24,
    "max_block_transactions": 20_000,
    "activation_floor": 100_000,
}
"""Parameters of a network that fills up within a few blocks."""


def make_genesis(start_ms: int, changes: Mapping[str, int]) -> bytes:
    """Return the genesis file of a network with one attestor, on the preset `minimal`."""
    tip = HashChain(derive_secret(ATTESTOR_SEED, CHAIN)).tip
    genesis = Genesis(
        version=GENESIS_VERSION,
        name=b"bench",
        start_ms=start_ms,
        engine=SOLO,
        producer=derive(PRODUCER_SEED, "producer").public,
        policy=FIXED,
        seed=named_seed(SEED, "first seed"),
        params=tuple(preset("minimal", changes)),
        pool=COIN,
        attestors=(GenesisAttestor(derive(ATTESTOR_SEED, "list").public, 1, tip),),
        recovery=(),
        accounts=(GenesisAccount(FAUCET.public, SUPPLY - COIN),),
        nodes=(),
    )
    return encode(genesis)


def make_pairs(count: int) -> list[KeyPair]:
    """Return the key pairs of that many accounts."""
    return [key_pair(named_seed(SEED, f"account {number}")) for number in range(count)]


def open_with_accounts(
    store: Store,
    genesis: bytes,
    accounts: Sequence[Key],
    each: Amount,
    contacts: Sequence[Contact] = (),
) -> Chain:
    """Return a new chain in which the faucet gave `each` to every account.

    The records go straight into the state of height 0, since a genesis file with that many
    accounts would have every key checked at each start. With `contacts` there are active nodes too,
    whose duty keys are those of `duty_pair`; they may be judged in the first epoch.
    """
    chain, state = _init(store, genesis)
    state.debit(FAUCET.public, each * len(accounts))
    for account in accounts:
        state.credit(account, each)
    for number, contact in enumerate(contacts):
        _put_node(chain, state, number, contact, duty_key=duty_pair(number).public)
    if contacts:
        _begin_epoch(chain, state, len(contacts))
    return _open_anew(chain, state)


def node_key(number: int) -> Key:
    """Return the key of a node that did not register."""
    return sha256(b"node %d" % number)


def duty_pair(number: int) -> KeyPair:
    """Return the pair with which a node of `open_with_accounts` votes."""
    return key_pair(named_seed(SEED, f"duty {number}"))


def open_with_nodes(
    store: Store, genesis: bytes, contacts: Sequence[Contact], active: int, change: int
) -> Chain:
    """Return a new chain whose nodes have these contacts: the first are active, the others queued.

    `change` of the active ones are to leave at each end of an epoch, as long as so many are in the
    queue. All who are active begin to earn at the end that comes `payable_ms` after the start. Left
    out are records that no epoch's end reads: the accounts, and what keys are bound to.
    """
    chain, state = _init(store, genesis)
    params, start_ms = chain.view().state.params(), chain.genesis.start_ms
    for number, contact in enumerate(contacts):
        leaving = number // change + 1 if number < len(contacts) - active else 0
        exit_ms = start_ms + leaving * params.epoch_ms if leaving else 0
        duty_key = sha256(b"duty" + node_key(number))
        is_active = number < active
        node = _put_node(
            chain, state, number, contact, duty_key=duty_key, is_active=is_active, exit_ms=exit_ms
        )
        key = node_key(number)
        if not is_active:
            state.put(QUEUE, Queued(key), bytes(8) + number.to_bytes(4, "big"))
            continue
        state.put(MATURES, Due(key), due_key(node.payable_from_ms, key))
        if node.exit_ms:
            state.put(EXITS, Due(key), due_key(node.exit_ms, key))
    _begin_epoch(chain, state, active)
    return _open_anew(chain, state)


def _put_node(
    chain: Chain,
    state: State,
    number: int,
    contact: Contact,
    *,
    duty_key: Key,
    is_active: bool = True,
    exit_ms: TimeMs = 0,
) -> Node:
    params, start_ms = chain.view().state.params(), chain.genesis.start_ms
    key, operator = node_key(number), sha256(b"operator %d" % (number // NODES_OF_OPERATOR))
    node = new_node(
        life=1,
        state=ACTIVE if is_active else QUEUED,
        since_ms=start_ms,
        since_height=0,
        registered_height=0,
        operator=operator,
        fee=500,
        requirement=params.staking_requirement,
        contributions=(Contribution(operator, operator, params.staking_requirement, 0),),
        reserved=(),
        duty_key=duty_key,
        list_key=b"",
        list_tip=b"",
        consensus_key=b"",
        x25519=sha256(b"x25519" + key),
        exit_ms=exit_ms,
        tested_from=1,
        payable_from_ms=start_ms + params.payable_ms,
    )
    state.put(NODES, node, key)
    state.put(HISTORIES, KeyHistory(1, 0, 0), key)
    state.put(CONTACTS, contact, key)
    return node


def _begin_epoch(chain: Chain, state: State, active: int) -> None:
    """Begin the first epoch, with so many active nodes."""
    founders = tuple(sorted(node_key(number) for number in range(active)))
    params, genesis = chain.view().state.params(), chain.genesis
    ending = Ending(0, 0, genesis.start_ms, params, genesis.seed, newcomers=founders)
    for step in (apply_swarms, write_roster, write_start, make_header):
        run(step(state, ending))


def _init(store: Store, genesis: bytes) -> tuple[Chain, State]:
    chain = Chain(store, genesis)
    chain.init()
    return chain, State(store)


def _open_anew(chain: Chain, state: State) -> Chain:
    """Return the chain that begins with what was written to `state`."""
    store, changes = chain.store, state.changes()
    tree = run(update_tree(build_tree(store.items(STATE_START, STATE_STOP)), changes))
    tip = Tip(0, chain.genesis.start_ms, sparse_root(tree), chain.genesis_hash)
    store.write(changes | {TIP_KEY: encode(tip)}, sync=True)
    return Chain(store, chain.genesis_bytes)
