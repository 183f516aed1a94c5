"""The whole list in one file: u8 1 ‖ raw deflate (RFC 1951) of the columns.

- The columns are what a header's `list_hash` covers; how they were compressed is left open, so one
  list may come as different files.
- What comes out is bounded before anything is inflated, and hashed before anything is unpacked.
- The file is one deflate stream and nothing after it.
"""

import zlib
from typing import Final

from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.messages.entries import COLUMNS, Columns, read_columns
from ledger.messages.lists import MAX_NODES, MAX_SWARMS
from ledger.types import Hash

FORMAT_BYTE: Final = 1

_COUNTS_BYTES: Final = 8
_SWARM_ID_BYTES: Final = 8
_ENTRY_BYTES: Final = sum(width for _, width in COLUMNS)


def compute_columns_bound(node_count: int, swarm_count: int) -> int:
    """Return how many bytes the columns of a list of this size have at most."""
    return _COUNTS_BYTES + _SWARM_ID_BYTES * swarm_count + _ENTRY_BYTES * node_count


def compute_full_bound(columns_bound: int) -> int:
    """Return how many bytes a file of at most `columns_bound` bytes of columns needs at most.

    Deflate adds 5 bytes to each block that it cannot compress, less than a thousandth.
    """
    return columns_bound + columns_bound // 1000 + 64


MAX_COLUMNS_BYTES: Final = compute_columns_bound(MAX_NODES, MAX_SWARMS)
"""Columns of the largest list, about 17.6 MB."""

MAX_FULL_BYTES: Final = compute_full_bound(MAX_COLUMNS_BYTES)


def encode_full(columns: bytes) -> bytes:
    """Return the file of packed columns, at most `compute_full_bound(len(columns))` bytes."""
    # The best takes four times as long for less than a thousandth, and clients wait for this one.
    return bytes([FORMAT_BYTE]) + deflate(columns, 7)


def decode_full(data: bytes, expected_hash: Hash, max_columns: int = MAX_COLUMNS_BYTES) -> Columns:
    """Return the columns of a file, which have `expected_hash`.

    `max_columns` bounds the bytes that come out; who knows a header's counts passes their
    `compute_columns_bound`. Never holds more than that and the file.

    Refuses with `too_large` (the file), `unknown_format` (its first byte) and `bad_list` (what is
    no single deflate stream, inflates to more, has another hash, or holds no list).
    """
    limit = compute_full_bound(max_columns)
    if len(data) > limit:
        raise Refusal("too_large", size=len(data), limit=limit)
    if not data:
        raise Refusal("bad_list", why="the file is empty")
    if data[0] != FORMAT_BYTE:
        raise Refusal("unknown_format", version=data[0])
    columns = inflate(memoryview(data)[1:], max_columns)
    if sha256(columns) != expected_hash:
        raise Refusal("bad_list", why="its hash is not the one that the header names")
    return read_columns(columns)


def read_file(data: bytes) -> bytes:
    """Return the columns of a file of one's own, unchecked. Refuses with `bad_list`."""
    return inflate(memoryview(data)[1:], MAX_COLUMNS_BYTES)


def deflate(data: bytes, level: int = 9) -> bytes:
    """Return one deflate stream of `data`; at level 9 as short as the library makes it."""
    stream = zlib.compressobj(level=level, wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def inflate(data: memoryview, limit: int) -> bytes:
    """Return what one deflate stream holds, at most `limit` bytes. Refuses with `bad_list`."""
    stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        # One byte more than allowed is room enough to see that there is more.
        inflated = stream.decompress(data, limit + 1)
    except zlib.error:
        # the library's own words differ between its versions, so they stay out
        raise Refusal("bad_list", why="it is no deflate stream") from None
    if len(inflated) > limit:
        raise Refusal("bad_list", why=f"it inflates to more than {limit} bytes")
    if not stream.eof:
        raise Refusal("bad_list", why="it is cut off")
    if stream.unused_data:
        raise Refusal("bad_list", why="bytes are left over")
    return inflated
