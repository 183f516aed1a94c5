"""List files: made once when an epoch ends, published as files and some of them in memory.

    publish/genesis                          the genesis file
    publish/lists/<epoch>/full               the list; it never changes
    publish/lists/<epoch>/session-json       its nodes for the Session network, not signed
    publish/lists/<epoch>/session-binary     the same, shorter
    publish/lists/<epoch>/header             the signed header; it gains signatures for one epoch
    publish/lists/<epoch>/delta/<earlier>    what changed since the list of an earlier epoch

- Files are replaced atomically. Whoever serves the folder serves what this service serves.
- A signed header stays for ever. The list and its deltas stay for `KEPT` epochs, so that whoever is
  on the way finds what he needs. What proves nothing is of use while it is new, and many times as
  long: it is removed once its list is not in memory any more.
- Deltas are made once the list is final, on a thread. One that is not there, or would not be
  shorter than the list, is missed by nobody: the whole list leads to the same.
- Contacts and swarms in it are those of its list: they stay the same for an epoch. Whether a node
  is to leave may be told anew after a restart.
"""

import asyncio
import shutil
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog

from ledger.chain import Chain
from ledger.history import final_key
from ledger.messages.entries import read_columns
from ledger.messages.lists import (
    decode_header,
    decode_signed_header,
    encode_signed_header,
    is_final,
)
from ledger.types import Epoch
from ledger.views import View
from registry.files import write_atomically
from registry.formats import FORMATS, Source
from registry.formats.delta import Rows, compute_delta, make_rows
from registry.formats.full import read_file
from registry.formats.ladder import MOST_BEHIND, list_starts
from registry.roster import Roster
from registry.view import PublishedList

KEPT: Final = MOST_BEHIND + 1
"""Epochs whose lists and deltas are kept, the newest one included."""

REST: Final = 20
"""How many times as long as it takes to make a delta nothing is done after it."""

log = structlog.get_logger()

IN_MEMORY: Final = 3
"""Epochs kept in memory beside the newest final one; older ones are files."""

UNPROVEN: Final = tuple(row for row in FORMATS.values() if row.decode is None)
"""Formats whose files are kept only for the epochs in memory."""


class Publisher:
    """The published lists of one chain."""

    def __init__(self, chain: Chain, roster: Roster, folder: Path) -> None:
        self._chain = chain
        self._roster = roster
        self._folder = folder
        self._lists: dict[Epoch, PublishedList] = {}
        self._ladder: asyncio.Task[None] | None = None
        self._climbed = -1
        """The newest epoch to whose list deltas were made."""
        self._hurry = threading.Event()
        """Set while somebody waits for deltas: they are made without a rest."""
        self._is_closing = False

    async def start(self) -> None:
        """Publish what the chain holds now, and take up what was published before."""
        write_atomically(self._folder / "genesis", self._chain.genesis_bytes)
        view = self._chain.view()
        newest = decode_header(view.newest_header().header).epoch
        for epoch in range(newest - 1, -1, -1):
            is_recent = epoch >= newest - IN_MEMORY
            if not is_recent and self.latest is not None:
                break
            self._take_up(view, epoch, is_recent)
        await self.update()
        self._prune(self._find_epochs())

    def _take_up(self, view: View, epoch: Epoch, is_recent: bool) -> None:
        """Read a frozen list back if it is recent or final; one whose file is gone is not served.

        The header's file may lack the signatures that came last before the process ended.
        """
        raw = view.reader.get(final_key(epoch))
        full, header = self._path(epoch, "full"), self._path(epoch, "header")
        if raw is None or not full.exists():
            return
        final = is_final(*view.weigh(decode_signed_header(raw)))
        if not (is_recent or final):
            return
        if not header.exists() or header.read_bytes() != raw:
            write_atomically(header, raw)
        self._lists[epoch] = PublishedList(epoch, raw, final, True, full.read_bytes())

    async def update(self) -> None:
        """Publish what the newest block changed."""
        view = self._chain.view()
        signed = view.newest_header()
        header = decode_header(signed.header)
        epoch, raw = header.epoch, encode_signed_header(signed)
        known = self._lists.get(epoch)
        if known is not None and known.header == raw:
            return
        if known is None:
            self._freeze(view, epoch - 1)
            columns = self._chain.newest_list().columns
            source = Source(columns, header.height, self._roster.active())
            full = await asyncio.to_thread(self._write, epoch, source)
        else:
            full = known.full
        await asyncio.to_thread(write_atomically, self._path(epoch, "header"), raw)
        self._lists[epoch] = PublishedList(epoch, raw, is_final(*view.weigh(signed)), False, full)
        await self._start_ladder(epoch)
        forgotten = self._forget()
        if forgotten:
            await asyncio.to_thread(self._prune, [*forgotten, epoch - KEPT])

    async def _start_ladder(self, newest: Epoch) -> None:
        """Begin to make deltas to the newest list once it is final, or to one that never was.

        Before that no client takes the list, and the end of an epoch has enough to do.
        """
        for row in self.lists:
            is_due = row.is_final or row.epoch < newest
            if is_due and row.epoch > self._climbed and newest - row.epoch <= 1:
                await self.finish()
                self._climbed = row.epoch
                work = asyncio.to_thread(self._climb, row.epoch, row.full)
                self._ladder = asyncio.create_task(work)

    async def finish(self) -> None:
        """Wait until the deltas of the newest list are there, or could not be made."""
        if self._ladder is not None:
            self._hurry.set()
            await self._ladder
            self._hurry.clear()

    async def close(self) -> None:
        """Make no more deltas, and wait until the one that is being made is there."""
        self._is_closing = True
        await self.finish()

    def _climb(self, epoch: Epoch, full: bytes) -> None:
        """Write the deltas that lead to a list, in a small part of the time.

        Nobody waits for them, and everybody for what else this process does.
        """
        after: Rows | None = None
        for start in list_starts(epoch):
            began = time.monotonic()
            try:
                before = read_file(self._path(start, "full").read_bytes())
            except FileNotFoundError:
                continue
            after = after or make_rows(read_columns(read_file(full)))
            delta = compute_delta(make_rows(read_columns(before)), after)
            if len(delta) < len(full) and not self._write_delta(epoch, start, delta):
                return
            self._hurry.wait(REST * (time.monotonic() - began))
            if self._is_closing:
                return

    def _write_delta(self, epoch: Epoch, start: Epoch, delta: bytes) -> bool:
        """Write one; say whether it worked."""
        try:
            write_atomically(self._path(epoch, f"delta/{start}"), delta)
        except OSError as error:
            log.warning("delta not written", epoch=epoch, start=start, why=str(error))
            return False
        return True

    def _write(self, epoch: Epoch, source: Source) -> bytes:
        """Write the files of a list but its header, and return the full one."""
        full = FORMATS["full"].make(source)
        write_atomically(self._path(epoch, "full"), full)
        for form in UNPROVEN:
            write_atomically(self._path(epoch, form.name), form.make(source))
        return full

    def _freeze(self, view: View, epoch: Epoch) -> None:
        known = self._lists.get(epoch)
        raw = None if known is None else view.reader.get(final_key(epoch))
        if known is None or raw is None:
            return
        final = is_final(*view.weigh(decode_signed_header(raw)))
        self._lists[epoch] = PublishedList(epoch, raw, final, True, known.full)
        write_atomically(self._path(epoch, "header"), raw)

    def _forget(self) -> list[Epoch]:
        """Let go of what memory need not hold, and return its epochs."""
        kept = [*sorted(self._lists)[-IN_MEMORY:], self.latest]
        forgotten = [epoch for epoch in self._lists if epoch not in kept]
        for epoch in forgotten:
            del self._lists[epoch]
        return forgotten

    def _find_epochs(self) -> list[Epoch]:
        """Return the epochs of the folder that are not in memory."""
        names = [path.name for path in (self._folder / "lists").iterdir()]
        return [int(name) for name in names if name.isdecimal() and int(name) not in self._lists]

    def _prune(self, epochs: Iterable[Epoch]) -> None:
        """Remove what is not kept of lists that are not in memory any more."""
        for epoch in epochs:
            for form in UNPROVEN:
                self._path(epoch, form.name).unlink(missing_ok=True)
            if epoch <= self._newest() - KEPT:
                self._path(epoch, "full").unlink(missing_ok=True)
                shutil.rmtree(self._path(epoch, "delta"), ignore_errors=True)

    def _newest(self) -> Epoch:
        return max(self._lists, default=0)

    def _path(self, epoch: Epoch, name: str) -> Path:
        return self._folder / "lists" / str(epoch) / name

    @property
    def lists(self) -> list[PublishedList]:
        """What is in memory, by ascending epoch."""
        return [self._lists[epoch] for epoch in sorted(self._lists)]

    @property
    def latest(self) -> Epoch | None:
        """Epoch of the newest final list in memory."""
        return max((row.epoch for row in self._lists.values() if row.is_final), default=None)
