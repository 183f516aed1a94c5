"""`waypost node list`: filters, orders, and what is open to contributors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.types import COIN
from registry.addresses import encode_account, encode_node
from registry.cli.listing import SORTS
from registry.keystore import derive
from tests.registry.cli.driver import call, call_json
from tests.registry.cli.fake_service import (
    FakeService,
    account_of,
    run_service,
    save_keys,
    seed_of,
)

NODES: Final = ("node", "other", "third", "full")
ADDRESS: Final = {name: encode_node(derive(seed_of(name), "node").public) for name in NODES}
NAME: Final = {address: name for name, address in ADDRESS.items()}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeService]:
    """Three nodes that wait for stake, and one that has it."""
    monkeypatch.chdir(tmp_path)
    for name in ("alice", "bob", "carol", *NODES):
        save_keys(tmp_path, name)
    with run_service() as running:
        monkeypatch.setenv("WAYPOST_URL", running.url)
        carol = encode_account(account_of("carol"))
        register("node", "25", "--fee", "1000")
        register("other", "40", "--fee", "500", "--reserve", f"{carol}=20")
        register("third", "30", operator="bob")
        register("full", "100")
        yield running


def register(node: str, stake: str, *more: str, operator: str = "alice") -> None:
    call(
        *("node", "register", "--operator", f"{operator}.json", "--node", f"{node}.json"),
        *("--ipv4", "127.0.9.9", "--stake", stake, *more),
    )


def names(*words: str) -> list[str]:
    """The nodes that are listed, in order."""
    return [NAME[row["key"]] for row in call_json("node", "list", *words)["nodes"]]


def row_of(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    (row,) = [row for row in rows if row["key"] == ADDRESS[name]]
    return row


def test_what_is_open_and_on_what_terms(fake: FakeService) -> None:
    rows = call_json("node", "list", "--open")["nodes"]
    assert [NAME[row["key"]] for row in rows] == ["other", "third", "node"]
    other = row_of("other", rows)
    # 40 of 100 are staked and 20 kept: 8 places are left for 40
    assert (other["open"], other["open_places"]) == (str(40 * COIN), 8)
    assert (other["minimum_contribution"], other["fee"]) == (str(5 * COIN), 500)
    assert other["reserved_until_ms"] is not None
    text = call("node", "list", "--open").stdout
    (line,) = [line for line in text.splitlines() if ADDRESS["other"] in line]
    for part in (
        "40 coins",
        "5 coins",
        "5 %",
        "20 coins for ",
        encode_account(account_of("alice")),
    ):
        assert part in line
    assert "3 open nodes at height 4" in text
    assert ADDRESS["full"] not in text


def test_the_least_that_it_says_is_taken_and_less_is_not(fake: FakeService) -> None:
    least = int(
        row_of("third", call_json("node", "list", "--open")["nodes"])["minimum_contribution"]
    )
    to = ("--node", ADDRESS["third"], "--from", "carol.json", "--amount")
    call("node", "contribute", *to, f"{least - 1}u", code=1)
    call("node", "contribute", *to, f"{least}u")


def test_who_was_given_up_or_has_nothing_open_is_left_out(fake: FakeService) -> None:
    call("node", "unlock", ADDRESS["third"], "--from", "bob.json")
    bob = ("--from", "bob.json", "--node", ADDRESS["node"], "--amount", "75")
    call("node", "contribute", *bob)
    assert names("--open") == ["other"]
    assert set(names()) == set(NODES)


def test_the_nodes_of_one_operator(fake: FakeService) -> None:
    bob = encode_account(account_of("bob"))
    assert names("--operator", bob) == ["third"]
    assert names("--operator", bob, "--state", "queued") == []
    assert "1 registered node at" in call("node", "list", "--operator", bob).stdout


SORTED: Final = {
    "open": ["full", "other", "third", "node"],
    "minimum": ["full", "other", "third", "node"],
    "fee": ["full", "third", "other", "node"],
    "stake": ["node", "third", "other", "full"],
    "since": ["node", "other", "third", "full"],
    "key": sorted(NODES, key=lambda name: ADDRESS[name]),
}


@pytest.mark.parametrize("by", SORTS)
def test_orders(fake: FakeService, by: str) -> None:
    shown = names("--sort", by)
    if by == "fee":  # two take none: these by their keys
        assert set(shown[:2]) == {"full", "third"}
        assert shown[:2] == sorted(shown[:2], key=lambda name: ADDRESS[name])
        assert shown[2:] == SORTED[by][2:]
        return
    assert shown == SORTED[by]
    assert names("--sort", by, "--reverse") == SORTED[by][::-1]


def test_a_wrong_command_line(fake: FakeService) -> None:
    asked = len(fake.asked)
    call("node", "list", "--open", "--state", "active", code=2)
    call("node", "list", "--sort", "luck", code=2)
    call("node", "list", "--operator", ADDRESS["node"], code=2)
    assert len(fake.asked) == asked
    assert names("--open", "--state", "awaiting") == ["other", "third", "node"]
