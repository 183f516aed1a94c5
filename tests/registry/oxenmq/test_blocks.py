"""Blocks are told in order, once each, to those who subscribed lately."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from registry.client.services import Event
from registry.oxenmq import blocks
from registry.oxenmq.allowance import Peer
from registry.oxenmq.blocks import (
    MAX_AT_A_TIME,
    MAX_OF_ONE_HOST,
    MAX_SUBSCRIBERS,
    SUBSCRIPTION_S,
    Follower,
    Subscribers,
    TooMany,
)
from registry.oxenmq.upstream import Upstream
from tests.registry.api.fake_ledger import make_block_hash
from tests.registry.factory import eventually, in_loop, settle
from tests.registry.oxenmq.face import Hand
from tests.registry.oxenmq.services import Service


def peer(number: int, host: str = "127.0.0.1", listener: int = 0) -> Peer:
    """The far side of a connection."""
    return Peer(listener, number, host, True)


# ---- Subscribers ----


def test_a_subscription_lasts_half_an_hour_from_the_last_request() -> None:
    clock = Hand()
    subscribers = Subscribers(clock)
    assert subscribers.add(peer(1))
    clock.now_s += SUBSCRIPTION_S - 1
    assert not subscribers.add(peer(1))
    clock.now_s += SUBSCRIPTION_S - 1
    assert subscribers.list_peers() == [peer(1)]
    clock.now_s += 1
    assert subscribers.list_peers() == []
    assert subscribers.add(peer(1))
    subscribers.remove(peer(1))
    subscribers.remove(peer(1))
    assert subscribers.list_peers() == []
    assert SUBSCRIPTION_S == 30 * 60


def test_one_host_cannot_take_every_place() -> None:
    subscribers = Subscribers(Hand())
    for number in range(MAX_OF_ONE_HOST):
        subscribers.add(peer(number))
    with pytest.raises(TooMany):
        subscribers.add(peer(MAX_OF_ONE_HOST))
    assert not subscribers.add(peer(0))
    assert subscribers.add(peer(0, "127.0.0.2"))
    assert subscribers.add(peer(0, listener=1))
    subscribers.remove(peer(1))
    assert subscribers.add(peer(MAX_OF_ONE_HOST))


def test_places_are_bounded_and_come_free() -> None:
    clock = Hand()
    subscribers = Subscribers(clock)
    for number in range(MAX_SUBSCRIBERS):
        subscribers.add(peer(number, ""))
    with pytest.raises(TooMany):
        subscribers.add(peer(MAX_SUBSCRIBERS, ""))
    assert subscribers.add(peer(0, "", listener=1))
    clock.now_s += SUBSCRIPTION_S
    assert subscribers.add(peer(MAX_SUBSCRIBERS, ""))
    assert subscribers.list_peers() == [peer(MAX_SUBSCRIBERS, "")]


# ---- Where blocks come from ----


class Following:
    """A follower over a service, and what it has told."""

    def __init__(self) -> None:
        self.service = Service()
        self.told: list[tuple[int, bytes]] = []
        upstream = Upstream(self.service, lambda: None, Hand())
        self.follower = Follower(self.service, upstream, lambda *block: self.told.append(block))

    @property
    def heights(self) -> list[int]:
        """Heights that were told."""
        return [height for height, _ in self.told]


@asynccontextmanager
async def following(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Following]:
    """A follower that runs, and tries again at once."""
    monkeypatch.setattr(blocks, "RETRY_S", 0.0)
    made = Following()
    task = asyncio.ensure_future(made.follower.run())
    yield made
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()


@in_loop
async def test_each_block_is_told_once_in_order() -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with following(patch) as made:
            for height in (7, 8, 8, 7, 9):
                made.service.tell_block(height)
            await eventually(lambda: len(made.told) == 3)
            await settle()
            assert made.told == [
                (height, bytes.fromhex(make_block_hash(height))) for height in (7, 8, 9)
            ]


@in_loop
async def test_who_told_of_blocks_that_are_none_is_not_waited_for() -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with following(patch) as made:
            made.service.tell_block(10**18)
            await eventually(lambda: made.heights == [10**18])
            made.service.tell_block(7)
            made.service.events.put_nowait(None)
            made.service.tell_block(8)
            made.service.tell_block(9)
            await eventually(lambda: made.heights == [10**18, 8, 9])
            # one that is a little behind is no news
            made.service.events.put_nowait(None)
            made.service.tell_block(7)
            made.service.tell_block(10)
            await eventually(lambda: made.heights == [10**18, 8, 9, 10])


@in_loop
async def test_only_events_of_blocks_are() -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with following(patch) as made:
            for name in ("epoch", "list_final", "gap"):
                made.service.tell_block(7, name)
            made.service.events.put_nowait(Event("block", {"height": "8"}, ""))
            made.service.events.put_nowait(Event("block", [9], ""))
            made.service.events.put_nowait(Event("block", {"height": True}, ""))
            made.service.events.put_nowait(Event("block", {"height": -1}, ""))
            made.service.tell_block(10)
            await eventually(lambda: made.told)
            assert made.heights == [10]


@in_loop
async def test_after_a_loss_it_goes_on_where_it_was() -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with following(patch) as made:
            made.service.tell_block(7)
            await eventually(lambda: made.heights == [7])
            made.service.events.put_nowait(None)
            await eventually(lambda: len(made.service.last_ids) == 2)
            assert made.service.last_ids == ["", "7"]
            made.service.tell_block(8)
            await eventually(lambda: made.heights == [7, 8])


@in_loop
async def test_blocks_whose_hashes_nobody_tells_are_told_later() -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with following(patch) as made:
            made.service.is_away = True
            made.service.tell_block(7)
            await eventually(lambda: len(made.service.calls) == 1)
            made.service.tell_block(8)
            await settle()
            assert made.told == []
            made.service.is_away = False
            # what failed is not asked again within a second, but for a new block
            made.service.tell_block(9)
            await eventually(lambda: made.heights == [7, 8, 9])


@in_loop
async def test_of_many_that_were_missed_the_newest_are_told() -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with following(patch) as made:
            made.service.gate.clear()
            for height in range(1, MAX_AT_A_TIME + 52):
                made.service.tell_block(height)
            await eventually(lambda: made.service.events.empty())
            made.service.gate.set()
            newest = MAX_AT_A_TIME + 51
            await eventually(lambda: made.heights[-1:] == [newest])
            assert made.heights == sorted(set(made.heights))
            assert made.heights[-MAX_AT_A_TIME:] == list(range(52, newest + 1))
            assert all(len(params["height"]) <= MAX_AT_A_TIME for _, params in made.service.calls)


@pytest.mark.parametrize("wrong", [{"7": "zz" * 32}, {"7": None}, {"7": "00"}, {}, None, [7]])
@in_loop
async def test_hashes_that_are_none_are_not_told(wrong: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with following(patch) as made:
            honest = made.service.get_block_hash
            patch.setattr(made.service, "get_block_hash", lambda *_: wrong)
            made.service.tell_block(7)
            await eventually(lambda: len(made.service.calls) == 1)
            patch.setattr(made.service, "get_block_hash", honest)
            made.service.tell_block(8)
            await eventually(lambda: made.heights == [7, 8])
            assert all(len(block_hash) == 32 for _, block_hash in made.told)
