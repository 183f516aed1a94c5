"""Networks to measure on: made from a seed, the same ones each time.

- `make_genesis` is a network with a faucet that owns everything.
- `open_with_accounts` gives it many accounts at height 0, as if the genesis file had named them.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import KeyPair, key_pair, sha256
from ledger.history import TIP_KEY, Tip
from ledger.merkle import sparse_root
from ledger.messages.genesis import (
    FIXED,
    GENESIS_VERSION,
    SOLO,
    Genesis,
    GenesisAccount,
    GenesisAttestor,
)
from ledger.params import HOUR, preset
from ledger.state import STATE_START, STATE_STOP, State, build_tree, update_tree
from ledger.steps import run
from ledger.store import Store
from ledger.types import COIN, Amount, Key
from registry.keystore import CHAIN, derive, derive_secret, named_seed
from registry.signer import HashChain

SEED: Final = sha256(b"bench")
PRODUCER_SEED: Final = named_seed(SEED, "producer")
ATTESTOR_SEED: Final = named_seed(SEED, "attestor")
FAUCET: Final = derive(named_seed(SEED, "faucet"), "account")
SUPPLY: Final = 10**9 * COIN

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
    store: Store, genesis: bytes, accounts: Sequence[Key], each: Amount
) -> Chain:
    """Return a new chain in which the faucet gave `each` to every account.

    The records go straight into the state of height 0, since a genesis file with that many
    accounts would have every key checked at each start.
    """
    chain = Chain(store, genesis)
    chain.init()
    state = State(store)
    state.debit(FAUCET.public, each * len(accounts))
    for account in accounts:
        state.credit(account, each)
    changes = state.changes()
    tree = run(update_tree(build_tree(store.items(STATE_START, STATE_STOP)), changes))
    tip = Tip(0, chain.genesis.start_ms, sparse_root(tree), chain.genesis_hash)
    store.write(changes | {TIP_KEY: encode(tip)}, sync=True)
    return Chain(store, genesis)
