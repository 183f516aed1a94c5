"""What the driver plays with: two small networks, and transactions that are signed once.

    SMALL    one producer, so that no misbehaviour counts; a founder that leaves; two attestors
    TOWN     the same under validators, and nodes enough to test each other

Most sequences are on the first one, which costs a third.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import sha256, sign, signing_bytes
from ledger.messages import tags
from ledger.messages.genesis import COMET, Genesis, GenesisAccount, GenesisAttestor
from ledger.messages.lists import decode_header, header_signing_bytes
from ledger.messages.transactions import (
    Attest,
    ContactUpdate,
    Contribute,
    Envelope,
    Transfer,
    UpdateContact,
    Withdraw,
)
from ledger.store import MemoryStore
from tests.factory import (
    SHORT_TIMES,
    START_MS,
    TAG,
    attestor_roles,
    founding,
    free,
    keys,
    links,
    make_contact,
    make_genesis,
    make_registration,
    paid,
    pair_of,
    public,
    sign_registration,
    with_validators,
)
from tests.flip import flip
from tests.life import TOWN as TOWN_NODES
from tests.life import TOWNSFOLK, townsfolk

PEOPLE: Final = ("alice", "bob", "carol")
SEATS: Final = ("attestor 0", "attestor 1")
REQUIREMENT: Final = 100
SIZE: Final = 5
"""Founding nodes of the town that stay."""
OPERATORS: Final = TOWNSFOLK[:SIZE]
NODES: Final = (*TOWN_NODES[:SIZE], "founder", *(f"node of {who}" for who in PEOPLE))
"""Those that change their keys, and have keys of their own for seats and blocks then."""


class Setting(NamedTuple):
    """A network to play on."""

    genesis: bytes
    hash: bytes
    first: Mapping[bytes, bytes]
    """What a store holds at height 0."""
    steps_ms: tuple[int, ...]
    """From one block to the next; an epoch is a second."""
    heights: tuple[int, ...]
    """How long a sequence may be."""
    activity: float
    """How likely each thing is that nodes, testers and attestors may do."""


@cache
def small_genesis() -> Genesis:
    """A network of three accounts and two attestors with epochs of a few blocks."""
    return make_genesis(
        RULES,
        nodes=founding("founder", exit_ms=START_MS + 2_000),
        accounts=tuple(GenesisAccount(key, 5_000) for key in sorted(map(public, PEOPLE))),
        attestors=tuple(
            GenesisAttestor(key, 1, links(key)[-1]) for key in sorted(map(public, SEATS))
        ),
        recovery=(public("recovery"),),
    )


RULES: Final = {
    **SHORT_TIMES,
    "epoch_ms": 1_000,
    "block_ms": 100,
    "attest_blocks": 2,
    "staking_requirement": REQUIREMENT,
    "minimum_fee": 1,
    "max_contributors": 3,
    "activation_floor": 1,
    "max_block_transactions": 6,
    "contributor_wait_ms": 1_000,
    "payable_ms": 1_000,
    "lock_ms": 62_000,
    "set_change_ms": 1_000,
    "bounty_share": 5_000,
    "vote_penalty": 500,
}


@cache
def town_genesis() -> Genesis:
    """The same under validators, with nodes of operators of their own that test each other."""
    changes = {
        "max_block_transactions": 12,
        "quorum_testers": 3,
        "quorum_threshold": 2,
        "activation_verdict": 1,
        "credit_start_ms": 1_000,
        "grace_ms": 1_000,
    }
    small = small_genesis()
    nodes = (*small.nodes, *townsfolk(TOWN_NODES[:SIZE], OPERATORS))
    accounts = (*small.accounts, *(GenesisAccount(public(who), 1_000) for who in OPERATORS))
    town = replace(
        small,
        engine=COMET,
        producer=b"",
        params=make_genesis(RULES | changes).params,
        nodes=tuple(sorted(nodes, key=lambda row: row.node)),
        accounts=tuple(sorted(accounts, key=lambda row: row.account)),
    )
    return with_validators(town)


def _set(genesis: Genesis, *rest: Any) -> Setting:
    raw, store = encode(genesis), MemoryStore()
    Chain(store, raw).init()
    return Setting(raw, sha256(raw), dict(store.items()), *rest)


SMALL: Final = _set(small_genesis(), (1, 100, 400, 999, 1_000, 7_000), (1, 2, 4, 6, 9, 12), 0.2)
TOWN: Final = _set(town_genesis(), (1, 400, 1_000, 1_000, 1_000, 7_000, 62_000), (6, 9, 12), 1.0)


# ----------------------------------------------------------- transactions, each signed once


@lru_cache(maxsize=100_000)
def make_paid(network: bytes, who: str, nonce: int, variant: int) -> bytes:
    """One of some things that a person may send with this nonce, good or bad."""
    other = PEOPLE[(PEOPLE.index(who) + 1) % len(PEOPLE)]
    node = f"node of {PEOPLE[variant % 3]}"
    kind, body = (
        ("transfer", Transfer(public(other), 1 + variant)),
        ("transfer", Transfer(public("somebody new"), 4_000)),
        ("register", register(network, f"node of {who}", who, REQUIREMENT)),
        ("register", register(network, f"node of {who}", who, REQUIREMENT // 4)),
        ("register", register(network, f"{who} {nonce}", who, REQUIREMENT)),
        ("contribute", Contribute(public(node), 1, 38, public(who))),
        ("contribute", Contribute(public(node), 1, 75, public(who))),
        ("withdraw", Withdraw(public(node), 1)),
        ("transfer", Transfer(public(other), 0)),
    )[variant % 9]
    envelope = Envelope(1, TAG[kind], public(who), nonce, 1 + variant % 2, 60, body)
    raw = paid(network, who, envelope)
    return raw if variant < 18 else flip(raw)


@cache
def register(network: bytes, node: str, operator: str, stake: int) -> Any:
    """A registration; nodes with names that are used again can attest and sign blocks."""
    roles = attestor_roles(node) if node in NODES else {}
    return sign_registration(network, make_registration(node, operator, **roles), stake)


@lru_cache(maxsize=10_000)
def make_update(network: bytes, node: str, sequence: int) -> bytes:
    """New contact data of a node."""
    update = ContactUpdate(public(node), 1, sequence, make_contact(sequence))
    message = signing_bytes(tags.CONTACT, network, encode(update))
    return free("update_contact", UpdateContact(update, sign(keys(node), message)))


@lru_cache(maxsize=100_000)
def make_attest(network: bytes, header: bytes, index: int, seat: bytes, accepted: int) -> bytes:
    """An attestation of a header."""
    signature = sign(pair_of(seat), header_signing_bytes(network, header))
    reveal = links(seat)[-2 - accepted]
    return free("attest", Attest(decode_header(header).epoch, index, reveal, signature))
