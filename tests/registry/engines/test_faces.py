"""One history through every engine: the same transactions and times give the same states."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from ledger.codec import encode
from ledger.messages.blocks import BLOCK, Block
from ledger.state import STATE_START, STATE_STOP
from registry.engines import follow as follow_module
from tests.factory import Network
from tests.registry.engines.comet.far import Side, served, stamp
from tests.registry.engines.source import Made, Source, following, make_chain, sources
from tests.registry.factory import Site, in_loop

BLOCKS = 25
"""Two epochs, and the beginning of the next."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faces")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    monkeypatch.setattr(follow_module, "RETRY_S", 0.0)
    return Site(monkeypatch, tmp_path, block_ms=100)


@pytest.fixture(scope="module")
def made(folder: Path) -> Made:
    """What the engine `solo` made, with a clock that the test gave."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        return asyncio.run(make_chain(Site(monkeypatch, folder, block_ms=100), BLOCKS))


async def decide(side: Side, block: Block) -> bytes:
    """Have CometBFT propose, accept and decide a block of these transactions."""
    fields = {
        "height": block.header.height,
        "time": stamp(block.header.time_ms, 999_999),
        "proposer_address": bytes(20),
        "txs": block.transactions,
    }
    for raw in block.transactions:
        await side.mempool.ask("check_tx", tx=raw)
    proposal = await side.consensus.ask("prepare_proposal", max_tx_bytes=2**24, **fields)
    assert tuple(proposal.txs) == block.transactions
    accepted = await side.consensus.ask("process_proposal", **fields)
    assert accepted.status == accepted.ACCEPT
    executed = await side.consensus.ask("finalize_block", **fields)
    assert {row.code for row in executed.tx_results} <= {0}
    await side.consensus.ask("commit")
    root: bytes = executed.app_hash
    return root


def roots_of(blocks: Sequence[Block]) -> list[bytes]:
    return [block.header.state_root for block in blocks]


@in_loop
async def test_solo_follow_and_comet_have_the_same_state_at_each_height(
    site: Site, made: Made
) -> None:
    blocks = [BLOCK.decode(raw) for raw in made.raws]
    wanted = roots_of(blocks)
    assert len(wanted) == len({*wanted}) == BLOCKS
    assert sum(len(block.transactions) for block in blocks) > BLOCKS

    with sources(Source(made.raws)) as urls:
        async with following(site, urls) as (node, follow):
            followed = []
            for height in range(1, BLOCKS + 1):
                await follow.catch_up(height)
                view = node.chain.view_at(height)
                assert view is not None
                followed.append(view.tip.root)
            states = [dict(node.chain.store.items(STATE_START, STATE_STOP))]
            epochs = node.chain.view().ended_epoch
    assert followed == wanted

    async with served(site.genesis) as side:
        decided = [await decide(side, block) for block in blocks]
        states.append(dict(side.node.chain.store.items(STATE_START, STATE_STOP)))
        assert side.node.chain.view().ended_epoch == epochs
        lists = [encode(side.node.chain.newest_header())]
    assert decided == wanted
    # record by record, and in the list that comes out of it
    assert states[0] == states[1]
    network = Network(site.genesis)
    for block in blocks:
        network.attesting = False
        network.block(*block.transactions, ms=block.header.time_ms - network.chain.tip.time_ms)
    assert [encode(network.chain.newest_header())] == lists
