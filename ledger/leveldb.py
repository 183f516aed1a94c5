"""The store on disk: LevelDB. The only importer of plyvel, and imported by processes only.

What damage is found, as seen by changing and cutting each file in turn (tests/ledger/test_leveldb):

- A changed byte of a record in the log is found at opening, one of the records or the index of a
  table when they are read, one in `CURRENT` or the manifest at opening, a missing table at opening,
  one that was cut short when it is read. Each raises `CorruptStore`.
- A log that ends early, or whose last 32 KiB hold a damaged record *length*, looks as if a power
  failure had cut it off. The batches from there on are gone **without an error**; those before are
  whole and unchanged.
- A manifest that ends early in the same way no longer names the newest tables. Their batches are
  gone **without an error**, from the middle, while newer ones in the log stay. So are the batches
  of a log file that somebody removed. (A power failure does none of this: LevelDB syncs a manifest
  before it relies on it.)

There are no Bloom filters: LevelDB checks one only when it opens a table, and then reads it where
the file is mapped into memory, so that bits which turn there hide records without an error. The
index of a table is read in the same way where it did not shrink by compression, in small tables.

So a record that is read is the one that was written, and one that is missing may have been there.
Whoever relies on the whole compares heights and hashes, as the chain does when it starts.

Two traps of plyvel are the reason for `raw_iterator`: its other iterator ends without an error
before a damaged last block, and in reverse it misses a range's only key.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ledger.errors import CorruptStore, Misuse, StoreInUse, StoreMissing

try:
    import plyvel
except ModuleNotFoundError:  # the maintained fork, where plyvel has no wheels
    import plyvel_next as plyvel

OPTIONS: Final = {
    # Without it a damaged batch in the middle of the log vanishes and the ones after it stay.
    "paranoid_checks": True,
    # A block's batch is up to a few MB; the log of this size is read again at start.
    "write_buffer_size": 8 * 2**20,
    "lru_cache_size": 32 * 2**20,
    "max_file_size": 8 * 2**20,
    # Sockets need descriptors too, and 1,024 a process is a usual limit.
    "max_open_files": 256,
}


class _LevelReader:
    """What a database and a snapshot of it have in common."""

    def __init__(self, where: str, source: Any) -> None:
        self._where = where
        self._source = source

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._source.get(key, verify_checksums=True)
        except (plyvel.Error, RuntimeError) as error:
            raise _translated(self._where, error) from error
        return value

    def items(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        # The iterator is made here and not in the generator: it shows the store of this moment.
        try:
            raw = self._source.raw_iterator(verify_checksums=True)
        except (plyvel.Error, RuntimeError) as error:
            raise _translated(self._where, error) from error
        walk = _descending if reverse else _ascending
        return _walk(self._where, raw, walk(raw, start, stop))

    def close(self) -> None:
        """Close it; closing again does nothing."""
        self._source.close()


class LevelStore(_LevelReader):
    """A LevelDB database in the directory `path`.

    `create` makes one where there is none, and the directories above it. Raises `StoreMissing`
    where there is none without `create`, `StoreInUse` where it is open already, `CorruptStore`
    where files are damaged or missing, OSError where the system refuses.

    One thread writes while others read, each with iterators of its own; `close` comes after all of
    them are done.
    """

    def __init__(self, path: Path | str, *, create: bool = True) -> None:
        directory = Path(path)
        self._failed = False
        super().__init__(str(path), _opened(directory, create=create))

    def write(self, changes: Mapping[bytes, bytes | None], *, sync: bool = True) -> None:
        """Write all changes as one batch; None deletes. See `ledger.store.Store`."""
        if self._failed:
            raise OSError(f"a write to {self._where} failed before: open the store again")
        try:
            batch = self._source.write_batch(sync=sync)
            for key, value in changes.items():
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
            batch.write()
        except (plyvel.Error, RuntimeError) as error:
            # What follows half a record in the log would be lost with it at the next start.
            self._failed = True
            raise _translated(self._where, error) from error

    def snapshot(self) -> "LevelSnapshot":
        """Return an unchanging picture of the database as it is now."""
        try:
            return LevelSnapshot(self._where, self._source.snapshot())
        except (plyvel.Error, RuntimeError) as error:
            raise _translated(self._where, error) from error


class LevelSnapshot(_LevelReader):
    """An unchanging picture of a `LevelStore`; closing the store ends it."""


def _opened(directory: Path, *, create: bool) -> Any:
    where = str(directory)
    if not directory.joinpath("CURRENT").exists():
        # LevelDB would begin a new database over the files of the old one.
        if any(file.suffix in (".ldb", ".log") for file in directory.glob("*")):
            raise CorruptStore(where, "the file CURRENT is missing, other files of it are there")
        if not create:
            raise StoreMissing(where)
        directory.mkdir(parents=True, exist_ok=True)
    try:
        return plyvel.DB(where, create_if_missing=create, **OPTIONS)
    except plyvel.Error as error:
        raise _translated(where, error) from error


def _ascending(raw: Any, start: bytes, stop: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    raw.seek(start)
    while raw.valid():
        key, value = raw.item()
        if stop is not None and key >= stop:
            return
        yield key, value
        raw.next()


def _descending(raw: Any, start: bytes, stop: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    raw.seek_to_last()
    if stop is not None and raw.valid() and raw.key() >= stop:
        raw.seek(stop)  # the first key that is too high
        raw.prev()
    while raw.valid():
        key, value = raw.item()
        if key < start:
            return
        yield key, value
        raw.prev()


def _walk(
    where: str, raw: Any, items: Iterator[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes]]:
    try:
        yield from items
    except (plyvel.Error, RuntimeError) as error:
        raise _translated(where, error) from error
    finally:
        raw.close()


def _translated(where: str, error: Exception) -> Exception:
    """Return what an error of plyvel means here. Its text is read, and never reaches a result."""
    text = _text(error)
    if isinstance(error, plyvel.IOError):
        if text.startswith("IO error: lock "):
            return StoreInUse(where)
        # This is how LevelDB says that it read past the end of a table that was cut short.
        is_short_table = text.endswith(".ldb: Invalid argument")
        return CorruptStore(where, text) if is_short_table else OSError(text)
    if isinstance(error, plyvel.Error):
        return CorruptStore(where, text)
    return Misuse(f"the store or snapshot of {where} is closed")


def _text(error: Exception) -> str:
    first = error.args[0] if error.args else ""
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)
