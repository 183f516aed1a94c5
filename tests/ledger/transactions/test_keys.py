"""`set_keys`, case by case, and what the epoch's end makes of it."""

from typing import Any

import pytest

from ledger.messages.state import Chainlink
from ledger.messages.tables import CHAINLINKS, EPOCH, NEW_KEYS
from tests.factory import QUARTER, Network, attestor_roles, links, make_contact, public
from tests.ledger.runners.contact import run_update_contact
from tests.ledger.runners.keys import run_set_keys
from tests.ledger.runners.stake import run_register
from tests.ledger.scenes import enter, take_down, town

NEW_LIST: dict[str, Any] = {
    "list_key": public("node list 2"),
    "list_tip": links(public("node list 2"))[-1],
}
OTHER_TIP = links(public("node list"), 80)[-1]


@pytest.fixture
def network() -> Network:
    """With an active node of alice that has a key for every role."""
    network = town()
    enter(network)
    return network


def roles(network: Network) -> tuple[bytes, bytes, bytes]:
    """The role keys of the node."""
    node = network.node()
    return node.duty_key, node.list_key, node.consensus_key


def test_another_duty_key(network: Network) -> None:
    run_set_keys(network, duty="node duty 2")
    before = roles(network)
    assert before[0] == public("node duty")
    epoch = network.state.one(EPOCH).epoch
    network.end_epoch()
    node = network.node()
    assert roles(network) == (public("node duty 2"), *before[1:])
    assert (node.former_duty_key, node.keys_epoch) == (public("node duty"), epoch + 1)
    assert network.state.get(NEW_KEYS, public("node")) is None


def test_another_list_key_with_its_chain(network: Network) -> None:
    run_set_keys(network, **NEW_LIST)
    assert network.state.get(CHAINLINKS, NEW_LIST["list_key"]) is None
    network.end_epoch()
    assert roles(network)[1] == NEW_LIST["list_key"]
    link = network.state.one(CHAINLINKS, NEW_LIST["list_key"])
    assert link == Chainlink(NEW_LIST["list_tip"], 0)


def test_another_consensus_key(network: Network) -> None:
    run_set_keys(network, consensus_key=public("node consensus 2"))
    network.end_epoch()
    assert roles(network)[2] == public("node consensus 2")


def test_a_key_for_every_role(network: Network) -> None:
    run_set_keys(network, duty="node duty 2", **NEW_LIST, consensus_key=public("node consensus 2"))


def test_the_same_list_key_with_another_chain(network: Network) -> None:
    run_set_keys(network, list_tip=OTHER_TIP)
    network.end_epoch()
    assert network.state.one(CHAINLINKS, public("node list")) == Chainlink(OTHER_TIP, 0)
    assert network.node().list_tip == OTHER_TIP


def test_no_list_key_and_no_consensus_key_any_more(network: Network) -> None:
    run_set_keys(network, list_key=b"", consensus_key=b"")
    network.end_epoch()
    assert roles(network) == (public("node duty"), b"", b"")


def test_the_same_keys_once_more_are_no_change_of_the_duty_key(network: Network) -> None:
    run_set_keys(network)
    network.end_epoch()
    assert network.node().former_duty_key == b""
    assert network.node().keys_epoch == 0


def test_back_to_the_first_duty_key(network: Network) -> None:
    run_set_keys(network, sequence=1, duty="node duty 2")
    network.end_epoch()
    run_set_keys(network, sequence=2, duty="node duty")
    network.end_epoch()
    assert roles(network)[0] == public("node duty")
    assert network.node().former_duty_key == public("node duty 2")


def test_the_highest_number_of_all(network: Network) -> None:
    run_set_keys(network, sequence=2**63 - 1)


def test_keys_and_contact_data_count_their_numbers_together(network: Network) -> None:
    run_update_contact(network, "node", 1, make_contact(9))
    run_set_keys(network, sequence=2)
    run_update_contact(network, "node", 3, make_contact(10))


def test_keys_of_a_node_that_waits_for_stake() -> None:
    network = Network()
    network.block(network.register(stake=QUARTER))
    run_set_keys(network, **NEW_LIST, consensus_key=public("node consensus"))


def test_keys_of_a_node_in_the_queue() -> None:
    network = town(activation_verdict=1)
    network.block(network.register())
    run_set_keys(network, duty="node duty 2")


def test_keys_of_a_node_that_is_down(network: Network) -> None:
    take_down(network)
    run_set_keys(network, duty="node duty 2")


def test_a_list_key_of_an_earlier_life_goes_on_with_its_chain() -> None:
    network = Network()
    run_register(network, "node", "alice", QUARTER, **attestor_roles("node"))
    network.block(network.request_unlock())
    network.end_epoch()
    run_register(network, "node", "alice", QUARTER, life=2)
    run_set_keys(network, list_key=public("node list"))
