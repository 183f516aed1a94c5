"""A network with its publisher, and what has to hold for what is published.

Served     the two, and a folder; it hears of every block
serving    one for the time of a test, checked at its end
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ledger.crypto import sha256
from ledger.history import final_key
from ledger.messages.entries import Entry, make_entries
from ledger.messages.lists import (
    ListHeader,
    decode_header,
    decode_signed_header,
    encode_signed_header,
)
from ledger.types import Epoch
from registry.client import TrustedLists
from registry.formats.full import decode_full
from registry.formats.session_binary import decode_session_binary
from registry.formats.session_json import decode_session_json
from registry.manifest import NAME as MANIFEST
from registry.manifest import PASSING, decode_manifest
from registry.publisher import Publisher
from registry.roster import Roster
from registry.view import NodeRow, PublishedList
from tests.factory import START_MS, Network, founding, make_contact, make_genesis

SESSION_FORMS = ("session-json", "session-binary")


class FreshRoster(Roster):
    """Reads the newest height of a network whenever it is asked."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    def active(self) -> list[NodeRow]:
        fresh = Roster()
        fresh.read_all(self._network.state)
        return fresh.active()


class Served:
    """A network with its publisher, which hears of every block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        nodes = (
            *founding(*(f"founder {number}" for number in range(6))),
            *founding("without IPv4", contact=make_contact(ipv4=b"", ipv6=bytes(15) + b"\1")),
            *founding("leaves", exit_ms=START_MS + 15_000),
        )
        nodes = tuple(sorted(nodes, key=lambda row: row.node))
        self.network = Network(make_genesis(nodes=nodes))
        self.publisher = self._make_publisher()

    def _make_publisher(self) -> Publisher:
        return Publisher(self.network.chain, FreshRoster(self.network), self.folder)

    async def block(self, *raws: bytes, ms: int = 100) -> None:
        self.network.block(*raws, ms=ms)
        await self.publisher.update()
        await self.publisher.settle()

    async def end_epoch(self) -> None:
        """End the running epoch; the header before it is signed by all, or by nobody."""
        await self.block()
        self.network.settle()
        await self.publisher.update()
        await self.publisher.settle()
        self.network.end_epoch()
        await self.publisher.update()
        await self.publisher.settle()

    async def finish(self) -> None:
        """Have the newest list final, and all deltas made."""
        await self.block()
        self.network.settle()
        await self.publisher.update()
        await self.publisher.settle()
        await self.publisher.finish()

    async def restart(self) -> None:
        """Open the chain and the folder anew."""
        # whoever is gone writes nothing any more
        await self.publisher.close()
        self.network.reopen()
        self.publisher = self._make_publisher()
        await self.publisher.start()

    def row(self, epoch: Epoch) -> PublishedList:
        return next(row for row in self.publisher.lists if row.epoch == epoch)

    def file(self, epoch: Epoch, name: str) -> bytes:
        return (self.folder / "lists" / str(epoch) / name).read_bytes()

    def check(self) -> None:
        """Whatever is in memory holds, and is what the files hold."""
        for row in self.publisher.lists:
            signed = decode_signed_header(row.header)
            header = decode_header(signed.header)
            assert header.epoch == row.epoch
            entries = make_entries(decode_full(row.full, header.list_hash))
            assert len(entries) == header.node_count
            self.check_session_forms(header, entries)
            self.check_trust(row)
            assert row.is_final == (3 * len(signed.signatures) > 2 * 3)
            assert self.file(row.epoch, "header") == row.header
            assert self.file(row.epoch, "full") == row.full
            raw = self.network.view.reader.get(final_key(row.epoch))
            newest = encode_signed_header(self.network.chain.newest_header())
            assert row.header == (raw if row.is_frozen else newest)
        assert (self.folder / "genesis").read_bytes() == self.network.raw
        self.check_manifest()
        # whoever sees names only sees which header may still change
        opened = {int(path.parent.name) for path in self.folder.glob("lists/*/open")}
        assert opened == {row.epoch for row in self.publisher.lists if not row.is_frozen}
        # and of no other list
        epochs = {row.epoch for row in self.publisher.lists}
        for form in SESSION_FORMS:
            paths = self.folder.glob(f"lists/*/{form}")
            assert {int(path.parent.name) for path in paths} == epochs

    def check_manifest(self) -> None:
        """It says what is in memory, and what the files are; `latest` leads to that list."""
        manifest = decode_manifest((self.folder / MANIFEST).read_bytes())
        lists, latest = self.publisher.lists, self.publisher.latest
        assert manifest.genesis == sha256(self.network.raw).hex()
        assert manifest.chain == self.network.chain.genesis.name.decode()
        assert (manifest.newest, manifest.latest) == (lists[-1].epoch, latest)
        shown = [(row.epoch, row.final) for row in manifest.lists]
        assert shown == [(row.epoch, row.is_final) for row in reversed(lists)]
        for row in manifest.lists:
            held = self.row(row.epoch)
            assert {"header", "full", *SESSION_FORMS} <= row.files.keys()
            for name, file in row.files.items():
                raw = self.file(row.epoch, name)
                assert (file.size, file.sha256) == (len(raw), sha256(raw).hex())
                lasts = held.is_frozen if name == "header" else name not in PASSING
                assert file.immutable == lasts
        link = self.folder / "latest"
        leads_to = None if latest is None else f"lists/{latest}"
        assert leads_to == (os.readlink(link) if link.is_symlink() else None)

    def check_trust(self, row: PublishedList) -> None:
        """A client with nothing but genesis takes a final list by its path, or as a bundle."""
        if not row.is_final:
            return
        clients = [
            TrustedLists(self.network.raw, self.network.chain.tip.time_ms, allow_expired=True)
            for _ in range(2)
        ]
        clients[0].update(row.header, self.file(row.epoch, "trust/genesis"))
        clients[1].load_bundle(self.file(row.epoch, "bundle"))
        assert clients[0].header == clients[1].header
        assert clients[0].knows_history

    def check_session_forms(self, header: ListHeader, entries: list[Entry]) -> None:
        """They hold the nodes of the list that have IPv4, as they are in the list."""
        expected = [
            (e.key, e.swarm_id, e.contact.ipv4, e.contact.storage_port, e.contact.router_port)
            for e in entries
            if e.contact.ipv4
        ]
        height, nodes = decode_session_json(self.file(header.epoch, "session-json"))
        assert height == header.height
        assert expected == [
            (n.key, n.swarm_id, n.ipv4, n.storage_port, n.router_port) for n in nodes
        ]
        binary = decode_session_binary(self.file(header.epoch, "session-binary"))
        assert expected == [tuple(node)[:5] for node in binary]


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    served = Served(folder)
    await served.publisher.start()
    yield served
    served.check()
