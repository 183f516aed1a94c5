"""One value has one encoding: every other way to write a transaction is refused."""

from functools import cache
from typing import Any

import pytest

from ledger.codec import encode
from ledger.errors import Refusal
from ledger.transactions import TX_KINDS, WIRE
from tests.factory import (
    QUARTER,
    Network,
    attestor_roles,
    founding,
    links,
    make_contact,
    make_genesis,
    places,
    public,
)
from tests.flip import flip
from tests.ledger.refusals.encodings import FORMS, paths_of, rewrite, values_of
from tests.ledger.refusals.rows import code_of
from tests.life import (
    current,
    fork_evidence,
    judge,
    report,
    seats,
    set_attestors,
    set_keys,
    set_params,
    set_successor,
)

V6 = bytes.fromhex("26200000000000000000000000000001")
CODES = ("not_canonical", "unknown_kind")


@cache
def on_duty() -> Network:
    """A network in epoch 2: a node with a key for every role, and testers for it."""
    network = Network(make_genesis(nodes=founding("a", "b", "c", "d", "e", operator="carol")))
    network.block(network.register(**attestor_roles("node")))
    network.end_epoch()
    return network


def sample(kind: str) -> bytes:
    """A transaction of a kind that has something in every field."""
    network = Network()
    duty = on_duty()
    make: dict[str, Any] = {
        "transfer": lambda: network.transfer("alice", "bob", 300),
        "register": lambda: network.register(
            stake=QUARTER,
            reserved=places(("bob", 7), ("carol", 2**40)),
            contact=make_contact(ipv6=V6),
            **attestor_roles("node"),
        ),
        "contribute": lambda: network.contribute("bob", 2**40),
        "withdraw": lambda: network.withdraw("bob"),
        "update_contact": lambda: network.update_contact(sequence=70_000),
        "attest": lambda: network.attest(1),
        "request_unlock": lambda: duty.request_unlock(),
        "claim_rewards": lambda: duty.claim_rewards("carol", "a"),
        "set_keys": lambda: set_keys(
            duty, sequence=70_000, list_tip=links(public("node list"))[-1]
        ),
        "judge": lambda: judge(duty, faults=33),
        "report": lambda: report(duty, "bob", fork_evidence(duty, public("attestor 0"))),
        "set_attestors": lambda: set_attestors(duty, seats(duty, "attestor 3", kept=current(duty))),
        "set_params": lambda: set_params(duty, minimum_fee=70_000),
        "set_successor": lambda: set_successor(duty),
    }
    raw: bytes = make[kind]()
    return raw


@pytest.mark.parametrize("kind", [kind.name for kind in TX_KINDS])
def test_every_other_form_is_refused(kind: str) -> None:
    raw = sample(kind)
    values = values_of(raw)
    assert encode(values) == raw
    tried = accepted = 0
    for path in paths_of(values):
        for form, write in FORMS.items():
            written = rewrite(values, write, path)
            if written is None or written == raw:
                continue
            tried += 1
            code = code_of(WIRE.decode, written)
            if code:
                assert code in CODES, (form, path)
                continue
            # a field may have several lengths, a list several sizes: then these are other values
            accepted += 1
            assert values_of(written) != values, (form, path)
            assert encode(values_of(written)) == written, (form, path)
    assert tried > 100
    assert accepted < tried // 20


@pytest.mark.parametrize("kind", [kind.name for kind in TX_KINDS])
def test_every_cut_is_refused(kind: str) -> None:
    raw = sample(kind)
    for size in range(len(raw)):
        with pytest.raises(Refusal):
            WIRE.decode(raw[:size])


@pytest.mark.parametrize("kind", [kind.name for kind in TX_KINDS])
def test_every_flipped_bit_is_refused_or_another_canonical_transaction(kind: str) -> None:
    raw = sample(kind)
    for place in range(len(raw)):
        for bit in range(8):
            flipped = flip(raw, place, bit)
            code = code_of(WIRE.decode, flipped)
            assert code in CODES or (not code and encode(values_of(flipped)) == flipped)


def test_decoded_transaction_says_what_it_holds() -> None:
    network = Network()
    raw = network.transfer("alice", "bob", 300, fee=5_000, expiry=9)
    tx = WIRE.decode(raw)
    assert (tx.raw, tx.kind.name, tx.nonce, tx.fee, tx.expiry) == (raw, "transfer", 0, 5_000, 9)
    assert tx.body.amount == 300
    assert tx.signature == raw[-64:]
    update = WIRE.decode(network.update_contact())
    assert (update.sender, update.nonce, update.fee, update.expiry) == (b"", 0, 0, 0)


def test_kinds_have_numbers_and_names_of_their_own() -> None:
    assert len({kind.tag for kind in TX_KINDS}) == len({kind.name for kind in TX_KINDS})
    assert {kind.name: kind.tag for kind in TX_KINDS} == {
        "transfer": 1,
        "register": 2,
        "contribute": 3,
        "withdraw": 4,
        "update_contact": 5,
        "attest": 6,
        "request_unlock": 7,
        "claim_rewards": 8,
        "set_keys": 9,
        "judge": 10,
        "report": 11,
        "set_attestors": 12,
        "set_params": 13,
        "set_successor": 14,
    }
    for kind in TX_KINDS:
        assert 0 <= kind.tag <= 127
        assert kind.is_free is (kind.cost is None)
