"""`waypost ledger export`: the same file from everywhere, and what is read of one elsewhere."""

import json
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.codec import encode
from ledger.history import BASE_KEY, journal_key
from ledger.leveldb import LevelStore
from ledger.messages.blocks import BLOCK
from registry.cli import histories
from registry.history_file import HistoryFile
from tests.factory import Network
from tests.ledger.moving import announce, hand_over, make_successor, move, succeed
from tests.ledger.scenes import SHORT
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import FakeService, run_service
from tests.registry.cli.made import Made, read_vector, reseal, write_file, write_home

DOCS: Final = Path(__file__).parents[3] / "docs"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeService]:
    """A service, on a machine that holds nothing."""
    monkeypatch.delenv("WAYPOST_URL", raising=False)
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path / "none"))
    with run_service() as running:
        network = running.network
        for _ in range(9):
            network.block()
        network.end_epoch()
        network.settle()
        yield running


# --- what is written ----------------------------------------------------------------------------


def test_a_node_that_runs_and_one_that_is_stopped_give_the_same_file(
    fake: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "FETCH_BLOCKS", 4)
    home = write_home(tmp_path / "home", fake.network)
    files = [tmp_path / "from a service", tmp_path / "from a home"]
    shown = call_json("ledger", "export", files[0], "--url", fake.url)
    assert call_json("ledger", "export", files[1], "--home", home)["hash"] == shown["hash"]
    raw = files[0].read_bytes()
    assert raw == files[1].read_bytes()
    assert raw == write_file(tmp_path / "made", Made.of(fake.network)).read_bytes()
    assert shown["height"] == fake.network.chain.tip.height
    assert shown["bytes"] == len(raw)
    assert shown["hash"] == raw[-32:].hex() == sha256(raw[:-32]).hexdigest()
    assert shown["genesis_hash"] == fake.network.hash.hex()


def test_it_may_end_sooner(fake: FakeService, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    call("ledger", "export", whole, "--url", fake.url)
    shown = call_json("ledger", "export", part, "--url", fake.url, "--height", 5)
    assert shown["height"] == 5
    # what is the same in both is the same bytes
    assert whole.read_bytes().startswith(part.read_bytes()[: -32 - 8 - 4])
    assert call_json("ledger", "audit", part)["height"] == 5
    nothing = tmp_path / "nothing"
    call("ledger", "export", nothing, "--url", fake.url, "--height", 0)
    assert call_json("ledger", "audit", nothing)["blocks"] == 0
    too_far = fake.network.chain.tip.height + 1
    call("ledger", "export", tmp_path / "x", "--url", fake.url, "--height", too_far, code=2)


def test_the_page_of_the_format_names_the_hash_of_a_vector(tmp_path: Path) -> None:
    path = write_file(tmp_path / "file", read_vector("life.json"))
    with path.open("rb") as stream:
        history = HistoryFile(str(path), stream)
    page = (DOCS / "spec" / "history_file.md").read_text(encoding="utf-8")
    assert f"`{history.hash.hex()}`" in page
    assert f"{path.stat().st_size:,} bytes" in page


def test_no_file_is_written_over(fake: FakeService, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    result = call("ledger", "export", path, "--url", fake.url, code=1)
    assert error_of(result) == "io"
    assert path.read_bytes() == b"mine"
    assert "/v1/blocks" not in fake.asked


@pytest.mark.parametrize("fails", ["fsync", "link"])
def test_what_fails_leaves_nothing(
    fake: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(28, "no space left on device")

    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.setattr(os, fails, fail)
    result = call("ledger", "export", folder / "file", "--url", fake.url, code=1)
    assert error_of(result) == "io"
    assert list(folder.iterdir()) == []


# --- sources that do not hold -------------------------------------------------------------------


def change(height: int, **header: Any) -> Callable[[LevelStore], None]:
    """Another header of a block."""

    def apply(store: LevelStore) -> None:
        block = BLOCK.decode(store.get(journal_key(height)) or b"")
        changed = replace(block, header=replace(block.header, **header))
        store.write({journal_key(height): encode(changed)})

    return apply


def swap(store: LevelStore) -> None:
    """Two blocks stand in each other's place."""
    store.write(
        {
            journal_key(3): store.get(journal_key(4)),
            journal_key(4): store.get(journal_key(3)),
        }
    )


BROKEN: Final[dict[str, tuple[Callable[[LevelStore], None], str]]] = {
    "a block is missing": (
        lambda store: store.write({journal_key(3): None}),
        "block 3: it is missing in the journal",
    ),
    "it began with a snapshot": (
        lambda store: store.write({journal_key(1): None, BASE_KEY: (2).to_bytes(8, "big")}),
        "block 1: the journal begins with block 2",
    ),
    "a block is none": (
        lambda store: store.write({journal_key(3): b"\x90"}),
        "block 3: not_canonical",
    ),
    "blocks are swapped": (swap, "block 3: block 4 stands in its place"),
    "a block follows another": (change(3, previous=bytes(32)), "block 3: it does not follow"),
    "a block was changed": (change(3, time_ms=1), "block 4: it does not follow"),
    "a block carries something else": (change(3, inputs=bytes(32)), "block 3: it does not carry"),
    "the last block was changed": (
        change(5, state_root=bytes(32)),
        "claims another root than it",
    ),
}


@pytest.mark.parametrize(("damage", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_chain_is_not_written(
    tmp_path: Path, damage: Callable[[LevelStore], None], says: str
) -> None:
    network = Network()
    for _ in range(5):
        network.block()
    home, path = write_home(tmp_path / "home", network), tmp_path / "file"
    store = LevelStore(home / "ledger", create=False)
    damage(store)
    store.close()
    result = call("ledger", "export", path, "--home", home, code=1)
    assert error_of(result) == "finding"
    assert says in result.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["home"]


# --- on another machine -------------------------------------------------------------------------


def test_a_file_needs_neither_database_nor_network(
    fake: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(tmp_path / "file", Made.of(fake.network))
    asked = len(fake.asked)
    monkeypatch.setitem(__import__("sys").modules, "ledger.leveldb", None)
    for command in ("replay", "audit"):
        shown = call_json("ledger", command, path)
        assert shown["height"] == fake.network.chain.tip.height
        assert shown["state_root"] == fake.network.chain.tip.root.hex()
    assert len(fake.asked) == asked


def test_a_genesis_file_says_of_which_network(fake: FakeService, tmp_path: Path) -> None:
    path = write_file(tmp_path / "file", Made.of(fake.network))
    own, other = tmp_path / "own", tmp_path / "other"
    own.write_bytes(fake.network.raw)
    other.write_bytes(Network().raw)
    call("ledger", "audit", path, "--genesis", own)
    result = call("ledger", "audit", path, "--genesis", other, code=1)
    assert error_of(result) == "bad_genesis"
    assert "history of another network" in result.stderr


def test_one_source_at_a_time(tmp_path: Path) -> None:
    call("ledger", "audit", tmp_path / "file", "--home", tmp_path, code=2)
    call("ledger", "replay", tmp_path / "file", "--url", "http://127.0.0.1:1", code=2)
    assert error_of(call("ledger", "audit", tmp_path / "file", code=1)) == "io"


def test_a_damaged_file_is_refused_before_anything_is_executed(
    fake: FakeService, tmp_path: Path
) -> None:
    path, report = write_file(tmp_path / "file", Made.of(fake.network)), tmp_path / "report"
    raw = path.read_bytes()
    for bad in (raw[:-1], raw[:1000], raw + b"\0", raw[:900] + b"\xff" + raw[901:], b""):
        path.write_bytes(bad)
        result = call("ledger", "audit", path, "--report", report, code=1)
        assert error_of(result) == "bad_history_file"
        assert not report.exists()


def test_a_file_whose_hash_was_made_to_fit_is_audited_all_the_same(tmp_path: Path) -> None:
    """Whoever changes a history writes the hash that goes with it; execution finds out."""
    network = Network()
    for _ in range(5):
        network.block(network.transfer("alice", "bob"))
    made = Made.of(network)
    without = replace(made.decoded(3), transactions=made.decoded(3).transactions[1:])
    tries = {
        "block_link": [*made.raws[:2], made.raws[3], made.raws[2], *made.raws[4:]],
        "block_inputs": [*made.raws[:2], encode(without), *made.raws[3:]],
        "diverged": [*made.raws[:2], encode(reseal(made.genesis, without)), *made.raws[3:]],
        "not_canonical": [*made.raws[:2], made.raws[2] + b"\0", *made.raws[3:]],
    }
    for what, raws in tries.items():
        path, report = write_file(tmp_path / what, Made(made.genesis, raws)), tmp_path / "report"
        call("ledger", "audit", path, "--report", report, code=1)
        finding = json.loads(report.read_text())["finding"]
        assert (finding["height"], finding["what"]) == (3, what)


def test_a_network_that_follows_another_wants_what_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path / "none"))
    old = Network(**SHORT)
    successor = make_successor(old)
    announce(old, successor)
    move(old, successor)
    begun = succeed(successor, hand_over(old))
    old.end_epoch()
    left, following = tmp_path / "inheritance", tmp_path / "following"
    following.write_bytes(encode(successor))
    home = write_home(tmp_path / "home", old)
    call("ledger", "bequeath", "--home", home, "--successor", following, "--to", left)
    path = write_file(tmp_path / "file", Made(encode(successor), []))
    assert error_of(call("ledger", "audit", path, code=1)) == "inheritance_missing"
    shown = call_json("ledger", "audit", path, "--inherit", left)
    assert shown["genesis_root"] == begun.chain.tip.root.hex()
