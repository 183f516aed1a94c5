"""What a client verified, kept from one run to the next. A folder with these files:

    genesis                   the genesis file that all of it stands on
    header                    the newest verified header with its signatures
    full                      the `full` file of its list
    evidence-1, evidence-2    two final headers of one epoch: the client stays stopped
    lock                      held by whoever writes

- Everything is verified again when it is read: who can write here cannot make a client believe.
- The header is written before its list, so that a client that was stopped in between knows how far
  it had come; the list is fetched again then.
- A header never gives way to an older one, also if two programs share the folder.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ledger.errors import Refusal
from ledger.messages.genesis import MAX_GENESIS_BYTES
from ledger.messages.lists import decode_header, decode_signed_header
from registry.client.trusted import MAX_SIGNED_HEADER_BYTES, TrustedLists
from registry.files import write_durably
from registry.formats.full import MAX_FULL_BYTES

GENESIS: Final = "genesis"
HEADER: Final = "header"
FULL: Final = "full"
EVIDENCE: Final = ("evidence-1", "evidence-2")
LOCK: Final = "lock"


class ListCache:
    """A folder for one network; made when something is first kept."""

    def __init__(self, folder: Path, genesis: bytes) -> None:
        """Use `folder` for the network of a genesis file."""
        self.folder = folder
        self._genesis = genesis

    def resume(self, trusted: TrustedLists) -> None:
        """Verify what is kept, at the reference time of `trusted`, which holds nothing yet.

        A header that has expired still counts against roll-back. A list that does not fit is left
        out, and `trusted.needs_list` says so.

        Refuses with `bad_genesis` the folder of another network, with `fork` as long as there is
        evidence of one, and like `TrustedLists.resume` what does not hold; a note says which file.
        """
        kept = self._read(GENESIS, MAX_GENESIS_BYTES)
        if kept is not None and kept != self._genesis:
            raise Refusal("bad_genesis", why=f"{self.folder} keeps the lists of another network")
        for name in (*EVIDENCE, HEADER):
            self._resume_header(trusted, name)
        self.load_list(trusted)

    def load_list(self, trusted: TrustedLists) -> bool:
        """Load the list that is kept, if it is that of the newest header; say whether it was."""
        try:
            full = self._read(FULL, MAX_FULL_BYTES)
            if full is None or trusted.is_empty:
                return False
            trusted.load_full(full)
        except Refusal:
            # That of another epoch, damaged, or expired with its header: it can be fetched again.
            return False
        return True

    def save(self, trusted: TrustedLists, full: bytes | None = None) -> None:
        """Keep the newest header, and its `full` file if it is given, unless a newer one is kept.

        What is kept lasts once this returns; `OSError` where that fails, and then what was kept
        before is still there.
        """
        with self._locked():
            if self._kept_epoch() > trusted.header.epoch:
                return
            self._write_genesis()
            write_durably(self.folder / HEADER, trusted.signed_header)
            if full is not None:
                write_durably(self.folder / FULL, full)

    def save_evidence(self, evidence: tuple[bytes, bytes]) -> None:
        """Keep two final headers of one epoch; from then on `resume` refuses, until both go."""
        with self._locked():
            self._write_genesis()
            for name, raw in zip(EVIDENCE, evidence, strict=True):
                write_durably(self.folder / name, raw)

    def _resume_header(self, trusted: TrustedLists, name: str) -> None:
        try:
            raw = self._read(name, MAX_SIGNED_HEADER_BYTES)
            if raw is not None:
                trusted.resume(raw)
        except Refusal as refusal:
            refusal.add_note(f"it is kept in {self.folder / name}")
            raise

    def _kept_epoch(self) -> int:
        raw = self._read(HEADER, MAX_SIGNED_HEADER_BYTES)
        return -1 if raw is None else decode_header(decode_signed_header(raw).header).epoch

    def _write_genesis(self) -> None:
        if not (self.folder / GENESIS).exists():
            write_durably(self.folder / GENESIS, self._genesis)

    def _read(self, name: str, limit: int) -> bytes | None:
        try:
            return read_bounded(self.folder / name, limit)
        except FileNotFoundError:
            return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed
            yield


def read_bounded(path: Path, limit: int) -> bytes:
    """Return a file of at most `limit` bytes. Refuses with `too_large`; `OSError` as `open`."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Refusal("too_large", size=len(data), limit=limit)
    return data
