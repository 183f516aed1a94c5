"""Where the registry fills the seats: who stands for one, whose turn it is, and who goes."""

from collections.abc import Sequence
from typing import Any

import pytest

from ledger.errors import REFUSALS
from ledger.messages.genesis import GenesisAttestor
from ledger.messages.lists import Attestor
from ledger.messages.state import ACTIVE, DECOMMISSIONED, EXITED, TOMBSTONED
from ledger.messages.tables import CHAINLINKS, SETS
from ledger.messages.transactions import Seat
from ledger.rules.attestors import compute_turnover, turnover_limit
from tests.factory import (
    EPOCH_MS,
    PEOPLE,
    Network,
    attestor_roles,
    links,
    make_genesis,
    public,
)
from tests.ledger.epochs.ends import judge_all, put_down, run_end
from tests.ledger.epochs.seats import (
    FOUNDERS,
    NODES,
    enlist,
    list_keys,
    realm,
    seated,
    turn,
)
from tests.life import (
    header_evidence,
    report,
    seats,
    set_attestors,
    set_keys,
    set_params,
    vote_evidence,
)

FIRST, SECOND, THIRD = FOUNDERS


def nodes(names: Sequence[str]) -> tuple[str, ...]:
    """The names of the nodes of list keys."""
    return tuple(name.removesuffix(" list") for name in names)


def again(network: Network, name: str, sequence: int = 1) -> bytes:
    """A node names another list key."""
    list_key = public(f"{name} again list")
    return set_keys(
        network, name, sequence, f"{name} duty", list_key=list_key, list_tip=links(list_key)[-1]
    )


def opt_out(network: Network, name: str, sequence: int = 1) -> bytes:
    """A node names no list key any more."""
    return set_keys(network, name, sequence, f"{name} duty", list_key=b"")


def taken_over(network: Network) -> None:
    """Three nodes hold all three seats."""
    enlist(network, "n0", "n1", "n2", gone=(FIRST,), came=list_keys("n0"))
    turn(network, gone=(SECOND,), came=list_keys("n1"))
    turn(network, gone=(THIRD,), came=list_keys("n2"))
    turn(network)
    assert sorted(seated(network)) == sorted(list_keys("n0", "n1", "n2"))


# ---- the founding set ----


def test_the_founding_set_serves_until_enough_nodes_stand() -> None:
    network = realm()
    enlist(network, "n0", "n1")
    for _ in range(3):
        turn(network)
    assert seated(network) == list(FOUNDERS)
    enlist(network, "n2", gone=(FIRST,), came=list_keys("n0"))


def test_founders_go_by_ascending_key_and_the_oldest_nodes_come() -> None:
    network = realm()
    taken_over(network)
    turn(network)


def test_before_that_nothing_but_lost_seats_goes_and_nothing_comes() -> None:
    network = realm()
    enlist(network, "n0", "n1")
    network.block(report(network, "leo", header_evidence(network, public(SECOND))))
    turn(network, gone=(SECOND,))
    turn(network)
    turn(network)
    assert seated(network) == [FIRST, THIRD]


def test_seats_of_founding_nodes_count_and_stay() -> None:
    """A node of the file stands behind two of three seats."""
    rows = [
        GenesisAttestor(public(name), 1, links(public(name))[-1], public(f"{node} c"), node=key)
        for name, node, key in zip(
            FOUNDERS, ("v0", "v1", ""), (public("v0"), public("v1"), b""), strict=True
        )
    ]
    rows[2] = GenesisAttestor(rows[2].list_key, 1, rows[2].tip, public("third c"))
    network = realm({"attestors": tuple(rows), "engine": 2, "producer": b""})
    turn(network)
    network.block(network.register("n0", "alice", **attestor_roles("n0")))
    turn(network, joined=("n0",), gone=(THIRD,), came=list_keys("n0"))
    turn(network)
    turn(network)
    assert sorted(seated(network)) == sorted((FIRST, SECOND, "n0 list"))


def test_a_set_grows_by_a_seat_a_time() -> None:
    network = realm()
    taken_over(network)
    enlist(network, "n3", came=list_keys("n3"))
    enlist(network, "n4", came=list_keys("n4"))
    turn(network)
    assert len(seated(network)) == 5


def test_the_time_between_two_changes_is_kept() -> None:
    network = realm(set_change_ms=2 * EPOCH_MS)
    enlist(network, "n0", "n1", "n2", gone=(FIRST,), came=list_keys("n0"))
    turn(network)
    turn(network, gone=(SECOND,), came=list_keys("n1"))


def test_a_set_that_is_not_final_is_announced_again_and_nothing_else_moves() -> None:
    network = realm()
    enlist(network, "n0", "n1", "n2", gone=(FIRST,), came=list_keys("n0"))
    network.attesting = False
    for _ in range(2):
        turn(network, is_final=False)
    network.attesting = True
    turn(network, gone=(SECOND,), came=list_keys("n1"))


def test_below_the_number_nodes_go_on_and_nothing_comes() -> None:
    network = realm(founders_until=4)
    # the founders are fewer than have to stand: the set grows first
    enlist(network, "n0", "n1", "n2", "n3", came=list_keys("n0"))
    network.block(network.request_unlock("dave", "n3"))
    turn(network, exited=("n3",))
    for _ in range(2):
        turn(network)
    assert sorted(seated(network)) == sorted(("n0 list", *FOUNDERS))
    # even who names no list key any more goes on
    network.block(opt_out(network, "n0"))
    turn(network)
    turn(network)
    enlist(network, "n4")
    enlist(network, "n5", gone=(FIRST,), came=list_keys("n1"))


def test_a_single_founder_does_not_leave_the_seats_to_a_stranger_alone() -> None:
    """The set grows to as many seats as nodes have to stand, and only then the founder goes."""
    key = public(FIRST)
    founder = GenesisAttestor(key, 1, links(key)[-1])
    network = realm({"attestors": (founder,)}, founders_until=4)
    enlist(network, "n0", "n1", "n2", "n3", came=list_keys("n0"))
    turn(network, came=list_keys("n1"))
    turn(network, came=list_keys("n2"))
    turn(network, gone=(FIRST,), came=list_keys("n3"))
    turn(network)
    assert sorted(seated(network)) == sorted(list_keys("n0", "n1", "n2", "n3"))


def test_a_set_smaller_than_that_keeps_who_does_not_stand_until_it_has_grown() -> None:
    network = realm(RECOVERY)
    taken_over(network)
    lost = sorted(list_keys("n0", "n1"), key=public)
    for name in lost:
        network.block(report(network, "leo", header_evidence(network, public(name))))
    turn(network, banned=nodes(lost), gone=lost[:1])
    turn(network, gone=lost[1:], delayed=nodes(lost[:1]))
    turn(network, delayed=nodes(lost[1:]))
    assert seated(network) == ["n2 list"]
    network.block(opt_out(network, "n2"))
    enlist(network, "n3", "n4", "n5", came=list_keys("n3"))
    turn(network, came=list_keys("n4"))
    turn(network, gone=list_keys("n2"), came=list_keys("n5"))
    network.end_epoch()
    assert sorted(seated(network)) == sorted(list_keys("n3", "n4", "n5"))


def test_a_lost_seat_goes_below_the_number_too_and_the_last_one_stays() -> None:
    network = realm()
    taken_over(network)
    for name in ("n0", "n1", "n2"):
        network.block(report(network, "leo", header_evidence(network, public(f"{name} list"))))
    lost = sorted(list_keys("n0", "n1", "n2"), key=public)
    turn(network, banned=("n0", "n1", "n2"), gone=lost[:1])
    turn(network, gone=lost[1:2], delayed=nodes(lost[:1]))
    turn(network, delayed=nodes(lost[1:2]))
    turn(network)
    assert seated(network) == lost[2:]
    # enough nodes stand again: it goes at last
    enlist(network, "n3", "n4", "n5", gone=lost[2:], came=list_keys("n3"))


# ---- who stands ----


def stands(network: Network, *names: str) -> None:
    """That these three nodes stand: the set changes."""
    turn(network, gone=(FIRST,), came=list_keys(*names[:1]))


STRAYS: dict[str, dict[str, Any]] = {
    "no keys": {},
    "no consensus key": attestor_roles("n2") | {"consensus_key": b""},
    "no list key": attestor_roles("n2") | {"list_key": b"", "list_tip": b""},
}


@pytest.mark.parametrize("name", STRAYS)
def test_a_node_stands_that_names_a_list_key_and_a_consensus_key(name: str) -> None:
    network = realm()
    enlist(network, "n0", "n1")
    network.block(network.register("n2", "carol", **STRAYS[name]))
    turn(network, joined=("n2",))
    turn(network)
    network.block(set_keys(network, "n2", 1, "n2 duty", **attestor_roles("n2")))
    stands(network, "n0")


def test_a_node_that_opts_in_later_comes_after_those_that_stood_before() -> None:
    """However old it is."""
    network = realm()
    enlist(network, "n0")
    network.block(set_keys(network, "v3", 1, "v3 duty", **attestor_roles("v3")))
    turn(network)
    assert network.node("v3").stands_ms == network.chain.tip.time_ms
    enlist(network, "n1", gone=(FIRST,), came=list_keys("n0"))
    turn(network, gone=(SECOND,), came=list_keys("v3"))
    turn(network, gone=(THIRD,), came=list_keys("n1"))


@pytest.mark.parametrize("changed", ["another list key", "none, and the same again"])
def test_who_waits_and_names_keys_anew_stands_anew(changed: str) -> None:
    network = realm()
    enlist(network, "n0", "n1")
    if changed == "another list key":
        network.block(again(network, "n0"))
    else:
        network.block(opt_out(network, "n0"))
        turn(network)
        network.block(set_keys(network, "n0", 2, "n0 duty", list_key=public("n0 list")))
    turn(network)
    anew = network.node("n0").stands_ms
    assert anew == network.chain.tip.time_ms
    # other keys change nothing of that
    network.block(
        set_keys(network, "n0", 3, "n0 duty 2", consensus_key=public("n0 other consensus")),
        set_keys(network, "n1", 3, "n1 duty 2", consensus_key=public("n1 other consensus")),
    )
    turn(network)
    assert network.node("n0").stands_ms == anew
    assert network.node("n1").stands_ms == 0
    enlist(network, "n2", gone=(FIRST,), came=list_keys("n1"))


def test_keys_that_are_named_in_the_queue_count_from_the_activation_on() -> None:
    network = realm(activation_floor=1, activation_share=0)
    enlist(network, "n0")
    network.block(
        network.register("other", "carol"),
        network.register("n1", "erin", **attestor_roles("n1")),
        network.register("n2", "dave"),
    )
    turn(network, joined=("other",))
    network.block(set_keys(network, "n2", 1, "n2 duty", **attestor_roles("n2")))
    turn(network, joined=("n1",))
    assert network.node("n2").stands_ms > 0
    turn(network, joined=("n2",), gone=(FIRST,), came=list_keys("n0"))
    turn(network, gone=(SECOND,), came=list_keys("n1"))


def test_two_old_nodes_that_come_and_go_in_turns_keep_nobody_out() -> None:
    network = realm()
    enlist(network, "n0", "n1")
    network.block(opt_out(network, "n1"))
    turn(network)
    enlist(network, "n2", "n3", gone=(FIRST,), came=list_keys("n0"))
    turn(network, gone=(SECOND,), came=list_keys("n2"))
    turn(network, gone=(THIRD,), came=list_keys("n3"))
    network.block(
        *(network.register(name, who, **attestor_roles(name))
          for name, who in (("n4", "erin"), ("n5", "frank")))
    )  # fmt: skip
    first, second = sorted(("n4", "n5"), key=public)
    turn(network, joined=("n4", "n5"), came=list_keys(first))
    # one of the two goes and the other comes; who waits comes before it
    network.block(
        opt_out(network, "n0"),
        set_keys(network, "n1", 2, "n1 duty", list_key=public("n1 list")),
    )
    turn(network, gone=list_keys("n0"), came=list_keys(second))
    turn(network, came=list_keys("n1"))
    assert network.node("n0").stands_ms == network.chain.tip.time_ms


def test_of_one_age_the_lowest_node_key_comes_first() -> None:
    network = realm()
    names = sorted(("n0", "n1", "n2"), key=public)
    network.block(
        *(network.register(name, who, **attestor_roles(name))
          for name, who in zip(names, PEOPLE, strict=False))
    )  # fmt: skip
    turn(network, joined=tuple(names), gone=(FIRST,), came=list_keys(names[0]))
    turn(network, gone=(SECOND,), came=list_keys(names[1]))
    turn(network, gone=(THIRD,), came=list_keys(names[2]))


def test_who_waits_in_the_queue_does_not_stand() -> None:
    network = realm(activation_floor=1, activation_share=0)
    enlist(network, "n0", "n1")
    network.block(
        network.register("other", "carol"), network.register("n2", "dave", **attestor_roles("n2"))
    )
    turn(network, joined=("other",))
    turn(network, joined=("n2",), gone=(FIRST,), came=list_keys("n0"))


def test_who_is_down_does_not_stand_and_keeps_a_seat() -> None:
    network = realm()
    enlist(network, "n0", "n1")
    put_down(network, "n1")
    judge_all(network, "n1", faults=0)
    enlist(network, "n2")
    turn(network, back=("n1",), gone=(FIRST,), came=list_keys("n0"))
    turn(network, gone=(SECOND,), came=list_keys("n1"))
    turn(network, gone=(THIRD,), came=list_keys("n2"))
    turn(network)
    put_down(network, "n0")
    assert network.node("n0").state == DECOMMISSIONED
    turn(network)
    assert "n0 list" in seated(network)


def test_who_lost_stake_does_not_stand_and_loses_its_seat_to_one_that_does() -> None:
    network = realm()
    taken_over(network)
    network.block(report(network, "leo", vote_evidence(network, "n1")))
    # nobody stands in its place, and two are not enough
    turn(network)
    network.block(report(network, "leo", vote_evidence(network, "v0")))
    network.block(set_keys(network, "v0", 1, "v0 duty", **attestor_roles("v0")))
    turn(network)
    enlist(network, "n3", gone=list_keys("n1"), came=list_keys("n3"))
    assert network.node("n1").state == ACTIVE


def test_who_waits_to_leave_does_not_come() -> None:
    network = realm()
    enlist(network, "n0", "n1")
    network.block(
        network.register("n2", "carol", **attestor_roles("n2")),
        network.register("n3", "dave", **attestor_roles("n3")),
        network.request_unlock("alice", "n0"),
        network.request_unlock("bob", "n1"),
    )
    # one leaves at an end: the other still waits, and does not stand
    first, second = sorted(("n0", "n1"), key=public)
    turn(network, joined=("n2", "n3"), exited=(first,))
    turn(network, exited=(second,))
    enlist(network, "n4", gone=(FIRST,), came=list_keys(min("n2", "n3", key=public)))


def test_who_asks_to_leave_keeps_its_seat_while_it_is_on_duty() -> None:
    network = realm()
    taken_over(network)
    network.block(network.request_unlock("alice", "n0"), network.request_unlock("bob", "n1"))
    first, second = sorted(("n0", "n1"), key=public)
    turn(network, exited=(first,), gone=list_keys(first))
    assert network.node(second).state == ACTIVE
    turn(network, exited=(second,), gone=list_keys(second), delayed=(first,))
    turn(network, delayed=(second,))


# ---- seats that go ----


def test_who_names_no_list_key_any_more_goes_when_it_can_be_replaced_or_not() -> None:
    network = realm()
    taken_over(network)
    enlist(network, "n3", came=list_keys("n3"))
    turn(network)
    network.block(opt_out(network, "n1"))
    # three others stand and are seated: its seat is not needed
    turn(network, gone=list_keys("n1"))
    turn(network)
    assert network.node("n1").state == ACTIVE
    # it may come back with the key that it had, behind those who wait
    back = set_keys(network, "n1", 2, "n1 duty", list_key=public("n1 list"))
    network.block(back, network.register("n4", "erin", **attestor_roles("n4")))
    first, second = sorted(("n1", "n4"), key=public)
    turn(network, joined=("n4",), came=list_keys(first))
    turn(network, came=list_keys(second))


def test_lost_seats_go_before_founders_and_these_before_the_unwanted() -> None:
    network = realm()
    enlist(network, "n0", "n1", "n2", gone=(FIRST,), came=list_keys("n0"))
    turn(network, gone=(SECOND,), came=list_keys("n1"))
    network.block(
        opt_out(network, "n0"), report(network, "leo", header_evidence(network, public(THIRD)))
    )
    enlist(network, "n3", gone=(THIRD,), came=list_keys("n2"))
    turn(network, gone=list_keys("n0"), came=list_keys("n3"))
    turn(network)


def test_a_lost_seat_is_replaced_by_the_oldest_without_one() -> None:
    network = realm()
    taken_over(network)
    enlist(network, "n3", came=list_keys("n3"))
    enlist(network, "n4", came=list_keys("n4"))
    turn(network)
    network.block(
        network.register("n5", "frank", **attestor_roles("n5")),
        report(network, "leo", header_evidence(network, public("n1 list"))),
    )
    turn(network, joined=("n5",), banned=("n1",), gone=list_keys("n1"), came=list_keys("n5"))
    assert network.node("n1").state == TOMBSTONED


def full(network: Network) -> None:
    """Twenty-five nodes hold twenty-five seats, and no founder any."""
    names = NODES[:25]
    network.block(
        *(network.register(name, PEOPLE[i % 12], **attestor_roles(name))
          for i, name in enumerate(names))
    )  # fmt: skip
    network.end_epoch()
    while len(seated(network)) < 25 or set(FOUNDERS) & set(seated(network)):
        before = network.state.one(SETS).current
        network.end_epoch()
        members = network.state.one(SETS).current
        assert compute_turnover(before, members) <= turnover_limit(before)
        assert len(members) <= 25
    network.end_epoch()


def test_a_set_has_twenty_five_seats_at_most_and_older_nodes_displace_younger_ones() -> None:
    """Recovery keys leave out the two that stood longest; a tenth of the seats moves at once."""
    network = realm(RECOVERY, founders_until=25)
    names = sorted(NODES[:27], key=public)
    network.block(
        *(network.register(name, PEOPLE[i % 12], **attestor_roles(name))
          for i, name in enumerate(names))
    )  # fmt: skip
    network.end_epoch()
    seats = tuple(Seat(key, 1, b"", b"") for key in sorted(map(public, list_keys(*names[2:]))))
    network.block(set_attestors(network, seats, recovery=RESCUERS))
    network.end_epoch()
    assert len(seated(network)) == 25
    turn(network, gone=list_keys(*names[-2:]), came=list_keys(*names[:2]))
    turn(network)
    turn(network)
    # these two stand behind all others now, though they would have been older than who comes
    assert {network.node(name).stands_ms > 0 for name in names[-2:]} == {True}
    assert len(network.state.one(SETS).current) == 25


def test_of_more_nodes_than_there_are_seats_the_oldest_stand_whatever_their_keys() -> None:
    """The two that came first have the highest node keys of twenty-seven."""
    network = realm(founders_until=25)
    names = sorted(NODES[:27], key=public)
    for some in (names[-2:], names[:-2]):
        network.block(
            *(network.register(name, PEOPLE[i % 12], **attestor_roles(name))
              for i, name in enumerate(some))
        )  # fmt: skip
        network.end_epoch()
    for name in names[-2:]:
        assert public(f"{name} list") in [m.list_key for m in network.state.one(SETS).next]
        network.end_epoch()


def test_a_tenth_of_the_seats_may_go_at_once() -> None:
    network = realm()
    full(network)
    for name in ("n4", "n5", "n6"):
        network.block(report(network, "leo", header_evidence(network, public(f"{name} list"))))
    lost = sorted(list_keys("n4", "n5", "n6"), key=public)
    turn(network, banned=("n4", "n5", "n6"), gone=lost[:2])
    turn(network, gone=lost[2:], delayed=nodes(lost[:2]))


# ---- another list key ----


def test_a_node_that_names_another_list_key_has_its_seat_moved() -> None:
    network = realm()
    taken_over(network)
    network.block(again(network, "n1"))
    tip = links(public("n1 again list"))[-1]
    turn(network, gone=list_keys("n1"), came=("n1 again list",))
    assert network.state.one(CHAINLINKS, public("n1 again list")).value == tip
    turn(network)
    turn(network)
    assert sorted(seated(network)) == sorted(("n0 list", "n1 again list", "n2 list"))


def test_a_seat_moves_only_when_nothing_else_goes_or_comes() -> None:
    network = realm()
    taken_over(network)
    network.block(again(network, "n1"))
    enlist(network, "n3", came=list_keys("n3"))
    turn(network, gone=list_keys("n1"), came=("n1 again list",))


def test_the_seat_of_a_founding_node_moves_while_the_founding_set_serves() -> None:
    rows = tuple(
        GenesisAttestor(public(name), 1, links(public(name))[-1], node=node)
        for name, node in zip(FOUNDERS, (public("v0"), b"", b""), strict=True)
    )
    network = realm({"attestors": rows})
    # under one producer the file names no consensus keys, so at first it does not stand
    network.block(set_keys(network, "v0", 1, "v0 duty", consensus_key=public("v0 consensus")))
    turn(network)
    key = public("n9 list")
    network.block(set_keys(network, "v0", 2, "v0 duty", list_key=key, list_tip=links(key)[-1]))
    turn(network, gone=(FIRST,), came=("n9 list",))


# ---- orders ----


def test_attestors_order_no_set() -> None:
    network = realm()
    kept = network.state.one(SETS).current
    raw = set_attestors(network, seats(network, "new seat", kept=kept))
    network.block(raw, codes=[REFUSALS["bad_order"].number])


CLEARED: dict[str, Any] = {"ordered": (), "ordered_by": 0, "begin": 0}
RESCUERS = ("rescue 0", "rescue 1")
RECOVERY = {"recovery": tuple(sorted(map(public, RESCUERS)))}


def test_recovery_replaces_the_set_and_its_seats_then_go_as_founders_do() -> None:
    network = realm(RECOVERY)
    taken_over(network)
    new = (Attestor(public("new seat"), 1),)
    network.block(set_attestors(network, seats(network, "new seat"), recovery=RESCUERS))
    changed_ms = network.header.valid_after_ms + EPOCH_MS
    run_end(
        network,
        sets=CLEARED | {"current": new, "next": new, "changed_ms": changed_ms},
        tips={public("new seat"): links(public("new seat"))[-1]},
    )
    # three nodes lost their seats at once; the set grows to three, and then the stranger goes
    first, second, third = sorted(("n0", "n1", "n2"), key=public)
    turn(network, came=list_keys(first))
    turn(network, came=list_keys(second))
    turn(network, gone=("new seat",), came=list_keys(third))
    turn(network)


def test_recovery_that_names_a_seat_lost_by_then_lapses() -> None:
    network = realm(RECOVERY)
    taken_over(network)
    kept = network.state.one(SETS).current
    rescue = set_attestors(network, seats(network, kept=kept), recovery=RESCUERS)
    network.block(rescue, network.request_unlock("alice", "n0"))
    turn(network, exited=("n0",), sets=CLEARED, gone=list_keys("n0"))
    assert network.node("n0").state == EXITED


def test_recovery_that_lapses_keeps_no_set_from_taking_over() -> None:
    """Clients know that set from a final header; at the same end the next one is announced."""
    network = realm(RECOVERY)
    enlist(network, "n0", "n1", "n2", gone=(FIRST,), came=list_keys("n0"))
    assert network.state.one(SETS).current != network.state.one(SETS).next
    seats = (Seat(public("n1 list"), 1, b"", b""),)
    network.block(
        set_attestors(network, seats, recovery=RESCUERS), network.request_unlock("bob", "n1")
    )
    announced = network.state.one(SETS).next
    turn(network, exited=("n1",), sets=CLEARED)
    assert network.state.one(SETS).current == announced
    network.block(network.register("n3", "dave", **attestor_roles("n3")))
    turn(network, joined=("n3",), gone=(SECOND,), came=list_keys("n2"))


def test_recovery_that_lapses_under_a_header_that_is_not_final_lets_nothing_take_over() -> None:
    network = realm(RECOVERY)
    enlist(network, "n0", "n1", "n2", gone=(FIRST,), came=list_keys("n0"))
    seats = (Seat(public("n1 list"), 1, b"", b""),)
    network.attesting = False
    network.block(
        set_attestors(network, seats, recovery=RESCUERS), network.request_unlock("bob", "n1")
    )
    turn(network, exited=("n1",), sets=CLEARED, is_final=False)


# ---- parameters ----


def test_the_number_of_nodes_that_have_to_stand_may_change() -> None:
    network = realm(founders_until=5)
    enlist(network, "n0", "n1", "n2")
    network.block(set_params(network, founders_until=3))
    late_ms = network.params.unbonding_ms + EPOCH_MS
    turn(network, late_ms=late_ms, rules=True)
    turn(network, gone=(FIRST,), came=list_keys("n0"))


def test_genesis_gives_the_policy() -> None:
    assert make_genesis().policy == Network().state.one(SETS).policy
    assert realm().state.one(SETS).policy == 2
