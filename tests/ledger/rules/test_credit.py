"""Uptime credit: what it is after a while, what coming back costs, and when it is used up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.params import DAY, HOUR, MINUTE, preset
from ledger.rules.credit import (
    compute_credit,
    compute_returned_credit,
    failing_epochs_to_removal,
    is_used_up,
)

MAINNET = preset("mainnet")
MOST = 48 * HOUR
TIMES = st.integers(0, 2**45)
CREDITS = st.integers(0, 90 * DAY)
COUNTS = st.integers(0, 10_000)
EPOCHS = st.integers(1_000, 30 * DAY)


@pytest.mark.parametrize(
    ("before", "active", "after"),
    [
        (2 * HOUR, 0, 2 * HOUR),
        # a millisecond in thirty, rounded down
        (2 * HOUR, 29, 2 * HOUR),
        (2 * HOUR, 30, 2 * HOUR + 1),
        (2 * HOUR, 59, 2 * HOUR + 1),
        (2 * HOUR, 60, 2 * HOUR + 2),
        # a day in thirty
        (0, 30 * DAY, DAY),
        (2 * HOUR, 30 * DAY, 26 * HOUR),
        # the most, and what is left out of it
        (2 * HOUR, 46 * HOUR * 30 - 1, MOST - 1),
        (2 * HOUR, 46 * HOUR * 30, MOST),
        (2 * HOUR, 46 * HOUR * 30 + 30, MOST),
        (MOST, 10_000 * DAY, MOST),
    ],
)
def test_credit_after_a_time_of_activity(before: int, active: int, after: int) -> None:
    assert compute_credit(before, active, MOST) == after


def test_a_most_that_was_lowered_holds_at_once() -> None:
    assert compute_credit(MOST, 0, 12 * HOUR) == 12 * HOUR


@given(CREDITS, TIMES, TIMES, CREDITS)
def test_credit_never_shrinks_while_a_node_is_active(
    before: int, active: int, more: int, most: int
) -> None:
    now, later = compute_credit(before, active, most), compute_credit(before, active + more, most)
    assert now <= later <= most
    assert now >= min(before, most)


@pytest.mark.parametrize(
    ("credit", "failing", "after"),
    [
        # epochs of half an hour: each costs an hour
        (2 * HOUR, 0, 2 * HOUR),
        (2 * HOUR, 1, HOUR),
        (2 * HOUR, 2, 0),
        (2 * HOUR, 3, 0),
        (HOUR + 1, 1, 1),
        (HOUR - 1, 1, 0),
        (MOST, 47, HOUR),
    ],
)
def test_credit_of_a_node_that_comes_back(credit: int, failing: int, after: int) -> None:
    assert compute_returned_credit(credit, failing, MAINNET.epoch_ms) == after


@given(CREDITS, COUNTS, EPOCHS)
def test_coming_back_costs_twice_the_time_and_never_more_than_there_is(
    credit: int, failing: int, epoch_ms: int
) -> None:
    after = compute_returned_credit(credit, failing, epoch_ms)
    assert 0 <= after <= credit
    assert after in (0, credit - 2 * failing * epoch_ms)
    assert (after > 0) == (credit > 2 * failing * epoch_ms)


@pytest.mark.parametrize(
    ("credit", "failing", "is_it"),
    [
        # never by one verdict, whatever the credit
        (0, 0, False),
        (0, 1, False),
        (0, 2, True),
        # epochs of half an hour against two hours
        (2 * HOUR, 3, False),
        (2 * HOUR, 4, True),
        (2 * HOUR, 5, True),
        (2 * HOUR + 1, 4, False),
        (2 * HOUR + 1, 5, True),
        (2 * HOUR - 1, 4, True),
        (MOST, 95, False),
        (MOST, 96, True),
    ],
)
def test_a_credit_is_used_up(credit: int, failing: int, is_it: bool) -> None:
    assert is_used_up(credit, failing, MAINNET.epoch_ms) is is_it


@pytest.mark.parametrize(
    ("credit", "epochs"),
    [(0, 2), (1, 2), (HOUR, 2), (HOUR + 1, 3), (2 * HOUR, 4), (2 * HOUR + 1, 5), (MOST, 96)],
)
def test_epochs_until_a_credit_is_used_up(credit: int, epochs: int) -> None:
    assert failing_epochs_to_removal(credit, 30 * MINUTE) == epochs


@given(CREDITS, EPOCHS)
def test_a_credit_is_used_up_in_exactly_so_many_epochs(credit: int, epoch_ms: int) -> None:
    epochs = failing_epochs_to_removal(credit, epoch_ms)
    assert is_used_up(credit, epochs, epoch_ms)
    assert not is_used_up(credit, epochs - 1, epoch_ms)
    assert epochs >= 2
