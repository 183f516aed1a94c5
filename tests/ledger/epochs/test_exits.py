"""`apply_exits` and `apply_payouts`: how nodes leave, in which order, and what they get."""

import pytest

from ledger.errors import REFUSALS
from ledger.messages.state import AWAITING, EXITED, QUEUED
from ledger.messages.tables import EXITS, HISTORIES, NODES, PAYOUTS
from tests.factory import (
    EPOCH_MS,
    FEE,
    QUARTER,
    REQUIREMENT,
    Network,
    attestor_roles,
    places,
    public,
)
from tests.ledger.epochs.ends import (
    SHORT_LOCK,
    judge_all,
    names_of,
    operator_of,
    put_down,
    run_end,
    village,
)
from tests.life import header_evidence, report


def ask(network: Network, *names: str) -> None:
    """The operators ask for their nodes to leave, all in one block."""
    network.block(*(network.request_unlock(operator_of(name), name) for name in names))


# ---- the queue of exits ----


def test_who_asks_leaves_at_the_end() -> None:
    network = village()
    ask(network, "v1")
    run_end(network, exited=("v1",))


def test_order_is_that_of_asking_and_then_of_the_keys() -> None:
    network = village()
    low, high = sorted(("v2", "v3"), key=public)
    ask(network, "v1")
    ask(network, high, low)
    ask(network, "v4")
    for name in ("v1", low, high, "v4"):
        run_end(network, exited=(name,))


@pytest.mark.parametrize(("count", "leaves"), [(99, 1), (199, 1), (200, 2)])
def test_one_in_a_hundred_leaves_and_one_at_least(count: int, leaves: int) -> None:
    network = village(count)
    names = sorted(("v1", "v2", "v3"), key=public)
    for name in names:
        ask(network, name)
    network.end_epoch()
    assert [network.node(name).state == EXITED for name in names] == [
        place < leaves for place in range(3)
    ]


def test_who_waits_for_its_turn_is_on_duty() -> None:
    network = village()
    ask(network, "v1")
    ask(network, "v2")
    judge_all(network, "v2")
    run_end(network, exited=("v1",))
    assert public("v2") in network.chain.newest_list().columns
    assert network.node("v2").earning == 1


def test_a_contributor_may_ask_after_his_time() -> None:
    network = village(contributor_wait_ms=3 * EPOCH_MS)
    network.block(network.register("new", "leo", QUARTER))
    network.block(network.contribute("kim", REQUIREMENT - QUARTER, "new"))
    run_end(network, joined=("new",))
    run_end(network)
    run_end(network)
    early = network.request_unlock("kim", "new")
    network.block(early, codes=[REFUSALS["unlock_too_early"].number])
    run_end(network)
    network.block(network.request_unlock("kim", "new"))
    run_end(network, exited=("new",))


# ---- decommissioned and leaving ----


def test_who_is_down_waits_and_comes_back_into_the_queue() -> None:
    network = village()
    put_down(network, "v1")
    ask(network, "v1")
    assert list(network.state.items(EXITS)) == []
    ask(network, "v2")
    run_end(network, exited=("v2",))
    ask(network, "v3")
    judge_all(network, "v1", faults=0)
    run_end(network, exited=("v3",))
    ask(network, "v4")
    # it is back only after the exits of this end, and then first by its time of asking
    run_end(network, back=("v1",), exited=("v4",))
    ask(network, "v5")
    run_end(network, exited=("v1",))
    run_end(network, exited=("v5",))


def going_down(*earlier: str, **params: int) -> Network:
    """`v1` was to leave after three others, and is down when its turn has come."""
    network = village(12, **params)
    for name in (*earlier, "v1"):
        ask(network, name)
    for name in earlier[:2]:
        judge_all(network, "v1")
        run_end(network, exited=(name,))
    run_end(network, down=("v1",), exited=earlier[2:])
    return network


def test_who_goes_down_loses_its_place_and_has_it_again_when_it_is_back() -> None:
    network = going_down("v2", "v3", "v4")
    assert list(network.state.items(EXITS)) == []
    ask(network, "v5", "v6")
    judge_all(network, "v1", faults=0)
    low, high = sorted(("v5", "v6"), key=public)
    run_end(network, exited=(low,))
    run_end(network, back=("v1",), exited=(high,))
    ask(network, "v7")
    run_end(network, exited=("v1",))
    run_end(network, exited=("v7",))


def test_nobody_escapes_deregistration_by_leaving() -> None:
    network = going_down("v2", "v3", "v4", credit_start_ms=0, credit_most_ms=0)
    for _ in range(2):
        judge_all(network, "v1")
        run_end(network)
    run_end(network, removed=("v1",))


def test_deregistered_while_leaving_is_locked_for_the_longer_time() -> None:
    network = village(credit_start_ms=0, credit_most_ms=0)
    put_down(network, "v1")
    ask(network, "v1")
    for _ in range(2):
        judge_all(network, "v1")
        run_end(network)
    run_end(network, removed=("v1",))
    due_ms = network.chain.tip.time_ms + network.params.lock_ms
    assert [key for key, _ in network.state.items(PAYOUTS)] == [
        due_ms.to_bytes(8, "big") + public("v1")
    ]
    assert due_ms > network.node("v1").exit_ms + network.params.unbonding_ms


# ---- before the activation ----


def test_awaiting_node_is_refunded_at_once() -> None:
    network = village()
    reserved = places(("bob", QUARTER), ("carol", 7))
    network.block(network.register("new", "leo", QUARTER, reserved=reserved))
    network.block(network.contribute("bob", QUARTER, "new"))
    network.block(network.contribute("dave", QUARTER, "new"))
    assert network.node("new").state == AWAITING
    network.block(network.update_contact("new"))
    before = {who: network.balance(who) for who in ("leo", "bob", "carol", "dave")}
    network.block(network.request_unlock("leo", "new"))
    run_end(network, refunded=("new",))
    gained = {who: network.balance(who) - amount for who, amount in before.items()}
    assert gained == {"leo": QUARTER - FEE, "bob": QUARTER, "carol": 0, "dave": QUARTER}


def test_queued_node_is_refunded_and_leaves_its_place_to_the_next() -> None:
    network = village(activation_floor=1, activation_share=0)
    network.block(network.register("first", "leo"), network.register("second", "kim"))
    network.block(network.request_unlock("leo", "first"))
    run_end(network, refunded=("first",), joined=("second",))
    assert network.state.get(NODES, public("first")) is None
    assert network.balance("leo") == network.balance("judy") - 2 * FEE


def test_refunds_are_outside_the_limit_of_exits() -> None:
    network = village(activation_verdict=1)
    people = ("leo", "kim", "judy")
    network.block(*(network.register(f"new {who}", who) for who in people))
    network.block(network.request_unlock(operator_of("v1"), "v1"))
    network.block(*(network.request_unlock(who, f"new {who}") for who in people))
    run_end(network, exited=("v1",), refunded=tuple(f"new {who}" for who in people))


def test_who_asked_before_the_activation_is_not_activated() -> None:
    network = village()
    network.block(network.register("new", "leo"), network.request_unlock("leo", "new"))
    assert network.node("new").state == QUEUED
    run_end(network, refunded=("new",))
    network.block(network.register("new", "leo", life=2))
    run_end(network, joined=("new",))


# ---- payout ----


@pytest.mark.parametrize("early_ms", [0, 1])
def test_payout_credits_stake_and_rewards(early_ms: int) -> None:
    network = village(**SHORT_LOCK, payable_ms=0)
    ask(network, "v1")
    run_end(network, exited=("v1",))
    earned = network.node("v1").accrued
    assert earned > 0
    before = network.balance("bob")
    late_ms = SHORT_LOCK["unbonding_ms"] - EPOCH_MS - early_ms
    run_end(network, late_ms, paid=("v1",) * (not early_ms))
    assert network.balance("bob") - before == (earned + REQUIREMENT) * (not early_ms)


def test_several_payouts_at_one_end() -> None:
    network = village(**SHORT_LOCK)
    for name in ("v1", "v2", "v3"):
        ask(network, name)
    for name in ("v1", "v2", "v3"):
        run_end(network, exited=(name,))
    run_end(network, late_ms=SHORT_LOCK["unbonding_ms"], paid=("v1", "v2", "v3"))


def test_what_was_still_to_change_is_forgotten_with_the_life() -> None:
    network = village(**SHORT_LOCK)
    ask(network, "v1")
    run_end(network, exited=("v1",))
    network.block(network.update_contact("v1"))
    run_end(network, late_ms=SHORT_LOCK["unbonding_ms"], paid=("v1",))


# ---- tombstones ----


def equivocators(count: int) -> tuple[Network, tuple[str, ...]]:
    """A village, and active nodes beside it that have list keys."""
    network = village(**SHORT_LOCK)
    names = tuple(f"seat {number}" for number in range(count))
    network.block(*(network.register(name, "leo", **attestor_roles(name)) for name in names))
    run_end(network, joined=names)
    run_end(network)
    return network, names


def accuse(network: Network, name: str) -> None:
    """Report two headers by the list key of a node."""
    network.block(report(network, "alice", header_evidence(network, public(f"{name} list"))))


def test_tombstones_bypass_the_limit_of_exits() -> None:
    network, names = equivocators(3)
    ask(network, "v1")
    for name in names:
        accuse(network, name)
    run_end(network, exited=("v1",), banned=names)
    assert all(network.state.one(HISTORIES, public(name)).tombstoned for name in names)


def test_tombstoned_stake_is_locked_and_paid_out_less_its_penalty() -> None:
    network, (name,) = equivocators(1)
    accuse(network, name)
    run_end(network, banned=(name,))
    left = REQUIREMENT - REQUIREMENT * network.params.list_penalty // 10_000
    before, waits = network.balance("leo"), network.node(name).accrued
    run_end(network, late_ms=SHORT_LOCK["lock_ms"], paid=(name,))
    assert network.balance("leo") - before == left + waits
    again = network.register(name, "leo", life=2)
    network.block(again, codes=[REFUSALS["tombstoned"].number])


def test_tombstoned_while_down_leaves_at_once() -> None:
    network, (name,) = equivocators(1)
    put_down(network, name)
    accuse(network, name)
    run_end(network, banned=(name,))


def test_verdicts_do_not_save_or_hurt_an_equivocator() -> None:
    network, (name,) = equivocators(1)
    for _ in range(2):
        judge_all(network, name)
        run_end(network)
    accuse(network, name)
    run_end(network, void=(name,), banned=(name,))


def test_tombstoned_before_the_activation_is_locked_all_the_same() -> None:
    network = village(activation_verdict=1)
    network.block(network.register("new", "leo", **attestor_roles("new")))
    run_end(network)
    accuse(network, "new")
    run_end(network, banned=("new",))
    assert len(list(network.state.items(PAYOUTS))) == 1


def test_list_shrinks_by_those_who_left_and_no_others() -> None:
    network = village()
    ask(network, "v1")
    run_end(network, exited=("v1",))
    columns = network.chain.newest_list().columns
    assert [name for name in names_of(8) if public(name) not in columns] == ["v1"]
