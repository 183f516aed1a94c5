"""One producer: what it seals holds, and what it served it never contradicts."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ledger.crypto import sha256, verify
from ledger.messages.blocks import Block, block_hash, block_seal
from ledger.replay import check_sealed, execute_block
from ledger.store import Crashed, CrashStore, MemoryStore
from registry import watermarks as watermarks_module
from registry.engines import solo as solo_module
from registry.engines.solo import Solo
from registry.files import write_durably
from registry.watermarks import BLOCKS, SignerRefuses, import_backup, make_backup
from tests.factory import START_MS, Network
from tests.registry.factory import (
    PRODUCER,
    Node,
    Site,
    eventually,
    in_loop,
    produce,
    queries_of,
    settle,
)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    return Site(monkeypatch, tmp_path, block_ms=100)


def block_at(node: Node, height: int) -> Block:
    block = node.chain.view().block(height)
    assert block is not None
    return block


def mark(site: Site) -> int:
    return site.watermark("producer", BLOCKS).number or 0


# -------------------------------------------------------------------------------- blocks


@in_loop
async def test_blocks_are_sealed_and_anybody_can_replay_them(site: Site) -> None:
    node = Node.at(site)
    solo = node.solo(site)
    for _ in range(25):
        await node.pool.add([node.network.transfer("alice", "bob")])
        await produce(site, solo)
    assert node.chain.tip.height == 25
    fresh = Network(site.genesis)
    for height in range(1, 26):
        block = block_at(node, height)
        assert len(block.transactions) == 1
        assert block.header.time_ms == START_MS + 1_000 * height
        seal = block_seal(node.chain.genesis_hash, PRODUCER.public, block.header, block.seal)
        assert verify(seal)
        check_sealed(fresh.chain, block)
        execute_block(fresh.chain, block)
    assert fresh.chain.tip == node.chain.tip
    assert node.chain.newest_header().header != b""
    assert mark(site) == 25
    await node.close()


@in_loop
async def test_a_block_takes_what_fits_and_leaves_the_rest_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = Site(monkeypatch, tmp_path, max_block_transactions=3)
    node = Node.at(site)
    solo = node.solo(site)
    raws = [node.network.transfer("alice", "bob") for _ in range(7)]
    await node.pool.add(raws)
    sizes = []
    for height in range(1, 5):
        await produce(site, solo)
        sizes.append(len(block_at(node, height).transactions))
    assert sizes == [3, 3, 1, 0]
    found = [raw for height in range(1, 5) for raw in block_at(node, height).transactions]
    assert found == raws
    await node.close()


@in_loop
async def test_time_goes_on_although_the_clock_is_put_back(site: Site) -> None:
    node = Node.at(site)
    solo = node.solo(site)
    await produce(site, solo)
    await produce(site, solo, ms=-500)
    await produce(site, solo, ms=0)
    times = [block_at(node, height).header.time_ms for height in (1, 2, 3)]
    assert times == [START_MS + 1_000, START_MS + 1_001, START_MS + 1_002]
    await node.close()


@in_loop
async def test_before_the_network_starts_there_are_no_blocks(site: Site) -> None:
    node = Node.at(site)
    solo = node.solo(site)
    await produce(site, solo, ms=-10_000)
    assert node.chain.tip.height == 0
    await produce(site, solo, ms=10_001)
    assert block_at(node, 1).header.time_ms == START_MS + 1
    await node.close()


@in_loop
async def test_a_run_makes_blocks_by_itself_until_it_is_cancelled(site: Site) -> None:
    node = Node.at(site)
    site.clock.ms += 1
    running = asyncio.create_task(node.solo(site).run())
    await eventually(lambda: node.chain.tip.height >= 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    height = node.chain.tip.height
    await asyncio.sleep(0.15)
    assert node.chain.tip.height == height
    await node.close()
    assert mark(site) >= height


@in_loop
async def test_a_write_that_fails_ends_the_run(site: Site) -> None:
    store = CrashStore()
    node = Node.at(site, store)
    site.clock.ms += 1
    store.fail_next_write(landed=False)
    with pytest.raises(OSError, match="simulated failure"):
        await node.solo(site).run()
    assert (node.chain.tip.height, mark(site)) == (0, 0)
    await node.close()


# ------------------------------------------------------------------------------- crashes


class Dying:
    """A producer that dies at one place of its next block, and what the world saw of it."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site = site
        self.store = CrashStore()
        self.node = Node.at(site, self.store)
        self.solo = self.node.solo(site)
        self.seen: list[bytes] = []
        self._monkeypatch = monkeypatch
        self.node.replica.on_commit.append(self._see)

    async def _see(self, block: Block, _executed: object) -> None:
        # whoever hears of a block hears of one that lasts and was noted
        assert mark(self.site) == block.header.height
        assert self.store.survivor().get(b"J" + block.header.height.to_bytes(8, "big"))
        self.seen.append(block_hash(block.header))

    def die(self, place: str) -> None:
        """Arm one of `PLACES`."""
        if place in ("store.before_write", "store.after_write"):
            self.store.arm(place)
        elif place == "a listener":
            self.node.replica.on_commit.append(self._crash)
        else:
            self._die_noting(landed=place == "watermark written")

    async def _crash(self, _block: Block, _executed: object) -> None:
        raise Crashed("a listener")

    def _die_noting(self, landed: bool) -> None:
        def write(path: Path, data: bytes, mode: int = 0o644) -> None:
            if landed:
                write_durably(path, data, mode)
            raise Crashed("watermark")

        self._monkeypatch.setattr(watermarks_module, "write_durably", write)

    async def restart(self) -> "Dying":
        await self.node.close()
        self.site.let_go()
        self._monkeypatch.undo()
        again = Site(self._monkeypatch, self.site.folder, block_ms=100)
        again.clock.ms = self.site.clock.ms
        network = Network(again.genesis, self.store.survivor())
        network.attesting = False
        node = Node(network)
        other = object.__new__(Dying)
        other.site, other.store, other.node = again, network.store, node  # type: ignore[assignment]
        other.solo = node.solo(again)
        return other


PLACES = {
    "store.before_write": (0, 0),
    "store.after_write": (1, 0),
    "watermark not written": (1, 0),
    "watermark written": (1, 1),
    "a listener": (1, 1),
}
"""Where it dies: blocks in the database and number of the watermark afterwards."""


@pytest.mark.parametrize(("place", "left"), PLACES.items(), ids=PLACES.keys())
@in_loop
async def test_wherever_it_dies_no_block_that_anybody_saw_is_contradicted(
    site: Site, monkeypatch: pytest.MonkeyPatch, place: str, left: tuple[int, int]
) -> None:
    dying = Dying(site, monkeypatch)
    await produce(site, dying.solo, 2)
    lasting = list(dying.seen)
    assert len(lasting) == 2
    dying.die(place)
    await dying.node.pool.add([dying.node.network.transfer("alice", "bob")])
    with pytest.raises(Crashed):
        await produce(site, dying.solo)
    blocks, noted = left
    assert mark(site) == 2 + noted
    # a block is heard of only once it was noted
    assert len(dying.seen) == 2 + (place == "a listener")
    third = set(dying.seen[2:])
    again = await dying.restart()
    assert again.node.chain.tip.height == 2 + blocks
    assert mark(again.site) == 2 + blocks
    # another block comes next, with other transactions
    await produce(again.site, again.solo, 3 - again.node.chain.tip.height + 1)
    hashes = [block_hash(block_at(again.node, height).header) for height in (1, 2, 3)]
    assert hashes[:2] == lasting
    assert third <= {hashes[2]}
    fresh = Network(site.genesis)
    for height in range(1, again.node.chain.tip.height + 1):
        block = block_at(again.node, height)
        check_sealed(fresh.chain, block)
        execute_block(fresh.chain, block)
    assert fresh.chain.tip == again.node.chain.tip
    await again.node.close()


@pytest.mark.parametrize("landed", [False, True])
@in_loop
async def test_a_failed_write_is_not_served_whether_it_landed_or_not(
    site: Site, landed: bool
) -> None:
    store = CrashStore()
    node = Node.at(site, store)
    solo = node.solo(site)
    queries = queries_of(node)
    await produce(site, solo)
    store.fail_next_write(landed)
    with pytest.raises(OSError, match="simulated"):
        await produce(site, solo)
    served = queries.answer("blocks", {"start": 1, "limit": 10}, None)["result"]
    assert len(served) == 1
    assert mark(site) == 1
    # the same process does not try again on a store that it cannot trust
    with pytest.raises(OSError, match="open the store again"):
        await produce(site, solo)
    await node.close()
    again = Node.at(site, store.survivor())
    restarted = again.solo(site)
    assert again.chain.tip.height == mark(site) == (2 if landed else 1)
    await produce(site, restarted)
    await again.close()


@in_loop
async def test_an_older_copy_of_the_database_is_refused(site: Site) -> None:
    store = CrashStore()
    node = Node.at(site, store)
    solo = node.solo(site)
    await produce(site, solo, 3)
    backup = store.survivor()
    await produce(site, solo, 2)
    await node.close()
    restored = Node.at(site, backup)
    with pytest.raises(SignerRefuses, match="served block 5, the database ends at 3"):
        restored.solo(site)
    await restored.close()
    # so is a new one under a key that has served
    empty = Node.at(site)
    with pytest.raises(SignerRefuses, match="served block 5, the database ends at 0"):
        empty.solo(site)
    await empty.close()


@in_loop
async def test_a_database_whose_watermark_is_gone_is_refused_unless_vouched_for(
    site: Site,
) -> None:
    store = MemoryStore()
    node = Node.at(site, store)
    await produce(site, node.solo(site), 3)
    await node.close()
    site.watermark("producer", BLOCKS).path.unlink()
    again = Node.at(site, store)
    with pytest.raises(SignerRefuses, match=r"is not there, .*new-watermark"):
        again.solo(site)
    Solo(again.replica, site.block_signer(), is_vouched=True)
    assert mark(site) == 3
    await again.close()


@in_loop
async def test_a_restored_watermark_is_refused_unless_vouched_for_even_where_all_fits(
    site: Site,
) -> None:
    store = MemoryStore()
    node = Node.at(site, store)
    await produce(site, node.solo(site), 3)
    await node.close()
    backup = make_backup(site.folder / "producer", site.hash)
    site.watermark("producer", BLOCKS).path.unlink()
    import_backup(site.watermarks("producer"), backup)
    again = Node.at(site, store)
    for _ in range(2):
        with pytest.raises(SignerRefuses, match=r"is restored, .*--refill .*--new-watermark"):
            again.solo(site)
    await produce(site, Solo(again.replica, site.block_signer(), is_vouched=True))
    assert mark(site) == 4
    # from then on it is a watermark like any other
    await produce(site, again.solo(site))
    await again.close()


@in_loop
async def test_what_contradicts_a_restored_watermark_nobody_can_vouch_for(site: Site) -> None:
    node = Node.at(site)
    await produce(site, node.solo(site), 3)
    await node.close()
    backup = make_backup(site.folder / "producer", site.hash)
    site.watermark("producer", BLOCKS).path.unlink()
    other = Node.at(site)
    solo = other.solo(site)
    await other.pool.add([other.network.transfer("alice", "bob")])
    await produce(site, solo, 4)
    site.watermark("producer", BLOCKS).path.unlink()
    import_backup(site.watermarks("producer"), backup)
    with pytest.raises(SignerRefuses, match="has served block 3, the database ends at 4"):
        Solo(other.replica, site.block_signer(), is_vouched=True)
    await other.close()


# --------------------------------------------------------------------------- submissions


def state(answers: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(answer["state"], answer["code"]) for answer in answers]


@in_loop
async def test_a_submission_is_answered_in_its_order(site: Site) -> None:
    node = Node.at(site)
    solo = node.solo(site)
    network = node.network
    good = network.transfer("alice", "bob")
    bad = network.transfer("carol", "bob", nonce=9)
    answers = await solo.submit([bad, good, b"garbage"], False)
    assert state(answers) == [
        ("refused", "nonce_skipped"), ("pending", None), ("refused", "unknown_kind")
    ]  # fmt: skip
    assert [answer["hash"] for answer in answers] == [
        sha256(raw).hex() for raw in (bad, good, b"garbage")
    ]
    assert answers[0]["values"] == {"nonce": 9, "expected": 0}
    assert "nonce 9 comes too early" in answers[0]["detail"]
    await produce(site, solo)
    again = await solo.submit([good], False)
    assert state(again) == [("committed", None)]
    assert (again[0]["height"], again[0]["index"]) == (1, 0)
    await node.close()


@in_loop
async def test_who_waits_is_answered_after_the_block(site: Site) -> None:
    node = Node.at(site)
    solo = node.solo(site)
    raws = [node.network.transfer(who, "kim") for who in ("alice", "bob")]
    soon = node.network.transfer("carol", "kim", nonce=7)
    waiting = asyncio.create_task(solo.submit([*raws, soon], True))
    await settle()
    assert not waiting.done()
    await produce(site, solo)
    answers = await waiting
    assert state(answers) == [("committed", None)] * 2 + [("refused", "nonce_skipped")]
    assert [answer["height"] for answer in answers] == [1, 1, None]
    assert [answer["index"] for answer in answers] == [0, 1, None]
    # nothing to wait for is answered at once
    assert state(await solo.submit([*raws, soon], True)) == state(answers)
    await node.close()


@in_loop
async def test_who_waits_for_what_is_dropped_hears_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = Site(monkeypatch, tmp_path, max_block_transactions=1)
    node = Node.at(site)
    solo = node.solo(site)
    network = node.network
    first = network.transfer("kim", "leo")
    soon = network.transfer("alice", "bob", expiry=1)
    later = network.transfer("alice", "bob", expiry=9)
    waiting = asyncio.create_task(solo.submit([first, soon, later], True))
    await settle()
    await produce(site, solo)
    assert state(await waiting) == [
        ("committed", None), ("expired", "expired"), ("dropped", "nonce_skipped")
    ]  # fmt: skip
    await node.close()


@in_loop
async def test_nobody_waits_for_ever(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solo_module, "WAIT_S", 0.01)
    node = Node.at(site)
    solo = node.solo(site)
    raw = node.network.transfer("alice", "bob")
    assert state(await solo.submit([raw], True)) == [("pending", None)]
    await produce(site, solo)
    assert state(await solo.submit([raw], True)) == [("committed", None)]
    await node.close()


@in_loop
async def test_a_submission_that_is_taken_twice_at_the_same_time_is_one(site: Site) -> None:
    node = Node.at(site)
    solo = node.solo(site)
    raw = node.network.transfer("alice", "bob")
    waiting = [asyncio.create_task(solo.submit([raw, raw], True)) for _ in range(5)]
    await settle()
    await produce(site, solo)
    for answers in await asyncio.gather(*waiting):
        assert state(answers) == [("committed", None)] * 2
    assert block_at(node, 1).transactions == (raw,)
    await node.close()
