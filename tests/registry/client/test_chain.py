"""A client beside a chain: it takes every list that the ledger makes, as soon as it is final."""

import pytest

from ledger.errors import Refusal
from ledger.merkle import leaf_hash, tree_root
from ledger.messages.lists import encode_signed_header
from ledger.types import ZERO_HASH
from registry.client import Status, TrustedLists
from registry.formats.full import encode_full
from tests.factory import PEOPLE, Network
from tests.registry.client.factory import make_swarm_leaves


def signed_header(network: Network) -> bytes:
    return encode_signed_header(network.chain.newest_header())


def test_every_list_of_a_chain_holds() -> None:
    network = Network()
    client = TrustedLists(network.raw, network.genesis.start_ms)
    seen = []
    for number in range(8):
        client.start_update(network.chain.tip.time_ms)
        client.update(signed_header_when_final(network))
        if client.needs_list:
            client.load_full(encode_full(network.chain.newest_list().columns))
        header = client.header
        assert header.state_root != ZERO_HASH
        assert client.status is Status.FRESH
        leaves = make_swarm_leaves(client.entries)
        assert header.swarm_root == tree_root([leaf_hash(leaf) for leaf in leaves])
        seen.append((header.epoch, header.node_count))
        network.block(network.register(f"node {number}", operator=PEOPLE[number % 3]))
        network.end_epoch(late_ms=7 * number)
    assert seen == [(epoch, epoch) for epoch in range(8)]


def signed_header_when_final(network: Network) -> bytes:
    """Let the attestors sign, and return what they signed."""
    network.settle()
    return signed_header(network)


def test_a_header_that_nobody_signed_yet_is_not_final() -> None:
    network = Network()
    network.attesting = False
    network.end_epoch()
    network.block()
    client = TrustedLists(network.raw, network.chain.tip.time_ms)
    with pytest.raises(Refusal) as caught:
        client.update(signed_header(network))
    assert caught.value.code == "not_final"


def test_after_a_halt_the_next_list_holds() -> None:
    network = Network()
    client = TrustedLists(network.raw, network.genesis.start_ms)
    client.update(signed_header_when_final(network))
    network.end_epoch(late_ms=2 * network.params.valid_ms)
    signed = signed_header_when_final(network)
    client.start_update(network.chain.tip.time_ms)
    before = client.status
    client.update(signed)
    assert (before, client.status) == (Status.EXPIRED, Status.FRESH)
    assert client.header.epoch == 1
