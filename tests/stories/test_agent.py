"""Agents as real processes: they test each other, are killed, come back, and move."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.messages.duty import name_faults
from registry.agent.votes import BATCH
from registry.handover import EXIT_FAULT
from tests.stories.street import House, Street, address_of, environment, street, wait_for

HOUSES: Final = 7
"""Five testers of other operators for each node, and one more that may be away."""

KILLS: Final = 3


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    """A street in which everybody but the last is home."""
    with street(tmp_path_factory.mktemp("street"), HOUSES) as made:
        for house in made.houses[:-1]:
            house.open_up()
            house.start()
        yield made


def names(house: House) -> list[str]:
    """What the newest verdicts on a node name."""
    verdicts = house.shown["verdicts"]
    return sorted({fault for row in verdicts for fault in row["faults"]})


def test_who_is_away_is_tested_judged_and_decommissioned(town: Street) -> None:
    away = town.houses[-1]
    wait_for(lambda: away.shown["state"] == "decommissioned")
    assert names(away) == ["router port", "storage port", "wrong address"]
    for house in town.houses[:-1]:
        shown = house.shown
        assert shown["state"] == "active", house.log
        assert not any(row["failed"] for row in shown["verdicts"]), house.log
    assert town.get("/v1/verdicts")["contradictions"] == []


def test_those_at_home_have_checked_in(town: Street) -> None:
    for house in town.houses[:-1]:
        shown = wait_for(partial(_find_check_in, house))
        assert shown["agent_faults"] == []
    assert town.houses[-1].shown["checked_in_ms"] is None


def _find_check_in(house: House) -> dict[str, Any] | None:
    shown = house.shown
    return shown if shown["checked_in_ms"] is not None else None


def test_the_command_line_shows_what_an_agent_does(town: Street) -> None:
    house = town.houses[0]
    wait_for(lambda: house.status.get("votes"))
    command = [sys.executable, "-m", "registry", "agent", "status", "--home", str(house.home)]
    shown = subprocess.run(
        [*command, "-o", "json"], capture_output=True, text=True, env=environment(), check=True
    )
    found = json.loads(shown.stdout)
    assert found["node"] == address_of(house)
    assert found["state"] == "active"
    assert found["answering"] == [f"{house.address} port {town.storage_port}"]
    assert found["check_in"]["services"] == {town.url: "taken"}
    assert found["contact"]["in_force"]["ipv4"] == house.address
    assert (
        sum(found["votes"]["services"][town.url].values())
        == len(found["votes"]["fails"]) + (found["votes"]["passes"])
    )
    text = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    assert address_of(house) in text.stdout
    assert "active" in text.stdout


def test_a_home_has_one_agent(town: Street) -> None:
    house = town.houses[0]
    second = subprocess.run(
        [sys.executable, "-m", "registry.agent", "--settings", json.dumps(house.settings)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert second.returncode == EXIT_FAULT
    assert "another process holds the watermarks" in second.stderr


def test_killed_at_the_moment_of_deciding_it_says_the_same_afterwards(town: Street) -> None:
    house = town.houses[1]
    decided: dict[int, bytes] = {}
    for _ in range(KILLS):
        known = max(house.votes, default=0)
        epoch = wait_for(partial(_find_new, house, known), pause_s=0.0005)
        house.kill()
        decided[epoch] = house.votes[epoch]
        house.start()
        _check_sent(town, house, epoch, decided[epoch])
    # three times over: what was decided was never decided again
    for epoch, raw in house.votes.items():
        assert decided.get(epoch, raw) == raw
    assert town.get("/v1/verdicts")["contradictions"] == []
    assert house.shown["state"] == "active", house.log


def _find_new(house: House, known: int) -> int:
    newest = max(house.votes, default=0)
    return newest if newest > known else 0


def _check_sent(town: Street, house: House, epoch: int, raw: bytes) -> None:
    """Wait until the service holds these votes, as they were decided."""
    batch = BATCH.decode(raw[32:])
    assert batch.epoch == epoch
    for vote in batch.votes:
        path = f"/v1/verdicts/{epoch}/{vote.node.hex()}"
        rows = wait_for(partial(_find_votes, town, house, path))
        if rows is not _CLOSED:
            (row,) = rows
            assert row["faults"] == name_faults(vote.faults)


_CLOSED: Final[list[Any]] = [None]


def _find_votes(town: Street, house: House, path: str) -> list[Any]:
    """The votes of a house on a node; `_CLOSED` where none is taken any more."""
    raw = town.find(path)
    if raw is None:
        return _CLOSED
    return [row for row in json.loads(raw)["votes"] if row["tester"] == address_of(house)]


def test_who_comes_home_is_recommissioned(town: Street) -> None:
    back = town.houses[-1]
    back.open_up()
    back.start()
    wait_for(lambda: back.shown["state"] == "active")
    # and it votes again
    votes = wait_for(lambda: back.status.get("votes"))
    assert votes["epoch"] in back.votes
    assert votes["passes"] > 0


def test_who_moves_is_found_where_he_went(town: Street) -> None:
    house = town.houses[2]
    there = "127.99.0.1"
    house.open_up(there)
    assert house.stop() == 0
    house.start(ipv4=there, router_version="12.0.0")
    contact = wait_for(lambda: _moved(house, there))
    assert contact["router_version"] == [12, 0, 0]
    wait_for(lambda: house.status.get("answering") == [f"{there} port {town.storage_port}"])
    moved = town.epoch
    wait_for(lambda: town.epoch > moved + 1)
    failed = [row for row in house.shown["verdicts"] if row["failed"] and row["epoch"] > moved]
    assert failed == [], house.log
    assert house.shown["state"] == "active"


def _moved(house: House, there: str) -> dict[str, Any] | None:
    contact: dict[str, Any] = house.shown["contact"]
    return contact if contact["ipv4"] == there else None


def test_agents_end_when_they_are_asked_to(town: Street) -> None:
    codes = [house.stop() for house in town.houses if house.agent is not None]
    assert codes == [0] * HOUSES
    assert all("Traceback" not in house.log for house in town.houses)
    assert Path(town.folder).is_dir()
