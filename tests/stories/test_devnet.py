"""What a newcomer sees: the development network with its agents, and the guide in the README."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.devnet import RunningDevnet

ROOT: Final = Path(__file__).parents[2]

TESTED: Final = (
    r"epoch (\d+): the agents tested each other and cast 1\d\d votes: 25 of 25 nodes passed"
)


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDevnet]:
    network = RunningDevnet(tmp_path_factory.mktemp("devnet"))
    yield network
    network.kill()
    network.wait_until_nothing_runs()


def test_the_first_list_has_all_nodes(devnet: RunningDevnet) -> None:
    found = devnet.wait_for(r"list of ([1-9]\d*) nodes in \d swarms, final by . of 3 attestors")
    assert found[1] == "25"


def test_an_agent_beside_each_node_tests_others(devnet: RunningDevnet) -> None:
    epoch = devnet.wait_for(TESTED)[1]
    # the service holds what they voted, until the next epoch ends
    held = devnet.get(f"/v1/verdicts/{epoch}/{devnet.cast().nodes[0].address}")
    assert held["passes"] >= held["needed"]
    lines = devnet.processes()
    for node in devnet.cast().nodes:
        assert len([line for line in lines if f"--ipv4 {node.ipv4} " in line]) == 1
        home = devnet.folder / "nodes" / str(node.number)
        assert len([line for line in lines if f'"{home}"' in line]) == 1
        status = json.loads((home / "status.json").read_text())
        assert status["node"] == node.address


def test_every_command_of_the_guide_works(devnet: RunningDevnet) -> None:
    devnet.wait_for("list of 25 nodes")
    blocks = re.findall(r"```sh guide\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(blocks) == 7
    done = devnet.run("\n".join(blocks))
    assert done.returncode == 0, done.stdout + done.stderr
    # what was started for the newcomer's own node was stopped
    devnet.wait_until_gone("/own/")


def test_the_same_agents_go_on_after_a_restart(devnet: RunningDevnet) -> None:
    devnet.wait_for(TESTED)
    addresses = [node.ipv4 for node in devnet.cast().nodes]
    assert devnet.interrupt() == 0
    assert devnet.processes() == []
    devnet.start()
    devnet.wait_for(TESTED)
    assert [node.ipv4 for node in devnet.cast().nodes] == addresses
    # nobody is failed for the time in which nothing ran
    for node in devnet.cast().nodes:
        known = devnet.get(f"/v1/nodes/{node.address}")
        assert known["state"] == "active"
        assert [row for row in known["verdicts"] if row["failed"]] == []


def test_nothing_outlives_it_if_it_is_killed(devnet: RunningDevnet) -> None:
    devnet.wait_for("verified from the genesis file")
    assert len(devnet.processes()) > 50
    devnet.kill()
    devnet.wait_until_nothing_runs()
