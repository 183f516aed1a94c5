"""What went wrong with such networks before, as stories of whole blocks and epochs.

Stories of money stand in test_field_cases_of_money.py. What stands elsewhere is not told again:

    another life   for headers: transactions/test_report.py, "a later life does not pay …"; all that
                   can be sent to a life that is over: refusals/ (`lives_again`, `reborn`)
    every node fails   which nodes go first, and for what: epochs/test_verdicts.py
"""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.codec import Record
from ledger.messages.duty import Vote
from ledger.messages.state import (
    ACTIVE,
    DECOMMISSIONED,
    DEREGISTERED,
    EXITED,
    QUEUED,
    Failing,
    Verdict,
)
from ledger.messages.tables import CONTACTS, FAILING, HISTORIES, NEW_KEYS, NODES, PENDING, VERDICTS
from ledger.messages.transactions import Judge
from ledger.messages.transactions import TesterVote as Ballot
from ledger.state import epoch_key
from ledger.transactions.judge import get_quorum
from tests.factory import (
    FEE,
    QUARTER,
    REQUIREMENT,
    Network,
    attestor_roles,
    free,
    keys,
    make_contact,
    public,
)
from tests.ledger.epochs.ends import SHORT_LOCK, judge_all, names_of, village
from tests.ledger.scenes import SHORT, enter, fail, let_go, pay_out, town
from tests.ledger.stories import amounts, is_tested, is_there, refuse
from tests.life import FAULTY, cast, duty_pair, judge, report, running, set_keys, vote_evidence

ALL_TEST: dict[str, Any] = {**SHORT, "quorum_testers": 7, "quorum_threshold": 4}
"""Parameters under which everybody in the town tests whoever is not of it."""

# --------------------------------------------- a node registered again, and its former life


def signed(network: Network, raw: bytes) -> dict[bytes, Ballot]:
    """The votes of a verdict by their testers, as long as its roster is known."""
    body: Judge = network.chain.decode(raw).body
    quorum = get_quorum(network.state, body.epoch, body.node)
    return {quorum[vote.place]: vote for vote in body.votes}


def recast(network: Network, votes: dict[bytes, Ballot], epoch: int, life: int) -> bytes:
    """A verdict on the node for another epoch or life, of votes that were signed before."""
    quorum = get_quorum(network.state, epoch, public("node"))
    rows = (
        replace(votes[tester], place=place)
        for place, tester in enumerate(quorum)
        if tester in votes
    )
    return free("judge", Judge(epoch, public("node"), life, tuple(rows)))


def test_a_pass_of_the_former_life_does_not_activate_the_next() -> None:
    """The node gives up while its verdict waits, and is registered anew before the verdict's end:
    neither the verdict that waits, nor the same one again, nor its votes speak of the new life.
    """
    network = town(**ALL_TEST, activation_verdict=1)
    network.block(network.register())
    network.end_epoch()
    network.end_epoch()
    passed = judge(network)
    votes, epoch = signed(network, passed), running(network)
    network.block(passed, network.request_unlock())
    network.end_epoch()
    assert not is_there(network)
    assert network.state.one(VERDICTS, epoch_key(epoch, public("node"))) == Verdict(1, 0)
    refuse(network, passed, "unknown_node")

    network.block(network.register(life=2))
    refuse(network, passed, "wrong_life")
    refuse(network, recast(network, votes, epoch, 2), "not_tested")
    network.end_epoch()
    assert list(network.state.items(VERDICTS)) == []
    for _ in range(2):
        assert (network.node().state, network.node().passed) == (QUEUED, 0)
        network.end_epoch()

    # its own test: with votes of the former life it is none
    refuse(network, recast(network, votes, running(network), 2), "bad_signature")
    network.block(judge(network))
    network.end_epoch()
    network.end_epoch()
    assert (network.node().state, network.node().life) == (ACTIVE, 2)


def test_failing_epochs_of_two_lives_are_no_run() -> None:
    network = town(**SHORT)
    enter(network)
    fail(network)
    failed = judge(network, faults=FAULTY)
    network.block(failed, network.request_unlock())
    network.end_epoch()
    assert network.node().state == EXITED
    assert network.state.get(FAILING, public("node")) is None
    pay_out(network)
    assert not is_there(network)

    network.block(network.register(life=2, **attestor_roles("node")))
    network.end_epoch()
    refuse(network, failed, "verdict_closed")
    first = running(network)
    fail(network)
    network.end_epoch()
    assert network.state.one(FAILING, public("node")) == Failing(1, first)
    assert network.node().state == ACTIVE


def test_votes_for_the_long_epoch_in_which_a_life_ended_do_not_judge_the_next() -> None:
    """A halt: the window of the epoch at whose end the stake was paid out is still open."""
    network = town(**SHORT)
    enter(network)
    let_go(network)
    stale, epoch = judge(network, faults=FAULTY), running(network)
    pay_out(network)
    network.block(network.register(life=2))
    assert running(network) == epoch + 1
    refuse(network, stale, "wrong_life")
    body: Judge = network.chain.decode(stale).body
    refuse(network, free("judge", replace(body, life=2)), "not_tested")
    network.end_epoch()
    assert network.node().state == ACTIVE
    assert network.state.get(FAILING, public("node")) is None


def test_a_fail_of_the_former_life_does_not_take_down_the_next() -> None:
    """The same testers, the same key, the same faults: but a vote names its epoch and the life."""
    network = town(**ALL_TEST)
    enter(network)
    votes = signed(network, judge(network, faults=FAULTY))
    let_go(network)
    pay_out(network)
    network.block(network.register(life=2, **attestor_roles("node")))
    network.end_epoch()
    for _ in range(3):
        refuse(network, recast(network, votes, running(network), 2), "bad_signature")
        refuse(network, recast(network, votes, running(network), 1), "wrong_life")
        network.end_epoch()
    assert network.node().state == ACTIVE


def test_contradicting_votes_of_the_former_life_cost_the_next_nothing() -> None:
    network = town(**SHORT)
    enter(network)
    epoch = running(network)
    let_go(network)
    while is_there(network):
        network.end_epoch()
    network.block(network.register(life=2, **attestor_roles("node")))
    network.end_epoch()

    def evidence() -> Record:
        return vote_evidence(network, "node", epoch=epoch, pair=keys("node duty"))

    refuse(network, report(network, "leo", evidence()), "evidence_too_old")
    # what the key signed after its duty had ended is young enough, and nobody's stake is behind it
    epoch = running(network) - 2
    refuse(network, report(network, "leo", evidence()), "nothing_at_stake")
    assert (amounts(network), network.node().taken) == ([REQUIREMENT], 0)
    assert not network.state.one(HISTORIES, public("node")).tombstoned
    network.end_epoch()
    assert network.node().state == ACTIVE


def test_contradicting_votes_on_the_former_life_cost_their_signer_and_not_the_node() -> None:
    network = town(**SHORT)
    enter(network)
    let_go(network)
    evidence = vote_evidence(network, "town 0", node="node")
    pay_out(network)
    network.block(network.register(life=2))
    before = network.node()
    network.block(report(network, "leo", evidence))
    assert network.node("town 0").taken == REQUIREMENT // 100
    assert network.node() == before


def test_contact_data_of_the_former_life_is_not_that_of_the_next() -> None:
    network = town(**SHORT)
    enter(network)
    old = network.update_contact(contact=make_contact(66))
    newer = network.update_contact(sequence=9, contact=make_contact(67))
    network.block(old)
    let_go(network)
    assert network.state.one(CONTACTS, public("node")) == make_contact(66)
    network.block(network.update_contact(sequence=2, contact=make_contact(68)))
    network.end_epoch(late_ms=SHORT["unbonding_ms"])
    assert network.state.get(PENDING, public("node")) is None

    network.block(network.register(life=2, contact=make_contact(77)))
    # what was sent then, and what was signed then and never sent
    for raw in (old, newer):
        refuse(network, raw, "wrong_life")
    late = network.update_contact(sequence=2, life=2, contact=make_contact(66))
    refuse(network, late, "contact_sequence")
    network.end_epoch()
    assert network.state.one(CONTACTS, public("node")) == make_contact(77)
    assert network.node().state == ACTIVE


def test_what_was_still_to_change_when_a_life_was_given_up_is_forgotten() -> None:
    network = town()
    network.block(network.register(stake=QUARTER))
    change = set_keys(network)
    network.block(network.update_contact(sequence=1, contact=make_contact(66)))
    network.block(set_keys(network, sequence=2), network.request_unlock())
    network.end_epoch()
    assert not is_there(network)
    assert network.state.get(PENDING, public("node")) is None
    assert network.state.get(NEW_KEYS, public("node")) is None
    network.block(network.register(life=2, contact=make_contact(77)))
    refuse(network, change, "wrong_life")
    network.end_epoch()
    assert network.state.one(CONTACTS, public("node")) == make_contact(77)
    assert network.node().duty_key == public("node duty")


def test_the_registration_file_of_the_former_life_registers_nothing() -> None:
    network = town(**SHORT)
    sent = network.register(stake=QUARTER)
    body = network.chain.decode(sent).body
    network.block(sent, network.request_unlock())
    network.end_epoch()
    assert not is_there(network)
    before = network.balance("alice")
    refuse(network, sent, "nonce_used")
    refuse(network, network.paid("register", "alice", body), "wrong_life")
    assert (network.balance("alice"), is_there(network)) == (before, False)
    network.block(network.register(life=2, stake=QUARTER))
    assert network.balance("alice") == before - QUARTER - FEE
    refuse(network, network.paid("register", "alice", body), "node_exists")


# ------------------------------------------------------- a verdict of an older epoch, again


def test_a_verdict_that_comes_again_counts_for_its_epoch_and_no_other() -> None:
    network = town()
    enter(network)
    verdict, epoch = judge(network, faults=FAULTY), running(network)
    network.block(verdict)
    for code in ("judged_already", "judged_already", "verdict_closed", "verdict_closed"):
        refuse(network, verdict, code)
        network.end_epoch()
        assert network.state.get(FAILING, public("node")) in (None, Failing(1, epoch))
    assert list(network.state.items(VERDICTS)) == []
    assert network.state.get(FAILING, public("node")) is None
    assert network.node().state == ACTIVE


@pytest.mark.parametrize("stale", [1, 4])
def test_votes_of_an_older_epoch_are_no_votes_for_this_one(stale: int) -> None:
    """Be it one among good ones, or all of them."""
    network = town(**ALL_TEST)
    enter(network)
    votes = signed(network, judge(network, faults=FAULTY))
    old = sorted(votes)[:stale]
    network.end_epoch()
    epoch = running(network)
    vote = Vote(epoch, public("node"), 1, FAULTY)
    for tester in sorted(set(votes) - set(old)):
        signature = cast(duty_pair(network, tester, epoch), network, vote)
        votes[tester] = replace(votes[tester], signature=signature)
    refuse(network, recast(network, votes, epoch, 1), "bad_signature")
    network.end_epoch()
    network.end_epoch()
    assert network.state.get(FAILING, public("node")) is None


# ------------------------------------------------------ one bug that fails every node at once


def fail_all(network: Network, count: int, epochs: int) -> Iterator[list[int]]:
    """Epochs in which everybody fails whom anybody can judge, and the states after each."""
    network.attesting = False
    for _ in range(epochs):
        judge_all(network, *(name for name in names_of(count) if is_tested(network, name)))
        network.end_epoch()
        yield [node.state for _, node in network.state.items(NODES)]


@pytest.mark.parametrize(
    ("lock", "epochs", "left"),
    [({}, 40, (36, 12)), (SHORT_LOCK, 120, (6, 1))],
    ids=["stake is locked for long", "stake is paid out soon"],
)
def test_the_list_never_falls_below_three_quarters_of_those_who_are_registered(
    lock: dict[str, int], epochs: int, left: tuple[int, int]
) -> None:
    network = village(48, **lock)
    network.checking = False
    active = before = 48
    states: list[int] = []
    for states in fail_all(network, 48, epochs):
        active = states.count(ACTIVE)
        assert 4 * active >= 3 * len(states)
        assert network.header.node_count == active
        assert before - active <= max(5, before // 10), "the limit of one epoch"
        before = active
    assert (active, states.count(DEREGISTERED)) == left
    network.checking = True
    network.end_epoch()


def test_a_bug_that_nobody_mends_stops_where_nobody_is_left_to_judge() -> None:
    """With all stakes paid out in between, and the least quorum: five testers beside the node."""
    network = village(8, **SHORT_LOCK)
    seen = [states.count(ACTIVE) for states in fail_all(network, 8, 60)]
    assert min(seen) == seen[-1] == network.params.quorum_testers
    assert not any(is_tested(network, name) for name in names_of(8))


def test_when_the_bug_is_mended_everybody_comes_back() -> None:
    network = village(48)
    network.checking = False
    counts = [states.count(ACTIVE) for states in fail_all(network, 48, 6)]
    assert counts == [48, 48, 43, 38, 36, 36]
    for _ in range(2):
        down = [name for name in names_of(48) if network.node(name).state == DECOMMISSIONED]
        judge_all(network, *(name for name in down if is_tested(network, name)), faults=0)
        network.end_epoch()
    network.checking = True
    network.end_epoch()
    assert network.header.node_count == 48
    assert {node.state for _, node in network.state.items(NODES)} == {ACTIVE}
