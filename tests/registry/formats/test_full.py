"""The `full` file: what comes back, what it costs, and what a hostile one cannot do."""

import tracemalloc
import zlib
from hashlib import sha256
from random import Random

import pytest

from ledger.errors import Refusal
from ledger.messages.contact import Contact, Version
from ledger.messages.entries import Entry, pack_columns
from ledger.messages.entries import make_entries as make_entries_of
from ledger.messages.lists import MAX_ATTESTORS
from ledger.rules.swarms import UNASSIGNED, reassign
from registry.formats import FORMATS
from registry.formats.full import (
    FORMAT_BYTE,
    MAX_COLUMNS_BYTES,
    MAX_FULL_BYTES,
    compute_columns_bound,
    compute_full_bound,
    decode_full,
    encode_full,
)
from tests.registry.client.factory import make_entries, make_list

COLUMNS = pack_columns(make_entries())
HASH = sha256(COLUMNS).digest()
BOMB_BYTES = 64 * 2**20


def deflate(data: bytes, level: int = 9) -> bytes:
    stream = zlib.compressobj(level=level, wbits=-15)
    return stream.compress(data) + stream.flush()


def file_of(data: bytes) -> bytes:
    return bytes([FORMAT_BYTE]) + deflate(data)


@pytest.mark.parametrize("count", [0, 1, 2, 21, 500])
def test_every_list_comes_back(count: int) -> None:
    entries = make_entries(count, min(count, 7) or 1)
    columns = pack_columns(entries)
    full = encode_full(columns)
    assert len(full) <= compute_full_bound(len(columns))
    assert len(columns) <= compute_columns_bound(count, min(count, 7))
    assert make_entries_of(decode_full(full, sha256(columns).digest())) == entries


@pytest.mark.parametrize("level", range(10))
def test_how_it_was_compressed_is_left_open(level: int) -> None:
    data = bytes([FORMAT_BYTE]) + deflate(COLUMNS, level)
    assert make_entries_of(decode_full(data, HASH, len(COLUMNS))) == make_entries()


def test_what_does_not_compress_stays_within_its_bound() -> None:
    for size in (0, 1, 1000, 100_000, 3_000_000):
        noise = Random(size).randbytes(size)
        assert len(encode_full(noise)) <= compute_full_bound(size)


REFUSED: dict[str, tuple[str, bytes]] = {
    "nothing": ("bad_list", b""),
    "the format byte alone": ("bad_list", b"\1"),
    "format 0": ("unknown_format", b"\0" + deflate(COLUMNS)),
    "format 2": ("unknown_format", b"\2" + deflate(COLUMNS)),
    "no deflate stream": ("bad_list", b"\1" + b"\xff" * 100),
    "a zlib header": ("bad_list", b"\1" + zlib.compress(COLUMNS)),
    "a stream without an end": ("bad_list", file_of(COLUMNS)[:-1]),
    "a byte behind the stream": ("bad_list", file_of(COLUMNS) + b"\0"),
    "a second stream": ("bad_list", file_of(COLUMNS) + deflate(b"")),
    "other columns": ("bad_list", file_of(COLUMNS[:-1] + b"\1")),
    "a byte too few": ("bad_list", file_of(COLUMNS[:-1])),
    "a byte too many": ("bad_list", file_of(COLUMNS + b"\0")),
    "more than the bound": ("too_large", b"\1" + bytes(compute_full_bound(len(COLUMNS)))),
}


@pytest.mark.parametrize(("code", "data"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(code: str, data: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        decode_full(data, HASH, len(COLUMNS))
    assert caught.value.code == code


def test_the_hash_comes_before_what_is_inside() -> None:
    no_list = bytes(100)
    with pytest.raises(Refusal, match="its hash is not"):
        decode_full(file_of(no_list), HASH)
    with pytest.raises(Refusal, match="left over"):
        decode_full(file_of(no_list), sha256(no_list).digest())


@pytest.mark.parametrize("hidden", [bytes(BOMB_BYTES), Random(1).randbytes(4096) * (2**14)])
def test_a_file_that_inflates_to_far_more_is_refused_without_room_for_it(hidden: bytes) -> None:
    bomb = file_of(hidden)
    bound = len(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match=f"inflates to more than {bound}"):
            decode_full(bomb, sha256(hidden).digest(), bound)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * bound + 100_000


def test_empty_blocks_without_end_are_refused_by_the_size_of_the_file() -> None:
    empty_blocks = bytes([FORMAT_BYTE]) + b"\0\0\0\xff\xff" * 1000
    with pytest.raises(Refusal) as caught:
        decode_full(empty_blocks, HASH, len(COLUMNS))
    assert caught.value.code == "too_large"


def test_the_largest_list_is_within_the_bounds_of_the_table() -> None:
    row = FORMATS["full"]
    assert row.max_bytes == MAX_FULL_BYTES == compute_full_bound(MAX_COLUMNS_BYTES)
    assert (row.encode, row.decode) == (encode_full, decode_full)
    assert row.media_type == "application/vnd.waypost.full"
    assert MAX_FULL_BYTES < 18_000_000


def test_ten_thousand_nodes_take_at_most_40_bytes_each() -> None:
    random = Random(1)
    keys = sorted(random.randbytes(32) for _ in range(10_000))
    swarm_of = reassign(dict.fromkeys(keys, UNASSIGNED), 7)
    versions = Version(2, 8, 0), Version(11, 5, 0)
    entries = [
        Entry(key, Contact(random.randbytes(4), b"", 22021, 22020, *versions), swarm_of[key])
        for key in keys
    ]
    signed = make_list(weights=(1, 1, 1), entries=[]).signed
    assert MAX_ATTESTORS >= 3
    size = len(encode_full(pack_columns(entries))) + len(signed)
    assert size <= 40 * len(keys), f"{size / len(keys):.2f} bytes a node"
