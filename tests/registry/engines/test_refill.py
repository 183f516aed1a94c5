"""A refill: the producer goes on from the newest block that any of the nodes has."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from ledger.messages.blocks import block_hash
from registry.engines import follow as follow_module
from registry.engines import refill as refill_module
from registry.engines.refill import Refill
from registry.engines.solo import Solo
from registry.watermarks import BLOCKS, Backup, Mark, SignerRefuses, import_backup
from tests.registry.engines.source import Answering, Made, Source, make_chain, sources
from tests.registry.factory import PRODUCER, Node, Site, eventually, in_loop, produce

BLOCKS_MADE = 12


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    monkeypatch.setattr(follow_module, "RETRY_S", 0.0)
    monkeypatch.setattr(refill_module, "RETRY_S", 0.0)
    return Site(monkeypatch, tmp_path, block_ms=100)


async def refilled(site: Site, *urls: str) -> Node:
    node = Node.at(site)
    source = Refill(node.replica, urls)
    await source.fetch()
    await source.close()
    return node


@in_loop
async def test_the_newest_of_all_nodes_counts(site: Site) -> None:
    made = await make_chain(site, BLOCKS_MADE)
    with sources(Source(made.raws[:5]), Source(made.raws), Source(made.raws[:9])) as urls:
        node = await refilled(site, *urls)
    assert node.chain.tip == made.tip
    await node.close()


def garbage(handler: Answering) -> None:
    handler.send(b"garbage")


def no_text(handler: Answering) -> None:
    handler.send(b'{"genesis_hash": "\xff", "height": 0}')


def deep(handler: Answering) -> None:
    handler.send(b'{"a":' * 10_000)


def no_height(handler: Answering) -> None:
    handler.send(b'{"name": "test-net"}')


def another_network(handler: Answering) -> None:
    handler.send(msgspec.json.encode({"genesis_hash": bytes(32).hex(), "height": 0}))


def failing(handler: Answering) -> None:
    handler.send(b'{"height": 0}', status=500)


def hanging_up(handler: Answering) -> None:
    handler.close_connection = True


LIES = [garbage, no_text, deep, no_height, another_network, failing, hanging_up]


@pytest.mark.parametrize("lie", LIES)
@in_loop
async def test_every_node_has_to_answer(site: Site, lie: Any) -> None:
    made: Made = await make_chain(site, BLOCKS_MADE)
    mute, honest = Source(made.raws), Source(made.raws[:5])
    answer, asked = mute.network, []

    def lying(handler: Answering) -> None:
        asked.append(handler)
        lie(handler)

    mute.network = lying  # type: ignore[method-assign]
    with sources(honest, mute) as urls, capture_logs() as lines:
        task = asyncio.create_task(refilled(site, *urls))
        await eventually(lambda: len(asked) > 2)
        # a block that only this one has may have been served
        assert not task.done()
        assert honest.asked == []
        mute.network = answer  # type: ignore[method-assign]
        node = await task
    assert node.chain.tip == made.tip
    assert {line["source"] for line in lines} >= {urls[1]}
    assert all(line["reason"] for line in lines)
    await node.close()


@pytest.mark.parametrize("has_backup", [False, True], ids=["keys alone", "an older backup"])
@in_loop
async def test_a_producer_that_lost_its_home_goes_on_after_a_refill(
    site: Site, has_backup: bool
) -> None:
    made = await make_chain(site, BLOCKS_MADE)
    site.watermark("producer", BLOCKS).path.unlink()
    if has_backup:
        fourth = Mark(b"blocks", PRODUCER.public, 4, block_hash(made.blocks[3].header))
        import_backup(site.watermarks("producer"), Backup(1, site.hash, (fourth,)))
    with sources(Source(made.raws)) as urls:
        node = await refilled(site, *urls)
    with pytest.raises(SignerRefuses, match="new-watermark"):
        node.solo(site)
    await produce(site, Solo(node.replica, site.block_signer(), is_vouched=True))
    assert site.watermark("producer", BLOCKS).number == BLOCKS_MADE + 1
    await node.close()
