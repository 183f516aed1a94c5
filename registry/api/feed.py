"""The last events, encoded once, in one ring that all readers share.

- A chunk holds all events of one height. Its last event carries the height as its id, so a client
  that comes back with `Last-Event-ID` gets whole heights: maybe one twice, none by half.
- A reader is a place in the ring, so a slow one costs no memory. Every block has an event; a jump
  in the heights is what a reader missed, and it is told so by the event `gap`.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from registry.view import Event

KEEP_HEIGHTS: Final = 1_024
"""Heights that the ring holds."""

PING_S: Final = 15.0
"""Seconds of silence after which a comment keeps the connection open."""

encode = msgspec.json.Encoder().encode


class Feed:
    """The ring; used on one event loop only."""

    def __init__(self, keep_heights: int = KEEP_HEIGHTS, ping_s: float = PING_S) -> None:
        self.readers = 0
        """Open streams; whoever opens one counts it."""
        self._keep = keep_heights
        self._ping_s = ping_s
        self._heights: list[int] = []
        self._chunks: list[bytes] = []
        self._newest: int | None = None
        self._is_closed = False
        self._changed = asyncio.Event()

    def extend(self, height: int, events: Iterable[Event]) -> None:
        """Take in what happened up to `height`; what is known already changes nothing."""
        known = -1 if self._newest is None else self._newest
        fresh = [event for event in events if event.height > known]
        for at, group in groupby(fresh, key=lambda event: event.height):
            self._heights.append(at)
            self._chunks.append(_encode_chunk(at, list(group)))
        self._newest = max([known, height, *self._heights[-1:]])
        del self._heights[: -self._keep]
        del self._chunks[: -self._keep]
        self._wake()

    def close(self) -> None:
        """End every stream after what it still has to send."""
        self._is_closed = True
        self._wake()

    def follow(self, after: int | None) -> AsyncIterator[bytes]:
        """Yield the chunks past height `after`, or from now on; ends when the feed is closed."""
        newest = self._newest
        if after is None or newest is None or after <= newest:
            return self._follow(newest if after is None else after, b"")
        # the client saw another chain, or a height that was never ours
        return self._follow(newest, _encode_gap(after, newest + 1))

    async def _follow(self, place: int | None, first: bytes) -> AsyncIterator[bytes]:
        if first:
            yield first
        while True:
            index = 0 if place is None else bisect_right(self._heights, place)
            if index < len(self._heights):
                height = self._heights[index]
                lost = b"" if place in (None, height - 1) else _encode_gap(place, height)
                place = height
                yield lost + self._chunks[index]
            elif self._is_closed:
                return
            elif not await self._changes():
                yield KEEPALIVE_COMMENT

    async def _changes(self) -> bool:
        """Wait for news; False means that it is time for a sign of life."""
        changed = self._changed
        try:
            async with asyncio.timeout(self._ping_s):
                await changed.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _encode_chunk(height: int, events: Sequence[Event]) -> bytes:
    last = len(events) - 1
    return b"".join(
        _encode_event(event.event, {"height": height} | event.data, height if at == last else None)
        for at, event in enumerate(events)
    )


def _encode_gap(after: int, before: int) -> bytes:
    """Tell a reader that what happened between two heights cannot be told any more."""
    return _encode_event("gap", {"after": after, "before": before}, None)


def _encode_event(name: str, data: dict[str, Any], height: int | None) -> bytes:
    event_id = None if height is None else str(height)
    return format_sse_event(event=name, data_str=encode(data).decode(), id=event_id)
