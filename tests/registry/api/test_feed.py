"""The ring of events: whole heights, resuming, readers that are slow or gone."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.types import Message

from registry.api.events import EventStream
from registry.api.feed import Feed
from registry.view import Event
from tests.registry.api.fake_ledger import make_event


def parse(chunk: bytes) -> list[tuple[str, dict[str, Any], str | None]]:
    """The events of a piece of a stream: name, data, id."""
    found = []
    for block in chunk.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields["event"], json.loads(fields["data"]), fields.get("id")))
    return found


async def take(stream: AsyncIterator[bytes], count: int) -> list[Any]:
    """The next events, until there are `count`."""
    events: list[Any] = []
    while len(events) < count:
        events += parse(await asyncio.wait_for(anext(stream), 5))
    assert len(events) == count
    return events


def block(height: int, event_id: str | None = "") -> tuple[str, dict[str, Any], str | None]:
    """What a reader gets for a height with nothing but its block."""
    shown = str(height) if event_id == "" else event_id
    return ("block", {"height": height, "transactions": 3}, shown)


def gap(after: int, before: int) -> tuple[str, dict[str, Any], None]:
    """What a reader gets in place of what is lost."""
    return ("gap", {"after": after, "before": before}, None)


def fill(feed: Feed, *heights: int) -> None:
    """Take in a view for each height."""
    for height in heights:
        feed.extend(height, [make_event(height)])


def play(story: Callable[[Feed], Awaitable[None]], **arguments: Any) -> None:
    async def run() -> None:
        await story(Feed(**arguments))

    asyncio.run(run())


def test_a_reader_gets_what_happens_from_now_on() -> None:
    async def story(feed: Feed) -> None:
        fill(feed, 1, 2)
        stream = feed.follow(None)
        waiting = asyncio.create_task(take(stream, 2))
        await asyncio.sleep(0)
        fill(feed, 3, 4)
        assert await waiting == [block(3), block(4)]

    play(story)


def test_a_reader_resumes_after_its_last_height() -> None:
    async def story(feed: Feed) -> None:
        fill(feed, *range(1, 6))
        assert await take(feed.follow(2), 3) == [block(3), block(4), block(5)]

    play(story)


def test_the_last_event_of_a_height_carries_the_id() -> None:
    async def story(feed: Feed) -> None:
        events = [make_event(2), make_event(2, "epoch"), make_event(2, "list_final")]
        fill(feed, 1)
        feed.extend(2, events)
        shown = await take(feed.follow(1), 3)
        assert [(name, event_id) for name, _, event_id in shown] == [
            ("block", None),
            ("epoch", None),
            ("list_final", "2"),
        ]

    play(story)


def test_one_view_may_tell_of_several_heights() -> None:
    async def story(feed: Feed) -> None:
        feed.extend(3, [make_event(height) for height in (1, 2, 3)])
        assert await take(feed.follow(0), 3) == [block(1), block(2), block(3)]

    play(story)


def test_what_is_known_is_not_told_again() -> None:
    async def story(feed: Feed) -> None:
        fill(feed, 1, 2)
        fill(feed, 2)
        feed.extend(2, [])
        fill(feed, 3)
        assert await take(feed.follow(1), 2) == [block(2), block(3)]

    play(story)


def test_data_keeps_a_height_of_its_own() -> None:
    async def story(feed: Feed) -> None:
        feed.extend(5, [Event("epoch", 5, {"epoch": 1, "height": 4})])
        assert (await take(feed.follow(4), 1))[0][1] == {"height": 4, "epoch": 1}

    play(story)


def test_coming_back_too_late_is_a_gap() -> None:
    async def story(feed: Feed) -> None:
        fill(feed, *range(1, 11))
        assert await take(feed.follow(3), 5) == [gap(3, 7), *map(block, range(7, 11))]

    play(story, keep_heights=4)


def test_a_slow_reader_has_a_gap_and_no_queue() -> None:
    async def story(feed: Feed) -> None:
        fill(feed, 1, 2)
        stream = feed.follow(1)
        assert await take(stream, 1) == [block(2)]
        fill(feed, *range(3, 1_000))
        assert len(feed._chunks) == len(feed._heights) == 4
        assert await take(stream, 5) == [gap(2, 996), *map(block, range(996, 1_000))]

    play(story, keep_heights=4)


def test_heights_that_this_process_missed_are_a_gap() -> None:
    async def story(feed: Feed) -> None:
        fill(feed, 1, 2)
        feed.extend(8, [])
        fill(feed, 9)
        assert await take(feed.follow(2), 2) == [gap(2, 9), block(9)]

    play(story)


def test_a_height_that_never_was_begins_now() -> None:
    async def story(feed: Feed) -> None:
        fill(feed, 1, 2)
        stream = feed.follow(50)
        assert await take(stream, 1) == [gap(50, 3)]
        fill(feed, 3)
        assert await take(stream, 1) == [block(3)]

    play(story)


def test_silence_brings_a_sign_of_life() -> None:
    async def story(feed: Feed) -> None:
        stream = feed.follow(None)
        assert await anext(stream) == b": ping\n\n"
        assert await anext(stream) == b": ping\n\n"

    play(story, ping_s=0.01)


def test_closing_ends_streams_after_what_is_left() -> None:
    async def story(feed: Feed) -> None:
        fill(feed, 1, 2)
        behind, waiting = feed.follow(1), feed.follow(None)
        ending = asyncio.create_task(anext(waiting, None))
        await asyncio.sleep(0)
        feed.close()
        assert await ending is None
        assert [parse(chunk) async for chunk in behind] == [[block(2)]]
        assert [chunk async for chunk in feed.follow(None)] == []

    play(story)


def test_a_stream_is_counted_until_its_client_goes() -> None:
    async def story(feed: Feed) -> None:
        fill(feed, 1)
        gone = asyncio.Event()
        sent: list[Message] = []

        async def receive() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        stream = EventStream(feed, None)
        running = asyncio.create_task(stream({"type": "http"}, receive, send))
        await asyncio.sleep(0.01)
        fill(feed, 2)
        await asyncio.sleep(0.01)
        assert feed.readers == 1
        gone.set()
        await asyncio.wait_for(running, 5)
        assert feed.readers == 0
        assert dict(sent[0]["headers"])[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert parse(sent[1]["body"]) == [block(2)]

    play(story)
