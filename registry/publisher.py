"""List files: compressed once when an epoch ends, published as files and in memory.

    publish/genesis                 the genesis file
    publish/lists/<epoch>/full      the list; it never changes
    publish/lists/<epoch>/header    the signed header; it gains signatures for one epoch

Files are replaced atomically. Whoever serves the folder serves what this service serves.
"""

import asyncio
from pathlib import Path
from typing import Final

from ledger.chain import Chain
from ledger.history import final_key
from ledger.messages.lists import (
    SignedHeader,
    attestor_set_hash,
    decode_header,
    decode_signed_header,
    encode_signed_header,
    is_final,
    weigh,
)
from ledger.state import SETS
from ledger.types import Epoch
from ledger.views import View
from registry.files import write_atomically
from registry.formats import FORMATS
from registry.view import PublishedList

IN_MEMORY: Final = 3
"""Epochs kept in memory beside the newest final one; older ones are files."""


class Publisher:
    """The published lists of one chain."""

    def __init__(self, chain: Chain, folder: Path) -> None:
        self._chain = chain
        self._folder = folder
        self._lists: dict[Epoch, PublishedList] = {}

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

    def _take_up(self, view: View, epoch: Epoch, is_recent: bool) -> None:
        """Read a frozen list back if it is recent or final; one whose file is gone is not served.

        The header's file may lack the signatures that came last before the process ended.
        """
        raw = view.reader.get(final_key(epoch))
        full, header = self._path(epoch, "full"), self._path(epoch, "header")
        if raw is None or not full.exists():
            return
        final = self._is_final(view, decode_signed_header(raw))
        if not (is_recent or final):
            return
        if not header.exists() or header.read_bytes() != raw:
            write_atomically(header, raw)
        self._lists[epoch] = PublishedList(epoch, raw, final, True, full.read_bytes())

    async def update(self) -> None:
        """Publish what the newest block changed."""
        view = self._chain.view()
        signed = view.newest_header()
        epoch = decode_header(signed.header).epoch
        raw = encode_signed_header(signed)
        known = self._lists.get(epoch)
        if known is not None and known.header == raw:
            return
        if known is None:
            self._freeze(view, epoch - 1)
            columns = self._chain.newest_list().columns
            full = await asyncio.to_thread(FORMATS["full"].encode, columns)
            await asyncio.to_thread(write_atomically, self._path(epoch, "full"), full)
        else:
            full = known.full
        await asyncio.to_thread(write_atomically, self._path(epoch, "header"), raw)
        self._lists[epoch] = PublishedList(epoch, raw, self._is_final(view, signed), False, full)
        self._forget()

    def _freeze(self, view: View, epoch: Epoch) -> None:
        known = self._lists.get(epoch)
        raw = None if known is None else view.reader.get(final_key(epoch))
        if known is None or raw is None:
            return
        final = self._is_final(view, decode_signed_header(raw))
        self._lists[epoch] = PublishedList(epoch, raw, final, True, known.full)
        write_atomically(self._path(epoch, "header"), raw)

    def _forget(self) -> None:
        kept = [*sorted(self._lists)[-IN_MEMORY:], self.latest]
        self._lists = {epoch: row for epoch, row in self._lists.items() if epoch in kept}

    def _path(self, epoch: Epoch, name: str) -> Path:
        return self._folder / "lists" / str(epoch) / name

    @staticmethod
    def _is_final(view: View, signed: SignedHeader) -> bool:
        """Whether enough of the weight signed; the signatures were verified when accepted."""
        members = view.state.one(SETS).current
        if attestor_set_hash(members) != decode_header(signed.header).set_hash:
            return False
        return is_final(*weigh(signed, members))

    @property
    def lists(self) -> list[PublishedList]:
        """What is in memory, by ascending epoch."""
        return [self._lists[epoch] for epoch in sorted(self._lists)]

    @property
    def latest(self) -> Epoch | None:
        """Epoch of the newest final list in memory."""
        return max((row.epoch for row in self._lists.values() if row.is_final), default=None)
