"""A block's way through a replica: its work in pieces, the write beside it, then the news."""

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager

import pytest

from ledger.chain import PAUSE_TRANSACTIONS, Executed
from ledger.crypto import sha256, sign
from ledger.messages.blocks import Block, seal_bytes
from ledger.messages.tables import ACCOUNTS
from ledger.store import MemoryStore
from registry.replica import TURNS, Replica
from tests.factory import PEOPLE, Network, keys, make_genesis, public, replay
from tests.registry.factory import Direct, Node, eventually, in_loop, in_states, settle


class SlowStore(MemoryStore):
    """A store whose writes take as long as the test wants, on whatever thread."""

    def __init__(self) -> None:
        super().__init__()
        self.writing = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.fails: OSError | None = None
        self.threads: list[str] = []

    def write(self, changes: Mapping[bytes, bytes | None], *, sync: bool = True) -> None:
        self.writing.set()
        self.threads.append(threading.current_thread().name)
        self.may_go_on.wait(60)
        if self.fails is not None:
            raise self.fails
        super().write(changes, sync=sync)

    def hold(self) -> None:
        """Have the next write wait."""
        self.writing.clear()
        self.may_go_on.clear()


@asynccontextmanager
async def made(**params: int) -> AsyncIterator[tuple[Node, SlowStore]]:
    store = SlowStore()
    network = Network(make_genesis(params), store)
    network.attesting = False
    node = Node(network)
    try:
        yield node, store
    finally:
        store.may_go_on.set()
        await node.close()


def balance(node: Node, who: str) -> int:
    return node.chain.view().state.account(public(who)).balance


# ------------------------------------------------------------------------ work in pieces


@in_loop
async def test_between_two_pieces_the_loop_answers_from_the_committed_height() -> None:
    async with made() as (node, _):
        raws = [node.network.transfer("alice", "bob") for _ in range(5 * PAUSE_TRANSACTIONS)]
        before, seen = balance(node, "bob"), []

        async def ask() -> None:
            while True:
                seen.append((node.chain.tip.height, balance(node, "bob")))
                await asyncio.sleep(0)

        asking = asyncio.create_task(ask())
        await settle()
        seen.clear()
        executed = await node.replica.finalize(node.next_input(*raws))
        assert len(seen) >= 2 * 5
        assert set(seen) == {(0, before)}
        await node.replica.commit(executed, b"")
        await settle()
        assert seen[-1] == (1, before + 5 * len(raws))
        asking.cancel()


@in_loop
async def test_a_request_gets_all_its_turns_between_two_pieces() -> None:
    async with made() as (node, _):
        answered: list[int] = []
        pieces: list[None] = []

        async def request() -> None:
            for _ in range(TURNS - 1):
                await asyncio.sleep(0)
            answered.append(len(pieces))

        def works() -> Generator[None, None, None]:
            arrived = asyncio.create_task(request())
            for _ in range(3):
                pieces.append(None)
                yield
            assert arrived.done()

        await node.replica.drive(works())
        assert answered == [1]


@in_loop
async def test_signatures_are_asked_for_in_one_go() -> None:
    async with made() as (node, _):
        raws = [node.network.transfer(who, "kim") for who in PEOPLE]
        await node.block(*raws)
        assert node.verifier.asked == [len(raws)]


@in_loop
async def test_what_the_pool_verified_is_not_verified_again() -> None:
    async with made() as (node, _):
        known = [node.network.transfer("alice", "bob") for _ in range(3)]
        await node.pool.add(known)
        node.verifier.asked.clear()
        new = node.network.transfer("carol", "bob")
        executed = await node.replica.finalize(node.next_input(*known, new), node.pool)
        assert executed.codes == (0, 0, 0, 0)
        assert node.verifier.asked == [1]


@in_loop
async def test_a_result_and_an_error_come_out_of_the_work() -> None:
    async with made() as (node, _):

        def works() -> Generator[None, None, int]:
            yield
            return 7

        def fails() -> Generator[None, None, int]:
            yield
            raise ValueError("a bug")

        assert await node.replica.drive(works()) == 7
        with pytest.raises(ValueError, match="a bug"):
            await node.replica.drive(fails())


# ------------------------------------------------------------------------- abandoned work


async def give_up_after(node: Node, pieces: int, *raws: bytes, ms: int) -> bool:
    """Execute a block, and stop after some pieces; whether it was still under way."""
    steps = node.chain.finalize(node.next_input(*raws, ms=ms))
    answer: list[bool] | None = None
    for _ in range(pieces):
        try:
            asked = steps.send(answer)
        except StopIteration:
            return False
        answer = None if asked is None else await node.verifier.verify(asked)
    return True


@pytest.mark.parametrize("ms", [1_000, 20_000], ids=["in an epoch", "at its end"])
@in_loop
async def test_a_block_that_was_given_up_halfway_leaves_no_trace(ms: int) -> None:
    async with made() as (node, _):
        network = node.network
        await node.block(network.register("node"), network.register("other", "bob"))
        given_up = [network.transfer("alice", "bob", 10**9) for _ in range(150)]
        network._sent.clear()
        raws = [network.transfer("carol", "bob", 7), network.update_contact("node")]
        pieces = 1
        while await give_up_after(node, pieces, *given_up, ms=ms):
            pieces += 1
            assert await node.pool.add(raws) == [None, None]
        assert pieces > 3
        block = await node.block(ms=ms)
        # a replica that never heard of the other one comes to the same state
        assert block.transactions == tuple(raws)
        fresh = replay(network.raw, [_block_at(node, height) for height in (1, 2)])
        assert fresh.tip == node.chain.tip


@in_loop
async def test_a_cancelled_block_leaves_no_trace() -> None:
    async with made() as (node, _):
        raws = [node.network.transfer("alice", "bob") for _ in range(250)]
        node.verifier.gate.clear()
        working = asyncio.create_task(node.block(*raws))
        await settle()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        node.verifier.gate.set()
        node.network._sent.clear()
        block = await node.block(node.network.transfer("alice", "carol"))
        assert replay(node.network.raw, [block]).tip == node.chain.tip


def _block_at(node: Node, height: int) -> Block:
    block = node.chain.view().block(height)
    assert block is not None
    return block


# ------------------------------------------------------------------------------ the write


@in_loop
async def test_while_a_block_is_written_everything_is_as_before_it() -> None:
    async with made() as (node, store):
        network = node.network
        before = balance(node, "bob")
        store.hold()
        heard: list[int] = []

        async def listen(block: Block, _executed: Executed) -> None:
            heard.append(block.header.height)

        node.replica.on_commit.append(listen)
        raw = network.transfer("alice", "bob")
        committing = asyncio.create_task(node.block(raw, network.register("node")))
        await eventually(store.writing.is_set)
        assert (node.chain.tip.height, balance(node, "bob"), heard) == (0, before, [])
        await settle()
        assert node.replica.census.by_state() == in_states()
        assert node.replica.roster.all() == []
        # what comes now is judged by the height that lasts
        mine = network.transfer("carol", "bob")
        assert await node.pool.add([raw, mine]) == [None, None]
        assert node.pool.fate(sha256(raw)) is not None
        assert sum(1 for _ in node.chain.view().state.items(ACCOUNTS)) == len(PEOPLE)
        store.may_go_on.set()
        await committing
        assert (node.chain.tip.height, heard) == (1, [1])
        assert node.replica.census.by_state() == in_states(queued=1)
        assert len(node.replica.roster.all()) == 1
        assert [tx.raw for tx in node.pool.candidates()] == [mine]
        assert set(store.threads[1:]) == {"write_0"}


@in_loop
async def test_a_write_that_was_begun_is_finished_although_nobody_waits_for_it() -> None:
    async with made() as (node, store):
        store.hold()
        noted: list[int] = []
        executed = await node.replica.finalize(node.next_input(node.network.transfer("kim", "leo")))
        committing = asyncio.create_task(
            node.replica.commit(executed, b"", lambda block: noted.append(block.header.height))
        )
        await eventually(store.writing.is_set)
        committing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await committing
        closing = asyncio.create_task(asyncio.to_thread(node.replica._writer.shutdown))
        await settle()
        assert not closing.done()
        store.may_go_on.set()
        await closing
        assert noted == [1]
        assert node.network.reopen().tip.height == 1


@in_loop
async def test_a_write_that_failed_is_told_and_nobody_hears_of_the_block() -> None:
    async with made() as (node, store):
        heard: list[Block] = []

        async def listen(block: Block, _executed: Executed) -> None:
            heard.append(block)

        node.replica.on_commit.append(listen)
        raw = node.network.transfer("alice", "bob")
        await node.pool.add([raw])
        store.fails = OSError("no space left on device")
        noted: list[Block] = []
        executed = await node.replica.finalize(await node.propose())
        with pytest.raises(OSError, match="no space"):
            await node.replica.commit(executed, b"", noted.append)
        assert (heard, noted, node.chain.tip.height, len(node.pool)) == ([], [], 0, 1)


# ------------------------------------------------------------------------------- the news


@in_loop
async def test_the_order_is_write_note_adopt_tell() -> None:
    async with made() as (node, store):
        order: list[str] = []
        real_write = store.write

        def write(changes: Mapping[bytes, bytes | None], *, sync: bool = True) -> None:
            assert sync
            order.append("write")
            real_write(changes, sync=sync)

        store.write = write  # type: ignore[method-assign]

        def note(_block: Block) -> None:
            order.append(f"note at {node.chain.tip.height}")

        for number in (1, 2):

            async def listen(block: Block, executed: Executed, number: int = number) -> None:
                assert executed.input == block.input
                order.append(f"tell {number} at {node.chain.tip.height}, {len(node.pool)} wait")

            node.replica.on_commit.append(listen)
        await node.pool.add([node.network.transfer("alice", "bob")])
        executed = await node.replica.finalize(await node.propose())
        header = node.chain.header()
        seal = sign(keys("producer"), seal_bytes(node.chain.genesis_hash, header))
        block = await node.replica.commit(executed, seal, note)
        assert (block.header, block.seal) == (header, seal)
        assert order == ["write", "note at 0", "tell 1 at 1, 0 wait", "tell 2 at 1, 0 wait"]


@in_loop
async def test_a_listener_that_fails_leaves_a_whole_block_behind() -> None:
    async with made() as (node, _):

        async def fail(_block: Block, _executed: Executed) -> None:
            raise OSError("the folder is gone")

        node.replica.on_commit.append(fail)
        raw = node.network.transfer("alice", "bob")
        await node.pool.add([raw])
        with pytest.raises(OSError, match="folder"):
            await node.block()
        assert (node.chain.tip.height, len(node.pool)) == (1, 0)
        assert node.chain.view().location(sha256(raw)) is not None
        node.replica.on_commit.clear()
        await node.block(node.network.transfer("alice", "bob"))
        assert replay(node.network.raw, [_block_at(node, height) for height in (1, 2)]).tip == (
            node.chain.tip
        )


@in_loop
async def test_closing_waits_for_the_last_write() -> None:
    store = SlowStore()
    network = Network(store=store)
    network.attesting = False
    node = Node(network)
    store.hold()
    committing = asyncio.create_task(node.block(network.transfer("kim", "leo")))
    await eventually(store.writing.is_set)
    threading.Timer(0.02, store.may_go_on.set).start()
    await node.close()
    assert network.reopen().tip.height == 1
    await committing


@in_loop
async def test_a_replica_counts_the_nodes_that_it_finds() -> None:
    network = Network()
    network.block(network.register("node"), network.register("other", "bob", 25 * 10**9))
    replica = Replica(network.chain, Direct())
    assert replica.census.by_state() == in_states(awaiting=1, queued=1)
    await replica.close()
