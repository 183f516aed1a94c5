"""The rules of swarms, step by step as `docs/spec/swarms.md` puts them, and as slowly.

Everything is looked up anew for every single node: sorted lists, pools, gaps. That makes it
quadratic, and easy to hold against the page. It shares the generator's outputs with the ledger
(they are tested against numbers published elsewhere), and nothing else.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

from ledger.rules.mt19937_64 import outputs

UNASSIGNED = 18446744073709551615
MAX_ID = 18446744073709551614

Members = dict[int, list[bytes]]


def reassign(swarm_of: Mapping[bytes, int], seed: int) -> dict[bytes, int]:
    """The swarm of every node after a reassignment."""
    draws = outputs(seed)
    newcomers = [key for key in sorted(swarm_of) if swarm_of[key] == UNASSIGNED]
    swarms: Members = {}
    for key in sorted(swarm_of):
        if swarm_of[key] != UNASSIGNED:
            swarms.setdefault(swarm_of[key], []).append(key)
    if not swarms:
        swarms[0] = []

    assign(swarms, newcomers, 25, draws)
    steal(swarms, draws)
    create(swarms, draws)
    dissolve(swarms, draws)
    return {key: swarm_id for swarm_id, members in swarms.items() for key in members}


def assign(swarms: Members, nodes: list[bytes], percentile: int, draws: Iterator[int]) -> None:
    """Step 1, and what happens to the members of a dissolved swarm."""
    for node in nodes:
        by_size = sorted((len(members), swarm_id) for swarm_id, members in swarms.items())
        size_limit = by_size[percentile * (len(by_size) - 1) // 100][0]
        last = max(index for index, (size, _) in enumerate(by_size) if size <= size_limit)
        swarms[by_size[uniform(draws, last + 1)][1]].append(node)
        create(swarms, draws)


def steal(swarms: Members, draws: Iterator[int]) -> None:
    """Step 2."""
    snapshot = sorted((len(members), swarm_id) for swarm_id, members in swarms.items())
    for size, poor_id in snapshot:
        if size >= 5:
            return
        while len(swarms[poor_id]) < 5:
            threshold = max(5, snapshot[75 * (len(snapshot) - 1) // 100][0] - 1)
            rich = [id_ for id_ in sorted(swarms) if len(swarms[id_]) > threshold]
            if sum(len(swarms[id_]) - 5 for id_ in rich) < 5 - len(swarms[poor_id]):
                return
            swarms[poor_id].append(draw_member(swarms, rich, draws))


def create(swarms: Members, draws: Iterator[int]) -> None:
    """Step 3, and what follows the assignment of each node."""
    if any(len(members) < 5 for members in swarms.values()):
        return
    while sum(max(0, len(members) - 5) for members in swarms.values()) >= 7 + 2 * len(swarms):
        taken = []
        for _ in range(7):
            rich = [id_ for id_ in sorted(swarms) if len(swarms[id_]) > 5]
            taken.append(draw_member(swarms, rich, draws))
        swarms[new_id(sorted(swarms))] = taken


def dissolve(swarms: Members, draws: Iterator[int]) -> None:
    """Step 4."""
    while len(swarms) > 1:
        starving = [id_ for id_ in sorted(swarms) if len(swarms[id_]) < 5]
        if not starving:
            return
        assign(swarms, swarms.pop(starving[0]), 0, draws)


def draw_member(swarms: Members, rich: list[int], draws: Iterator[int]) -> bytes:
    """One member out of the swarms `rich`, taken from its swarm."""
    pool = [(id_, key) for id_ in rich for key in swarms[id_]]
    swarm_id, key = pool[uniform(draws, len(pool))]
    swarms[swarm_id].remove(key)
    return key


def uniform(draws: Iterator[int], count: int) -> int:
    """A number from 0 … count−1."""
    limit = 18446744073709551615 - 18446744073709551615 % count
    while True:
        draw = next(draws)
        if draw < limit:
            return draw // (limit // count)


def new_id(ids: list[int]) -> int:
    """The middle of the largest gap between ascending ids."""
    if not ids:
        return 0
    best_left, best_gap = ids[0], 0
    for left, right in pairwise(ids):
        if right - left > best_gap:
            best_left, best_gap = left, right - left
    if MAX_ID - ids[-1] + ids[0] + 1 > best_gap:
        best_left, best_gap = ids[-1], MAX_ID - ids[-1] + ids[0] + 1
    middle = best_left + best_gap // 2
    return middle if middle <= MAX_ID else middle - MAX_ID - 1


def nearest(ids: list[int], position: int) -> int:
    """The swarm of a position, by its distances to all ids instead of to two."""
    ring = 18446744073709551616
    right = min(ids, key=lambda id_: (id_ - position) % ring)
    left = min(
        (id_ for id_ in ids if id_ != right or len(ids) == 1),
        key=lambda id_: (position - id_) % ring,
    )
    return right if (right - position) % ring < (position - left) % ring else left
