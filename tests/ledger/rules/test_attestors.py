"""How far a set of attestors may change at once, how often, and who goes first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.messages.lists import Attestor
from ledger.params import DAY
from ledger.rules.attestors import (
    compute_turnover,
    earliest_change,
    remove_lost,
    rotate,
    turnover_limit,
)


def seats(**weights: int) -> tuple[Attestor, ...]:
    """A set of attestors whose keys are letters."""
    return tuple(Attestor(name.encode() * 32, weight) for name, weight in sorted(weights.items()))


def names(members: tuple[Attestor, ...]) -> str:
    """The letters of a set."""
    return "".join(member.list_key[:1].decode() for member in members)


WEIGHTS = st.integers(1, 2**32 - 1)
SETS = st.dictionaries(st.sampled_from("abcdefghij"), WEIGHTS, min_size=1).map(
    lambda rows: seats(**rows)
)


# ---- when ----


@pytest.mark.parametrize(
    ("changed", "interval", "earliest"),
    [(0, 7 * DAY, 0), (1, 7 * DAY, 7 * DAY + 1), (5_000, 0, 5_000), (0, 0, 0)],
)
def test_earliest_change(changed: int, interval: int, earliest: int) -> None:
    assert earliest_change(changed, interval) == earliest


# ---- how far ----


@pytest.mark.parametrize(
    ("old", "new", "turnover"),
    [
        (seats(a=1, b=1), seats(a=1, b=1), 0),
        # one comes; one goes; one comes for another
        (seats(a=1), seats(a=1, b=1), 1),
        (seats(a=1, b=1), seats(a=1), 1),
        (seats(a=1, b=1), seats(a=1, c=1), 1),
        # the larger of what comes and what goes
        (seats(a=5, b=2), seats(a=5, c=3), 3),
        (seats(a=5, b=3), seats(a=5, c=2), 3),
        # weights that change count with their difference
        (seats(a=5, b=2), seats(a=3, b=6), 4),
        (seats(a=5, b=2), seats(a=1, b=3), 4),
        # all of them
        (seats(a=2, b=3), seats(c=4), 5),
        (seats(a=2), seats(b=4, c=5), 9),
        (seats(), seats(a=4), 4),
    ],
)
def test_turnover(old: tuple[Attestor, ...], new: tuple[Attestor, ...], turnover: int) -> None:
    assert compute_turnover(old, new) == turnover


@given(SETS, SETS)
def test_turnover_is_the_same_there_and_back_and_none_where_nothing_changes(
    old: tuple[Attestor, ...], new: tuple[Attestor, ...]
) -> None:
    assert compute_turnover(old, new) == compute_turnover(new, old)
    assert (compute_turnover(old, new) == 0) == (old == new)
    assert compute_turnover(old, new) <= max(
        sum(member.weight for member in members) for members in (old, new)
    )


@pytest.mark.parametrize(
    ("members", "limit"),
    [
        (seats(a=1), 1),
        (seats(a=1, b=1, c=1), 1),
        (seats(a=1, b=7), 7),
        # 25 seats of one: two of them are a tenth, rounded down
        (tuple(Attestor(bytes([place]) * 32, 1) for place in range(19)), 1),
        (tuple(Attestor(bytes([place]) * 32, 1) for place in range(20)), 2),
        (tuple(Attestor(bytes([place]) * 32, 1) for place in range(25)), 2),
        (tuple(Attestor(bytes([place]) * 32, 3) for place in range(25)), 7),
        (seats(), 0),
    ],
)
def test_limit_of_the_turnover(members: tuple[Attestor, ...], limit: int) -> None:
    assert turnover_limit(members) == limit


@given(SETS)
def test_any_one_seat_may_always_go(members: tuple[Attestor, ...]) -> None:
    for gone in members:
        rest = tuple(member for member in members if member != gone)
        assert compute_turnover(members, rest) <= turnover_limit(members)


# ---- seats that are lost ----


@pytest.mark.parametrize(
    ("members", "lost", "left"),
    [
        (seats(a=1, b=1, c=1), "", "abc"),
        (seats(a=1, b=1, c=1), "b", "ac"),
        # the lowest key first, and one at a time
        (seats(a=1, b=1, c=1), "cb", "ac"),
        (seats(a=1, b=1, c=1), "abc", "bc"),
        # one that is too heavy beside what went does not keep the next from going
        (seats(a=1, b=5, c=4, d=5), "abc", "bd"),
        # the last one stays
        (seats(a=1), "a", "a"),
        (seats(a=3, b=2), "ab", "b"),
        # who has no seat makes no difference
        (seats(a=1, b=1), "z", "ab"),
    ],
)
def test_seats_that_are_lost_go_as_far_as_they_may(
    members: tuple[Attestor, ...], lost: str, left: str
) -> None:
    assert names(remove_lost(members, [letter.encode() * 32 for letter in lost])) == left


@given(SETS, st.sets(st.sampled_from("abcdefghijkl")))
def test_what_is_left_is_a_set_within_the_limit(
    members: tuple[Attestor, ...], lost: set[str]
) -> None:
    keys = [letter.encode() * 32 for letter in sorted(lost)]
    left = remove_lost(members, keys)
    assert left
    assert compute_turnover(members, left) <= turnover_limit(members)
    gone = [member for member in members if member not in left]
    assert {member.list_key for member in gone} <= set(keys)
    # who could go went: with any other of them, too much would have moved, or nobody were left
    for member in left:
        fewer = tuple(other for other in left if other != member)
        if member.list_key in keys and fewer:
            assert compute_turnover(members, fewer) > turnover_limit(members)
    if lost & {*names(members)} and len(members) > 1:
        assert gone


# ---- seats in turns ----


def equal(letters: str) -> tuple[Attestor, ...]:
    """A set of seats that weigh 1."""
    return tuple(Attestor(letter.encode() * 32, 1) for letter in sorted(letters))


def keys_of(letters: str) -> list[bytes]:
    """List keys that are letters."""
    return [letter.encode() * 32 for letter in letters]


def pairs_of(letters: str) -> list[tuple[bytes, bytes]]:
    """Seats that move, each to its capital letter."""
    return [(letter.encode() * 32, letter.upper().encode() * 32) for letter in letters]


TWENTY = "abcdefghijklmnopqrst"
FULL = "abcdefghijklmnopqrstuvwxy"


@pytest.mark.parametrize(
    ("members", "lost", "going", "coming", "moving", "after"),
    [
        ("abc", "", "", "", "", "abc"),
        # one comes, one goes, one comes for another; the first of each
        ("abc", "", "", "xy", "", "abcx"),
        ("abc", "", "cb", "", "", "ab"),
        ("abc", "", "cb", "xy", "", "abx"),
        # who is lost goes before who goes
        ("abc", "a", "c", "", "", "bc"),
        ("abc", "ac", "b", "x", "", "bcx"),
        (TWENTY, "b", "ca", "x", "", "adefghijklmnopqrstx"),
        # the last one stays, unless another one comes
        ("a", "", "a", "", "", "a"),
        ("a", "a", "", "", "", "a"),
        ("a", "", "a", "x", "", "x"),
        ("a", "a", "", "x", "", "x"),
        ("ab", "ab", "", "", "", "b"),
        # from twenty seats on two may move at once
        (TWENTY, "", "abc", "xyz", "", "cdefghijklmnopqrstxy"),
        (TWENTY, "", "a", "xyz", "", "bcdefghijklmnopqrstxy"),
        (TWENTY, "", "", "xyz", "", TWENTY + "xy"),
        # a set has twenty-five seats at most
        (FULL, "", "", "z", "", FULL),
        (FULL, "", "ab", "z123", "", "cdefghijklmnopqrstuvwxy1z"),
        # who moves has what is left of the limit
        ("abc", "", "", "", "b", "aBc"),
        ("abc", "", "", "", "ab", "Abc"),
        ("abc", "", "", "x", "b", "abcx"),
        ("abc", "a", "", "", "b", "bc"),
        (TWENTY, "a", "", "x", "bc", "Bcdefghijklmnopqrstx"),
        (TWENTY, "", "", "x", "bc", "aBcdefghijklmnopqrstx"),
        (TWENTY, "", "", "", "abc", "ABcdefghijklmnopqrst"),
        (FULL, "", "", "", "abc", "ABcdefghijklmnopqrstuvwxy"),
    ],
)
def test_seats_change_as_far_as_they_may(
    members: str, lost: str, going: str, coming: str, moving: str, after: str
) -> None:
    new = rotate(
        equal(members), keys_of(lost), keys_of(going), keys_of(coming), pairs_of(moving), 1
    )
    assert new == equal(after)


@pytest.mark.parametrize(
    ("members", "lost", "going", "coming", "floor", "after"),
    [
        # what goes is replaced where as many stay; a smaller set grows first
        ("abc", "", "a", "x", 3, "bcx"),
        ("abc", "", "a", "x", 4, "abcx"),
        ("a", "", "a", "x", 2, "ax"),
        ("ab", "", "ab", "x", 25, "abx"),
        ("abcd", "", "ab", "", 3, "bcd"),
        ("abc", "", "ab", "", 3, "abc"),
        # what is lost goes whatever is left, and takes the place of what goes
        ("abc", "b", "a", "", 3, "ac"),
        ("abc", "b", "a", "x", 4, "acx"),
        (TWENTY, "a", "b", "", 19, "bcdefghijklmnopqrst"),
        (TWENTY, "", "ab", "", 19, "bcdefghijklmnopqrst"),
        (TWENTY, "ab", "c", "", 20, "cdefghijklmnopqrst"),
        (FULL, "", "ab", "z", 25, "bcdefghijklmnopqrstuvwxyz"),
        (FULL, "", "ab", "", 25, FULL),
    ],
)
def test_seats_go_only_as_far_as_enough_are_left(
    members: str, lost: str, going: str, coming: str, floor: int, after: str
) -> None:
    new = rotate(equal(members), keys_of(lost), keys_of(going), keys_of(coming), (), floor)
    assert new == equal(after)


@given(st.data(), st.integers(1, 25), st.integers(1, 25))
def test_whoever_goes_and_comes_a_set_moves_within_the_limit(
    data: st.DataObject, n: int, floor: int
) -> None:
    members = equal(FULL[:n])
    leaving = data.draw(st.permutations(FULL[:n]).map(lambda rows: rows[: len(rows) // 2]))
    split = data.draw(st.integers(0, len(leaving)))
    lost, going = leaving[:split], leaving[split:]
    coming = "".join(data.draw(st.lists(st.sampled_from("0123456789"), unique=True)))
    moving = "".join([letter for letter in FULL[:n] if letter not in leaving][:3])
    new = rotate(
        members,
        keys_of("".join(lost)),
        keys_of("".join(going)),
        keys_of(coming),
        pairs_of(moving),
        floor,
    )
    limit = turnover_limit(members)
    assert 1 <= len(new) <= 25
    assert {member.weight for member in new} == {1}
    assert list(new) == sorted(new, key=lambda member: member.list_key)
    assert compute_turnover(members, new) <= limit
    held = {member.list_key for member in new}
    gone = [key for key in keys_of("".join(leaving)) if key not in held]
    came = [key for key in keys_of(coming) if key in held]
    # first the lost, then as many of the others as the limit and the floor leave room for
    assert gone == keys_of("".join(leaving))[: len(gone)]
    assert len(gone) >= min(limit, split) or (n == 1 and not coming)
    could_go = len(gone) < limit and len(gone) < len(leaving)
    assert len(new) >= floor or len(gone) <= split
    assert not could_go or len(new) <= floor or n == 1
    # and the first of those that come, as many as there is room for
    assert came == keys_of(coming)[: min(limit, 25 - n + len(gone))]
