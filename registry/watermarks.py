"""Watermarks: the newest thing that each key signed in each role. They only go forward.

- One file for each role and key, such as `watermarks/headers-0ab24721c99545b1`, bound to both and
  to the network. One that is damaged or somebody else's is refused: it never says that nothing was
  signed.
- A file is written whole and synced, with its folder, before a signature leaves the process.
- One process at a time holds the folder, by a lock on its file `lock`. Where that is not the file
  any more that it locked, it writes nothing: somebody put another folder into its place.
- What comes out of a backup is *restored*: the key may have signed more since the backup was made.
  It is for the signer of the role to know when that cannot matter any more.

Files are records (docs/spec/encoding.md) with a checksum of 32 bytes behind them, the hash of the
record under the tag `waypost watermark` or `waypost watermarks`:

    watermark   [version 1, genesis hash 32, mark, restored 0 or 1]
    backup      [version 1, genesis hash 32, [mark, …]]      by ascending role and key
    mark        [role, key 32, number, hash 32]
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Annotated, Final, Literal, NamedTuple, TypeVar

import msgspec

from ledger.codec import U8, U63, Bytes32, Codec, Record, UpTo32, encode
from ledger.crypto import tagged_hash
from ledger.errors import Fault, Refusal, WaypostError
from ledger.types import Hash, Key
from registry.files import sync_folder, write_durably

LOCK: Final = "lock"
"""File in the folder of the watermarks that the process holding them keeps locked."""

VERSION: Final = 1
CHECKSUM_BYTES: Final = 32

MAX_WATERMARK_BYTES: Final = 1_000
MAX_BACKUP_BYTES: Final = 100_000


class SigningRole(NamedTuple):
    """One row of `SIGNING_ROLES`."""

    name: str
    """Name in files and messages."""
    key: str
    """Which of `registry.keystore.ROLES` signs."""
    number: str
    """What numbers the things that it signs."""


BLOCKS: Final = SigningRole("blocks", "producer", "height")
HEADERS: Final = SigningRole("headers", "list", "epoch")
VOTES: Final = SigningRole("votes", "duty", "epoch")
"""All votes of one epoch together."""

SIGNING_ROLES: Final = (BLOCKS, HEADERS, VOTES)
"""Everything that a key may sign only once for each number. One more is a row here."""


class SignerRefuses(Fault):
    """Signing this might contradict what was signed before; the message says what to do."""


class WatermarkNotWritten(Fault):
    """A watermark could not be made to last, so nothing was signed."""


class WatermarksInUse(Fault):
    """Another process holds the watermarks of this home."""


class BadBackup(WaypostError):
    """A file is no backup of watermarks that can be used here; the message says why."""


class Mark(Record, frozen=True):
    """The newest thing that a key signed in a role."""

    role: UpTo32
    key: Bytes32
    number: U63
    hash: Bytes32


class Held(Record, frozen=True):
    """What a watermark's file holds."""

    version: U8
    network: Bytes32
    """Hash of the genesis file."""
    mark: Mark
    restored: Annotated[int, msgspec.Meta(ge=0, le=1)]
    """1 if the mark came out of a backup, and nothing was signed since."""


class Backup(Record, frozen=True):
    """The marks of a home."""

    version: U8
    network: Bytes32
    marks: tuple[Mark, ...]


Sealed = TypeVar("Sealed", Held, Backup)

_HELD: Final[Codec[Held]] = Codec(Held, "watermark")
_BACKUP: Final[Codec[Backup]] = Codec(Backup, "backup of watermarks")
_HELD_TAG: Final = b"waypost watermark"
_BACKUP_TAG: Final = b"waypost watermarks"


def role_of(mark: Mark) -> SigningRole | None:
    """Return the row of a mark's role, or None if there is none."""
    return next((role for role in SIGNING_ROLES if role.name.encode() == mark.role), None)


class Watermark:
    """The newest thing that one key signed in one role, in a file of its own."""

    def __init__(self, folder: "Watermarks", role: SigningRole, key: Key) -> None:
        """Read the file. Raises `SignerRefuses` where it holds anything but this key's mark."""
        self.role = role
        self.path = folder.path / f"{role.name}-{key.hex()[:16]}"
        self._folder = folder
        self._key = key
        self._held = read_watermark(self.path, role, folder.network, key)
        self._lasts = True

    @property
    def number(self) -> int | None:
        """Number of the newest thing signed; None if there is no file."""
        return None if self._held is None else self._held.mark.number

    @property
    def hash(self) -> Hash | None:
        """Its hash."""
        return None if self._held is None else self._held.mark.hash

    @property
    def is_restored(self) -> bool:
        """Whether it came out of a backup, and nothing was signed since."""
        return self._held is not None and bool(self._held.restored)

    def advance(self, number: int, digest: Hash) -> None:
        """Note durably that this key is about to sign `number`; it is not restored any more.

        Raises `SignerRefuses` behind the watermark, and `WatermarkNotWritten`.
        """
        with self._folder.writing():
            if not self._admits(number, digest):
                raise SignerRefuses(
                    f"{self.path.name}: {self.role.number} {self.number} was signed already, and "
                    f"{number} is something else: is this an older copy of the ledger, or does "
                    "another home hold the same key?"
                )
            self._put(number, digest, restored=0)

    def restore(self, number: int, digest: Hash) -> None:
        """Go forward to what a backup knows. Raises `WatermarkNotWritten`."""
        with self._folder.writing():
            if self.number is None or number > self.number:
                self._put(number, digest, restored=1)

    def _admits(self, number: int, digest: Hash) -> bool:
        is_same = (number, digest) == (self.number, self.hash)
        return self.number is None or number > self.number or is_same

    def _put(self, number: int, digest: Hash, *, restored: int) -> None:
        mark = Mark(self.role.name.encode(), self._key, number, digest)
        held = Held(VERSION, self._folder.network, mark, restored)
        if held == self._held and self._lasts:
            return
        before = (self._held, self._lasts)
        # from here on the file may hold it, whatever goes wrong
        self._held, self._lasts = held, False
        try:
            write_durably(self.path, _seal(_HELD_TAG, held), mode=0o600)
        except OSError as error:
            if self._is_still(before[0]):
                self._held, self._lasts = before
            raise WatermarkNotWritten(
                f"the watermark {self.path} cannot be written, so nothing was signed: "
                f"{error.strerror or error}"
            ) from error
        self._lasts = True

    def _is_still(self, held: Held | None) -> bool:
        """Whether the file is as it was; one that cannot be read may hold anything."""
        try:
            return held is not None and _read_file(self.path) == _seal(_HELD_TAG, held)
        except FileNotFoundError:
            return held is None
        except OSError:
            return False


class Watermarks:
    """The folder of a home's watermarks, held by this process alone until `close`."""

    def __init__(self, path: Path, network: Hash) -> None:
        """Make the folder if need be. Raises `WatermarksInUse` and `WatermarkNotWritten`."""
        self.path = path
        self.network = network
        self._writing = threading.Lock()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # a file lasts only as long as the folder that names it
            sync_folder(path.parent)
            self._lock: IO[bytes] | None = _lock(path)
        except OSError as error:
            raise WatermarkNotWritten(
                f"no watermark can be written to {path}: {error.strerror or error}"
            ) from error

    def open(self, role: SigningRole, key: Key) -> Watermark:
        """Return the watermark of a key in a role, read anew. Raises `SignerRefuses`."""
        return Watermark(self, role, key)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep the lock while something is written. Raises `WatermarksInUse` once it is let go."""
        with self._writing:
            if self._lock is None or not self._is_same(self._lock):
                raise WatermarksInUse(f"this process does not hold the watermarks {self.path} now")
            yield

    def _is_same(self, lock: IO[bytes]) -> bool:
        try:
            return os.path.samestat(os.fstat(lock.fileno()), os.stat(self.path / LOCK))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise WatermarkNotWritten(
                f"no watermark can be written to {self.path}: {error.strerror or error}"
            ) from error

    def close(self) -> None:
        """Let another process have them."""
        with self._writing:
            if self._lock is not None:
                self._lock.close()
                self._lock = None


def _lock(folder: Path) -> IO[bytes]:
    file = os.fdopen(os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise WatermarksInUse(
            f"another process holds the watermarks {folder}, and two must never sign with the "
            "same keys: stop the service that runs on this home"
        ) from None
    return file


# ------------------------------------------------------------------------------- reading


def read_watermark(path: Path, role: SigningRole, network: Hash, key: Key) -> Held | None:
    """Return what a watermark's file holds, or None if there is no file.

    Raises `SignerRefuses` for one that cannot be read, or is of another role, key or network.
    """
    held = _read(path)
    if held is None:
        return None
    if role_of(held.mark) != role:
        raise SignerRefuses(f"{path} is the watermark of the role {_name(held.mark)}: {_MOVE}")
    if held.network != network:
        raise SignerRefuses(f"{path} is of the network {held.network.hex()}: {_MOVE}")
    if held.mark.key != key:
        raise SignerRefuses(f"{path} is of the key {held.mark.key.hex()}: {_MOVE}")
    return held


_MOVE: Final = "move it to where it belongs"


def _read(path: Path) -> Held | None:
    try:
        held = _unseal(_HELD_TAG, _HELD, _read_file(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SignerRefuses(f"{path} cannot be read: {error.strerror or error}") from None
    if held is None:
        raise SignerRefuses(
            f"{path} is damaged, or of another version of this program. Move it away and put a "
            "backup back: waypost signer import"
        )
    return held


def _read_file(path: Path) -> bytes:
    # a link would be replaced, not followed, by the next write; and nobody waits for a pipe
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(handle, MAX_WATERMARK_BYTES)
    finally:
        os.close(handle)


def list_watermarks(folder: Path, network: Hash) -> list[tuple[Path, Held]]:
    """Return every watermark of a home by role and key; another process may hold them.

    Raises `SignerRefuses` like `read_watermark`.
    """
    found: list[tuple[Path, Held]] = []
    for role in SIGNING_ROLES:
        for path in sorted(folder.glob(f"{role.name}-*")):
            held = _read(path)
            # replaced while we looked: it is there under the same name
            if held is None or held.mark.key.hex()[:16] != path.name[len(role.name) + 1 :]:
                raise SignerRefuses(f"{path} is not the watermark that its name says: {_MOVE}")
            read_watermark(path, role, network, held.mark.key)
            found.append((path, held))
    return found


def _name(mark: Mark) -> str:
    return mark.role.decode(errors="replace")


# ------------------------------------------------------------------------------- backups


class Imported(NamedTuple):
    """What became of one mark of a backup."""

    mark: Mark
    """The mark that is held now."""
    outcome: Literal["raised", "kept"]
    """Whether it comes out of the backup, or is as new or newer than that."""


def make_backup(folder: Path, network: Hash) -> Backup:
    """Return the marks of a home; another process may hold them. Raises `SignerRefuses`."""
    marks = [held.mark for _, held in list_watermarks(folder, network)]
    return Backup(VERSION, network, tuple(sorted(marks, key=_place)))


def write_backup(path: Path, backup: Backup) -> None:
    """Write a backup of mode 600, durably, in place of an older one.

    Raises `BadBackup` where the file knows more than the new one, or is something else.
    """
    if path.exists():
        older = read_backup(path, backup.network)
        newest = {_place(mark): mark for mark in backup.marks}
        for mark in older.marks:
            now = newest.get(_place(mark))
            if now != mark and (now is None or now.number <= mark.number):
                raise BadBackup(
                    f"{path} is not overwritten: it knows {_name(mark)} {mark.number} of the key "
                    f"{mark.key.hex()}, and this home does not. Is the home an older copy?"
                )
    write_durably(path, _seal(_BACKUP_TAG, backup), mode=0o600)


def read_backup(path: Path, network: Hash) -> Backup:
    """Return a backup of this network. Raises `BadBackup`, and `OSError` if there is no file."""
    with path.open("rb") as file:
        backup = _unseal(_BACKUP_TAG, _BACKUP, file.read(MAX_BACKUP_BYTES))
    if backup is None:
        raise BadBackup(f"{path} is no backup of watermarks, or it is damaged")
    if backup.network != network:
        raise BadBackup(f"{path} is of the network {backup.network.hex()}, this home is not")
    if any(_place(one) >= _place(two) for one, two in pairwise(backup.marks)):
        raise BadBackup(f"{path} is no backup of watermarks: its marks are out of order")
    for mark in backup.marks:
        if role_of(mark) is None:
            raise BadBackup(f"{path} has the unknown role {_name(mark)}: is this version current?")
    return backup


def import_backup(folder: Watermarks, backup: Backup) -> list[Imported]:
    """Take over what a backup knows and this home does not; nothing is ever lowered.

    Raises `BadBackup`, and changes nothing, where the same number has another hash here; raises
    `SignerRefuses` and `WatermarkNotWritten` like the watermarks.
    """
    pairs = [(folder.open(_role(mark), mark.key), mark) for mark in backup.marks]
    for watermark, mark in pairs:
        if watermark.number == mark.number and watermark.hash != mark.hash:
            raise BadBackup(
                f"conflict: {watermark.role.number} {mark.number} has another hash in "
                f"{watermark.path} than in the backup. Two homes have signed with one key; nothing "
                "was imported"
            )
    imported = []
    for watermark, mark in pairs:
        is_newer = watermark.number is None or mark.number > watermark.number
        watermark.restore(mark.number, mark.hash)
        now = Mark(mark.role, mark.key, watermark.number or 0, watermark.hash or mark.hash)
        imported.append(Imported(now, "raised" if is_newer else "kept"))
    return imported


def _role(mark: Mark) -> SigningRole:
    role = role_of(mark)
    if role is None:
        raise BadBackup(f"the role {_name(mark)} is unknown: is this version current?")
    return role


def _place(mark: Mark) -> tuple[bytes, Key]:
    return mark.role, mark.key


# ----------------------------------------------------------------------------- checksums


def _seal(tag: bytes, record: Record) -> bytes:
    body = encode(record)
    return body + tagged_hash(tag, body)


def _unseal(tag: bytes, codec: Codec[Sealed], raw: bytes) -> Sealed | None:
    """Return the record of `raw`, or None if it does not hold together."""
    body, checksum = raw[:-CHECKSUM_BYTES], raw[-CHECKSUM_BYTES:]
    if tagged_hash(tag, body) != checksum:
        return None
    try:
        record = codec.decode(body)
    except Refusal:
        return None
    return record if record.version == VERSION else None
