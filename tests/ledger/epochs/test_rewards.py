"""`pay_rewards`: equal shares for who is on duty, and exact whoever settles when."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.messages.tables import MATURES, NODES, POOL
from ledger.nodes import get_owed, get_total
from ledger.rules.rewards import YEAR_MS
from tests.factory import EPOCH_MS, FEE, REQUIREMENT, START_MS, Network, make_genesis, public
from tests.ledger.epochs.ends import (
    SHORT_LOCK,
    judge_all,
    names_of,
    operator_of,
    put_down,
    run_end,
    village,
)
from tests.life import set_params

FREE: Final[dict[str, Any]] = {"fee": 0}
"""An envelope that pays nothing, so that the pool is what a case says."""

# ---- who earns ----


def totals(network: Network, *names: str) -> list[int]:
    """What each node earned."""
    pool = network.state.one(POOL)
    return [get_total(network.node(name), pool) for name in names]


@pytest.mark.parametrize(("payable_ms", "epochs"), [(0, 1), (EPOCH_MS, 1), (EPOCH_MS + 1, 2)])
def test_nothing_before_a_node_is_payable_and_all_at_it(payable_ms: int, epochs: int) -> None:
    network = village(payable_ms=payable_ms)
    for _ in range(epochs - 1):
        run_end(network)
        assert totals(network, *names_of(8)) == [0] * 8
        assert network.state.one(POOL).balance == network.genesis.pool
    run_end(network)
    assert all(totals(network, *names_of(8)))


def test_a_late_end_makes_a_node_payable_and_pays_one_epoch() -> None:
    network, punctual = village(payable_ms=5 * EPOCH_MS), village(payable_ms=0)
    run_end(network, late_ms=10 * EPOCH_MS)
    run_end(punctual)
    assert totals(network, "v1") == totals(punctual, "v1") != [0]


def test_shares_are_equal_and_what_does_not_divide_stays_in_the_pool() -> None:
    network = village(7, {"pool": pool_that_pays(2_395)})
    pool = network.genesis.pool
    paid = pool * 1_510 * EPOCH_MS // (10_000 * 365 * 86_400_000)
    assert paid % 7 == 1
    run_end(network)
    assert totals(network, *names_of(7)) == [paid // 7] * 7
    assert network.state.one(POOL).balance == pool - paid + paid % 7


@pytest.mark.parametrize("pool", [0, 1, 10**6])
def test_a_pool_that_is_too_small_to_share_pays_nothing(pool: int) -> None:
    network = village(8, {"pool": pool}, payable_ms=0)
    run_end(network)
    assert network.state.one(POOL).balance == pool
    assert totals(network, *names_of(8)) == [0] * 8


def test_nobody_is_paid_where_nobody_earns() -> None:
    network = Network()
    run_end(network)
    assert network.state.one(POOL).balance == network.genesis.pool


def test_who_is_decommissioned_earns_nothing_for_that_epoch() -> None:
    network = village()
    for _ in range(2):
        judge_all(network, "v1")
        run_end(network)
    before = totals(network, "v1", "v2")
    run_end(network, down=("v1",))
    after = totals(network, "v1", "v2")
    assert (after[0] - before[0], after[1] > before[1]) == (0, True)
    assert network.state.one(POOL).earning == 7


def test_who_comes_back_earns_from_the_next_epoch_on() -> None:
    network = village()
    put_down(network, "v1")
    judge_all(network, "v1", faults=0)
    run_end(network)
    earned = totals(network, "v1")
    run_end(network, back=("v1",))
    assert totals(network, "v1") == earned
    before = totals(network, "v1", "v2")
    run_end(network)
    gained = [a - b for a, b in zip(totals(network, "v1", "v2"), before, strict=True)]
    assert gained[0] == gained[1] > 0


def test_who_leaves_earns_for_the_epoch_that_ends_and_no_more() -> None:
    network = village()
    run_end(network)
    before = totals(network, "v1")
    network.block(network.request_unlock(operator_of("v1"), "v1"))
    run_end(network, exited=("v1",))
    earned = totals(network, "v1")
    assert earned > before
    run_end(network)
    assert totals(network, "v1") == earned


def test_who_is_down_when_its_time_comes_earns_once_it_is_back() -> None:
    network = village(payable_ms=45_000)
    put_down(network, "v1")
    judge_all(network, "v1", faults=0)
    run_end(network)
    assert list(network.state.items(MATURES)) != []
    run_end(network, back=("v1",))
    assert list(network.state.items(MATURES)) == []
    assert totals(network, "v1") == [0]
    run_end(network)
    assert totals(network, "v1") != [0]


@pytest.mark.parametrize(("payable_ms", "epochs"), [(0, 1), (1, 1), (EPOCH_MS, 1), (30_000, 3)])
def test_who_joins_before_an_end_earns_nothing_for_that_epoch(payable_ms: int, epochs: int) -> None:
    network = village(payable_ms=payable_ms)
    network.block(network.register("new", "leo"), ms=EPOCH_MS - 1)
    run_end(network, joined=("new",))
    assert totals(network, "new") == [0]
    for _ in range(epochs - 1):
        run_end(network)
        assert totals(network, "new") == [0]
    run_end(network)
    assert totals(network, "new") != [0]


def test_a_rate_that_changes_pays_from_the_epoch_after() -> None:
    network = village(**SHORT_LOCK)
    network.block(set_params(network, reward_rate=0))
    before = totals(network, "v1")
    run_end(network, late_ms=70_000, rules=True)
    paid = totals(network, "v1")
    assert paid > before
    run_end(network)
    assert totals(network, "v1") == paid


# ---- between contributors ----

STAKES: Final = (("alice", 33), ("bob", 33), ("carol", 34))


def shared(pool: int, fee: int = 1_000, **params: int) -> Network:
    """A network whose only node is active, with three contributors and nothing else that pays."""
    network = Network(make_genesis({"minimum_fee": 0, "payable_ms": 0, **params}, pool=pool))
    network.attesting = False
    unit = REQUIREMENT // 100
    network.block(network.register(stake=33 * unit, fee=fee, envelope=FREE))
    for who, share in STAKES[1:]:
        network.block(network.contribute(who, share * unit, envelope=FREE))
    run_end(network, joined=("node",))
    return network


def pool_that_pays(amount: int) -> int:
    """The least pool of which an epoch pays this amount."""
    whole = 10_000 * YEAR_MS
    return -(-amount * whole // (1_510 * EPOCH_MS))


def test_thousand_at_ten_percent_over_33_33_34() -> None:
    network = shared(pool_that_pays(1_000))
    run_end(network)
    assert totals(network, "node") == [1_000]
    before = {who: network.balance(who) for who, _ in STAKES}
    for who, _ in STAKES:
        network.block(network.claim_rewards(who, **FREE))
    gained = {who: network.balance(who) - before[who] for who, _ in STAKES}
    assert gained == {"alice": 397, "bob": 297, "carol": 306}


def test_what_is_left_over_is_the_operators_when_the_period_closes() -> None:
    network = shared(pool_that_pays(1_001), **SHORT_LOCK)
    run_end(network)
    assert get_owed(network.node(), network.state.one(POOL)) == [397, 297, 306]
    before = {who: network.balance(who) for who, _ in STAKES}
    network.block(network.request_unlock(**FREE))
    run_end(network, exited=("node",))
    total = totals(network, "node")[0]
    run_end(network, late_ms=SHORT_LOCK["unbonding_ms"], paid=("node",))
    gained = [
        network.balance(who) - before[who] - share * REQUIREMENT // 100 for who, share in STAKES
    ]
    others = [total * 9_000 * share // (10_000 * 100) for _, share in STAKES[1:]]
    assert gained == [total - sum(others), *others]
    assert total * 9_000 * 33 % (10_000 * 100), "this total leaves something over"
    assert network.state.one(POOL).accrued == 0


def claims(network: Network, *who: str) -> None:
    """Claims of those for whom something waits."""
    owed = dict(zip((w for w, _ in STAKES), get_owed(network.node(), network.state.one(POOL)),
                    strict=True))  # fmt: skip
    for name in who:
        if owed[name]:
            network.block(network.claim_rewards(name, **FREE))


EPOCHS = 9
SETTLING: dict[str, Callable[[int], Sequence[str]]] = {
    "nobody": lambda _: (),
    "everybody in each epoch": lambda _: ("alice", "bob", "carol"),
    "everybody, the other way round": lambda _: ("carol", "bob", "alice"),
    "each in his own epoch": lambda epoch: (STAKES[epoch % 3][0],),
    "the operator only": lambda _: ("alice",),
    "one contributor once": lambda epoch: ("bob",) * (epoch == 4),
    "all in the last epoch": lambda epoch: ("bob", "alice", "carol") * (epoch == EPOCHS - 1),
}


def paid_out(settling: Callable[[int], Sequence[str]]) -> tuple[list[int], int]:
    """What everybody has, and the pool, when the node was paid out."""
    network = shared(10**17, fee=777, **SHORT_LOCK)
    for epoch in range(EPOCHS):
        network.end_epoch(late_ms=epoch % 2)
        claims(network, *settling(epoch))
    network.block(network.request_unlock("alice", **FREE))
    network.end_epoch()
    network.end_epoch(late_ms=SHORT_LOCK["unbonding_ms"])
    assert network.state.get(NODES, public("node")) is None
    return [network.balance(who) for who, _ in STAKES], network.state.one(POOL).balance


@pytest.mark.parametrize("name", SETTLING)
def test_it_does_not_matter_who_settles_when(name: str) -> None:
    assert paid_out(SETTLING[name]) == paid_out(SETTLING["nobody"])


def test_batched_sum_is_the_sum_epoch_by_epoch() -> None:
    network = shared(10**17, fee=777)
    pool, expected = 10**17, 0
    for _ in range(EPOCHS):
        run_end(network)
        paid = pool * 1_510 * EPOCH_MS // (10_000 * 365 * 86_400_000)
        pool, expected = pool - paid, expected + paid
    assert totals(network, "node") == [expected]
    assert network.state.one(POOL).balance == pool


def test_a_claim_pays_the_beneficiary_and_the_rest_waits() -> None:
    network = shared(pool_that_pays(1_000))
    run_end(network)
    network.block(network.claim_rewards("bob", **FREE))
    assert get_owed(network.node(), network.state.one(POOL)) == [397, 0, 306]
    assert network.state.one(POOL).accrued == 703
    assert [c.paid for c in network.node().contributions] == [0, 297, 0]


def test_fees_are_paid_as_rewards_too() -> None:
    network = village(payable_ms=0)
    network.block(network.transfer("alice", "bob", fee=10**6 * FEE))
    run_end(network)
    without = village(payable_ms=0)
    run_end(without)
    assert totals(network, "v1") > totals(without, "v1")
    assert network.chain.tip.time_ms == START_MS + EPOCH_MS


def test_the_accumulator_stays_an_amount() -> None:
    """What could not be written down is not paid."""
    network = village(payable_ms=0)
    network.settle()
    most = 2**63 - 1
    near = most - 5
    rows = {b"n" + key: replace(node, entry=near) for key, node in network.state.items(NODES)}
    network.rewrite({b"r": replace(network.state.one(POOL), accumulator=near), **rows})
    network.end_epoch()
    pool = network.state.one(POOL)
    assert (pool.accumulator, pool.accrued) == (most, 8 * 5)
    network.end_epoch()
    assert network.state.one(POOL) == pool
