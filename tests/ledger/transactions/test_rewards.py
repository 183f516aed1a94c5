"""`claim_rewards`, case by case."""

from itertools import permutations

import pytest
from msgspec.structs import replace

from ledger.messages.state import Node, Pool
from ledger.messages.tables import NODES, POOL
from tests.factory import Network, public
from tests.ledger.runners.report import run_report
from tests.ledger.runners.rewards import run_claim_rewards
from tests.ledger.scenes import WALLET, earn, enter, let_go, take_down, town
from tests.life import vote_evidence


@pytest.fixture
def network() -> Network:
    """With a node of alice, bob and carol that has earned."""
    network = town()
    earn(network)
    return network


def wait_with(network: Network, total: int) -> None:
    """Let so much wait in a node that has earned nothing yet, out of the pool."""
    node, pool = network.node(), network.state.one(POOL)
    assert (node.accrued, node.earning) == (0, 0)
    moved: Pool = replace(pool, balance=pool.balance - total, accrued=pool.accrued + total)
    earned: Node = replace(node, accrued=total)
    network.rewrite({POOL.letter: moved, NODES.letter + public("node"): earned})


def test_operator_claims_his_fee_and_his_part(network: Network) -> None:
    run_claim_rewards(network, "alice")


def test_contributor_claims(network: Network) -> None:
    run_claim_rewards(network, "bob")


def test_contributor_claims_for_his_beneficiary(network: Network) -> None:
    before = network.balance("carol")
    claimed = run_claim_rewards(network, "carol")
    assert network.balance(WALLET) == claimed
    assert network.balance("carol") == before - network.params.minimum_fee


def test_beneficiary_claims_himself(network: Network) -> None:
    network.block(network.transfer("carol", WALLET, network.params.minimum_fee))
    claimed = run_claim_rewards(network, WALLET)
    assert network.balance(WALLET) == claimed


def test_beneficiary_of_two_stakes_claims_both_at_once() -> None:
    network = town()
    enter(network, beneficiary=public("bob"))
    network.end_epoch()
    network.end_epoch()
    before = network.balance("bob")
    claimed = run_claim_rewards(network, "bob")
    assert network.balance("bob") == before + claimed - network.params.minimum_fee
    assert [c.paid > 0 for c in network.node().contributions] == [True, True, False]


def test_who_claims_for_another_leaves_his_own_part_alone(network: Network) -> None:
    run_claim_rewards(network, "carol")
    assert [c.paid > 0 for c in network.node().contributions] == [False, False, True]


def test_claim_again_after_another_epoch(network: Network) -> None:
    for _ in range(3):
        run_claim_rewards(network, "bob")
        network.end_epoch()


@pytest.mark.parametrize("order", list(permutations(("alice", "bob", "carol"))))
def test_it_does_not_matter_who_claims_when(order: tuple[str, ...]) -> None:
    network = town()
    earn(network)
    got = dict.fromkeys(order, 0)
    for who in order:
        got[who] += run_claim_rewards(network, who)
        network.end_epoch()
    for who in order:
        got[who] += run_claim_rewards(network, who)
    undivided = town()
    earn(undivided)
    for _ in order:
        undivided.end_epoch()
    assert got == {who: run_claim_rewards(undivided, who) for who in order}


@pytest.mark.parametrize("fee", [0, 1, 9_999])
def test_claim_under_every_fee(fee: int) -> None:
    network = town()
    enter(network, fee=fee)
    for _ in range(2):
        network.end_epoch()
    for who in ("bob", "alice", "carol"):
        if fee < 9_999 or who == "alice":
            run_claim_rewards(network, who)


def test_operator_with_the_whole_fee_gets_everything() -> None:
    network = town()
    enter(network, fee=10_000)
    network.end_epoch()
    network.end_epoch()
    before = network.state.one(POOL).accrued
    claimed = run_claim_rewards(network, "alice")
    others = network.state.one(POOL).accumulator * 7
    assert claimed == before - others > 0


def test_founder_claims() -> None:
    network = town()
    network.end_epoch()
    run_claim_rewards(network, "dave", "town 0")


def test_claim_from_a_node_that_is_down(network: Network) -> None:
    take_down(network)
    run_claim_rewards(network, "bob")


def test_claim_from_a_node_that_has_left(network: Network) -> None:
    let_go(network)
    run_claim_rewards(network, "bob")
    run_claim_rewards(network, "alice")


def thirds(total: int) -> Network:
    """A node at a fee of a tenth, with stakes of 33, 33 and 34, in which `total` waits."""
    network = town(staking_requirement=100, operator_share=3_300, payable_ms=86_400_000)
    network.block(
        network.register(stake=33, fee=1_000),
        network.contribute("bob", 33),
        network.contribute("carol", 34),
    )
    network.end_epoch()
    wait_with(network, total)
    return network


def test_a_thousand_over_33_33_and_34_at_a_tenth() -> None:
    network = thirds(1_000)
    claims = [run_claim_rewards(network, who) for who in ("carol", "alice", "bob")]
    assert claims == [306, 397, 297]
    assert network.state.one(POOL).accrued == 0


def test_the_last_unit_of_a_period_is_the_operators() -> None:
    network = thirds(1_001)
    assert run_claim_rewards(network, "alice") == 397
    before = {who: network.balance(who) for who in ("alice", "bob", "carol")}
    run_report(network, "leo", vote_evidence(network, "node"))
    after = {who: network.balance(who) - before[who] for who in before}
    assert after == {"alice": 1, "bob": 297, "carol": 306}
    assert network.state.one(POOL).accrued == 0
