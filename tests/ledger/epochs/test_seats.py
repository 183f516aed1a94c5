"""Seats of nodes: who is off duty loses its seat, and stake stays behind a seat to its end."""

from typing import Any

import pytest

from ledger.messages.lists import Attestor
from ledger.messages.state import ACTIVE, DECOMMISSIONED, EXITED, TOMBSTONED
from ledger.messages.tables import NODES, PAYOUTS
from tests.factory import EPOCH_MS, REQUIREMENT, Network, attestor_roles, make_genesis, public
from tests.ledger.epochs.ends import SHORT_LOCK, judge_all, put_down, run_end, village
from tests.life import current, header_evidence, report, seats, set_attestors, set_keys

SEAT = Attestor(public("node list"), 1)
CLEARED: dict[str, Any] = {"ordered": (), "ordered_by": 0, "begin": 0}
UNBONDING_MS = SHORT_LOCK["unbonding_ms"]
RESCUERS = ("rescue 0", "rescue 1")


def with_node(genesis: dict[str, Any] | None = None, /, **params: int) -> Network:
    """A village with an active node of alice that has a list key."""
    network = village(8, genesis, **(SHORT_LOCK | {"set_change_ms": 0} | params))
    network.block(network.register(**attestor_roles("node")))
    run_end(network, joined=("node",))
    return network


def seat(network: Network, *kept: Attestor) -> None:
    """Its list key has a seat beside these, or all that there are."""
    network.block(order(network, *kept))
    after = tuple(sorted((*(kept or current(network)), SEAT), key=lambda member: member.list_key))
    run_end(network, sets=CLEARED | {"next": after} | now(network))
    run_end(network, sets={"current": after})


def order(network: Network, *kept: Attestor) -> bytes:
    """An order of a seat for it."""
    return set_attestors(network, seats(network, kept=(*(kept or current(network)), SEAT)))


def now(network: Network, late_ms: int = 0) -> dict[str, Any]:
    """That a set is announced at the running epoch's end."""
    return {"changed_ms": network.header.valid_after_ms + EPOCH_MS + late_ms}


def without(network: Network) -> tuple[Attestor, ...]:
    """The current set without its seat."""
    return tuple(member for member in current(network) if member != SEAT)


def leave(network: Network) -> None:
    """The node leaves, and its seat is to go at the next end."""
    network.block(network.request_unlock())
    run_end(network, exited=("node",), sets={"next": without(network)} | now(network))


def payout_ms(network: Network) -> int:
    """From when on the node is paid out."""
    places = [place for place, row in network.state.items(PAYOUTS) if row.node == public("node")]
    return int.from_bytes(places[0][:8], "big")


def test_who_leaves_loses_its_seat_and_is_paid_out_an_unbonding_time_later() -> None:
    network = with_node()
    seat(network)
    leave(network)
    run_end(network, sets={"current": without(network)}, delayed=("node",))
    assert payout_ms(network) == network.chain.tip.time_ms + UNBONDING_MS
    run_end(network, UNBONDING_MS - EPOCH_MS - 1)
    assert network.node().state == EXITED
    run_end(network, paid=("node",))


def test_nobody_is_paid_out_as_long_as_its_seat_counts() -> None:
    """The set without it is not final, so it goes on."""
    network = with_node()
    seat(network)
    leave(network)
    network.attesting = False
    for _ in range(3):
        run_end(network, UNBONDING_MS)
        assert payout_ms(network) <= network.chain.tip.time_ms
        assert SEAT in current(network)
    network.attesting = True
    run_end(network, sets={"current": without(network)}, delayed=("node",))
    run_end(network, UNBONDING_MS - EPOCH_MS - 1)
    run_end(network, paid=("node",))


def test_who_equivocated_and_left_pays_for_as_long_as_others() -> None:
    network = with_node()
    seat(network)
    leave(network)
    network.attesting = False
    run_end(network, UNBONDING_MS)
    network.attesting = True
    run_end(network, sets={"current": without(network)}, delayed=("node",))
    evidence = header_evidence(network, SEAT.list_key)
    run_end(network, UNBONDING_MS - EPOCH_MS - 1)
    network.block(report(network, "leo", evidence))
    assert network.node().taken == REQUIREMENT * network.params.list_penalty // 10_000
    run_end(network, paid=("node",))


def test_the_key_of_before_keeps_its_seat_and_its_stake() -> None:
    network = with_node()
    seat(network)
    roles = attestor_roles("node 2")
    network.block(set_keys(network, **roles))
    run_end(network)
    assert SEAT in current(network)
    leave(network)
    run_end(network, sets={"current": without(network)}, delayed=("node",))


def test_who_is_down_keeps_its_seat() -> None:
    network = with_node()
    seat(network)
    put_down(network, "node")
    run_end(network)
    assert network.node().state == DECOMMISSIONED
    assert SEAT in current(network)


def test_who_is_deregistered_loses_its_seat_and_its_lock_is_not_shortened() -> None:
    network = with_node(credit_start_ms=0, credit_most_ms=0, lock_ms=UNBONDING_MS + 9 * EPOCH_MS)
    seat(network)
    put_down(network, "node")
    for _ in range(2):
        judge_all(network, "node")
        run_end(network)
    run_end(network, removed=("node",), sets={"next": without(network)} | now(network))
    due_ms = payout_ms(network)
    run_end(network, sets={"current": without(network)})
    assert payout_ms(network) == due_ms


def test_the_last_seat_stays_and_so_does_its_stake() -> None:
    network = with_node({"attestors": make_genesis().attestors[:1]})
    seat(network)
    first = without(network)
    network.block(set_attestors(network, seats(network, kept=(SEAT,))))
    run_end(network, sets=CLEARED | {"next": (SEAT,)} | now(network))
    run_end(network, sets={"current": (SEAT,)})
    assert first
    network.block(network.request_unlock())
    run_end(network, exited=("node",))
    for _ in range(3):
        run_end(network, UNBONDING_MS)
    assert network.node().state == EXITED
    network.block(set_attestors(network, seats(network, kept=first)))
    run_end(network, sets=CLEARED | {"next": first} | now(network))
    run_end(network, sets={"current": first}, delayed=("node",))


def test_an_order_lapses_with_the_duty_of_the_node_that_it_names() -> None:
    network = with_node()
    network.block(order(network), network.request_unlock())
    run_end(network, exited=("node",), sets=CLEARED)


def test_an_order_that_waits_keeps_the_stake() -> None:
    network = with_node()
    begin = network.chain.tip.time_ms + 3 * UNBONDING_MS
    network.block(
        set_attestors(network, seats(network, kept=(*current(network), SEAT)), begin=begin),
        network.request_unlock(),
    )
    run_end(network, exited=("node",))
    run_end(network, UNBONDING_MS)
    assert network.state.get(NODES, public("node")) is not None
    run_end(network, begin - network.chain.tip.time_ms - EPOCH_MS, sets=CLEARED)
    # the payouts of an end come before its attestors
    run_end(network, paid=("node",))


@pytest.mark.parametrize("state", [ACTIVE, EXITED])
def test_recovery_takes_seats_with_the_same_effect(state: int) -> None:
    network = with_node({"recovery": tuple(sorted(map(public, RESCUERS)))})
    seat(network)
    if state == EXITED:
        leave(network)
    network.block(set_attestors(network, seats(network, kept=without(network)), recovery=RESCUERS))
    after = {"current": without(network), "next": without(network)}
    delayed = ("node",) if state == EXITED else ()
    run_end(network, sets=CLEARED | after | now(network), delayed=delayed)
    assert network.node().state == state


def test_recovery_that_names_who_is_off_duty_by_then_lapses() -> None:
    network = with_node({"recovery": tuple(sorted(map(public, RESCUERS)))})
    rescue = set_attestors(
        network, seats(network, kept=(*current(network), SEAT)), recovery=RESCUERS
    )
    network.block(rescue, report(network, "leo", header_evidence(network, SEAT.list_key)))
    run_end(network, banned=("node",), sets=CLEARED)
    assert network.node().state == TOMBSTONED
