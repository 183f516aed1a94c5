"""Seeds on their way from the supervisor to the process that signs."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ledger.crypto import sha256
from ledger.errors import Fault
from registry.handover import NOTHING, hand_over, take

SEEDS = {Path("/keys/producer.json"): sha256(b"one"), Path("/keys/ä b.json"): sha256(b"two")}


@pytest.mark.parametrize("seeds", [{}, SEEDS], ids=["none", "two"])
def test_what_is_handed_over_arrives_and_nothing_stays_open(seeds: dict[Path, bytes]) -> None:
    open_before = os.listdir("/dev/fd")
    reading = hand_over(seeds)
    assert not os.get_inheritable(reading)
    assert take(reading) == seeds
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)
    assert os.listdir("/dev/fd") == open_before


def test_without_a_pipe_there_is_nothing() -> None:
    assert take(NOTHING) == {}


def test_another_process_takes_it() -> None:
    reading = hand_over(SEEDS)
    program = (
        "import sys; from registry.handover import take\n"
        "for path, seed in take(int(sys.argv[1])).items(): print(path, seed.hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(reading)],
        cwd=Path(__file__).resolve().parents[2],
        pass_fds=[reading],
        capture_output=True,
        text=True,
        check=True,
    )
    os.close(reading)
    assert done.stdout == "".join(f"{path} {seed.hex()}\n" for path, seed in SEEDS.items())


@pytest.mark.parametrize(
    "data", [b"", b"seeds", msgspec.msgpack.encode([1]), msgspec.msgpack.encode({"a": 1})]
)
def test_what_are_no_seeds_is_a_fault(data: bytes) -> None:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with pytest.raises(Fault, match="no seeds"):
        take(reading)


def test_more_than_a_pipe_holds_is_refused_and_does_not_hang() -> None:
    with pytest.raises(Fault, match="too long"):
        hand_over({Path("/" + "x" * 20_000): bytes(32)})
