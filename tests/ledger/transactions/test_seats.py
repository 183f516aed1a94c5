"""What orders of seats may not do among validators, or where the registry fills the seats, is the
only difference: one producer's network of the same seats takes them.
"""

from typing import Final

import pytest

from tests.factory import Network, make_genesis
from tests.ledger.refusals.orders import RECOVERY
from tests.ledger.refusals.rows import Sent, expect, submit
from tests.ledger.refusals.seats import SEATS_OF_NODES, announced
from tests.life import set_keys

ORDERS: Final = {
    name: row
    for name, row in SEATS_OF_NODES.items()
    if isinstance(row, Sent)
    and row.code == "bad_order"
    and "order that seats a node twice" not in name
}
"""A node cannot come with both keys at once: this would move two seats."""


@pytest.mark.parametrize("name", ORDERS)
def test_attestors_of_one_producer_order_what_they_like(name: str) -> None:
    row = ORDERS[name]
    network = Network(make_genesis(row.params, **RECOVERY))
    row.scene(network)
    network.settle()
    submit(network, row.make(network))


def test_there_are_as_many_as_there_are_rules() -> None:
    assert len(ORDERS) == 7


def test_a_node_that_waits_for_its_seat_may_change_everything_but_to_no_consensus_key() -> None:
    row = SEATS_OF_NODES["no keys of an attestor before the seat counts"]
    assert isinstance(row, Sent)
    network = Network(make_genesis(row.params, **row.genesis))
    announced(network)
    expect("attestor_keys", submit, network, row.make(network))
    submit(network, set_keys(network, list_key=b""))
