"""Watermarks only go forward, whatever fails, whoever else comes, and whatever is put back."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.codec import encode
from ledger.crypto import sha256, tagged_hash
from registry.keystore import ROLES
from registry.watermarks import (
    BLOCKS,
    HEADERS,
    LOCK,
    SIGNING_ROLES,
    Backup,
    BadBackup,
    Held,
    Mark,
    SignerRefuses,
    Watermark,
    WatermarkNotWritten,
    Watermarks,
    WatermarksInUse,
    import_backup,
    list_watermarks,
    make_backup,
    read_backup,
    write_backup,
)
from tests.flip import flip

ROOT: Final = Path(__file__).parents[2]
NETWORK, OTHER_NETWORK = sha256(b"a genesis file"), sha256(b"another")
KEY, OTHER_KEY = sha256(b"a key"), sha256(b"another key")
ONE, TWO = sha256(b"one"), sha256(b"two")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Watermarks]:
    held = Watermarks(tmp_path / "watermarks", NETWORK)
    yield held
    held.close()


def test_the_table_of_roles_names_keys_that_there_are() -> None:
    assert len({role.name for role in SIGNING_ROLES}) == len(SIGNING_ROLES)
    for role in SIGNING_ROLES:
        assert role.key in ROLES
        # it stands in names of files and in records
        assert role.name.isalpha()
        assert len(role.name) <= 32


# --------------------------------------------------------------------------------- files


def test_a_watermark_begins_at_nothing_and_comes_back_after_a_restart(folder: Watermarks) -> None:
    mark = folder.open(HEADERS, KEY)
    assert (mark.number, mark.hash, mark.is_restored) == (None, None, False)
    mark.advance(3, ONE)
    again = folder.open(HEADERS, KEY)
    assert (mark.number, mark.hash) == (again.number, again.hash) == (3, ONE)
    assert mark.path.name == f"headers-{KEY.hex()[:16]}"
    assert mark.path.stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("restart", [False, True])
def test_a_watermark_only_goes_forward(folder: Watermarks, restart: bool) -> None:
    mark = folder.open(HEADERS, KEY)
    mark.advance(3, ONE)
    if restart:
        mark = folder.open(HEADERS, KEY)
    mark.advance(3, ONE)
    for number, digest in ((3, TWO), (2, ONE), (0, bytes(32))):
        with pytest.raises(SignerRefuses, match="epoch 3 was signed already"):
            mark.advance(number, digest)
    assert (mark.number, mark.hash) == (3, ONE)
    mark.advance(9, TWO)
    assert folder.open(HEADERS, KEY).number == 9


def test_number_zero_is_not_nothing(folder: Watermarks) -> None:
    folder.open(HEADERS, KEY).advance(0, ONE)
    with pytest.raises(SignerRefuses, match="epoch 0 was signed already"):
        folder.open(HEADERS, KEY).advance(0, TWO)


def test_roles_and_keys_have_watermarks_of_their_own(folder: Watermarks) -> None:
    folder.open(HEADERS, KEY).advance(3, ONE)
    folder.open(BLOCKS, KEY).advance(2, TWO)
    folder.open(HEADERS, OTHER_KEY).advance(1, TWO)
    assert [path.name.split("-")[0] for path, _ in list_watermarks(folder.path, NETWORK)] == [
        *("blocks", "headers", "headers"),
    ]
    assert folder.open(HEADERS, KEY).number == 3


def file_of(**changes: Any) -> bytes:
    """What a watermark's file holds, with a checksum that fits."""
    fields = {"version": 1, "network": NETWORK, "restored": 0}
    mark = {"role": b"headers", "key": KEY, "number": 3, "hash": ONE}
    for name, value in changes.items():
        (fields if name in fields else mark)[name] = value
    body = encode((fields["version"], fields["network"], tuple(mark.values()), fields["restored"]))
    return body + tagged_hash(b"waypost watermark", body)


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "damaged"),
    "one byte": (b"\x94", "damaged"),
    "cut off": (file_of()[:-1], "damaged"),
    "half": (file_of()[: len(file_of()) // 2], "damaged"),
    "without its checksum": (file_of()[:-32], "damaged"),
    "zeros": (bytes(len(file_of())), "damaged"),
    "garbage": (b"garbage" * 20, "damaged"),
    "something behind it": (file_of() + b"\0", "damaged"),
    "another number in it": (file_of().replace(b"\x03", b"\x02"), "damaged"),
    "another version": (file_of(version=2), "of another version"),
    "restored twice": (file_of(restored=2), "damaged"),
    "a number that is none": (file_of(number=b"3"), "damaged"),
    "a hash that is none": (file_of(hash=ONE[:31]), "damaged"),
    "another role": (file_of(role=b"blocks"), "of the role blocks"),
    "an unknown role": (file_of(role=b"wishes"), "of the role wishes"),
    "another key": (file_of(key=OTHER_KEY), f"of the key {OTHER_KEY.hex()}"),
    "another network": (file_of(network=OTHER_NETWORK), f"of the network {OTHER_NETWORK.hex()}"),
    "a backup": (encode(Backup(1, NETWORK, ())), "damaged"),
    "the format before": (encode((3, ONE)), "damaged"),
} | {
    f"bit {place} flipped": (flip(file_of(), place), "damaged")
    for place in range(0, len(file_of()), 7)
}


@pytest.mark.parametrize(("raw", "says"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_what_is_not_this_keys_watermark_is_refused_and_left_alone(
    folder: Watermarks, raw: bytes, says: str
) -> None:
    path = folder.open(HEADERS, KEY).path
    path.write_bytes(raw)
    with pytest.raises(SignerRefuses, match=says) as caught:
        folder.open(HEADERS, KEY)
    assert str(path) in str(caught.value)
    with pytest.raises(SignerRefuses, match=path.name):
        list_watermarks(folder.path, NETWORK)
    backup = Backup(1, NETWORK, (Mark(b"headers", KEY, 9, TWO),))
    with pytest.raises(SignerRefuses, match=says):
        import_backup(folder, backup)
    assert path.read_bytes() == raw


def test_the_file_that_is_broken_in_these_cases_is_a_good_one(folder: Watermarks) -> None:
    path = folder.open(HEADERS, KEY).path
    path.write_bytes(file_of())
    assert folder.open(HEADERS, KEY).number == 3


def link(path: Path) -> None:
    """To a good one, which the next write would not reach."""
    (path.parent / "elsewhere").write_bytes(file_of())
    path.symlink_to(path.parent / "elsewhere")


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parent / "a disk that is not there" / path.name)


def endless(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


NO_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a folder": (Path.mkdir, "cannot be read"),
    "a link": (link, "cannot be read"),
    "a link to nothing": (link_to_nothing, "cannot be read"),
    "a pipe that nobody writes": (os.mkfifo, "damaged"),
    "far too long": (endless, "damaged"),
}


@pytest.mark.parametrize(("make", "says"), NO_FILES.values(), ids=NO_FILES.keys())
def test_what_cannot_be_read_is_refused(
    folder: Watermarks, make: Callable[[Path], None], says: str
) -> None:
    make(folder.open(HEADERS, KEY).path)
    with pytest.raises(SignerRefuses, match=says):
        folder.open(HEADERS, KEY)


# -------------------------------------------------------------------------------- writing


class Full:
    """A file on a disk that is full."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def write(self, _data: bytes) -> None:
        raise OSError(28, "no space left on device")


def fail(
    monkeypatch: pytest.MonkeyPatch, name: str, call: int = 1, after: bool = False
) -> Callable[[], None]:
    """Let a call of a function of `os` fail, before or after it took effect; returns the cure."""
    real = getattr(os, name)
    calls = [0]

    def broken(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] != call:
            return real(*arguments, **named)
        if after:
            real(*arguments, **named)
        raise OSError(5, "input/output error")

    monkeypatch.setattr(os, name, broken)
    return lambda: monkeypatch.setattr(os, name, real)


def fill_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    real = os.fdopen
    monkeypatch.setattr(os, "fdopen", lambda *arguments: Full(real(*arguments)))
    return lambda: monkeypatch.setattr(os, "fdopen", real)


Break = Callable[[pytest.MonkeyPatch], Callable[[], None]]
FAILURES: dict[str, tuple[Break, bool]] = {
    "making a file": (lambda patch: fail(patch, "open"), False),
    "writing it": (fill_up, False),
    "its mode": (lambda patch: fail(patch, "fchmod"), False),
    "syncing it": (lambda patch: fail(patch, "fsync"), False),
    "renaming it": (lambda patch: fail(patch, "replace"), False),
    "renaming it, which was done": (lambda patch: fail(patch, "replace", after=True), True),
    "opening the folder": (lambda patch: fail(patch, "open", 2), True),
    "syncing the folder": (lambda patch: fail(patch, "fsync", 2), True),
}
"""What fails, and whether the new mark is there afterwards."""


@pytest.mark.parametrize("first", [False, True], ids=["a later one", "the first one"])
@pytest.mark.parametrize(("broken", "landed"), FAILURES.values(), ids=FAILURES.keys())
def test_a_write_that_fails_names_the_file_and_forgets_nothing_that_may_be_there(
    monkeypatch: pytest.MonkeyPatch,
    folder: Watermarks,
    broken: Break,
    landed: bool,
    first: bool,
) -> None:
    mark = folder.open(HEADERS, KEY)
    if not first:
        mark.advance(3, ONE)
    cure = broken(monkeypatch)
    with pytest.raises(WatermarkNotWritten, match=r"nothing was signed: ") as caught:
        mark.advance(4, ONE)
    assert str(mark.path) in str(caught.value)
    cure()
    restarted = folder.open(HEADERS, KEY)
    assert restarted.number == (4 if landed else None if first else 3)
    assert sorted(os.listdir(folder.path)) == sorted(
        [LOCK, *([mark.path.name] if landed or not first else [])]
    )
    if landed:
        for same in (mark, restarted):
            with pytest.raises(SignerRefuses, match="epoch 4 was signed already"):
                same.advance(4, TWO)
    if not first:
        with pytest.raises(SignerRefuses, match="was signed already"):
            mark.advance(3, TWO)
    # what was tried may be tried again, and is written anew
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    mark.advance(4, ONE)
    assert len(synced) == 2
    assert folder.open(HEADERS, KEY).hash == ONE
    with pytest.raises(SignerRefuses, match="epoch 4 was signed already"):
        mark.advance(4, TWO)


@pytest.mark.parametrize("kind", [name for name, (_, landed) in FAILURES.items() if not landed])
def test_after_a_write_that_is_not_there_something_else_may_be_signed(
    monkeypatch: pytest.MonkeyPatch, folder: Watermarks, kind: str
) -> None:
    mark = folder.open(HEADERS, KEY)
    mark.advance(3, ONE)
    cure = FAILURES[kind][0](monkeypatch)
    with pytest.raises(WatermarkNotWritten):
        mark.advance(4, ONE)
    cure()
    mark.advance(4, TWO)
    assert folder.open(HEADERS, KEY).hash == TWO


def test_where_nobody_can_tell_what_is_there_nothing_else_is_signed(
    monkeypatch: pytest.MonkeyPatch, folder: Watermarks
) -> None:
    mark = folder.open(HEADERS, KEY)
    mark.advance(3, ONE)
    with monkeypatch.context() as broken:
        fail(broken, "replace")
        broken.setattr(
            "registry.watermarks._read_file", lambda _: (_ for _ in ()).throw(OSError("gone"))
        )
        with pytest.raises(WatermarkNotWritten):
            mark.advance(4, ONE)
    with pytest.raises(SignerRefuses, match="epoch 4 was signed already"):
        mark.advance(4, TWO)
    mark.advance(4, ONE)
    assert folder.open(HEADERS, KEY).number == 4


# ---------------------------------------------------------------------------- two processes

HOLD: Final = """
import sys
from pathlib import Path
from registry.watermarks import HEADERS, Watermarks, WatermarksInUse
try:
    held = Watermarks(Path(sys.argv[1]), bytes.fromhex(sys.argv[2]))
except WatermarksInUse as error:
    print(f"refused: {error}", flush=True)
    sys.exit(3)
held.open(HEADERS, bytes.fromhex(sys.argv[3])).advance(7, bytes(32))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that holds the watermarks, or says why it does not."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), NETWORK.hex(), KEY.hex()],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def test_of_two_processes_on_one_home_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "watermarks"
    with holder(path) as (process, said):
        assert said == "held\n"
        for _ in range(2):
            with pytest.raises(WatermarksInUse, match="another process holds") as caught:
                Watermarks(path, NETWORK)
            assert str(path) in str(caught.value)
        with holder(path) as (second, said):
            assert "refused: another process holds" in said
            assert second.wait() == 3
        # reading does no harm
        [(_, held)] = list_watermarks(path, NETWORK)
        assert held.mark.number == 7
        process.kill()
        process.wait()
        # its death lets go, and leaves what it wrote
        mine = Watermarks(path, NETWORK)
        assert mine.open(HEADERS, KEY).number == 7
        with holder(path) as (_, said):
            assert "refused" in said
        mine.close()
    with holder(path) as (_, said):
        assert said == "held\n"


def test_who_finds_another_folder_in_the_place_of_its_own_writes_nothing(tmp_path: Path) -> None:
    """Somebody put a copy back under a running service, which another one may hold by now."""
    path = tmp_path / "watermarks"
    first = Watermarks(path, NETWORK)
    mark = first.open(HEADERS, KEY)
    mark.advance(3, ONE)
    path.rename(tmp_path / "old")
    with pytest.raises(WatermarksInUse, match="does not hold"):
        mark.advance(4, ONE)
    second = Watermarks(path, NETWORK)
    with pytest.raises(WatermarksInUse, match="does not hold"):
        mark.advance(4, ONE)
    assert not mark.path.exists()
    second.close()
    first.close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "watermarks").write_text("a file")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / LOCK).mkdir()
    for path in (tmp_path / "watermarks", tmp_path / "watermarks" / "below", tmp_path / "home"):
        with pytest.raises(WatermarkNotWritten, match="no watermark can be written") as caught:
            Watermarks(path, NETWORK)
        assert str(path) in str(caught.value)


def test_who_let_go_writes_nothing_any_more(folder: Watermarks) -> None:
    mark = folder.open(HEADERS, KEY)
    folder.close()
    with pytest.raises(WatermarksInUse, match="does not hold"):
        mark.advance(3, ONE)
    assert not mark.path.exists()
    folder.close()


# -------------------------------------------------------------------------------- backups


def marked(folder: Watermarks, number: int, digest: bytes = ONE) -> Watermark:
    mark = folder.open(HEADERS, KEY)
    mark.advance(number, digest)
    return mark


def backup_of(*marks: Mark) -> Backup:
    return Backup(1, NETWORK, marks)


def headers_at(number: int, digest: bytes = ONE) -> Mark:
    return Mark(b"headers", KEY, number, digest)


HELD_AND_GIVEN: dict[str, tuple[int | None, int, tuple[str, int, bool]]] = {
    "nothing here": (None, 3, ("raised", 3, True)),
    "epoch 0 and nothing here": (None, 0, ("raised", 0, True)),
    "a newer backup": (3, 4, ("raised", 4, True)),
    "an equal one": (3, 3, ("kept", 3, False)),
    "an older one": (3, 2, ("kept", 3, False)),
}
"""Number here, number in the backup, and what comes of it."""


@pytest.mark.parametrize(
    ("here", "given", "comes"), HELD_AND_GIVEN.values(), ids=HELD_AND_GIVEN.keys()
)
def test_an_import_raises_and_never_lowers(
    folder: Watermarks, here: int | None, given: int, comes: tuple[str, int, bool]
) -> None:
    if here is not None:
        marked(folder, here)
    outcome, number, is_restored = comes
    [imported] = import_backup(folder, backup_of(headers_at(given)))
    assert imported == (headers_at(number), outcome)
    mark = folder.open(HEADERS, KEY)
    assert (mark.number, mark.hash, mark.is_restored) == (number, ONE, is_restored)
    # once more changes nothing, and makes nothing certain
    [imported] = import_backup(folder, backup_of(headers_at(given)))
    assert imported == (headers_at(number), "kept")
    assert folder.open(HEADERS, KEY).is_restored == is_restored


def test_one_number_with_two_hashes_is_a_conflict_that_changes_nothing(folder: Watermarks) -> None:
    marked(folder, 3)
    backup = backup_of(Mark(b"blocks", KEY, 9, ONE), headers_at(3, TWO))
    with pytest.raises(BadBackup, match="conflict: epoch 3 has another hash"):
        import_backup(folder, backup)
    assert folder.open(BLOCKS, KEY).number is None
    assert folder.open(HEADERS, KEY).hash == ONE


def test_what_is_signed_at_last_makes_a_restored_watermark_certain(folder: Watermarks) -> None:
    import_backup(folder, backup_of(headers_at(3)))
    mark = folder.open(HEADERS, KEY)
    mark.advance(3, ONE)
    assert not folder.open(HEADERS, KEY).is_restored
    import_backup(folder, backup_of(headers_at(5)))
    mark = folder.open(HEADERS, KEY)
    mark.advance(6, TWO)
    assert not folder.open(HEADERS, KEY).is_restored


def test_an_import_that_cannot_be_written_says_so(
    monkeypatch: pytest.MonkeyPatch, folder: Watermarks
) -> None:
    cure = fail(monkeypatch, "replace")
    with pytest.raises(WatermarkNotWritten, match="headers-"):
        import_backup(folder, backup_of(headers_at(3)))
    cure()
    assert folder.open(HEADERS, KEY).number is None


def test_a_backup_comes_back_as_it_was_written(folder: Watermarks, tmp_path: Path) -> None:
    marked(folder, 3)
    folder.open(HEADERS, OTHER_KEY).advance(4, TWO)
    folder.open(BLOCKS, KEY).advance(9, TWO)
    backup = make_backup(folder.path, NETWORK)
    marks = [Mark(b"headers", OTHER_KEY, 4, TWO), headers_at(3)]
    assert list(backup.marks) == [
        Mark(b"blocks", KEY, 9, TWO),
        *sorted(marks, key=lambda mark: mark.key),
    ]
    path = tmp_path / "backup"
    write_backup(path, backup)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_backup(path, NETWORK) == backup
    other = Watermarks(tmp_path / "other", NETWORK)
    assert {outcome for _, outcome in import_backup(other, read_backup(path, NETWORK))} == {
        "raised"
    }
    assert make_backup(other.path, NETWORK) == backup


def written(path: Path, **changes: Any) -> Path:
    fields = {"version": 1, "network": NETWORK, "marks": (headers_at(3),)} | changes
    body = encode(tuple(fields.values()))
    path.write_bytes(body + tagged_hash(b"waypost watermarks", body))
    return path


BAD_BACKUPS: dict[str, tuple[dict[str, Any], str]] = {
    "another version": ({"version": 2}, "no backup of watermarks"),
    "another network": ({"network": OTHER_NETWORK}, f"of the network {OTHER_NETWORK.hex()}"),
    "an unknown role": ({"marks": (Mark(b"wishes", KEY, 1, ONE),)}, "unknown role wishes"),
    "one mark twice": ({"marks": (headers_at(3), headers_at(3))}, "out of order"),
    "two marks of one key": ({"marks": (headers_at(3), headers_at(4))}, "out of order"),
    "out of order": ({"marks": (headers_at(3), Mark(b"blocks", KEY, 1, ONE))}, "out of order"),
    "no marks": ({"marks": 3}, "no backup of watermarks"),
}


@pytest.mark.parametrize(("changes", "says"), BAD_BACKUPS.values(), ids=BAD_BACKUPS.keys())
def test_what_is_no_backup_of_this_network_is_refused(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadBackup, match=says):
        read_backup(written(tmp_path / "backup", **changes), NETWORK)


def test_a_damaged_backup_is_refused(tmp_path: Path) -> None:
    raw = written(tmp_path / "good").read_bytes()
    assert read_backup(tmp_path / "good", NETWORK).marks == (headers_at(3),)
    damaged = [b"", raw[:-1], raw + b"\0", raw[1:], file_of()]
    damaged += [flip(raw, place) for place in range(len(raw))]
    for number, bad in enumerate(damaged):
        path = tmp_path / str(number)
        path.write_bytes(bad)
        with pytest.raises(BadBackup, match="no backup of watermarks"):
            read_backup(path, NETWORK)


def test_a_newer_backup_takes_the_place_of_an_older_one_only(
    folder: Watermarks, tmp_path: Path
) -> None:
    path = tmp_path / "backup"
    for number in (3, 4):
        marked(folder, number)
        write_backup(path, make_backup(folder.path, NETWORK))
    newest = path.read_bytes()
    write_backup(path, make_backup(folder.path, NETWORK))
    other_key = Backup(1, NETWORK, (Mark(b"headers", OTHER_KEY, 9, ONE),))
    for older in (backup_of(headers_at(3)), backup_of(headers_at(4, TWO)), other_key):
        with pytest.raises(BadBackup, match="knows headers 4"):
            write_backup(path, older)
    (tmp_path / "letter").write_text("Dear Sir")
    with pytest.raises(BadBackup, match="no backup"):
        write_backup(tmp_path / "letter", make_backup(folder.path, NETWORK))
    assert path.read_bytes() == newest
    assert (tmp_path / "letter").read_text() == "Dear Sir"


def test_a_file_under_another_name_is_no_watermark(folder: Watermarks) -> None:
    mark = marked(folder, 3)
    mark.path.rename(folder.path / "headers-0000000000000000")
    with pytest.raises(SignerRefuses, match="not the watermark that its name says"):
        make_backup(folder.path, NETWORK)


def test_records_have_the_fields_that_are_written_down() -> None:
    held = Held(1, NETWORK, headers_at(3), 0)
    body = encode(held)
    assert file_of() == body + tagged_hash(b"waypost watermark", body)
