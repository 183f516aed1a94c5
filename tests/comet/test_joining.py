"""Who joins, who leaves, and a client that was away meanwhile."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import pytest

from ledger.crypto import sha256
from ledger.messages.genesis import GENESIS
from ledger.params import Params
from ledger.types import COIN, Height
from registry.addresses import encode_account, encode_node
from registry.client import TrustedLists
from registry.client.http import fetch_lists
from registry.cometbft.genesis import evidence_ages
from registry.keystore import derive
from registry.wallet import NodeTerms, Terms, Wallet, sign_registration
from tests.comet.crowd import LIFETIME, REGISTRATION_MS
from tests.comet.network import (
    Network,
    Validator,
    contact_of,
    free_ports,
    seed_of,
    wait_for,
    watched,
)
from tests.registry.cli.driver import call_json

PARAMS: Final = {"block_ms": 250, "epoch_ms": 1_000, "attest_blocks": 4, "set_change_ms": 0}
"""With which CometBFT's evidence is too old after 24 seconds, and 96 blocks."""

FEW: Final = 16
"""Epochs between two snapshots here."""


class Town:
    """A network with two who join it: one by a snapshot, one from the first block on."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.params = Params(*GENESIS.decode(network.genesis).params)
        first, second, *_ = network.validators
        for validator, port in zip((first, second), free_ports(2), strict=True):
            validator.settings = validator.settings.model_copy(update={"rpc": f"127.0.0.1:{port}"})
        for validator in network.validators:
            changes = {"snapshot_epochs": FEW}
            validator.settings = validator.settings.model_copy(update=changes)

    @property
    def first(self) -> Validator:
        """The service that is asked."""
        return self.network.validators[0]

    def seats(self) -> dict[str, str]:
        """The consensus key of each seat, by the address of its node."""
        told = self.first.get("/v1/attestors")
        return {row["node"]: row["consensus_key"] for row in told["attestors"]}

    def send(self, person: str, make: Callable[[Wallet, Terms], bytes]) -> Height:
        """Send a transaction of an account, and return the height of its block."""
        pair = derive(seed_of(person), "account")
        account = self.first.get(f"/v1/accounts/{encode_account(pair.public)}")
        expiry = self.first.height + LIFETIME
        terms = Terms(account["nonce"], self.params.minimum_fee, expiry)
        wallet = Wallet(self.network.genesis_hash, pair)
        (answer,) = self.first.submit([make(wallet, terms)], wait=True)
        assert answer["state"] == "committed", answer
        return int(answer["height"])

    def stand(self, name: str, person: str, number: int) -> str:
        """Register the node of a name, which stands for a seat; return its address."""
        operator = derive(seed_of(person), "account").public
        terms = NodeTerms(
            life=1,
            operator=operator,
            beneficiary=operator,
            fee=0,
            reserved=(),
            contact=contact_of(number),
            expiry_ms=time.time_ns() // 1_000_000 + REGISTRATION_MS,
            attests=True,
            validates=True,
        )
        registration = sign_registration(
            self.network.genesis_hash, seed_of(name), terms, self.params.staking_requirement
        )
        self.send(person, lambda wallet, t: wallet.register(t, registration))
        return address_of(name)

    def wait_for_seats(self, wanted: Sequence[str]) -> None:
        """Return once exactly these nodes have a seat, and CometBFT knows it too."""
        keys = {derive(seed_of(name), "consensus").public for name in wanted}
        nodes = {address_of(name) for name in wanted}
        wait_for(lambda: set(self.seats()) == nodes, lambda: str(self.seats()))
        assert set(self.seats().values()) == {key.hex() for key in keys}
        addresses = {sha256(key)[:20].hex().upper() for key in keys}

        def agreeing() -> set[str]:
            told = self.first.consensus("validators", per_page=100)
            return {row["address"] for row in told["validators"]}

        wait_for(lambda: agreeing() == addresses, lambda: str(agreeing()))


def address_of(name: str) -> str:
    """The address of the node of a name."""
    return encode_node(derive(seed_of(name), "node").public)


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with watched(4, PARAMS) as network:
        town = Town(network)
        network.start()
        yield town


def test_who_joins_who_leaves_and_a_client_that_was_away(town: Town) -> None:
    network, first = town.network, town.first
    wait_for(lambda: first.lines("snapshot"), lambda: first.said[-2000:])
    # nobody may begin with it before all evidence from before it is too old
    height = first.lines("snapshot")[0]["height"]
    ages = evidence_ages(town.params)
    first.wait_for_height(height + ages.blocks + 2)
    away = TrustedLists(network.genesis, time.time_ns() // 1_000_000)
    fetch_lists([first.url], away)
    old_set = away.header.set_hash

    # ---- one joins by a snapshot, one from the first block on
    by_snapshot = network.join(
        "newcomer 4",
        state_sync=tuple(f"http://{each.settings.rpc}" for each in network.validators[:2]),
        lists=(first.url,),
    )
    by_replay = network.join("newcomer 5")
    by_snapshot.start()
    by_replay.start()
    for newcomer in (by_snapshot, by_replay):
        newcomer.wait_for_height(first.height)
    (restored,) = by_snapshot.lines("snapshot restored")
    begun = restored["height"]
    assert begun < first.height - ages.blocks
    assert not by_replay.lines("snapshot restored")

    # ---- a seat for the one, and for the other in the place of who leaves
    founders = [each.name for each in network.validators]
    town.stand("newcomer 4", "person 0", 4)
    town.wait_for_seats([*founders, "newcomer 4"])
    left = network.validators[3]
    leaving = derive(seed_of(left.name), "node").public
    town.send("person 1", lambda wallet, t: wallet.transfer(
        t, derive(seed_of(left.name), "account").public, COIN))  # fmt: skip
    town.send(left.name, lambda wallet, t: wallet.request_unlock(t, leaving, 1))
    town.wait_for_seats([*founders[:3], "newcomer 4"])
    assert left.stop() == 0
    town.stand("newcomer 5", "person 2", 5)
    town.wait_for_seats([*founders[:3], "newcomer 4", "newcomer 5"])

    # ---- the newcomers are needed: without one founder more there are four of five
    second = network.validators[1]
    assert second.stop() == 0
    height = first.height
    first.wait_for_height(height + 20)

    # ---- the client finds its way from the old header, at any of them
    away.start_update(time.time_ns() // 1_000_000)
    fetch_lists([by_replay.url], away)
    assert away.header.set_hash != old_set
    assert away.signers.seats == 5
    assert away.header.epoch >= first.get("/v1/network")["epoch"] - 3

    # ---- all hold the same
    network.stop()
    network.compare(network.validators[0], network.validators[2], by_replay, least=height)
    # the seats changed three times: an audit knows who could propose which block
    assert call_json("ledger", "audit", "--home", first.settings.home)["height"] >= height
    with first.opened() as whole, by_snapshot.opened() as part:
        common = min(whole.tip.height, part.tip.height)
        assert common >= height
        assert whole.block(common) == part.block(common)
        # it began in the middle, without the block of its snapshot
        assert part.block(begun) is None
        assert whole.block(begun) is not None
        for height in range(begun + 1, common + 1):
            assert whole.block(height) == part.block(height)
