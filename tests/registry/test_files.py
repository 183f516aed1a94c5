"""A file is there whole or not at all, whatever fails when."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.files import create_durably, write_atomically, write_durably

Write = Callable[[Path, bytes, int], None]


@pytest.fixture(params=[write_atomically, write_durably], ids=["atomically", "durably"])
def write(request: pytest.FixtureRequest) -> Write:
    chosen: Write = request.param
    return chosen


def test_a_file_is_made_with_the_folders_above_it(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write(path, b"data", 0o600)
    assert path.read_bytes() == b"data"
    assert path.stat().st_mode & 0o777 == 0o600
    write(path, b"more", 0o644)
    assert path.read_bytes() == b"more"
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("fails", ["fchmod", "replace"])
def test_what_failed_leaves_the_old_file_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, write: Write, tmp_path: Path, fails: str
) -> None:
    path = tmp_path / "file"
    write(path, b"old", 0o644)

    def fail(*_arguments: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, fails, fail)
    with pytest.raises(OSError, match="no space"):
        write(path, b"new", 0o644)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_secret_is_never_readable_by_others_on_its_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    modes: list[int] = []
    real_replace, real_sync = os.replace, os.fsync

    def watch() -> None:
        modes.extend(path.stat().st_mode & 0o777 for path in tmp_path.iterdir())

    def replace(source: str, target: Path) -> None:
        watch()
        real_replace(source, target)

    def fsync(handle: int) -> None:
        watch()
        real_sync(handle)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "fsync", fsync)
    write_durably(tmp_path / "key", b"secret", mode=0o600)
    assert set(modes) == {0o600}


def test_only_a_durable_write_waits_for_the_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    write_atomically(tmp_path / "file", b"data")
    assert synced == []
    write_durably(tmp_path / "file", b"data")
    assert len(synced) == 2


def test_a_new_file_is_never_another_s(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"
    create_durably(path, b"first", 0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_nlink == 1
    with pytest.raises(FileExistsError):
        create_durably(path, b"second", 0o600)
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]
