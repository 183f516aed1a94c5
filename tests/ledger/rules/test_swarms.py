"""Swarms: vectors, agreement with the slow reference, and the properties that must hold.

The vectors in `tests/vectors/` were made with the C++ program of the network whose rules these
are, with a stable sort in place of its unstable one.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.rules import swarms
from ledger.rules.mt19937_64 import initial_state, outputs, temper, twist
from ledger.rules.swarms import MAX_ID, UNASSIGNED, nearest_swarm, position_of, reassign
from tests.ledger.rules import swarms_reference as reference

ROOT = Path(__file__).resolve().parents[3]
U64 = st.integers(0, 2**64 - 1)
IDS = st.one_of(st.integers(0, MAX_ID), st.integers(0, 50), st.integers(MAX_ID - 50, MAX_ID))
"""Anywhere on the ring, and crowded on both sides of the place where it closes."""


def load(name: str) -> dict[str, Any]:
    contents: dict[str, Any] = json.loads((ROOT / "tests" / "vectors" / name).read_text())
    return contents


def node_key(number: int) -> bytes:
    """A key whose place in key order says nothing about its number."""
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


def start_with(sizes: dict[int, int], newcomers: int = 0) -> dict[bytes, int]:
    """Swarms of given sizes, by id, and newcomers."""
    homes = [swarm_id for swarm_id, size in sizes.items() for _ in range(size)]
    homes += [UNASSIGNED] * newcomers
    return {node_key(number): home for number, home in enumerate(homes)}


def sizes_by_id(swarm_of: dict[bytes, int]) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for swarm_id in swarm_of.values():
        sizes[swarm_id] = sizes.get(swarm_id, 0) + 1
    return sizes


def digest(swarm_of: dict[bytes, int]) -> str:
    lines = [f"{key.hex()} {swarm_of[key]}\n" for key in sorted(swarm_of)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def reassign_checked(swarm_of: dict[bytes, int], seed: int) -> dict[bytes, int]:
    """Reassign, and hold the answer to the reference and to what is true of every answer."""
    before = dict(swarm_of)
    after = reassign(swarm_of, seed)
    assert after == reference.reassign(swarm_of, seed)
    assert swarm_of == before, "the input was changed"
    assert list(after) == sorted(before), "every node once, in key order"
    sizes = sizes_by_id(after)
    assert all(0 <= swarm_id <= MAX_ID for swarm_id in sizes)
    assert len(sizes) <= 1 or min(sizes.values()) >= 5, "a swarm was left starving"
    return after


# --- the generator -----------------------------------------------------------------------------


def test_generator_gives_the_ten_thousandth_output_that_every_mt19937_64_gives() -> None:
    assert next(islice(outputs(5489), 9_999, None)) == 9981545732273789042


def test_generator_starts_as_published_for_the_default_seed() -> None:
    assert list(islice(outputs(5489), 3)) == [
        14514284786278117030,
        4620546740167642908,
        13109570281517897720,
    ]


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_generator_outputs_are_64_bit_over_several_states(seed: int) -> None:
    assert all(0 <= word < 2**64 for word in islice(outputs(seed), 1_000))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range_is_refused_even_where_nothing_is_drawn(seed: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        reassign({}, seed)


# --- uniform choice ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draws", "count", "expected"),
    [
        pytest.param([0], 3, 0, id="lowest draw"),
        pytest.param([2**64 - 2], 3, 2, id="highest draw that counts"),
        pytest.param([2**64 - 1, 5], 3, 0, id="draw at the limit is thrown away"),
        pytest.param([2**64 - 1, 2**64 - 2, 2**64 - 6, 2**64 - 7], 10, 9, id="thrice"),
        pytest.param([(2**64 - 1) // 3], 3, 1, id="first draw of the second share"),
        pytest.param([7], 1, 0, id="one choice still costs a draw"),
        pytest.param([2**64 - 1, 9], 1, 0, id="one choice throws the largest draw away"),
        pytest.param([2**64 - 2], 2**64 - 1, 2**64 - 2, id="largest count"),
    ],
)
def test_uniform(draws: list[int], count: int, expected: int) -> None:
    left: Iterator[int] = iter(draws)
    assert swarms.uniform(left, count) == expected
    assert list(left) == []


# --- vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scenario", load("swarm_assignment.json")["scenarios"], ids=lambda scenario: scenario["name"]
)
def test_assignment_vectors(scenario: dict[str, Any]) -> None:
    swarm_of: dict[bytes, int] = {}
    for number, round_ in enumerate(scenario["rounds"]):
        for key in round_["remove"]:
            del swarm_of[bytes.fromhex(key)]
        swarm_of |= {bytes.fromhex(key): UNASSIGNED for key in round_["add"]}
        swarm_of = reassign_checked(swarm_of, int(round_["seed"]))
        assert len(swarm_of) == round_["nodes"], number
        assert len(sizes_by_id(swarm_of)) == round_["swarms"], number
        assert digest(swarm_of) == round_["digest"], number
        for key, swarm_id in round_.get("assignment", {}).items():
            assert swarm_of[bytes.fromhex(key)] == int(swarm_id), number


@pytest.mark.parametrize(("key", "position"), load("swarm_of_user.json")["positions"])
def test_position_vectors(key: str, position: str) -> None:
    assert position_of(bytes.fromhex(key)) == int(position)


@pytest.mark.parametrize(
    ("swarm_ids", "position", "chosen"),
    [
        ([int(swarm_id) for swarm_id in choice["swarms"]], int(position), int(chosen))
        for choice in load("swarm_of_user.json")["choices"]
        for position, chosen in choice["picks"]
    ],
)
def test_nearest_swarm_vectors(swarm_ids: list[int], position: int, chosen: int) -> None:
    assert nearest_swarm(swarm_ids, position) == chosen
    assert reference.nearest(swarm_ids, position) == chosen


# --- the examples of the specification --------------------------------------------------------


def spec_examples() -> list[dict[str, Any]]:
    page = (ROOT / "docs" / "spec" / "swarms.md").read_text()
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]


def test_the_specification_has_its_two_examples() -> None:
    assert len(spec_examples()) == 2


@pytest.mark.parametrize("example", spec_examples())
def test_example_of_the_specification(
    example: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = swarms.uniform
    draws: list[list[int]] = []

    def noting_uniform(outputs_: Iterator[int], count: int) -> int:
        draws.append([count, choose(outputs_, count)])
        return draws[-1][1]

    monkeypatch.setattr(swarms, "uniform", noting_uniform)
    start = {
        bytes.fromhex(key): int(swarm_id)
        for swarm_id, keys in example["swarms"].items()
        for key in keys.split()
    }
    start |= {bytes.fromhex(key): UNASSIGNED for key in example["newcomers"].split()}
    result = {
        bytes.fromhex(key): int(swarm_id)
        for swarm_id, keys in example["result"].items()
        for key in keys.split()
    }
    assert reassign(start, int(example["seed"])) == result
    assert draws == example["draws"]


def test_numbers_quoted_in_the_specification() -> None:
    seed = int.from_bytes(bytes.fromhex("0102030405060708"), "little")
    assert seed == 578437695752307201
    state = initial_state(seed)
    assert state[:3] == [0x0807060504030201, 0x70161464A91AD92E, 0x9961E3F367D17E45]
    twist(state)
    assert state[:2] == [0xFFD7C12079C5DE22, 0x049EE35E08D31250]
    assert temper(state[0]) == 14224196001581724652
    assert list(islice(outputs(seed), 3)) == [
        14224196001581724652,
        6109900705975016279,
        8252224008561694336,
    ]
    gaps = swarms.compute_gaps([100, 200, 300])
    assert sorted(gaps) == [(-18446744073709551415, 300), (-100, 100), (-100, 200)]
    assert [swarms.split_largest_gap(gaps) for _ in range(3)] == [
        9223372036854776007,
        13835058055282163861,
        4611686018427388153,
    ]
    served = [nearest_swarm([100, 200, 300], at) for at in (150, 151, 2**63, 2**64 - 1)]
    assert served == [100, 200, 300, 100]


# --- the reference -----------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    sizes=st.dictionaries(IDS, st.integers(1, 13), max_size=30),
    newcomers=st.integers(0, 30),
    seed=U64,
)
def test_any_start_agrees_with_the_reference(
    sizes: dict[int, int], newcomers: int, seed: int
) -> None:
    reassign_checked(start_with(sizes, newcomers), seed)


@settings(max_examples=60, deadline=None)
@given(
    rounds=st.lists(st.tuples(U64, st.integers(0, 60), st.integers(0, 100)), max_size=8),
    choices=st.randoms(use_true_random=False),
)
def test_churn_agrees_with_the_reference(
    rounds: list[tuple[int, int, int]], choices: Random
) -> None:
    swarm_of: dict[bytes, int] = {}
    registered = 0
    for seed, newcomers, percent_leaving in rounds:
        for key in choices.sample(sorted(swarm_of), len(swarm_of) * percent_leaving // 100):
            del swarm_of[key]
        for _ in range(newcomers):
            swarm_of[node_key(registered)] = UNASSIGNED
            registered += 1
        swarm_of = reassign_checked(swarm_of, seed)


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
@pytest.mark.parametrize(
    ("start", "swarms_after"),
    [
        pytest.param(start_with({}), 0, id="nobody"),
        pytest.param(start_with({}, 1), 1, id="first node"),
        pytest.param(start_with({}, 700), 100, id="all at once"),
        pytest.param(start_with({9: 3}), 1, id="last swarm starves and stays"),
        pytest.param(start_with({9: 1, 10: 1}), 1, id="two swarms of one node"),
        pytest.param(start_with({1: 4, 2: 4, 3: 4}), 2, id="nothing to steal, one is dissolved"),
        pytest.param(start_with({1: 1, 2: 2, 3: 3, 4: 4}), 2, id="dissolved until two are left"),
        pytest.param(start_with({1: 4, 2: 7, 3: 7}), 3, id="one stolen member is enough"),
        pytest.param(start_with({1: 4, 2: 9, 3: 9, 4: 9, 5: 6}), 5, id="threshold above 5"),
        pytest.param(start_with({1: 3, 2: 4, 3: 6, 4: 6}), 3, id="excess ends while stealing"),
        pytest.param(start_with({1: 50}), 7, id="giant swarm breaks up"),
        pytest.param(start_with({1: 2, 2: 100}), 14, id="starving beside a giant"),
        pytest.param(start_with(dict.fromkeys(range(40), 7)), 40, id="40 equal swarms"),
        pytest.param(start_with(dict.fromkeys(range(40), 7), 50), 47, id="40 equal, 50 newcomers"),
        pytest.param(start_with(dict.fromkeys(range(40), 4)), 32, id="40 starve"),
        pytest.param(
            start_with(dict.fromkeys(range(102), 5) | {0: 3, 1: 4}), 101, id="one smallest of 101"
        ),
        pytest.param(start_with({i: 1 + i % 11 for i in range(60)}), 58, id="many sizes"),
        pytest.param(start_with({MAX_ID: 20}), 2, id="new id past the end of the ring"),
        pytest.param(start_with(dict.fromkeys(range(300), 6), 900), 385, id="rows of the pool cut"),
    ],
)
def test_cases_agree_with_the_reference(
    start: dict[bytes, int], swarms_after: int, seed: int
) -> None:
    assert len(sizes_by_id(reassign_checked(start, seed))) == swarms_after


@given(ids=st.sets(IDS, min_size=1, max_size=20), count=st.integers(1, 40))
def test_new_ids_agree_with_the_reference(ids: set[int], count: int) -> None:
    known = sorted(ids)
    gaps = swarms.compute_gaps(known)
    for _ in range(count):
        new_id = swarms.split_largest_gap(gaps)
        assert new_id == reference.new_id(known)
        assert new_id not in known
        known = sorted([*known, new_id])


@given(ids=st.sets(IDS | st.just(UNASSIGNED - 1), min_size=1), position=IDS | U64)
def test_nearest_swarm_agrees_with_the_reference(ids: set[int], position: int) -> None:
    assert nearest_swarm(sorted(ids), position) == reference.nearest(sorted(ids), position)


# --- the pool and the gaps while swarms come and go --------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    crowded=st.booleans(),
    start=st.sampled_from([1, 20, 300]),
    changes=st.sampled_from([0, 100, 600, 1500]),
    threshold=st.integers(5, 9),
    choices=st.randoms(use_true_random=False),
)
def test_pool_finds_what_one_long_list_finds(
    crowded: bool, start: int, changes: int, threshold: int, choices: Random
) -> None:
    def any_id() -> int:
        return choices.randrange(10_000) if crowded else choices.randrange(MAX_ID + 1)

    known = [any_id() for _ in range(start)]
    sizes = {swarm_id: choices.randrange(1, 13) for swarm_id in known}
    pool = swarms.Pool({id_: [b""] * size for id_, size in sizes.items()}, threshold)
    for _ in range(changes):
        swarm_id = choices.choice([any_id(), choices.choice(known)])
        size = choices.randrange(1, 13)
        if swarm_id in sizes:
            pool.resize(swarm_id, size)
        else:
            pool.insert(swarm_id, size)
            known.append(swarm_id)
        sizes[swarm_id] = size

    rich = {id_: sizes[id_] for id_ in sorted(sizes) if sizes[id_] > threshold}
    places = [(id_, index) for id_, size in rich.items() for index in range(size)]
    assert pool.size == len(places)
    assert pool.excess == sum(size - 5 for size in rich.values())
    assert [pool.find(place) for place in range(pool.size)] == places


def test_pool_and_gaps_know_when_a_swarm_is_gone() -> None:
    group = swarms.Swarms({10: [b""] * 6, 20: [b""] * 8, 30: [b""] * 7})
    assert group.pool_above(5).size == 21
    assert len(group.free_gaps()) == 3
    group.remove_swarm(20)
    assert group.pool_above(5).size == 13
    assert group.free_gaps() == swarms.compute_gaps([10, 30])
    assert (group.sizes, group.starving, group.excess) == ([6, 7], 0, 3)


# --- properties --------------------------------------------------------------------------------


def test_registering_one_by_one_makes_a_swarm_for_every_seven_nodes() -> None:
    swarm_of: dict[bytes, int] = {}
    for count in range(1, 300):
        swarm_of[node_key(count)] = UNASSIGNED
        swarm_of = reassign(swarm_of, count * 0x9E3779B97F4A7C15 % 2**64)
        assert len(sizes_by_id(swarm_of)) == max(1, 1 + (count - 7) // 7), count


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.dictionaries(IDS, st.integers(1, 13), max_size=20),
    newcomers=st.integers(0, 30),
    seeds=st.tuples(U64, U64),
    leaving=st.integers(0, 60),
    choices=st.randoms(use_true_random=False),
)
def test_departures_that_leave_five_in_every_swarm_move_nobody(
    sizes: dict[int, int], newcomers: int, seeds: tuple[int, int], leaving: int, choices: Random
) -> None:
    swarm_of = reassign(start_with(sizes, newcomers), seeds[0])
    left = sizes_by_id(swarm_of)
    for key in choices.sample(sorted(swarm_of), min(leaving, len(swarm_of))):
        if left[swarm_of[key]] > 5:
            left[swarm_of[key]] -= 1
            del swarm_of[key]
    assert reassign_checked(swarm_of, seeds[1]) == swarm_of


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.dictionaries(IDS, st.integers(5, 7), min_size=1, max_size=30),
    seed=U64,
)
def test_newcomer_without_excess_for_a_swarm_moves_nobody_else(
    sizes: dict[int, int], seed: int
) -> None:
    before = start_with(sizes)
    newcomer = node_key(1_000_000)
    after = reassign_checked(before | {newcomer: UNASSIGNED}, seed)
    if len(sizes_by_id(after)) == len(sizes):
        assert {key: after[key] for key in before} == before


@given(sizes=st.dictionaries(IDS, st.integers(1, 9), max_size=12), seed=U64, order=st.randoms())
def test_order_of_the_input_has_no_effect(sizes: dict[int, int], seed: int, order: Random) -> None:
    start = start_with(sizes, newcomers=9)
    keys = sorted(start)
    order.shuffle(keys)
    shuffled = {key: start[key] for key in keys}
    assert list(reassign(shuffled, seed).items()) == list(reassign(start, seed).items())


# --- misuse, and the edges of the user mapping -------------------------------------------------


@pytest.mark.parametrize("swarm_id", [-1, 2**64])
def test_swarm_id_out_of_range_is_refused(swarm_id: int) -> None:
    with pytest.raises(ValueError, match="swarm id"):
        reassign({b"node": swarm_id}, 0)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_account_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        position_of(bytes(length))


def test_rank_beyond_the_last_swarm_is_refused() -> None:
    with pytest.raises(IndexError):
        swarms.Swarms({0: [b"node"]}).find_by_rank(1)


@given(position=U64)
def test_without_swarms_nobody_serves_an_account(position: int) -> None:
    assert nearest_swarm([], position) == UNASSIGNED


@given(swarm_id=IDS, position=U64)
def test_the_only_swarm_serves_every_account(swarm_id: int, position: int) -> None:
    assert nearest_swarm([swarm_id], position) == swarm_id
