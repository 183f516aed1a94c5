"""What is published is what the chain holds: in memory, in files, and after a restart."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ledger.history import final_key
from ledger.messages.entries import Entry, join_columns, make_entries, read_columns
from ledger.messages.lists import (
    ListHeader,
    decode_header,
    decode_signed_header,
    encode_signed_header,
)
from ledger.types import Epoch
from registry import publisher as publisher_module
from registry.files import write_atomically
from registry.formats.delta import apply_delta
from registry.formats.full import decode_full, read_file
from registry.formats.session import SessionNode
from registry.formats.session_binary import decode_session_binary
from registry.formats.session_json import decode_session_json
from registry.publisher import IN_MEMORY, Publisher
from registry.roster import Roster
from registry.view import PublishedList
from tests.factory import START_MS, Network, founding, make_contact, make_genesis, public
from tests.registry.factory import in_loop

SESSION_FORMS = ("session-json", "session-binary")


class FreshRoster(Roster):
    """Reads the newest height of a network whenever it is asked."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    def active(self) -> list[SessionNode]:
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

    async def end_epoch(self) -> None:
        """End the running epoch; the header before it is signed by all, or by nobody."""
        await self.block()
        self.network.settle()
        await self.publisher.update()
        self.network.end_epoch()
        await self.publisher.update()

    async def finish(self) -> None:
        """Have the newest list final, and all deltas made."""
        await self.block()
        self.network.settle()
        await self.publisher.update()
        await self.publisher.finish()

    async def restart(self) -> None:
        """Open the chain and the folder anew."""
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
            assert row.is_final == (3 * len(signed.signatures) > 2 * 3)
            assert self.file(row.epoch, "header") == row.header
            assert self.file(row.epoch, "full") == row.full
            raw = self.network.view.reader.get(final_key(row.epoch))
            newest = encode_signed_header(self.network.chain.newest_header())
            assert row.header == (raw if row.is_frozen else newest)
        assert (self.folder / "genesis").read_bytes() == self.network.raw
        # and of no other list
        epochs = {row.epoch for row in self.publisher.lists}
        for form in SESSION_FORMS:
            paths = self.folder.glob(f"lists/*/{form}")
            assert {int(path.parent.name) for path in paths} == epochs

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


@in_loop
async def test_at_the_start_the_list_of_genesis_is_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert [row.epoch for row in served.publisher.lists] == [0]
        row = served.row(0)
        assert (row.is_final, row.is_frozen) == (False, False)
        assert decode_signed_header(row.header).signatures == ()
        assert served.publisher.latest is None


@in_loop
async def test_a_header_gains_signatures_becomes_final_and_is_frozen(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        network = served.network
        network.attesting = False
        seen = []
        for index in range(3):
            await served.block(network.attest(index))
            served.check()
            row = served.row(0)
            seen.append((len(decode_signed_header(row.header).signatures), row.is_final))
        assert seen == [(1, False), (2, False), (3, True)]
        assert served.publisher.latest == 0
        full = served.row(0).full
        await served.end_epoch()
        served.check()
        assert [(row.epoch, row.is_final, row.is_frozen) for row in served.publisher.lists] == [
            (0, True, True),
            (1, False, False),
        ]
        assert served.row(0).full == full
        # the newest is not signed yet: the newest final one is the one before
        assert served.publisher.latest == 0


@in_loop
async def test_a_signature_in_the_last_block_of_an_epoch_is_published(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        network = served.network
        network.attesting = False
        await served.block(network.attest(0), network.attest(1))
        assert not served.row(0).is_final
        # the block that ends the epoch brings the third one
        await served.block(network.attest(2), ms=network.params.epoch_ms)
        assert [row.epoch for row in served.publisher.lists] == [0, 1]
        assert (served.row(0).is_final, served.publisher.latest) == (True, 0)
        assert len(decode_signed_header(served.file(0, "header")).signatures) == 3


@in_loop
async def test_blocks_that_change_no_list_write_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.block()
        before = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
        for _ in range(3):
            await served.block(served.network.transfer("alice", "bob"))
        assert {path: path.stat().st_ino for path in tmp_path.rglob("*")} == before


@in_loop
async def test_memory_is_bounded_and_files_stay(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for _ in range(IN_MEMORY + 3):
            await served.end_epoch()
            served.check()
            assert len(served.publisher.lists) <= IN_MEMORY + 1
        folders = sorted(int(path.name) for path in (tmp_path / "lists").iterdir())
        assert folders == list(range(IN_MEMORY + 4))


@in_loop
async def test_session_files_show_the_list_and_not_what_comes_after_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        network = served.network
        await served.block()
        await served.end_epoch()
        before = {form: served.file(1, form) for form in SESSION_FORMS}
        await served.block(network.register("newcomer"), network.update_contact("founder 1"))
        for form in SESSION_FORMS:
            (tmp_path / "lists" / "1" / form).unlink()
        # made again in the same epoch, they are the same
        await served.restart()
        assert {form: served.file(1, form) for form in SESSION_FORMS} == before
        await served.end_epoch()
        served.check()
        _, nodes = decode_session_json(served.file(2, "session-json"))
        address = {node.key: node.ipv4 for node in nodes}
        assert address[public("founder 1")] == bytes([5, 6, 7, 9])
        assert public("newcomer") in address
        assert public("leaves") not in address
        assert {node.key for node in decode_session_json(before["session-json"])[1]} == {
            *address, public("leaves"),
        } - {public("newcomer")}  # fmt: skip


@in_loop
async def test_session_files_that_a_dead_process_left_behind_are_removed(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for _ in range(IN_MEMORY + 2):
            await served.end_epoch()
        for form in SESSION_FORMS:
            write_atomically(tmp_path / "lists" / "0" / form, b"old")
        await served.restart()
        assert sorted(path.name for path in (tmp_path / "lists" / "0").iterdir()) == [
            "full",
            "header",
        ]


@in_loop
async def test_the_newest_final_list_stays_although_no_other_becomes_final(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.end_epoch()
        served.network.attesting = False
        for _ in range(IN_MEMORY + 2):
            await served.end_epoch()
            served.check()
            assert served.publisher.latest == 0
        assert served.row(0).is_final


@pytest.mark.parametrize("unsigned", [0, 1, IN_MEMORY + 2])
@in_loop
async def test_after_a_restart_the_same_is_served(tmp_path: Path, unsigned: int) -> None:
    async with serving(tmp_path) as served:
        for _ in range(2):
            await served.end_epoch()
        served.network.attesting = False
        for _ in range(unsigned):
            await served.end_epoch()
        await served.block()
        latest, lists = served.publisher.latest, served.publisher.lists
        assert latest == 1
        await served.restart()
        assert served.publisher.latest == latest
        held = {row.epoch: row for row in served.publisher.lists}
        assert all(held[row.epoch] == row for row in lists)
        await served.end_epoch()


@in_loop
async def test_signatures_that_a_dead_process_did_not_publish_are_published(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as served:
        served.network.attesting = False
        await served.block(served.network.attest(0))
        # the process dies after the block with the other signatures, and the epoch goes on
        served.network.block(served.network.attest(1), served.network.attest(2))
        await served.restart()
        assert served.publisher.latest == 0
        served.check()


@pytest.mark.parametrize("epochs", [1, 2])
@in_loop
async def test_a_list_that_was_frozen_while_nobody_published_has_all_its_signatures(
    tmp_path: Path, epochs: int
) -> None:
    async with serving(tmp_path) as served:
        # another process of this chain went on: its signatures came after the last publication
        for _ in range(epochs):
            served.network.block()
            served.network.end_epoch()
        await served.restart()
        assert served.row(0).is_final
        served.check()


@in_loop
async def test_a_list_whose_file_is_gone_is_not_served(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for _ in range(2):
            await served.end_epoch()
        (tmp_path / "lists" / "1" / "full").unlink()
        await served.restart()
        assert [row.epoch for row in served.publisher.lists] == [0, 2]


@in_loop
async def test_files_are_replaced_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced: list[str] = []
    real = os.replace

    def replace(source: str, target: Path) -> None:
        # nothing is written in place: what a web server has open stays what it was
        assert Path(source).parent == target.parent
        assert Path(source).name.startswith(".")
        replaced.append(str(target.relative_to(tmp_path)))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    async with serving(tmp_path) as served:
        await served.end_epoch()
        names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
        assert names == {"genesis", "header", "full", *SESSION_FORMS}
        # the list is there before the header that names it
        for name in ("full", *SESSION_FORMS):
            assert replaced.index(f"lists/1/{name}") < replaced.index("lists/1/header")
            assert replaced.count(f"lists/1/{name}") == 1


@in_loop
async def test_a_failed_publication_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as served:
        with monkeypatch.context() as broken:

            def fail(*_arguments: object) -> None:
                raise OSError("no space left on device")

            broken.setattr(publisher_module, "write_atomically", fail)
            served.network.block()
            with pytest.raises(OSError, match="no space"):
                await served.publisher.update()
        await served.publisher.update()
        assert served.publisher.latest == 0
        served.check()


@in_loop
async def test_the_loop_goes_on_while_a_list_is_packed(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await served.end_epoch()
        assert turns > 3
        counting.cancel()


# ---- deltas ----


def deltas(served: Served, epoch: Epoch) -> list[Epoch]:
    """The epochs from which deltas lead to the list of an epoch."""
    folder = served.folder / "lists" / str(epoch) / "delta"
    return sorted(int(path.name) for path in folder.iterdir()) if folder.exists() else []


@in_loop
async def test_deltas_lead_to_each_list_from_those_before(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for number in range(6):
            name = f"new {number}"
            await served.block(served.network.register(name, "alice"))
            await served.end_epoch()
        await served.finish()
        assert deltas(served, 0) == []
        assert deltas(served, 1) == [0]
        assert deltas(served, 6) == [2, 4, 5]
        for end in range(1, 7):
            header = decode_header(decode_signed_header(served.file(end, "header")).header)
            for start in deltas(served, end):
                before = read_columns(read_file(served.file(start, "full")))
                delta = served.file(end, f"delta/{start}")
                assert len(delta) < len(served.file(end, "full"))
                after = apply_delta(before, delta, header.list_hash)
                assert join_columns(after) == read_file(served.file(end, "full"))


@in_loop
async def test_lists_and_deltas_are_kept_for_so_many_epochs_and_headers_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "KEPT", 5)
    async with serving(tmp_path) as served:
        for _ in range(8):
            await served.end_epoch()
        await served.finish()
        lists = tmp_path / "lists"
        assert sorted(int(path.parent.name) for path in lists.glob("*/full")) == [4, 5, 6, 7, 8]
        assert sorted(int(path.parent.name) for path in lists.glob("*/header")) == [*range(9)]
        assert sorted(int(path.parent.name) for path in lists.glob("*/delta")) == [4, 5, 6, 7, 8]
        assert deltas(served, 8) == [4, 6, 7]


@in_loop
async def test_a_delta_that_cannot_be_written_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, data: bytes) -> None:
        if path.parent.name == "delta":
            raise OSError("no space left")
        write_atomically(path, data)

    monkeypatch.setattr(publisher_module, "write_atomically", fail)
    async with serving(tmp_path) as served:
        for _ in range(2):
            await served.end_epoch()
        await served.finish()
        assert deltas(served, 2) == []
        assert served.publisher.latest == 2


@in_loop
async def test_who_closes_does_not_wait_for_the_whole_ladder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "REST", 0)
    async with serving(tmp_path) as served:
        for _ in range(4):
            await served.end_epoch()
        await served.finish()
        assert deltas(served, 4) == [0, 2, 3]
        monkeypatch.setattr(publisher_module, "REST", 10**6)
        await served.end_epoch()
        await served.block()
        served.network.settle()
        await served.publisher.update()
        async with asyncio.timeout(30):
            await served.publisher.close()
        assert deltas(served, 5) == [4]


@in_loop
async def test_deltas_wait_until_their_list_is_final_and_no_longer_than_to_the_next(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as served:
        await served.end_epoch()
        await served.publisher.finish()
        assert deltas(served, 1) == []
        served.network.attesting = False
        await served.block()
        served.network.end_epoch()
        await served.publisher.update()
        await served.publisher.finish()
        assert deltas(served, 1) == [0]
        assert deltas(served, 2) == []
