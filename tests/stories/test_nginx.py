"""A web server that knows nothing of Waypost serves the same as the service, path by path.

The real nginx, with the configuration that operators are given, and a real web process look at one
publication directory, which a real publisher wrote while epochs ended.
"""

import asyncio
import contextlib
import http.client
import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2
import pytest

from registry import publisher
from registry.api.problems import make_problem
from registry.client import TrustedLists
from registry.client.http import fetch_lists
from registry.manifest import NAME as MANIFEST
from registry.manifest import decode_manifest
from registry.settings import ClientLimits
from registry.view import PublishedList
from scripts.nginx import MISSING, Nginx, find_nginx, run_nginx
from tests.registry.api.fake_ledger import make_view
from tests.registry.api.processes import LedgerProcess, Web, web_process
from tests.registry.published import Served

pytestmark = pytest.mark.skipif(find_nginx() is None, reason=MISSING)

NEWEST: Final = 8
LATEST: Final = 7
KEPT: Final = 5
"""Epochs, so that there are some whose lists are gone."""

PATHS: Final = (
    *("/v1/lists/latest", "/v1/lists/latest/full", "/v1/lists/manifest", "/v1/genesis"),
    *("/v1/lists/latest/session-json", "/v1/lists/latest/session-binary"),
    # not frozen yet, frozen, and so old that the header alone is left
    *(f"/v1/lists/{epoch}" for epoch in (NEWEST, LATEST, 4, 0)),
    *(f"/v1/lists/{epoch}/full" for epoch in (NEWEST, LATEST, 4)),
    *(f"/v1/lists/{NEWEST}/session-json", f"/v1/lists/{LATEST}/session-binary"),
    *(f"/v1/lists/{LATEST}/delta/{start}" for start in (6, 5)),
)
"""Everything that is a file."""

NOT_THERE: Final = {
    f"/v1/lists/{NEWEST + 1}": "not_due",
    f"/v1/lists/{NEWEST + 1}/full": "not_due",
    f"/v1/lists/{NEWEST + 90}/delta/{NEWEST}": "not_due",
    "/v1/lists/0/full": "not_kept",
    "/v1/lists/1/session-json": "not_kept",
    f"/v1/lists/{LATEST}/delta/4": "not_kept",
    f"/v1/lists/0{LATEST}": "not_found",
    f"/v1/lists/{LATEST}/open": "not_found",
    f"/v1/lists/{LATEST}/header": "not_found",
    "/v1/lists/latest/delta/5": "not_found",
    "/v1/lists/": "not_found",
}

SAME: Final = (
    *("content-type", "cache-control", "content-length", "content-range", "allow"),
    *("access-control-allow-origin", "access-control-allow-methods"),
    *("access-control-allow-headers", "access-control-max-age"),
)
"""Headers that have to be equal, or be missing in both."""


class Pair(NamedTuple):
    """Both servers, over one directory."""

    served: Served
    web: Web
    nginx: Nginx

    @property
    def urls(self) -> tuple[str, str]:
        """Where the service answers, and where nginx does."""
        return (self.web.url, self.nginx.url)

    def ask(self, method: str, path: str, **headers: str) -> tuple[Any, Any]:
        """Return the service's answer and that of nginx, once they are found to be equal."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        ours, theirs = (ask(url, method, path, named) for url in self.urls)
        assert theirs.status_code == ours.status_code, path
        shown = {name: ours.headers.get(name) for name in SAME}
        if ours.status_code >= 400:
            # who cannot know when something is due says it in other words
            assert ours.json()["type"] == theirs.json()["type"]
            shown.pop("content-length")
            assert ("retry-after" in ours.headers) == ("retry-after" in theirs.headers)
        else:
            assert theirs.content == ours.content
        assert {name: theirs.headers.get(name) for name in shown} == shown
        assert "last-modified" not in theirs.headers
        return ours, theirs


def ask(url: str, method: str, path: str, headers: dict[str, str]) -> Any:
    return httpx2.request(method, url + path, headers=headers, trust_env=False, timeout=20)


async def publish(folder: Path) -> Served:
    """Have epochs end; the newest list is not final, and some are not kept any more."""
    served = Served(folder)
    await served.publisher.start()
    for number in range(NEWEST):
        await served.block(served.network.register(f"new {number}", "alice"))
        await served.end_epoch()
        await served.publisher.finish()
    return served


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(publisher, "KEPT", KEPT)
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wp")))
        served = asyncio.run(publish(place / "publish"))
        ledger = LedgerProcess(place / "s")
        stack.callback(ledger.end)
        ledger.ledger.view = show(served)
        web = Web(place)
        stack.callback(web.process.communicate)
        stack.callback(web.process.kill)
        web.wait_for("GET /health/ready", lambda answer: "no view" not in str(answer.body))
        nginx = stack.enter_context(run_nginx(place / "nginx", place / "publish"))
        yield Pair(served, web, nginx)


def show(served: Served) -> dict[str, Any]:
    """What the ledger process pushes."""
    lists: list[PublishedList] = served.publisher.lists
    assert (lists[-1].epoch, served.publisher.latest) == (NEWEST, LATEST)
    return make_view(lists=lists, latest=LATEST, epoch=NEWEST + 1, genesis=served.network.raw)


@pytest.mark.parametrize("path", PATHS)
def test_files(pair: Pair, path: str) -> None:
    ours, theirs = pair.ask("GET", path)
    assert ours.status_code == 200
    assert theirs.headers["etag"].startswith('"')
    # the framework's own routes take GET alone, and have other rules
    if path == "/v1/genesis":
        return
    pair.ask("HEAD", path)
    for url, answer in zip(pair.urls, (ours, theirs), strict=True):
        known = {"if-none-match": answer.headers["etag"]}
        same = ask(url, "GET", path, known)
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["cache-control"] == answer.headers["cache-control"]
        assert same.headers["etag"] == answer.headers["etag"]
        assert ask(url, "GET", path, {"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("value", ["bytes=0-9", "bytes=10-", "bytes=-7", "bytes=5-99999999"])
def test_a_range(pair: Pair, value: str) -> None:
    for path in (f"/v1/lists/{LATEST}/full", f"/v1/lists/{LATEST}/delta/6", "/v1/lists/latest"):
        ours, _ = pair.ask("GET", path, range=value)
        assert ours.status_code == 206
        pair.ask("HEAD", path)
        pair.ask("GET", path, range=value, if_range='"other"')
        for url in pair.urls:
            etag = ask(url, "HEAD", path, {}).headers["etag"]
            part = ask(url, "GET", path, {"range": value, "if-range": etag})
            assert (part.status_code, part.content) == (206, ours.content)


@pytest.mark.parametrize(
    ("value", "status"),
    [("bytes=0-1,4-5", 200), ("lines=1-2", 200), ("bytes=99999999-", 416), ("bytes=-0", 416)],
)
def test_a_range_that_gets_no_part(pair: Pair, value: str, status: int) -> None:
    path = f"/v1/lists/{LATEST}/full"
    size = len(pair.served.file(LATEST, "full"))
    for url in pair.urls:
        answer = ask(url, "GET", path, {"range": value})
        assert answer.status_code == status
        assert answer.headers.get("content-range") == (f"bytes */{size}" if status == 416 else None)


@pytest.mark.parametrize(("path", "code"), NOT_THERE.items(), ids=NOT_THERE.keys())
def test_what_is_not_there(pair: Pair, path: str, code: str) -> None:
    ours, theirs = pair.ask("GET", path)
    assert (ours.status_code, ours.json()["type"]) == (404, code)
    assert ("retry-after" in theirs.headers) == (code == "not_due")
    head = ask(pair.nginx.url, "HEAD", path, {})
    assert (head.status_code, head.content) == (404, b"")


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_methods(pair: Pair, method: str) -> None:
    ours, _ = pair.ask(method, "/v1/lists/latest")
    assert ours.status_code == (204 if method == "OPTIONS" else 405)


def test_nothing_else_of_the_directory_is_shown(pair: Pair) -> None:
    for path in ("/manifest.json", "/lists/7/full", "/v1/lists/7/../7/full/", "/latest/full", "/"):
        assert ask(pair.nginx.url, "GET", path, {}).status_code == 404, path


def test_the_manifest_leads_to_the_files(pair: Pair) -> None:
    manifest = decode_manifest(ask(pair.nginx.url, "GET", "/v1/lists/manifest", {}).content)
    assert (manifest.newest, manifest.latest, manifest.oldest) == (NEWEST, LATEST, 4)
    for row in manifest.lists:
        for name, file in row.files.items():
            answer = ask(pair.nginx.url, "GET", path_of(row.epoch, name), {})
            assert len(answer.content) == file.size
            assert ("immutable" in answer.headers["cache-control"]) == file.immutable
    assert (pair.served.folder / MANIFEST).exists()


def path_of(epoch: int, name: str) -> str:
    """Where a file of a list is served."""
    if name.startswith("trust/"):
        start = name.removeprefix("trust/")
        return f"/v1/trust/{epoch}" + ("" if start == "genesis" else f"?from={start}")
    return f"/v1/lists/{epoch}" + ("" if name == "header" else f"/{name}")


def test_trust_paths(pair: Pair) -> None:
    """Those that are files; the service finds the others."""
    for query, status in (
        ("", 200),
        (f"?from={NEWEST}", 200),
        (f"?from={NEWEST - 1}", 200),
        (f"?from={NEWEST - 3}", 404),
        ("?from=../full", 404),
        ("?from=06", 404),
    ):
        path = f"/v1/trust/{NEWEST}{query}"
        answer = ask(pair.nginx.url, "GET", path, {})
        assert answer.status_code == status
        if status == 200:
            pair.ask("GET", path)
            assert answer.headers["content-type"] == "application/vnd.waypost.trust"
            assert "immutable" in answer.headers["cache-control"]


def test_a_client_needs_nothing_else(pair: Pair) -> None:
    network = pair.served.network
    client = TrustedLists(network.raw, network.chain.tip.time_ms)
    fetched = fetch_lists([pair.nginx.url], client)
    assert fetched.source == pair.nginx.url
    assert client.header.epoch == LATEST
    assert len(client.entries) == client.header.node_count


def test_what_is_no_file_comes_from_the_service(pair: Pair, tmp_path: Path) -> None:
    service = f"127.0.0.1:{pair.web.port}"
    swarm = f"/v1/lists/latest/swarm/{64 * 'a'}"
    assert ask(pair.nginx.url, "GET", swarm, {}).json()["type"] == "not_found"
    with run_nginx(tmp_path / "nginx", pair.served.folder, service) as nginx:
        both = pair._replace(nginx=nginx)
        for path in (swarm, "/v1/network", "/health/live", "/v1/nothing"):
            both.ask("GET", path)
        assert ask(nginx.url, "GET", swarm, {}).status_code == 200
        sent = httpx2.post(
            f"{nginx.url}/v1/transactions", json={"transaction": "aa"}, trust_env=False
        )
        assert sent.status_code == 202


def ask_from(port: int, source: str, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
    """Return status and headers of an answer to whoever asks from an address."""
    asking = http.client.HTTPConnection("127.0.0.1", port, 20, (source, 0))
    with contextlib.closing(asking):
        asking.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = asking.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def test_the_service_knows_who_asks_nginx(tmp_path: Path) -> None:
    told = ClientLimits.model_validate(
        # loopback is what all have in this test: only nginx's own address is a proxy's
        {"rate": 1, "burst": 8, "trusted_proxies": ["127.0.0.1/32"]}
    )
    with (
        web_process("--limits", told.model_dump_json()) as (web, _),
        run_nginx(tmp_path / "nginx", tmp_path, f"127.0.0.1:{web.port}") as nginx,
    ):

        def ask_all(source: str, **headers: str) -> list[tuple[int, dict[str, Any]]]:
            return [ask_from(nginx.port, source, "/v1/network", **headers) for _ in range(12)]

        mine = ask_all("127.0.0.2")
        assert mine[0][0] == 200
        refused = next(headers for status, headers in mine if status == 429)
        # the service's own answer, as it is
        assert int(refused["retry-after"]) in (1, 2)
        assert refused["content-type"] == "application/problem+json"
        # others do not pay for it, and a name that somebody gives himself is not believed
        others = ask_all("127.0.0.3", x_forwarded_for="127.0.0.2")
        assert (others[0][0], others[-1][0]) == (200, 429)
        assert ask_from(nginx.port, "127.0.0.3", "/v1/network", x_forwarded_for="1.1.1.1")[0] == 429
        assert ask_from(nginx.port, "127.0.0.4", "/v1/network")[0] == 200


def test_nginx_bounds_what_an_address_has_under_way(tmp_path: Path) -> None:
    with (
        web_process() as (web, _),
        run_nginx(tmp_path / "nginx", tmp_path, f"127.0.0.1:{web.port}") as nginx,
        contextlib.ExitStack() as streams,
    ):
        limits = ClientLimits()
        for number in range(limits.connections):
            # each asks for somebody else, or the service would say that these are too many
            stream = streams.enter_context(socket.create_connection(("127.0.0.1", nginx.port), 20))
            asked = f"X-Forwarded-For: 198.51.100.{number}\r\n"
            stream.sendall(f"GET /v1/events HTTP/1.1\r\nHost: x\r\n{asked}\r\n".encode())
            assert stream.recv(12) == b"HTTP/1.1 200"
        answer = ask(nginx.url, "GET", "/v1/network", {})
        assert answer.status_code == 429
        made = make_problem("too_many_connections", {"limit": limits.connections})
        assert answer.json() == json.loads(made.body)
        assert answer.headers["cache-control"] == made.headers["Cache-Control"]
        assert answer.headers["retry-after"] == "1"
        assert ask_from(nginx.port, "127.0.0.5", "/v1/network")[0] == 200


def test_before_the_first_final_list(tmp_path: Path) -> None:
    served = Served(tmp_path / "publish")
    asyncio.run(served.publisher.start())
    with run_nginx(tmp_path / "nginx", served.folder) as nginx:
        answer = ask(nginx.url, "GET", "/v1/lists/latest", {})
        assert (answer.status_code, answer.headers["retry-after"]) == (404, "10")
        assert answer.json()["values"] == {"what": "final list yet"}
        assert ask(nginx.url, "GET", "/v1/lists/0", {}).status_code == 200
