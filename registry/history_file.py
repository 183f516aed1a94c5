"""A history as one file: a genesis file and every block, for who has no database and no network.

    16 bytes        "waypost history" and a line feed
    u16             version
    u32 ‖ bytes     the genesis file
    u32 ‖ bytes     each block from 1 on, as the journal has it
    u32             0: there are no more
    u64             how many there were
    32 bytes        SHA-256 of all bytes before

- Nothing in it depends on who writes it, or when: the same history gives the same bytes.
- It is written and read as a stream; no more than one block of it is held.
- It is read to its end before the first block is believed to be one. The hash shows damage, not
  malice: what the blocks are worth shows who executes them.
"""

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple

from ledger.errors import Misuse, WaypostError
from ledger.messages.blocks import MAX_BLOCK_BYTES
from ledger.messages.genesis import MAX_GENESIS_BYTES
from ledger.types import Hash, Height

MAGIC: Final = b"waypost history\n"
HISTORY_VERSION: Final = 1

STRIDE: Final = 256
"""Of so many blocks the reader remembers where one begins."""


class BadHistoryFile(WaypostError):
    """A file is no whole history; the text says why."""


class Written(NamedTuple):
    """What came out."""

    height: Height
    hash: Hash
    """The hash at the file's end: who has the same one has the same history."""


def write_history(stream: BinaryIO, genesis: bytes, blocks: Iterable[bytes]) -> Written:
    """Write a history, whose blocks begin with block 1."""
    hasher = hashlib.sha256()

    def put(data: bytes) -> None:
        hasher.update(data)
        stream.write(data)

    put(MAGIC + HISTORY_VERSION.to_bytes(2, "big"))
    put(_measure(genesis, MAX_GENESIS_BYTES) + genesis)
    height = 0
    for height, raw in enumerate(blocks, 1):  # noqa: B007
        put(_measure(raw, MAX_BLOCK_BYTES) + raw)
    put(bytes(4) + height.to_bytes(8, "big"))
    stream.write(hasher.digest())
    return Written(height, hasher.digest())


def _measure(data: bytes, limit: int) -> bytes:
    """Return the length that stands before a part."""
    if not 0 < len(data) <= limit:
        raise Misuse(f"a part of a history has 1 to {limit} bytes, not {len(data)}")
    return len(data).to_bytes(4, "big")


class HistoryFile:
    """A history that is whole. Reading moves the stream: one reader at a time goes through it."""

    def __init__(self, name: str, stream: BinaryIO) -> None:
        """Read a file once, from its beginning to its end. Raises `BadHistoryFile`."""
        self.name = name
        self.root: Hash | None = None
        """A file claims no state root beside those of its blocks."""
        self._stream = stream
        self._left = stream.seek(0, os.SEEK_END)
        self._places = array("Q")
        stream.seek(0)
        self._read_through()

    def blocks(self) -> Iterator[bytes]:
        """Yield every encoded block from 1 to `height`."""
        place = self._places[0]
        for _ in range(self.height):
            self._stream.seek(place)
            raw = self._stream.read(self._read_length())
            place = self._stream.tell()
            yield raw

    def block(self, height: Height) -> bytes:
        """Return one block, of 1 to `height`."""
        self._stream.seek(self._places[(height - 1) // STRIDE])
        for _ in range((height - 1) % STRIDE):
            self._stream.seek(self._read_length(), os.SEEK_CUR)
        return self._stream.read(self._read_length())

    def _read_length(self) -> int:
        return int.from_bytes(self._stream.read(4), "big")

    # ------------------------------------------------------------------ the first reading

    def _read_through(self) -> None:
        self._hasher = hashlib.sha256()
        if self._take(len(MAGIC)) != MAGIC:
            raise self._refuse("it does not begin like one")
        version = self._take_number(2)
        if version != HISTORY_VERSION:
            raise self._refuse(f"its version is {version}, known is {HISTORY_VERSION}")
        self.genesis = self._take(self._take_length(MAX_GENESIS_BYTES, "genesis file"))
        if not self.genesis:
            raise self._refuse("it has no genesis file")
        self.height = self._skip_blocks()
        if self._take_number(8) != self.height:
            raise self._refuse("it has another number of blocks than its end says")
        self.hash = self._hasher.digest()
        if self._take(32) != self.hash:
            raise self._refuse("its bytes are not those that were written: copy it again")
        if self._left:
            raise self._refuse(f"{self._left} bytes follow its end")

    def _skip_blocks(self) -> Height:
        """Go to the end of the blocks, and return how many there are."""
        count, place = 0, self._stream.tell()
        self._places.append(place)
        while size := self._take_length(MAX_BLOCK_BYTES, f"block {count + 1}"):
            if count and count % STRIDE == 0:
                self._places.append(place)
            self._take(size)
            place += 4 + size
            count += 1
        return count

    def _take_length(self, limit: int, what: str) -> int:
        size = self._take_number(4)
        if size > limit:
            raise self._refuse(f"its {what} has {size} bytes, {limit} are allowed")
        return size

    def _take_number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def _take(self, size: int) -> bytes:
        """Return the next bytes, if the file has so many; no length makes room that it has not."""
        self._left -= size
        data = self._stream.read(size) if self._left >= 0 else b""
        if len(data) < size:
            raise self._refuse("it is cut off: copy it again")
        self._hasher.update(data)
        return data

    def _refuse(self, why: str) -> BadHistoryFile:
        return BadHistoryFile(f"{self.name} is no history: {why}")
