"""Addresses: what a slip in one looks like, and what is taken for one."""

from collections.abc import Callable
from random import Random

import pytest

from ledger.messages.tables import TABLES
from registry.addresses import (
    decode_account,
    decode_node,
    decode_record_key,
    encode_account,
    encode_node,
)

KEY = bytes(range(32))
ACCOUNT = encode_account(KEY)
NODE = encode_node(KEY)

KINDS = {"account": (encode_account, decode_account), "node": (encode_node, decode_node)}
Kind = tuple[Callable[[bytes], str], Callable[[str], bytes]]


def test_addresses_stay_what_they_are() -> None:
    assert ACCOUNT == "wpa1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0sm7f0qs"
    assert NODE == "wpn1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0s6v04l7"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_key_comes_back(kind: Kind) -> None:
    encode, decode = kind
    random = Random(1)
    for key in (bytes(32), b"\xff" * 32, *(random.randbytes(32) for _ in range(200))):
        assert decode(encode(key)) == key
        assert decode(encode(key).upper()) == key
        assert decode(key.hex()) == decode(key.hex().upper()) == key
        assert len(encode(key)) == 62


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_of_another_length_have_no_address(kind: Kind, length: int) -> None:
    encode, _ = kind
    with pytest.raises(ValueError, match="has 32 bytes"):
        encode(bytes(length))


REFUSED = {
    "nothing": ("", "no address"),
    "spaces round it": (f" {ACCOUNT}", "no address"),
    "a node's": (NODE, "the address of a node; an account is written as wpa1"),
    "another program's": ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "no address"),
    "63 hex digits": (KEY.hex()[1:], "no address"),
    "66 hex digits": (KEY.hex() + "00", "no address"),
    "64 characters, not all hex": ("g" + KEY.hex()[1:], "no address"),
    "hex with a blank": (KEY.hex()[:-2] + " a", "no address"),
    "digits of another script": ("\u0661" * 64, "no address"),
    "one character too few": (ACCOUNT[:-1], "no address"),
    "one character too many": (ACCOUNT + "q", "no address"),
    "upper and lower case": (ACCOUNT[:-1] + ACCOUNT[-1].upper(), "checksum"),
    "two characters swapped": (ACCOUNT[:8] + ACCOUNT[9] + ACCOUNT[8] + ACCOUNT[10:], "checksum"),
    "a letter that there is not": (ACCOUNT[:-1] + "b", "checksum"),
    "a line break": (ACCOUNT[:-1] + "\n", "checksum"),
}


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_address_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decode_account(text)


def test_an_account_is_no_node() -> None:
    with pytest.raises(ValueError, match="the address of an account; a node is written as wpn1"):
        decode_node(ACCOUNT)


def test_bits_behind_the_key_are_refused() -> None:
    import bech32

    words = bech32.convertbits(KEY, 8, 5)
    assert words is not None
    words[-1] |= 1
    with pytest.raises(ValueError, match="checksum"):
        decode_account(bech32.bech32_encode("wpa", words))


def test_every_single_slip_is_caught() -> None:
    for place in range(4, len(NODE)):
        for letter in "qpzry9x8gf2tvdw0s3jn54khce6mua7l":
            if letter != NODE[place]:
                with pytest.raises(ValueError, match="checksum"):
                    decode_node(NODE[:place] + letter + NODE[place + 1 :])


# ---- keys of records ----

BY_NAME = {table.name: table for table in TABLES}

RECORD_KEYS = {
    "an account": ("accounts", ACCOUNT, KEY),
    "an account in upper case": ("accounts", ACCOUNT.upper(), KEY),
    "an account as hex": ("accounts", KEY.hex(), KEY),
    "a node": ("nodes", NODE, KEY),
    "a node's contact": ("contacts", NODE, KEY),
    "what a node key is bound to": ("bindings", NODE, KEY),
    "what an address is bound to": ("bindings", "00" * 20, bytes(20)),
    "a verdict": ("verdicts", "00" * 8 + KEY.hex(), bytes(8) + KEY),
    "an attestation": ("attestations", "0a", b"\n"),
    "the one record": ("pool", "", b""),
}


@pytest.mark.parametrize(("name", "text", "key"), RECORD_KEYS.values(), ids=RECORD_KEYS.keys())
def test_the_key_of_a_record_is_read(name: str, text: str, key: bytes) -> None:
    assert decode_record_key(BY_NAME[name], text) == key


NO_RECORD_KEYS = {
    "a node among accounts": ("accounts", NODE, "address where it is one of theirs"),
    "an account among nodes": ("nodes", ACCOUNT, "address where it is one of theirs"),
    "an account among bindings": ("bindings", ACCOUNT, "address where it is one of theirs"),
    "a mistyped node": ("nodes", NODE[:-1] + "q", "checksum"),
    "a node alone among verdicts": ("verdicts", NODE, "epoch 8 ‖ node 32"),
    "half a byte": ("attestations", "a", "is hex"),
    "a blank between digits": ("accounts", "00 " * 31 + "00", "is hex"),
    "digits of another script": ("attestations", "\u0661" * 2, "is hex"),
    "no key": ("accounts", "", "account 32"),
    "a key for the one record": ("pool", "00", "none"),
    "a byte too many": ("nodes", "00" * 33, "node 32"),
}


@pytest.mark.parametrize(
    ("name", "text", "says"), NO_RECORD_KEYS.values(), ids=NO_RECORD_KEYS.keys()
)
def test_what_is_no_key_of_a_record_is_refused(name: str, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decode_record_key(BY_NAME[name], text)
