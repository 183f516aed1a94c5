"""The outermost layer: what a body may be, how it counts, and what it does with exceptions."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from registry.api import edge
from registry.api.edge import DRAIN_BYTES, Body, Edge, group_of
from registry.api.limits import Limits
from registry.api.problems import MAX_BODY_BYTES, ProblemError
from registry.metrics import WebMetrics
from registry.settings import ClientLimits


def body_of(*pieces: bytes, ends: bool = True) -> tuple[Receive, list[bytes]]:
    """A body in pieces, which may never end, and the pieces that were not asked for yet."""
    left = list(pieces)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left) or not ends}

    return receive, left


async def read(receive: Receive) -> bytes:
    """Read a body to its end, as an application does."""
    body = Body(receive)
    whole = bytearray()
    while True:
        message = await body()
        whole += message["body"]
        if message["more_body"] is False:
            return bytes(whole)


def test_a_body_comes_through_in_pieces() -> None:
    receive, _ = body_of(b"ab", b"", b"cd")
    assert asyncio.run(read(receive)) == b"abcd"


def test_a_body_of_the_largest_size_comes_through() -> None:
    half = bytes(MAX_BODY_BYTES // 2)
    receive, _ = body_of(half, half)
    assert len(asyncio.run(read(receive))) == MAX_BODY_BYTES


def test_a_body_that_is_too_long_is_read_off_before_it_is_refused() -> None:
    receive, left = body_of(bytes(MAX_BODY_BYTES), b"x", b"y", b"z")
    with pytest.raises(ProblemError) as refused:
        asyncio.run(read(receive))
    assert refused.value.code == "body_too_large"
    assert not left


def test_a_body_without_end_is_not_read_for_ever() -> None:
    receive, left = body_of(*[bytes(1_000_000)] * 100)
    with pytest.raises(ProblemError) as refused:
        asyncio.run(read(receive))
    assert refused.value.code == "body_too_large"
    assert refused.value.headers == {"Connection": "close"}
    assert len(left) == 100 - DRAIN_BYTES // 1_000_000 - 1


@pytest.mark.parametrize("pieces", [(), (b"a",), (bytes(MAX_BODY_BYTES), b"x")])
def test_a_body_that_stops_coming_is_refused(
    monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(edge, "BODY_S", 0.05)
    receive, _ = body_of(*pieces, ends=False)
    with pytest.raises(ProblemError) as refused:
        asyncio.run(read(receive))
    assert refused.value.code == "too_slow"


def test_waiting_for_a_client_to_go_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "BODY_S", 0.05)

    async def wait() -> None:
        receive, _ = body_of(b"ab")
        body = Body(receive)
        await body()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(body(), 0.2)

    asyncio.run(wait())


@pytest.mark.parametrize("has_started", [False, True])
def test_an_exception_is_answered_once(has_started: bool) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        if has_started:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("secret")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/v1/network", "headers": []}
    metrics = WebMetrics()
    receive, _ = body_of(b"")
    limits = Limits(ClientLimits(), metrics)
    asyncio.run(Edge(broken, metrics, limits)(scope, receive, send))
    assert sent[0]["status"] == (200 if has_started else 500)
    if not has_started:
        assert json.loads(sent[1]["body"])["type"] == "internal"
    status = "2xx" if has_started else "5xx"
    counted = f'waypost_requests_total{{group="network",status="{status}"}} 1.0'
    assert counted in metrics.render().decode()


GROUPS = {
    "/v1/nodes": "nodes",
    "/v1/nodes/wpn1": "nodes",
    "/v1/lists/4/full": "lists",
    "/v1/blocks": "blocks",
    "/v1/reports/check": "reports",
    "/v1/rules": "rules",
    "/health/ready": "health",
    "/metrics": "metrics",
    "/json_rpc": "json_rpc",
    "/json_rpc/x": "json_rpc",
    "/v1/json_rpc": "other",
    "/v1/other": "other",
    "/v1": "other",
    "/": "pages",
    "": "other",
    "*": "other",
    "/nodes": "pages",
    "/nodes/wpn1": "pages",
    "/verify": "pages",
    "/wp-login.php": "other",
    "nodes": "other",
}


@pytest.mark.parametrize(("path", "group"), GROUPS.items())
def test_paths_are_counted_by_group(path: str, group: str) -> None:
    assert group_of(path) == group
