"""What is kept of a snapshot's JSON is bounded and shared, and what is not kept has its cost."""

import json
from itertools import combinations
from typing import Any

import msgspec
import pytest

from registry.api.models import HEIGHT
from registry.oxenmq.snapshot import (
    ALL_NAMES,
    MAX_FIELDS,
    MAX_KEPT,
    ROWS_A_UNIT,
    TOP_FIELDS,
    Snapshot,
    Wanted,
)
from tests.registry.api.fake_ledger import SESSION_NODES, make_block_hash

HASH = make_block_hash(HEIGHT)
TOP = dict(zip(TOP_FIELDS, (HEIGHT, HEIGHT, 21, 0, HASH), strict=True))
MANY = 10 * ROWS_A_UNIT
SETS = [list(pair) for pair in combinations(sorted(ALL_NAMES.difference(TOP_FIELDS)), 2)]


def make_snapshot(count: int = len(SESSION_NODES)) -> Snapshot:
    """A snapshot with so many rows."""
    rows = [SESSION_NODES[place % len(SESSION_NODES)] for place in range(count)]
    return Snapshot(TOP, rows)


def states(snapshot: Snapshot, **params: Any) -> list[dict[str, Any]]:
    """Return the rows of an answer."""
    shown = json.loads(snapshot.render(Wanted(**params)))
    found: list[dict[str, Any]] = shown["service_node_states"]
    return found


def test_fields_come_in_the_order_of_a_row() -> None:
    (row, *_) = states(make_snapshot(), fields=["storage_port", "public_ip", "nonsense", "height"])
    assert list(row) == ["public_ip", "storage_port"]


def test_the_same_question_costs_nothing_again() -> None:
    snapshot = make_snapshot(MANY)
    wanted = Wanted(fields=SETS[0])
    assert snapshot.compute_cost(wanted) == 10
    snapshot.render(wanted)
    assert snapshot.compute_cost(wanted) == 0
    assert snapshot.compute_cost(Wanted(fields=SETS[0], active_only=True)) == 0
    assert snapshot.compute_cost(Wanted(fields=SETS[0], limit=-1)) == 1
    assert snapshot.compute_cost(Wanted(fields=SETS[1])) == 10


def test_a_poll_that_brings_nothing_costs_nothing() -> None:
    snapshot = make_snapshot(MANY)
    assert snapshot.compute_cost(Wanted(fields=SETS[0], poll_block_hash=HASH.upper())) == 0
    assert snapshot.compute_cost(Wanted(fields=SETS[0], poll_block_hash="00" * 32)) == 10


def test_only_the_sets_that_were_asked_for_last_are_kept() -> None:
    snapshot = make_snapshot(MANY)
    for fields in SETS[: MAX_KEPT + 1]:
        snapshot.render(Wanted(fields=fields))
    costs = [snapshot.compute_cost(Wanted(fields=fields)) for fields in SETS[: MAX_KEPT + 2]]
    assert costs == [10, *[0] * MAX_KEPT, 10]


@pytest.mark.parametrize(
    "fields",
    [
        ["x"] * (MAX_FIELDS + 1),
        ["x" * 65],
        {str(number): True for number in range(MAX_FIELDS + 1)},
        {"x" * 65: True},
    ],
)
def test_more_fields_than_there_can_be_are_refused(fields: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"fields": fields}, Wanted)


def test_limits_and_keys() -> None:
    snapshot = make_snapshot()
    keys = [node.pubkey_ed25519 for node in SESSION_NODES]
    some = states(snapshot, limit=5, fields=["pubkey_ed25519"])
    assert len({row["pubkey_ed25519"] for row in some} & set(keys)) == 5
    shuffled = [row["pubkey_ed25519"] for row in states(snapshot, limit=-1)]
    assert sorted(shuffled) == sorted(keys)
    assert shuffled != keys
    assert len(states(snapshot, limit=1_000)) == len(keys)
    asked = [keys[3].upper(), keys[1], "00" * 32, keys[1]]
    named = [row["pubkey_ed25519"] for row in states(snapshot, service_node_pubkeys=asked)]
    assert named == [keys[3], keys[1]]
