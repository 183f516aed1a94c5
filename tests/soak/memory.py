"""What processes hold in memory, over the whole run, and whether that grows.

Processes that are killed begin anew, so growth is judged by who lived long: of every process that
lived for more than half of the run, the last quarter of its life against the second one.
"""

import asyncio
import contextlib
import statistics
import time
from typing import Final, NamedTuple

from ledger.leveldb import OPTIONS
from tests.processes import read_memory
from tests.soak.town import Town

EVERY_S: Final = 2.0
QUARTERS: Final = 4
SHARE: Final = 1.10
SLACK_BYTES: Final = 4 * 2**20
"""What may be held more in the last quarter: a tenth, and so many bytes."""

CACHES_BYTES: Final = OPTIONS["lru_cache_size"] + OPTIONS["write_buffer_size"]
"""What a ledger process may hold more besides: its database fills caches of a fixed size, which
takes some 200,000 transactions (docs/reliability.md)."""


class Life(NamedTuple):
    """One process: when it was looked at, and what it held."""

    times: list[float]
    sizes: list[int]

    def quarter(self, number: int) -> float:
        """Return what it held in a quarter of its life, in the middle."""
        length = len(self.sizes)
        part = self.sizes[number * length // QUARTERS : (number + 1) * length // QUARTERS]
        return statistics.median(part)


def find_caches(role: str) -> int:
    """Return the bytes of the caches that a process of this kind fills."""
    return CACHES_BYTES if role.endswith("ledger") else 0


class Memory:
    """Looks at all processes now and then."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._began = time.monotonic()
        self.lives: dict[tuple[str, int], Life] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            for role, pids in (await asyncio.to_thread(self._town.processes)).items():
                for pid in pids:
                    with contextlib.suppress(OSError):
                        self._note(role, pid, read_memory(pid))
            await asyncio.sleep(EVERY_S)

    def _note(self, role: str, pid: int, size: int) -> None:
        if size:
            life = self.lives.setdefault((role, pid), Life([], []))
            life.times.append(time.monotonic() - self._began)
            life.sizes.append(size)

    def list_long_lives(self) -> dict[str, list[Life]]:
        """Return those that lived for more than half of the time, by what they are."""
        whole = time.monotonic() - self._began
        found: dict[str, list[Life]] = {}
        for (role, _), life in sorted(self.lives.items()):
            if life.times[-1] - life.times[0] > whole / 2:
                found.setdefault(role, []).append(life)
        return found

    def find_growing(self) -> list[str]:
        """Return what is to be said of processes that hold more and more."""
        return [
            f"a process ({role}) held {life.quarter(1) / 2**20:.0f} MB, then "
            f"{life.quarter(3) / 2**20:.0f} MB"
            for role, lives in self.list_long_lives().items()
            for life in lives
            if life.quarter(3) > SHARE * life.quarter(1) + SLACK_BYTES + find_caches(role)
        ]

    def describe(self) -> list[str]:
        """Return a line for each kind of process."""
        lines = []
        largest: dict[str, int] = {}
        for (role, _), life in self.lives.items():
            largest[role] = max(largest.get(role, 0), *life.sizes)
        long_lives = self.list_long_lives()
        for role, most in sorted(largest.items()):
            count = sum(1 for other, _ in self.lives if other == role)
            text = f"{role:22} {count:4} of them, at most {most / 2**20:5.0f} MB"
            if role in long_lives:
                early, late = (
                    statistics.mean(life.quarter(number) for life in long_lives[role]) / 2**20
                    for number in (1, 3)
                )
                text += f"; {len(long_lives[role])} lived long: {early:.1f} MB, then {late:.1f} MB"
            lines.append(text)
        return lines
