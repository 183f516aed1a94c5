"""A seed as words that a person can write down: BIP 39, in English, 24 words for 32 bytes.

The last word carries eight bits of checksum. The optional passphrase of BIP 39 is always empty.
"""

import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Final

from ledger.errors import Misuse, WaypostError

if TYPE_CHECKING:
    from mnemonic import Mnemonic

SEED_BYTES: Final = 32
WORDS: Final = 24


class BadWords(WaypostError):
    """Words that are no seed; the message says why, and none of the words."""


def write_words(seed: bytes) -> list[str]:
    """Return the 24 words of a 32-byte seed."""
    if len(seed) != SEED_BYTES:
        raise Misuse(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    return _english().to_mnemonic(seed).split(" ")


def read_words(text: str) -> bytes:
    """Return the seed of 24 words; blanks and capitals do not matter. Raises `BadWords`."""
    words = split_words(text)
    if len(words) != WORDS:
        raise BadWords(f"these are {len(words)} words, and a key has {WORDS}")
    for place, word in enumerate(words, 1):
        if not is_word(word):
            raise BadWords(f"word {place} is none of the English words of BIP 39")
    try:
        return bytes(_english().to_entropy(words))
    except ValueError:
        raise BadWords(
            "the words do not fit together: one of them is another, or they stand in another order"
        ) from None


def split_words(text: str) -> list[str]:
    """Return the words that somebody wrote, in the letters of the list."""
    return unicodedata.normalize("NFKD", text).lower().split()


def is_word(word: str) -> bool:
    """Whether a seed may have this word."""
    return word in _english().wordlist


def stretch_words(seed: bytes) -> bytes:
    """Return the 64 bytes that BIP 39 makes of the seed's words; it takes a millisecond or two."""
    return _english().to_seed(" ".join(write_words(seed)))


@cache
def _english() -> "Mnemonic":
    # Imported here: it reads a file of 2048 words, and not every program derives a key.
    from mnemonic import Mnemonic

    return Mnemonic("english")
