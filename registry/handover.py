"""How seeds come from the supervisor, which opened the key files, to the process that signs.

They go through a pipe that only these two ever hold: never through arguments, the environment or
a file. The supervisor writes everything before the other process starts, and both close their end.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from ledger.errors import Fault

Seeds: TypeAlias = Mapping[Path, bytes]
"""The seed of each key file that was opened."""

MAX_BYTES: Final = 2**14
"""What any pipe holds without a reader."""

NOTHING: Final = -1
"""No pipe: nothing is handed over."""

_SEEDS: Final = msgspec.msgpack.Decoder(dict[str, bytes])


def hand_over(seeds: Seeds) -> int:
    """Return the reading end of a pipe that holds the seeds, and whose writing end is closed."""
    data = msgspec.msgpack.encode({str(path): seed for path, seed in seeds.items()})
    if len(data) > MAX_BYTES:
        raise Fault("the names of the key files are too long to be handed over")
    return fill_pipe(data)


def fill_pipe(data: bytes) -> int:
    """Return the reading end of a pipe that holds at most `MAX_BYTES`, and nothing more to come."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(data)
    return reading


def take(reading: int) -> Seeds:
    """Return what was handed over, and close the pipe. Raises `Fault` if these are no seeds."""
    if reading == NOTHING:
        return {}
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    try:
        return {Path(name): seed for name, seed in _SEEDS.decode(data).items()}
    except msgspec.MsgspecError:
        raise Fault("what the supervisor handed over are no seeds") from None
