"""Transactions on their way: what was taken gets into a block, wherever it was submitted."""

from typing import Final

from ledger.crypto import sha256
from ledger.types import COIN, Hash
from registry.keystore import derive
from registry.wallet import Terms, Wallet
from tests.comet.network import Network, Validator, account_of, seed_of, wait_for, watched

PARAMS: Final = {"max_block_transactions": 10, "block_ms": 300, "epoch_ms": 20_000}
"""Under which CometBFT's own pools hold twenty transactions."""

SENDERS: Final = 10
EACH: Final = 15
"""Transactions of each sender: far more than there is room for at once."""


def test_nothing_is_lost_where_pools_are_full() -> None:
    with watched(1, PARAMS) as network:
        network.start()
        (validator,) = network.validators
        nodes = [network.join(name, validator=None, attest=None) for name in ("one", "other")]
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_for_height(validator.height)
        sent = {
            node: submit(network, node, range(SENDERS * place, SENDERS * (place + 1)))
            for place, node in enumerate(nodes)
        }
        for node, hashes in sent.items():
            wait_until_committed(node, hashes)
        network.stop()
        with validator.opened() as view:
            found = [view.location(tx) for hashes in sent.values() for tx in hashes]
        assert all(place is not None and place.code == 0 for place in found)


def submit(network: Network, node: Validator, people: range) -> list[Hash]:
    """Submit transfers of some people to a node, faster than blocks can take them."""
    raws = []
    for nonce in range(EACH):
        for number in people:
            pair = derive(seed_of(f"person {number}"), "account")
            terms = Terms(nonce, 1_000, 3_000)
            raws.append(Wallet(network.genesis_hash, pair).transfer(terms, account_of(39), COIN))
    answers = node.submit(raws)
    assert {answer["state"] for answer in answers} <= {"pending", "committed"}
    return [sha256(raw) for raw in raws]


def wait_until_committed(node: Validator, hashes: list[Hash]) -> None:
    """Return once all of them stand in blocks."""

    def waiting() -> list[str]:
        told = [node.get(f"/v1/transactions/{tx.hex()}")["state"] for tx in hashes]
        return [state for state in told if state != "committed"]

    wait_for(lambda: not waiting(), lambda: f"{waiting()}\n{node.said[-2000:]}")
