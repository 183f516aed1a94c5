"""The early exit draws what the ledger draws, and the chances are those of a sample."""

from itertools import combinations
from math import exp
from random import Random

import pytest

from ledger.crypto import sha256
from ledger.rules.quorums import Members, draw_testers, pack_members, unpack_members
from tests.simulation.draws import at_least, at_most, chance, find_capture, is_plausible


def make_members(count: int, each: int) -> Members:
    """A roster of nodes, `each` of one operator."""
    keys = sorted(sha256(b"node %d" % number) for number in range(count))
    rows = [(key, sha256(b"operator %d" % (place // each))) for place, key in enumerate(keys)]
    return unpack_members(pack_members(rows))


@pytest.mark.parametrize(
    ("count", "each", "quorum", "share"),
    [(40, 1, (20, 14), 0.6), (40, 4, (20, 14), 0.7), (21, 1, (20, 14), 0.65), (64, 8, (5, 4), 0.5),
     (33, 1, (32, 17), 0.5)],
)  # fmt: skip
def test_early_exit(count: int, each: int, quorum: tuple[int, int], share: float) -> None:
    """It finds the quorums with enough colluders, in the order drawn, and no others."""
    members, random = make_members(count, each), Random(count)
    place_of = {key: place for place, key in enumerate(members.keys)}
    outcomes = {True: 0, False: 0}
    for epoch in range(20):
        seed = sha256(b"seed %d" % epoch)
        is_colluding = [random.random() < share for _ in members.keys]
        for node, operator in zip(members.keys, members.operators, strict=True):
            drawn = [
                place_of[key] for key in draw_testers(members, seed, node, operator, quorum[0])
            ]
            captured = sum(is_colluding[place] for place in drawn) >= quorum[1]
            found = find_capture(members, seed, node, operator, quorum, is_colluding)
            assert list(found) == (drawn if captured else [])
            outcomes[captured] += 1
    assert min(outcomes.values()) > 10


def test_without_quorum() -> None:
    """Too few testers of other operators: nothing is captured."""
    members = make_members(20, 1)
    node, operator = members.keys[0], members.operators[0]
    everybody = [True] * 20
    assert find_capture(members, sha256(b""), node, operator, (20, 14), everybody) == ()
    assert chance(19, 19, 20, 14) == 0


@pytest.mark.parametrize("special", range(9))
@pytest.mark.parametrize("threshold", range(5))
def test_chance_counts_samples(special: int, threshold: int) -> None:
    """The chance is the share of all samples that have enough."""
    samples = list(combinations(range(8), 4))
    hits = sum(sum(member < special for member in sample) >= threshold for sample in samples)
    assert chance(8, special, 4, threshold) == pytest.approx(hits / len(samples))


def test_poisson() -> None:
    """The tails are those of the distribution."""
    assert at_most(0, 2.0) == pytest.approx(exp(-2))
    assert at_least(1, 2.0) == pytest.approx(1 - exp(-2))
    assert at_least(9, 2.0) == pytest.approx(1 - at_most(8, 2.0))


@pytest.mark.parametrize(
    ("measured", "expected", "fits"),
    [(0, 0.0, True), (1, 0.0, False), (0, 10.0, True), (0, 40.0, False), (1_000, 1_050.0, True),
     (1_000, 1_300.0, False), (1, 1e-12, False), (1, 1e-3, True), (40, 10.0, False)],
)  # fmt: skip
def test_plausible(measured: int, expected: float, fits: bool) -> None:
    """A count far from what was expected does not fit."""
    assert is_plausible(measured, expected) is fits
