"""Targets: what a network leaves to the one that goes on, changed on its way."""

from collections.abc import Callable
from random import Random
from typing import Final

from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import encode
from registry.inheritance import INHERITANCE_FILE, InheritanceFile
from tests.mutations.decoders import LEFT, begin_with
from tests.mutations.engine import Sample, Subject, Target, mutate, of_records, packed

GOOD: Final = begin_with(LEFT)


def is_the_same(_raw: bytes, chain: Chain) -> bool:
    """Whether the network begins with all that was left, and with nothing else."""
    return chain.tip == GOOD.tip and dict(chain.store.items()) == dict(GOOD.store.items())


def files(_seed: int) -> Subject:
    """The whole file, in its bytes, in its values, and in the form of these."""
    samples = [packed(LEFT)]
    return Subject(samples, begin_with, is_the_same, mutation=of_records(samples, samples))


def parts(_seed: int) -> Subject:
    """The file put together again from a path, a header, or a chunk that was changed."""
    file = INHERITANCE_FILE.decode(LEFT)
    makers: list[Callable[[Random], InheritanceFile]] = [
        lambda random: _with(file, path=_change(random, file.path)),
        lambda random: _with(file, header=_change(random, file.header)),
        lambda random: _with(file, genesis=_change(random, file.genesis)),
        lambda random: _with(file, chunks=(_change(random, file.chunks[0]),)),
    ]
    return Subject(
        [packed(LEFT)],
        begin_with,
        is_the_same,
        mutation=lambda random: encode(random.choice(makers)(random)),
    )


def _with(file: InheritanceFile, **changes: object) -> InheritanceFile:
    return replace(file, **changes)


def _change(random: Random, raw: bytes) -> bytes:
    return mutate(random, packed(raw) if raw else Sample(raw), Sample(raw))


OF_CLIENTS: Final = frozenset(
    (
        *("bad_header", "unknown_format", "bad_path", "wrong_set", "unknown_attestor", "not_final"),
        *("bad_signature", "bad_history", "from_the_future", "succeeded"),
    )
)
OF_FILES: Final = frozenset(
    ("too_large", "not_canonical", "bad_genesis", "bad_parameter", "bad_relation")
)
OWN: Final = frozenset(("bad_inheritance", "wrong_successor"))

INHERITANCE: Final = (
    Target("inheritances", files, 2, 400, OF_CLIENTS | OF_FILES | OWN),
    Target("parts of inheritances", parts, 2, 400, OF_CLIENTS | OF_FILES | OWN),
)
