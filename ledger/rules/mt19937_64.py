"""The 64-bit Mersenne Twister (mt19937_64), the source of random numbers for swarms.

Rules (`docs/spec/swarms.md`, "Generator: …"):

- the state is 312 words of 64 bits, filled from one seed of 64 bits;
- every 312 outputs the whole state is replaced by the next one;
- an output is one word of the state, tempered.

Python's `random` is another generator (32-bit words, other constants) and cannot stand in.
"""

from collections.abc import Iterator

STATE_WORDS = 312
"""Words in the state."""

SHIFT_WORDS = 156
"""Distance between a word and the later word that it is mixed with."""

WORD_MASK = 2**64 - 1
"""Keeps the lowest 64 bits."""

SEED_FACTOR = 6364136223846793005
"""Multiplier that spreads the seed over the state."""

UPPER_BITS = 0xFFFFFFFF80000000
"""The 33 upper bits of a word, which the next state takes from the word itself."""

LOWER_BITS = 0x000000007FFFFFFF
"""The 31 lower bits of a word, which the next state takes from the word after it."""

TWIST_MATRIX = 0xB5026F5AA96619E9
"""Mixed in when the joined word is odd."""

TEMPER_MASK_29 = 0x5555555555555555
TEMPER_MASK_17 = 0x71D67FFFEDA60000
TEMPER_MASK_37 = 0xFFF7EEE000000000
"""The masks of the tempering, each named after the shift that goes with it."""


def outputs(seed: int) -> Iterator[int]:
    """The endless sequence of outputs, each 0 … 2^64−1, for a seed of 0 … 2^64−1.

    `docs/spec/swarms.md`, "Generator: outputs".
    """
    # Not a generator function itself, so that a seed out of range is refused at once.
    return tempered_words(initial_state(seed))


def initial_state(seed: int) -> list[int]:
    """The 312 words that a seed of 0 … 2^64−1 stands for.

    `docs/spec/swarms.md`, "Generator: initial state".
    """
    if not 0 <= seed <= WORD_MASK:
        raise ValueError("the seed must be 0 … 2^64−1")
    state = [seed]
    for index in range(1, STATE_WORDS):
        previous = state[-1]
        state.append((SEED_FACTOR * (previous ^ (previous >> 62)) + index) & WORD_MASK)
    return state


def tempered_words(state: list[int]) -> Iterator[int]:
    """The outputs from a state on, which is changed as they are taken."""
    while True:
        twist(state)
        for word in state:
            yield temper(word)


def twist(state: list[int]) -> None:
    """Replace the state by the next one, word by word and in place.

    Words already replaced take part in the replacement of later ones; that is part of the rule.
    `docs/spec/swarms.md`, "Generator: next state".
    """
    for index in range(STATE_WORDS):
        # A negative index counts from the end, which closes the circle without a modulo.
        joined = (state[index] & UPPER_BITS) | (state[index + 1 - STATE_WORDS] & LOWER_BITS)
        word = state[index + SHIFT_WORDS - STATE_WORDS] ^ (joined >> 1)
        state[index] = word ^ TWIST_MATRIX if joined & 1 else word


def temper(word: int) -> int:
    """The output for one word of the state.

    `docs/spec/swarms.md`, "Generator: tempering".
    """
    word ^= (word >> 29) & TEMPER_MASK_29
    word ^= (word << 17) & TEMPER_MASK_17
    word ^= (word << 37) & TEMPER_MASK_37
    return word ^ (word >> 43)
