"""A seed as 24 words, by the published vectors of BIP 39."""

from random import Random
from typing import Final

import pytest

from ledger.errors import Misuse
from registry.words import BadWords, is_word, read_words, stretch_words, write_words

SEED: Final = Random(24).randbytes(32)

VECTORS: Final = {
    "00" * 32: "abandon " * 23 + "art",
    "7f" * 32: "legal winner thank year wave sausage worth useful " * 2
    + "legal winner thank year wave sausage worth title",
    "80" * 32: "letter advice cage absurd amount doctor acoustic avoid " * 2
    + "letter advice cage absurd amount doctor acoustic bless",
    "ff" * 32: "zoo " * 23 + "vote",
}


@pytest.mark.parametrize(("seed", "words"), VECTORS.items())
def test_a_published_vector(seed: str, words: str) -> None:
    assert " ".join(write_words(bytes.fromhex(seed))) == words
    assert read_words(words).hex() == seed


def test_the_stretched_words_are_those_of_any_wallet() -> None:
    """By hand, since the published vectors have a passphrase: PBKDF2 with the salt `mnemonic`."""
    assert stretch_words(bytes(32)).hex() == (
        "408b285c123836004f4b8842c89324c1f01382450c0d439af345ba7fc49acf70"
        "5489c6fc77dbd4e3dc1dd8cc6bc9f043db8ada1e243c4a0eafb290d399480840"
    )


def test_every_seed_comes_back() -> None:
    random = Random(1)
    for _ in range(200):
        seed = random.randbytes(32)
        words = write_words(seed)
        assert len(words) == 24
        assert all(is_word(word) for word in words)
        assert read_words(" ".join(words)) == seed


def test_how_they_are_written_does_not_matter() -> None:
    words = write_words(SEED)
    assert read_words("\n".join(words).upper() + "\n") == SEED
    assert read_words("\t  ".join(word.title() for word in words)) == SEED


def with_word(place: int, word: str) -> str:
    words = write_words(SEED)
    words[place] = word
    return " ".join(words)


REFUSED: Final = {
    "nothing": ("", "these are 0 words"),
    "twelve words": ("abandon " * 11 + "about", "these are 12 words"),
    "23 words": (" ".join(write_words(SEED)[1:]), "these are 23 words"),
    "25 words": (" ".join([*write_words(SEED), "zoo"]), "these are 25 words"),
    "a word that there is not": (with_word(6, "bitcoin"), "word 7 is none"),
    "the beginning of a word": (with_word(23, "aban"), "word 24 is none"),
    "numbers before the words": (
        " ".join(f"{place}.{word}" for place, word in enumerate(write_words(SEED), 1)),
        "word 1 is none",
    ),
    "another word": (with_word(0, "zebra"), "do not fit together"),
    "two words that changed places": (
        " ".join([*write_words(SEED)[1::-1], *write_words(SEED)[2:]]),
        "do not fit together",
    ),
}


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadWords, match=why) as caught:
        read_words(text)
    assert not {word for word in write_words(SEED) if f" {word} " in f" {caught.value} "}


@pytest.mark.parametrize("count", [0, 16, 31, 33, 64])
def test_a_seed_of_another_length_has_no_words(count: int) -> None:
    with pytest.raises(Misuse, match="32 bytes"):
        write_words(bytes(count))
