"""The rules in force and those announced, as a chain goes from one to the other."""

from typing import Any

import msgspec
import pytest

from ledger.params import PARAMETERS
from registry.announcements import get_rules
from registry.api.rule_models import Rules
from tests.factory import Network, keys, make_genesis
from tests.life import (
    SUCCESSOR,
    current,
    seats,
    set_attestors,
    set_params,
    set_successor,
    withdraw_successor,
)


@pytest.fixture
def network() -> Network:
    made = Network(make_genesis(recovery=tuple(sorted([keys("offline").public]))))
    made.block()
    return made


def rules_of(network: Network) -> dict[str, Any]:
    """The answer, which has the shape that the API shows."""
    answer = get_rules(network.view)
    plain = msgspec.json.decode(msgspec.json.encode(answer))
    assert Rules.model_validate(answer).model_dump(mode="json") == plain
    return answer


def listed(rows: list[dict[str, Any]]) -> list[tuple[int, str, int]]:
    return [(row["index"], row["list_key"], row["weight"]) for row in rows]


def test_nothing_is_announced(network: Network) -> None:
    rules, now_ms = rules_of(network), network.chain.tip.time_ms
    assert [row["name"] for row in rules["parameters"]] == [row.name for row in PARAMETERS]
    assert [int(row["value"]) for row in rules["parameters"]] == list(network.params)
    assert {row["next"] for row in rules["parameters"]} == {None}
    assert rules["parameters_from_ms"] is None
    assert rules["parameters_earliest_ms"] == now_ms + network.params.unbonding_ms
    founders = [(n, row.list_key.hex(), 1) for n, row in enumerate(network.genesis.attestors)]
    assert listed(rules["attestors"]) == listed(rules["next_attestors"]) == founders
    assert (rules["ordered"], rules["ordered_by"], rules["ordered_begin"]) == ([], None, None)
    assert rules["attestors_earliest_ms"] == now_ms
    assert rules["recovery"] == [keys("offline").public.hex()]
    assert (rules["successor"], rules["successor_from_ms"], rules["last_epoch"]) == (None,) * 3
    assert not rules["has_moved"]
    assert rules["successor_earliest_ms"] == now_ms + 2 * network.params.unbonding_ms


def test_parameters_from_their_order_until_they_are_in_force(network: Network) -> None:
    network.block(set_params(network, minimum_fee=7))
    rules = rules_of(network)
    row = next(row for row in rules["parameters"] if row["name"] == "minimum_fee")
    assert (row["value"], row["next"]) == (str(network.genesis.params[7]), "7")
    same = [row for row in rules["parameters"] if row["name"] != "minimum_fee"]
    assert all(row["value"] == row["next"] for row in same)
    network.end_epoch(late_ms=rules["parameters_from_ms"] - network.chain.tip.time_ms)
    rules = rules_of(network)
    row = next(row for row in rules["parameters"] if row["name"] == "minimum_fee")
    assert (row["value"], row["next"]) == ("7", None)
    assert rules["parameters_from_ms"] is None


def test_a_set_from_its_order_until_it_takes_over(network: Network) -> None:
    old = current(network)
    new = seats(network, "newcomer", kept=old[1:])
    wanted = [(n, seat.list_key.hex(), seat.weight) for n, seat in enumerate(new)]
    network.block(set_attestors(network, new))
    rules = rules_of(network)
    assert listed(rules["ordered"]) == wanted
    assert rules["ordered_by"] == "attestors"
    network.end_epoch()
    rules = rules_of(network)
    assert (rules["ordered"], rules["ordered_by"], rules["ordered_begin"]) == ([], None, None)
    assert listed(rules["next_attestors"]) == wanted
    assert listed(rules["attestors"]) != wanted
    changed_ms = network.chain.tip.time_ms
    assert rules["attestors_earliest_ms"] == changed_ms + network.params.set_change_ms
    network.end_epoch()
    assert listed(rules_of(network)["attestors"]) == wanted


def test_an_order_of_the_recovery_keys_names_its_epoch(network: Network) -> None:
    new = seats(network, "newcomer")
    network.block(set_attestors(network, new, recovery=["offline"]))
    rules = rules_of(network)
    assert (rules["ordered_by"], rules["ordered_begin"]) == ("recovery", rules["epoch"])
    network.end_epoch()
    assert listed(rules_of(network)["attestors"]) == [(0, new[0].list_key.hex(), 1)]


def test_a_successor_from_its_order_until_the_network_is_over(network: Network) -> None:
    network.block(set_successor(network))
    rules = rules_of(network)
    from_ms = rules["successor_from_ms"]
    assert rules["successor"] == SUCCESSOR.hex()
    assert (rules["has_moved"], rules["last_epoch"]) == (False, None)
    network.end_epoch(late_ms=from_ms - network.chain.tip.time_ms)
    named = network.header.epoch
    rules = rules_of(network)
    assert (rules["has_moved"], rules["last_epoch"]) == (True, None)
    network.end_epoch()
    rules = rules_of(network)
    assert rules["successor"] == SUCCESSOR.hex()
    assert (rules["has_moved"], rules["last_epoch"]) == (True, named)


def test_a_successor_that_was_withdrawn_is_shown_no_more(network: Network) -> None:
    from_ms = network.chain.tip.time_ms + 3 * network.params.unbonding_ms
    network.block(set_successor(network, from_ms=from_ms))
    network.block(withdraw_successor(network))
    rules = rules_of(network)
    assert (rules["successor"], rules["successor_from_ms"]) == (None, None)
    # an order counts once: the next one is for later
    assert rules["successor_earliest_ms"] == from_ms + 1
