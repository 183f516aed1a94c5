"""Mutations that keep the form of what they change, so that fuzzing comes behind the first check.

Bytes that libFuzzer changes are seldom MessagePack or JSON any more. Half of the inputs of decoders
of these are made here: of records the values, or the form of one of them; of JSON the tokens.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import msgpack

from tests.mutations.engine import NUMBERS, Sample, mutate, mutate_form, mutate_values, packed
from tests.mutations.files import json_sample

Mutator: TypeAlias = Callable[[Random, bytes, bytes], bytes]
"""From bytes, and others that the decoder takes, to what is tried; both are of its form."""

TRIED: Final = 3
"""Values of a record are changed up to so many times."""

VALUES: Final[tuple[Any, ...]] = (
    *(*NUMBERS, -1, -(2**63), 2**64, 10**30, 0.5, 1e308, True, None, [], {}, [[]], {"a": 0}),
    *("", "0", "-1", "a", "\0", "é", "\U0001f600", "0" * 64, "1" * 5_000, "1e9", " 1", "²"),
)
"""What values of JSON become."""

SELDOM: Final = 0.01
DEEP_BYTES: Final = 3_000
"""Of heads, each of which is within the one before: readers follow about a thousand."""


def find_mutator(raw: bytes) -> Mutator | None:
    """Return what mutates bytes like these; None for those of no form that is known here."""
    return next((mutator for reads, mutator in FORMS if reads(raw)), None)


def mutate_by_form(random: Random, data: bytes, taken: bytes) -> bytes | None:
    """Return a mutation of `data`, or of what is taken where that has lost its form; None if both.

    Half of the time there is none: that is for libFuzzer's own mutations, which know more of what
    the decoder looks at.
    """
    mutator = find_mutator(taken)
    if mutator is None or random.random() < 0.5:
        return None
    return mutator(random, data if find_mutator(data) is mutator else taken, taken)


def is_record(raw: bytes) -> bool:
    """Whether bytes are arrays of integers and bytes, in whatever form of MessagePack."""
    try:
        values = msgpack.decode(raw)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return False
    return isinstance(values, list) and bool(values) and is_plain(values)


def is_plain(value: Any) -> bool:
    """Whether a value is what records are made of."""
    if isinstance(value, list):
        return all(map(is_plain, value))
    return isinstance(value, bytes) or type(value) is int


def is_json(raw: bytes) -> bool:
    """Whether bytes are an object in JSON."""
    try:
        return isinstance(msgspec.json.decode(raw), dict)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False


def deepen(random: Random, sample: Sample, heads: Sequence[bytes]) -> bytes:
    """Have a value go deeper than any reader follows."""
    cut, head = random.choice(sample.cuts), random.choice(heads)
    return sample.raw[:cut] + head * (DEEP_BYTES // len(head)) + sample.raw[cut:]


def mutate_record(random: Random, data: bytes, taken: bytes) -> bytes:
    """Change some values of a record, and one time in four how one of them is written."""
    if random.random() < SELDOM:
        return deepen(random, packed(data), (b"\x91", b"\x81\xa1a"))
    for _ in range(random.randint(1, TRIED)):
        data = mutate_values(random, packed(data), packed(taken))
        if not is_record(data):
            return data
    return mutate_form(random, packed(data), packed(taken)) if random.random() < 0.25 else data


def mutate_json(random: Random, data: bytes, taken: bytes) -> bytes:
    """Change tokens of JSON, or one of its values."""
    if random.random() < SELDOM:
        return deepen(random, json_sample(data), (b"[", b'{"a":'))
    if random.random() < 0.5:
        return msgspec.json.encode(change_json(random, msgspec.json.decode(data)))
    return mutate(random, json_sample(data), json_sample(taken))


def change_json(random: Random, value: Any) -> Any:
    """Return the same with one value changed, at whatever depth."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        name = random.choice(list(value))
        return {**value, name: change_json(random, value[name])}
    if isinstance(value, list) and value and random.random() < 0.8:
        place = random.randrange(len(value))
        return [*value[:place], change_json(random, value[place]), *value[place:][1:]]
    return random.choice(VALUES)


FORMS: Final[tuple[tuple[Callable[[bytes], bool], Mutator], ...]] = (
    (is_record, mutate_record),
    (is_json, mutate_json),
)
"""How a form is known, and what mutates it."""
