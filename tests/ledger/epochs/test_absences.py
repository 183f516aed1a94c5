"""Seats that miss headers, where the registry fills the seats."""

from typing import Any

import pytest

from ledger.errors import REFUSALS
from ledger.messages.genesis import FIXED
from ledger.messages.state import ACTIVE
from ledger.messages.tables import ABSENCES, SETS
from tests.factory import EPOCH_MS, Network, attestor_roles, links, public
from tests.ledger.epochs.seats import (
    FOUNDERS,
    NODES,
    enlist,
    list_keys,
    quiet_turn,
    realm,
    seated,
    turn,
)
from tests.ledger.refusals.orders import with_weights
from tests.life import seats, set_attestors, set_keys, set_params

FOUR = list_keys("n0", "n1", "n2", "n3")
RESCUERS = ("rescue 0", "rescue 1")


def four_seats(**params: int) -> Network:
    """Four nodes hold all four seats, so that a header is final without one of them."""
    network = realm({"recovery": tuple(sorted(map(public, RESCUERS)))}, **params)
    enlist(network, "n0", "n1", "n2", gone=FOUNDERS[:1], came=list_keys("n0"))
    turn(network, gone=FOUNDERS[1:2], came=list_keys("n1"))
    turn(network, gone=FOUNDERS[2:], came=list_keys("n2"))
    enlist(network, "n3", came=list_keys("n3"))
    turn(network)
    assert sorted(seated(network)) == sorted(FOUR)
    assert counts(network) == {}
    return network


def counts(network: Network) -> dict[str, int]:
    """How much each seat missed, by name."""
    names = {public(f"{name} list"): f"{name} list" for name in NODES}
    return {names[key]: row.count for key, row in network.state.items(ABSENCES)}


def counted(network: Network) -> dict[bytes, int]:
    """How much each list key missed."""
    return {key: row.count for key, row in network.state.items(ABSENCES)}


def test_what_a_seat_misses_counts_and_what_it_attests_makes_up_for_it() -> None:
    network = four_seats()
    quiet_turn(network, *FOUR[1:])
    quiet_turn(network, *FOUR[1:])
    assert counts(network) == {"n0 list": 2}
    quiet_turn(network, *FOUR[:3])
    assert counts(network) == {"n0 list": 1, "n3 list": 1}
    turn(network)
    assert counts(network) == {}
    turn(network)
    assert counts(network) == {}


@pytest.mark.parametrize("seats_there", [(), FOUR[:1], FOUR[:2]])
def test_a_header_that_is_not_final_counts_against_nobody(seats_there: tuple[str, ...]) -> None:
    network = four_seats()
    quiet_turn(network, *FOUR[1:])
    quiet_turn(network, *seats_there)
    assert counts(network) == {"n0 list": 1}


def test_where_attestors_order_the_set_nothing_is_counted() -> None:
    network = realm({"policy": FIXED} | with_weights(1, 1, 1, 1))
    network.attesting = False
    for _ in range(2):
        network.block()
        network.block(*(network.attest(place) for place in (1, 2, 3)))
        turn(network)
    assert counts(network) == {}


def miss(network: Network, times: int, **last: Any) -> None:
    """The seat of n0 misses so many headers; `last` is what the last end brings."""
    for left in range(times, 0, -1):
        quiet_turn(network, *FOUR[1:], **(last if left == 1 else {}))


def test_a_seat_that_missed_too_much_goes_and_another_comes_in_its_place() -> None:
    network = four_seats(absences_most=2)
    miss(network, 2)
    assert counts(network) == {"n0 list": 2}
    network.attesting = False
    network.block(network.register("n4", "erin", **attestor_roles("n4")))
    miss(network, 1, joined=("n4",), gone=("n0 list",), came=("n4 list",))
    # the set that is announced takes over; until then it may sign, and nothing is forgiven
    turn(network)
    assert counts(network) == {"n0 list": 3}
    for _ in range(3):
        turn(network)
    assert counts(network) == {"n0 list": 3}
    assert sorted(seated(network)) == sorted(list_keys("n1", "n2", "n3", "n4"))


def test_who_missed_too_much_comes_back_with_another_list_key_only() -> None:
    network = four_seats(absences_most=1)
    miss(network, 2, gone=("n0 list",))
    turn(network)
    assert network.node("n0").state == ACTIVE
    network.block(set_keys(network, "n0", 1, "n0 duty 2"))
    turn(network)
    key = public("n0 again list")
    network.block(set_keys(network, "n0", 2, "n0 duty 2", list_key=key, list_tip=links(key)[-1]))
    turn(network, came=("n0 again list",))
    turn(network)
    assert counts(network) == {"n0 list": 2}


def test_what_a_seat_missed_goes_with_it_to_another_list_key() -> None:
    """Nobody escapes by naming another key each time that a count comes near the limit."""
    network = four_seats(absences_most=2)
    miss(network, 2)
    key = public("n0 again list")
    network.attesting = False
    network.block(set_keys(network, "n0", 1, "n0 duty", list_key=key, list_tip=links(key)[-1]))
    turn(network, is_final=False, gone=("n0 list",), came=("n0 again list",))
    assert counted(network) == {public("n0 list"): 2}
    # the header that announces the new key is signed with the old one
    network.attesting = True
    turn(network)
    assert counted(network) == {key: 1}
    assert network.node("n0").stands_ms == 0
    miss(network, 1)
    assert counted(network) == {key: 2}
    miss(network, 1, gone=("n0 again list",))
    assert counted(network) == {key: 3}
    turn(network)
    assert network.node("n0").stands_ms == network.chain.tip.time_ms


def test_a_seat_that_misses_too_much_while_it_moves_is_lost_under_both_keys() -> None:
    network = four_seats(absences_most=2)
    miss(network, 1)
    key = public("n0 again list")
    network.attesting = False
    network.block(set_keys(network, "n0", 1, "n0 duty", list_key=key, list_tip=links(key)[-1]))
    miss(network, 1, gone=("n0 list",), came=("n0 again list",))
    miss(network, 1, gone=("n0 again list",))
    assert counted(network) == {key: 3, public("n0 list"): 3}
    turn(network)
    network.block(set_keys(network, "n0", 2, "n0 duty", list_key=public("n0 list")))
    turn(network)
    turn(network)
    assert "n0 list" not in seated(network)


def test_it_comes_back_after_those_that_stand_without_a_seat() -> None:
    """Though it is older, and named the other key while it had the seat."""
    network = four_seats(absences_most=1)
    miss(network, 1)
    key = public("n0 again list")
    network.attesting = False
    network.block(
        set_keys(network, "n0", 1, "n0 duty", list_key=key, list_tip=links(key)[-1]),
        network.register("n4", "erin", **attestor_roles("n4")),
        network.register("n5", "frank", **attestor_roles("n5")),
    )
    first, second = sorted(("n4", "n5"), key=public)
    miss(network, 1, joined=("n4", "n5"), gone=("n0 list",), came=list_keys(first))
    # at the end at which its seat goes it would be the oldest
    turn(network, came=list_keys(second))
    turn(network, came=("n0 again list",))


def test_what_others_missed_is_forgotten_with_their_seats() -> None:
    network = four_seats()
    miss(network, 2)
    network.block(network.request_unlock("alice", "n0"))
    turn(network, exited=("n0",), gone=("n0 list",))
    assert counts(network) == {"n0 list": 1}
    miss(network, 1, delayed=("n0",))
    assert counts(network) == {}


def rescue(network: Network) -> bytes:
    """The recovery keys name the set that there is."""
    kept = seats(network, kept=network.state.one(SETS).current)
    return set_attestors(network, kept, recovery=RESCUERS)


def test_recovery_cannot_name_who_missed_too_much() -> None:
    network = four_seats(absences_most=1)
    miss(network, 2, gone=("n0 list",))
    network.block(rescue(network), codes=[REFUSALS["key_barred"].number])


def test_recovery_lapses_with_a_seat_that_missed_too_much_by_then() -> None:
    network = four_seats(absences_most=1)
    miss(network, 1)
    network.attesting = False
    network.block(rescue(network))
    # and at the same end that seat begins to go
    cleared = {"ordered": (), "ordered_by": 0, "begin": 0}
    quiet_turn(network, *FOUR[1:], sets=cleared, gone=("n0 list",))
    turn(network)


def test_a_limit_that_is_lowered_costs_a_seat_and_one_that_is_raised_forgives() -> None:
    network = four_seats(absences_most=3)
    miss(network, 2)
    network.attesting = False
    network.block(set_params(network, absences_most=1))
    notice_ms = network.params.unbonding_ms + EPOCH_MS
    quiet_turn(network, *FOUR[1:], late_ms=notice_ms, rules=True)
    assert counts(network) == {"n0 list": 3}
    turn(network, gone=("n0 list",))
    turn(network)
    network.block(set_params(network, absences_most=3))
    turn(network, late_ms=notice_ms, rules=True)
    assert counts(network) == {}
    turn(network, came=("n0 list",))
