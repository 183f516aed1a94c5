"""A process may die anywhere: what is there afterwards is what was acknowledged, or one block more.

Every point is tried at every time that a run without a crash passes it.
"""

from collections.abc import Iterator
from functools import cache

import pytest
from msgspec.structs import replace

from ledger.chain import CRASH_POINTS, Chain
from ledger.history import iterate_chunks, make_manifest, restore
from ledger.invariants import find_violations
from ledger.messages.blocks import Block, BlockInput
from ledger.replay import execute_block
from ledger.steps import run
from ledger.store import Crashed, CrashStore, MemoryStore
from ledger.types import ZERO_HASH
from tests.factory import EPOCH_MS, Network, replay, verify_cached

STORE_POINTS = ("store.before_write", "store.after_write")
LANDED = ("init.after_write", "commit.after_write", "commit.done", "store.after_write")
"""Points past which the write is in the store."""


@cache
def history() -> tuple[bytes, tuple[Block, ...]]:
    """A genesis file and blocks with every kind of transaction and two ends of epochs."""
    network = Network()
    network.block(network.register(), network.register("node 2", "bob", stake=25 * 10**9))
    network.block(network.contribute("carol", 75 * 10**9, "node 2"))
    network.end_epoch()
    network.block(network.transfer("alice", "dave"), b"nonsense", codes=[0, 3])
    network.block(network.update_contact(), ms=EPOCH_MS)
    network.block()
    return network.raw, tuple(network.blocks)


def commit_all(store: CrashStore, acknowledged: list[Block]) -> Chain:
    """Run the history; `acknowledged` gets each block whose commit returned."""
    genesis, blocks = history()
    chain = Chain(store, genesis, store.at)
    chain.init()
    for block in blocks[chain.tip.height :]:
        run(chain.finalize(block.input), verify_cached)
        acknowledged.append(chain.commit(block.seal))
    return chain


def passings() -> Iterator[tuple[str, int]]:
    """Each point that a run passes, with the number of the time."""
    store = CrashStore()
    commit_all(store, [])
    times: dict[str, int] = {}
    for point in store.passed:
        times[point] = times.get(point, 0) + 1
        yield point, times[point]


def assert_good(store: CrashStore, acknowledged: int, landed: bool) -> None:
    """What survived is a whole chain, from which the rest of the history goes on."""
    genesis, blocks = history()
    chain = Chain(store, genesis, store.at)
    if not chain.is_initialised:
        assert list(store.items()) == []
        chain.init()
    height = chain.tip.height
    assert height == acknowledged + landed
    expected = replay(genesis, blocks[:height])
    assert chain.tip == expected.tip
    assert dict(store.items()) == dict(expected.store.items())
    assert find_violations(chain.view().state) == []
    for block in blocks[height:]:
        execute_block(chain, block)
    assert dict(store.items()) == dict(replay(genesis, blocks).store.items())


def test_every_point_is_passed() -> None:
    points = {point for point, _ in passings()}
    assert points == {*CRASH_POINTS, *STORE_POINTS}


@pytest.mark.parametrize(("point", "nth"), list(passings()))
def test_death_at(point: str, nth: int) -> None:
    store, acknowledged = CrashStore(), list[Block]()
    store.arm(point, nth)
    with pytest.raises(Crashed):
        commit_all(store, acknowledged)
    # before a block is committed, genesis is all that can be in the store
    is_init = point.startswith("init.") or (point in STORE_POINTS and nth == 1)
    landed = point in LANDED and not is_init
    assert_good(store.survivor(), len(acknowledged), landed)


@pytest.mark.parametrize("landed", [False, True], ids=["not there", "there"])
@pytest.mark.parametrize("nth", range(len(history()[1]) + 1))
def test_write_that_fails(nth: int, landed: bool) -> None:
    genesis, blocks = history()
    store, acknowledged = CrashStore(), list[Block]()
    chain = Chain(store, genesis, store.at)
    if nth:
        chain.init()
    for block in blocks[: max(0, nth - 1)]:
        execute_block(chain, block)
        acknowledged.append(block)
    before = store.survivor()
    tip = chain.tip if nth else None
    store.fail_next_write(landed)
    with pytest.raises(OSError, match="simulated"):
        execute_block(chain, blocks[nth - 1]) if nth else chain.init()
    # the process must not go on as if it had been written
    assert (chain.tip if nth else None) == tip
    with pytest.raises(OSError, match="before"):
        chain.commit() if nth else chain.init()
    survivor = store.survivor()
    assert (dict(survivor.items()) == dict(before.items())) is not landed
    assert_good(survivor, len(acknowledged), landed and nth > 0)


def test_death_again_and_again() -> None:
    genesis, blocks = history()
    store, deaths = CrashStore(), 0
    while True:
        store.arm("store.before_write" if deaths % 2 else "commit.after_write", 1 + deaths % 3)
        try:
            chain = commit_all(store, [])
            break
        except Crashed:
            deaths += 1
            store = store.survivor()
    assert deaths > 3
    assert chain.tip == replay(genesis, blocks).tip


def at_an_end() -> Chain:
    """The history, and empty blocks up to the end of an epoch."""
    chain = replay(*history())
    while chain.view().ended_epoch is None:
        tip = chain.tip
        run(chain.finalize(BlockInput(tip.height + 1, tip.time_ms + 1_000, b"", (), ())))
        chain.commit()
    return chain


@pytest.mark.parametrize("landed", [False, True], ids=["not there", "there"])
def test_a_restore_whose_write_fails(landed: bool) -> None:
    chain, store = at_an_end(), CrashStore()
    reader, root = chain.view().reader, chain.tip.root
    manifest = make_manifest(reader)
    store.fail_next_write(landed)
    with pytest.raises(OSError, match="simulated"):
        restore(store, chain.genesis_hash, manifest, iterate_chunks(reader), root)
    survivor = store.survivor()
    if not landed:
        assert list(survivor.items()) == []
        # it can be done again
        restore(survivor, chain.genesis_hash, manifest, iterate_chunks(reader), root)
    assert Chain(survivor, history()[0]).tip == replace(chain.tip, block_hash=ZERO_HASH)


def test_death_while_a_snapshot_is_restored() -> None:
    genesis, chain = history()[0], at_an_end()
    reader, root = chain.view().reader, chain.tip.root
    for point in STORE_POINTS:
        store = CrashStore()
        store.arm(point)
        with pytest.raises(Crashed):
            restore(store, chain.genesis_hash, make_manifest(reader), iterate_chunks(reader), root)
        survivor = store.survivor()
        if point == "store.before_write":
            assert list(survivor.items()) == []
        else:
            assert Chain(survivor, genesis).tip == replace(chain.tip, block_hash=ZERO_HASH)


def test_a_store_that_only_remembers_is_no_different() -> None:
    genesis, blocks = history()
    store = CrashStore()
    commit_all(store, [])
    memory = MemoryStore()
    replay(genesis, blocks, memory)
    assert dict(store.survivor().items()) == dict(memory.items())
