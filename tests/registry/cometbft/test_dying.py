"""A service whose CometBFT is dead inside: a program in its place says the words."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from registry.cometbft import VERSION
from registry.cometbft.output import DEATHS, Failure
from registry.handover import EXIT_FAULT
from registry.settings import Settings
from registry.supervisor import EXIT_DEAD
from tests.registry.cometbft.site import Site
from tests.registry.factory import short_folder
from tests.registry.test_supervisor import HANGS_S, is_running, wait_for

ROOT: Final = Path(__file__).parents[3]
HELLO: Final = '{"_msg":"Starting","level":"info"}'


def line(message: str) -> str:
    """A line by which CometBFT says that it is dead."""
    return json.dumps({"_msg": message, "err": "why"}, separators=(",", ":"))


class Service:
    """A service with a program in the place of CometBFT, and all that was said."""

    def __init__(self, folder: Path, script: str) -> None:
        """The program runs a script of the shell, with its own number first."""
        site = Site(folder)
        says = f"#!/bin/sh\n[ $1 = version ] && exec echo {VERSION}\necho $$ >pid\n{script}\n"
        site.program.write_text(says)
        self.settings: Settings = site.settings(validator=None, web=False)
        self.home = site.home
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "registry.supervisor",
                 "--settings", self.settings.model_dump_json()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.log.read_text()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What was logged of an event; a line that is being written is none yet."""
        rows = [json.loads(row) for row in self.said.split("\n")[:-1] if row.startswith("{")]
        return [row for row in rows if row.get("event") == event]

    def wait_until_started(self) -> None:
        wait_for(
            lambda: self.lines("cometbft started") or self.process.poll() is not None,
            lambda: self.said,
        )
        assert self.process.poll() is None, self.said

    def wait(self) -> int:
        """Return its exit code; the program has ended with it."""
        code = self.process.wait(HANGS_S)
        assert not is_running(int((self.home / "pid").read_text()))
        return code


@contextmanager
def serving(script: str) -> Iterator[Service]:
    """A service, and nothing left of it."""
    with short_folder() as folder:
        service = Service(folder, script)
        try:
            yield service
        finally:
            service.process.terminate()
            service.process.wait(HANGS_S)


def says(*rows: str) -> str:
    """What lets the program say lines."""
    return "\n".join(f"printf '%s\\n' {shlex.quote(row)}" for row in rows)


@pytest.mark.parametrize("message", ["CONSENSUS FAILURE!!!", "State sync failed"])
def test_a_death_ends_the_service_and_says_what_to_do(message: str) -> None:
    last = "trap 'echo bye; exit 0' TERM\nwhile :; do sleep 0.05; done"
    with serving(f"{says(HELLO, line(message))}\n{last}") as service:
        assert service.wait() == EXIT_DEAD
        assert service.lines("process ended") == []
        [dead] = service.lines("cometbft is dead")
        assert dead["level"] == "error"
        assert (dead["said"], dead["reason"]) == (message, "why")
        assert dead["meaning"] == DEATHS[message].meaning
        assert dead["advice"] == Failure(message, "why").advice(service.settings)
        # it is the last word, and what was said before is in the log as it was
        rows = service.said.splitlines()
        assert "bye" in rows
        assert json.loads(rows[-1]) == dead
        assert [row for row in rows if row.startswith('{"_msg"')] == [HELLO, line(message)]


def test_what_is_no_death_ends_nothing() -> None:
    with serving(says(HELLO, line("State sync")) + "\nexec sleep 1000") as service:
        service.wait_until_started()
        wait_for(lambda: line("State sync") in service.said)
        service.process.send_signal(signal.SIGTERM)
        assert service.wait() == 0
        assert service.lines("cometbft is dead") == []


def test_what_is_said_while_it_is_stopped_is_logged_and_is_no_death() -> None:
    (message, *_) = DEATHS
    last = says(line(message), "bye") + "; exit 0"
    script = f"trap {shlex.quote(last)} TERM\n{says('ready')}\nwhile :; do sleep 0.05; done"
    with serving(script) as service:
        service.wait_until_started()
        wait_for(lambda: "ready\n" in service.said)
        service.process.send_signal(signal.SIGTERM)
        assert service.wait() == 0
        assert f"{line(message)}\nbye\n" in service.said
        assert service.lines("cometbft is dead") == []


def test_a_process_that_ends_after_the_death_says_more() -> None:
    (message, *_) = DEATHS
    with serving(f"{says(line(message))}\nexit 3") as service:
        assert service.wait() == 3
        [ended] = service.lines("process ended")
        assert (ended["name"], ended["code"]) == ("cometbft", 3)
        assert service.lines("cometbft is dead") == []


def test_a_ledger_process_that_refuses_says_more() -> None:
    (message, *_) = DEATHS
    # the request is a commit of a block that nobody executed
    ask = f"""
import socket
near = socket.socket(socket.AF_UNIX)
near.connect("run/abci.sock")
print({line(message)!r}, flush=True)
near.sendall(b"\\x02\\x5a\\x00")
near.recv(1 << 16)
while near.recv(1 << 16):
    pass
import time
time.sleep(1000)
"""
    with serving(f"exec {sys.executable} -c {shlex.quote(ask)}") as service:
        assert service.wait() == EXIT_FAULT
        [ended] = service.lines("process ended")
        assert (ended["name"], ended["code"]) == ("ledger", EXIT_FAULT)
        assert "commits a block that was not executed here" in service.said
        assert service.lines("cometbft is dead") == []
        assert line(message) in service.said


def test_a_supervisor_that_is_killed_takes_one_along_that_speaks() -> None:
    with serving("while :; do echo word; sleep 0.05; done") as service:
        service.wait_until_started()
        wait_for(lambda: "word\n" in service.said)
        service.process.kill()
        service.process.wait()
        pid = int((service.home / "pid").read_text())
        wait_for(lambda: not is_running(pid), lambda: "it goes on")
