"""What CometBFT says: nothing of it is lost, and a line that means its death is found."""

import fcntl
import json
import os
import select
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any, Final

import pytest

from registry.cometbft.output import DEATHS, MAX_LINE_BYTES, Failure, Output, find_failure
from registry.settings import Settings
from tests.registry.test_supervisor import wait_for

HANGS_S: Final = 30.0
DEAD: Final = "CONSENSUS FAILURE!!!"


def line(message: str, **fields: Any) -> bytes:
    """A line as CometBFT writes it: sorted, without spaces."""
    row = {"_msg": message, "level": "error", "module": "consensus"} | fields
    return json.dumps(row, sort_keys=True, separators=(",", ":")).encode() + b"\n"


# --- the lines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("message", DEATHS)
def test_a_death_is_found_with_its_reason(message: str) -> None:
    found = find_failure(line(message, err='a "quoted" reason\nof two lines', stack="goroutine 1"))
    assert found == Failure(message, 'a "quoted" reason\nof two lines')


def test_a_death_whose_line_is_cut_off_is_found() -> None:
    whole = line(DEAD, err="why", stack="s" * 1_000)
    assert find_failure(whole[:200]) == Failure(DEAD, "why")
    assert find_failure(whole[: whole.index(b'"err"') + 8]) == Failure(DEAD, "")


def test_a_reason_that_is_no_text_is_left_out() -> None:
    assert find_failure(line(DEAD, err={"a": 1})) == Failure(DEAD, "")


OTHERS: Final = {
    "another message": line("Stopping peer for error", err=DEAD),
    "more than the message": line(f"{DEAD} at a peer"),
    "in a reason": line("Error", err=line(DEAD).decode()),
    "in a field before": b'{"Peer":' + json.dumps(line(DEAD).decode()).encode() + b',"_msg":"x"}',
    "no object": DEAD.encode(),
    "not at the beginning": b" " + line(DEAD),
    "nothing": b"",
    "no UTF-8": b'{"_msg":"\xff\xfe"}',
    "a broken escape": b'{"_msg":"\\q"}',
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_others_say_is_no_death(other: bytes) -> None:
    assert find_failure(other) is None


def test_the_advice_names_the_folders_of_the_home(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", engine="comet")
    for message, death in DEATHS.items():
        advice = Failure(message, "").advice(settings)
        assert "{" not in advice
        for name, folder in (("ledger", "ledger"), ("data", "cometbft/data")):
            assert (f"{{{name}}}" in death.advice) == (str(tmp_path / "home" / folder) in advice)
    for message in ("State sync failed", "Failed to bootstrap node with new state"):
        assert "{ledger} and {data} away" in DEATHS[message].advice


# --- the pipe ------------------------------------------------------------------------------------


class Listener:
    """An output whose far end is held here, and what came of it."""

    def __init__(self, path: Path) -> None:
        self.log = path.open("ab")
        self.failures: list[Failure] = []
        self.path = path
        self.output = Output(self.log.fileno(), self.failures.append)
        self.writing = os.dup(self.output.writing)
        self.output.start()

    def end(self) -> bytes:
        """Close the far end; return all that was passed on."""
        os.close(self.writing)
        self.output.join(HANGS_S)
        assert not self.output._thread.is_alive()
        self.log.close()
        return self.path.read_bytes()


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


LONG: Final = b"x" * (3 * MAX_LINE_BYTES + 17)

SPEECHES: Final = {
    "nothing": b"",
    "a line": line("hello"),
    "without an end": line("hello")[:-1],
    "empty lines": b"\n\n\n",
    "any bytes": bytes(range(256)) * 40,
    "many lines": b"".join(line(f"number {number}") for number in range(5_000)),
    "a line that hardly ends": line("before") + LONG + b"\n" + line("after"),
    "a line that never ends": LONG,
}


@pytest.mark.parametrize("size", [7, 4_096, 1 << 20], ids=["pieces", "pages", "at once"])
@pytest.mark.parametrize("speech", SPEECHES.values(), ids=SPEECHES)
def test_everything_is_passed_on_as_it_is(tmp_path: Path, speech: bytes, size: int) -> None:
    listener = Listener(tmp_path / "log")
    for start in range(0, len(speech), size):
        write_all(listener.writing, speech[start : start + size])
    assert listener.end() == speech
    assert listener.failures == []


@pytest.mark.parametrize("ending", [b"\n", b""], ids=["whole", "without an end"])
@pytest.mark.parametrize("size", [7, 1 << 20], ids=["pieces", "at once"])
def test_a_death_among_other_lines_is_told_once(tmp_path: Path, size: int, ending: bytes) -> None:
    speech = LONG + b"\n" + line("before") + line(DEAD, err="why")[:-1] + ending
    listener = Listener(tmp_path / "log")
    for start in range(0, len(speech), size):
        write_all(listener.writing, speech[start : start + size])
    assert listener.end() == speech
    assert listener.failures == [Failure(DEAD, "why")]


def test_a_death_with_a_line_that_never_ends_is_told(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "log")
    speech = line(DEAD, err="why", stack="s" * (2 * MAX_LINE_BYTES))
    write_all(listener.writing, speech)
    assert listener.end() == speech
    assert listener.failures == [Failure(DEAD, "why")]


@pytest.mark.parametrize("rest", [line(DEAD), line(DEAD)[:-1]], ids=["whole", "without an end"])
def test_the_middle_of_a_line_tells_nothing(tmp_path: Path, rest: bytes) -> None:
    listener = Listener(tmp_path / "log")
    # the line is cut exactly where its rest looks like a death
    write_all(listener.writing, b"y" * MAX_LINE_BYTES)
    wait_for(lambda: len(listener.path.read_bytes()) >= MAX_LINE_BYTES)
    write_all(listener.writing, rest)
    assert listener.end() == b"y" * MAX_LINE_BYTES + rest
    assert listener.failures == []


def test_a_death_that_comes_in_pieces_is_told(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "log")
    speech = line(DEAD, err="why")
    for piece in (speech[:5], speech[5:20], speech[20:]):
        write_all(listener.writing, piece)
        # it is read before the next one comes
        wait_for(lambda: waiting(listener.writing) == 0)
    assert listener.end() == speech
    assert listener.failures == [Failure(DEAD, "why")]


def waiting(fd: int) -> int:
    """How many bytes wait in a pipe."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_lines_of_others_are_not_mixed_in(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "log")
    write_all(listener.writing, line("first")[:10])
    listener.log.write(b"of another\n")
    listener.log.flush()
    write_all(listener.writing, line("first")[10:])
    assert listener.end() == b"of another\n" + line("first")


def test_a_log_that_takes_no_more_does_not_stop_who_speaks() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    failures: list[Failure] = []
    output = Output(writing, failures.append)
    far = os.dup(output.writing)
    output.start()
    # far more than a pipe holds
    write_all(far, LONG + b"\n" + line(DEAD, err="why"))
    os.close(far)
    output.join(HANGS_S)
    assert failures == [Failure(DEAD, "why")]
    os.close(writing)


def test_a_log_that_is_slow_gets_everything() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    output = Output(writing, lambda failure: None)
    far = os.dup(output.writing)
    output.start()
    speaker = subprocess.Popen(
        [sys.executable, "-c", f"print('{'z' * 59_999}\\n' * 5, end='')"],
        stdout=far,
    )
    os.close(far)
    # nothing is read of it before it takes no more, and what is said waits
    wait_for(
        lambda: (
            speaker.poll() is not None
            or (
                not select.select([], [writing], [], 0)[1]
                and waiting(output._reading) >= MAX_LINE_BYTES // 2
            )
        )
    )
    assert speaker.poll() is None, "what it said went nowhere"
    got = b""
    while len(got) < 300_000:
        assert select.select([reading], [], [], HANGS_S)[0], f"{len(got)} bytes came"
        got += os.read(reading, 1_000)
    assert speaker.wait(HANGS_S) == 0
    output.join(HANGS_S)
    assert got == (b"z" * 59_999 + b"\n") * 5
    os.close(reading)
    os.close(writing)


def test_an_output_that_is_given_up_holds_nothing() -> None:
    before = set(os.listdir("/dev/fd"))
    Output(2, lambda failure: None).give_up()
    assert set(os.listdir("/dev/fd")) == before
