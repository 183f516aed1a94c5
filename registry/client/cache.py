"""What a client verified, kept from one run to the next. A folder with these files:

    genesis                   the genesis file that all of it stands on
    anchor                    the newest verified header, the set that signed it, the history before
    full                      the `full` file of its list
    evidence-1, evidence-2    two final headers of one epoch: the client stays stopped
    successor                 genesis file of the network that its last header names
    lock                      held by whoever writes

- The anchor is believed: the way from genesis to it was checked when it was gone, and what vouched
  for it then may be too old by now to be checked again. Whoever can write here can deceive the
  client, as with its program. What is damaged is found, and the list is verified in any case.
- The anchor is written before its list, so that a client that was stopped in between knows how far
  it had come; the list is fetched again then.
- An anchor never gives way to an older one, also if two programs share the folder.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from ledger.errors import Refusal
from ledger.messages.genesis import MAX_GENESIS_BYTES
from ledger.messages.lists import MAX_SIGNED_HEADER_BYTES, decode_header, decode_signed_header
from registry.client.trusted import TrustedLists
from registry.files import write_durably
from registry.formats.full import MAX_FULL_BYTES
from registry.formats.trust import MAX_ANCHOR_BYTES, decode_anchor

GENESIS: Final = "genesis"
ANCHOR: Final = "anchor"
FULL: Final = "full"
EVIDENCE: Final = ("evidence-1", "evidence-2")
SUCCESSOR: Final = "successor"
LOCK: Final = "lock"


class ListCache:
    """A folder for one network; made when something is first kept."""

    def __init__(self, folder: Path, genesis: bytes) -> None:
        """Use `folder` for the network of a genesis file."""
        self.folder = folder
        self.genesis = genesis

    def resume(self, trusted: TrustedLists) -> None:
        """Take up what is kept, at the reference time of `trusted`, which holds nothing yet.

        A header that has expired still counts against roll-back. A list that does not fit is left
        out, and `trusted.needs_list` says so.

        Refuses with `bad_genesis` the folder of another network, with `fork` as long as there is
        evidence of one, and like `TrustedLists.resume` what does not hold; a note says which file.
        """
        kept = self._read(GENESIS, MAX_GENESIS_BYTES)
        if kept is not None and kept != self.genesis:
            raise Refusal("bad_genesis", why=f"{self.folder} keeps the lists of another network")
        for name in EVIDENCE:
            raw = self._read(name, MAX_SIGNED_HEADER_BYTES)
            if raw is not None:
                self._refuse_fork(name, raw)
        try:
            raw = self._read(ANCHOR, MAX_ANCHOR_BYTES)
            if raw is not None:
                trusted.resume(raw)
        except Refusal as refusal:
            refusal.add_note(f"it is kept in {self.folder / ANCHOR}")
            raise
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
            write_durably(self.folder / ANCHOR, trusted.anchor_file)
            if full is not None:
                write_durably(self.folder / FULL, full)

    def save_evidence(self, evidence: tuple[bytes, bytes]) -> None:
        """Keep two final headers of one epoch; from then on `resume` refuses, until both go."""
        with self._locked():
            self._write_genesis()
            for name, raw in zip(EVIDENCE, evidence, strict=True):
                write_durably(self.folder / name, raw)

    def save_successor(self, genesis: bytes) -> None:
        """Keep the genesis file of the network that goes on."""
        with self._locked():
            write_durably(self.folder / SUCCESSOR, genesis)

    @property
    def successor(self) -> bytes | None:
        """That file, if there is one; its hash has to be looked at."""
        return self._read(SUCCESSOR, MAX_GENESIS_BYTES)

    def _refuse_fork(self, name: str, raw: bytes) -> NoReturn:
        try:
            header = decode_header(decode_signed_header(raw).header)
            raise Refusal("fork", epoch=header.epoch)
        except Refusal as refusal:
            refusal.add_note(f"it is kept in {self.folder / name}")
            raise

    def _kept_epoch(self) -> int:
        raw = self._read(ANCHOR, MAX_ANCHOR_BYTES)
        if raw is None:
            return -1
        return decode_header(decode_signed_header(decode_anchor(raw)[0]).header).epoch

    def _write_genesis(self) -> None:
        if not (self.folder / GENESIS).exists():
            write_durably(self.folder / GENESIS, self.genesis)

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
