"""Who tests whom: the bytes of a roster, and draws from it."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.rules import quorums
from ledger.rules.quorums import Members, draw_testers, has_quorum, pack_members, unpack_members

SEED = bytes(range(32))


def key(number: int) -> bytes:
    """A node key, ascending with its number."""
    return number.to_bytes(32, "big")


def person(number: int) -> bytes:
    """An operator."""
    return bytes([200 + number]) * 32


def roster(*operators: int) -> Members:
    """A roster of as many nodes, numbered from 0, with these operators."""
    rows = [(key(number), person(operator)) for number, operator in enumerate(operators)]
    return unpack_members(pack_members(rows))


# ---- the bytes of a roster ----


def test_a_roster_is_key_and_operator_one_after_the_other() -> None:
    assert pack_members([(key(1), person(0)), (key(2), person(1))]) == (
        key(1) + person(0) + key(2) + person(1)
    )
    assert pack_members([]) == b""


def test_what_was_packed_is_taken_apart() -> None:
    assert roster(0, 1, 0) == Members(
        (key(0), key(1), key(2)), (person(0), person(1), person(0)), {person(0): 2, person(1): 1}
    )
    assert roster() == Members((), (), {})


# ---- whether there is a quorum ----


@pytest.mark.parametrize(
    ("operators", "operator", "testers", "is_there"),
    [
        # everybody is somebody else's
        ((1, 1, 1, 1), 0, 4, True),
        ((1, 1, 1, 1), 0, 5, False),
        # own nodes do not count
        ((0, 1, 1, 1), 0, 3, True),
        ((0, 1, 1, 1), 0, 4, False),
        ((0, 0, 0, 0), 0, 1, False),
        ((0, 0, 0, 0), 1, 4, True),
        ((), 0, 1, False),
        ((1,), 0, 1, True),
    ],
)
def test_a_quorum_is_of_other_operators(
    operators: tuple[int, ...], operator: int, testers: int, is_there: bool
) -> None:
    members = roster(*operators)
    assert has_quorum(members, person(operator), testers) is is_there
    drawn = draw_testers(members, SEED, key(9), person(operator), testers)
    assert len(drawn) == (testers if is_there else 0)


# ---- who is drawn ----


def draw_slowly(
    members: Members, seed: bytes, node: bytes, operator: bytes, testers: int
) -> tuple[bytes, ...]:
    """The rule of the specification, step by step."""
    count = len(members.keys)
    drawn: list[int] = []
    for counter in range(100_000):
        if len(drawn) == testers:
            break
        message = b"waypost quorum".ljust(32, b"\0") + seed + node + counter.to_bytes(4, "big")
        value = int.from_bytes(sha256(message).digest()[:8], "big")
        index = value % count
        is_own = members.operators[index] == operator
        if value < 2**64 - 2**64 % count and index not in drawn and not is_own:
            drawn.append(index)
    return tuple(members.keys[index] for index in drawn)


def test_testers_by_hand() -> None:
    """Ten nodes; node 3, which is tested, has the operator of node 4."""
    members = roster(0, 1, 2, 3, 3, 5, 6, 7, 8, 9)
    start = b"waypost quorum" + bytes(18) + SEED + key(3)
    hashes = [sha256(start + bytes([0, 0, 0, counter])).digest() for counter in range(7)]
    assert [int.from_bytes(found[:8], "big") % 10 for found in hashes] == [9, 9, 2, 4, 1, 6, 0]
    # 9 comes a second time, and 4 is the operator's own
    testers = draw_testers(members, SEED, key(3), person(3), 5)
    assert testers == (key(9), key(2), key(1), key(6), key(0))


OPERATORS = st.lists(st.integers(0, 6), min_size=1, max_size=40)
BYTES = st.binary(min_size=32, max_size=32)


@given(OPERATORS, st.integers(0, 39), BYTES, st.integers(1, 32))
def test_testers_are_distinct_and_of_other_operators(
    operators: list[int], place: int, seed: bytes, testers: int
) -> None:
    members = roster(*operators)
    place %= len(operators)
    node, operator = members.keys[place], members.operators[place]
    drawn = draw_testers(members, seed, node, operator, testers)
    others = [k for k, who in zip(members.keys, members.operators, strict=True) if who != operator]
    assert len(drawn) == (testers if len(others) >= testers else 0)
    assert len(set(drawn)) == len(drawn)
    assert {*drawn} <= {*others}
    assert node not in drawn
    if drawn:
        assert drawn == draw_slowly(members, seed, node, operator, testers)


@given(OPERATORS, BYTES, st.integers(1, 31))
def test_a_larger_quorum_begins_with_the_smaller_one(
    operators: list[int], seed: bytes, testers: int
) -> None:
    members = roster(*operators)
    larger = draw_testers(members, seed, key(99), person(0), testers + 1)
    if larger:
        assert draw_testers(members, seed, key(99), person(0), testers) == larger[:-1]


def test_another_node_or_seed_has_other_testers() -> None:
    members = roster(*range(40))
    draws = {
        draw_testers(members, seed, key(node), person(50), 20)
        for seed in (SEED, bytes(32))
        for node in (100, 101)
    }
    assert len(draws) == 4


class Drawn:
    """A hash that gives the values it is told to, one for each counter."""

    values: tuple[int, ...] = ()

    def __init__(self, _message: bytes = b"") -> None:
        self.counter = 0

    def copy(self) -> "Drawn":
        return Drawn()

    def update(self, counter: bytes) -> None:
        self.counter = int.from_bytes(counter, "big")

    def digest(self) -> bytes:
        return self.values[self.counter].to_bytes(8, "big") + bytes(24)


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        # 2^64 is 1 modulo 3 and 5, 2 modulo 7, 0 modulo 8: so many of the highest are passed over
        ((2**64 - 1, 1), (3, 1)),
        ((2**64 - 2, 1), (3, (2**64 - 2) % 3)),
        ((2**64 - 1, 4), (5, 4)),
        ((2**64 - 1, 2**64 - 2, 3), (7, 3)),
        ((2**64 - 3, 3), (7, 6)),
        ((2**64 - 1, 3), (8, 7)),
    ],
)
def test_values_that_would_favour_low_indices_are_passed_over(
    monkeypatch: pytest.MonkeyPatch, values: tuple[int, ...], drawn: tuple[int, int]
) -> None:
    monkeypatch.setattr(quorums, "sha256", Drawn)
    monkeypatch.setattr(Drawn, "values", values)
    count, index = drawn
    members = roster(*range(count))
    assert draw_testers(members, SEED, key(99), person(50), 1) == (key(index),)


def test_everybody_is_drawn_about_as_often() -> None:
    """A thousand draws of 5 out of 20: 250 are expected for each, with a deviation of 14."""
    members = roster(*range(20))
    counts = dict.fromkeys(members.keys, 0)
    for number in range(1_000):
        for tester in draw_testers(members, SEED, key(1_000 + number), person(50), 5):
            counts[tester] += 1
    assert sum(counts.values()) == 5_000
    assert all(180 < count < 320 for count in counts.values())
