"""`waypost devnet --validators 4`: the story that a newcomer sees, with the real CometBFT."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx2
import pytest

from tests.comet.network import ROOT, needs_cometbft

WAIT_S: Final = 120.0


class Devnet:
    """A running devnet of four, with what it says."""

    def __init__(self, home: Path) -> None:
        program = needs_cometbft()
        self.home = home
        self.output = home / "output"
        environment = {
            "PYTHONPATH": str(ROOT),
            "WAYPOST_HOME": str(home),
            "PATH": f"{program.parent}:{os.environ['PATH']}",
        }
        port = str(20_000 + os.getpid() % 20_000)
        command = [
            *("-m", "registry", "devnet", "--validators", "4", "--serve-all"),
            "--port",
            port,
        ]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command], stdout=output, stderr=output, env=environment
            )

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

    def processes(self, name: str = "") -> list[int]:
        """The ids of everything that runs with this home, and has a word in its command."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_text().replace("\0", " ")
            except OSError:
                continue
            if str(self.home) in line and name in line:
                found.append(int(path.parent.name))
        return found


@pytest.fixture
def devnet() -> Iterator[Devnet]:
    with TemporaryDirectory(prefix="wp", dir="/tmp") as folder:
        network = Devnet(Path(folder))
        yield network
        network.process.kill()
        network.process.wait()
        for pid in network.processes():
            os.kill(pid, signal.SIGKILL)


def get(port: int, path: str) -> Any:
    return httpx2.get(f"http://127.0.0.1:{port}{path}", trust_env=False).raise_for_status().json()


def test_the_whole_story(devnet: Devnet) -> None:
    port = int(devnet.wait_for(r"service +http://127\.0\.0\.1:(\d+)")[1])
    devnet.wait_for("validators 4 with CometBFT")
    devnet.wait_for("25 nodes registered by 25 transactions")
    devnet.wait_for("5 nodes filled up by contributors")
    devnet.wait_for(
        r"list of 25 nodes in 3 swarms, final by [34] of 4 attestors, verified from the"
    )
    assert len(devnet.processes("cometbft start")) == 4
    # each of them serves the same
    nodes = get(port, "/v1/network")["nodes"]
    assert {state: count for state, count in nodes.items() if count} == {"active": 25}
    height = get(port, "/v1/network")["height"] - 2
    others = [port + offset for offset in range(20) if is_served(port + offset)]
    assert len(others) == 4
    assert len({get(other, f"/v1/blocks/{height}")["state_root"] for other in others}) == 1
    # one of four may be gone, and lists become final by the other three
    victim = next(pid for pid in devnet.processes("registry.supervisor"))
    os.kill(victim, signal.SIGKILL)
    devnet.wait_for(r"final by 3 of 4 attestors")
    devnet.process.send_signal(signal.SIGINT)
    assert devnet.process.wait(60) == 0
    assert devnet.processes() == []
    assert "stopped: nothing of it runs any more" in devnet.output.read_text()


def is_served(port: int) -> bool:
    try:
        return bool(get(port, "/v1/network")["height"])
    except httpx2.HTTPError:
        return False
