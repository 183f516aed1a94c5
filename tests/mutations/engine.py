"""Mutations: what damage, chance and malice make of valid bytes, and what is held of the answers.

    Sample          valid bytes, with the places where their fields begin
    OPERATIONS      every way to change some bytes; `mutate` applies one or a few of them
    mutate_values   changes values instead, so that the bytes stay canonical
    Subject         what a target tries its mutations on
    Target          one row of the tables: how many, on what, and which errors are declared
    run_target      every mutation is refused with a declared error, or accepted with the very
                    content that was signed

Everything follows from the seed: a failure names the target, the seed and the number of the try.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any, Final, NamedTuple

from msgspec import msgpack

from ledger.errors import Refusal
from tests.ledger.refusals.encodings import FORMS, paths_of, rewrite


class Sample(NamedTuple):
    """Valid bytes."""

    raw: bytes
    cuts: tuple[int, ...] = ()
    """Where fields begin, ascending; the engine changes them as a whole too."""


class Unproven(Exception):
    """What a function that answers yes or no says of bytes that prove nothing."""


# ---------------------------------------------------------------------------- operations

Operation = Callable[[Random, bytearray, Sample, Sample], None]
"""Changes bytes in place, which began as the first sample; the second one is spliced with."""

SIZES: Final = (1, 1, 1, 2, 4, 8, 32, 64)
BOUNDARIES: Final = (0x00, 0x01, 0x7F, 0x80, 0xC0, 0xFE, 0xFF)


def place(random: Random, raw: bytearray) -> tuple[int, int]:
    """Return begin and end of some piece."""
    start = random.randrange(len(raw) + 1)
    return start, min(len(raw), start + random.choice(SIZES))


def field(random: Random, raw: bytearray, sample: Sample) -> tuple[int, int]:
    """Return begin and end of one of the sample's fields, or of some piece."""
    fields = [(start, end) for start, end in pairwise(sample.cuts) if end <= len(raw)]
    return random.choice(fields) if fields else place(random, raw)


def flip_bit(random: Random, raw: bytearray, _sample: Sample, _other: Sample) -> None:
    if raw:
        raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)


def set_byte(random: Random, raw: bytearray, _sample: Sample, _other: Sample) -> None:
    if raw:
        raw[random.randrange(len(raw))] = random.randrange(256)


def set_boundary(random: Random, raw: bytearray, sample: Sample, _other: Sample) -> None:
    start, end = field(random, raw, sample)
    raw[start:end] = bytes([random.choice(BOUNDARIES)]) * (end - start)


def count(random: Random, raw: bytearray, sample: Sample, _other: Sample) -> None:
    """One more or one less, of a field or of some integer."""
    start, end = random.choice((field(random, raw, sample), place(random, raw)))
    size = end - start
    number = int.from_bytes(raw[start:end], "big") + random.choice((-1, 1))
    raw[start:end] = (number % (1 << 8 * size)).to_bytes(size, "big")


def cut_out(random: Random, raw: bytearray, _sample: Sample, _other: Sample) -> None:
    start, end = place(random, raw)
    del raw[start:end]


def cut_off(random: Random, raw: bytearray, _sample: Sample, _other: Sample) -> None:
    del raw[random.randrange(len(raw) + 1) :]


def insert(random: Random, raw: bytearray, _sample: Sample, _other: Sample) -> None:
    start, _ = place(random, raw)
    raw[start:start] = random.randbytes(random.choice(SIZES))


def double(random: Random, raw: bytearray, sample: Sample, _other: Sample) -> None:
    start, end = field(random, raw, sample)
    raw[start:start] = raw[start:end]


def drop(random: Random, raw: bytearray, sample: Sample, _other: Sample) -> None:
    start, end = field(random, raw, sample)
    del raw[start:end]


def swap_fields(random: Random, raw: bytearray, sample: Sample, _other: Sample) -> None:
    (a, b), (c, d) = sorted((field(random, raw, sample), field(random, raw, sample)))
    if b <= c:
        raw[a:d] = raw[c:d] + raw[b:c] + raw[a:b]


def swap_pieces(random: Random, raw: bytearray, _sample: Sample, _other: Sample) -> None:
    size = min(random.choice(SIZES), len(raw))
    first, second = (random.randrange(len(raw) - size + 1) for _ in range(2))
    raw[first : first + size], raw[second : second + size] = (
        raw[second : second + size],
        raw[first : first + size],
    )


def take_field(random: Random, raw: bytearray, sample: Sample, other: Sample) -> None:
    """A field of another valid object, where it stands there."""
    start, end = field(random, raw, sample)
    raw[start:end] = other.raw[start:end]


def splice(random: Random, raw: bytearray, _sample: Sample, other: Sample) -> None:
    """The head of this and the tail of another valid object, cut at a field if it has any."""
    cut = random.choice(other.cuts or (random.randrange(len(other.raw) + 1),))
    del raw[cut:]
    raw += other.raw[cut:]


OPERATIONS: Final[tuple[Operation, ...]] = (
    *(flip_bit, flip_bit, set_byte, set_boundary, count, count),
    *(cut_out, cut_off, insert, double, drop, swap_fields, swap_pieces, take_field, splice),
)
"""Each as often as it comes."""


def mutate(random: Random, sample: Sample, other: Sample) -> bytes:
    """Return bytes that differ from those of the sample."""
    while True:
        raw = bytearray(sample.raw)
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            random.choice(OPERATIONS)(random, raw, sample, other)
        if raw != sample.raw:
            return bytes(raw)


# -------------------------------------------------------------------------------- values

NUMBERS: Final = (0, 1, 2, 2**16 - 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)


def mutate_values(random: Random, sample: Sample, other: Sample) -> bytes:
    """Return the canonical bytes of other values: what bytes alone seldom come to.

    Both samples are MessagePack without names.
    """
    strangers = list(leaves(msgpack.decode(other.raw)))
    while True:
        values = change_value(random, msgpack.decode(sample.raw), strangers)
        raw = msgpack.encode(values)
        if raw != sample.raw:
            return raw


def mutate_form(random: Random, sample: Sample, _other: Sample) -> bytes:
    """Return the same values, one of them written in another form of MessagePack."""
    values = msgpack.decode(sample.raw)
    while True:
        path, form = random.choice(paths_of(values)), random.choice(list(FORMS.values()))
        raw = rewrite(values, form, path)
        if raw is not None and raw != sample.raw:
            return raw


def leaves(value: Any) -> Iterator[Any]:
    """Every integer and byte string."""
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def change_value(random: Random, value: Any, strangers: Sequence[Any]) -> Any:
    """Return the same with one value changed, at whatever depth."""
    if isinstance(value, list):
        if not value or random.random() < 0.1:
            return change_list(random, value)
        place = random.randrange(len(value))
        changed = change_value(random, value[place], strangers)
        return [*value[:place], changed, *value[place + 1 :]]
    alike = [one for one in strangers if type(one) is type(value)] or [value]
    if isinstance(value, int):
        near = (value + random.choice((-1, 1, 100, 10**6))) % 2**64
        return random.choice((near, near, random.choice(NUMBERS), random.choice(alike)))
    same = random.randbytes(len(value))
    other = random.choice((value[:-1], value + b"\0", b"", bytes(len(value))))
    return random.choice((same, other, random.choice(alike)))


def change_list(random: Random, items: list[Any]) -> list[Any]:
    """Return a list with an item more or less, or two of them swapped."""
    if not items:
        return [0]
    a, b = random.randrange(len(items)), random.randrange(len(items))
    swapped = [items[{a: b, b: a}.get(place, place)] for place in range(len(items))]
    return random.choice((items[:a] + items[a + 1 :], [*items, items[a]], swapped, []))


# ------------------------------------------------------------------------------- targets


def nothing() -> None:
    """There is nothing to look at in the end."""


@dataclass(frozen=True)
class Subject:
    """What a target tries its mutations on."""

    samples: Sequence[Sample]
    """Valid objects, several different ones."""
    offer: Callable[[bytes], Any]
    """What a reader makes of bytes; raises what it refuses them with."""
    holds: Callable[[bytes, Any], bool]
    """Whether what it made of these bytes is what was signed, or says the same."""
    check: Callable[[], None] = nothing
    """After all of it: nothing has changed."""
    mutation: Callable[[Random], bytes] | None = None
    """Makes one mutation, if not the engine does."""
    are_good: bool = True
    """Whether the samples themselves are accepted."""


class Target(NamedTuple):
    """One row: `tries` mutations for each of `seeds`."""

    name: str
    make: Callable[[int], Subject]
    """Returns the subject of a seed: the same one each time."""
    seeds: int
    tries: int
    codes: frozenset[str]
    """Codes of the refusals that are declared."""
    errors: tuple[type[Exception], ...] = ()
    """Other errors that are declared."""
    area: str = ""
    """What it counts for, beside the whole."""

    @property
    def mutations(self) -> int:
        """How many it tries."""
        return self.seeds * self.tries


def run_target(target: Target, seed: int) -> Counter[str]:
    """Try the mutations of one seed; return what they were refused with, "" if accepted."""
    random = Random(f"{target.name}, {seed}")
    subject = target.make(seed)
    for sample in subject.samples:
        answer = offer(target, subject, sample.raw)
        assert (answer == "") is subject.are_good, f"{target.name}, seed {seed}: {answer}"
    answers: Counter[str] = Counter()
    for number in range(target.tries):
        if subject.mutation is None:
            mutant = mutate(random, random.choice(subject.samples), random.choice(subject.samples))
        else:
            mutant = subject.mutation(random)
        try:
            answers[offer(target, subject, mutant)] += 1
        except Exception as error:
            where = f"{target.name}, seed {seed}, try {number}: {mutant.hex()}"
            raise AssertionError(f"{where}\n{type(error).__name__}: {error}") from error
    subject.check()
    return answers


def offer(target: Target, subject: Subject, raw: bytes) -> str:
    """Return the code, or the error, with which bytes are refused; "" if rightly accepted."""
    declared: tuple[type[Exception], ...] = (Refusal, *target.errors)
    try:
        made = subject.offer(raw)
    except declared as error:
        answer = error
    else:
        assert subject.holds(raw, made), "it was accepted, and is not what was signed"
        return ""
    if isinstance(answer, Refusal):
        assert answer.code in target.codes, f"{answer.code} is not declared"
        assert "{" not in answer.text, answer.text
        return answer.code
    return type(answer).__name__


# ------------------------------------------------------------------------- where fields are


def cuts_of(*widths: int) -> tuple[int, ...]:
    """Return where fields of these widths begin, and where the last one ends."""
    cuts = [0]
    for width in widths:
        cuts.append(cuts[-1] + width)
    return tuple(cuts)


MSGPACK_HEADS: Final = {
    **{0xC4: 2, 0xC5: 3, 0xC6: 5, 0xDC: 3, 0xDD: 5},
    **{0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9},
}
"""Bytes of a head with its length or its value, by the first one; all others have one."""


def msgpack_cuts(raw: bytes) -> tuple[int, ...]:
    """Return where each head, and the bytes behind it, begin: so lengths are fields too."""
    cuts, at = [], 0
    while at < len(raw):
        cuts.append(at)
        first = raw[at]
        size = MSGPACK_HEADS.get(first, 1)
        length = int.from_bytes(raw[at + 1 : at + size], "big") if 0xC4 <= first <= 0xC6 else 0
        at += size
        if length:
            cuts.append(at)
            at += length
    return (*cuts, len(raw))


def packed(raw: bytes) -> Sample:
    """The sample of an encoded record."""
    return Sample(raw, msgpack_cuts(raw))


def of_records(samples: Sequence[Sample], strangers: Sequence[Sample]) -> Callable[[Random], bytes]:
    """Mutations of encoded records: of their bytes, their values, or the form of a value."""

    def mutation(random: Random) -> bytes:
        change = random.choice((mutate, mutate, mutate_values, mutate_values, mutate_form))
        return change(random, random.choice(samples), random.choice(strangers))

    return mutation
