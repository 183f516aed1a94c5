"""Which deltas there are, and which of them a client takes."""

import pytest

from registry.formats.ladder import LONGEST, MOST_BEHIND, Step, list_starts, plan_steps


@pytest.mark.parametrize(
    ("epoch", "starts"),
    [
        (0, []),
        (1, [0]),
        (2, [1, 0]),
        (7, [6, 5, 3]),
        (255, [254, 253, 251, 247, 239, 223, 191, 127]),
        (256, [255, 254, 252, 248, 240, 224, 192, 128, 0]),
        (10**6, [10**6 - 2**place for place in range(9)]),
    ],
)
def test_they_begin_at_powers_of_two_before(epoch: int, starts: list[int]) -> None:
    assert list_starts(epoch) == starts


@pytest.mark.parametrize("start", [0, 1, 7, 1000])
@pytest.mark.parametrize("behind", range(1, MOST_BEHIND + 1))
def test_whoever_is_behind_comes_to_the_end_with_what_is_published(start: int, behind: int) -> None:
    at = start
    steps = plan_steps(start, start + behind)
    for step in steps:
        assert step.start == at
        assert step.start in list_starts(step.end)
        at = step.end
    assert at == start + behind
    assert len(steps) == behind.bit_count() <= 9


@pytest.mark.parametrize(("start", "end"), [(5, 5), (6, 5), (0, MOST_BEHIND + 1)])
def test_nobody_else_takes_deltas(start: int, end: int) -> None:
    assert plan_steps(start, end) == []


def test_the_longest_goes_first() -> None:
    assert plan_steps(3, 16) == [Step(3, 11), Step(11, 15), Step(15, 16)]
    assert MOST_BEHIND == 2 * LONGEST - 1
