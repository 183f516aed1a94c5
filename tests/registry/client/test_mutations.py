"""Damage at random: what is not refused with a code is exactly what was signed."""

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from random import Random

import pytest

from ledger.errors import Refusal
from ledger.messages.lists import pack_columns
from registry.client import TrustedLists
from registry.formats.full import encode_full
from tests.registry.client.factory import NOW_MS, MadeList, make_entries, make_list

SEEDS = range(8)
TRIES = 500
"""Damaged copies for each seed, of the header and of the file."""


def damage(random: Random, data: bytes) -> bytes:
    """Change, cut out, put in, double or cut off some bytes."""
    damaged = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        at, size = random.randrange(len(damaged)), random.choice((1, 1, 2, 4, 8, 64))
        match random.randrange(6):
            case 0:
                damaged[at] ^= 1 << random.randrange(8)
            case 1:
                damaged[at] = random.randrange(256)
            case 2 if len(damaged) > size:
                del damaged[at : at + size]
            case 3:
                damaged[at:at] = random.randbytes(size)
            case 4:
                damaged[at:at] = damaged[at : at + size]
            case 5 if at:
                del damaged[at:]
            case _:
                damaged[at] ^= 255
    return bytes(damaged)


def damaged_copies(seed: int, data: bytes) -> Iterator[bytes]:
    random = Random(seed)
    yield from (copy for _ in range(TRIES) if (copy := damage(random, data)) != data)


def make_any_list(seed: int) -> MadeList:
    """A list of another size for each seed, which not everybody signed."""
    return make_list(
        weights=(1, 2, 3, 4, 5),
        signers=(1, 2, 3, 4) if seed % 2 else (0, 1, 2, 3, 4),
        entries=make_entries(5 + 7 * seed, 1 + seed % 5),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_headers(seed: int) -> None:
    made = make_any_list(seed)
    for number, copy in enumerate(damaged_copies(seed, made.signed)):
        client = TrustedLists(made.genesis, NOW_MS)
        with suppress(Refusal):
            client.update(copy)
        assert client.is_empty or client.header == made.header, f"seed {seed}, try {number}"


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_files(seed: int) -> None:
    made = make_any_list(seed)
    for number, copy in enumerate(damaged_copies(seed, made.full)):
        client = TrustedLists(made.genesis, NOW_MS)
        client.update(made.signed)
        with suppress(Refusal):
            client.load_full(copy)
        assert client.needs_list or client.entries == made.entries, f"seed {seed}, try {number}"


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_columns_that_were_signed(seed: int) -> None:
    """Attestors may sign nonsense: it is refused, or there is one list that has these columns."""
    columns = make_any_list(seed).columns
    for number, copy in enumerate(damaged_copies(seed, columns)):
        nodes, swarms = int.from_bytes(copy[:4], "big"), int.from_bytes(copy[4:8], "big")
        if nodes > 10_000 or swarms > nodes:
            continue
        list_hash = sha256(copy).digest()
        made = make_list(entries=[], node_count=nodes, swarm_count=swarms, list_hash=list_hash)
        client = TrustedLists(made.genesis, NOW_MS)
        client.update(made.signed)
        with suppress(Refusal):
            client.load_full(encode_full(copy))
        is_whole = client.needs_list or pack_columns(client.entries) == copy
        assert is_whole, f"seed {seed}, try {number}"
