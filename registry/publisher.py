"""List files: made once when an epoch ends, published as files and some of them in memory.

    publish/genesis                          the genesis file
    publish/lists/<epoch>/full               the list; it never changes
    publish/lists/<epoch>/session-json       its nodes for the Session network, not signed
    publish/lists/<epoch>/session-binary     the same, shorter
    publish/lists/<epoch>/header             the signed header; it gains signatures for one epoch
    publish/lists/<epoch>/open               empty; there for as long as it does
    publish/lists/<epoch>/delta/<earlier>    what changed since the list of an earlier epoch
    publish/lists/<epoch>/trust/<earlier>    the path to its header from that of an earlier epoch
    publish/lists/<epoch>/trust/genesis      the path to its header from genesis
    publish/lists/<epoch>/bundle             that path, header and list, once it is final
    publish/latest                           a link to `lists/<epoch>` of the newest final list
    publish/manifest.json                    what of all this there is (`registry.manifest`)

- Files are replaced atomically. Whoever serves the folder serves what this service serves;
  docs/operating/publication.md says how. `open` is for a web server that looks at names only: it is
  there before the header is, and goes once that is frozen, so that no header that still changes is
  taken for one that does not.
- What is written comes before what leads to it: list, header, `latest`, manifest.
- A signed header stays for ever. The list, its deltas and paths stay for `KEPT` epochs, so that
  whoever is on the way finds what he needs. What proves nothing, or is put together of the others,
  is of use while it is new, and many times as long: it is removed once its list is not in memory.
- What proves nothing is made once `full` and `header` are there, and is there before the list is
  final: nobody waits for it.
- Deltas are made once the list is final, on a thread. One that is not there, or would not be
  shorter than the list, is missed by nobody: the whole list leads to the same.
- Contacts and swarms in it are those of its list: they stay the same for an epoch. Whether a node
  is to leave may be told anew after a restart.
"""

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import structlog

from ledger.chain import Chain
from ledger.errors import Refusal
from ledger.history import final_key
from ledger.messages.entries import read_columns
from ledger.messages.lists import (
    decode_header,
    decode_signed_header,
    encode_signed_header,
    is_final,
)
from ledger.types import Epoch, Hash, Height
from ledger.views import View
from registry.files import link_atomically, write_atomically
from registry.formats import FORMATS, Source
from registry.formats.bundle import NAME as BUNDLE
from registry.formats.bundle import Bundle, encode_bundle
from registry.formats.delta import Rows, compute_delta, make_rows
from registry.formats.full import decode_full, read_file
from registry.formats.ladder import MOST_BEHIND, list_starts
from registry.formats.trust import encode_path
from registry.manifest import NAME as MANIFEST
from registry.manifest import PASSING, Catalogue, encode_manifest
from registry.roster import Roster
from registry.trust import PathFinder
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

LASTING: Final = frozenset(("full", "delta", "trust"))
"""What is kept of a list for `KEPT` epochs."""


class Publisher:
    """The published lists of one chain."""

    def __init__(self, chain: Chain, roster: Roster, folder: Path) -> None:
        self._chain = chain
        self._roster = roster
        self._paths = PathFinder(chain.genesis)
        self._folder = folder
        self._lists: dict[Epoch, PublishedList] = {}
        self._unproven: asyncio.Task[None] | None = None
        self._ladder: asyncio.Task[None] | None = None
        self._climbed = -1
        """The newest epoch to whose list deltas were made."""
        self._hurry = threading.Event()
        """Set while somebody waits for deltas: they are made without a rest."""
        self._is_closing = False
        self._catalogue = Catalogue()
        self._telling = asyncio.Lock()
        self._is_told = False
        """Whether `latest` and the manifest say what there is."""
        self._oldest = 0
        """No list before this epoch was there at the start."""

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
        self._oldest = await asyncio.to_thread(self._find_oldest, newest)
        await self.update()
        await self.settle()
        await asyncio.to_thread(self._prune, self._find_epochs())

    def _take_up(self, view: View, epoch: Epoch, is_recent: bool) -> None:
        """Read a frozen list back if it is recent or final; one whose file is gone is not served.

        The header's file may lack the signatures that came last before the process ended.
        """
        raw = view.reader.get(final_key(epoch))
        header = self._path(epoch, "header")
        if raw is None:
            return
        final = is_final(*view.weigh(decode_signed_header(raw)))
        full = self._read_full(epoch, raw) if is_recent or final else None
        if full is None:
            return
        if not header.exists() or header.read_bytes() != raw:
            write_atomically(header, raw)
        self._path(epoch, "open").unlink(missing_ok=True)
        row = PublishedList(epoch, raw, final, True, full)
        self._write_bundle(row)
        self._lists[epoch] = row
        self._note_all(epoch)

    def _read_full(self, epoch: Epoch, signed: bytes) -> bytes | None:
        """Return the file of a list, or None where it is gone; a damaged one is removed."""
        path = self._path(epoch, "full")
        try:
            full = path.read_bytes()
            decode_full(full, _hash_of(signed))
        except FileNotFoundError:
            return None
        except Refusal as refusal:
            log.warning("damaged list removed", epoch=epoch, why=refusal.text)
            path.unlink(missing_ok=True)
            return None
        return full

    def _note_all(self, epoch: Epoch) -> None:
        """Take down the files of a list that another process wrote."""
        folder = self._path(epoch, "")
        for path in folder.rglob("[!.]*"):
            if path.is_file():
                self._catalogue.note(epoch, str(path.relative_to(folder)), path.read_bytes())

    async def update(self) -> None:
        """Publish what the newest block changed."""
        view = self._chain.view()
        signed = view.newest_header()
        header = decode_header(signed.header)
        epoch, raw = header.epoch, encode_signed_header(signed)
        known = self._lists.get(epoch)
        if known is not None and known.header == raw and self._is_told:
            return
        self._is_told = False
        await self.settle()
        if known is None:
            self._freeze(view, epoch - 1)
            columns = self._chain.newest_list().columns
            paths = dict(self._find_paths(view, epoch))
            full = await asyncio.to_thread(self._write, epoch, columns, paths)
        else:
            full = known.full
        await asyncio.to_thread(self._put, epoch, "header", raw)
        row = PublishedList(epoch, raw, is_final(*view.weigh(signed)), False, full)
        await asyncio.to_thread(self._write_bundle, row)
        self._lists[epoch] = row
        await self._start_ladder(epoch)
        forgotten = self._forget()
        if forgotten:
            await asyncio.to_thread(self._prune, [*forgotten, epoch - KEPT])
        await self._tell()
        if known is None:
            work = self._make_unproven(epoch, header.height)
            self._unproven = asyncio.create_task(work)

    async def _tell(self) -> None:
        """Lead to what there is now."""
        async with self._telling:
            chain, latest = self._chain, self.latest
            oldest = max(self._oldest, self._newest() - KEPT + 1)
            name = chain.genesis.name.decode()
            raw = encode_manifest(
                self._catalogue, name, chain.genesis_hash, self.lists, latest, oldest
            )
            if latest is not None:
                link_atomically(self._folder / "latest", f"lists/{latest}")
            await asyncio.to_thread(write_atomically, self._folder / MANIFEST, raw)
        self._is_told = True

    async def _make_unproven(self, epoch: Epoch, height: Height) -> None:
        """Write the files of the newest list that prove nothing."""
        source = Source(self._chain.newest_list().columns, height, self._roster.active())
        await asyncio.to_thread(self._write_unproven, epoch, source)
        await self._tell_of_more(epoch)

    async def settle(self) -> None:
        """Wait until they are there. Raises what kept them from being written."""
        unproven, self._unproven = self._unproven, None
        if unproven is not None:
            await unproven

    async def _start_ladder(self, newest: Epoch) -> None:
        """Begin to make deltas to the newest list once it is final, or to one that never was.

        Before that no client takes the list, and the end of an epoch has enough to do.
        """
        for row in self.lists:
            is_due = row.is_final or row.epoch < newest
            if is_due and row.epoch > self._climbed and newest - row.epoch <= 1:
                await self.finish()
                self._climbed = row.epoch
                self._ladder = asyncio.create_task(self._make_ladder(row))

    async def _make_ladder(self, row: PublishedList) -> None:
        await asyncio.to_thread(self._climb, row.epoch, row.full)
        await self._tell_of_more(row.epoch)

    async def _tell_of_more(self, epoch: Epoch) -> None:
        """Lead to what came later than its list."""
        try:
            await self._tell()
        except OSError as error:
            # the next block's update tells it
            self._is_told = False
            log.warning("manifest not written", epoch=epoch, why=str(error))

    async def finish(self) -> None:
        """Wait until all files of the newest list are there, or could not be made."""
        await self.settle()
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
                list_hash = _hash_of(self._path(start, "header").read_bytes())
                before = decode_full(self._path(start, "full").read_bytes(), list_hash)
            except (FileNotFoundError, Refusal):
                # gone, or damaged: the other deltas and the list itself lead there too
                continue
            after = after or make_rows(read_columns(read_file(full)))
            delta = compute_delta(make_rows(before), after)
            if len(delta) < len(full) and not self._write_delta(epoch, start, delta):
                return
            self._hurry.wait(REST * (time.monotonic() - began))
            if self._is_closing:
                return

    def _write_delta(self, epoch: Epoch, start: Epoch, delta: bytes) -> bool:
        """Write one; say whether it worked."""
        try:
            self._put(epoch, f"delta/{start}", delta)
        except OSError as error:
            log.warning("delta not written", epoch=epoch, start=start, why=str(error))
            return False
        return True

    def _find_paths(self, view: View, epoch: Epoch) -> Iterator[tuple[str, bytes]]:
        """Yield the trust paths to the header of an epoch, from genesis and the ladder's epochs.

        From the epoch itself too: that has the history for who lacks it. A chain that was filled
        from a snapshot has none that lead over it.
        """
        for start in (None, epoch, *list_starts(epoch)):
            try:
                path = self._paths.find(view, start, epoch)
            except Refusal:
                continue
            if path is not None:
                yield "genesis" if start is None else str(start), encode_path(path)

    def _write(self, epoch: Epoch, columns: bytes, paths: Mapping[str, bytes]) -> bytes:
        """Write a list and the paths to its header, and return its file."""
        full = FORMATS["full"].encode(columns)
        write_atomically(self._path(epoch, "open"), b"")
        self._put(epoch, "full", full)
        for name, path in paths.items():
            self._put(epoch, f"trust/{name}", path)
        return full

    def _write_bundle(self, row: PublishedList) -> None:
        """Write a final list with all that verifies it, once, and if all of that is here."""
        if not row.is_final or self._path(row.epoch, BUNDLE).exists():
            return
        try:
            path = self._path(row.epoch, "trust/genesis").read_bytes()
        except FileNotFoundError:
            return
        self._put(row.epoch, BUNDLE, encode_bundle(Bundle(path, row.header, row.full)))

    def _write_unproven(self, epoch: Epoch, source: Source) -> None:
        for form in UNPROVEN:
            self._put(epoch, form.name, form.make(source))

    def _put(self, epoch: Epoch, name: str, data: bytes) -> None:
        """Write a file of a list, so that the next manifest names it."""
        write_atomically(self._path(epoch, name), data)
        self._catalogue.note(epoch, name, data)

    def _freeze(self, view: View, epoch: Epoch) -> None:
        known = self._lists.get(epoch)
        raw = None if known is None else view.reader.get(final_key(epoch))
        if known is None or raw is None:
            return
        final = is_final(*view.weigh(decode_signed_header(raw)))
        row = PublishedList(epoch, raw, final, True, known.full)
        self._write_bundle(row)
        self._lists[epoch] = row
        self._put(epoch, "header", raw)
        self._path(epoch, "open").unlink(missing_ok=True)

    def _forget(self) -> list[Epoch]:
        """Let go of what memory need not hold, and return its epochs."""
        kept = [*sorted(self._lists)[-IN_MEMORY:], self.latest]
        forgotten = [epoch for epoch in self._lists if epoch not in kept]
        for epoch in forgotten:
            del self._lists[epoch]
        self._catalogue.forget(forgotten)
        return forgotten

    def _find_oldest(self, newest: Epoch) -> Epoch:
        """Return the first epoch whose list is there, or the newest if none is."""
        kept = range(max(0, newest - KEPT + 1), newest)
        return next((epoch for epoch in kept if self._path(epoch, "full").exists()), newest)

    def _find_epochs(self) -> list[Epoch]:
        """Return the epochs of the folder that are not in memory."""
        names = [path.name for path in (self._folder / "lists").iterdir()]
        return [int(name) for name in names if name.isdecimal() and int(name) not in self._lists]

    def _prune(self, epochs: Iterable[Epoch]) -> None:
        """Remove what is not kept of lists that are not in memory any more.

        Each folder is read once and most hold a header alone: at a start there may be thousands.
        """
        for epoch in epochs:
            gone = PASSING | LASTING if epoch <= self._newest() - KEPT else PASSING
            folder = self._path(epoch, "")
            for name in os.listdir(folder) if folder.exists() else ():
                # what a process that died was writing has a name that begins with a dot
                if name in gone or name.startswith("."):
                    _remove(folder / name)

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


def _hash_of(signed: bytes) -> Hash:
    """Return the hash of the columns that a signed header names."""
    return decode_header(decode_signed_header(signed).header).list_hash


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all its files."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
