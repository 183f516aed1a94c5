"""A running `waypost devnet`: what it says, what it serves, and which processes are left of it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import httpx2

from registry.devnet.cast import Cast
from registry.devnet.network import SEED
from registry.keystore import load_seed

WAIT_S: Final = 120.0


class RunningDevnet:
    """`waypost devnet` in a folder of its own, on the first free port past a random one."""

    def __init__(self, home: Path, *arguments: str, installed: Path | None = None) -> None:
        """Run it from the checkout, or with the Python that it is `installed` for elsewhere."""
        self.home = home
        self.python = installed or Path(sys.executable)
        self._cwd = None if installed is None else home
        self.folder = home / "waypost" / "devnet"
        self.environment = {
            "HOME": str(home),
            "WAYPOST_HOME": str(home / "waypost"),
            "PATH": f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
        }
        self.output = home / "output"
        self.process = self.start(*arguments)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it, once more if need be."""
        port = str(20_000 + os.getpid() % 20_000)
        command = [str(self.python), "-m", "registry", "devnet", "--port", port, *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=self.output.open("wb"),
            stderr=subprocess.STDOUT,
            env=self.environment,
            cwd=self._cwd,
        )
        return self.process

    def said(self) -> str:
        """All that it said since it started."""
        return self.output.read_text()

    def wait_for(self, pattern: str, wait_s: float = WAIT_S) -> re.Match[str]:
        """Return the match of what it says, once it says so."""
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            found = re.search(pattern, self.said())
            if found:
                return found
            assert self.process.poll() is None, self.said()
            time.sleep(0.1)
        raise AssertionError(f"never said {pattern!r}: {self.said()}")

    def url(self) -> str:
        """Where it serves."""
        return self.wait_for(r"service +(http://\S+)")[1]

    def get(self, path: str) -> Any:
        """What its service answers."""
        return httpx2.get(self.url() + path, trust_env=False).raise_for_status().json()

    def cast(self) -> Cast:
        """Who takes part in it."""
        return Cast(load_seed(self.folder / SEED))

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def kill(self) -> None:
        """Kill it, and it alone."""
        self.process.kill()
        self.process.wait()

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

    def processes(self) -> list[str]:
        """The command lines of everything that runs and names its folder, or its nodes' places."""
        nodes = self.cast().nodes if (self.folder / SEED).exists() else ()
        names = [str(self.home), *(f" {node.ipv4} " for node in nodes)]
        lines = map(read_command, Path("/proc").glob("[0-9]*/cmdline"))
        return [
            line for line in lines if "registry" in line and any(name in line for name in names)
        ]

    def wait_until_nothing_runs(self) -> None:
        """Wait until all processes of it have ended by themselves."""
        self.wait_until_gone("")

    def wait_until_gone(self, words: str) -> None:
        """Wait until those have that have these words in their command."""
        deadline = time.monotonic() + WAIT_S
        left = self.processes()
        while left and time.monotonic() < deadline:
            time.sleep(0.1)
            left = [line for line in self.processes() if words in line]
        assert left == []


def read_command(path: Path) -> str:
    """A command line with spaces between its words; nothing if the process is gone."""
    try:
        return path.read_text().replace("\0", " ")
    except OSError:
        return ""
