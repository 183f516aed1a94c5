"""`waypost node unlock` and `set-keys`, on a real chain behind a small server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.messages.state import ACTIVE, DECOMMISSIONED
from ledger.messages.tables import CHAINLINKS, NEW_KEYS, NODES
from ledger.types import COIN
from registry import signer
from registry.addresses import encode_node
from registry.amounts import format_time
from registry.founding import make_seat
from registry.keystore import derive
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import (
    RICH,
    FakeService,
    account_of,
    run_service,
    save_keys,
    seed_of,
)
from tests.registry.factory import LINKS

FEE = 1_000
KEY = derive(seed_of("node"), "node").public
NODE = encode_node(KEY)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    monkeypatch.setattr(signer, "CHAIN_LINKS", LINKS)
    with run_service() as running:
        monkeypatch.setenv("WAYPOST_URL", running.url)
        yield running


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with key files."""
    for name in ("alice", "bob", "carol", "node", "spare"):
        save_keys(tmp_path, name)
    return tmp_path


def register(keys: Path, stake: int = 100, *more: object) -> None:
    """Register the node of alice."""
    call(
        *("node", "register", "--operator", keys / "alice.json", "--node", keys / "node.json"),
        *("--ipv4", "5.6.7.8", "--stake", stake, *more),
    )


def unlock(keys: Path, who: str = "alice", *more: object) -> list[object]:
    return ["node", "unlock", NODE, "--from", keys / f"{who}.json", *more]


def set_keys(keys: Path, *more: object) -> list[object]:
    return ["node", "set-keys", "--node", keys / "node.json", *more]


# ---------------------------------------------------------------------------------- unlock


def test_an_active_node_is_asked_to_leave(fake: FakeService, keys: Path) -> None:
    network = fake.network
    register(keys)
    network.end_epoch()
    ends_ms = network.chain.tip.time_ms + network.params.epoch_ms
    asked = call_json(*unlock(keys))
    assert (asked["node"], asked["state"]) == (NODE, "committed")
    assert asked["duty_ends_ms"] == ends_ms
    assert asked["payout_ms"] == ends_ms + network.params.unbonding_ms
    assert network.state.one(NODES, KEY).exit_ms == network.chain.tip.time_ms
    network.end_epoch()
    # it is what the ledger then does
    assert call_json("node", "status", NODE)["payout_ms"] == asked["payout_ms"]


def test_what_an_operator_reads(fake: FakeService, keys: Path) -> None:
    register(keys)
    fake.network.end_epoch()
    ends_ms = fake.network.chain.tip.time_ms + fake.network.params.epoch_ms
    text = call(*unlock(keys)).stdout
    payout = format_time(ends_ms + fake.network.params.unbonding_ms)
    for part in (
        f"{NODE} is to leave: its duty ends with an epoch, this one from {format_time(ends_ms)} on",
        "in the order of asking; the stake is paid out 4 d later",
        f"not before {payout}: in block",
    ):
        assert part in text
    assert "may ask at any time, a contributor once" in call("node", "unlock", "--help").stdout


@pytest.mark.parametrize("stake", [25, 100], ids=["awaiting", "queued"])
def test_who_was_never_active_gets_everything_back(
    fake: FakeService, keys: Path, stake: int
) -> None:
    register(keys, stake)
    text = call(*unlock(keys)).stdout
    assert "all stake comes back with the end of this epoch" in text
    fake.network.end_epoch()
    assert fake.network.state.get(NODES, KEY) is None
    assert fake.network.state.account(account_of("alice")).balance == RICH - 2 * FEE


def test_a_node_that_is_down_has_to_come_back_first(fake: FakeService, keys: Path) -> None:
    network = fake.network
    register(keys)
    network.end_epoch()
    node = network.state.one(NODES, KEY)
    network.checking = False
    network.rewrite({NODES.letter + KEY: replace(node, state=DECOMMISSIONED)})
    assert "has to be active again first, or is deregistered" in call(*unlock(keys)).stdout


def test_who_may_not_ask_and_when(fake: FakeService, keys: Path) -> None:
    network = fake.network
    register(keys, 50)
    call(*("node", "contribute", "--from", keys / "bob.json", "--node", NODE, "--amount", "50"))
    assert error_of(call(*unlock(keys, "bob"), code=1)) == "not_activated"
    assert error_of(call(*unlock(keys, "carol"), code=1)) == "no_contribution"
    network.end_epoch()
    assert network.state.one(NODES, KEY).state == ACTIVE
    result = call(*unlock(keys, "bob"), code=1)
    from_ms = network.chain.tip.time_ms + network.params.contributor_wait_ms
    assert error_of(result) == "unlock_too_early"
    assert str(from_ms) in result.stderr
    call(*unlock(keys))
    assert error_of(call(*unlock(keys), code=1)) == "leaving_already"
    assert network.state.account(account_of("bob")).balance == RICH - 50 * COIN - FEE


def test_a_contributor_may_ask_once_he_has_waited(fake: FakeService, keys: Path) -> None:
    network = fake.network
    register(keys, 50)
    call(*("node", "contribute", "--from", keys / "bob.json", "--node", NODE, "--amount", "50"))
    network.end_epoch()
    network.block(ms=network.params.contributor_wait_ms)
    assert call_json(*unlock(keys, "bob"))["state"] == "committed"


def test_a_node_that_nobody_knows(fake: FakeService, keys: Path) -> None:
    assert error_of(call(*unlock(keys), code=1)) == "not_found"
    line = set_keys(keys, "--duty", keys / "spare.json")
    assert error_of(call(*line, code=1)) == "not_found"


# -------------------------------------------------------------------------------- set-keys


def changed(fake: FakeService) -> Any:
    """The keys that wait for the epoch's end."""
    return fake.network.state.one(NEW_KEYS, KEY)


def test_a_duty_key_from_another_file(fake: FakeService, keys: Path) -> None:
    register(keys)
    made = call_json(*set_keys(keys, "--duty", keys / "spare.json"))
    duty = derive(seed_of("spare"), "duty").public
    assert (made["node"], made["sequence"]) == (NODE, 1)
    assert (made["duty_key"], made["list_key"], made["consensus_key"]) == (duty.hex(), None, None)
    assert changed(fake).duty_key == duty
    fake.network.end_epoch()
    assert fake.network.state.one(NODES, KEY).duty_key == duty
    # what the node's own file does not have any more has to be named to stay
    result = call(*set_keys(keys, "--consensus", keys / "spare.json"), code=1)
    assert error_of(result) == "key_elsewhere"
    assert "name its key file with --duty" in result.stderr
    line = set_keys(keys, "--duty", keys / "spare.json", "--consensus", keys / "spare.json")
    assert call_json(*line)["sequence"] == 2
    assert changed(fake).consensus_key == derive(seed_of("spare"), "consensus").public


def test_a_list_key_comes_with_its_chain_and_goes(fake: FakeService, keys: Path) -> None:
    network = fake.network
    register(keys)
    seat = make_seat(seed_of("spare"))
    call(*set_keys(keys, "--list", keys / "spare.json"))
    assert (changed(fake).list_key, changed(fake).list_tip) == (seat.list_key, seat.tip)
    network.end_epoch()
    assert network.state.one(CHAINLINKS, seat.list_key).value == seat.tip
    # a key that stays goes on with its chain
    call(*set_keys(keys, "--list", keys / "spare.json", "--consensus", keys / "node.json"))
    assert (changed(fake).list_key, changed(fake).list_tip) == (seat.list_key, b"")
    network.end_epoch()
    call(*set_keys(keys, "--list", "none", "--consensus", "none"))
    assert (changed(fake).list_key, changed(fake).consensus_key) == (b"", b"")
    assert changed(fake).duty_key == derive(seed_of("node"), "duty").public


def test_the_nodes_own_list_key_stays_without_being_named(fake: FakeService, keys: Path) -> None:
    register(keys, 100, "--attests")
    call(*set_keys(keys, "--duty", keys / "spare.json"))
    assert changed(fake).list_key == derive(seed_of("node"), "list").public
    assert changed(fake).list_tip == b""


def test_keys_change_once_an_epoch(fake: FakeService, keys: Path) -> None:
    register(keys)
    call(*set_keys(keys, "--duty", keys / "spare.json"))
    result = call(*set_keys(keys, "--duty", keys / "node.json"), code=1)
    assert error_of(result) == "keys_too_often"


def test_a_key_of_another_node_is_refused(fake: FakeService, keys: Path) -> None:
    register(keys)
    call(
        *("node", "register", "--operator", keys / "bob.json", "--node", keys / "spare.json"),
        *("--ipv4", "5.6.7.9", "--stake", 100),
    )
    result = call(*set_keys(keys, "--duty", keys / "spare.json"), code=1)
    assert error_of(result) == "key_in_use"


def test_a_wrong_command_line(fake: FakeService, keys: Path) -> None:
    call(*set_keys(keys), code=2)
    call("node", "unlock", NODE, code=2)
    call("node", "unlock", "me", "--from", keys / "alice.json", code=2)
    assert fake.asked == []
    # a node has a duty key always
    register(keys)
    assert error_of(call(*set_keys(keys, "--duty", "none"), code=1)) == "bad_key_file"
