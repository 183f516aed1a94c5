"""How much an offence costs, who pays it, and what its reporter gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.rules.penalties import compute_bounty, compute_penalty, split_penalty
from ledger.types import COIN, MAX_AMOUNT

STAKES = st.lists(st.integers(0, 2**40), min_size=1, max_size=10)
SHARES = st.integers(0, 10_000)
AMOUNTS = st.integers(0, MAX_AMOUNT // 2)

# ---- how much ----


def test_the_example_of_the_specification() -> None:
    stakes = (25, 600_000, 399_975)
    votes = compute_penalty(sum(stakes), 0, 100, is_difference=False)
    assert votes == 10_000
    parts = split_penalty(stakes, votes)
    assert parts == [25, 5_986, 3_989]
    assert compute_bounty(parts[0], 500, 250 * COIN) == 1
    left = sum(stakes) - votes
    assert compute_penalty(left, votes, 2_000, is_difference=True) == 190_000


@pytest.mark.parametrize(
    ("staked", "taken", "share", "is_difference", "penalty"),
    [
        (100, 0, 100, False, 1),
        (199, 0, 100, False, 1),
        (99, 0, 100, False, 0),
        (100, 0, 0, False, 0),
        (100, 0, 10_000, False, 100),
        # of the stake as it was before any penalty
        (80, 20, 1_000, False, 10),
        (0, 100, 1_000, False, 0),
        (5, 95, 1_000, False, 5),
        (10, 90, 1_000, False, 10),
        # the difference, of a heavier offence, an equal one, and a lighter one
        (90, 10, 2_000, True, 10),
        (80, 20, 2_000, True, 0),
        (80, 20, 1_000, True, 0),
        (99, 1, 10_000, True, 99),
        (100, 0, 2_000, True, 20),
        (MAX_AMOUNT, 0, 10_000, True, MAX_AMOUNT),
    ],
)
def test_penalty(staked: int, taken: int, share: int, is_difference: bool, penalty: int) -> None:
    assert compute_penalty(staked, taken, share, is_difference=is_difference) == penalty


@given(AMOUNTS, AMOUNTS, SHARES)
def test_a_penalty_is_never_more_than_is_left(staked: int, taken: int, share: int) -> None:
    each = compute_penalty(staked, taken, share, is_difference=False)
    difference = compute_penalty(staked, taken, share, is_difference=True)
    assert 0 <= difference <= each <= staked
    assert each * 10_000 <= (staked + taken) * share


@given(AMOUNTS, st.lists(SHARES, min_size=1, max_size=6))
def test_differences_add_up_to_the_heaviest_offence_in_whichever_order(
    stake: int, shares: list[int]
) -> None:
    taken = 0
    for share in shares:
        taken += compute_penalty(stake - taken, taken, share, is_difference=True)
    assert taken == stake * max(shares) // 10_000


# ---- who pays ----


@pytest.mark.parametrize(
    ("stakes", "penalty", "parts"),
    [
        # the operator, as far as his stake goes
        ((25, 75), 0, [0, 0]),
        ((25, 75), 1, [1, 0]),
        ((25, 75), 25, [25, 0]),
        ((25, 75), 26, [25, 1]),
        ((25, 75), 100, [25, 75]),
        ((100,), 100, [100]),
        # in proportion
        ((0, 10, 30), 20, [0, 5, 15]),
        ((2, 33, 33, 33), 50, [2, 16, 16, 16]),
        # rounded down, and one unit more for the first ones
        ((2, 33, 33, 33), 51, [2, 17, 16, 16]),
        ((2, 33, 33, 33), 52, [2, 17, 17, 16]),
        ((0, 1, 2), 1, [0, 1, 0]),
        # who has no stake, or pays all of it already, pays no unit more
        ((0, 0, 1), 1, [0, 0, 1]),
        ((0, 1, 1, 1), 2, [0, 1, 1, 0]),
        ((0, 0, 0), 0, [0, 0, 0]),
        ((5, 0), 5, [5, 0]),
    ],
)
def test_who_pays(stakes: tuple[int, ...], penalty: int, parts: list[int]) -> None:
    assert split_penalty(stakes, penalty) == parts


@st.composite
def covered(draw: st.DrawFn) -> tuple[list[int], int]:
    """Stakes, and a penalty that they cover."""
    stakes = draw(STAKES)
    return stakes, draw(st.integers(0, sum(stakes)))


@given(covered())
def test_all_of_a_penalty_is_paid_and_nobody_pays_more_than_he_has(
    case: tuple[list[int], int],
) -> None:
    stakes, penalty = case
    parts = split_penalty(stakes, penalty)
    assert sum(parts) == penalty
    assert all(0 <= part <= stake for part, stake in zip(parts, stakes, strict=True))


@given(covered())
def test_others_pay_only_when_the_operator_has_nothing_left(case: tuple[list[int], int]) -> None:
    stakes, penalty = case
    own, *others = split_penalty(stakes, penalty)
    assert own == min(stakes[0], penalty)
    assert own == stakes[0] or not any(others)


@given(covered())
def test_others_pay_in_proportion_to_the_unit_and_the_first_ones_pay_it(
    case: tuple[list[int], int],
) -> None:
    stakes, penalty = case
    own, *others = split_penalty(stakes, penalty)
    rest, whole = penalty - own, sum(stakes[1:])
    extra = [part - (rest * stake // whole if whole else 0)
             for part, stake in zip(others, stakes[1:], strict=True)]  # fmt: skip
    assert set(extra) <= {0, 1}
    could = [place for place, stake in enumerate(stakes[1:])
             if others[place] - extra[place] < stake]  # fmt: skip
    assert [place for place, unit in enumerate(extra) if unit] == could[: sum(extra)]


# ---- the reporter ----


@pytest.mark.parametrize(
    ("own", "share", "cap", "bounty"),
    [
        (20 * COIN, 500, 250 * COIN, COIN),
        (19, 500, COIN, 0),
        (20, 500, COIN, 1),
        (39, 500, COIN, 1),
        (1_000, 5_000, 500, 500),
        (1_000, 5_000, 499, 499),
        (1_000, 5_000, 0, 0),
        (1_000, 0, COIN, 0),
        (0, 5_000, COIN, 0),
        (1, 5_000, COIN, 0),
        (MAX_AMOUNT, 5_000, MAX_AMOUNT, MAX_AMOUNT // 2),
    ],
)
def test_bounty(own: int, share: int, cap: int, bounty: int) -> None:
    assert compute_bounty(own, share, cap) == bounty


@given(AMOUNTS, st.integers(0, 5_000), AMOUNTS)
def test_a_bounty_is_at_most_half_of_what_the_operator_loses(
    own: int, share: int, cap: int
) -> None:
    assert 0 <= compute_bounty(own, share, cap) <= min(own // 2, cap)
