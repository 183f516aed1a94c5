"""All faults of docs/reliability.md that take real processes, so many times each, by hand:

    python -m tests.faults [N] [name …]

Prints a row for each: how often it happened, and what was counted. A loss ends it with an error.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from tests.faults import clocks, crowd, damage, full_disk, kill

Story: TypeAlias = Callable[[int, Path], Any]


def _harm_files(times: int, folder: Path) -> dict[str, Any]:
    home, _ = asyncio.run(damage.make_home(folder))
    counts = damage.count_outcomes(home.folder, tries=100 * times, seed=times)
    return {f"{file} {harm}": dict(outcomes) for (file, harm), outcomes in counts.items()}


def _start_harmed(times: int, folder: Path) -> dict[str, int]:
    home, acknowledged = asyncio.run(damage.make_home(folder))
    return asyncio.run(damage.refuse_and_heal(home, acknowledged, times, damage.CASES))


def _harm_served(_times: int, folder: Path) -> dict[str, int]:
    home, acknowledged = asyncio.run(damage.make_home(folder))
    return asyncio.run(damage.harm_while_served(home, acknowledged))


STORIES: Final[Mapping[str, Story]] = {
    "kill -9": lambda times, folder: asyncio.run(kill.run(20 * times, times, folder)),
    "disk full": lambda times, folder: asyncio.run(full_disk.fill_disk(5 * times, times, folder)),
    "files harmed": _harm_files,
    "producer on harmed files": _start_harmed,
    "harmed while served": _harm_served,
    "clocks": lambda _, folder: asyncio.run(clocks.jump(folder)),
    "crowd": lambda times, folder: asyncio.run(crowd.stand(3_000, 5 * times, folder)),
}
"""What is made by name, given a number of times and a folder."""


def main(times: int, names: list[str]) -> None:
    """Play the stories of these names, or all."""
    for name in names or STORIES:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            counts = STORIES[name](times, Path(folder))
        print(f"{name}: {counts} in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1, sys.argv[2:])
