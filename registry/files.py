"""Files that are there whole or not at all, also after a power cut."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from ledger.crypto import sha256

HASH_BYTES: Final = 32


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` by `data` atomically; once this returns, it lasts."""
    _put(path, data, mode, os.replace, durable=True)


def create_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Make a new file of `data`; once this returns, it lasts.

    Of several that make it at once one succeeds, and nobody ever sees a part of it. Raises
    `FileExistsError` for the others.
    """
    _put(path, data, mode, _move_if_new, durable=True)


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` by `data` atomically; a power cut may bring the old file back."""
    _put(path, data, mode, os.replace, durable=False)


def add_checksum(data: bytes) -> bytes:
    """Return bytes with their SHA-256 in front, for a file whose damage has to be noticed."""
    return sha256(data) + data


def strip_checksum(data: bytes) -> bytes | None:
    """Return the bytes behind their SHA-256; None if that is not theirs."""
    checksum, rest = data[:HASH_BYTES], data[HASH_BYTES:]
    return rest if sha256(rest) == checksum else None


def link_atomically(path: Path, target: str) -> None:
    """Have the symbolic link `path` lead to `target`, relative to its folder, from one to the next.

    One process at a time does that for a path.
    """
    if path.is_symlink() and os.readlink(path) == target:
        return
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    os.replace(fresh, path)


@contextlib.contextmanager
def creating_durably(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Give a file to write to, which is made like that of `create_durably` once all is written.

    For what is too long to be held; where the writing fails, nothing is there.
    """
    with _writing(path, mode, _move_if_new, durable=True) as file:
        yield file


def _put(
    path: Path, data: bytes, mode: int, move: Callable[[str, Path], None], *, durable: bool
) -> None:
    with _writing(path, mode, move, durable=durable) as file:
        file.write(data)


@contextlib.contextmanager
def _writing(
    path: Path, mode: int, move: Callable[[str, Path], None], *, durable: bool
) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            if durable:
                os.fsync(file.fileno())
        move(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    if durable:
        sync_folder(path.parent)


def _move_if_new(name: str, path: Path) -> None:
    os.link(name, path)
    os.unlink(name)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
