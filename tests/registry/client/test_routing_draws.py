"""Routing, whatever the list: how likely each path is, that none is missed, and what it costs."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations, permutations
from math import sqrt
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.messages.entries import Entry
from registry.client import routing
from registry.client.routing import HOPS, MAX_HOPS, NoPath, RoutingTable, are_apart
from tests.registry.client.factory import digest
from tests.registry.client.places import Place, apart, keys, node, nodes, start, strike_out

ROOT: Final = Path(__file__).parents[3]

# --- chance ---------------------------------------------------------------------------------------


def chi_squared(counts: Counter[Any], outcomes: int) -> float:
    """How far counts are from equal ones; about `outcomes` − 1 if equal ones were drawn from."""
    expected = counts.total() / outcomes
    seen = sum((count - expected) ** 2 / expected for count in counts.values())
    return seen + (outcomes - len(counts)) * expected


def bound(outcomes: int) -> float:
    """Five standard deviations above what is expected."""
    return outcomes - 1 + 5 * sqrt(2 * (outcomes - 1))


CROWDED = nodes((0, None), (0, 1), (0, 2), (1, None), (2, 1), (3, 3), (None, 2), (None, 3))


@pytest.mark.parametrize("guard", [None, CROWDED[1].key], ids=["no guard", "a guard"])
def test_every_path_that_is_allowed_is_equally_likely(guard: bytes | None) -> None:
    allowed = [
        path
        for path in permutations(CROWDED, 3)
        if are_apart(path) and guard in (None, path[0].key)
    ]
    table = start(CROWDED)
    counts = Counter(tuple(table.path(guard=guard)) for _ in range(60 * len(allowed)))
    assert set(counts) <= set(allowed)
    assert chi_squared(counts, len(allowed)) < bound(len(allowed))


def test_where_no_networks_are_shared_every_node_is_equally_likely_at_every_hop() -> None:
    entries = apart(40)
    table = start(entries)
    paths = [table.path() for _ in range(4000)]
    for hop in range(HOPS):
        counts = Counter(path[hop].key for path in paths)
        assert chi_squared(counts, len(entries)) < bound(len(entries))


def test_the_bound_finds_a_table_that_prefers_some() -> None:
    fair = Counter(dict.fromkeys(range(40), 100))
    assert chi_squared(fair, 40) == 0
    assert chi_squared(fair + Counter(dict.fromkeys(range(20), 60)), 40) > bound(40)
    assert chi_squared(fair - Counter({7: 100}), 40) > bound(40)


def test_the_members_of_a_swarm_come_in_any_order() -> None:
    table = start(apart(4))
    counts = Counter(tuple(keys(table.swarm_of(bytes(33)))) for _ in range(2400))
    assert chi_squared(counts, 24) < bound(24)


def test_randomness_is_that_of_the_system_unless_given() -> None:
    entries = apart(40)
    tables = [RoutingTable(entries), RoutingTable(entries)]
    one, other = ([table.path() for _ in range(20)] for table in tables)
    assert one != other
    assert start(entries).path() == start(entries).path()


# --- whatever the list ----------------------------------------------------------------------------

PLACES = st.tuples(
    st.none() | st.integers(0, 3),
    st.none() | st.integers(0, 3),
).filter(lambda place: place != (None, None))


@given(
    st.lists(st.tuples(PLACES, st.integers(0, 5)), max_size=9),
    st.integers(1, MAX_HOPS),
    st.booleans(),
    st.sampled_from([0, routing.TRIES]),
    st.integers(0, 2**32),
)
def test_a_path_is_found_exactly_if_there_is_one_and_by_the_fewest_strikes(
    listed: list[tuple[Place, int]], hops: int, has_own: bool, tries: int, seed: int
) -> None:
    entries = nodes(*(place for place, _ in listed))
    table = start(entries, seed, own_key=entries[0].key if has_own and entries else None)
    for entry, (_, times) in zip(entries, listed, strict=True):
        strike_out(table, entry, times=times)
    others = entries[1:] if has_own else entries
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routing, "TRIES", tries)  # none: every path has to be searched for
        for guard in (None, *(e.key for e in others if not table.is_avoided(e.key))):
            worst = find_least_bad(table, others, hops, guard)
            if worst is None:
                with pytest.raises(NoPath):
                    table.path(hops, guard)
                continue
            path = table.path(hops, guard)
            assert len(path) == hops
            assert set(path) <= set(others)
            assert are_apart(path)
            assert guard in (None, path[0].key)
            assert max(badness(table, entry) for entry in path) == worst


def badness(table: RoutingTable, entry: Entry) -> int:
    return table.strikes_of(entry.key) if table.is_avoided(entry.key) else 0


def find_least_bad(
    table: RoutingTable, entries: Sequence[Entry], hops: int, guard: bytes | None
) -> int | None:
    """The strikes of the worst node on the best path, by trying all of them; None without any."""
    return min(
        (
            max(badness(table, entry) for entry in some)
            for some in combinations(entries, hops)
            if are_apart(some) and (guard is None or guard in keys(some))
        ),
        default=None,
    )


class Watching(Random):
    """Keeps what was last drawn from, and counts what the generator gave."""

    population: Sequence[Entry] = ()
    draws = 0

    def sample(self, population: Any, k: int, *, counts: Any = None) -> list[Any]:
        self.population = population
        return super().sample(population, k, counts=counts)

    def getrandbits(self, k: int, /) -> int:
        self.draws += 1
        return super().getrandbits(k)


@given(st.lists(st.tuples(st.sampled_from(["strike", "forgive", "update"]), st.integers(0, 7))))
def test_paths_are_drawn_from_exactly_those_that_are_not_avoided(
    acts: list[tuple[str, int]],
) -> None:
    entries = apart(8)
    listed, strikes = list(entries), Counter[bytes]()
    rng = Watching(1)
    table = RoutingTable(entries, max_strikes=2, rng=rng)
    for act, number in acts:
        key = entries[number].key
        if act == "update":
            listed = [entry for entry in entries if entry.key != key]
            strikes[key] = 0
            table.update(listed)
        elif act == "forgive":
            strikes[key] = 0
            table.forgive(key)
        elif key in keys(listed):
            strikes[key] += 1
            table.strike(key)
        liked = [entry for entry in listed if strikes[entry.key] < 2]
        assert [table.strikes_of(entry.key) for entry in listed] == [
            strikes[entry.key] for entry in listed
        ]
        if liked:
            table.path(1)
            assert sorted(rng.population) == sorted(liked)


# --- what it costs --------------------------------------------------------------------------------


def count_lines(act: Callable[[], object]) -> int:
    """How many lines of the module run: what a scan in Python would show in."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename != routing.__file__:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


def large(count: int) -> Iterator[Entry]:
    """Nodes of which every two share a /24."""
    for number in range(count):
        yield node(number % 250, (number % (count // 2), None))._replace(key=digest(f"n {number}"))


def test_a_path_costs_the_same_from_a_hundred_nodes_and_from_ten_thousand() -> None:
    costs = []
    for size in (100, 10_000):
        rng = Watching(1)
        entries = list(large(size))
        table = RoutingTable(entries, rng=rng)
        table.path()
        rng.draws = 0
        guarded = partial(table.path, guard=entries[7].key)
        lines = [count_lines(act) for act in (table.path, guarded) for _ in range(100)]
        costs.append((max(lines), rng.draws / 200))
    for lines_at_most, draws in costs:
        assert lines_at_most < 100
        assert 2 <= draws < 3 * HOPS


def test_a_strike_and_forgiving_cost_the_same_whatever_the_size() -> None:
    entries = list(large(10_000))
    table = start(entries, max_strikes=1)
    assert count_lines(lambda: table.strike(entries[3].key)) < 20
    assert count_lines(lambda: table.forgive(entries[3].key)) < 20
    assert not table.is_avoided(entries[3].key)


def test_searching_tries_few_nodes_however_many_there_are() -> None:
    hubs: list[Place] = [(0, number) for number in range(1, 2000)]
    hubs += [(number, 0) for number in range(1, 2000)]
    entries = [node(n % 250, place)._replace(key=digest(f"n {n}")) for n, place in enumerate(hubs)]
    table = start(entries)

    def search() -> None:
        with pytest.raises(NoPath):
            table.path(3)

    assert count_lines(search) < 30 * len(entries)


def test_the_table_loads_neither_files_nor_the_network() -> None:
    code = (
        "import sys, registry.client.routing;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert not loaded & {"httpx2", "socket", "ssl", "numpy", "fcntl", "asyncio"}
