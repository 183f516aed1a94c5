"""What only the store on disk can show: opening, failing, and the damage that it finds or not."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.errors import CorruptStore, Misuse, StoreInUse, StoreMissing
from ledger.leveldb import LevelStore

LETTERS: Final[Mapping[bytes, bytes | None]] = {bytes([letter]): b"value" for letter in b"abcde"}

# ---- opening and closing ----


def test_leveldb_keeps_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "not there yet" / "dätä"
    store = LevelStore(path)
    store.write(LETTERS)
    store.write({b"f": b"unsynced"}, sync=False)
    store.close()
    again = LevelStore(str(path), create=False)
    assert dict(again.items()) == {**LETTERS, b"f": b"unsynced"}
    again.close()


def test_leveldb_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing):
        LevelStore(tmp_path / "db", create=False)
    assert not (tmp_path / "db").exists()


def test_leveldb_is_open_once_in_a_process(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    store.write({b"a": b"1"})
    with pytest.raises(StoreInUse) as caught:
        LevelStore(tmp_path / "db")
    assert caught.value.where == str(tmp_path / "db")
    assert store.get(b"a") == b"1"
    store.close()
    LevelStore(tmp_path / "db").close()


def test_leveldb_is_open_in_one_process(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    program = (
        "import sys\n"
        "from ledger.errors import StoreInUse\n"
        "from ledger.leveldb import LevelStore\n"
        "try:\n"
        "    LevelStore(sys.argv[1])\n"
        "except StoreInUse:\n"
        "    print('in use')\n"
    )
    root = Path(__file__).resolve().parents[2]
    answer = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "db")],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout == "in use\n"
    store.close()


def test_leveldb_where_a_file_stands_is_refused_by_the_system(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"a file")
    with pytest.raises(FileExistsError):
        LevelStore(tmp_path / "db")


def test_closing_leveldb_ends_snapshots_and_iterators(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    store.write(LETTERS)
    snapshot, items = store.snapshot(), store.items()
    next(items)
    store.close()
    with pytest.raises(Misuse):
        snapshot.get(b"a")
    with pytest.raises(Misuse):
        next(items)
    snapshot.close()


def test_a_failed_write_stops_leveldb_until_it_is_opened_again(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    store.write({b"a": b"before"})
    with files_of_at_most(2**20), pytest.raises(OSError, match="too large"):
        store.write({b"a": b"failed", b"b": bytes(2**21)})
    with pytest.raises(OSError, match="open the store again"):
        store.write({b"a": b"after"})
    store.close()
    again = LevelStore(tmp_path / "db")
    assert dict(again.items()) == {b"a": b"before"}
    again.write({b"a": b"now"})
    again.close()


class Noting:
    """A database that notes how it is written to."""

    def __init__(self, database: Any, notes: list[bool]) -> None:
        self._database = database
        self._notes = notes

    def write_batch(self, *, sync: bool) -> Any:
        self._notes.append(sync)
        return self._database.write_batch(sync=sync)

    def close(self) -> None:
        self._database.close()


def test_leveldb_is_told_to_sync(tmp_path: Path) -> None:
    notes: list[bool] = []
    store = LevelStore(tmp_path / "db")
    store._source = Noting(store._source, notes)
    store.write({b"a": b"1"})
    store.write({b"a": b"2"}, sync=False)
    store.write({b"a": b"3"}, sync=True)
    assert notes == [True, False, True]
    store.close()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes, as a full disk would."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


# ---- damage ----

BATCH_COUNT = 5


def write_batches(path: Path) -> list[dict[bytes, bytes]]:
    """Make a database of a few synced batches; return its content after each of them."""
    store = LevelStore(path)
    contents: list[dict[bytes, bytes]] = [{}]
    for number in range(BATCH_COUNT):
        batch = {b"block %d" % number: b"content %d" % number, b"tip": b"%d" % number}
        store.write(batch)
        contents.append({**contents[-1], **batch})
    store.close()
    return contents


def content_or_damage(path: Path) -> dict[bytes, bytes] | None:
    """Everything that the database still gives, or None if it says that it is damaged."""
    try:
        store = LevelStore(path, create=False)
    except CorruptStore:
        return None
    try:
        ascending = list(store.items())
        assert list(store.items(reverse=True)) == ascending[::-1]
        assert all(store.get(key) == value for key, value in ascending)
        return dict(ascending)
    except CorruptStore:
        return None
    finally:
        store.close()


def the_file(path: Path, suffix: str) -> Path:
    """The one file of the database with this suffix that holds something."""
    (file,) = [file for file in path.glob(f"*{suffix}") if file.stat().st_size]
    return file


def damage(file: Path, offset: int) -> None:
    data = bytearray(file.read_bytes())
    data[offset] ^= 0x80
    file.write_bytes(data)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def test_a_changed_byte_in_the_log_is_found_or_reads_as_a_torn_tail(tmp_path: Path) -> None:
    contents = write_batches(tmp_path / "sound")
    log = the_file(tmp_path / "sound", ".log").read_bytes()
    # A record of the log: u32 checksum, u16 length (little-endian), u8 type, the batch.
    lengths = record_lengths(log)
    for offset in range(len(log)):
        shutil.copytree(tmp_path / "sound", tmp_path / "db")
        damage(the_file(tmp_path / "db", ".log"), offset)
        left = content_or_damage(tmp_path / "db")
        if left is not None:
            assert offset in lengths, "only a damaged length can look like a torn tail"
            assert left == contents[lengths[offset]], "whole batches, the oldest, unchanged"
        shutil.rmtree(tmp_path / "db")


def record_lengths(log: bytes) -> dict[int, int]:
    """Where the bytes of a record's length stand in a log, and how many records come before."""
    places, offset, number = {}, 0, 0
    while offset < len(log):
        places.update({offset + 4: number, offset + 5: number})
        offset += 7 + int.from_bytes(log[offset + 4 : offset + 6], "little")
        number += 1
    return places


def test_a_torn_log_loses_whole_batches_without_an_error(tmp_path: Path) -> None:
    contents = write_batches(tmp_path / "sound")
    size = the_file(tmp_path / "sound", ".log").stat().st_size
    seen = []
    for length in range(size):
        shutil.copytree(tmp_path / "sound", tmp_path / "db")
        file = the_file(tmp_path / "db", ".log")
        file.write_bytes(file.read_bytes()[:length])
        left = content_or_damage(tmp_path / "db")
        assert left in contents[:-1]
        seen.append(contents.index(left))
        shutil.rmtree(tmp_path / "db")
    assert seen == sorted(seen)
    assert sorted(set(seen)) == list(range(BATCH_COUNT))


def test_a_torn_manifest_loses_batches_in_the_middle_without_an_error(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    written = {b"block %02d" % number: b"%02d" % number * 2**19 for number in range(30)}
    for key, value in written.items():  # 30 MB: three tables, and the last batches in the log
        store.write({key: value}, sync=False)
    store.close()
    cut(the_file(tmp_path / "db", "MANIFEST-*"))
    left = content_or_damage(tmp_path / "db")
    assert left is not None
    assert left.items() < written.items()
    assert b"block 29" in left


def test_a_changed_byte_in_a_table_is_found_or_harmless(tmp_path: Path) -> None:
    contents = write_batches(tmp_path / "sound")
    LevelStore(tmp_path / "sound").close()  # turns the log into a table
    size = the_file(tmp_path / "sound", ".ldb").stat().st_size
    found = 0
    for offset in range(size):
        shutil.copytree(tmp_path / "sound", tmp_path / "db")
        damage(the_file(tmp_path / "db", ".ldb"), offset)
        left = content_or_damage(tmp_path / "db")
        assert left in (None, contents[-1])
        found += left is None
        shutil.rmtree(tmp_path / "db")
    assert found > 100, "the records and the index are in there"


def test_a_damaged_record_is_found_by_get_alone(tmp_path: Path) -> None:
    write_batches(tmp_path / "db")
    LevelStore(tmp_path / "db").close()
    damage(the_file(tmp_path / "db", ".ldb"), 10)
    store = LevelStore(tmp_path / "db")
    snapshot = store.snapshot()
    for read in (
        lambda: store.get(b"tip"),
        lambda: snapshot.get(b"tip"),
        lambda: next(store.items()),
        lambda: next(snapshot.items(reverse=True)),
    ):
        with pytest.raises(CorruptStore) as caught:
            read()
        assert caught.value.where == str(tmp_path / "db")
    store.close()


@pytest.mark.parametrize(
    ("suffix", "harm"),
    [
        (".ldb", cut),
        (".ldb", Path.unlink),
        ("CURRENT", cut),
        ("CURRENT", Path.unlink),
        ("MANIFEST-*", cut),
        ("MANIFEST-*", Path.unlink),
    ],
)
def test_a_file_that_is_cut_or_missing_is_found(
    tmp_path: Path, suffix: str, harm: Callable[[Path], None]
) -> None:
    write_batches(tmp_path / "db")
    LevelStore(tmp_path / "db").close()
    harm(the_file(tmp_path / "db", suffix))
    assert content_or_damage(tmp_path / "db") is None


def test_no_new_database_is_begun_over_an_old_one(tmp_path: Path) -> None:
    write_batches(tmp_path / "db")
    (tmp_path / "db" / "CURRENT").unlink()
    files = sorted(tmp_path.glob("db/*"))
    with pytest.raises(CorruptStore, match="CURRENT"):
        LevelStore(tmp_path / "db")
    assert sorted(tmp_path.glob("db/*")) == files
