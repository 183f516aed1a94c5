"""What an epoch pays, and to whom."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.params import DAY, MINUTE
from ledger.rules.rewards import YEAR_MS, close_owed, compute_owed, epoch_share
from ledger.types import COIN, MAX_AMOUNT

AMOUNTS = st.integers(0, MAX_AMOUNT)
STAKES = st.lists(st.integers(0, 2**40), min_size=1, max_size=10)
FEES = st.integers(0, 10_000)
TOTALS = st.integers(0, 2**50)

# ---- the share of an epoch ----


@pytest.mark.parametrize(
    ("pool", "rate", "epoch_ms", "nodes", "share"),
    [
        # all of it in a year
        (1_000, 10_000, YEAR_MS, 1, 1_000),
        (1_000, 10_000, YEAR_MS, 3, 333),
        (1_000, 10_000, YEAR_MS, 1_001, 0),
        (999, 5_000, YEAR_MS, 1, 499),
        # mainnet: 15.1 % in a year of 17,520 epochs
        (40_000_000 * COIN, 1_510, 30 * MINUTE, 1, 344_748_858_447),
        (40_000_000 * COIN, 1_510, 30 * MINUTE, 1_000, 344_748_858),
        # nothing in the pool, no rate, nobody who earns
        (0, 1_510, YEAR_MS, 5, 0),
        (1_000, 0, YEAR_MS, 1, 0),
        (1_000, 10_000, YEAR_MS, 0, 0),
    ],
)
def test_share_of_an_epoch(pool: int, rate: int, epoch_ms: int, nodes: int, share: int) -> None:
    assert epoch_share(pool, rate, epoch_ms, nodes, accumulator=0) == share


@pytest.mark.parametrize(
    ("accumulator", "share"),
    [(0, 1_000), (MAX_AMOUNT - 1_000, 1_000), (MAX_AMOUNT - 999, 999), (MAX_AMOUNT, 0)],
)
def test_the_accumulator_stays_an_amount(accumulator: int, share: int) -> None:
    assert epoch_share(1_000, 10_000, YEAR_MS, 1, accumulator) == share


@given(AMOUNTS, FEES, st.integers(1_000, 30 * DAY), st.integers(1, 2**18), AMOUNTS)
def test_shares_are_as_much_as_divides_and_never_more_than_the_pool_has(
    pool: int, rate: int, epoch_ms: int, nodes: int, accumulator: int
) -> None:
    share = epoch_share(pool, rate, epoch_ms, nodes, accumulator)
    whole = 10_000 * YEAR_MS
    assert 0 <= share <= MAX_AMOUNT - accumulator
    assert share * nodes * whole <= pool * rate * epoch_ms <= pool * whole
    if share < MAX_AMOUNT - accumulator:
        assert (share + 1) * nodes * whole > pool * rate * epoch_ms - whole * nodes


# ---- between contributors ----


def test_the_example_of_the_specification() -> None:
    assert compute_owed(1_001, 1_000, (75, 20, 5)) == [775, 180, 45]
    assert close_owed(1_001, 1_000, (75, 20, 5)) == [776, 180, 45]


@pytest.mark.parametrize(
    ("total", "fee", "stakes", "owed", "closed"),
    [
        (1_000, 1_000, (33, 33, 34), [397, 297, 306], [397, 297, 306]),
        # no fee, all fee
        (100, 0, (50, 50), [50, 50], [50, 50]),
        (100, 10_000, (1, 99), [100, 0], [100, 0]),
        # one contributor only, or one with all the stake
        (7, 500, (3,), [7], [7]),
        (7, 0, (0, 3), [0, 7], [0, 7]),
        # the operator's part is one division, fee and stake together: 1.5 + 0.5
        (10, 500, (15, 85), [1, 8], [2, 8]),
        (2, 5_000, (1, 1), [1, 0], [2, 0]),
        # too little to share
        (1, 1_000, (25, 75), [0, 0], [1, 0]),
        (2, 0, (1, 1, 1), [0, 0, 0], [2, 0, 0]),
        (0, 1_000, (25, 75), [0, 0], [0, 0]),
        # no stake is left
        (9, 1_000, (0, 0, 0), [9, 0, 0], [9, 0, 0]),
        (MAX_AMOUNT, 1, (MAX_AMOUNT // 2, MAX_AMOUNT // 2),
         [4_612_147_187_029_230_642, 4_611_224_849_825_545_164],
         [4_612_147_187_029_230_643, 4_611_224_849_825_545_164]),
    ],
)  # fmt: skip
def test_what_contributors_are_owed(
    total: int, fee: int, stakes: tuple[int, ...], owed: list[int], closed: list[int]
) -> None:
    assert compute_owed(total, fee, stakes) == owed
    assert close_owed(total, fee, stakes) == closed


@given(TOTALS, FEES, STAKES)
def test_all_is_given_out_when_a_period_ends_and_never_more_before(
    total: int, fee: int, stakes: list[int]
) -> None:
    owed, closed = compute_owed(total, fee, stakes), close_owed(total, fee, stakes)
    assert all(part >= 0 for part in owed)
    assert total - len(stakes) < sum(owed) <= total == sum(closed)
    assert closed[1:] == owed[1:]
    assert closed[0] - owed[0] == total - sum(owed)


@given(TOTALS, TOTALS, FEES, STAKES)
def test_nobody_is_owed_less_while_the_total_grows(
    total: int, more: int, fee: int, stakes: list[int]
) -> None:
    before, after = compute_owed(total, fee, stakes), compute_owed(total + more, fee, stakes)
    assert all(a >= b for a, b in zip(after, before, strict=True))


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=12),
    FEES,
    STAKES,
    st.randoms(use_true_random=False),
)
def test_it_makes_no_difference_who_settles_when(
    earned: list[int], fee: int, stakes: list[int], random: Random
) -> None:
    """Whoever claims takes what he is owed by then, less what he had; the rest comes at the end."""
    total, paid = 0, [0] * len(stakes)
    for amount in earned:
        total += amount
        owed = compute_owed(total, fee, stakes)
        for place in range(len(stakes)):
            if random.random() < 0.3:
                assert owed[place] >= paid[place]
                paid[place] = owed[place]
    last = [part - had for part, had in zip(close_owed(total, fee, stakes), paid, strict=True)]
    assert all(part >= 0 for part in last)
    assert [a + b for a, b in zip(paid, last, strict=True)] == close_owed(total, fee, stakes)


@given(TOTALS, FEES, st.integers(1, 2**40), st.integers(2, 10))
def test_equal_stakes_have_equal_parts(total: int, fee: int, stake: int, count: int) -> None:
    operator, *others = compute_owed(total, fee, [stake] * count)
    assert len({*others}) == 1
    assert operator >= others[0]
