"""A network that goes on as another one, from its order to where its clients are in the end."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.codec import encode
from ledger.crypto import sha256, sign, signing_bytes
from ledger.errors import REFUSALS, Refusal
from ledger.messages import tags
from ledger.messages.genesis import COMET
from ledger.messages.lists import decode_header
from ledger.messages.tables import NODES, SUCCESSION
from ledger.messages.transactions import SetSuccessor, Signer, SuccessorOrder
from ledger.types import ZERO_HASH
from registry.client import TrustedLists
from registry.formats.trust import encode_path
from registry.keystore import derive
from registry.signer import Known
from registry.watermarks import SignerRefuses
from tests.factory import QUARTER, Network, make_genesis, public
from tests.ledger.scenes import SHORT
from tests.life import set_successor
from tests.registry.factory import Node, Site, eventually, in_loop, produce, seed_of, short_folder
from tests.registry.test_ledger_process import make_home, started
from tests.registry.year import newest, path_between

FOLLOWING = encode(make_genesis(name=b"another-net", engine=COMET, producer=b""))
"""The genesis file of the network that follows."""

MOVED = REFUSALS["network_moved"].number


# ------------------------------------------------------------------ the ledger and its clients


def announce(network: Network) -> None:
    """The attestors order the successor."""
    network.block(set_successor(network, "leo", sha256(FOLLOWING)))


def move(network: Network) -> None:
    """An epoch ends whose header names it."""
    left_ms = network.state.one(SUCCESSION).from_ms - network.chain.tip.time_ms
    network.end_epoch(late_ms=max(0, left_ms))
    assert network.header.successor == sha256(FOLLOWING)


def take(client: TrustedLists, network: Network, epoch: int) -> None:
    """A client takes the newest header by the path that a service finds."""
    client.start_update(network.chain.tip.time_ms)
    start = None if client.is_empty else client.header.epoch
    client.update(newest(network), encode_path(path_between(network, start, epoch)))


def test_from_the_order_to_the_network_that_follows() -> None:
    network = Network(**SHORT, contributor_wait_ms=0)
    network.block(
        network.register(stake=QUARTER), *(network.contribute(who, QUARTER) for who in PARTNERS)
    )
    network.end_epoch()
    network.settle()
    client = TrustedLists(network.raw, network.chain.tip.time_ms, allow_expired=True)
    take(client, network, network.header.epoch)

    announce(network)
    # bob does not agree, sees it in time, and leaves with his stake
    network.end_epoch(late_ms=network.params.unbonding_ms // 2)
    before = network.balance("bob")
    network.block(network.request_unlock("bob"))
    network.end_epoch()
    network.end_epoch(late_ms=network.params.unbonding_ms - network.params.epoch_ms)
    assert network.header.successor == ZERO_HASH
    assert network.state.get(NODES, public("node")) is None
    assert network.balance("bob") >= before + QUARTER - network.params.minimum_fee

    move(network)
    last = network.header.epoch
    network.block(network.transfer("alice", "bob"), codes=[MOVED])
    network.forget_sent()
    # the header is final for whoever has the signatures, and before the chain says so
    take(client, network, last)
    assert client.successor == sha256(FOLLOWING)
    network.end_epoch()
    assert network.state.one(SUCCESSION).last_epoch == last

    # whoever makes another header all the same is not followed
    network.attesting = False
    network.block()
    with pytest.raises(Refusal) as caught:
        take(client, network, last + 1)
    assert caught.value.code == "succeeded"
    with pytest.raises(Refusal) as caught:
        client.succeed(network.raw)
    assert caught.value.code == "wrong_successor"
    client.succeed(FOLLOWING)
    assert (client.genesis_hash, client.is_empty) == (sha256(FOLLOWING), True)


PARTNERS = ("bob", "carol", "dave")


def test_a_client_that_was_long_away_comes_by_the_header_that_is_final() -> None:
    """The one that named the successor first was not."""
    network = Network(**SHORT)
    network.settle()
    client = TrustedLists(network.raw, network.chain.tip.time_ms, allow_expired=True)
    take(client, network, 0)
    announce(network)
    network.end_epoch()
    network.attesting = False
    move(network)
    network.block()
    network.block(network.attest(0))
    with pytest.raises(Refusal) as caught:
        take(client, network, network.header.epoch)
    assert caught.value.code == "not_final"
    network.end_epoch()
    network.attesting = True
    network.settle()
    take(client, network, network.header.epoch)
    assert client.successor == sha256(FOLLOWING)
    client.succeed(FOLLOWING)


# ----------------------------------------------------------------------- signers and producer


def order(site: Site, from_ms: int) -> bytes:
    """The order of the site's attestors, for which alice pays."""
    network = Network(site.genesis)
    what = SuccessorOrder(sha256(FOLLOWING), from_ms)
    pair = derive(seed_of("attestor"), "list")
    message = signing_bytes(tags.SUCCESSOR_ORDER, site.hash, encode(what))
    signers = (Signer(pair.public, sign(pair, message)),)
    return network.paid("set_successor", "alice", SetSuccessor(what, signers))


def soon(site: Site) -> int:
    """From when on headers may name a successor, with some time to spare."""
    unbonding_ms = Network(site.genesis).params.unbonding_ms
    return site.clock.ms + 2 * unbonding_ms + 60_000


def test_no_header_is_signed_after_the_last_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = Site(monkeypatch, tmp_path)
    network = Network(site.genesis)
    network.attesting = False
    network.block()
    site.clock.ms = network.header.valid_after_ms
    signer = site.header_signer("attestor")
    raw = network.chain.newest_header().header
    known = Known(lambda _: None, 0, network.params.epoch_ms, site.genesis.start_ms)
    with pytest.raises(SignerRefuses, match="none of this network any more"):
        signer.sign(raw, known._replace(is_over=True))
    signer.sign(raw, known)
    site.let_go()


@in_loop
async def test_a_producer_goes_on_until_such_a_header_is_final(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = Site(monkeypatch, tmp_path)
    node = Node.at(site)
    solo = node.solo(site)
    await produce(site, solo)
    from_ms = soon(site)
    await solo.submit([order(site, from_ms)], False)
    await produce(site, solo)
    await produce(site, solo, ms=from_ms - site.clock.ms)
    assert decode_header(node.chain.newest_header().header).successor == sha256(FOLLOWING)
    last = decode_header(node.chain.newest_header().header).epoch
    # nobody attests: epochs go on ending, and headers name it again
    await produce(site, solo, 11)
    header = decode_header(node.chain.newest_header().header)
    assert (header.epoch, header.successor) == (last + 1, sha256(FOLLOWING))
    [answer] = await solo.submit([node.network.transfer("bob", "carol")], False)
    assert (answer["state"], answer["code"]) == ("refused", "network_moved")
    await produce(site, solo)
    await node.close()
    site.let_go()


# -------------------------------------------------------------------------------- the service


OVER = "network is over: no more blocks"


def heard(lines: list[Any], event: str) -> list[Any]:
    """What was logged of an event."""
    return [line for line in lines if line["event"] == event]


@in_loop
async def test_a_service_ends_with_its_network_and_goes_on_serving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with short_folder() as folder, capture_logs() as lines:
        site, settings = make_home(monkeypatch, folder)
        from_ms = soon(site)
        async with started(site, settings) as asked:
            [row] = await asked.submit(order(site, from_ms), wait=True)
            assert row["state"] == "committed"
            rules = (await asked.query("rules"))["result"]
            assert rules["successor"] == sha256(FOLLOWING).hex()
            # a key that never signed would have to ask, once the network is not new any more
            await eventually(lambda: asked.views[-1].latest == 0)
            site.clock.ms = from_ms
            chain = asked.service.chain
            await eventually(
                lambda: decode_header(chain.newest_header().header).successor != ZERO_HASH
            )
            last = decode_header(chain.newest_header().header).epoch
            await eventually(lambda: asked.views[-1].latest == last)
            site.clock.ms += 60_000
            await eventually(lambda: heard(lines, OVER))
            await ends(asked, last)
            height = chain.tip.height
        # the next start finds everything as it was
        async with started(site, settings) as asked:
            await eventually(lambda: len(heard(lines, OVER)) == 2)
            await ends(asked, last)
            assert asked.service.chain.tip.height == height
        over = heard(lines, OVER)
        assert [(line["last_epoch"], line["successor"]) for line in over] == [
            (last, sha256(FOLLOWING).hex())
        ] * 2
        assert heard(lines, "header not attested") == []
        attested = [line["epoch"] for line in heard(lines, "attested")]
        assert attested[-1] == last


async def ends(asked: Any, last: int) -> None:
    """The network is over for everybody who asks."""
    assert (await asked.query("rules"))["result"]["last_epoch"] == last
    assert asked.views[-1].latest == last
    [answer] = await asked.submit(asked.network.transfer("bob", "carol"))
    assert (answer["state"], answer["code"]) == ("refused", "network_moved")
    assert (await asked.query("account", key=public("bob")))["result"]["balance"]
