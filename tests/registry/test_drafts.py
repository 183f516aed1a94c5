"""Drafts: the file of a transaction that others sign."""

import json
from typing import Any, Final

import pytest

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.messages.transactions import VERSION, Attest, Free, Transfer
from ledger.transactions import TX_KINDS, WIRE
from registry.drafts import (
    DRAFTED,
    MAX_FILE_BYTES,
    UNSIGNED,
    BadDraft,
    NothingToSign,
    NotSigned,
    describe,
    draft_paid,
    finish,
    hash_of,
    make_draft,
    read_draft,
    sign_draft,
    write_draft,
)
from registry.keystore import derive
from registry.wallet import Terms, Wallet
from tests.factory import public

SEED: Final = sha256(b"alice")
PAIR: Final = derive(SEED, "account")
NETWORK: Final = sha256(b"a genesis file")
BODY: Final = Transfer(public("bob"), 5)
DRAFT: Final = draft_paid("test-net", NETWORK, PAIR.public, (3, 1_000, 600), BODY)


def test_what_is_signed_is_what_a_wallet_signs() -> None:
    signed, slots = sign_draft(DRAFT, [SEED])
    assert [slot.role for slot in slots] == ["account"]
    wallet = Wallet(NETWORK, PAIR)
    raw = wallet.transfer(Terms(3, 1_000, 600), BODY.recipient, BODY.amount)
    assert finish(signed) == raw
    assert hash_of(signed) == sha256(raw).hex()


def test_a_file_is_read_as_it_was_written() -> None:
    for draft in (DRAFT, sign_draft(DRAFT, [SEED])[0]):
        assert read_draft(write_draft(draft)) == draft


def test_nothing_is_finished_or_hashed_before_it_is_signed() -> None:
    assert hash_of(DRAFT) is None
    with pytest.raises(NotSigned, match="the account key wpa1"):
        finish(DRAFT)
    with pytest.raises(NothingToSign, match="do not have the key"):
        sign_draft(DRAFT, [sha256(b"bob")])
    with pytest.raises(NothingToSign, match="every signature is there"):
        sign_draft(sign_draft(DRAFT, [SEED])[0], [SEED])


def test_a_signature_of_another_network_is_refused() -> None:
    signed, _ = sign_draft(DRAFT, [SEED])
    moved = signed._replace(genesis_hash=bytes(32))
    with pytest.raises(BadDraft, match="does not fit"):
        read_draft(write_draft(moved))


def rewritten(**changes: Any) -> bytes:
    """The file with some fields changed, written as it would be."""
    fields = json.loads(write_draft(DRAFT)) | changes
    return json.dumps(fields, indent=1).encode() + b"\n"


FILE: Final = write_draft(DRAFT)
BAD: Final = {
    "nothing": b"",
    "no JSON": b"\x92\x97",
    "another kind of JSON": b"[]",
    "a field more": rewritten(note="x"),
    "another order": json.dumps(dict(reversed(json.loads(FILE).items())), indent=1).encode(),
    "no line break at the end": FILE[:-1],
    "another indent": json.dumps(json.loads(FILE), indent=2).encode() + b"\n",
    "something behind it": FILE + b" ",
    "a duplicate field": FILE.replace(b'{\n "waypost', b'{\n "network": "x",\n "waypost', 1),
    "too long": FILE + b" " * MAX_FILE_BYTES,
    "deeply nested": b'{"says":' * 5_000,
    "other words": rewritten(says={}),
    "no transaction": rewritten(transaction="00" * 6),
    "a name with a line break": rewritten(network="test\nnet"),
}


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD.keys())
def test_a_file_that_is_none(raw: bytes) -> None:
    with pytest.raises(BadDraft):
        read_draft(raw)


def test_what_programs_sign_is_not_signed_by_hand() -> None:
    assert set(DRAFTED) <= {kind.name for kind in TX_KINDS}
    attest = Free(VERSION, 6, Attest(1, 0, bytes(32), UNSIGNED))
    assert WIRE.decode(encode(attest)).kind.name not in DRAFTED
    with pytest.raises(BadDraft, match="of the kind attest"):
        read_draft(write_draft(make_draft("test-net", NETWORK, attest)))


def test_what_it_takes_is_the_stake_and_the_fee() -> None:
    assert describe(DRAFT.transaction)["takes"] == "1005"
