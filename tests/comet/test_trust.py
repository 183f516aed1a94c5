"""Beginning with a snapshot of a real network: which block is trusted, and where that leads."""

import time
from collections.abc import Iterator
from typing import Final

import pytest

from ledger.errors import WaypostError
from ledger.messages.genesis import GENESIS
from ledger.params import Params
from registry.cometbft.config import Begin
from registry.cometbft.genesis import chain_id, evidence_ages
from registry.cometbft.trust import find_trust
from tests.comet.network import Network, Validator, free_ports, wait_for, watched

PARAMS: Final = {"block_ms": 250, "epoch_ms": 1_000, "attest_blocks": 4}


@pytest.fixture
def network() -> Iterator[Network]:
    with watched(1, PARAMS) as made:
        (port,) = free_ports(1)
        first = made.validators[0]
        # rare enough that one is still there when its pieces are asked for
        changes = {"rpc": f"127.0.0.1:{port}", "snapshot_epochs": 12}
        first.settings = first.settings.model_copy(update=changes)
        yield made


def find(network: Network, source: Validator) -> Begin | None:
    """Return the block to trust; None where there is none yet."""
    chain = chain_id(GENESIS.decode(network.genesis).name, network.genesis_hash)
    servers = [f"http://{source.settings.rpc}"]
    now_ms = time.time_ns() // 1_000_000
    try:
        return find_trust(network.genesis, chain, [source.url], servers, now_ms)
    except WaypostError:
        return None


def test_a_node_begins_with_a_snapshot(network: Network) -> None:
    first = network.validators[0]
    network.start()
    # before its first epoch ended a service proves nothing
    found: list[Begin] = []

    def look() -> bool:
        found.extend(filter(None, [find(network, first)]))
        return bool(found)

    wait_for(look, lambda: first.said[-2000:])
    block = first.consensus("block", height=found[0].height)
    assert block["block_id"]["hash"] == found[0].hash.hex().upper()
    wait_for(lambda: first.lines("snapshot"), lambda: first.said[-2000:])

    # ---- one begins with the snapshot once it is past both ages, and trusts a block before it
    ages = evidence_ages(Params(*GENESIS.decode(network.genesis).params))
    oldest = first.lines("snapshot")[0]["height"]
    first.wait_for_height(oldest + 3 * ages.blocks)
    begin = find(network, first)
    assert begin is not None
    assert 1 < begin.height < first.height - 2 * ages.blocks
    block = first.consensus("block", height=begin.height)
    assert block["block_id"]["hash"] == begin.hash.hex().upper()

    joined = network.join(
        "newcomer",
        validator=None,
        attest=None,
        state_sync=(f"http://{first.settings.rpc}",),
        lists=(first.url,),
    )
    joined.start()
    joined.wait_for_height(first.height + 3)
    config = (joined.settings.cometbft_path / "config" / "config.toml").read_text()
    assert "[statesync]" in config
    # it holds no block up to its snapshot, which was not the newest
    (restored,) = joined.lines("snapshot restored")
    assert f"trust_height = {restored['height']}" not in config
    earliest = int(joined.consensus("status")["sync_info"]["earliest_block_height"])
    assert earliest == restored["height"] + 1
    assert restored["height"] < first.height - ages.blocks
    assert joined.get(f"/v1/blocks/{restored['height']}") is None
    assert joined.get(f"/v1/blocks/{earliest}") == first.get(f"/v1/blocks/{earliest}")
    assert joined.stop() == 0
    # from now on it needs nobody to say where it begins
    height = joined.tip_height()
    joined.start(lists=("http://127.0.0.1:1",))
    joined.wait_for_height(height + 3)
    assert (
        "[statesync]" not in (joined.settings.cometbft_path / "config" / "config.toml").read_text()
    )
    root = first.get(f"/v1/blocks/{height + 1}")["state_root"]
    assert joined.get(f"/v1/blocks/{height + 1}")["state_root"] == root
    network.stop()
