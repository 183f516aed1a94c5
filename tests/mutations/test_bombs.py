"""What asks for gigabytes is refused within a stated bound, in a process of its own."""

import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.mutations.bombs import BOMBS, PIECE_BYTES, PIECES, make_bomb

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", BOMBS)
def test_bomb(name: str) -> None:
    command = (sys.executable, "-m", "tests.mutations.bombs", name)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code, grown = done.stdout.split()
    assert code == BOMBS[name].code
    assert int(grown) < BOMBS[name].room, f"it grew by {int(grown):,} bytes"


def test_the_bomb_is_one() -> None:
    assert PIECES * PIECE_BYTES == 4 * 2**30
    assert len(make_bomb()) < 5_000_000
    two = make_bomb(pieces=2)
    assert zlib.decompress(two[1:], wbits=-zlib.MAX_WBITS) == bytes(2 * PIECE_BYTES)
