"""`request_unlock`, case by case."""

import pytest

from ledger.messages.state import DECOMMISSIONED
from ledger.messages.tables import EXITS, NODES
from tests.factory import EPOCH_MS, QUARTER, START_MS, Network, founding, make_genesis, public
from tests.ledger.runners.leave import run_request_unlock
from tests.ledger.scenes import enter, share, take_down, town, wait_until


@pytest.fixture
def network() -> Network:
    """With an active node of alice, in which bob and carol have stakes."""
    network = town()
    enter(network)
    return network


def test_operator_asks_as_soon_as_his_node_is_active(network: Network) -> None:
    run_request_unlock(network, "alice")


def test_contributor_asks_in_the_first_block_that_may(network: Network) -> None:
    wait_until(network, network.node().activated_ms + network.params.contributor_wait_ms)
    run_request_unlock(network, "bob")


def test_smallest_contributor_may_ask_too() -> None:
    network = town(contributor_wait_ms=0)
    enter(network)
    run_request_unlock(network, "carol")


def test_operator_gives_up_a_node_that_waits() -> None:
    network = Network()
    network.block(network.register(stake=QUARTER))
    run_request_unlock(network)


def test_operator_gives_up_a_node_in_the_queue() -> None:
    network = town(activation_verdict=1)
    share(network)
    run_request_unlock(network)


def test_founding_node_asks_to_leave_sooner() -> None:
    network = Network(make_genesis(nodes=founding("node", exit_ms=START_MS + 20 * EPOCH_MS)))
    run_request_unlock(network)
    assert [row.node for _, row in network.state.items(EXITS)] == [public("node")]


def test_decommissioned_node_has_no_place_until_it_returns(network: Network) -> None:
    take_down(network)
    run_request_unlock(network)
    assert list(network.state.items(EXITS)) == []
    assert network.node().state == DECOMMISSIONED


def test_two_nodes_of_one_operator_leave_in_the_order_of_asking() -> None:
    network = Network(make_genesis(nodes=founding("a", "b")))
    for name in ("b", "a"):
        run_request_unlock(network, "alice", name)
    places = [row.node for _, row in network.state.items(EXITS)]
    assert places == [public("b"), public("a")]


def test_operator_who_gives_up_has_everything_back_but_the_fees() -> None:
    network = Network()
    before = {who: network.balance(who) for who in ("alice", "bob", "carol")}
    share(network)
    run_request_unlock(network)
    network.end_epoch()
    assert network.state.get(NODES, public("node")) is None
    paid = {who: before[who] - network.balance(who) for who in before}
    fee = network.params.minimum_fee
    assert paid == {"alice": 2 * fee, "bob": fee, "carol": fee}
