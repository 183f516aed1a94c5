"""The first state of a chain, from its genesis file.

- The file is refused whole if one number in it is out of range or does not fit the others.
- Accounts and attestors stand in ascending order, each once; every key is a usable one.
- Everything in it is vouched for by its hash, which every signature on the network covers.
"""

from ledger.crypto import is_public_key
from ledger.errors import Refusal
from ledger.merkle import History
from ledger.messages.genesis import FIXED, GENESIS, GENESIS_VERSION, SOLO, Genesis
from ledger.messages.lists import Attestor
from ledger.messages.state import (
    LIST_ROLE,
    Account,
    AttestorSets,
    Binding,
    Chainlink,
    EpochState,
    HistoryState,
    ParamsState,
    Pool,
)
from ledger.params import validate_params
from ledger.state import (
    ACCOUNTS,
    BINDINGS,
    CHAINLINKS,
    EPOCH,
    HEADERS,
    PARAMS,
    POOL,
    SETS,
    State,
)
from ledger.types import MAX_AMOUNT


def load_genesis(raw: bytes) -> Genesis:
    """Return the genesis of a file's bytes.

    Refuses with `not_canonical`, `too_large`, `bad_genesis`, `bad_parameter`, `bad_relation`.
    """
    genesis = GENESIS.decode(raw)
    validate_params(genesis.params)
    for holds, why in _rules(genesis):
        if not holds:
            raise Refusal("bad_genesis", why=why)
    return genesis


def _rules(g: Genesis) -> list[tuple[bool, str]]:
    """Every rule of the file beside those of the parameters, with its sentence."""
    accounts = [row.account for row in g.accounts]
    seats = [row.list_key for row in g.attestors]
    supply = g.pool + sum(row.balance for row in g.accounts)
    return [
        (g.version == GENESIS_VERSION, f"its version is not {GENESIS_VERSION}"),
        (_is_name(g.name), "its name has other characters than a-z, 0-9 and -"),
        (g.engine == SOLO, "its engine is unknown"),
        (is_public_key(g.producer), "its producer is not a usable key"),
        (g.policy == FIXED, "its policy for attestors is unknown"),
        (len(g.seed) == 32, "its seed is not 32 bytes"),
        (accounts == sorted(set(accounts)), "its accounts are not in ascending order, once each"),
        (seats == sorted(set(seats)), "its attestors are not in ascending order, once each"),
        (all(map(is_public_key, accounts)), "an account is not a usable key"),
        (all(map(is_public_key, seats)), "a list key is not a usable key"),
        (all(row.weight for row in g.attestors), "an attestor has no weight"),
        (all(row.balance for row in g.accounts), "an account has no balance"),
        (supply <= MAX_AMOUNT, "its supply is more than an amount can be"),
    ]


def _is_name(name: bytes) -> bool:
    return all(byte in b"abcdefghijklmnopqrstuvwxyz0123456789-" for byte in name)


def write_genesis(state: State, genesis: Genesis) -> None:
    """Write the first records; the header of epoch 0 is made from them by the transition."""
    for row in genesis.accounts:
        state.put(ACCOUNTS, Account(row.balance, 0), row.account)
    supply = genesis.pool + sum(row.balance for row in genesis.accounts)
    state.put(POOL, Pool(genesis.pool, supply))
    state.put(PARAMS, ParamsState(genesis.params))
    state.put(EPOCH, EpochState(0, genesis.start_ms, 0, genesis.seed))
    history = History(0, ())
    state.put(HEADERS, HistoryState(history.size, history.peaks))
    members = tuple(Attestor(row.list_key, row.weight) for row in genesis.attestors)
    state.put(SETS, AttestorSets(members, members))
    for seat in genesis.attestors:
        state.put(CHAINLINKS, Chainlink(seat.tip, 0), seat.list_key)
        # a key without a node is bound to itself, so that no node can claim it
        state.put(BINDINGS, Binding(LIST_ROLE, seat.list_key), seat.list_key)
