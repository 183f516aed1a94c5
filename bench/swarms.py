"""Giving nodes their swarms: a network that starts, and a network that runs.

- Newcomers: nobody has a swarm yet, and everybody gets one.
- Steady: of a network of that size one in a hundred is new, one in a hundred has left.
- Quiet: nothing changed, as in most epochs.
"""

import time
from random import Random
from typing import Final

from bench.figures import Limit, Section, repeat
from ledger.crypto import sha256
from ledger.rules.swarms import UNASSIGNED, nearest_swarm, reassign

NEWCOMERS: Final = {10_000: Limit(0.2), 100_000: Limit(2.5)}
"""Nodes, and the seconds that they may take."""
REPETITIONS: Final = {10_000: 9, 100_000: 5}
LOOK_UPS: Final = 10_000
SEED: Final = 7


def run(section: Section) -> None:
    """Measure the section."""
    for count, limit in NEWCOMERS.items():
        _measure(section, count, limit)


def _measure(section: Section, count: int, limit: Limit) -> None:
    times = REPETITIONS[count]
    fresh = {sha256(b"node %d" % number): UNASSIGNED for number in range(count)}
    section.add(f"{count:,} newcomers", "s", repeat(times, lambda: reassign(fresh, SEED)), limit)
    settled = reassign(fresh, SEED)
    quiet = repeat(times, lambda: reassign(settled, SEED + 1))
    section.add(f"{count:,} nodes, nothing changed", "s", quiet)
    steady = _measure_steady(settled, times)
    section.add(f"{count:,} nodes, 1 % new and 1 % gone", "s", steady)
    _measure_look_ups(section, settled, times)


def _measure_steady(swarm_of: dict[bytes, int], times: int) -> list[float]:
    """Let the network go on for some epochs and return the seconds that each took."""
    seconds = []
    change = len(swarm_of) // 100
    for epoch in range(times):
        leaving = Random(epoch).sample(sorted(swarm_of), change)
        fresh = [sha256(b"new %d %d" % (epoch, number)) for number in range(change)]
        for key in leaving:
            del swarm_of[key]
        swarm_of |= dict.fromkeys(fresh, UNASSIGNED)
        began = time.perf_counter()
        swarm_of = reassign(swarm_of, epoch)
        seconds.append(time.perf_counter() - began)
    return seconds


def _measure_look_ups(section: Section, swarm_of: dict[bytes, int], times: int) -> None:
    swarm_ids = sorted(set(swarm_of.values()))
    positions = [int.from_bytes(sha256(b"%d" % n)[:8], "big") for n in range(LOOK_UPS)]

    def look_up() -> None:
        for position in positions:
            nearest_swarm(swarm_ids, position)

    micro = [1e6 * seconds / LOOK_UPS for seconds in repeat(times, look_up)]
    section.add(f"nearest of {len(swarm_ids):,} swarms", "µs an account", micro)
