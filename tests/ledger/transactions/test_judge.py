"""`judge`, case by case."""

import pytest

from ledger.crypto import KeyPair
from ledger.messages import transactions as bodies
from ledger.messages.duty import MAX_FAULTS, Vote
from ledger.messages.state import DECOMMISSIONED, QUEUED
from ledger.messages.tables import VERDICTS
from tests.factory import Network, keys, public
from tests.ledger.effects import Sheet
from tests.ledger.runners.judge import draw, run_judge
from tests.ledger.runners.keys import run_set_keys
from tests.ledger.scenes import enter, share, take_down, town
from tests.life import FAULTY, TOWN, ballots, cast, running, townsfolk

FAILS = (FAULTY,) * 4


@pytest.fixture
def network() -> Network:
    """With an active node of alice, and seven of others."""
    network = town()
    enter(network)
    return network


def name_of(network: Network, place: int, epoch: int) -> str:
    """The name of a tester of the node."""
    key = draw(Sheet(network), epoch, public("node"), public("alice"))[place]
    return next(name for name in TOWN if public(name) == key)


def vote(network: Network, place: int, pair: KeyPair, epoch: int) -> bodies.TesterVote:
    """The failing vote of a tester who signs with this pair."""
    signature = cast(pair, network, Vote(epoch, public("node"), 1, FAULTY))
    return bodies.TesterVote(place, FAULTY, signature)


def test_a_fail_for_the_running_epoch(network: Network) -> None:
    run_judge(network, faults=FAILS)


def test_a_fail_for_the_epoch_before(network: Network) -> None:
    epoch = running(network)
    network.end_epoch()
    run_judge(network, faults=FAILS, epoch=epoch)


def test_both_epochs_in_one(network: Network) -> None:
    network.end_epoch()
    run_judge(network, faults=FAILS)
    run_judge(network, faults=FAILS, epoch=running(network) - 1)


def test_by_all_testers(network: Network) -> None:
    run_judge(network, faults=(FAULTY,) * 5)


def test_testers_who_found_different_faults(network: Network) -> None:
    run_judge(network, faults=(1, 2, 8, MAX_FAULTS, 4))


@pytest.mark.parametrize("silent", range(5))
def test_whoever_is_silent(network: Network, silent: int) -> None:
    votes = ballots(network, "node", (FAULTY,) * 5)
    run_judge(network, votes=votes[:silent] + votes[silent + 1 :])


def test_every_node_of_the_town_is_judged_in_one_epoch(network: Network) -> None:
    for name in TOWN:
        run_judge(network, name, FAILS)
    assert len(list(network.state.items(VERDICTS))) == len(TOWN)


def test_a_pass_for_a_queued_node() -> None:
    network = town(activation_verdict=1)
    share(network)
    for _ in range(2):
        network.end_epoch()
    assert network.node().state == QUEUED
    run_judge(network)


def test_a_pass_for_a_node_that_is_down(network: Network) -> None:
    take_down(network)
    run_judge(network)


def test_a_fail_for_a_node_that_is_down(network: Network) -> None:
    take_down(network)
    assert network.node().state == DECOMMISSIONED
    run_judge(network, faults=FAILS)


def test_a_fail_for_a_node_that_is_to_leave(network: Network) -> None:
    network.block(network.request_unlock())
    run_judge(network, faults=FAILS)


def test_a_tester_with_a_new_duty_key_signs_for_the_epoch_before_with_the_old(
    network: Network,
) -> None:
    epoch = running(network)
    name = name_of(network, 0, epoch)
    run_set_keys(network, name, duty=f"{name} duty 2")
    network.end_epoch()
    old = vote(network, 0, keys(f"{name} duty"), epoch)
    rest = ballots(network, "node", FAILS, epoch)[1:]
    run_judge(network, epoch=epoch, votes=(old, *rest))


def test_and_for_the_epoch_that_runs_with_the_new(network: Network) -> None:
    for name in TOWN:
        run_set_keys(network, name, duty=f"{name} duty 2")
    network.end_epoch()
    epoch = running(network)
    votes = [
        vote(network, place, keys(f"{name_of(network, place, epoch)} duty 2"), epoch)
        for place in range(4)
    ]
    run_judge(network, votes=tuple(votes))


def test_until_the_epochs_end_a_new_duty_key_signs_nothing(network: Network) -> None:
    epoch = running(network)
    name = name_of(network, 1, epoch)
    run_set_keys(network, name, duty=f"{name} duty 2")
    old = vote(network, 1, keys(f"{name} duty"), epoch)
    votes = ballots(network, "node", FAILS)
    run_judge(network, votes=(votes[0], old, *votes[2:]))


def test_fourteen_of_twenty() -> None:
    names = tuple(f"town {place}" for place in range(24))
    people = ("dave", "erin", "frank", "grace") * 6
    network = town({"nodes": townsfolk(names, people)}, quorum_testers=20, quorum_threshold=14)
    enter(network)
    run_judge(network, faults=(FAULTY,) * 14)


def test_a_node_that_left_keeps_its_part_in_the_quorum_of_before(network: Network) -> None:
    epoch = running(network)
    name = name_of(network, 0, epoch)
    operator = network.node(name).operator
    who = next(
        p
        for p in ("dave", "erin", "frank", "grace", "heidi", "ivan", "judy")
        if public(p) == operator
    )
    network.block(network.request_unlock(who, name))
    network.end_epoch()
    run_judge(network, faults=FAILS, epoch=epoch)
