"""A history as one file: its bytes, and everything that is no whole one."""

import tracemalloc
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

from ledger.errors import Misuse
from ledger.messages.blocks import MAX_BLOCK_BYTES
from ledger.messages.genesis import MAX_GENESIS_BYTES
from registry import history_file
from registry.history_file import BadHistoryFile, HistoryFile, write_history

GENESIS: Final = b"a genesis file"
BLOCKS: Final = [b"%d" % number * number for number in range(1, 12)]
HEAD: Final = 18
"""Where the length of the genesis file stands."""


def compose(genesis: bytes, blocks: list[bytes], count: int | None = None) -> bytes:
    """The format, written down a second time."""
    raw = b"waypost history\n" + b"\0\1"
    for part in (genesis, *blocks):
        raw += len(part).to_bytes(4, "big") + part
    raw += bytes(4) + (len(blocks) if count is None else count).to_bytes(8, "big")
    return raw + sha256(raw).digest()


RAW: Final = compose(GENESIS, BLOCKS)


def read(raw: bytes) -> HistoryFile:
    return HistoryFile("it", BytesIO(raw))


def rehash(raw: bytes) -> bytes:
    """Bytes whose hash fits again, as somebody with a purpose makes them."""
    return raw[:-32] + sha256(raw[:-32]).digest()


def replace_length(at: int, size: int) -> bytes:
    return rehash(RAW[:at] + size.to_bytes(4, "big") + RAW[at + 4 :])


def test_what_is_written_is_read() -> None:
    stream = BytesIO()
    written = write_history(stream, GENESIS, iter(BLOCKS))
    assert stream.getvalue() == RAW
    assert written == (len(BLOCKS), RAW[-32:])
    history = read(RAW)
    assert (history.genesis, history.height, history.hash) == (GENESIS, len(BLOCKS), written.hash)
    assert list(history.blocks()) == list(history.blocks()) == BLOCKS


def test_a_history_without_blocks_is_one() -> None:
    history = read(compose(GENESIS, []))
    assert (history.height, list(history.blocks())) == (0, [])


@pytest.mark.parametrize("stride", [1, 2, 5, 11, 256])
def test_any_block_is_found(monkeypatch: pytest.MonkeyPatch, stride: int) -> None:
    monkeypatch.setattr(history_file, "STRIDE", stride)
    history = read(RAW)
    assert [history.block(height) for height in range(11, 0, -1)] == BLOCKS[::-1]
    # a reader that goes through all of them comes back to where it was
    going = history.blocks()
    assert [next(going), history.block(7), next(going)] == [BLOCKS[0], BLOCKS[6], BLOCKS[1]]


@pytest.mark.parametrize("part", [b"", bytes(MAX_BLOCK_BYTES + 1)])
def test_a_writer_is_held_to_the_bounds(part: bytes) -> None:
    with pytest.raises(Misuse):
        write_history(BytesIO(), GENESIS, [part])


def test_every_cut_is_noticed() -> None:
    for end in range(len(RAW)):
        with pytest.raises(BadHistoryFile):
            read(RAW[:end])


def test_every_bit_counts() -> None:
    for place in range(8 * len(RAW)):
        raw = bytearray(RAW)
        raw[place // 8] ^= 1 << place % 8
        with pytest.raises(BadHistoryFile):
            read(bytes(raw))


REFUSED: Final[dict[str, tuple[Callable[[], bytes], str]]] = {
    "nothing": (lambda: b"", "cut off"),
    "something else": (lambda: b"{" * 100, "does not begin"),
    "a later version": (lambda: rehash(RAW[:16] + b"\0\2" + RAW[18:]), "its version is 2"),
    "no genesis file": (lambda: compose(b"", []), "no genesis file"),
    "a genesis file that is too long": (
        lambda: replace_length(HEAD, MAX_GENESIS_BYTES + 1),
        "genesis file has 67108865 bytes",
    ),
    "a block that is too long": (
        lambda: replace_length(HEAD + 4 + len(GENESIS), MAX_BLOCK_BYTES + 1),
        "block 1 has 33554433 bytes",
    ),
    "a block that is longer than the file": (
        lambda: replace_length(HEAD + 4 + len(GENESIS), MAX_BLOCK_BYTES),
        "cut off",
    ),
    "a block less than its end says": (
        lambda: compose(GENESIS, BLOCKS, count=12),
        "another number of blocks",
    ),
    "a block in another place": (
        lambda: compose(GENESIS, [BLOCKS[1], BLOCKS[0], *BLOCKS[2:]])[:-32] + RAW[-32:],
        "not those that were written",
    ),
    "two of them": (lambda: RAW + RAW, f"{len(RAW)} bytes follow"),
    "a line feed behind it": (lambda: RAW + b"\n", "1 bytes follow"),
    "an end without a hash": (lambda: RAW[:-32], "cut off"),
    "blocks without an end": (lambda: RAW[: -32 - 8 - 4], "cut off"),
}


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(make: Callable[[], bytes], says: str) -> None:
    with pytest.raises(BadHistoryFile, match=says):
        read(make())


@pytest.mark.parametrize("size", [MAX_GENESIS_BYTES, MAX_GENESIS_BYTES + 1, 2**32 - 1])
def test_what_promises_much_takes_no_room(size: int, tmp_path: Path) -> None:
    """A file of the machine makes room for all that it is asked for."""
    path = tmp_path / "file"
    path.write_bytes(replace_length(HEAD, size))
    tracemalloc.start()
    try:
        with path.open("rb") as stream, pytest.raises(BadHistoryFile):
            HistoryFile("it", stream)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_long_history_takes_the_room_of_a_block() -> None:
    block = bytes(2**16)
    stream = BytesIO(compose(GENESIS, [block] * 200))
    tracemalloc.start()
    try:
        history = HistoryFile("it", stream)
        assert sum(1 for _ in history.blocks()) == 200
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * len(block)
