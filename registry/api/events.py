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

EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["block", "epoch", "list_final", "gap"]},
        "id": {
            "type": "string",
            "pattern": "^[0-9]{1,19}$",
            "description": "The height, behind the last event that it has.",
        },
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "type": "object",
                "properties": {
                    name: {"type": "integer", "minimum": 0, "description": description}
                    for name, description in {
                        "height": "Where it happened; of all but `gap`.",
                        "epoch": "Of `epoch` the one that ended, of `list_final` that of the list.",
                        "after": "Of `gap`: the last height that can still be told of.",
                        "before": "Of `gap`: the first height that can be told of again.",
                    }.items()
                },
                "anyOf": [{"required": ["height"]}, {"required": ["after", "before"]}],
            },
        },
    },
}
"""How OpenAPI shows one event of the stream."""

EXAMPLE: Final = 'event: block\ndata: {"height":8640,"transactions":3}\nid: 8640\n\n'

routes = APIRouter(prefix="/v1/events", tags=["events"])


def _describe() -> dict[int | str, dict[str, Any]]:
    told = "A stream of server-sent events."
    responses = described_bytes(MEDIA_TYPE, told, EXAMPLE, "bad_request", "busy")
    responses[200]["content"][MEDIA_TYPE]["itemSchema"] = EVENT
    return responses


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
    responses=_describe(),
)
async def stream_events(
    live: Here,
    last_event_id: Annotated[
        str | None,
        Header(
            description="Height of the last event that arrived.",
            json_schema_extra={"pattern": "^[0-9]{1,19}$"},
            examples=["8639"],
        ),
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
