"""What CometBFT says: all of it goes to the log as it is, and few lines of it mean that it is dead.

- Some faults end the one part of CometBFT that matters and leave the process running, which then
  does nothing for ever. It says so in one line, and `DEATHS` holds those lines: its words in
  0.38.25, with what they mean and what a person does.
- It writes a line as one JSON object whose first field is the message, so that nothing that comes
  from others can look like one of these.
- A thread reads, so that it never waits for the loop. Lines go to the log whole, since processes
  share it; of one that never ends no more than `MAX_LINE_BYTES` are held.
- What it says on standard error, as when it panics, does not come through here.
"""

import json
import os
import re
import select
import threading
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from registry.settings import Settings

CHUNK_BYTES: Final = 65_536
MAX_LINE_BYTES: Final = 65_536
"""Of a line that is longer the parts go to the log as they come."""

MESSAGE: Final = re.compile(rb'\{"_msg":("(?:[^"\\]|\\.)*")')
"""How a line of CometBFT begins."""

REASON: Final = re.compile(rb'"err":("(?:[^"\\]|\\.)*")')
"""The field with the reason; inside of another field's text its quotes would be escaped."""


class Death(NamedTuple):
    """What a line means after which CometBFT does nothing any more."""

    meaning: str
    advice: str
    """What a person does; `{ledger}` and `{data}` stand for folders of the home."""


class Failure(NamedTuple):
    """A death that happened."""

    said: str
    """CometBFT's message, a key of `DEATHS`."""
    reason: str
    """CometBFT's reason, or nothing."""

    def advice(self, settings: Settings) -> str:
        """Return what a person does about it, with the folders of a home."""
        data = settings.cometbft_path / "data"
        return DEATHS[self.said].advice.format(ledger=settings.database_path, data=data)


_BEGIN_AGAIN: Final = (
    "it is no error of the state if it already lies in the ledger and CometBFT was interrupted: "
    "move {ledger} and {data} away, and start again. The notes in watermarks/ stay"
)

DEATHS: Final[Mapping[str, Death]] = {
    "CONSENSUS FAILURE!!!": Death(
        "its consensus has ended",
        "start again. If it ends at the same height again, ask the other validators where they "
        "are before you touch anything: the line with the stack says what failed",
    ),
    "failed to make ": Death(
        "it fetches no blocks any more",
        "start again",
    ),
    "State sync failed": Death(
        "it has no state to begin with, and tries no more",
        _BEGIN_AGAIN,
    ),
    "Failed to bootstrap node with new state": Death(
        "the ledger has the state of a snapshot, and CometBFT has it not",
        "see that its disk takes writes, move {ledger} and {data} away, and start again",
    ),
    "Failed to store last seen commit": Death(
        "the ledger has the state of a snapshot, and CometBFT a part of it",
        "see that its disk takes writes, move {ledger} and {data} away, and start again",
    ),
    "Failed to switch to block sync": Death(
        "it has the state of a snapshot, and fetches no blocks after it",
        "move {ledger} and {data} away, and start again",
    ),
    "Failed to kill this process - please do so manually": Death(
        "it lost the ledger process, and cannot end",
        "start again",
    ),
}
"""Deaths by CometBFT's messages."""


def find_failure(line: bytes) -> Failure | None:
    """Return the death that a line of CometBFT tells of, if it does; its end may be missing."""
    found = MESSAGE.match(line)
    if found is None:
        return None
    message = _text(found[1])
    if message not in DEATHS:
        return None
    reason = REASON.search(line)
    return Failure(message, "" if reason is None else _text(reason[1]))


def _text(quoted: bytes) -> str:
    try:
        return str(json.loads(quoted.decode(errors="replace")))
    except ValueError:
        return ""


class Output:
    """The pipe through which a program speaks, and the thread that reads it.

    `writing` is the end for the program; `start` closes it here. The thread ends when the program
    and all its children have.
    """

    def __init__(self, log: int, on_failure: Callable[[Failure], None]) -> None:
        """Pass everything on to the descriptor `log`; `on_failure` is called on the thread."""
        self._reading, self.writing = os.pipe()
        self._log = log
        self._on_failure = on_failure
        self._thread = threading.Thread(target=self._run, name="cometbft output", daemon=True)

    def start(self) -> None:
        """Begin to read; the program has its end by now."""
        os.close(self.writing)
        self._thread.start()

    def give_up(self) -> None:
        """Close both ends of an output that was not started."""
        os.close(self.writing)
        os.close(self._reading)

    def join(self, timeout_s: float) -> None:
        """Wait until everything is passed on, or for so long at most."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        held = b""
        is_cut = False
        while chunk := os.read(self._reading, CHUNK_BYTES):
            held += chunk
            end = held.rfind(b"\n") + 1
            if not end and len(held) >= MAX_LINE_BYTES:
                end = len(held)
            whole, held = held[:end], held[end:]
            self._pass_on(whole)
            lines = whole.split(b"\n")
            self._look(lines[1:] if is_cut else lines)
            if whole:
                is_cut = not whole.endswith(b"\n")
        self._pass_on(held)
        self._look([] if is_cut else [held])
        os.close(self._reading)

    def _look(self, lines: list[bytes]) -> None:
        for line in lines:
            failure = find_failure(line)
            if failure is not None:
                self._on_failure(failure)

    def _pass_on(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._log, data) :]
            except BlockingIOError:
                select.select([], [self._log], [])
            except OSError:
                # a log that takes no more is no reason to stop who speaks
                return
