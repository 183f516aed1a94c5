"""The stream of what happens: server-sent events whose id is the height."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from registry.api.answers import described_bytes
from registry.api.feed import Feed
from registry.api.live import Here
from registry.api.problems import ProblemError
from registry.ipc import Busy

MEDIA_TYPE: Final = "text/event-stream"
MAX_READERS: Final = 256
"""Open streams of one process."""

MAX_HEIGHT_DIGITS: Final = 19

EXAMPLE: Final = 'event: block\ndata: {"height":8640,"transactions":3}\nid: 8640\n\n'

routes = APIRouter(prefix="/v1/events", tags=["events"])


class EventStream(StreamingResponse):
    """A stream that is counted for as long as it is open."""

    def __init__(self, feed: Feed, after: int | None) -> None:
        # proxies must not collect what should arrive at once
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(feed.follow(after), 200, headers, MEDIA_TYPE)
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client goes or the feed is closed."""
        self._feed.readers += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.readers -= 1


@routes.get(
    "",
    summary="What happens, as it happens",
    operation_id="stream_events",
    response_class=Response,
    responses=described_bytes(
        MEDIA_TYPE, "A stream of server-sent events.", EXAMPLE, "bad_request", "busy"
    ),
)
async def stream_events(
    live: Here,
    last_event_id: Annotated[
        str | None,
        Header(description="Height of the last event that arrived.", examples=["8639"]),
    ] = None,
) -> Any:
    """Events `block`, `epoch` and `list_final`, from now on or from after `Last-Event-ID`.

    The event `gap` says that some are lost, because the client was away too long or read too
    slowly: ask for the state again.
    """
    after = None if last_event_id is None else _parse_height(last_event_id)
    _ = live.newest  # nothing is streamed before there is a view
    if live.feed.readers >= MAX_READERS:
        raise Busy("too many streams are open")
    return EventStream(live.feed, after)


def _parse_height(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_HEIGHT_DIGITS):
        raise ProblemError("bad_request", why="Last-Event-ID: the height of an event")
    return int(text)
