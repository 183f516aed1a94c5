"""What went wrong with such networks before, as stories of whole blocks and epochs: money.

Other stories stand in test_field_cases.py. What stands elsewhere is not told again:

    the same evidence   of a BFT engine: transactions/test_misbehaviour.py
    the newcomer        with other times: epochs/test_rewards.py, "who joins before an end …"
"""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.errors import REFUSALS
from ledger.messages.lists import decode_header
from ledger.messages.state import ACTIVE, DEREGISTERED, EXITED, Punished
from ledger.messages.tables import HISTORIES, MATURES, POOL, PUNISHED
from ledger.nodes import get_stakes
from ledger.rules.rewards import close_owed
from ledger.state import epoch_key
from ledger.types import COIN, MAX_AMOUNT
from tests.factory import (
    EPOCH_MS,
    FEE,
    QUARTER,
    REQUIREMENT,
    Network,
    attestor_roles,
    keys,
    public,
)
from tests.ledger.scenes import (
    SHORT,
    WALLET,
    enter,
    expel,
    let_go,
    pay_out,
    take_down,
    town,
)
from tests.ledger.stories import amounts, earned, is_there, refuse
from tests.life import header_evidence, report, running, vote_evidence

# ------------------------------------------------- the same evidence, three times


def reporting(network: Network, who: str) -> bytes:
    """What `who` sends of the tester that contradicted himself."""
    return report(network, who, vote_evidence(network, "town 0", node="town 1"))


REPORTERS = ("kim", "leo", "bob")
LOSS, BOUNTY = COIN, COIN // 20
"""A hundredth of the stake, and the reporter's twentieth of it."""


@pytest.mark.parametrize("blocks", [1, 3])
def test_evidence_that_three_people_send_counts_once_and_for_the_first(blocks: int) -> None:
    network = town()
    before = {who: network.balance(who) for who in REPORTERS}
    pool, height = network.state.one(POOL).balance, network.chain.tip.height + 1
    again = REFUSALS["punished_already"].number
    if blocks == 1:
        network.block(*(reporting(network, who) for who in REPORTERS), codes=[0, again, again])
    else:
        network.block(reporting(network, REPORTERS[0]))
        for who in REPORTERS[1:]:
            refuse(network, reporting(network, who), "punished_already")

    assert amounts(network, "town 0") == [REQUIREMENT - LOSS]
    assert network.node("town 0").taken == LOSS
    # the first has the bounty and his fee back; the others pay nothing for what changed nothing
    gained = [network.balance(who) - before[who] for who in REPORTERS]
    assert gained == [BOUNTY, 0, 0]
    assert network.state.one(POOL).balance == pool + LOSS - BOUNTY
    place = public("town 0 duty") + epoch_key(running(network))
    assert list(network.state.items(PUNISHED)) == [(place, Punished(1, height, LOSS))]
    network.end_epoch()
    assert network.node("town 0").state == ACTIVE


OTHER_VOTES: dict[str, tuple[str, dict[str, Any]]] = {
    "other faults": ("punished_already", {"faults": 63}),
    "another node": ("punished_already", {"node": "town 2"}),
    "a node that nobody knows": ("punished_already", {"node": "nobody"}),
    "the tester himself": ("punished_already", {"node": "town 0"}),
    "no contradiction": ("no_contradiction", {"faults": 0}),
}


@pytest.mark.parametrize("name", OTHER_VOTES)
def test_a_key_that_contradicts_itself_all_through_an_epoch_pays_once(name: str) -> None:
    network = town()
    network.block(reporting(network, "kim"))
    code, changes = OTHER_VOTES[name]
    evidence = vote_evidence(network, "town 0", **({"node": "town 1"} | changes))
    refuse(network, report(network, "leo", evidence), code)
    assert network.node("town 0").taken == LOSS


def test_signatures_that_change_places_prove_nothing_new() -> None:
    network = town()
    good = vote_evidence(network, "town 0", node="town 1")
    network.block(report(network, "kim", good))
    swapped = replace(good, pass_signature=good.fail_signature, fail_signature=good.pass_signature)
    refuse(network, report(network, "leo", swapped), "bad_signature")


def test_a_key_that_contradicts_itself_in_three_epochs_pays_three_times() -> None:
    network = town()
    for times in (1, 2, 3):
        network.block(reporting(network, "kim"))
        assert network.node("town 0").taken == times * LOSS
        network.end_epoch()


# ------------------------------------------- stake that unbonds, and stake that was paid out


def gone(network: Network) -> None:
    """A shared node failed until it was deregistered."""
    take_down(network)
    expel(network)


@pytest.mark.parametrize(("leave", "state"), [(let_go, EXITED), (gone, DEREGISTERED)])
def test_stake_that_waits_is_slashed_once_and_the_rest_of_it_is_paid_out(
    leave: Callable[[Network], None], state: int
) -> None:
    network = town(**SHORT)
    enter(network)
    leave(network)
    assert amounts(network) == [25 * COIN, 25 * COIN, 50 * COIN]
    evidence = vote_evidence(network, "node", epoch=running(network) - 1, pair=keys("node duty"))
    network.block(report(network, "leo", evidence))
    assert amounts(network) == [24 * COIN, 25 * COIN, 50 * COIN]
    assert (network.node().taken, network.node().state) == (COIN, state)
    refuse(network, report(network, "kim", evidence), "punished_already")

    # its period ended with the penalty, and who is gone earns nothing: stake is all that is left
    accounts = ("alice", "bob", "carol")
    before = {who: network.balance(who) for who in accounts}
    pay_out(network)
    gained = [network.balance(who) - before[who] for who in accounts]
    assert gained == [24 * COIN, 25 * COIN, 50 * COIN]


def test_what_was_paid_out_is_never_slashed() -> None:
    network = town(**SHORT)
    enter(network)
    on_duty = vote_evidence(network, "node")
    let_go(network)
    while is_there(network):
        network.end_epoch()
    network.settle()
    accounts = ("alice", "bob", "carol")
    before = {who: network.balance(who) for who in accounts}

    # of its time on duty there is no evidence any more, and behind what came later no stake
    refuse(network, report(network, "leo", on_duty), "evidence_too_old")
    later = vote_evidence(network, "node", epoch=running(network) - 1, pair=keys("node duty"))
    refuse(network, report(network, "leo", later), "nothing_at_stake")

    # headers count all the same: the key never returns, which costs nobody anything
    headers = header_evidence(network, public("node list"))
    pool, kim = network.state.one(POOL), network.balance("kim")
    network.block(report(network, "kim", headers))
    place = public("node list") + epoch_key(decode_header(headers.first).epoch)
    assert network.state.one(PUNISHED, place) == Punished(2, network.chain.tip.height, 0)
    assert network.state.one(HISTORIES, public("node")).tombstoned
    refuse(network, report(network, "leo", headers), "punished_already")
    assert (network.state.one(POOL), network.balance("kim")) == (pool, kim)
    assert {who: network.balance(who) for who in accounts} == before


def test_a_report_in_the_block_that_pays_out_still_takes() -> None:
    """A block's transactions come before the end of the epoch that it ends."""
    network = town(**SHORT)
    enter(network)
    let_go(network)
    network.settle()
    due_ms = network.node().since_ms + SHORT["unbonding_ms"]
    evidence = vote_evidence(network, "node", pair=keys("node duty"))
    people = ("alice", "bob", "carol", WALLET)
    before, leo = [network.balance(who) for who in people], network.balance("leo")
    waits = network.node().accrued
    ms = due_ms - network.chain.tip.time_ms
    assert network.block(report(network, "leo", evidence), ms=ms).ended_epoch
    assert not is_there(network)
    assert network.balance("leo") == leo + BOUNTY
    alice, bob, carol, wallet = (
        network.balance(who) - had for who, had in zip(people, before, strict=True)
    )
    # bob earned what his stake did, the wallet what carol's did
    assert (carol, bob - 25 * COIN) == (50 * COIN, wallet // 2)
    assert alice == 24 * COIN + waits - (bob - 25 * COIN) - wallet
    place = public("node duty") + epoch_key(running(network) - 1)
    assert network.state.one(PUNISHED, place).taken == COIN
    late = vote_evidence(network, "node", epoch=running(network) - 1, pair=keys("node duty"))
    refuse(network, report(network, "kim", late), "punished_already")


# ------------------------------------------------------- the operator that reports himself

NINE = ("bob", "carol", "kim", "leo", "dave", "erin", "frank", "grace", "heidi")
SPLITS: dict[str, tuple[int, tuple[str, ...]]] = {
    "all is his own": (REQUIREMENT, ()),
    "a quarter is his, one other has the rest": (QUARTER, ("kim",)),
    "a quarter and one unit is his, nine others have the rest": (QUARTER + 1, NINE),
}
"""Stake of the operator, and who has equal parts of what is missing."""

BOUNTIES: dict[str, dict[str, int]] = {
    "no share": {"bounty_share": 0, "bounty_cap": MAX_AMOUNT},
    "the largest share and no cap": {"bounty_share": 5_000, "bounty_cap": MAX_AMOUNT},
    "the largest share and no more than a unit": {"bounty_share": 5_000, "bounty_cap": 1},
    "the largest share of nothing": {"bounty_share": 5_000, "bounty_cap": 0},
}


def shared(split: str, **params: Any) -> Network:
    """A network with a node of alice that is active and has earned what does not divide."""
    network = town(None, payable_ms=0, **params)
    own, others = SPLITS[split]
    network.block(network.register(stake=own, fee=777, **attestor_roles("node")))
    missing = REQUIREMENT - own
    for place, who in enumerate(others, 1):
        part = -(-missing // (len(others) - place + 1))
        network.block(network.contribute(who, part))
        missing -= part
    network.end_epoch()
    network.end_epoch()
    assert earned(network) > 0
    return network


def wealth(network: Network, *who: str) -> int:
    """All that is these people's: what they can spend, their stakes, and the rewards that wait for
    them, with what is left over for the operator when the period ends.
    """
    node = network.node()
    owed = close_owed(earned(network), node.fee, get_stakes(node))
    own = {public(name) for name in who}
    rows = zip(node.contributions, owed, strict=True)
    staked = sum(c.amount for c in node.contributions if c.account in own)
    waits = sum(part - c.paid for c, part in rows if c.beneficiary in own)
    return sum(network.balance(name) for name in who) + staked + waits


@pytest.mark.parametrize("reporter", ["alice", "kim"])
@pytest.mark.parametrize("bounty", BOUNTIES)
@pytest.mark.parametrize("split", SPLITS)
def test_an_operator_that_reports_himself_has_less_than_before(
    split: str, bounty: str, reporter: str
) -> None:
    """Under his own name, or that of another account of his, which may have a stake in the node."""
    network = shared(split, **BOUNTIES[bounty])
    both, params = ("alice", "kim"), network.params
    for evidence, loss in (
        (vote_evidence(network, "node"), COIN),
        (header_evidence(network, public("node list")), 19 * COIN),
    ):
        before, pool = wealth(network, *both), network.state.one(POOL).balance
        network.block(report(network, reporter, evidence))
        gets = min(loss * params.bounty_share // 10_000, params.bounty_cap)
        assert wealth(network, *both) == before - loss + gets < before
        assert network.state.one(POOL).balance == pool + loss - gets


@pytest.mark.parametrize("reporter", ["alice", "kim"])
@pytest.mark.parametrize("split", SPLITS)
def test_an_operator_that_has_nothing_left_to_lose_gains_nothing_either(
    split: str, reporter: str
) -> None:
    """His own stake is gone; the others pay now, and for that there is no bounty."""
    network = shared(split, vote_penalty=2_501, stake_floor=0, bounty_share=5_000,
                     bounty_cap=MAX_AMOUNT)  # fmt: skip
    network.block(report(network, "ivan", vote_evidence(network, "node")))
    network.end_epoch()
    while not is_spent(network):
        before = wealth(network, "alice", "kim")
        network.block(report(network, reporter, vote_evidence(network, "node")))
        assert wealth(network, "alice", "kim") <= before
        network.end_epoch()


def is_spent(network: Network) -> bool:
    """Whether no stake is left in the node."""
    return sum(amounts(network)) == 0


@pytest.mark.parametrize("split", SPLITS)
def test_who_reported_himself_has_less_when_all_is_paid_out(split: str) -> None:
    """Two networks that differ in the report alone; a node that was slashed leaves as any other."""
    ends = []
    for reports in (False, True):
        network = shared(split, **SHORT, bounty_share=5_000, bounty_cap=MAX_AMOUNT)
        if reports:
            network.block(report(network, "kim", vote_evidence(network, "node")))
        else:
            network.block()
        let_go(network)
        pay_out(network)
        ends.append(network.balance("alice") + network.balance("kim"))
    # what the pool gained of it comes back to everybody who earns: this node is one of eight
    assert ends[0] - ends[1] > COIN // 2 - COIN // 1_000


# ----------------------------------------------------------- the newcomer who comes for the pay


def test_who_funds_a_node_just_before_the_end_has_nothing_to_claim_before_his_time() -> None:
    """The last contribution comes one millisecond before the epoch ends."""
    network = town(payable_ms=2 * EPOCH_MS)
    network.block(network.register(stake=QUARTER))
    rest = network.contribute("bob", REQUIREMENT - QUARTER)
    network.block(rest, ms=EPOCH_MS - 1 - network.chain.tip.time_ms % EPOCH_MS)
    network.end_epoch()
    assert network.node().state == ACTIVE
    network.end_epoch()
    for who in ("alice", "bob"):
        refuse(network, network.claim_rewards(who), "nothing_to_claim")
    # the epoch after whose end it is two epochs old is the first that pays
    assert earned(network) == 0
    network.end_epoch()
    assert earned(network) > 0
    network.block(network.claim_rewards("alice"), network.claim_rewards("bob"))


def test_who_leaves_before_his_time_has_earned_nothing_at_all() -> None:
    network = town(**SHORT, payable_ms=3 * EPOCH_MS)
    before = network.balance("alice")
    network.block(network.register())
    network.end_epoch()
    network.end_epoch()
    let_go(network)
    pool = network.state.one(POOL)
    assert (network.node().accrued, network.node().earning) == (0, 0)
    pay_out(network)
    assert network.balance("alice") == before - 2 * FEE
    assert network.state.one(POOL).accrued == pool.accrued + 7 * (
        network.state.one(POOL).accumulator - pool.accumulator
    )


def test_the_time_that_the_former_life_waited_for_is_not_that_of_the_next() -> None:
    """The former life left before its rewards were to begin; the next is there at that time."""
    network = town(**SHORT, payable_ms=15 * EPOCH_MS)
    network.block(network.register())
    network.end_epoch()
    first_ms = network.node().payable_from_ms
    let_go(network)
    while is_there(network):
        network.end_epoch()
    network.block(network.register(life=2))
    network.end_epoch()
    assert network.chain.tip.time_ms < first_ms < network.node().payable_from_ms
    while network.chain.tip.time_ms < network.node().payable_from_ms:
        assert (network.node().earning, earned(network)) == (0, 0)
        assert len(list(network.state.items(MATURES))) >= 1
        network.end_epoch()
    assert (network.node().earning, earned(network) > 0) == (1, True)
    assert list(network.state.items(MATURES)) == []
    assert network.node().state == ACTIVE
