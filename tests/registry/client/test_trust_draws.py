"""Paths through sets that are drawn: a client takes what a second reading of the rules takes.

The rules stand here once more, for sets as plain mappings of seats to weights, without a byte.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import Refusal
from registry.client import TrustedLists
from registry.formats.trust import decode_anchor
from tests.registry.client.factory import EPOCH_MS, START_MS
from tests.registry.client.trust.line import Line, Seats, Stop, found, to
from tests.registry.client.trust.ways import STEADY, STEADY_MS

EPOCHS: Final = 6
NOW_MS: Final = START_MS + EPOCHS * EPOCH_MS

SETS: Final = st.dictionaries(st.integers(0, 4), st.integers(1, 4), min_size=1, max_size=5)


class Draw(NamedTuple):
    """A line of headers, and a path that goes by some of them."""

    turns: Sequence[Seats]
    """The set that signs each header."""
    signers: Sequence[frozenset[int]]
    """The seats that signed it."""
    stops: Sequence[tuple[int, tuple[int, ...]]]
    """The epoch of each stop, and the epochs whose sets its hop has."""


@st.composite
def draws(draw: st.DrawFn) -> Draw:
    """Sets that stay, lose a seat, or are any; most of their members sign."""
    turns, signers = [draw(SETS)], []
    while len(turns) < EPOCHS:
        last = dict(turns[-1])
        change = draw(st.sampled_from(("stay", "stay", "join", "any")))
        turns.append(draw(SETS) if change == "any" else last)
        if change == "join":
            turns[-1] = last | draw(SETS.filter(lambda seats: len(seats) < 3))
    for seats in turns:
        away = draw(st.sets(st.sampled_from(sorted(seats)), max_size=2))
        signers.append(frozenset(seats) - (away if draw(st.booleans()) else frozenset()))
    epochs = sorted(draw(st.sets(st.integers(0, EPOCHS - 1), min_size=1, max_size=4)))
    stops = [(epoch, draw(hop_sets(epoch))) for epoch in epochs]
    return Draw(turns, signers, stops)


def hop_sets(epoch: int) -> st.SearchStrategy[tuple[int, ...]]:
    """The sets of a hop: mostly the one that signs its header, and one before it."""
    others = st.lists(st.integers(0, epoch), max_size=1)
    return st.one_of(
        st.just((epoch,)), others.map(lambda more: (epoch, *more)), st.just(()), others.map(tuple)
    )


def is_enough(weight: int, seats: Seats) -> bool:
    """More than two thirds."""
    return 3 * weight > 2 * sum(seats.values())


def judge(draw: Draw) -> str:
    """What the path is refused with by the rules, or nothing."""
    turns = [*draw.turns, draw.turns[-1]]
    following, known = turns[0], [turns[0]]
    for epoch, given_sets in draw.stops:
        known = [*known, *(turns[each] for each in given_sets)]
        seats, signers = turns[epoch], draw.signers[epoch]
        if seats not in known:
            return "wrong_set"
        trusted = following if following in known else {}
        weight = sum(weight for seat, weight in trusted.items() if seat in signers)
        if seats != following and not is_enough(weight, trusted):
            return "wrong_set"
        if not is_enough(sum(seats[seat] for seat in signers), seats):
            return "not_final"
        following = turns[epoch + 1]
        known = [each for each in known if each in (seats, following)]
    return ""


def line_of(draw: Draw) -> Line:
    """The headers."""
    turns: Mapping[int, Seats] = dict(enumerate(draw.turns))
    line = Line(found(draw.turns[0]), turns)
    for epoch, signers in enumerate(draw.signers):
        line = line.branch(epoch, epoch + 1, turns if epoch == 0 else None, signers)
    return line


@settings(max_examples=300)
@given(draws())
def test_a_client_takes_a_path_if_the_rules_do(draw: Draw) -> None:
    line = line_of(draw)
    stops: list[Stop] = [to(epoch, *(draw.turns[n] for n in sets)) for epoch, sets in draw.stops]
    client = TrustedLists(line.genesis, NOW_MS)
    try:
        client.update(line[stops[-1].epoch].signed, line.path(None, *stops))
        code = ""
    except Refusal as refusal:
        code = refusal.code
    assert code == judge(draw)
    assert client.is_empty is bool(code)


@pytest.mark.parametrize(("start", "end"), [*combinations(range(12), 2)])
def test_from_any_header_to_any_later_one_the_history_is_that_of_all(start: int, end: int) -> None:
    client = TrustedLists(STEADY.genesis, STEADY_MS)
    client.update(STEADY[start].signed, STEADY.along(start))
    client.update(STEADY[end].signed, STEADY.path(start, to(end)))
    assert decode_anchor(client.anchor_file)[1].hashes == STEADY[end].hop().hashes
