"""Following: nothing is believed, liars are passed over, a producer who lies stops everything."""

import asyncio
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.errors import Diverged
from ledger.messages.blocks import BLOCK
from ledger.messages.transactions import Transfer
from ledger.store import MemoryStore
from registry.engines import follow as follow_module
from tests.factory import Network, public
from tests.flip import flip
from tests.registry.engines.source import (
    Answering,
    Lie,
    Made,
    Source,
    following,
    make_chain,
    resealed,
    sources,
)
from tests.registry.factory import Node, Site, eventually, in_loop

BLOCKS = 12
"""One epoch, and the beginning of the next."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    """A network; who follows it does not wait long for anything."""
    monkeypatch.setattr(follow_module, "RETRY_S", 0.0)
    return Site(monkeypatch, tmp_path, block_ms=100)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The chain of that network."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        site = Site(monkeypatch, tmp_path_factory.mktemp("producer"), block_ms=100)
        return asyncio.run(make_chain(site, BLOCKS))


# ------------------------------------------------------------------------------- honest


@in_loop
async def test_genesis_file_and_url_are_enough_to_come_to_the_same_state(
    site: Site, made: Made
) -> None:
    with sources(Source(made.raws)) as urls:
        async with following(site, urls) as (node, follow):
            await follow.catch_up(BLOCKS)
            assert node.chain.tip == made.tip
            assert node.network.dump() == made.dump
            # every signature was verified here
            assert sum(node.verifier.asked) >= 2 * BLOCKS
            assert node.replica.census.by_state() == made.nodes


@pytest.mark.parametrize("batch", [1, 5, 12, 100])
@in_loop
async def test_blocks_come_in_batches(
    site: Site, made: Made, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(follow_module, "FETCH_BLOCKS", batch)
    source = Source(made.raws)
    with sources(source) as urls:
        async with following(site, urls) as (node, follow):
            await follow.catch_up(BLOCKS)
            assert node.chain.tip == made.tip
            assert source.asked == list(range(1, BLOCKS + 1, batch))


@in_loop
async def test_it_goes_on_with_the_chain_until_it_is_cancelled(site: Site, made: Made) -> None:
    raws = list(made.raws)
    source = Source(raws[:5])
    with sources(source) as urls:
        async with following(site, urls) as (node, follow):
            running = asyncio.create_task(follow.run())
            await eventually(lambda: node.chain.tip.height == 5)
            source.blocks = raws
            await eventually(lambda: node.chain.tip.height == BLOCKS)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running


@in_loop
async def test_a_restart_resumes_where_it_was(site: Site, made: Made) -> None:
    source, store = Source(made.raws[:7]), MemoryStore()
    with sources(source) as urls:
        async with following(site, urls, store) as (_, follow):
            await follow.catch_up(7)
        source.blocks = made.raws
        source.asked.clear()
        async with following(site, urls, store) as (node, follow):
            assert node.chain.tip.height == 7
            await follow.catch_up(BLOCKS)
            assert node.chain.tip == made.tip
            assert source.asked == [8]


# -------------------------------------------------------------------------- bad sources


def changed_seal(handler: Answering, raws: list[bytes]) -> None:
    handler.send(msgspec.msgpack.encode([flip(raw) for raw in raws]))


def garbage(handler: Answering, _raws: list[bytes]) -> None:
    handler.send(b"garbage" * 100)


def garbled_blocks(handler: Answering, raws: list[bytes]) -> None:
    handler.send(msgspec.msgpack.encode([raw[:-5] for raw in raws]))


def no_list(handler: Answering, _raws: list[bytes]) -> None:
    handler.send(msgspec.msgpack.encode({"blocks": []}))


def nothing(handler: Answering, _raws: list[bytes]) -> None:
    handler.send(b"")


def failing(handler: Answering, raws: list[bytes]) -> None:
    handler.send(msgspec.msgpack.encode(raws), status=500)


def elsewhere(handler: Answering, raws: list[bytes]) -> None:
    handler.send(msgspec.msgpack.encode(raws), status=302, Location="http://127.0.0.1:9/")


def later_blocks(handler: Answering, raws: list[bytes]) -> None:
    handler.send(msgspec.msgpack.encode(raws[3:]))


def earlier_blocks(handler: Answering, _raws: list[bytes]) -> None:
    handler.send(msgspec.msgpack.encode(handler.source.blocks[:2] * 2))


def without_transactions(handler: Answering, raws: list[bytes]) -> None:
    bare = [encode(replace(BLOCK.decode(raw), transactions=())) for raw in raws]
    handler.send(msgspec.msgpack.encode(bare))


def cut_off(handler: Answering, raws: list[bytes]) -> None:
    body = msgspec.msgpack.encode(raws)
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) + 1))
    handler.end_headers()
    handler.wfile.write(body[:-1])
    handler.close_connection = True


def hanging_up(handler: Answering, _raws: list[bytes]) -> None:
    handler.close_connection = True


def no_http(handler: Answering, _raws: list[bytes]) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH\r\n")
    handler.close_connection = True


def endless(handler: Answering, _raws: list[bytes]) -> None:
    handler.begin()
    while True:
        handler.wfile.write(bytes(2**16))


def bomb(handler: Answering, _raws: list[bytes]) -> None:
    inner = gzip.compress(bytes(2**26))
    handler.send(gzip.compress(inner), Content_Encoding="gzip, gzip")


def no_gzip(handler: Answering, raws: list[bytes]) -> None:
    handler.send(msgspec.msgpack.encode(raws), Content_Encoding="gzip")


def slow(handler: Answering, _raws: list[bytes]) -> None:
    handler.begin()
    while not handler.source.ended.wait(0.01):
        handler.wfile.write(b"\x90")
        handler.wfile.flush()


def silent(handler: Answering, _raws: list[bytes]) -> None:
    handler.source.ended.wait(60)


def withholding(handler: Answering, _raws: list[bytes]) -> None:
    handler.send(msgspec.msgpack.encode([]))


LIES: dict[str, Lie] = {
    lie.__name__.replace("_", " "): lie
    for lie in (
        *(changed_seal, garbage, garbled_blocks, no_list, nothing, failing, elsewhere),
        *(later_blocks, earlier_blocks, without_transactions, cut_off, hanging_up, no_http),
        *(endless, bomb, no_gzip, slow, silent, withholding),
    )
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
@in_loop
async def test_a_source_that_cannot_prove_its_blocks_is_passed_over(
    site: Site, made: Made, monkeypatch: pytest.MonkeyPatch, lie: Lie
) -> None:
    monkeypatch.setattr(follow_module, "MAX_ANSWER_BYTES", 2**20)
    monkeypatch.setattr(follow_module, "DEADLINE_S", 0.3)
    raws = list(made.raws)
    # it is honest for some blocks before it begins to lie
    turning = Source(raws)
    turning.lie = lambda handler, asked: (
        handler.send(msgspec.msgpack.encode(asked[:5]))
        if len(turning.asked) == 1
        else lie(handler, asked)
    )
    with sources(turning, Source(raws)) as urls, capture_logs() as lines:
        async with following(site, urls) as (node, follow):
            await follow.catch_up(BLOCKS)
            assert node.chain.tip == made.tip
    failed = [line for line in lines if line["event"] == "source failed"]
    if lie is not withholding:
        assert failed[0]["source"] == urls[0]
        assert failed[0]["reason"]
    assert all(line["source"] == urls[0] for line in failed)


@in_loop
async def test_another_network_is_no_source(
    site: Site, made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other_site = Site(monkeypatch, tmp_path / "other", block_ms=100, fresh_ms=70_000)
    other = await make_chain(other_site, 3)
    # the same producer seals both, and a seal of one proves nothing on the other
    with sources(Source(other.raws), Source(made.raws)) as urls:
        async with following(site, urls) as (node, follow):
            await follow.catch_up(BLOCKS)
            assert node.chain.tip == made.tip


@in_loop
async def test_a_source_that_comes_back_is_asked_again(site: Site, made: Made) -> None:
    source = Source(made.raws, failing)
    gone = Source()
    gone.stop()
    with sources(source) as urls, capture_logs() as lines:
        async with following(site, [gone.url, *urls]) as (node, follow):
            running = asyncio.create_task(follow.run())
            await eventually(lambda: len(source.asked) >= 3)
            assert node.chain.tip.height == 0
            source.lie = None
            await eventually(lambda: node.chain.tip.height == BLOCKS)
            running.cancel()
            await asyncio.wait([running])
    assert {line["source"] for line in lines} == {gone.url, source.url}


# ------------------------------------------------------------------- a producer who lies


async def diverges(site: Site, blocks: Sequence[bytes]) -> tuple[Diverged, Node]:
    """Follow these blocks up to where the replica stops; an honest source would be there too."""
    with sources(Source(blocks)) as urls:
        async with following(site, urls) as (node, follow):
            with pytest.raises(Diverged) as caught:
                await follow.run()
            return caught.value, node


@in_loop
async def test_a_sealed_block_with_a_wrong_state_root_stops_the_replica(
    site: Site, made: Made
) -> None:
    raws = list(made.raws)
    raws[6] = resealed(site.hash, made.blocks[6], state_root=sha256(b"money"))
    error, node = await diverges(site, raws)
    assert error.height == 7
    assert f"states the root {sha256(b'money').hex()}" in str(error)
    assert made.blocks[6].header.state_root.hex() in str(error)
    assert node.chain.tip.block_hash == made.blocks[6].header.previous
    # the block did not get into its journal either
    assert node.network.reopen().tip.height == 6


def forged_signature(network: Network) -> bytes:
    return network.transfer("judy", "kim", 10**9)[:-64] + bytes(64)


def foreign_sender(network: Network) -> bytes:
    body = Transfer(public("kim"), 10**9)
    return network.paid("transfer", "judy", body, sender=public("leo"))


def no_money(network: Network) -> bytes:
    return network.transfer("judy", "kim", 10**17)


def no_transaction(_network: Network) -> bytes:
    return b"garbage"


FORGED = {
    "a forged signature": (forged_signature, "a signature does not fit"),
    "somebody else's money": (foreign_sender, "a signature does not fit"),
    "more than there is": (no_money, "it takes 100000000000001000 atomic units"),
    "no transaction": (no_transaction, "there is no transaction kind"),
}


@pytest.mark.parametrize(("make", "says"), FORGED.values(), ids=FORGED.keys())
@in_loop
async def test_a_sealed_block_with_a_bad_transaction_stops_the_replica(
    site: Site, made: Made, make: Any, says: str
) -> None:
    bad = make(Network(site.genesis))
    transactions = (*made.blocks[6].transactions[:1], bad, *made.blocks[6].transactions[1:])
    raws = list(made.raws)
    raws[6] = resealed(site.hash, made.blocks[6], transactions=transactions)
    error, node = await diverges(site, raws)
    assert error.height == 7
    assert "transaction 1 of block 7" in str(error)
    assert says in str(error)
    assert node.chain.tip.height == 6


@in_loop
async def test_a_producer_who_seals_two_histories_stops_the_replica(site: Site, made: Made) -> None:
    raws = list(made.raws)
    raws[6] = resealed(site.hash, made.blocks[6], previous=sha256(b"another history"))
    error, _ = await diverges(site, raws)
    assert error.height == 7
    assert "follows another block" in str(error)


@in_loop
async def test_a_sealed_block_that_goes_back_in_time_stops_the_replica(
    site: Site, made: Made
) -> None:
    raws = list(made.raws)
    time_ms = made.blocks[5].header.time_ms
    raws[6] = resealed(site.hash, made.blocks[6], time_ms=time_ms)
    error, _ = await diverges(site, raws)
    assert error.height == 7
    assert "is not after" in str(error)


@in_loop
async def test_who_stopped_stays_stopped_after_a_restart(site: Site, made: Made) -> None:
    raws = list(made.raws)
    raws[6] = resealed(site.hash, made.blocks[6], state_root=sha256(b"money"))
    store = MemoryStore()
    with sources(Source(raws)) as urls:
        for _ in range(2):
            async with following(site, urls, store) as (_, follow):
                with pytest.raises(Diverged):
                    await follow.run()
