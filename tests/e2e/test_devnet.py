"""The development network without agents: lists, proofs, replicas, and how it starts and stops.

What agents do on it is told in tests/stories, since that takes longer.
"""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.devnet import WAIT_S, RunningDevnet


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDevnet]:
    network = RunningDevnet(tmp_path_factory.mktemp("devnet"), "--no-agents")
    yield network
    network.kill()
    network.wait_until_nothing_runs()


def test_it_shows_the_whole_idea(devnet: RunningDevnet) -> None:
    devnet.wait_for("25 nodes registered by 25 transactions")
    devnet.wait_for("list of 25 nodes in 3 swarms, final by 3 of 3 attestors, verified from the")
    assert len(devnet.wait_for(r"25 nodes[\s\S]*fingerprint: ([a-z ]+)\n")[1].split()) == 12
    assert "INSECURE" in devnet.said()
    nodes = devnet.get("/v1/network")["nodes"]
    assert {state: count for state, count in nodes.items() if count} == {"active": 25}
    assert httpx2.get(f"{devnet.url()}/health/ready", trust_env=False).status_code == 200


def test_a_node_and_its_operator_are_proven(devnet: RunningDevnet) -> None:
    devnet.wait_for("list of 25 nodes")
    node = devnet.get("/v1/nodes?limit=1")["nodes"][0]
    done = devnet.run(f"waypost proof {node['key']}; waypost proof {node['operator']} -o json")
    assert done.returncode == 0, done.stderr
    card, _, answer = done.stdout.partition("{")
    assert re.search(rf"^operator +{node['operator']}$", card, re.MULTILINE)
    assert re.search(r"^proven +by the header of epoch \d+, signed by 3 of 3 ", card, re.MULTILINE)
    proven = json.loads("{" + answer)
    assert (proven["table"], proven["status"]) == ("accounts", "fresh")
    assert int(proven["record"]["balance"]) > 0
    gone = devnet.run(f"waypost proof --table verdicts {'00' * 40}")
    assert "there is none" in gone.stdout


def test_a_replica_with_genesis_and_url_reaches_the_same_root(devnet: RunningDevnet) -> None:
    devnet.wait_for("list of 25 nodes")
    genesis = devnet.home / "waypost" / "devnet" / "genesis.bin"
    replica = devnet.home / "replica"
    made = devnet.run(f"waypost init --home {replica} --genesis {genesis} --follow {devnet.url()}")
    assert made.returncode == 0, made.stderr
    process = subprocess.Popen(
        [sys.executable, "-m", "registry", "run", "--home", str(replica), "--port", "0"],
        env=devnet.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        port = next(json.loads(line)["port"] for line in process.stderr if '"listening"' in line)
        wait_until_equal(devnet, f"http://127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def wait_until_equal(devnet: RunningDevnet, url: str) -> None:
    """Wait until a replica holds the block that the producer holds now, and its root."""
    wanted = devnet.get("/v1/network")
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            answer = httpx2.get(f"{url}/v1/blocks/{wanted['height']}", trust_env=False)
        except httpx2.HTTPError:
            continue
        if answer.status_code == 200:
            assert answer.json()["state_root"] == wanted["state_root"]
            return
        time.sleep(0.1)
    raise AssertionError("the replica does not catch up")


def test_ctrl_c_stops_everything_and_a_restart_goes_on(devnet: RunningDevnet) -> None:
    devnet.wait_for("list of 25 nodes")
    before = devnet.get("/v1/network")
    assert devnet.interrupt() == 0
    assert devnet.processes() == []
    devnet.start("--no-agents")
    devnet.wait_for("the network goes on")
    devnet.wait_for("verified from the genesis file")
    after = devnet.get("/v1/network")
    assert after["genesis_hash"] == before["genesis_hash"]
    assert after["height"] >= before["height"]
    assert "registered" not in devnet.said()


def test_fresh_starts_over(devnet: RunningDevnet) -> None:
    before = devnet.get("/v1/network")
    assert devnet.interrupt() == 0
    devnet.start("--fresh", "--no-agents")
    devnet.wait_for("25 nodes registered by 25 transactions")
    assert devnet.get("/v1/network")["genesis_hash"] != before["genesis_hash"]
    assert devnet.interrupt() == 0
