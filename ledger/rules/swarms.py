"""Swarms: which node is in which swarm, and which swarm serves an account.

Rules (`docs/spec/swarms.md`, a heading for each):

- every active node is in exactly one swarm; a swarm is named by its id on a ring of 2^64−1 ids;
- swarms are visited in ascending id; sorting them "by size" is by (size, id), a total order;
- members of a swarm stand in ascending key order at the start, later arrivals behind them;
- newcomers go to the smaller swarms; a swarm below 5 members is filled up by moving nodes from
  the larger ones, or dissolved; members beyond 5 that add up become new swarms;
- who moves and where to is drawn from one generator, in the order of the steps.

The rules talk of sorted swarms and of one long pool of members. Nothing here builds either anew
for each node: `Swarms` keeps counts by size, and `Pool` finds a member by its place.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heappush, heapreplace
from itertools import pairwise

from ledger.rules.mt19937_64 import outputs

UNASSIGNED = 2**64 - 1
"""Stands for "in no swarm". Never the id of a swarm."""

MAX_ID = 2**64 - 2
"""The largest id of a swarm; the smallest is 0, which follows it on the ring."""

RING_SIZE = MAX_ID + 1
"""Number of ids on the ring on which new ids are placed."""

FIRST_ID = 0
"""Id of the first swarm of a network that has none."""

MIN_SIZE = 5
"""Members below which a swarm starves; members above it are its excess."""

NEW_SIZE = 7
"""Members of a new swarm, and the size that growth settles at."""

EXCESS_MARGIN = 2
"""Excess that each swarm there is may keep before a new swarm is made."""

FILL_PERCENTILE = 25
"""Where newcomers go: swarms no larger than the one at this percentile of sizes."""

DISSOLVE_PERCENTILE = 0
"""Where members of a dissolved swarm go: the smallest swarms."""

STEAL_PERCENTILE = 75
"""Whom members are taken from: swarms about as large as the one at this percentile, or larger."""

ROW_LENGTH = 128
"""Swarms in a row of the pool. No result depends on it, only the time it takes to get there."""

U64_MAX = 2**64 - 1
"""The largest output of the generator."""

U64_COUNT = 2**64
"""Number of positions of accounts on their ring, one more than there are ids."""


def reassign(swarm_of: Mapping[bytes, int], seed: int) -> dict[bytes, int]:
    """The swarm of every active node, in ascending key order.

    `swarm_of` holds every active node's key with its swarm so far, UNASSIGNED for newcomers;
    the order of its entries has no effect. `seed` is 0 … 2^64−1. No node in the answer is
    UNASSIGNED. `docs/spec/swarms.md`, "Reassignment".
    """
    keys = sorted(swarm_of)
    members: dict[int, list[bytes]] = {}
    for key in keys:
        members.setdefault(swarm_of[key], []).append(key)
    newcomers = members.pop(UNASSIGNED, [])
    if members and (min(members) < 0 or max(members) > MAX_ID):
        raise ValueError("a swarm id must be 0 … 2^64−2, or UNASSIGNED")
    swarms = Swarms(members or {FIRST_ID: []})
    draws = outputs(seed)

    assign_nodes(swarms, newcomers, FILL_PERCENTILE, draws)
    feed_starving_swarms(swarms, draws)
    create_swarms(swarms, draws)
    dissolve_starving_swarms(swarms, draws)

    swarm_after = {key: swarm_id for swarm_id in swarms.members for key in swarms.members[swarm_id]}
    return {key: swarm_after[key] for key in keys}


def assign_nodes(
    swarms: "Swarms", nodes: Sequence[bytes], percentile: int, draws: Iterator[int]
) -> None:
    """Give each node, in the order given, a swarm among the smaller ones.

    `docs/spec/swarms.md`, "Assigning nodes".
    """
    for node in nodes:
        swarms.append_member(choose_small_swarm(swarms, percentile, draws), node)
        create_swarms(swarms, draws)


def choose_small_swarm(swarms: "Swarms", percentile: int, draws: Iterator[int]) -> int:
    """The id of a swarm drawn from those no larger than the one at a percentile (0 … 100).

    `docs/spec/swarms.md`, "Choosing a small swarm".
    """
    rank = percentile * (len(swarms.members) - 1) // 100
    candidates = 0
    for size in swarms.sizes:
        candidates += len(swarms.ids_of_size[size])
        if candidates > rank:
            break
    return swarms.find_by_rank(uniform(draws, candidates))


def uniform(draws: Iterator[int], count: int) -> int:
    """A number from 0 … count−1, each equally likely; count is 1 … 2^64−1.

    `docs/spec/swarms.md`, "Uniform choice".
    """
    limit = U64_MAX - U64_MAX % count
    draw = next(draws)
    while draw >= limit:
        draw = next(draws)
    return draw // (limit // count)


def feed_starving_swarms(swarms: "Swarms", draws: Iterator[int]) -> None:
    """Fill swarms up to 5 members with members of the largest ones, while those have enough.

    `docs/spec/swarms.md`, "Feeding starving swarms".
    """
    if not swarms.starving:
        return
    # The order and the threshold are fixed before the first move.
    starving_ids = [swarms.find_by_rank(rank) for rank in range(swarms.starving)]
    rank = STEAL_PERCENTILE * (len(swarms.members) - 1) // 100
    threshold = max(MIN_SIZE, len(swarms.members[swarms.find_by_rank(rank)]) - 1)
    pool = swarms.pool_above(threshold)
    for swarm_id in starving_ids:
        while (missing := MIN_SIZE - len(swarms.members[swarm_id])) > 0:
            if pool.excess < missing:
                return
            swarms.append_member(swarm_id, take_from_pool(swarms, threshold, draws))


def take_from_pool(swarms: "Swarms", threshold: int, draws: Iterator[int]) -> bytes:
    """Draw one member of the swarms with more than `threshold` members, and take it out.

    The caller makes sure that there is one. `docs/spec/swarms.md`, "Taking from the pool".
    """
    pool = swarms.pool_above(threshold)
    swarm_id, index = pool.find(uniform(draws, pool.size))
    return swarms.take_member(swarm_id, index)


def create_swarms(swarms: "Swarms", draws: Iterator[int]) -> None:
    """Make new swarms out of the excess, as long as no swarm starves and there is enough.

    `docs/spec/swarms.md`, "Creating swarms".
    """
    # Members are only taken from swarms above 5, so that no swarm begins to starve in the loop.
    while swarms.starving == 0 and swarms.excess >= NEW_SIZE + EXCESS_MARGIN * len(swarms.members):
        members = [take_from_pool(swarms, MIN_SIZE, draws) for _ in range(NEW_SIZE)]
        swarms.add_swarm(split_largest_gap(swarms.free_gaps()), members)


def compute_gaps(ids: Sequence[int]) -> list[tuple[int, int]]:
    """The gaps between ids on the ring, as a heap of (−length, id to the left of the gap).

    `ids` is ascending and not empty. The smallest entry is the longest gap, and among equals the
    one with the smallest left id: the wrapping gap, whose left id is the largest of all, loses
    every tie. `docs/spec/swarms.md`, "Gaps between ids".
    """
    gaps = [(left - right, left) for left, right in pairwise(ids)]
    gaps.append((ids[-1] - ids[0] - RING_SIZE, ids[-1]))
    heapify(gaps)
    return gaps


def split_largest_gap(gaps: list[tuple[int, int]]) -> int:
    """A new id in the middle of the largest gap, which leaves two gaps in its place.

    `docs/spec/swarms.md`, "New ids".
    """
    negative_length, left = gaps[0]
    length = -negative_length
    half = length // 2
    new_id = (left + half) % RING_SIZE
    heapreplace(gaps, (-half, left))
    heappush(gaps, (half - length, new_id))
    return new_id


def dissolve_starving_swarms(swarms: "Swarms", draws: Iterator[int]) -> None:
    """Dissolve the swarms that still starve, lowest id first, but never the last swarm.

    `docs/spec/swarms.md`, "Dissolving swarms".
    """
    if not swarms.starving:
        return
    # The lowest starving id only ever rises, since no swarm begins to starve: one pass is enough.
    for swarm_id in sorted(swarms.members):
        if len(swarms.members) == 1:
            return
        if len(swarms.members[swarm_id]) < MIN_SIZE:
            assign_nodes(swarms, swarms.remove_swarm(swarm_id), DISSOLVE_PERCENTILE, draws)


class Swarms:
    """The swarms while they are being reassigned, counted by size.

    A swarm is asked for by its rank in the order of (size, id), so the ids are kept in one
    ascending list for each size, and a change of size moves one id from one list to another.
    Sizes that occur are few: n nodes cannot make swarms of more than about √(2n) different sizes.

    The pool and the gaps are made when first asked for, since most epochs make no swarm and need
    neither, and are dropped when a swarm is dissolved. That is cheap: no swarm is made while one
    starves, so that between one dissolution and the next nobody asks for them.
    """

    members: dict[int, list[bytes]]
    """Members of each swarm, by id, in their order."""

    ids_of_size: dict[int, list[int]]
    """Ids of the swarms of each size that occurs, ascending."""

    sizes: list[int]
    """Sizes that occur, ascending."""

    starving: int
    """Number of swarms with fewer than 5 members."""

    excess: int
    """Members beyond 5, summed over all swarms."""

    def __init__(self, members: dict[int, list[bytes]]) -> None:
        """Start from the members of each swarm, by id; the mapping is taken over, not copied."""
        self.members = members
        self.ids_of_size = {}
        for swarm_id in sorted(members):
            self.ids_of_size.setdefault(len(members[swarm_id]), []).append(swarm_id)
        self.sizes = sorted(self.ids_of_size)
        self.starving = sum(len(node_keys) < MIN_SIZE for node_keys in members.values())
        self.excess = sum(excess_of(len(node_keys)) for node_keys in members.values())
        self._pool: Pool | None = None
        self._gaps: list[tuple[int, int]] | None = None

    def find_by_rank(self, rank: int) -> int:
        """The id at a rank (from 0) in the order of (size, id)."""
        for size in self.sizes:
            ids = self.ids_of_size[size]
            if rank < len(ids):
                return ids[rank]
            rank -= len(ids)
        raise IndexError("there are not that many swarms")

    def pool_above(self, threshold: int) -> "Pool":
        """The members of swarms with more than `threshold` members, kept up to date from here."""
        if self._pool is None or self._pool.threshold != threshold:
            self._pool = Pool(self.members, threshold)
        return self._pool

    def free_gaps(self) -> list[tuple[int, int]]:
        """The gaps between the ids there are. Whoever splits one adds a swarm with the new id."""
        if self._gaps is None:
            self._gaps = compute_gaps(sorted(self.members))
        return self._gaps

    def append_member(self, swarm_id: int, node: bytes) -> None:
        """Add a node behind the members of a swarm."""
        members = self.members[swarm_id]
        self._uncount(swarm_id, len(members))
        members.append(node)
        self._count(swarm_id, len(members))
        if self._pool is not None:
            self._pool.resize(swarm_id, len(members))

    def take_member(self, swarm_id: int, index: int) -> bytes:
        """Take out the member at an index (from 0) of a swarm."""
        members = self.members[swarm_id]
        self._uncount(swarm_id, len(members))
        node = members.pop(index)
        self._count(swarm_id, len(members))
        if self._pool is not None:
            self._pool.resize(swarm_id, len(members))
        return node

    def add_swarm(self, swarm_id: int, members: list[bytes]) -> None:
        """Add a swarm whose id is not in use."""
        self.members[swarm_id] = members
        self._count(swarm_id, len(members))
        if self._pool is not None:
            self._pool.insert(swarm_id, len(members))

    def remove_swarm(self, swarm_id: int) -> list[bytes]:
        """Remove a swarm and return the members that it had, in their order."""
        members = self.members.pop(swarm_id)
        self._uncount(swarm_id, len(members))
        self._pool = None
        self._gaps = None
        return members

    def _count(self, swarm_id: int, size: int) -> None:
        if size not in self.ids_of_size:
            self.ids_of_size[size] = []
            insort(self.sizes, size)
        insort(self.ids_of_size[size], swarm_id)
        if size < MIN_SIZE:
            self.starving += 1
        self.excess += excess_of(size)

    def _uncount(self, swarm_id: int, size: int) -> None:
        ids = self.ids_of_size[size]
        del ids[bisect_left(ids, swarm_id)]
        if not ids:
            del self.ids_of_size[size]
            self.sizes.remove(size)
        if size < MIN_SIZE:
            self.starving -= 1
        self.excess -= excess_of(size)


class Pool:
    """The members of all swarms above a size, in ascending id, found by their place.

    The swarms stand in ascending id in rows of at most 2 · ROW_LENGTH. A row has the first id
    that belongs to it, the count that each of its swarms puts into the pool (all its members, or
    0 if the swarm is too small), and the sum of these. A place is found by skipping rows, then
    swarms. A new swarm goes into the row that its id belongs to, and a row that has become too
    long is cut in two, so that it does not matter where on the ring new ids fall.
    """

    threshold: int
    """Swarms with more members than this are in the pool; at least 5."""

    size: int
    """Members in the pool."""

    excess: int
    """Members beyond 5, summed over the swarms in the pool."""

    def __init__(self, members: Mapping[int, Sequence[bytes]], threshold: int) -> None:
        """Take the sizes from the members of each swarm; there is at least one swarm."""
        self.threshold = threshold
        ids = sorted(members)
        counts = [self._counted(len(members[swarm_id])) for swarm_id in ids]
        starts = range(0, len(ids), ROW_LENGTH)
        self._rows = [ids[at : at + ROW_LENGTH] for at in starts]
        self._counts = [counts[at : at + ROW_LENGTH] for at in starts]
        self._totals = [sum(row) for row in self._counts]
        # The first row takes every id below the second row's first.
        self._first_ids = [0, *(row[0] for row in self._rows[1:])]
        self.size = sum(counts)
        self.excess = sum(excess_of(count) for count in counts)

    def find(self, place: int) -> tuple[int, int]:
        """The swarm id, and the index among its members, of the member at a place (from 0)."""
        row = 0
        while place >= self._totals[row]:
            place -= self._totals[row]
            row += 1
        column = 0
        while place >= self._counts[row][column]:
            place -= self._counts[row][column]
            column += 1
        return self._rows[row][column], place

    def resize(self, swarm_id: int, size: int) -> None:
        """Take note of the size that a swarm has now."""
        row = bisect_right(self._first_ids, swarm_id) - 1
        column = bisect_left(self._rows[row], swarm_id)
        before = self._counts[row][column]
        after = self._counted(size)
        self._counts[row][column] = after
        self._totals[row] += after - before
        self.size += after - before
        self.excess += excess_of(after) - excess_of(before)

    def insert(self, swarm_id: int, size: int) -> None:
        """Add a swarm whose id is not in use."""
        row = bisect_right(self._first_ids, swarm_id) - 1
        column = bisect_left(self._rows[row], swarm_id)
        self._rows[row].insert(column, swarm_id)
        self._counts[row].insert(column, 0)
        if len(self._rows[row]) > 2 * ROW_LENGTH:
            self._cut(row)
        self.resize(swarm_id, size)

    def _cut(self, row: int) -> None:
        ids, counts = self._rows[row], self._counts[row]
        self._rows[row : row + 1] = [ids[:ROW_LENGTH], ids[ROW_LENGTH:]]
        self._counts[row : row + 1] = [counts[:ROW_LENGTH], counts[ROW_LENGTH:]]
        self._totals[row : row + 1] = [sum(counts[:ROW_LENGTH]), sum(counts[ROW_LENGTH:])]
        self._first_ids.insert(row + 1, ids[ROW_LENGTH])

    def _counted(self, size: int) -> int:
        return size if size > self.threshold else 0


def excess_of(size: int) -> int:
    """Members beyond 5 in a swarm of a size."""
    return max(0, size - MIN_SIZE)


def position_of(account_key32: bytes) -> int:
    """The place of an account on the ring, 0 … 2^64−1.

    `account_key32` is the account id without its prefix byte: 32 bytes.
    `docs/spec/swarms.md`, "Position of an account".
    """
    if len(account_key32) != 32:
        raise ValueError("an account's key has 32 bytes, without the prefix of its id")
    position = 0
    for at in range(0, 32, 8):
        position ^= int.from_bytes(account_key32[at : at + 8], "big")
    return position


def nearest_swarm(swarm_ids: Sequence[int], position: int) -> int:
    """The id of the swarm that serves the accounts at a position (0 … 2^64−1).

    `swarm_ids` is ascending, without repeats. UNASSIGNED if there is none.
    `docs/spec/swarms.md`, "Nearest swarm".
    """
    if not swarm_ids:
        return UNASSIGNED
    at = bisect_left(swarm_ids, position)
    right = swarm_ids[at] if at < len(swarm_ids) else swarm_ids[0]
    left = swarm_ids[at - 1]
    to_right = (right - position) % U64_COUNT
    to_left = (position - left) % U64_COUNT
    return right if to_right < to_left else left
