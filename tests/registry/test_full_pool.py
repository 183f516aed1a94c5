"""A pool that is full: what pays more stays, each sender's order too, and free ones have room."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import Random

import pytest

from ledger.crypto import sha256
from ledger.transactions.envelope import Transaction
from registry import pool as pool_module
from registry.ipc import Busy
from tests.factory import FEE, PEOPLE, public
from tests.registry.factory import in_loop, settle
from tests.registry.pools import codes, fate, made, waiting


@in_loop
async def test_a_full_pool_lets_go_of_what_pays_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 3)
    async with made() as node:
        network = node.network
        raws = [
            network.transfer(who, "leo", fee=FEE + more)
            for who, more in (("alice", 30), ("bob", 10), ("carol", 20))
        ]
        assert codes(await node.pool.add(raws)) == [None] * 3
        following = asyncio.create_task(node.pool.settled(sha256(raws[1])))
        for much in (10, 0):
            # as much is not more: who was there first stays
            with pytest.raises(Busy):
                await node.pool.add([network.transfer("dave", "leo", nonce=0, fee=FEE + much)])
        better = network.transfer("dave", "leo", nonce=0, fee=FEE + 11)
        assert codes(await node.pool.add([better])) == [None]
        assert waiting(node) == [raws[0], raws[2], better]
        assert fate(node, raws[1]) == ("dropped", "outbid")
        await following
        assert (await node.block()).transactions == (raws[0], raws[2], better)


@in_loop
async def test_of_equals_the_last_to_come_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 3)
    async with made() as node:
        network = node.network
        raws = [network.transfer(who, "leo") for who in ("alice", "bob", "carol")]
        await node.pool.add(raws)
        better = [network.transfer(who, "leo", fee=FEE + 1) for who in ("dave", "erin")]
        assert codes(await node.pool.add(better)) == [None, None]
        assert waiting(node) == [raws[0], *better]


@in_loop
async def test_each_senders_order_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 5)
    async with made() as node:
        network = node.network
        # what stands behind a cheap one stands no higher: it cannot be taken before it
        fees = {"alice": (5, 90, 80), "bob": (7, 6)}
        raws = {
            who: [network.transfer(who, "leo", fee=FEE + more) for more in each]
            for who, each in fees.items()
        }
        await node.pool.add([*raws["alice"], *raws["bob"]])
        left = []
        for who in ("carol", "dave", "erin", "frank"):
            await node.pool.add([network.transfer(who, "leo", fee=FEE + 10)])
            left.append([len(set(waiting(node)) & set(each)) for each in raws.values()])
        assert left == [[2, 2], [1, 2], [0, 2], [0, 1]]
        assert waiting(node)[0] == raws["bob"][0]
        block = await node.block()
        assert len(block.transactions) == 5
        assert len(node.pool) == 0


@in_loop
async def test_a_sender_who_was_outbid_waits_for_the_next_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 2)
    async with made(max_block_transactions=1) as node:
        network = node.network
        raws = [network.transfer("alice", "leo") for _ in range(2)]
        await node.pool.add(raws)
        better = network.transfer("bob", "leo", fee=FEE + 1)
        assert codes(await node.pool.add([better])) == [None]
        assert waiting(node) == [raws[0], better]
        # neither what went, nor what would have come after it, whatever it pays
        again = [network.transfer("alice", "leo", nonce=n, fee=FEE + 9) for n in (1, 2)]
        assert codes(await node.pool.add(again)) == ["outbid", "outbid"]
        await node.block()
        assert waiting(node) == [better]
        assert codes(await node.pool.add(again[:1])) == [None]
        assert waiting(node) == [better, again[0]]


@in_loop
async def test_nothing_follows_what_was_outbid_though_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with made() as node:
        network = node.network
        register = network.register("node", "alice")
        monkeypatch.setattr(pool_module, "MAX_WAITING_BYTES", len(register))
        assert codes(await node.pool.add([register])) == [None]
        better = network.transfer("bob", "leo", fee=FEE + 1)
        assert codes(await node.pool.add([better])) == [None]
        next_one = network.transfer("alice", "leo")
        assert len(better) + len(next_one) <= len(register)
        assert codes(await node.pool.add([next_one])) == ["outbid"]
        assert waiting(node) == [better]
        await node.block()
        # sent again, both fit one after the other
        assert codes(await node.pool.add([register])) == [None]
        await node.block()
        assert codes(await node.pool.add([next_one])) == [None]


@in_loop
async def test_what_relied_on_something_outbid_is_dropped_after_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 2)
    async with made() as node:
        network = node.network
        funding = network.transfer("alice", "newcomer", 5 * FEE)
        spending = network.transfer("newcomer", "leo", 1, fee=3 * FEE)
        assert codes(await node.pool.add([funding, spending])) == [None, None]
        better = network.transfer("bob", "leo", fee=2 * FEE)
        assert codes(await node.pool.add([better])) == [None]
        assert waiting(node) == [spending, better]
        assert (await node.block()).transactions == (better,)
        assert fate(node, spending) == ("dropped", "balance_too_low")


@in_loop
async def test_nobody_goes_for_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 2)
    async with made() as node:
        network = node.network
        raws = [network.transfer(who, "leo") for who in ("alice", "bob")]
        await node.pool.add(raws)
        forged = network.transfer("carol", "leo", fee=9 * FEE)[:-64] + bytes(64)
        early = network.transfer("dave", "leo", nonce=1, fee=9 * FEE)
        assert codes(await node.pool.add([forged, early])) == ["bad_signature", "nonce_skipped"]
        assert waiting(node) == raws
        # the one that had its place looked at is found again
        better = network.transfer("erin", "leo", fee=2 * FEE)
        assert codes(await node.pool.add([better])) == [None]
        assert waiting(node) == [raws[0], better]


@in_loop
async def test_a_long_one_takes_the_room_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    async with made(minimum_fee=FEE - 1) as node:
        network = node.network
        people = ("alice", "bob", "carol", "erin")
        raws = [network.transfer(who, "leo", fee=FEE - 1) for who in people]
        assert codes(await node.pool.add(raws)) == [None] * 4
        size = sum(map(len, raws))
        register = network.register("node", "dave")
        assert len(raws[0]) < len(register) < size
        monkeypatch.setattr(pool_module, "MAX_WAITING_BYTES", size)
        assert codes(await node.pool.add([register])) == [None]
        kept = waiting(node)
        assert kept[-1] == register
        assert kept[:-1] == raws[: len(kept) - 1]
        assert size - len(raws[0]) < sum(map(len, kept)) <= size


@in_loop
async def test_what_outbids_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 3)
    monkeypatch.setattr(pool_module, "MAX_OUTBIDDING", 2)
    async with made() as node:
        network = node.network
        await node.pool.add([network.transfer(who, "leo") for who in PEOPLE[:3]])
        node.verifier.gate.clear()
        better = [network.transfer(who, "leo", fee=FEE + 1) for who in PEOPLE[3:6]]
        adds = [asyncio.create_task(node.pool.add([raw])) for raw in better]
        await settle()
        node.verifier.gate.set()
        outcomes = await asyncio.gather(*adds, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [list, list, Busy]
        assert len(node.pool) == 3


@in_loop
async def test_neither_free_nor_paid_ones_crowd_out_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 2)
    monkeypatch.setattr(pool_module, "MAX_FREE", 2)
    async with made() as node:
        network = node.network
        await node.block(network.register("node"), network.register("other", "bob"))
        free = [network.attest(0), network.update_contact("node")]
        late = network.update_contact("other")
        assert codes(await node.pool.add(free)) == [None, None]
        with pytest.raises(Busy):
            await node.pool.add([late])
        paid = [network.transfer(who, "leo") for who in ("carol", "dave")]
        assert codes(await node.pool.add(paid)) == [None, None]
        # whatever is paid, it takes no room of those that nobody pays for
        with pytest.raises(Busy):
            await node.pool.add([network.transfer("erin", "leo", nonce=0, fee=9 * FEE), late])
        better = network.transfer("erin", "leo", nonce=0, fee=9 * FEE)
        assert codes(await node.pool.add([better])) == [None]
        assert waiting(node) == [*free, paid[0], better]
        await node.block()
        assert codes(await node.pool.add([late])) == [None]


@pytest.mark.parametrize("seed", range(5))
@in_loop
async def test_whatever_comes_into_a_full_pool(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """No order breaks, nothing waits beyond the bound, and what goes stood lowest."""
    monkeypatch.setattr(pool_module, "MAX_WAITING", 12)
    chance = Random(seed)
    async with made(max_block_transactions=4) as node:
        network = node.network
        for turn in range(300):
            before = node.pool.candidates()
            who = chance.choice(PEOPLE[:6])
            mine = [tx.nonce for tx in before if tx.sender == public(who)]
            nonce = max(mine) + 1 if mine else network.state.account(public(who)).nonce
            raw = network.transfer(who, "leo", nonce=nonce, fee=FEE + chance.randrange(20))
            with suppress(Busy):
                await node.pool.add([raw])
            after = node.pool.candidates()
            assert len(after) <= 12
            gone = [tx for tx in before if tx.hash not in node.pool]
            if gone:
                assert standings(before)[gone[0].hash] == min(standings(before).values())
            for sender in {tx.sender for tx in after}:
                nonces = [tx.nonce for tx in after if tx.sender == sender]
                first = network.state.account(sender).nonce
                assert nonces == list(range(first, first + len(nonces)))
            if turn % 25 == 24:
                assert len((await node.block()).transactions) == 4


def standings(txs: Sequence[Transaction]) -> dict[bytes, int]:
    """How each stands: at the least fee from its sender's first one up to itself."""
    least: dict[bytes, int] = {}
    found = {}
    for tx in txs:
        found[tx.hash] = least[tx.sender] = min(tx.fee, least.get(tx.sender, tx.fee))
    return found
