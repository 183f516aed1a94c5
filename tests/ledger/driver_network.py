"""What the driver plays with: a small network, and transactions that are signed once."""

from functools import cache, lru_cache
from typing import Any, Final

from ledger.codec import encode
from ledger.crypto import sha256, sign, signing_bytes
from ledger.messages import tags
from ledger.messages.genesis import Genesis, GenesisAccount, GenesisAttestor
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
from tests.factory import (
    SHORT_TIMES,
    START_MS,
    TAG,
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
)

PEOPLE: Final = ("alice", "bob", "carol")
SEATS: Final = ("attestor 0", "attestor 1")
REQUIREMENT: Final = 100


@cache
def small_genesis() -> Genesis:
    """A network of three accounts and two attestors with epochs of a few blocks."""
    return make_genesis(
        {
            "epoch_ms": 1_000,
            "block_ms": 100,
            "attest_blocks": 2,
            "staking_requirement": REQUIREMENT,
            "minimum_fee": 1,
            "max_contributors": 3,
            "activation_floor": 1,
            "max_block_transactions": 6,
            **SHORT_TIMES,
        },
        nodes=founding("founder", exit_ms=START_MS + 2_000),
        accounts=tuple(GenesisAccount(key, 5_000) for key in sorted(map(public, PEOPLE))),
        attestors=tuple(
            GenesisAttestor(key, 1, links(key)[-1]) for key in sorted(map(public, SEATS))
        ),
    )


GENESIS: Final = encode(small_genesis())
GENESIS_HASH: Final = sha256(GENESIS)


# ----------------------------------------------------------- transactions, each signed once


@lru_cache(maxsize=100_000)
def make_paid(who: str, nonce: int, variant: int) -> bytes:
    """One of some things that a person may send with this nonce, good or bad."""
    other = PEOPLE[(PEOPLE.index(who) + 1) % len(PEOPLE)]
    node = f"node of {PEOPLE[variant % 3]}"
    kind, body = (
        ("transfer", Transfer(public(other), 1 + variant)),
        ("transfer", Transfer(public("somebody new"), 4_000)),
        ("register", register(f"node of {who}", who, REQUIREMENT)),
        ("register", register(f"node of {who}", who, REQUIREMENT // 4)),
        ("register", register(f"{who} {nonce}", who, REQUIREMENT)),
        ("contribute", Contribute(public(node), 1, 38, public(who))),
        ("contribute", Contribute(public(node), 1, 75, public(who))),
        ("withdraw", Withdraw(public(node), 1)),
        ("transfer", Transfer(public(other), 0)),
    )[variant % 9]
    envelope = Envelope(1, TAG[kind], public(who), nonce, 1 + variant % 2, 60, body)
    raw = paid(GENESIS_HASH, who, envelope)
    return raw if variant < 18 else raw[:-1] + bytes([raw[-1] ^ 1])


@cache
def register(node: str, operator: str, stake: int) -> Any:
    """A registration."""
    return sign_registration(GENESIS_HASH, make_registration(node, operator), stake)


@lru_cache(maxsize=10_000)
def make_update(node: str, sequence: int) -> bytes:
    """New contact data of a node."""
    update = ContactUpdate(public(node), 1, sequence, make_contact(sequence))
    message = signing_bytes(tags.CONTACT, GENESIS_HASH, encode(update))
    return free("update_contact", UpdateContact(update, sign(keys(node), message)))


@lru_cache(maxsize=100_000)
def make_attest(header: bytes, index: int, seat: bytes, accepted: int) -> bytes:
    """An attestation of a header."""
    signature = sign(pair_of(seat), header_signing_bytes(GENESIS_HASH, header))
    reveal = links(seat)[-2 - accepted]
    return free("attest", Attest(decode_header(header).epoch, index, reveal, signature))
