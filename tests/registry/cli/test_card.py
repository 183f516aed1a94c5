"""The card of a node: its agent, and how far away what comes is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from registry.addresses import encode_account, encode_node
from registry.cli.card import NodeStatus, format_card
from registry.keystore import derive
from tests.factory import START_MS
from tests.registry.cli.driver import call, call_json
from tests.registry.cli.fake_service import account_of, run_service, save_keys, seed_of

NODE: Final = encode_node(derive(seed_of("node"), "node").public)
MIN_MS: Final = 60_000
SCREEN: Final = 24
"""Lines of the smallest terminal that anybody has."""


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a service says of a node that is on duty."""
    monkeypatch.chdir(tmp_path)
    for name in ("alice", "bob", "node"):
        save_keys(tmp_path, name)
    with run_service() as fake:
        monkeypatch.setenv("WAYPOST_URL", fake.url)
        call(
            *("node", "register", "--operator", "alice.json", "--node", "node.json"),
            *("--ipv4", "127.0.9.9", "--stake", "60"),
            *("--reserve", f"{encode_account(account_of('bob'))}=40"),
        )
        yield call_json("node", "status", NODE)


def lines_of(answer: dict[str, Any], now_ms: int = START_MS, **changes: Any) -> dict[str, str]:
    """The card by the names of its lines."""
    shown = format_card(msgspec.convert(answer | changes, NodeStatus), now_ms)
    return dict(line.split("  ", 1) for line in shown.splitlines())


def agent_of(answer: dict[str, Any], **changes: Any) -> str | None:
    line = lines_of(answer, **changes).get("agent")
    return None if line is None else line.strip()


def test_what_its_agent_said(answer: dict[str, Any]) -> None:
    said = {"checked_in_ms": START_MS - 12 * MIN_MS, "agent_version": [1, 2, 3]}
    fine = "1.2.3, checked in 12 min ago, sees of itself: nothing wrong"
    assert agent_of(answer, **said, agent_faults=[]) == fine
    faults = ["storage port", "clock"]
    seen = agent_of(answer, **said, agent_faults=faults)
    assert seen == fine.replace("nothing wrong", "storage port, clock")
    silent = {"checked_in_ms": None, "agent_version": None, "agent_faults": None}
    assert agent_of(answer, **silent) == "has not checked in with this service"
    assert agent_of(answer, **said, agent_faults=[], state="exited") is None


def test_a_service_that_knows_nothing_of_agents(answer: dict[str, Any]) -> None:
    for name in ("checked_in_ms", "agent_version", "agent_faults"):
        answer.pop(name, None)
    assert agent_of(answer) == "has not checked in with this service"


def test_how_far_away_what_comes_is(answer: dict[str, Any]) -> None:
    until = answer["reserved_until_ms"]
    assert lines_of(answer, until - 3 * MIN_MS)["reserved until"].endswith("UTC (in 3 min)")
    assert lines_of(answer, until)["reserved until"].endswith("UTC")
    leaving: dict[str, Any] = {
        "exit_ms": START_MS + 7_200_000,
        "exit_position": 2,
        "payout_ms": None,
    }
    leaves = lines_of(answer, **leaving)["leaves"]
    assert "(in 2 h), place 2 among those" in leaves
    paid = lines_of(answer, payout_ms=START_MS + 3 * 86_400_000)["payout"]
    assert paid.endswith("(in 3 d) on")
    rewards = answer["rewards"] | {"earning": False, "earns_from_ms": START_MS + 5 * MIN_MS}
    assert "(in 5 min) on while active" in lines_of(answer, rewards=rewards)["earns"]


def test_it_fits_a_screen(answer: dict[str, Any]) -> None:
    busy = {
        "state": "active",
        "credit_hours": "2.00",
        "removal": {
            "threat": "decommission",
            "failing_epochs": 0,
            "failing_epochs_needed": 2,
            "failing_epochs_left": 2,
            "time_left_ms": 5_400_000,
            "returns_after_epoch": None,
        },
        "testers": [NODE],
        "tests": [NODE],
        "verdicts": [
            {"epoch": epoch, "failed": False, "faults": [], "votes": [], "silent": []}
            for epoch in range(16)
        ],
        "checked_in_ms": START_MS,
        "agent_version": [1, 2, 3],
        "agent_faults": [],
        "swarm": "12",
        "contributors_may_ask_from_ms": START_MS + 1,
    }
    shown = format_card(msgspec.convert(answer | busy, NodeStatus), START_MS)
    assert len(shown.splitlines()) <= SCREEN
