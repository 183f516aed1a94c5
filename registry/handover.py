"""How seeds come from the supervisor, which opened the key files, to the process that signs.

They go through a pipe that only these two ever hold: never through arguments, the environment or
a file. The supervisor writes everything before the other process starts, and both close their end.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import msgspec
import structlog

from ledger.errors import Fault, WaypostError
from registry.lifeline import NONE
from registry.logs import set_up_logs

S = TypeVar("S")

Seeds: TypeAlias = Mapping[Path, bytes]
"""The seed of each key file that was opened."""

MAX_BYTES: Final = 2**14
"""What any pipe holds without a reader."""

NOTHING: Final = -1
"""No pipe: nothing is handed over."""

EXIT_FAULT: Final = 5
"""Exit code of a process that stops because something is wrong, which its last line says."""

log = structlog.get_logger()

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


def run_child(
    name: str,
    read_settings: Callable[[str], S],
    serve: Callable[[S, Seeds, int], Awaitable[None]],
    argv: Sequence[str] | None,
) -> None:
    """Run a process that another one starts, with `--settings` as JSON; its name is for the logs.

    Seeds come through the pipe `--seeds`, its life hangs on the pipe `--lifeline`. It exits with
    `EXIT_FAULT` where `serve` raises a `WaypostError`.
    """
    parser = argparse.ArgumentParser(prog=f"waypost-{name}")
    parser.add_argument("--settings", required=True)
    parser.add_argument("--seeds", type=int, default=NOTHING)
    parser.add_argument("--lifeline", type=int, default=NONE)
    options = parser.parse_args(argv)
    set_up_logs(name)
    settings = read_settings(options.settings)

    async def run() -> None:
        await serve(settings, take(options.seeds), options.lifeline)

    try:
        asyncio.run(run())
    except WaypostError as error:
        log.error("stopped", reason=str(error))
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_FAULT)
