"""Snapshots: the same bytes everywhere, and a chain that was restored goes on like the others."""

import pytest
from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import sha256
from ledger.errors import CorruptStore, Refusal
from ledger.history import (
    BASE_KEY,
    CHUNK,
    CHUNK_BYTES,
    GENESIS_KEY,
    MANIFEST,
    MAX_CHUNK_BYTES,
    TIP_KEY,
    Tip,
    iterate_chunks,
    journal_key,
    make_manifest,
    restore,
)
from ledger.messages.genesis import COMET, GenesisAccount
from ledger.replay import execute_block
from ledger.state import STATE_START, STATE_STOP
from ledger.store import CrashStore, MemoryStore
from ledger.types import ZERO_HASH
from tests.factory import EPOCH_MS, Network, make_genesis, public, replay
from tests.ledger.refusals import snapshots as rows

HALF_EPOCHS = range(1, 7)


def restored(network: Network, store: MemoryStore | CrashStore) -> Chain:
    """A chain that began with a snapshot of the network's newest height."""
    reader, root = network.view.reader, network.chain.tip.root
    restore(store, network.hash, make_manifest(reader), iterate_chunks(reader), root)
    return Chain(store, network.raw)


def with_history(network: Network) -> None:
    """Something to take a snapshot of, up to an epoch's end."""
    rows.with_history(network)
    network.end_epoch()


def without_hash(tip: Tip) -> Tip:
    """The tip of who has the state after a block, and not the block."""
    return replace(tip, block_hash=ZERO_HASH)


def agreeing() -> Network:
    """A network whose validators agree on blocks."""
    return Network(make_genesis(engine=COMET, producer=b""))


@pytest.mark.parametrize("blocks", HALF_EPOCHS)
def test_restored_chain_goes_on_like_the_others(blocks: int) -> None:
    network = agreeing()
    network.block(network.register(), network.register("node 2", "bob"))
    for _ in range(blocks):
        network.block(network.transfer("alice", "bob"), ms=EPOCH_MS // 2)
    network.end_epoch()
    chain = restored(network, MemoryStore())
    assert chain.tip == without_hash(network.chain.tip)
    assert chain.newest_header() == network.chain.newest_header()
    assert chain.newest_list() == network.chain.newest_list()
    height = chain.tip.height
    for _ in range(5):
        network.block(network.transfer("alice", "bob"), ms=EPOCH_MS // 2)
    for block in network.blocks[height:]:
        execute_block(chain, block)
        # the same bytes as where every block was executed, and nobody told it what it was
        assert chain.view().block(block.header.height) == block
    assert chain.tip == network.chain.tip
    reopened = Chain(chain.store, network.raw)
    assert reopened.tip == chain.tip


def test_restored_store_holds_the_state_and_no_block() -> None:
    network = Network()
    with_history(network)
    store = MemoryStore()
    restored(network, store)
    state = dict(network.store.items(STATE_START, STATE_STOP))
    assert dict(store.items(STATE_START, STATE_STOP)) == state
    tip = network.chain.tip
    beside = {
        TIP_KEY: encode(without_hash(tip)),
        GENESIS_KEY: network.hash,
        BASE_KEY: (tip.height + 1).to_bytes(8, "big"),
    }
    assert dict(store.items()) == state | beside


def test_a_block_after_a_snapshot_that_is_lost_shows() -> None:
    network = agreeing()
    with_history(network)
    store = MemoryStore()
    chain = restored(network, store)
    for _ in range(3):
        network.block()
        execute_block(chain, network.blocks[-1])
    base = network.blocks[-3].header.height
    for height in range(base, base + 3):
        raw = store.get(journal_key(height))
        store.write({journal_key(height): None})
        with pytest.raises(CorruptStore, match=f"its journal has lost block {height}"):
            Chain(store, network.raw)
        store.write({journal_key(height): raw})
    assert Chain(store, network.raw).tip == network.chain.tip


def test_snapshots_of_two_replicas_are_the_same_bytes() -> None:
    network = Network()
    with_history(network)
    beside = replay(network.raw, network.blocks)
    beside_again = Chain(beside.store, network.raw)
    readers = [chain.view().reader for chain in (network.chain, beside, beside_again)]
    manifests = [encode(make_manifest(reader)) for reader in readers]
    chunks = [list(iterate_chunks(reader)) for reader in readers]
    assert manifests[0] == manifests[1] == manifests[2]
    assert chunks[0] == chunks[1] == chunks[2]
    assert encode(MANIFEST.decode(manifests[0])) == manifests[0]


def test_snapshot_of_a_restored_chain_is_the_same() -> None:
    network = Network()
    with_history(network)
    chain = restored(network, MemoryStore())
    one, other = network.view.reader, chain.view().reader
    assert make_manifest(one) == make_manifest(other)
    assert list(iterate_chunks(one)) == list(iterate_chunks(other))


def test_snapshot_of_an_older_height() -> None:
    network = Network()
    with_history(network)
    old, root = network.view, network.chain.tip.root
    expected = make_manifest(old.reader)
    network.block(network.transfer("alice", "bob"))
    network.end_epoch()
    assert make_manifest(old.reader) == expected
    assert make_manifest(network.view.reader) != expected
    store = MemoryStore()
    tip = restore(store, network.hash, expected, iterate_chunks(old.reader), root)
    assert tip == without_hash(old.tip)


def test_large_state_comes_in_several_chunks() -> None:
    names = [f"account {number}" for number in range(300)]
    keys = sorted(public(name) for name in names)
    network = Network(make_genesis(accounts=tuple(GenesisAccount(key, 1_000) for key in keys)))
    network.end_epoch()
    # records as large as they come, so that few of them make a chunk
    filler = {b"z" + bytes([i]): bytes([i]) * 60_000 for i in range(40)}
    network.store.write(filler)
    chunks = list(iterate_chunks(network.store))
    assert len(chunks) == 3
    assert all(CHUNK_BYTES <= len(chunk) <= MAX_CHUNK_BYTES for chunk in chunks[:-1])
    records = [record for chunk in chunks for record in CHUNK.decode(chunk).records]
    assert records == list(network.store.items(STATE_START, STATE_STOP))
    assert [sha256(chunk) for chunk in chunks] == list(make_manifest(network.store).chunks)


def test_restore_is_one_write() -> None:
    network = Network()
    with_history(network)
    store = CrashStore()
    chain = restored(network, store)
    assert store.passed == ["store.before_write", "store.after_write"]
    assert dict(store.survivor().items()) == dict(store.items())
    assert chain.tip == without_hash(network.chain.tip)


def test_after_a_refused_snapshot_a_good_one_is_taken() -> None:
    network = Network()
    with_history(network)
    reader, store, root = network.view.reader, MemoryStore(), network.chain.tip.root
    manifest, chunks = make_manifest(reader), list(iterate_chunks(reader))
    for bad in ([], [chunks[0] + b"\0"], [*chunks, b""]):
        with pytest.raises(Refusal, match="bad_snapshot"):
            restore(store, network.hash, manifest, bad, root)
    tip = restore(store, network.hash, manifest, chunks, root)
    assert tip == without_hash(network.chain.tip)


def test_a_snapshot_of_another_network_is_not_opened() -> None:
    network = Network()
    with_history(network)
    store = MemoryStore()
    restored(network, store)
    with pytest.raises(Refusal, match="bad_genesis"):
        Chain(store, encode(make_genesis(name=b"other-net")))
