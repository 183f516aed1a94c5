"""A header as twelve words: two people who read them to each other hold the same list."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from ledger.messages.lists import fingerprint_bits
from ledger.types import Hash

if TYPE_CHECKING:
    from mnemonic import Mnemonic


def fingerprint_words(genesis_hash: Hash, header: bytes) -> list[str]:
    """Return the twelve BIP 39 English words of an encoded header on the network of this genesis.

    They stand for 128 bits; the last word carries four bits of checksum as well.
    """
    return _words().to_mnemonic(fingerprint_bits(genesis_hash, header)).split(" ")


def fingerprint_of(words: Sequence[str]) -> bytes:
    """Return the 16 bytes that twelve words stand for. Raises `ValueError` if they are no such."""
    if len(words) != 12:
        raise ValueError(f"{len(words)} words instead of twelve")
    try:
        return bytes(_words().to_entropy(" ".join(words).lower()))
    except LookupError as error:
        raise ValueError("a word is none of the list") from error


@cache
def _words() -> "Mnemonic":
    # Imported here: it reads a file of 2048 words, and most programs never show a fingerprint.
    from mnemonic import Mnemonic

    return Mnemonic("english")
