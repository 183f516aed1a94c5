"""Replays: the same blocks give the same chain, and a block that lies is found out."""

from itertools import pairwise

import pytest
from msgspec.structs import replace

from ledger.chain import Chain
from ledger.errors import CorruptStore, Diverged, Refusal
from ledger.history import TIP_KEY, journal_key
from ledger.messages.blocks import Block, block_hash, inputs_hash
from ledger.replay import execute_block
from ledger.store import MemoryStore
from tests.factory import FEE, Network, make_genesis, public, replay


@pytest.fixture
def network() -> Network:
    network = Network()
    network.settle()
    return network


def twin(network: Network) -> Chain:
    """A chain that executed the same blocks and nothing else."""
    return replay(network.raw, network.blocks)


# ---- replay ----


def test_replay_gives_the_same_chain(network: Network) -> None:
    network.block(network.register(), network.transfer("a stranger", "bob"), codes=[0, 15])
    for _ in range(3):
        network.end_epoch()
        network.block(network.transfer("alice", "bob"))
    store = MemoryStore()
    chain = replay(network.raw, network.blocks, store)
    assert chain.tip == network.chain.tip
    assert dict(store.items()) == dict(network.store.items())
    for before, block in pairwise(network.blocks):
        assert block.header.previous == block_hash(before.header)


@pytest.mark.parametrize(
    "change", [{"state_root": bytes(32)}, {"state_root": b"\xff" * 32}], ids=["zero", "ones"]
)
def test_a_block_that_states_another_outcome_diverges(
    network: Network, change: dict[str, bytes]
) -> None:
    follower = twin(network)
    network.block(network.transfer("alice", "bob"))
    good = network.blocks[-1]
    before = dict(follower.store.items())
    with pytest.raises(Diverged) as caught:
        execute_block(follower, replace(good, header=replace(good.header, **change)))
    assert caught.value.height == good.header.height
    assert dict(follower.store.items()) == before
    assert execute_block(follower, good).root == network.chain.tip.root
    assert follower.tip == network.chain.tip


@pytest.mark.parametrize("place", ["left out", "twice", "another"])
def test_a_block_with_other_transactions(network: Network, place: str) -> None:
    follower = twin(network)
    raws = [network.transfer("alice", "bob"), network.transfer("alice", "carol")]
    forged = {
        "left out": (raws[0],),
        "twice": (*raws, network.transfer("alice", "carol")),
        "another": (raws[0], network.transfer("alice", "carol", nonce=1, fee=2 * FEE)),
    }[place]
    network.block(*raws)
    block = replace(network.blocks[-1], transactions=forged)
    with pytest.raises(Refusal, match="block_inputs"):
        execute_block(follower, block)
    # and with a header that names them it comes to another state
    header = replace(block.header, inputs=inputs_hash(forged, ()))
    with pytest.raises(Diverged):
        execute_block(follower, replace(block, header=header))
    assert follower.tip.height == network.chain.tip.height - 1


def test_a_block_of_another_network_diverges_or_is_refused(network: Network) -> None:
    other = Network(make_genesis(name=b"other-net"))
    other.block()
    block: Block = other.blocks[0]
    chain = Network().chain
    with pytest.raises(Refusal, match="block_link"):
        execute_block(chain, block)
    linked = replace(block, header=replace(block.header, previous=chain.tip.block_hash))
    with pytest.raises(Diverged):
        execute_block(chain, linked)


# ---- stores that are damaged ----


def copy_of(network: Network) -> MemoryStore:
    """What a network's store holds."""
    return MemoryStore(dict(network.store.items()))


DAMAGE: dict[str, tuple[str, bytes, bytes | None]] = {
    "account lost": ("its state is not that of height 3", b"a" + public("alice"), None),
    "account changed": ("its state is not that of height 3", b"a" + public("alice"), b"\x92\0\0"),
    "record added": ("its state is not that of height 3", b"zz", b""),
    "newest block lost": ("its journal has lost block 3", journal_key(3), None),
    "first block lost": ("its journal has lost block 1", journal_key(1), None),
    "block in the middle lost": ("its journal has lost block 2", journal_key(2), None),
    "newest block does not decode": ("a block does not decode", journal_key(3), b"\x90"),
    "tip does not decode": ("a tip does not decode", TIP_KEY, b"\x90"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_at_the_start(name: str) -> None:
    network = Network()
    for _ in range(3):
        network.block(network.transfer("alice", "bob"))
    text, key, value = DAMAGE[name]
    store = copy_of(network)
    store.write({key: value})
    with pytest.raises(CorruptStore, match=text):
        Chain(store, network.raw)
    assert Chain(copy_of(network), network.raw).tip == network.chain.tip


def test_newest_block_of_another_history_is_found() -> None:
    network, other = Network(), Network()
    network.block(network.transfer("alice", "bob"))
    other.block(other.transfer("alice", "carol"))
    store = copy_of(network)
    store.write({journal_key(1): other.store.get(journal_key(1))})
    with pytest.raises(CorruptStore, match="its journal has another block 1"):
        Chain(store, network.raw)
