"""The two stories that a newcomer sees: the development network, and the guide in the README."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

ROOT: Final = Path(__file__).parents[2]
WAIT_S: Final = 120.0


class Devnet:
    """A running `waypost devnet` with what it says."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            "HOME": str(home),
            "WAYPOST_HOME": str(home / "waypost"),
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
        }
        self.output = home / "output"
        self.process = self.start()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it on the first free port past a random one."""
        port = str(20_000 + os.getpid() % 20_000)
        command = [sys.executable, "-m", "registry", "devnet", "--port", port, *arguments]
        self.process = subprocess.Popen(
            command, stdout=self.output.open("wb"), stderr=subprocess.STDOUT, env=self.environment
        )
        return self.process

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Return the match of what it says, once it says so."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            found = re.search(pattern, self.output.read_text())
            if found:
                return found
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.1)
        raise AssertionError(f"never said {pattern!r}: {self.output.read_text()}")

    def url(self) -> str:
        """Where it serves."""
        return self.wait_for(r"service +(http://\S+)")[1]

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script as a newcomer would, in a folder of its own."""
        work = self.home / "work"
        work.mkdir(exist_ok=True)
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=work,
            env=self.environment | {"WAYPOST_URL": self.url()},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    network = Devnet(tmp_path_factory.mktemp("devnet"))
    yield network
    network.process.kill()
    network.process.wait()


def processes_of(home: Path) -> list[str]:
    """Return the command lines of everything that runs with this home."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_text().replace("\0", " ")
        except OSError:
            continue
        if str(home) in line and "registry" in line:
            found.append(line)
    return found


def get(devnet: Devnet, path: str) -> Any:
    return httpx2.get(devnet.url() + path, trust_env=False).raise_for_status().json()


def test_it_shows_the_whole_idea(devnet: Devnet) -> None:
    devnet.wait_for("25 nodes registered by 25 transactions")
    devnet.wait_for("list of 25 nodes in 3 swarms, final by 3 of 3 attestors, verified from the")
    assert len(devnet.wait_for(r"25 nodes[\s\S]*fingerprint: ([a-z ]+)\n")[1].split()) == 12
    assert "INSECURE" in devnet.output.read_text()
    nodes = get(devnet, "/v1/network")["nodes"]
    assert {state: count for state, count in nodes.items() if count} == {"active": 25}
    assert httpx2.get(f"{devnet.url()}/health/ready", trust_env=False).status_code == 200


def test_every_command_of_the_guide_works(devnet: Devnet) -> None:
    devnet.wait_for("list of 25 nodes")
    blocks = re.findall(r"```sh guide\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(blocks) == 6
    done = devnet.run("\n".join(blocks))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_node_and_its_operator_are_proven(devnet: Devnet) -> None:
    devnet.wait_for("list of 25 nodes")
    node = get(devnet, "/v1/nodes?limit=1")["nodes"][0]
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


def test_a_replica_with_genesis_and_url_reaches_the_same_root(devnet: Devnet) -> None:
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


def wait_until_equal(devnet: Devnet, url: str) -> None:
    """Wait until a replica holds the block that the producer holds now, and its root."""
    wanted = get(devnet, "/v1/network")
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


def test_ctrl_c_stops_everything_and_a_restart_goes_on(devnet: Devnet) -> None:
    devnet.wait_for("list of 25 nodes")
    before = get(devnet, "/v1/network")
    assert devnet.interrupt() == 0
    assert processes_of(devnet.home) == []
    devnet.start()
    devnet.wait_for("the network goes on")
    devnet.wait_for("verified from the genesis file")
    after = get(devnet, "/v1/network")
    assert after["genesis_hash"] == before["genesis_hash"]
    assert after["height"] >= before["height"]
    assert "registered" not in devnet.output.read_text()


def test_fresh_starts_over(devnet: Devnet) -> None:
    before = get(devnet, "/v1/network")
    assert devnet.interrupt() == 0
    devnet.start("--fresh")
    devnet.wait_for("25 nodes registered by 25 transactions")
    assert get(devnet, "/v1/network")["genesis_hash"] != before["genesis_hash"]
    assert devnet.interrupt() == 0
