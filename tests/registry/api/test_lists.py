"""Lists: bytes, names, and how long others may keep them."""

import asyncio
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from registry.api import library
from registry.api.library import Library
from registry.api.models import EPOCH, HEIGHT
from registry.files import write_atomically
from registry.view import PublishedList
from tests.registry.api.conftest import Site
from tests.registry.api.fake_ledger import (
    EPOCH_ENDS_MS,
    make_full,
    make_header,
    make_list,
    make_view,
)
from tests.registry.client.clients import holding, start
from tests.registry.client.factory import make_entries
from tests.registry.client.factory import make_list as make_signed_list

FOREVER = "public, max-age=31536000, immutable"
SHORT = "public, max-age=10"
HEADER = "application/vnd.waypost.header"
FULL = "application/vnd.waypost.full"
DELTA = "application/vnd.waypost.delta"
JSON = "application/json"
BYTES = "application/octet-stream"


def make_file(epoch: int, form: str) -> bytes:
    """Bytes for a list in a form that proves nothing."""
    return f"list {epoch} as {form}".encode()


LISTS: dict[str, tuple[bytes, str, str]] = {
    "/v1/lists/latest": (make_header(EPOCH), HEADER, SHORT),
    f"/v1/lists/{EPOCH}": (make_header(EPOCH), HEADER, SHORT),
    f"/v1/lists/{EPOCH}/full": (make_full(EPOCH), FULL, FOREVER),
    f"/v1/lists/{EPOCH - 1}": (make_header(EPOCH - 1), HEADER, FOREVER),
    f"/v1/lists/{EPOCH - 1}/full": (make_full(EPOCH - 1), FULL, FOREVER),
    "/v1/lists/latest/full": (make_full(EPOCH), FULL, SHORT),
    # from the publication directory
    "/v1/lists/latest/session-json": (make_file(EPOCH, "session-json"), JSON, SHORT),
    "/v1/lists/latest/session-binary": (make_file(EPOCH, "session-binary"), BYTES, SHORT),
    f"/v1/lists/{EPOCH}/session-json": (make_file(EPOCH, "session-json"), JSON, SHORT),
    f"/v1/lists/{EPOCH}/session-binary": (make_file(EPOCH, "session-binary"), BYTES, SHORT),
    f"/v1/lists/{EPOCH - 1}/session-json": (make_file(EPOCH - 1, "session-json"), JSON, SHORT),
    "/v1/lists/7": (make_header(7), HEADER, FOREVER),
    "/v1/lists/7/full": (make_full(7), FULL, FOREVER),
    "/v1/lists/0": (make_header(0), HEADER, FOREVER),
    "/v1/lists/7/delta/5": (make_file(7, "delta"), DELTA, FOREVER),
    f"/v1/lists/{EPOCH}/delta/{EPOCH - 1}": (make_file(EPOCH, "delta"), DELTA, FOREVER),
}


@pytest.fixture
def stocked(site: Site) -> Site:
    """A web side with two older epochs in its publication directory, and unsigned new ones."""
    for epoch in (0, 7):
        folder = site.publish / "lists" / str(epoch)
        write_atomically(folder / "header", make_header(epoch))
        write_atomically(folder / "full", make_full(epoch))
    for epoch, since in ((7, 5), (EPOCH, EPOCH - 1)):
        path = site.publish / "lists" / str(epoch) / "delta" / str(since)
        write_atomically(path, make_file(epoch, "delta"))
    for epoch in (EPOCH - 1, EPOCH):
        for form in ("session-json", "session-binary"):
            path = site.publish / "lists" / str(epoch) / form
            write_atomically(path, make_file(epoch, form))
    return site


@pytest.mark.parametrize(("path", "shown"), LISTS.items(), ids=LISTS.keys())
def test_lists(stocked: Site, path: str, shown: tuple[bytes, str, str]) -> None:
    body, media, caching = shown
    answer = stocked.client.get(path)
    etag = f'"{hashlib.sha256(body).digest()[:16].hex()}"'
    assert answer.status_code == 200
    assert answer.content == body
    expected = {
        "content-type": media,
        "content-length": str(len(body)),
        "etag": etag,
        "cache-control": caching,
        "access-control-allow-origin": "*",
    }
    assert {name: answer.headers[name] for name in expected} == expected

    head = stocked.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert {name: head.headers[name] for name in expected} == expected

    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        same = stocked.client.get(path, headers={"if-none-match": known})
        assert (same.status_code, same.content) == (304, b"")
        assert (same.headers["etag"], same.headers["cache-control"]) == (etag, caching)
    for other in ('"other"', etag.strip('"'), ""):
        assert stocked.client.get(path, headers={"if-none-match": other}).status_code == 200
    assert stocked.ledger.calls == []


RANGES: dict[str, tuple[int, int]] = {
    "bytes=0-0": (0, 1),
    "bytes=10-19": (10, 20),
    "Bytes=990-": (990, 1_001),
    "bytes=1000-": (1_000, 1_001),
    "bytes=0-99999999": (0, 1_001),
    "bytes=-1": (1_000, 1_001),
    "bytes=-5000": (0, 1_001),
    f"bytes=0-{10**19 - 1}": (0, 1_001),
}
"""What each names of the 1,001 bytes of a list."""


@pytest.mark.parametrize(("value", "part"), RANGES.items(), ids=RANGES.keys())
def test_a_part_of_a_list(stocked: Site, value: str, part: tuple[int, int]) -> None:
    first, end = part
    for path in (f"/v1/lists/{EPOCH}/full", "/v1/lists/7/full"):
        body, media, caching = LISTS[path]
        whole = stocked.client.get(path)
        assert whole.headers["accept-ranges"] == "bytes"
        etag = whole.headers["etag"]
        for condition in ({}, {"if-range": etag}):
            answer = stocked.client.get(path, headers={"range": value} | condition)
            assert (answer.status_code, answer.content) == (206, body[first:end])
            expected = {
                "content-range": f"bytes {first}-{end - 1}/{len(body)}",
                "content-length": str(end - first),
                "content-type": media,
                "cache-control": caching,
                "etag": etag,
                "access-control-allow-origin": "*",
            }
            assert {name: answer.headers[name] for name in expected} == expected
        # the bytes changed, or are there already, or nobody wants them
        for ask, headers, status in (
            (stocked.client.get, {"if-range": '"other"'}, 200),
            (stocked.client.get, {"if-range": f"W/{etag}"}, 200),
            (stocked.client.get, {"if-none-match": etag}, 304),
            (stocked.client.head, {}, 200),
        ):
            answer = ask(path, headers={"range": value} | headers)
            assert (answer.status_code, "content-range" in answer.headers) == (status, False)


@pytest.mark.parametrize(
    "value",
    [
        *("", "bytes", "bytes=", "bytes=-", "bytes=0-1,3-4", "bytes=5-4", "bytes=a-b", "lines=0-1"),
        *("bytes=+1-2", "bytes=0-1 ,", f"bytes=0-{10**19}", "bytes=\u0661-\u0662"),
    ],
)
def test_what_is_no_range_gets_the_whole(stocked: Site, value: str) -> None:
    path = f"/v1/lists/{EPOCH}/full"
    answer = stocked.client.get(path, headers=[(b"range", value.encode())])
    assert (answer.status_code, answer.content) == (200, make_full(EPOCH))


@pytest.mark.parametrize("value", ["bytes=1001-", "bytes=1001-1002", "bytes=-0"])
def test_a_range_past_the_end(stocked: Site, value: str) -> None:
    path = f"/v1/lists/{EPOCH}/full"
    answer = stocked.client.get(path, headers={"range": value})
    assert (answer.status_code, answer.json()["type"]) == (416, "range_beyond")
    assert answer.headers["content-range"] == "bytes */1001"
    assert answer.headers["access-control-allow-origin"] == "*"
    whole = stocked.client.get(path, headers={"range": value, "if-range": '"other"'})
    assert whole.status_code == 200


def test_the_manifest_is_what_the_directory_holds_now(stocked: Site) -> None:
    path = "/v1/lists/manifest"
    assert stocked.client.get(path).json()["type"] == "not_found"
    for body in (b'{"format": 1}', b'{"format": 2}'):
        write_atomically(stocked.publish / "manifest.json", body)
        answer = stocked.client.get(path)
        assert (answer.status_code, answer.content) == (200, body)
        assert answer.headers["content-type"] == JSON
        assert answer.headers["cache-control"] == SHORT
        known = {"if-none-match": answer.headers["etag"]}
        assert stocked.client.get(path, headers=known).status_code == 304


def test_what_is_answered_at_once_is_what_an_application_would_send(stocked: Site) -> None:
    """Each list in memory, and none that takes more than a look-up."""
    in_memory = set(stocked.app._lists._ready)
    assert in_memory < set(LISTS)
    for path, (body, _, _) in LISTS.items():
        whole = stocked.client.get(path)
        etag = whole.headers["etag"].encode()
        found = stocked.app.answer_at_once(path.encode(), [(b"host", b"x")])
        same = stocked.app.answer_at_once(path.encode(), [(b"if-none-match", etag)])
        if path not in in_memory:
            assert found is same is None
            continue
        assert found is not None
        assert same is not None
        assert (found.status, found.body) == (200, body)
        assert wire_of(whole.headers.items()) == found.head
        assert (same.status, same.body) == (304, b"")
        again = stocked.client.get(path, headers={"if-none-match": whole.headers["etag"]})
        assert wire_of(again.headers.items()) == same.head
        other = stocked.app.answer_at_once(path.encode(), [(b"if-none-match", b'"other"')])
        assert other == found
    for name in (b"range", b"if-range", b"content-length", b"transfer-encoding", b"expect"):
        assert stocked.app.answer_at_once(b"/v1/lists/latest", [(name, b"1")]) is None


def wire_of(headers: Iterable[tuple[str, str]]) -> bytes:
    """Headers as they go over the wire."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode()


def test_answers_at_once_are_counted(site: Site) -> None:
    def counts() -> set[str]:
        return set(
            re.findall(r'requests_total\{group="lists",.*', site.client.get("/metrics").text)
        )

    site.app.answer_at_once(b"/v1/lists/latest", [])
    site.app.answer_at_once(b"/v1/lists/latest", [(b"if-none-match", b"*")])
    site.app.answer_at_once(b"/v1/lists/nothing", [])
    assert counts() == {
        'requests_total{group="lists",status="2xx"} 1.0',
        'requests_total{group="lists",status="3xx"} 1.0',
    }


NOT_THERE: dict[str, tuple[str, dict[str, Any]]] = {
    "/v1/lists/7/session-json": ("not_kept", {"epoch": 7}),
    "/v1/lists/7/session-binary": ("not_kept", {"epoch": 7}),
    "/v1/lists/8/full": ("not_kept", {"epoch": 8}),
    "/v1/lists/7/delta/4": ("not_kept", {"epoch": 7}),
    f"/v1/lists/{EPOCH + 1}/delta/{EPOCH}": ("not_due", {"epoch": EPOCH + 1}),
    "/v1/lists/7/delta": ("not_found", {}),
    "/v1/lists/7/delta/05": ("not_found", {}),
    "/v1/lists/7/delta/../full": ("not_found", {}),
    "/v1/lists/latest/delta/5": ("not_found", {}),
    f"/v1/lists/{EPOCH + 1}/session-json": ("not_due", {"epoch": EPOCH + 1}),
    f"/v1/lists/{EPOCH}/session": ("not_found", {}),
    f"/v1/lists/{EPOCH}/header": ("not_found", {}),
    f"/v1/lists/{EPOCH}/session-json/": ("not_found", {}),
    f"/v1/lists/0{EPOCH}/session-json": ("not_found", {}),
    f"/v1/lists/{EPOCH}/session-json/../full": ("not_found", {}),
    "/v1/lists/latest/header": ("not_found", {}),
    "/v1/lists/latest/": ("not_found", {}),
    "/v1/lists/newest/full": ("not_found", {}),
}


@pytest.mark.parametrize(("path", "problem"), NOT_THERE.items(), ids=NOT_THERE.keys())
def test_lists_that_are_not_there(stocked: Site, path: str, problem: tuple[str, Any]) -> None:
    code, values = problem
    for method in ("GET", "HEAD"):
        # as it stands: the client would tidy it up
        answer = stocked.run(ask_raw, stocked, method, path)
        assert answer["status"] == 404, method
        # what is not there now may be there soon
        assert "immutable" not in answer["headers"].get("cache-control", "")
    problem_shown = json.loads(stocked.run(ask_raw, stocked, "GET", path)["body"])
    assert problem_shown["type"] == code
    assert values.items() <= problem_shown["values"].items()


async def ask_raw(site: Site, method: str, path: str) -> dict[str, Any]:
    """One request to the application itself."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
    await site.app(scope, receive, send)
    start, *bodies = sent
    return {
        "status": start["status"],
        "headers": {name.decode(): value.decode() for name, value in start["headers"]},
        "body": b"".join(message.get("body", b"") for message in bodies),
    }


@pytest.mark.parametrize("form", ["", "/full", "/session-json", "/session-binary"])
def test_before_the_first_final_list_there_is_no_latest(stocked: Site, form: str) -> None:
    stocked.push(make_view(HEIGHT + 1, latest=None))
    answer = stocked.client.get(f"/v1/lists/latest{form}")
    assert (answer.status_code, answer.headers["retry-after"]) == (404, "10")
    assert answer.json()["values"] == {"what": "final list yet"}


def test_latest_goes_on_with_the_final_list(stocked: Site) -> None:
    path = "/v1/lists/latest/session-json"
    old = stocked.client.get(path).headers["etag"]
    write_atomically(
        stocked.publish / "lists" / str(EPOCH + 1) / "session-json",
        make_file(EPOCH + 1, "session-json"),
    )
    lists = [make_list(EPOCH), make_list(EPOCH + 1, is_frozen=False)]
    stocked.push(make_view(HEIGHT + 1, lists=lists, latest=EPOCH + 1, epoch=EPOCH + 2))
    new = stocked.client.get(path, headers={"if-none-match": old})
    assert new.content == make_file(EPOCH + 1, "session-json")
    full = stocked.client.get("/v1/lists/latest/full")
    assert full.content == make_full(EPOCH + 1)


@pytest.mark.parametrize("form", ["session-json", "session-binary"])
def test_what_proves_nothing_goes_with_its_list(stocked: Site, form: str) -> None:
    """Whether somebody read it before, or its file is still there."""
    path = f"/v1/lists/{EPOCH - 1}/{form}"
    assert stocked.client.get(path).status_code == 200
    stocked.push(make_view(HEIGHT + 1, lists=[make_list(EPOCH)]))
    assert stocked.client.get(path).json()["type"] == "not_kept"
    assert stocked.client.get(f"/v1/lists/{EPOCH}/{form}").status_code == 200


def test_a_new_view_brings_new_lists(site: Site) -> None:
    old = site.client.get("/v1/lists/latest").headers["etag"]
    newer = [make_list(EPOCH), make_list(EPOCH + 1, is_final=False, is_frozen=False)]
    site.push(make_view(HEIGHT + 1, lists=newer, epoch=EPOCH + 2))
    assert site.client.get("/v1/lists/latest").headers["etag"] == old
    assert site.client.get(f"/v1/lists/{EPOCH}").headers["cache-control"] == FOREVER
    assert site.client.get(f"/v1/lists/{EPOCH + 1}").status_code == 200
    # out of memory, and never written
    assert site.client.get(f"/v1/lists/{EPOCH - 1}").json()["type"] == "not_kept"


def test_a_header_that_gains_a_signature_gets_another_name(site: Site) -> None:
    path = f"/v1/lists/{EPOCH}"
    old = site.client.get(path)
    signed = make_list(EPOCH, is_frozen=False)
    more = make_view(HEIGHT + 1)
    more["lists"][1]["header"] = signed.header + bytes(64)
    site.push(more)
    new = site.client.get(path, headers={"if-none-match": old.headers["etag"]})
    assert new.status_code == 200
    assert new.headers["etag"] != old.headers["etag"]


@pytest.mark.parametrize(
    ("epoch", "now_ms", "seconds"),
    [
        (EPOCH + 1, EPOCH_ENDS_MS - 1, 1),
        (EPOCH + 1, EPOCH_ENDS_MS - 1_001, 2),
        (EPOCH + 1, EPOCH_ENDS_MS + 60_000, 1),
        (EPOCH + 3, EPOCH_ENDS_MS - 1_000, 3_601),
    ],
)
def test_a_list_that_is_not_due(site: Site, epoch: int, now_ms: int, seconds: int) -> None:
    site.now_ms = now_ms
    answer = site.client.get(f"/v1/lists/{epoch}")
    assert answer.headers["retry-after"] == str(seconds)
    assert answer.json()["values"] == {"epoch": epoch, "seconds": seconds}


def test_preflight(site: Site) -> None:
    answer = site.client.options(
        "/v1/lists/latest",
        headers={"origin": "https://example.org", "access-control-request-method": "GET"},
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"


def test_only_lists_are_for_every_origin(site: Site) -> None:
    for path in ("/v1/network", "/v1/nodes"):
        answer = site.client.get(path, headers={"origin": "https://example.org"})
        assert "access-control-allow-origin" not in answer.headers


def test_a_problem_has_no_body_for_head(site: Site) -> None:
    answer = site.client.head("/v1/lists/3")
    assert (answer.status_code, answer.content) == (404, b"")
    assert answer.headers["content-type"] == "application/problem+json"


# -------------------------------------------------------------------------------- library


def put(folder: Path, epoch: int, body: bytes) -> None:
    write_atomically(folder / "lists" / str(epoch) / "full", body)


def get_all(books: Library, *epochs: int) -> list[Any]:
    async def ask() -> list[Any]:
        return [await books.get(epoch, "full") for epoch in epochs]

    return asyncio.run(ask())


def test_the_cache_is_bounded_and_drops_what_is_oldest(tmp_path: Path) -> None:
    for epoch in range(4):
        put(tmp_path, epoch, bytes(400))
    books = Library(tmp_path, cache_bytes=1_000)
    get_all(books, 0, 1, 0, 2)
    assert [epoch for epoch, _ in books._cache] == [0, 2]
    assert books._held == 800
    put(tmp_path, 3, bytes(2_000))
    assert get_all(books, 3)[0].body == bytes(2_000)
    assert not books._cache
    assert books._held == 0


def test_what_is_in_the_cache_is_not_read_again(tmp_path: Path) -> None:
    put(tmp_path, 1, b"once")
    books = Library(tmp_path)
    first = get_all(books, 1)[0]
    (tmp_path / "lists" / "1" / "full").unlink()
    assert get_all(books, 1)[0] is first


def test_a_file_is_read_once_for_all_who_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, 1, b"once")
    reads: list[Path] = []
    real = library._read_bounded

    def counted(path: Path) -> bytes | None:
        reads.append(path)
        return real(path)

    monkeypatch.setattr(library, "_read_bounded", counted)
    books = Library(tmp_path)

    async def ask() -> None:
        waiting = [asyncio.create_task(books.get(1, "full")) for _ in range(10)]
        await asyncio.sleep(0)
        # the one who asked first hangs up
        waiting[0].cancel()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(answer.body == b"once" for answer in answers[1:])  # type: ignore[union-attr]

    asyncio.run(ask())
    assert len(reads) == 1


def test_a_file_that_is_too_long_is_none_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "MAX_FILE_BYTES", 10)
    put(tmp_path, 1, bytes(10))
    put(tmp_path, 2, bytes(11))
    found = get_all(Library(tmp_path), 1, 2, 3)
    assert [ready is not None for ready in found] == [True, False, False]


# ---- slices ----

MADE = make_signed_list(entries=make_entries(35, 5))
ACCOUNT = bytes(range(32)).hex()


def push_made(site: Site, *, is_frozen: bool = True) -> None:
    """Have a view whose newest final list is a real one."""
    shown = PublishedList(EPOCH, MADE.signed, True, is_frozen, MADE.full)
    site.push(make_view(HEIGHT + 1, lists=[shown], latest=EPOCH))


@pytest.mark.parametrize(
    ("name", "is_frozen", "caching"),
    [("latest", True, SHORT), (str(EPOCH), True, FOREVER), (str(EPOCH), False, SHORT)],
)
def test_slices(site: Site, name: str, is_frozen: bool, caching: str) -> None:
    push_made(site, is_frozen=is_frozen)
    for account in (ACCOUNT, "05" + ACCOUNT, 64 * "f"):
        answer = site.client.get(f"/v1/lists/{name}/swarm/{account}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/vnd.waypost.slice"
        assert answer.headers["cache-control"] == caching
        client = start(MADE)
        account_id = bytes.fromhex(account)
        assert client.read_slice(answer.content, account_id) == holding(MADE).swarm_of(account_id)
        etag = answer.headers["etag"]
        again = site.client.get(
            f"/v1/lists/{name}/swarm/{account}", headers={"if-none-match": etag}
        )
        assert (again.status_code, again.content) == (304, b"")
    # one swarm, one name of its bytes
    assert len({a.headers["etag"] for a in (answer, site.client.get(answer.url))}) == 1


def test_slices_go_on_with_the_list(site: Site) -> None:
    push_made(site)
    old = site.client.get(f"/v1/lists/latest/swarm/{ACCOUNT}").content
    newer = make_signed_list(entries=make_entries(40, 6))
    shown = PublishedList(EPOCH + 1, newer.signed, True, True, newer.full)
    site.push(make_view(HEIGHT + 2, lists=[shown], latest=EPOCH + 1, epoch=EPOCH + 2))
    new = site.client.get(f"/v1/lists/latest/swarm/{ACCOUNT}").content
    assert new != old
    assert start(newer).read_slice(new, bytes.fromhex(ACCOUNT))
    assert site.client.get(f"/v1/lists/{EPOCH}/swarm/{ACCOUNT}").json()["type"] == "not_kept"


@pytest.mark.parametrize("account", ["", "05", 63 * "a", 65 * "a", 64 * "A", "x" + 63 * "a"])
def test_what_is_no_account_has_no_slice(site: Site, account: str) -> None:
    push_made(site)
    assert site.client.get(f"/v1/lists/latest/swarm/{account}").json()["type"] == "not_found"
