"""Text forms of keys: bech32, so that a slip is caught and a node is not taken for an account.

- `wpa1…` is an account, `wpn1…` a node: 62 characters, all of one case.
- 64 hex digits are taken too, since other programs write keys that way. They catch no slip, and
  they do not say what the key is.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import bech32

if TYPE_CHECKING:
    from ledger.messages.tables import Table

ACCOUNT: Final = "wpa"
NODE: Final = "wpn"

KEY_BYTES: Final = 32
ADDRESS_CHARACTERS: Final = 62
"""Three letters, the separator `1`, 52 characters for the key, 6 for the checksum."""

_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*", re.ASCII)

_KINDS: Final = {ACCOUNT: "an account", NODE: "a node"}


def encode_account(key: bytes) -> str:
    """Return the `wpa1…` address of an account's 32-byte key; `ValueError` for another length."""
    return _encode(ACCOUNT, key)


def encode_node(key: bytes) -> str:
    """Return the `wpn1…` address of a node's 32-byte key; `ValueError` for another length."""
    return _encode(NODE, key)


def decode_account(text: str) -> bytes:
    """Return the 32-byte key of an account's address or of 64 hex digits.

    `ValueError` says what is wrong: the kind, the shape or the checksum. Whether the key is a
    usable one is not looked at.
    """
    return _decode(ACCOUNT, text)


def decode_node(text: str) -> bytes:
    """Return the 32-byte key of a node's address or of 64 hex digits; as `decode_account`."""
    return _decode(NODE, text)


def decode_record_key(table: "Table[Any]", text: str) -> bytes:
    """Return the key of a record in a table of the state, from an address or from hex.

    Nothing stands for the key of a table with one record. `ValueError` says what is wrong.
    """
    if text[:3].lower() == ACCOUNT and "account" in table.key:
        key = decode_account(text)
    elif text[:3].lower() == NODE and ("node" in table.key or table.key.startswith("key")):
        key = decode_node(text)
    elif _HEX.fullmatch(text):
        key = bytes.fromhex(text)
    else:
        raise ValueError(f"a key of {table.name} is hex, or an address where it is one of theirs")
    if len(key) not in table.sizes:
        raise ValueError(f"a key of {table.name} has these bytes: {table.key or 'none'}")
    return key


@lru_cache(maxsize=2**16)
def _encode(kind: str, key: bytes) -> str:
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key of {_KINDS[kind]} has {KEY_BYTES} bytes, not {len(key)}")
    words = bech32.convertbits(key, 8, 5)
    assert words is not None  # bytes always convert
    return bech32.bech32_encode(kind, words)


def _decode(kind: str, text: str) -> bytes:
    if len(text) == 2 * KEY_BYTES and all(letter in "0123456789abcdefABCDEF" for letter in text):
        return bytes.fromhex(text)
    written_as = f"{_KINDS[kind]} is written as {kind}1 and 58 more characters, or as 64 hex digits"
    start = text[:4].lower()
    for other, name in _KINDS.items():
        if other != kind and start == other + "1":
            raise ValueError(f"this is the address of {name}; {written_as}")
    # The library does not bound the length, and a checksum of this kind does not protect it.
    if start != kind + "1" or len(text) != ADDRESS_CHARACTERS:
        raise ValueError(f"this is no address: {written_as}")
    _, words = bech32.bech32_decode(text)
    key = None if words is None else bech32.convertbits(words, 5, 8, False)
    if key is None:
        raise ValueError("the checksum of this address does not fit: was a character mistyped?")
    return bytes(key)
