"""What is published is what the chain holds: in memory, in files, and after a restart."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.messages.entries import join_columns, read_columns
from ledger.messages.lists import (
    decode_header,
    decode_signed_header,
)
from ledger.types import Epoch
from registry import publisher as publisher_module
from registry.files import write_atomically
from registry.formats.delta import apply_delta
from registry.formats.full import read_file
from registry.formats.session_json import decode_session_json
from registry.manifest import NAME as MANIFEST
from registry.manifest import Manifest, decode_manifest
from registry.publisher import IN_MEMORY
from tests.factory import public
from tests.flip import flip
from tests.registry.factory import in_loop, settle
from tests.registry.published import SESSION_FORMS, Served, serving


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
            "trust",
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


HARMS = {
    "a bit is another": lambda raw: flip(raw, -9, 2),
    "cut off": lambda raw: raw[:-9],
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
@in_loop
async def test_a_list_whose_file_is_damaged_is_not_served(
    tmp_path: Path, harm: Callable[[bytes], bytes]
) -> None:
    async with serving(tmp_path) as served:
        for _ in range(2):
            await served.end_epoch()
        path = tmp_path / "lists" / "1" / "full"
        path.write_bytes(harm(path.read_bytes()))
        await served.restart()
        assert [row.epoch for row in served.publisher.lists] == [0, 2]
        assert not path.exists()
        assert served.publisher.latest == 0


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
@in_loop
async def test_no_delta_begins_with_a_damaged_list_and_the_others_are_made(
    tmp_path: Path, harm: Callable[[bytes], bytes]
) -> None:
    async with serving(tmp_path) as served:
        for number in range(5):
            await served.block(served.network.register(f"new {number}", "alice"))
            await served.end_epoch()
        path = tmp_path / "lists" / "2" / "full"
        path.write_bytes(harm(path.read_bytes()))
        await served.block(served.network.register("new 5", "alice"))
        await served.end_epoch()
        await served.finish()
        assert deltas(served, 6) == [4, 5]


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
        paths = {"0", "1", "genesis"}
        made = {"manifest.json", "header", "open", "full", "bundle", *SESSION_FORMS}
        assert names == paths | made
        # the list is there before the header that names it
        assert replaced.index("lists/1/full") < replaced.index("lists/1/header")
        # and what proves nothing comes when clients have what they wait for
        for name in SESSION_FORMS:
            assert replaced.index("lists/1/header") < replaced.index(f"lists/1/{name}")
        assert all(replaced.count(f"lists/1/{name}") == 1 for name in ("full", *SESSION_FORMS))
        # so is what says that the header may still change
        assert replaced.index("lists/1/open") < replaced.index("lists/1/header")
        # and what leads to them comes last
        assert replaced.index("lists/0/header") < replaced.index("latest")
        assert replaced[-1] == "manifest.json"


@in_loop
async def test_session_files_are_made_later_and_before_their_list_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as served:
        await served.block()
        may_go_on = threading.Event()
        real = served.publisher._write_unproven

        def write_late(*arguments: Any) -> None:
            may_go_on.wait(60)
            real(*arguments)

        monkeypatch.setattr(served.publisher, "_write_unproven", write_late)
        served.network.end_epoch()
        await served.publisher.update()
        epoch = served.publisher.lists[-1].epoch
        folder = tmp_path / "lists" / str(epoch)
        assert {path.name for path in folder.iterdir()} == {"open", "full", "header", "trust"}
        served.network.block()
        served.network.settle()
        publishing = asyncio.create_task(served.publisher.update())
        await settle()
        assert not publishing.done()
        assert served.publisher.latest == epoch - 1
        may_go_on.set()
        await publishing
        assert served.publisher.latest == epoch
        assert {path.name for path in folder.iterdir()} >= {*SESSION_FORMS}
        await served.publisher.settle()


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


# ---- the manifest ----


def manifest_of(served: Served) -> Manifest:
    """The manifest as it is in the folder now."""
    return decode_manifest((served.folder / MANIFEST).read_bytes())


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"chain":"\xff"}', b'{"a":' * 10_000])
def test_what_is_no_manifest_is_no_manifest(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_manifest(raw)


@in_loop
async def test_the_manifest_names_deltas_once_they_are_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for _ in range(4):
            await served.end_epoch()
        await served.finish()
        newest = manifest_of(served).lists[0]
        assert [name for name in newest.files if name.startswith("delta/")] == [
            f"delta/{start}" for start in deltas(served, 4)
        ]
        assert deltas(served, 4)
        # another process finds those that this one made
        before = manifest_of(served)
        await served.restart()
        await served.publisher.finish()
        assert manifest_of(served).lists[1:] == before.lists[1:]


@in_loop
async def test_the_manifest_says_from_where_on_lists_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "KEPT", 5)
    async with serving(tmp_path) as served:
        for epochs, oldest in ((4, 0), (1, 1), (1, 2)):
            for _ in range(epochs):
                await served.end_epoch()
            assert manifest_of(served).oldest == oldest
        # a folder that begins later says so
        (tmp_path / "lists" / "2" / "full").unlink()
        await served.restart()
        assert manifest_of(served).oldest == 3


@in_loop
async def test_the_manifest_has_a_bound(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for _ in range(IN_MEMORY + 6):
            await served.end_epoch()
        assert len(manifest_of(served).lists) <= IN_MEMORY + 1
        assert len((tmp_path / MANIFEST).read_bytes()) < 16_384


@in_loop
async def test_a_manifest_that_could_not_be_written_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, data: bytes) -> None:
        if path.name == MANIFEST:
            raise OSError("no space left on device")
        write_atomically(path, data)

    async with serving(tmp_path) as served:
        await served.end_epoch()
        served.network.block()
        with monkeypatch.context() as broken:
            broken.setattr(publisher_module, "write_atomically", fail)
            with pytest.raises(OSError, match="no space"):
                await served.publisher.update()
        # the next block changes no list
        await served.block()


@in_loop
async def test_what_a_dead_process_was_writing_is_removed(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for _ in range(IN_MEMORY + 2):
            await served.end_epoch()
        half = tmp_path / "lists" / "0" / ".full.abcd"
        half.write_bytes(b"half")
        await served.restart()
        assert not half.exists()
