"""Asking several services: which one is believed to answer, and what none of them can do to us."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler

import pytest

from ledger.errors import Misuse
from registry.client.services import (
    MAX_EVENT_BYTES,
    MAX_JSON_BYTES,
    Busy,
    Event,
    ServiceRefused,
    Services,
)
from registry.client.transport import Unavailable
from tests.registry.factory import in_loop
from tests.registry.small_service import Answer, Asked, Said, SmallService, problem, running, said

NOBODY = "http://127.0.0.1:1"
"""A port on which no program listens."""
PATH = "/v1/thing"

Make = Callable[[], SmallService]


@pytest.fixture
def make() -> Iterator[Make]:
    """Start services until the test ends."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(running())


def test_without_a_service_there_is_nobody_to_ask() -> None:
    with pytest.raises(Misuse):
        Services([])


@in_loop
async def test_an_answer_is_what_the_json_says(make: Make) -> None:
    service = make()
    service.answers[f"GET {PATH}"] = said({"a": [1, "2", None]})
    services = Services([service.url + "/"])
    assert await services.get(PATH, epoch=7, name="x y") == {"a": [1, "2", None]}
    await services.close()
    assert service.paths() == [f"{PATH}?epoch=7&name=x+y"]
    assert service.asked[0].headers["accept-encoding"] == "identity"


@in_loop
async def test_who_answered_last_is_asked_first(make: Make) -> None:
    one, two = make(), make()
    two.answers[f"GET {PATH}"] = said(2)
    services = Services([NOBODY, one.url, two.url])
    one.answers[f"GET {PATH}"] = said({"type": "busy", "detail": "…"}, 503)
    assert await services.get(PATH) == 2
    assert await services.get(PATH) == 2
    await services.close()
    assert one.paths() == [PATH]
    assert two.paths() == [PATH, PATH]


@in_loop
async def test_a_problem_lets_the_next_one_answer(make: Make) -> None:
    one, two = make(), make()
    one.answers[f"GET {PATH}"] = problem("state_not_kept", 404, epoch=3)
    two.answers[f"GET {PATH}"] = said(2)
    services = Services([one.url, two.url])
    assert await services.get(PATH) == 2
    two.answers[f"GET {PATH}"] = said(b"not JSON")
    with pytest.raises(ServiceRefused) as caught:
        await services.get(PATH)
    await services.close()
    assert caught.value.code == "state_not_kept"
    assert caught.value.detail == "about state_not_kept"
    assert caught.value.values == {"epoch": 3}


@in_loop
async def test_where_nobody_answers_each_is_named(make: Make) -> None:
    one = make()
    one.answers[f"GET {PATH}"] = said(b"<html>", 502)
    services = Services([NOBODY, one.url])
    with pytest.raises(Unavailable) as caught:
        await services.get(PATH)
    await services.close()
    notes = caught.value.__notes__
    assert [note.partition(": ")[0] for note in notes] == [NOBODY, one.url]
    assert "502" in notes[1]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("after", "wait_s"),
    [("7", 7), ("", 0), ("-1", 0), ("\u00b2", 0), ("1e3", 0), ("9" * 5_000, 0)],
    ids=["seconds", "nothing", "negative", "superscript", "no integer", "endless"],
)
@in_loop
async def test_a_busy_service_says_when_to_ask_again(
    make: Make, status: int, after: str, wait_s: int
) -> None:
    service = make()
    busy = problem("busy", status)
    service.answers[f"GET {PATH}"] = busy._replace(headers={"retry-after": after})
    services = Services([service.url])
    with pytest.raises(Busy, match="about busy") as caught:
        await services.get_from(service.url, PATH)
    await services.close()
    assert caught.value.wait_s == wait_s


@in_loop
async def test_what_is_sent_arrives_once_and_a_refusal_is_the_answer(make: Make) -> None:
    one, two = make(), make()
    one.answers[f"POST {PATH}"] = problem("bad_signature")
    two.answers[f"POST {PATH}"] = said({"ok": 1})
    services = Services([one.url, two.url])
    with pytest.raises(ServiceRefused, match="about bad_signature"):
        await services.post(PATH, {"key": "00"})
    assert two.asked == []
    (asked,) = one.asked
    assert asked.json == {"key": "00"}
    assert asked.headers["content-type"] == "application/json"
    answers = await services.post_to_all(PATH, [1])
    await services.close()
    assert isinstance(answers[one.url], ServiceRefused)
    assert answers[two.url] == {"ok": 1}
    assert two.asked[0].json == [1]


@in_loop
async def test_everybody_is_asked_and_each_answer_kept_apart(make: Make) -> None:
    one, two = make(), make()
    one.answers[f"GET {PATH}"] = said(1)
    services = Services([one.url, NOBODY, two.url])
    answers = await services.get_from_all(PATH)
    raw = await services.get_bytes_from_all(PATH, 1)
    await services.close()
    assert list(answers) == list(services.urls) == [one.url, NOBODY, two.url]
    assert answers[one.url] == 1
    assert isinstance(answers[NOBODY], Unavailable)
    assert isinstance(answers[two.url], ServiceRefused)
    assert raw[one.url] == b"1"


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Answer with zeros for as long as somebody listens."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(65_536))


DEEP = said(b"[" * 100_000 + b"]" * 100_000)
PACKED = said(b"{}", content_encoding="gzip")
ELSEWHERE = Said(302, b"", {"location": f"{NOBODY}/"})
HOSTILE: dict[str, Answer] = {
    "endless": endless,
    "deep": DEEP,
    "packed": PACKED,
    "elsewhere": ELSEWHERE,
    "not text": said(b'{"a": "\xff"}'),
}


@pytest.mark.parametrize("name", HOSTILE)
@in_loop
async def test_what_a_service_sends_ends_with_its_turn(make: Make, name: str) -> None:
    bad, good = make(), make()
    bad.answers[f"GET {PATH}"] = HOSTILE[name]
    good.answers[f"GET {PATH}"] = said(1)
    services = Services([bad.url, good.url])
    assert await services.get(PATH) == 1
    await services.close()
    assert len(bad.asked) == 1


@in_loop
async def test_a_service_that_never_ends_has_its_time(make: Make) -> None:
    stop = threading.Event()
    bad, good = make(), make()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stop.wait(0.02):
            handler.wfile.write(b" ")

    bad.answers[f"GET {PATH}"] = drip
    good.answers[f"GET {PATH}"] = said(1)
    services = Services([bad.url, good.url], timeout_s=0.3)
    try:
        assert await services.get(PATH) == 1
    finally:
        stop.set()
        await services.close()


@in_loop
async def test_bytes_have_the_bound_that_is_asked_for(make: Make) -> None:
    service = make()
    service.answers[f"GET {PATH}"] = said(b"12345")
    services = Services([service.url])
    assert await services.get_bytes(PATH, 5) == b"12345"
    with pytest.raises(Unavailable) as caught:
        await services.get_bytes(PATH, 4)
    await services.close()
    assert "more than 4 bytes" in caught.value.__notes__[0]
    assert MAX_JSON_BYTES > 5


def streaming(body: bytes) -> Callable[[Asked], Said]:
    return lambda asked: said(body, content_type="text/event-stream")


@in_loop
async def test_where_nobody_has_a_stream_each_is_named(make: Make) -> None:
    service = make()
    services = Services([NOBODY, service.url])
    with pytest.raises(Unavailable) as caught:
        await anext(services.stream("/v1/events"))
    await services.close()
    assert [note.partition(": ")[0] for note in caught.value.__notes__] == list(services.urls)


@in_loop
async def test_events_come_whole_and_in_order(make: Make) -> None:
    service = make()
    service.answers["GET /v1/events"] = streaming(
        b': a comment\n\nevent: block\r\ndata: {"height":\ndata: 1}\nid: 1\n\n'
        b"data: 2\n\nevent: nothing\n\nid: 3\ndata: 3\n\ndata: 4"
    )
    services = Services([NOBODY, service.url])
    events = [event async for event in services.stream("/v1/events", "7")]
    await services.close()
    assert events == [
        Event("block", {"height": 1}, "1"),
        Event("message", 2, "1"),
        Event("message", 3, "3"),
    ]
    assert service.asked[-1].headers["last-event-id"] == "7"


LONG = {
    "one line": b"data: " + b"1" * (MAX_EVENT_BYTES + 10) + b"\n\n",
    "a line without an end": b"x" * (3 * MAX_EVENT_BYTES),
    "many lines": b"data:\n" * (MAX_EVENT_BYTES + 10) + b"\n",
    "no JSON": b"data: {\n\n",
}


@pytest.mark.parametrize("name", LONG)
@in_loop
async def test_an_event_has_a_bound(make: Make, name: str) -> None:
    service = make()
    service.answers["GET /v1/events"] = streaming(b"data: 1\n\n" + LONG[name])
    services = Services([service.url])
    events = services.stream("/v1/events")
    assert await anext(events) == Event("message", 1, "")
    with pytest.raises(Unavailable):
        await anext(events)
    await services.close()
