"""A person at a terminal, or none: programs on a pseudo-terminal of their own, or without any.

at_terminal             somebody who starts the program, reads what it shows and types
run_without_terminal    the program as a service manager starts it
pipe_of                 an open descriptor with some bytes
write_passphrase        a file with the passphrase, for its owner's eyes
"""

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
HANGS_S: Final = 60.0
PATIENCE_S: Final = 5.0
"""When somebody presses a key again."""

PASSPHRASE: Final = "five words on no list"

CHEAP: Final = """
import sys
from registry import keystore
keystore.MODERATE = keystore.MINIMUM
from registry.cli import main
main()
"""
"""The program, but that an attempt at a passphrase costs nothing."""


class Person:
    """Somebody who started the program in a terminal."""

    def __init__(
        self,
        *words: object,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> None:
        """`stdout` is where the standard output leads instead of to the terminal."""
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHEAP, *map(str, words)],
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            cwd=cwd,
            env=bare_environment() | {"TERM": "xterm"} | dict(environment or {}),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.seen = ""
        """Everything that the terminal showed."""
        self._read = 0

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Return the match of what is shown next, once it is."""
        deadline = time.monotonic() + HANGS_S
        while (found := re.compile(pattern).search(self.seen, self._read)) is None:
            assert self._see(deadline), f"never showed {pattern!r}:\n{self.seen}"
        self._read = found.end()
        return found

    def answer(self, question: str, line: str) -> None:
        """Type a line once a question is asked.

        It has to be the question itself: what is typed before a passphrase is asked for is dropped.
        """
        self.wait_for(re.escape(question))
        os.write(self._master, line.encode() + b"\n")

    def press(self, key: bytes) -> None:
        """Press one key."""
        os.write(self._master, key)

    def write_down(self) -> list[str]:
        """Read the 24 words from the screen, and say that they are on paper."""
        self.wait_for("These 24 words")
        shown = self.wait_for("Press Enter").string
        page = shown[shown.rindex("These 24 words") :]
        cells = re.findall(r"([0-9]{1,2}) ([a-z]+)(?=  |\s*$)", page, re.MULTILINE)
        words = [word for _, word in sorted((int(place), word) for place, word in cells)]
        assert len(words) == 24, self.seen
        self.press(b"\n")
        return words

    def give_back(self, words: list[str], count: int = 3) -> None:
        """Answer with the words that are asked for."""
        for _ in range(count):
            place = int(self.wait_for(r"Word ([0-9]+): ")[1])
            os.write(self._master, words[place - 1].encode() + b"\n")

    def end(self) -> int:
        """Return the exit code, once everything that is shown was seen."""
        deadline = time.monotonic() + HANGS_S
        while self._see(deadline):
            pass
        return self._process.wait(HANGS_S)

    def insist(self, key: bytes) -> int:
        """Press a key, again if nothing comes of it, and return the exit code.

        A signal that comes just before a program begins to read does not interrupt the reading.
        """
        deadline = time.monotonic() + HANGS_S
        while time.monotonic() < deadline:
            self.press(key)
            while select.select([self._master], [], [], PATIENCE_S)[0]:
                if not self._see(deadline):
                    return self._process.wait(HANGS_S)
        raise AssertionError(f"hangs:\n{self.seen}")

    def leave(self) -> None:
        """End what a failing test would leave behind."""
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _see(self, deadline: float) -> bool:
        """Take in what is shown next; False once the program has ended."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"hangs:\n{self.seen}"
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # how Linux says that nobody has the other end any more
            return False
        self.seen += data.decode()
        return bool(data)


@contextmanager
def at_terminal(
    *words: object,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdout: int | None = None,
) -> Iterator[Person]:
    """Start the program in a terminal."""
    person = Person(*words, cwd=cwd, environment=environment, stdout=stdout)
    try:
        yield person
    finally:
        person.leave()


def run_without_terminal(
    *words: object, given: str = "", fds: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the program where there is nobody to ask; it inherits `fds`."""
    return subprocess.run(
        [sys.executable, "-c", CHEAP, *map(str, words)],
        input=given,
        capture_output=True,
        text=True,
        env=bare_environment(),
        start_new_session=True,
        pass_fds=fds,
        check=False,
    )


@contextmanager
def pipe_of(data: bytes) -> Iterator[int]:
    """The reading end of a pipe that holds some bytes and then ends."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    try:
        yield reading
    finally:
        os.close(reading)


def write_passphrase(folder: Path, text: str = PASSPHRASE) -> Path:
    """A file with a passphrase, as its owner keeps it."""
    path = folder / "passphrase"
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return path


def bare_environment() -> dict[str, str]:
    """The environment without what this program would listen to."""
    bare = {name: value for name, value in os.environ.items() if "WAYPOST" not in name}
    return bare | {"PYTHONPATH": str(ROOT)}
