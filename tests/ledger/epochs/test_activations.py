"""`apply_activations` and `apply_swarms`: who becomes active, and who has to be tested before."""

import pytest

from ledger.errors import REFUSALS
from ledger.messages.state import ACTIVE, QUEUED
from tests.factory import EPOCH_MS, Network, make_contact, public
from tests.ledger.epochs.ends import judge_all, put_down, run_end, village
from tests.life import judge, running


def asking_village(count: int) -> Network:
    """A network in which nobody becomes active without a test; `new` is queued."""
    network = village(count, activation_verdict=1)
    network.block(network.register("new", "leo"))
    return network


def wait_for_test(network: Network) -> None:
    """Go on to the epoch in which nodes that are funded now are tested first: the second after
    this one, whose seed nobody knows yet.
    """
    for _ in range(2):
        run_end(network)


@pytest.mark.parametrize(("ends", "code"), [(0, "not_tested"), (1, "not_tested"), (2, "")])
def test_first_test_is_in_the_second_epoch_after_the_funding(ends: int, code: str) -> None:
    network = asking_village(8)
    for _ in range(ends):
        run_end(network)
    raw = judge(network, "new", faults=0)
    network.block(raw, codes=[REFUSALS[code].number if code else 0])


def test_a_node_becomes_active_at_the_end_without_a_test_where_none_is_asked_for() -> None:
    network = village()
    network.block(network.register("new", "leo"))
    run_end(network, joined=("new",))


def test_a_pass_makes_a_queued_node_active() -> None:
    network = asking_village(8)
    wait_for_test(network)
    judge_all(network, "new", faults=0)
    run_end(network)
    assert (network.node("new").state, network.node("new").passed) == (QUEUED, 0)
    run_end(network, joined=("new",))


def test_who_was_not_tested_waits() -> None:
    network = asking_village(8)
    for _ in range(4):
        run_end(network)
    assert network.node("new").state == QUEUED


def test_a_pass_is_kept_while_the_node_waits_for_its_turn() -> None:
    network = village(activation_verdict=1, activation_floor=1, activation_share=0)
    network.block(network.register("first", "leo"), network.register("second", "kim"))
    wait_for_test(network)
    judge_all(network, "first", "second", faults=0)
    run_end(network)
    run_end(network, joined=("first",))
    assert network.node("second").passed == 1
    run_end(network, joined=("second",))


def test_who_passed_goes_before_who_did_not() -> None:
    network = village(activation_verdict=1, activation_floor=1, activation_share=0)
    network.block(network.register("first", "leo"), network.register("second", "kim"))
    wait_for_test(network)
    judge_all(network, "second", faults=0)
    run_end(network)
    run_end(network, joined=("second",))


def test_a_change_of_contact_data_in_the_window_voids_the_pass() -> None:
    network = asking_village(8)
    wait_for_test(network)
    judge_all(network, "new", faults=0)
    run_end(network)
    network.block(network.update_contact("new", contact=make_contact(99)))
    run_end(network)
    node = network.node("new")
    assert (node.state, node.passed, node.tested_from) == (QUEUED, 0, running(network))
    judge_all(network, "new", faults=0)
    run_end(network)
    run_end(network, joined=("new",))


def test_a_change_of_contact_data_in_the_tested_epoch_voids_the_verdict() -> None:
    network = asking_village(8)
    wait_for_test(network)
    judge_all(network, "new", faults=0)
    network.block(network.update_contact("new", contact=make_contact(99)))
    run_end(network)
    run_end(network, void=("new",))
    assert network.node("new").passed == 0


def test_a_change_of_contact_data_voids_an_older_pass() -> None:
    network = village(activation_verdict=1, activation_floor=1, activation_share=0)
    network.block(network.register("first", "leo"), network.register("second", "kim"))
    wait_for_test(network)
    judge_all(network, "first", "second", faults=0)
    run_end(network)
    run_end(network, joined=("first",))
    network.block(network.update_contact("second", contact=make_contact(99)))
    run_end(network)
    assert (network.node("second").state, network.node("second").passed) == (QUEUED, 0)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_no_test_is_needed_where_too_few_could_test(count: int) -> None:
    network = asking_village(count)
    run_end(network, joined=("new",))


def test_own_nodes_cannot_test_so_they_count_for_nobody() -> None:
    """Five nodes are active, and one of them is of the newcomer's operator."""
    network = village(5, activation_verdict=1)
    network.block(network.register("own", "alice"), network.register("other", "leo"))
    run_end(network, joined=("own",))
    assert network.node("other").state == QUEUED


def test_the_roster_of_the_epoch_decides_and_not_who_is_there_at_its_end() -> None:
    network = village(5, activation_verdict=1)
    network.block(network.register("new", "leo"))
    network.block(network.request_unlock("bob", "v1"))
    run_end(network, exited=("v1",))
    assert network.node("new").state == QUEUED
    run_end(network, joined=("new",))


def test_those_who_come_back_count_for_the_limit_and_not_against_it() -> None:
    network = village(activation_floor=1, activation_share=0)
    put_down(network, "v1")
    judge_all(network, "v1", faults=0)
    run_end(network)
    network.block(network.register("first", "leo"), network.register("second", "kim"))
    run_end(network, back=("v1",), joined=("first",))
    run_end(network, joined=("second",))


def test_operators_take_turns_with_those_who_may() -> None:
    network = village(activation_floor=2, activation_share=0)
    network.block(
        *(network.register(f"kim {number}", "kim") for number in range(3)),
        network.register("leo 0", "leo"),
    )
    run_end(network, joined=("kim 0", "leo 0"))
    run_end(network, joined=("kim 1", "kim 2"))


def test_duty_begins_with_the_epoch_after() -> None:
    network = village(payable_ms=3 * EPOCH_MS)
    network.block(network.register("new", "leo"))
    run_end(network, joined=("new",))
    node = network.node("new")
    assert (node.state, node.tested_from) == (ACTIVE, running(network))
    assert node.credit_ms == network.params.credit_start_ms
    assert node.payable_from_ms == node.activated_ms + 3 * EPOCH_MS
    assert public("new") in network.chain.newest_list().columns
