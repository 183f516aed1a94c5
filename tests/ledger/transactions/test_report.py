"""`report`, case by case: what an offence costs, whom, and what becomes of the node."""

from typing import Any

import pytest

from ledger.crypto import sign
from ledger.messages.evidence import ListEquivocation
from ledger.messages.lists import encode_header, header_signing_bytes
from ledger.messages.state import (
    ACTIVE,
    DECOMMISSIONED,
    DEREGISTERED,
    EXITED,
    QUEUED,
    TOMBSTONED,
    Node,
)
from ledger.messages.tables import EXITS, HISTORIES, POOL, STARTS, SWARMS
from ledger.offences.punish import is_barred
from ledger.params import preset
from ledger.types import COIN
from tests.factory import (
    EPOCH_MS,
    QUARTER,
    REQUIREMENT,
    START_MS,
    Network,
    attestor_roles,
    founding,
    keys,
    public,
)
from tests.ledger.runners.leave import run_request_unlock
from tests.ledger.runners.report import run_report
from tests.ledger.runners.rewards import run_claim_rewards
from tests.ledger.scenes import SHORT, WALLET, earn, enter, expel, let_go, pay_out, take_down, town
from tests.life import (
    fork_evidence,
    header_evidence,
    running,
    set_keys,
    townsfolk,
    vote_evidence,
)

VOTE_PENALTY, LIST_PENALTY = preset("minimal").vote_penalty, preset("minimal").list_penalty


@pytest.fixture
def network() -> Network:
    """With an active node of alice, bob and carol that has a key for every role."""
    network = town()
    enter(network)
    return network


@pytest.fixture
def waiting() -> Network:
    """With a node of alice that waits for three quarters of its stake."""
    network = town()
    network.block(network.register(stake=QUARTER, **attestor_roles("node")))
    return network


def votes(network: Network, who: str = "leo", node: str = "node", **changes: Any) -> Node:
    """A report of contradicting votes by a node, on itself unless it says on whom."""
    on = changes.pop("on", node)
    return found(run_report(network, who, vote_evidence(network, node, node=on, **changes)))


def headers(network: Network, who: str = "leo", node: str = "node") -> Node:
    """A report of contradicting headers by a node."""
    return found(run_report(network, who, header_evidence(network, public(f"{node} list"))))


def found(node: Node | None) -> Node:
    """A node that has to be there."""
    assert node is not None
    return node


def amounts(node: Node) -> list[int]:
    """The stakes in a node."""
    return [row.amount for row in node.contributions]


def is_tombstoned(network: Network, node: str = "node") -> bool:
    """Whether a node key never returns."""
    return bool(network.state.one(HISTORIES, public(node)).tombstoned)


def state_after(network: Network, node: str = "node") -> int:
    """The state of a node after the running epoch."""
    network.end_epoch()
    return network.node(node).state


# ---- what each offence costs ----


def test_votes_cost_a_hundredth_and_no_more(network: Network) -> None:
    node = votes(network)
    assert node.taken == REQUIREMENT * VOTE_PENALTY // 10_000
    assert not is_tombstoned(network)
    assert state_after(network) == ACTIVE


def test_votes_on_a_node_that_nobody_knows(network: Network) -> None:
    votes(network, on="nobody")


def test_votes_cost_each_time(network: Network) -> None:
    for times in (1, 2, 3):
        assert votes(network).taken == times * REQUIREMENT * VOTE_PENALTY // 10_000
        network.end_epoch()


def test_votes_of_two_testers_in_one_epoch(network: Network) -> None:
    votes(network)
    votes(network, node="town 0")


def test_headers_cost_a_fifth_and_the_place_for_ever(network: Network) -> None:
    node = headers(network)
    assert node.taken == REQUIREMENT * LIST_PENALTY // 10_000
    assert is_tombstoned(network)
    assert network.node().state == ACTIVE
    assert network.state.get(SWARMS, public("node")) is not None
    assert state_after(network) == TOMBSTONED


def test_headers_of_two_histories(network: Network) -> None:
    run_report(network, "leo", fork_evidence(network, public("node list")))
    assert state_after(network) == TOMBSTONED


def test_headers_of_an_epoch_to_come(network: Network) -> None:
    key = public("node list")
    pair = keys("node list")
    later = network.header._replace(epoch=running(network) + 9)
    raws = [encode_header(h) for h in (later, later._replace(height=later.height + 1))]
    proofs = [sign(pair, header_signing_bytes(network.hash, raw)) for raw in raws]
    evidence = ListEquivocation(key, raws[0], proofs[0], raws[1], proofs[1], b"", ())
    assert found(run_report(network, "leo", evidence)).taken > 0


def test_first_header_forked_from_two_epochs_that_follow(network: Network) -> None:
    network.end_epoch()
    evidence = fork_evidence(network, public("node list"))
    network.end_epoch()
    run_report(network, "leo", evidence)


def test_headers_after_votes_cost_what_is_missing(network: Network) -> None:
    assert votes(network).taken == COIN
    network.end_epoch()
    before = network.state.one(POOL).balance
    assert headers(network).taken == 20 * COIN
    bounty = 19 * COIN // 20
    assert network.state.one(POOL).balance == before + 19 * COIN - bounty


def test_votes_after_headers_cost_nothing_but_what_more_they_cost() -> None:
    network = town(vote_penalty=3_000, stake_floor=0)
    enter(network)
    headers(network)
    assert votes(network).taken == REQUIREMENT * 3_000 // 10_000


def test_a_penalty_of_nothing_tombstones_all_the_same() -> None:
    network = town(list_penalty=0)
    enter(network)
    assert headers(network).taken == 0
    assert state_after(network) == TOMBSTONED


# ---- who pays ----


def test_operator_pays_first(network: Network) -> None:
    before = amounts(network.node())
    after = amounts(headers(network))
    assert before[0] - after[0] == REQUIREMENT * LIST_PENALTY // 10_000
    assert before[1:] == after[1:]


def test_others_pay_in_proportion_what_the_operator_has_not() -> None:
    network = town(list_penalty=6_000)
    enter(network)
    before = amounts(network.node())
    after = amounts(headers(network))
    assert after[0] == 0
    assert before[1] - after[1] == 35 * COIN * before[1] // (before[1] + before[2]) + 1
    assert sum(before) - sum(after) == 60 * COIN


def three_of_33(list_penalty: int) -> Network:
    """A node of which the operator has 2 and three others have 33 each."""
    network = town(staking_requirement=101, operator_share=100, list_penalty=list_penalty)
    network.block(
        network.register(stake=2, **attestor_roles("node")),
        *(network.contribute(who, 33) for who in ("bob", "carol", "erin")),
    )
    network.end_epoch()
    return network


def test_equal_stakes_pay_alike_where_it_divides() -> None:
    # 50 in all: the operator's 2, and 48 of the others
    assert amounts(headers(three_of_33(5_000))) == [0, 17, 17, 17]


@pytest.mark.parametrize(("penalty", "left"), [(5_100, [0, 16, 17, 17]), (5_200, [0, 16, 16, 17])])
def test_the_first_pay_one_unit_more_where_it_does_not(penalty: int, left: list[int]) -> None:
    # 51 and 52 in all: 49 and 50 of the others
    assert amounts(headers(three_of_33(penalty))) == left


def test_the_whole_stake() -> None:
    network = town(list_penalty=10_000)
    enter(network)
    assert amounts(headers(network)) == [0, 0, 0]
    assert state_after(network) == TOMBSTONED


def test_never_more_than_is_left() -> None:
    network = town(vote_penalty=6_000, stake_floor=0)
    enter(network)
    votes(network)
    network.end_epoch()
    assert amounts(votes(network)) == [0, 0, 0]


# ---- rewards that wait ----


def test_rewards_that_wait_are_paid_out_and_not_slashed(network: Network) -> None:
    for _ in range(3):
        network.end_epoch()
    network.block(network.claim_rewards("bob"))
    before = network.balance("alice")
    node = headers(network)
    assert [row.paid for row in node.contributions] == [0, 0, 0]
    assert node.accrued == 0
    assert network.balance("alice") > before
    assert network.balance(WALLET) > 0


def test_the_next_period_is_shared_by_the_stakes_that_are_left() -> None:
    network = town(vote_penalty=2_500, stake_floor=0)
    earn(network)
    assert amounts(votes(network))[0] == 0
    network.end_epoch()
    network.end_epoch()
    claims = {who: run_claim_rewards(network, who) for who in ("alice", "bob", "carol")}
    assert claims["alice"] < claims["bob"] < claims["carol"]


def test_all_rewards_are_the_operators_where_no_stake_is_left() -> None:
    network = town(vote_penalty=10_000, stake_floor=0)
    earn(network)
    assert amounts(votes(network)) == [0, 0, 0]
    network.end_epoch()
    network.end_epoch()
    assert run_claim_rewards(network, "alice") > 0


# ---- the reporter ----


def test_the_reporter_gets_a_twentieth_of_what_the_operator_lost() -> None:
    network = town(bounty_cap=100 * COIN)
    enter(network)
    before = network.balance("leo")
    headers(network)
    assert network.balance("leo") == before + 20 * COIN // 20


def test_the_reporter_gets_no_more_than_the_cap() -> None:
    network = town(bounty_cap=7)
    enter(network)
    before = network.balance("leo")
    headers(network)
    assert network.balance("leo") == before + 7


def test_nothing_for_what_the_others_lost() -> None:
    network = town(vote_penalty=2_500, stake_floor=0)
    enter(network)
    votes(network)
    network.end_epoch()
    before = network.balance("leo")
    assert amounts(votes(network))[0] == 0
    assert network.balance("leo") == before


@pytest.mark.parametrize("share", [0, 500, 5_000])
def test_an_operator_that_reports_himself_gains_nothing(share: int) -> None:
    network = town(bounty_share=share, bounty_cap=REQUIREMENT)
    enter(network)

    def owns() -> int:
        return network.balance("alice") + amounts(network.node())[0]

    before = owns()
    votes(network, "alice")
    lost = REQUIREMENT * VOTE_PENALTY // 10_000
    assert owns() == before - lost + lost * share // 10_000 <= before


def test_the_fee_comes_back(network: Network) -> None:
    before = network.balance("leo")
    votes(network, node="town 3")
    assert network.balance("leo") == before + COIN // 20


# ---- what becomes of the node ----


def test_stake_at_the_floor_stays() -> None:
    network = town(vote_penalty=1_000)
    enter(network)
    assert votes(network).exit_ms == 0
    assert state_after(network) == ACTIVE


def test_stake_below_the_floor_starts_the_exit() -> None:
    network = town(vote_penalty=1_001)
    enter(network)
    assert votes(network).exit_ms == network.chain.tip.time_ms
    assert state_after(network) == EXITED


def test_the_floor_counts_all_penalties_together() -> None:
    network = town(vote_penalty=600)
    enter(network)
    assert votes(network).exit_ms == 0
    network.end_epoch()
    assert votes(network).exit_ms > 0


def test_a_node_on_its_way_out_keeps_its_place(network: Network) -> None:
    run_request_unlock(network)
    asked = network.node().exit_ms
    assert headers(network).exit_ms == asked
    assert state_after(network) == TOMBSTONED


def test_a_founder_that_was_to_leave_later_leaves_now() -> None:
    later = founding("node", exit_ms=START_MS + 20 * EPOCH_MS)
    nodes = tuple(sorted((*townsfolk(), *later), key=lambda row: row.node))
    network = town({"nodes": nodes}, vote_penalty=1_001)
    assert votes(network).exit_ms == network.chain.tip.time_ms
    assert len(list(network.state.items(EXITS))) == 1
    assert state_after(network) == EXITED


def test_a_node_that_is_down_is_tombstoned_at_the_epochs_end(network: Network) -> None:
    take_down(network)
    headers(network)
    assert network.node().state == DECOMMISSIONED
    assert len(list(network.state.items(EXITS))) == 1
    assert state_after(network) == TOMBSTONED


def test_a_node_that_is_down_and_below_the_floor_waits_until_it_returns() -> None:
    network = town(vote_penalty=1_001)
    enter(network)
    take_down(network)
    assert votes(network).exit_ms > 0
    assert list(network.state.items(EXITS)) == []
    assert state_after(network) == DECOMMISSIONED


def test_a_node_that_asked_while_it_was_down_is_tombstoned(network: Network) -> None:
    take_down(network)
    run_request_unlock(network)
    headers(network)
    assert state_after(network) == TOMBSTONED


def test_a_node_that_waits_for_stake_pays_nothing_and_its_key_gets_no_seat(
    waiting: Network,
) -> None:
    """So whoever funds it later does not pay for what was done before he came."""
    assert headers(waiting).taken == 0
    assert not is_tombstoned(waiting)
    waiting.block(waiting.contribute("bob", REQUIREMENT - QUARTER))
    assert state_after(waiting) == ACTIVE
    assert is_barred(waiting.state, public("node list"))


def test_a_node_pays_from_the_epoch_after_that_of_its_last_stake_on(waiting: Network) -> None:
    waiting.end_epoch()
    before = header_evidence(waiting, public("node list"))
    waiting.block(waiting.contribute("bob", REQUIREMENT - QUARTER))
    assert found(run_report(waiting, "leo", before)).taken == 0
    waiting.end_epoch()
    assert headers(waiting).taken == REQUIREMENT * LIST_PENALTY // 10_000
    assert state_after(waiting) == TOMBSTONED


def test_a_node_in_the_queue_pays_for_what_came_after_its_stake() -> None:
    network = town(activation_verdict=1)
    network.block(network.register())
    network.end_epoch()
    assert votes(network).state == QUEUED


# ---- after duty ----


def test_an_exited_node_is_slashed_and_stays_exited(network: Network) -> None:
    let_go(network)
    node = votes(network, epoch=running(network) - 1, pair=keys("node duty"))
    assert (node.state, node.taken) == (EXITED, REQUIREMENT * VOTE_PENALTY // 10_000)
    assert state_after(network) == EXITED


def test_an_exited_node_is_tombstoned_on_its_key_only(network: Network) -> None:
    let_go(network)
    headers(network)
    assert is_tombstoned(network)
    assert state_after(network) == EXITED


def test_a_deregistered_node_is_slashed(network: Network) -> None:
    take_down(network)
    expel(network)
    assert headers(network).state == DEREGISTERED
    assert state_after(network) == DEREGISTERED


def test_a_tombstoned_node_is_slashed_for_votes_of_before() -> None:
    network = town(vote_penalty=2_500, stake_floor=0)
    enter(network)
    evidence = vote_evidence(network, "node")
    headers(network)
    assert state_after(network) == TOMBSTONED
    node = found(run_report(network, "leo", evidence))
    assert node.taken == REQUIREMENT * 2_500 // 10_000


def test_stake_that_was_paid_out_is_never_slashed() -> None:
    network = town(**SHORT)
    enter(network)
    let_go(network)
    pay_out(network)
    before = {who: network.balance(who) for who in ("alice", "bob", "carol", WALLET)}
    evidence = header_evidence(network, public("node list"))
    assert run_report(network, "leo", evidence) is None
    assert before == {who: network.balance(who) for who in before}
    assert is_tombstoned(network)


def test_a_later_life_does_not_pay_for_what_came_before_it() -> None:
    network = town(**SHORT)
    enter(network)
    let_go(network)
    pay_out(network)
    evidence = header_evidence(network, public("node list"))
    expiry_ms = network.chain.tip.time_ms + EPOCH_MS
    network.block(network.register(life=2, **attestor_roles("node"), expiry_ms=expiry_ms))
    node = found(run_report(network, "leo", evidence))
    assert (node.life, node.taken, amounts(node)) == (2, 0, [REQUIREMENT])
    assert not is_tombstoned(network)
    assert state_after(network) == ACTIVE


# ---- whose key, and when ----


def test_the_former_duty_key_is_still_the_nodes(network: Network) -> None:
    network.block(set_keys(network))
    network.end_epoch()
    votes(network, epoch=running(network) - 1, pair=keys("node duty"))


def test_the_duty_key_before_the_last_one(network: Network) -> None:
    for sequence in (1, 2):
        network.block(set_keys(network, sequence=sequence, duty=f"node duty {sequence + 1}"))
        network.end_epoch()
    votes(network, epoch=running(network) - 2, pair=keys("node duty"))


def test_a_duty_key_signs_twice_in_two_epochs(network: Network) -> None:
    network.end_epoch()
    votes(network, epoch=running(network) - 1)
    votes(network)


def test_the_oldest_epoch_that_evidence_may_be_of() -> None:
    network = town(**SHORT)
    for _ in range(10):
        network.end_epoch()
    oldest = int.from_bytes(next(network.state.items(STARTS))[0], "big")
    assert oldest > 1
    votes(network, node="town 0", epoch=oldest)
