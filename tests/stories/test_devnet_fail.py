"""`waypost devnet --fail 3`: three nodes die, are found out and come back, as services say."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from registry.devnet.failing import VICTIMS
from tests.devnet import RunningDevnet

DEAD: Final = VICTIMS[:3]
STORY_S: Final = 400.0


@pytest.fixture
def devnet() -> Iterator[RunningDevnet]:
    with TemporaryDirectory(prefix="wp", dir="/tmp") as folder:
        network = RunningDevnet(Path(folder), "--fail", "3")
        yield network
        network.kill()
        network.wait_until_nothing_runs()


def get_node(devnet: RunningDevnet, number: int) -> dict[str, Any]:
    node: dict[str, Any] = devnet.get(f"/v1/nodes/{devnet.cast().nodes[number].address}")
    return node


def follow(devnet: RunningDevnet) -> dict[int, list[dict[str, Any]]]:
    """What the service says of each victim whenever its state changes, until all are back."""
    seen: dict[int, list[dict[str, Any]]] = {number: [get_node(devnet, number)] for number in DEAD}
    deadline = time.monotonic() + STORY_S
    while time.monotonic() < deadline:
        for number, states in seen.items():
            node = get_node(devnet, number)
            if node["state"] != states[-1]["state"]:
                states.append(node)
        if all(len(states) == 3 for states in seen.values()):
            return seen
        assert devnet.process.poll() is None, devnet.said()
        time.sleep(0.2)
    raise AssertionError(devnet.said())


def test_nodes_die_and_come_back(devnet: RunningDevnet) -> None:
    devnet.wait_for(r"the agents tested each other and cast \d+ votes: 25 of 25 nodes passed")
    killed = devnet.wait_for(r"epoch (\d+): nodes 2, 7 and 12 killed")
    for states in follow(devnet).values():
        before, down, back = states
        assert [before["state"], down["state"], back["state"]] == [
            *("active", "decommissioned", "active")
        ]
        check_verdicts(down, int(killed[1]))
        assert (down["swarm"], back["swarm"] is not None) == (None, True)
        newest = back["verdicts"][0]
        assert (newest["failed"], len(newest["votes"]) >= 4) == (False, True)
    check_others(devnet)
    devnet.wait_for("nodes 2, 7 and 12 back on duty: that is all of --fail")
    check_story(devnet)
    assert devnet.interrupt() == 0
    assert devnet.processes() == []


def check_verdicts(node: dict[str, Any], killed_in: int) -> None:
    """Two epochs running said why, and none before it died."""
    verdicts = node["verdicts"]
    assert len(verdicts) >= 2
    assert verdicts[0]["epoch"] == verdicts[1]["epoch"] + 1
    for verdict in verdicts:
        assert verdict["epoch"] >= killed_in
        assert verdict["failed"]
        assert len(verdict["votes"]) >= 4
        # nothing at all answers at its address
        assert {"wrong address", "storage port", "router port"} <= set(verdict["faults"])


def check_others(devnet: RunningDevnet) -> None:
    """Nobody else was failed by a verdict."""
    for node in devnet.cast().nodes:
        if node.number not in DEAD:
            known = get_node(devnet, node.number)
            assert known["state"] == "active"
            assert [row for row in known["verdicts"] if row["failed"]] == []


def check_story(devnet: RunningDevnet) -> None:
    """It was told in this order, of each of them."""
    lines = devnet.said().splitlines()
    for number in DEAD:
        story = "\n".join(line for line in lines if number in find_numbers(line))
        words = ("killed", "failed in", "decommissioned:", "started again", "recommissioned:")
        places = [story.index(word) for word in words]
        assert places == sorted(places), story


def find_numbers(line: str) -> list[int]:
    """The nodes that a line tells of, such as `epoch 4: nodes 2, 7 and 12 failed in epoch 4`."""
    named = re.search(r"nodes? ([\d, and]+)", line)
    return [] if named is None else [int(number) for number in re.findall(r"\d+", named[1])]
