"""`waypost node`: a node's life from the command line, on a real chain behind a small server."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.messages.tables import NODES
from ledger.types import COIN
from registry.addresses import encode_account, encode_node
from registry.cli import listing as commands
from registry.keystore import derive
from tests.factory import public
from tests.life import FAULTY, judge, report, vote_evidence
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import (
    RICH,
    FakeService,
    account_of,
    problem,
    run_service,
    save_keys,
    seed_of,
)
from tests.registry.town import NODES_NAMES, make_town

FEE = 1_000
KEY = derive(seed_of("node"), "node").public
NODE = encode_node(KEY)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    with run_service() as running:
        monkeypatch.setenv("WAYPOST_URL", running.url)
        yield running


@pytest.fixture
def town(fake: FakeService) -> FakeService:
    """A service of a network whose nodes can be tested."""
    fake.network = make_town()
    return fake


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with key files."""
    for name in ("alice", "bob", "carol", "node", "other"):
        save_keys(tmp_path, name)
    return tmp_path


def register(keys: Path, *more: object, node: str = "node", stake: str = "25") -> list[object]:
    """A command line that is good as it is."""
    return [
        *("node", "register", "--operator", keys / "alice.json"),
        *("--node", keys / f"{node}.json", "--ipv4", "5.6.7.8", "--stake", stake, *more),
    ]


def contribute(keys: Path, who: str, amount: str, *more: object) -> list[object]:
    return [
        *("node", "contribute", "--from", keys / f"{who}.json", "--node", NODE),
        *("--amount", amount, *more),
    ]


def test_everything_that_was_said_is_registered(fake: FakeService, keys: Path) -> None:
    made = call_json(
        *register(keys, "--ipv6", "2001:4860::8", "--fee", "1250", "--attests"),
        *("--storage-port", "1001", "--router-port", "1002"),
        *("--storage-version", "2.12.1", "--router-version", "11.7.2"),
        *("--reserve", f"{encode_account(account_of('carol'))}=20"),
        *("--reserve", f"{encode_account(account_of('bob'))}=30"),
    )
    assert made["network"] == "test-net"
    assert made["genesis_hash"] == fake.network.hash.hex()
    assert (made["node"], made["state"], made["height"]) == (NODE, "committed", 1)
    record = fake.network.state.one(NODES, KEY)
    assert record.fee == 1_250
    assert record.operator == account_of("alice")
    assert {(place.account, place.amount) for place in record.reserved} == {
        (account_of("carol"), 20 * COIN),
        (account_of("bob"), 30 * COIN),
    }
    assert record.list_key == derive(seed_of("node"), "list").public
    shown = call_json("node", "status", NODE)
    assert shown["staked"] == str(25 * COIN)
    assert shown["contact"] == {
        "ipv4": "5.6.7.8",
        "ipv6": "2001:4860::8",
        "storage_port": 1001,
        "router_port": 1002,
        "storage_version": [2, 12, 1],
        "router_version": [11, 7, 2],
    }


def card_of(node: str = NODE) -> str:
    """The card of a node, however wide its first column is."""
    return re.sub(" {2,}", ": ", call("node", "status", node).stdout)


def test_the_card_of_a_node_through_its_life(fake: FakeService, keys: Path) -> None:
    assert f"registered {NODE} with 25 coins: in block 1" in call(*register(keys)).stdout
    for part in ("state: awaiting", "25 coins of 100 coins", "75 coins, 9 more accounts"):
        assert part in card_of()
    call(*contribute(keys, "bob", "75"))
    for part in ("state: queued", "queue: place 1", "open: nothing"):
        assert part in card_of()
    call("node", "contact", "--node", keys / "node.json", "--ipv4", "5.6.7.9")
    assert "\ncontact: 5.6.7.8, storage 22021 (2.11.0), router 22020 (11.6.0)\n" in card_of()
    assert "from next epoch: 5.6.7.9, storage 22021" in card_of()
    fake.network.end_epoch()
    card = card_of()
    for part in (
        "state: active",
        "5.6.7.9",
        "next step: it is on duty",
        "earns: nothing now; from",
    ):
        assert part in card
    assert "from next epoch" not in card
    assert str(call_json("node", "status", NODE)["swarm"]) in card
    fake.network.end_epoch()
    fake.network.end_epoch()
    card = card_of()
    assert re.search(r"\nearns: 0\.\d+ coins an epoch now\nearned: 0\.\d+ coins\n", card)
    for name in ("alice", "bob"):
        assert f"claimable: {encode_account(account_of(name))} 0." in card


def test_the_card_of_a_node_that_fails(town: FakeService) -> None:
    network = town.network
    bad = encode_node(public(NODES_NAMES[0]))
    for part in (
        "credit: 0.01 h",
        "decommission: after 2 more failing epochs, in ",
        "tested by: 5 nodes in this epoch",
        "has to test: ",
    ):
        assert part in card_of(bad)
    for _ in range(2):
        network.block(judge(network, NODES_NAMES[0], FAULTY))
        network.end_epoch()
    assert "epoch 1: failed: storage port (4 votes; 1 silent)" in card_of(bad)
    network.end_epoch()
    card = card_of(bad)
    for part in (
        "state: decommissioned",
        # 40 s at first and 1 s for 30 s on duty: five epochs, and one until the last has its effect
        "deregistration: after 5 more failing epochs, in 60 s at the earliest (0 of 5 so far)",
        "back: after epoch 8, if nothing fails it again",
        "swarm: none",
    ):
        assert part in card
    tester = call_json("node", "status", bad)["verdicts"][0]["votes"][0]["tester"]
    assert re.search("voted: in [12] of [12] verdicts of 16 epochs", card_of(tester))


def test_the_card_of_a_node_that_leaves(town: FakeService) -> None:
    network, name = town.network, NODES_NAMES[0]
    node = encode_node(public(name))
    network.block(report(network, "leo", vote_evidence(network, name)))
    network.block(network.request_unlock("alice", name))
    card = card_of(node)
    assert re.search("leaves: not before .* UTC, place 1 among those", card)
    assert "penalties: took 1 coin" in card
    network.end_epoch()
    card = card_of(node)
    assert "state: exited" in card
    assert re.search("payout: from .* UTC on", card)


def test_a_contributor_takes_his_stake_back(fake: FakeService, keys: Path) -> None:
    call(*register(keys))
    call(*contribute(keys, "bob", "30.5"))
    assert fake.network.state.account(account_of("bob")).balance == RICH - 61 * COIN // 2 - FEE
    call("node", "withdraw", "--from", keys / "bob.json", "--node", NODE)
    assert fake.network.state.account(account_of("bob")).balance == RICH - 2 * FEE


def test_contact_changes_what_was_named_and_nothing_else(fake: FakeService, keys: Path) -> None:
    call(*register(keys, "--ipv6", "2001:4860::8"))
    change = ("node", "contact", "--node", keys / "node.json")
    assert call_json(*change, "--ipv4", "none", "--storage-port", "9")["sequence"] == 1
    assert call_json(*change, "--router-version", "12.0.0")["sequence"] == 2
    assert call_json("node", "status", NODE)["pending_contact"] == {
        "ipv4": None,
        "ipv6": "2001:4860::8",
        "storage_port": 9,
        "router_port": 22020,
        "storage_version": [2, 11, 0],
        "router_version": [12, 0, 0],
    }


def test_the_list_has_all_pages(
    fake: FakeService, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "0 registered nodes at height 0" in call("node", "list").stdout
    call(*register(keys, stake="100"))
    call(*register(keys, node="other"))
    monkeypatch.setattr(commands, "PAGE", 1)
    listed = call_json("node", "list")
    both = {NODE, encode_node(derive(seed_of("other"), "node").public)}
    assert {row["key"] for row in listed["nodes"]} == both
    assert [row["key"] for row in call_json("node", "list", "--state", "queued")["nodes"]] == [NODE]
    text = call("node", "list").stdout
    assert "2 registered nodes at height 2" in text
    assert all(node in text for node in both)
    assert "1 queued node at" in call("node", "list", "--state", "queued").stdout


REFUSED = {
    "too little stake": (["--stake", "24"], "stake_too_small"),
    "too much stake": (["--stake", "100.000000001"], "stake_too_large"),
    "an address that nobody reaches": (["--ipv4", "10.0.0.1"], "bad_address"),
    "a place for the operator": (
        ["--reserve", f"{account_of('alice').hex()}=1"],
        "bad_reservation",
    ),
    "a version that says nothing": (["--storage-version", "0.0.0"], "bad_version"),
    "no key file": (["--node", "missing.json"], "bad_key_file"),
    "no genesis file": (["--genesis", "missing.bin"], "io"),
}


@pytest.mark.parametrize(("more", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(fake: FakeService, keys: Path, more: list[str], code: str) -> None:
    result = call(*register(keys, *more), code=1)
    assert error_of(result) == code
    assert result.stdout == ""
    assert fake.network.blocks == []


def test_a_node_is_registered_once(fake: FakeService, keys: Path) -> None:
    call(*register(keys))
    assert error_of(call(*register(keys), code=1)) == "node_exists"


@pytest.mark.parametrize(
    "words",
    [["status", NODE], ["withdraw"], ["contribute"], ["contact"]],
    ids=lambda words: words[0],
)
def test_a_node_that_nobody_knows(fake: FakeService, keys: Path, words: list[str]) -> None:
    lines: dict[str, list[object]] = {
        "status": ["node", "status", NODE],
        "withdraw": ["node", "withdraw", "--from", keys / "bob.json", "--node", NODE],
        "contribute": contribute(keys, "bob", "5"),
        "contact": ["node", "contact", "--node", keys / "node.json", "--ipv4", "5.6.7.9"],
    }
    assert error_of(call(*lines[words[0]], code=1)) == "not_found"


def test_a_wrong_command_line(fake: FakeService, keys: Path) -> None:
    file = keys / "node.json"
    base = ["node", "register", "--operator", keys / "alice.json", "--node", file]
    call(*base, "--stake", "25", code=2)
    call(*base, "--stake", "25", "--ipv4", "5.6.7", code=2)
    call(*base, "--stake", "25", "--ipv4", "5.6.7.8", "--storage-port", "0", code=2)
    call(*base, "--stake", "25", "--ipv4", "5.6.7.8", "--fee", "10001", code=2)
    call("node", "contact", "--node", file, code=2)
    call("node", "list", "--state", "gone", code=2)
    assert fake.asked == []


def test_who_names_a_genesis_signs_for_that_network_only(fake: FakeService, keys: Path) -> None:
    other = keys / "other.bin"
    other.write_bytes(fake.network.raw)
    call(*register(keys, "--genesis", other))
    with run_service(epoch_ms=20_000) as elsewhere:
        (keys / "elsewhere.bin").write_bytes(elsewhere.network.raw)
    result = call(*register(keys, "--genesis", keys / "elsewhere.bin", node="other"), code=1)
    assert error_of(result) == "wrong_network"
    fake.answers["/v1/genesis"] = 200, elsewhere.network.raw
    assert error_of(call(*register(keys, node="other"), code=1)) == "bad_answer"


def test_a_service_that_answers_otherwise(fake: FakeService) -> None:
    fake.answers[f"/v1/nodes/{NODE}"] = 200, b'{"key": 5}'
    assert error_of(call("node", "status", NODE, code=1)) == "bad_answer"
    fake.answers["/v1/nodes"] = problem(410, "height_gone", "start at the first page", {})
    assert error_of(call("node", "list", code=1)) == "height_gone"
