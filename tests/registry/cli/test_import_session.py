"""`waypost genesis import-session`: a published list becomes the beginning of a network."""

import json
from pathlib import Path
from typing import Any

import pytest

from ledger.genesis import load_genesis
from ledger.messages.genesis import NEW_SWARM, Genesis
from registry import signer
from registry.addresses import decode_account
from registry.formats.session_json import decode_session_json
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import save_keys
from tests.registry.operators import OPERATORS, make_operators
from tests.registry.session_network import LEAVING, NODES, session_network

START_MS = 1_700_000_000_000


@pytest.fixture(autouse=True)
def _short_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signer, "CHAIN_LINKS", 2**11)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a list of the real size, its map of operators, and key files."""
    for name in ("producer", "attestor"):
        save_keys(tmp_path, name)
    (tmp_path / "list.json").write_bytes(session_network())
    (tmp_path / "operators.json").write_bytes(make_operators(session_network()))
    return tmp_path


def small(folder: Path, **changes: Any) -> None:
    """Put a list of the first three nodes there, the first of them with other fields."""
    published = json.loads(session_network())
    entries = published["service_node_states"][:3]
    published["service_node_states"] = [entries[0] | changes, *entries[1:]]
    (folder / "list.json").write_text(json.dumps(published))


def words(folder: Path, *more: object, preset: str = "minimal") -> list[object]:
    """A command line that is good as it is."""
    return [
        *("genesis", "import-session", folder / "list.json", "--name", "net", "--preset", preset),
        *("--producer", folder / "producer.json", "--attestor", folder / "attestor.json"),
        *("--operators", folder / "operators.json", "--start-ms", START_MS),
        *("--router-port", 22020, "--storage-version", "2.11.0", "--router-version", "11.6.0"),
        *("--out", folder / "genesis.bin", *more),
    ]


def made(folder: Path) -> Genesis:
    return load_genesis((folder / "genesis.bin").read_bytes())


def test_every_node_of_the_list_stands_in_the_file(folder: Path) -> None:
    shown = call_json(*words(folder))
    genesis = made(folder)
    height, published = decode_session_json(session_network())
    owners = list(json.loads((folder / "operators.json").read_bytes()).values())
    assert len(genesis.nodes) == NODES
    for node, row, owner in zip(
        sorted(published), genesis.nodes, _in_key_order(published, owners), strict=True
    ):
        assert row.node == node.key
        assert row.operator == decode_account(owner["operator"])
        assert row.duty_key.hex() == owner["duty_key"]
        assert (row.contact.ipv4, row.contact.storage_port) == (node.ipv4, node.storage_port)
        assert (row.contact.router_port, row.contact.ipv6) == (22020, b"")
        assert row.swarm_id == NEW_SWARM
        waits_ms = (node.unlock_height - height) * 120_000 if node.unlock_height else 0
        assert row.exit_ms == (START_MS + waits_ms if waits_ms else 0)
    assert shown["nodes"] == {
        "count": NODES,
        "operators": OPERATORS,
        "with_swarm": 0,
        "leaving": LEAVING,
    }
    assert shown["left_out"] == {"inactive": 0, "unreachable": 0}


def _in_key_order(published: Any, owners: list[Any]) -> list[Any]:
    keys = [node.key for node in published]
    return [owner for _, owner in sorted(zip(keys, owners, strict=True))]


def test_the_same_inputs_give_the_same_file(folder: Path) -> None:
    call(*words(folder))
    raw = (folder / "genesis.bin").read_bytes()
    (folder / "genesis.bin").unlink()
    call(*words(folder))
    assert (folder / "genesis.bin").read_bytes() == raw


def test_people_see_what_was_made(folder: Path) -> None:
    small(folder)
    text = call(*words(folder)).stdout
    assert "nodes       3 of 3 operators, active from the start" in text
    assert "their swarms follow from the seed, " in text
    assert "nodes       3 of 3" in call("genesis", "check", folder / "genesis.bin").stdout


def test_swarm_of_the_list_is_kept(folder: Path) -> None:
    small(folder, swarm_id=2**64 - 2)
    assert "1 keep their swarm, " in call(*words(folder)).stdout
    assert [row.swarm_id for row in made(folder).nodes] == [2**64 - 2, NEW_SWARM, NEW_SWARM]


def test_another_pace_of_blocks_moves_the_exits(folder: Path) -> None:
    small(folder, requested_unlock_height=json.loads(session_network())["height"] + 10)
    call(*words(folder, "--block-seconds", 7))
    assert made(folder).nodes[0].exit_ms == START_MS + 70_000


def test_who_is_left_out_is_told(folder: Path) -> None:
    small(folder, active=False)
    result = call(*words(folder))
    assert len(made(folder).nodes) == 2
    assert "1 nodes of the list are not active there" in result.stderr
    assert "nodes of the map of operators are not among those imported" in result.stderr


REFUSED: dict[str, tuple[dict[str, Any], list[object], str]] = {
    "an address that is none": ({"public_ip": "1.2.3"}, [], "bad_list"),
    "a private address": ({"public_ip": "10.0.0.1"}, [], "bad_address"),
    "a port that is none": ({"storage_port": 65_536}, [], "bad_list"),
    "an X25519 key of another node": ({"pubkey_x25519": "00" * 32}, [], "bad_list"),
    "a map without one of the nodes": ({}, ["--operators", "few.json"], "incomplete"),
    "a map that is none": ({}, ["--operators", "bad.json"], "bad_operators"),
    "no map": ({}, ["--operators", "missing.json"], "io"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, more, code = REFUSED[name]
    monkeypatch.chdir(folder)
    Path("few.json").write_text("{}")
    Path("bad.json").write_text("[]")
    small(folder, **changes)
    assert error_of(call(*words(folder, *more), code=1)) == code
    assert not (folder / "genesis.bin").exists()


@pytest.mark.parametrize("preset", ["mainnet", "testnet"])
def test_only_a_preset_that_permits_loopback_takes_it(folder: Path, preset: str) -> None:
    small(folder)
    result = call(*words(folder, preset=preset), code=1)
    assert error_of(result) == "bad_address"
    assert "loopback" in result.stderr


@pytest.mark.parametrize("option", ["--router-port", "--storage-version", "--router-version"])
def test_what_the_list_lacks_must_be_told(folder: Path, option: str) -> None:
    small(folder)
    line = words(folder)
    at = line.index(option)
    result = call(*line[:at], *line[at + 2 :], code=1)
    assert error_of(result) == "incomplete"
    assert option in result.stderr


def test_a_file_is_never_overwritten(folder: Path) -> None:
    (folder / "genesis.bin").write_bytes(b"mine")
    assert error_of(call(*words(folder), code=1)) == "file_exists"
    assert (folder / "genesis.bin").read_bytes() == b"mine"
