"""How many nodes verdicts may remove, how many may be down, and whose turn it is."""

from hashlib import sha256
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.rules.removals import may_be_down, order_removals, removal_limit

SEED, OTHER_SEED = (bytes([value]) * 32 for value in (1, 3))
NODES = st.integers(0, 2**18)


@pytest.mark.parametrize(
    ("active", "floor", "share", "limit"),
    [
        # mainnet: three, or a hundredth
        (0, 3, 100, 3),
        (399, 3, 100, 3),
        (400, 3, 100, 4),
        (499, 3, 100, 4),
        (1_999, 3, 100, 19),
        # minimal: five, or a tenth
        (59, 5, 1_000, 5),
        (60, 5, 1_000, 6),
        # all, and none
        (7, 0, 10_000, 7),
        (10_000, 0, 0, 0),
        (9_999, 0, 1, 0),
        (10_000, 0, 1, 1),
    ],
)
def test_limit_of_removals(active: int, floor: int, share: int, limit: int) -> None:
    assert removal_limit(active, floor, share) == limit


@given(NODES, st.integers(0, 100_000), st.integers(0, 10_000))
def test_limit_is_the_floor_or_no_more_than_the_share(active: int, floor: int, share: int) -> None:
    limit = removal_limit(active, floor, share)
    assert limit == floor or floor < limit <= active
    assert limit * 10_000 <= max(floor * 10_000, active * share)
    assert (limit + 1) * 10_000 > active * share


@pytest.mark.parametrize(
    ("down", "active", "may"),
    [(0, 0, True), (0, 1, True), (1, 2, False), (1, 3, True), (2, 6, True), (2, 5, False),
     (3, 9, True), (12, 36, True), (13, 35, False), (25, 75, True), (26, 75, False)],
)  # fmt: skip
def test_a_quarter_may_be_down(down: int, active: int, may: bool) -> None:
    assert may_be_down(down, active) is may


@given(NODES, NODES)
def test_whoever_may_go_down_leaves_three_quarters_active(down: int, active: int) -> None:
    if active and may_be_down(down + 1, active - 1):
        assert 4 * (active - 1) >= 3 * (down + active)
        assert may_be_down(down, active)


@given(st.integers(0, 500), st.integers(0, 40), st.integers(0, 10_000), st.integers(1, 60))
def test_removals_of_any_number_of_epochs_never_go_beyond_the_limits(
    active: int, floor: int, share: int, epochs: int
) -> None:
    """As the step *Removals* takes nodes down that all fail, the limit of each epoch anew."""
    registered, down = active, 0
    for _ in range(epochs):
        limit = removal_limit(active, floor, share)
        before = active
        while limit and active and may_be_down(down + 1, active - 1):
            down, active, limit = down + 1, active - 1, limit - 1
        assert before - active <= max(floor, before * share // 10_000)
        assert 4 * active >= 3 * registered
        assert active + down == registered


def rank(seed: bytes, node: bytes) -> bytes:
    """The hash that decides between equals, written down a second time."""
    return sha256(b"waypost removal".ljust(32, b"\0") + seed + node).digest()


NODE_A, NODE_B, NODE_C = (bytes([value]) * 32 for value in (10, 11, 12))


def test_who_failed_for_longer_goes_first_whatever_the_hash() -> None:
    for seed in (SEED, OTHER_SEED):
        rows = [(NODE_A, 2), (NODE_B, 4), (NODE_C, 3)]
        assert order_removals(rows, seed) == [NODE_B, NODE_C, NODE_A]


def test_the_hash_decides_between_equals() -> None:
    rows = [(NODE_A, 2), (NODE_B, 2), (NODE_C, 2)]
    orders = [order_removals(rows, seed) for seed in (SEED, OTHER_SEED)]
    for seed, order in zip((SEED, OTHER_SEED), orders, strict=True):
        assert order == sorted((NODE_A, NODE_B, NODE_C), key=lambda node: rank(seed, node))
    assert orders[0] != orders[1]


def test_nobody_has_no_turn() -> None:
    assert order_removals([], SEED) == []


@given(
    st.dictionaries(st.binary(min_size=32, max_size=32), st.integers(1, 5), max_size=30),
    st.randoms(use_true_random=False),
)
def test_turns_are_the_same_in_whichever_order_nodes_come(
    nodes: dict[bytes, int], random: Random
) -> None:
    rows = list(nodes.items())
    order = order_removals(rows, SEED)
    random.shuffle(rows)
    assert order_removals(rows, SEED) == order
    assert sorted(order) == sorted(nodes)
    counts = [nodes[node] for node in order]
    assert counts == sorted(counts, reverse=True)
