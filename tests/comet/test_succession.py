"""A network of one producer goes on as one of four validators, and a client follows."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.messages.genesis import REGISTRY, Genesis
from ledger.messages.tables import (
    ACCOUNTS,
    CONTACTS,
    EXITS,
    HISTORIES,
    NODES,
    PAYOUTS,
    POOL,
    SWARMS,
    Table,
)
from registry.founding import make_seat
from registry.inheritance import check_inheritance
from registry.settings import Settings
from tests.comet.network import Validator, free_ports, needs_cometbft, seed_of, wait_for, watched
from tests.factory import Network
from tests.ledger.moving import everything, make_successor
from tests.registry.cli.driver import call, call_json
from tests.registry.engines.source import Source, sources

FOUNDERS: Final = 4


def followed_by_validators(old: Network) -> Genesis:
    """The genesis file of four validators who follow on a network."""
    seats = [make_seat(seed_of(f"validator {n}"), validates=True) for n in range(FOUNDERS)]
    seats.sort(key=lambda seat: seat.list_key)
    return make_successor(old, policy=REGISTRY, attestors=tuple(seats))


class Old:
    """A network with nodes in every state that is over, and one who followed it."""

    def __init__(self, folder: Path) -> None:
        network, following = everything(followed_by_validators)
        self.last = network.header
        self.end, self.list = network.view, network.chain.newest_list()
        network.settle()
        network.end_epoch()
        self.genesis = network.raw
        self.following = encode(following)
        self.blocks = [encode(block) for block in network.blocks]
        (folder / "genesis.bin").write_bytes(network.raw)
        (port,) = free_ports(1)
        self.follower = Validator(
            "follower", Settings(home=folder, engine="follow", port=port, workers=1)
        )

    def follow(self) -> None:
        """Execute every block, and publish the lists, while there is a producer."""
        with sources(Source(self.blocks)) as urls:
            self.follower.start(follow=tuple(urls))
            self.follower.wait_for_height(len(self.blocks))
            assert self.follower.stop() == 0


def test_one_producer_is_followed_by_four_validators(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_cometbft()
    with TemporaryDirectory(prefix="wp", dir="/tmp") as folder:
        old = Old(Path(folder))
        with watched(FOUNDERS, genesis=old.following) as network:
            served = old.follower
            network.all.append(served)
            old.follow()
            move(old, network.folder, [each.settings.home for each in network.validators])
            # the producer is gone
            served.start(follow=("http://127.0.0.1:1",))
            wait_for(lambda: served.height > 0, lambda: served.said[-2000:])
            client = network.folder / "client"
            client.mkdir()
            (client / "genesis.bin").write_bytes(old.genesis)
            monkeypatch.setenv("WAYPOST_HOME", str(client))

            # ---- a client that holds the last list of the old network
            held = call_json("list", "fetch", "--url", served.url)
            assert (held["epoch"], held["node_count"]) == (old.last.epoch, old.last.node_count)

            # ---- the new one begins with everything
            for validator in network.validators:
                # by its file this network is years old, and no key has voted in it
                validator.settings = validator.settings.model_copy(update={"new_watermark": True})
            network.start()
            check_beginning(old, network.validators[0])
            new = network.validators[0]
            wait_for(
                lambda: (new.get("/v1/network") or {}).get("latest_final"),
                lambda: str(new.get("/v1/network")),
            )
            # for it the old network is years away, so two of the new one have to agree
            urls = [each.url for each in network.validators[:2]]
            asked = ("--url", urls[0], "--url", urls[1], "--agree", 2)
            facts = call_json("list", "fetch", *asked)
            assert facts["genesis_hash"] == sha256(old.following).hex()
            assert facts["signers"]["seats"] == FOUNDERS
            assert facts["node_count"] == old.last.node_count

            height = new.height
            network.wait_for_height(height + 5)
            network.stop()
            network.compare(least=height)


def move(old: Old, folder: Path, homes: list[Path]) -> None:
    """Hand the old network's last state over to each founder, who checks it for himself."""
    following = folder / "following.bin"
    following.write_bytes(old.following)
    left = folder / "inheritance"
    call(
        "ledger",
        "bequeath",
        "--home",
        old.follower.settings.home,
        "--successor",
        following,
        "--to",
        left,
    )
    roots = {call_json("ledger", "inherit", left, "--home", home)["state_root"] for home in homes}
    begun = check_inheritance(left.read_bytes(), old.following, time.time_ns() // 1_000_000)
    assert roots == {begun.tip.root.hex()}
    before, after = old.end.state, begun.view().state
    kept: tuple[Table[Any], ...] = (ACCOUNTS, CONTACTS, HISTORIES, SWARMS, EXITS, PAYOUTS)
    for table in kept:
        assert list(before.items(table)) == list(after.items(table)), table.name
    assert before.one(POOL) == after.one(POOL)
    states = [[(key, node.state) for key, node in s.items(NODES)] for s in (before, after)]
    assert states[0] == states[1]
    assert begun.newest_list() == old.list


def check_beginning(old: Old, new: Validator) -> None:
    """The service says what the network began with."""
    network = new.get("/v1/network")
    assert network["engine"] == "comet"
    assert network["supply"] == str(old.end.state.one(POOL).supply)
