"""Every page: its markup, its headers, and what stands in its place when it cannot be shown."""

import re
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from registry.addresses import encode_account, encode_node
from registry.api.edge import group_of
from registry.api.limits import BYTES_A_TOKEN
from registry.api.limits import PAGES as PRICED
from registry.api.models import ACCOUNT, HASH, HEIGHT, NODE
from registry.ipc import Busy, Gone, Lost
from registry.web.pages import MENU, PAGES, POLICY
from tests.registry.api.fake_ledger import FakeLedger, make_view
from tests.registry.web.explored import Site, key_of
from tests.registry.web.markup import Read, faults_of

ACCOUNT_ID = "05" + 32 * "ab"

EXAMPLES = {
    "/nodes/{key}": f"/nodes/{encode_node(key_of('town 2'))}",
    "/accounts/{address}": f"/accounts/{encode_account(key_of('erin'))}",
    "/swarms/{swarm}": "/swarms/0",
    "/epochs/{epoch}": "/epochs/3",
    "/blocks/{height}": "/blocks/3",
    "/reports/{height}/{index}": "/reports/3/0",
}
"""A path that shows something, for each that has a name in it and is HTML."""

PATHS = [
    *(page.path for page in PAGES if "{" not in page.path),
    *EXAMPLES.values(),
    f"/swarms?account={ACCOUNT_ID}",
    "/nodes?state=active&open=1&q=zz",
    "/nodes?state=exited",
    "/api",
    "/search?q=3",
    "/search?q=nothing+is+like+this",
    f"/nodes/{encode_node(key_of('shared'))}",
    f"/nodes/{encode_node(key_of('town 0'))}",
    f"/nodes/{encode_node(key_of('late'))}",
]


def test_each_page_has_an_example() -> None:
    """The transaction's is found on a page; the evidence is a file."""
    named = {page.path for page in PAGES if "{" in page.path}
    others = {"/transactions/{hash}", "/reports/{height}/{index}/evidence"}
    assert named == EXAMPLES.keys() | others


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_whole_and_asks_nothing_elsewhere(site: Site, path: str) -> None:
    answer = site.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"
    assert faults_of(answer.text) == []
    assert not re.search(r"https?://(?!www\.w3\.org/)", answer.text)


def test_the_policy_forbids_what_stands_in_a_page_and_all_that_is_elsewhere() -> None:
    directives = dict(part.strip().split(" ", 1) for part in POLICY.split(";"))
    assert directives["default-src"] == "'none'"
    assert {directives[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {
        "'self'"
    }
    assert {directives[name] for name in ("base-uri", "frame-ancestors")} == {"'none'"}
    assert directives["form-action"] == "'self'"


def test_every_link_leads_somewhere(site: Site) -> None:
    found: set[str] = set()
    for path in PATHS:
        links = {link.partition("#")[0] for link in Read(site.get(path).text).links()} - {""}
        assert {page.path for page in MENU} <= links
        found |= links
    assert len(found) > 100
    assert [link for link in sorted(found) if site.get(link).status_code not in (200, 303)] == []


@pytest.mark.parametrize("path", ["/", "/nodes", EXAMPLES["/nodes/{key}"], "/nodes/wpn1oops"])
def test_head_tells_what_get_would(site: Site, path: str) -> None:
    head, get = site.client.head(path), site.get(path)
    assert head.status_code == get.status_code
    for name in ("content-type", "content-length", "etag", "content-security-policy"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_else_is_taken(site: Site, method: str) -> None:
    answer = site.client.request(method, "/nodes")
    assert answer.status_code == 405
    assert answer.json()["type"] == "method_not_allowed"
    assert set(answer.headers["allow"].replace(" ", "").split(",")) == {"GET", "HEAD"}


def test_a_page_that_did_not_change_is_not_sent_again(site: Site) -> None:
    first = site.get("/attestors")
    again = site.get("/attestors", **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == POLICY
    assert site.get("/blocks", **{"If-None-Match": first.headers["etag"]}).status_code == 200


def test_the_description_of_the_api_lists_no_page(site: Site) -> None:
    paths = site.client.get("/openapi.json").json()["paths"]
    assert "/v1/network" in paths
    assert not {page.path for page in PAGES} & paths.keys()
    assert not [path for path in paths if path.startswith("/static")]


def test_the_description_is_made_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site.client.get("/openapi.json")
    assert first.headers["content-type"] == "application/json"
    monkeypatch.delattr(type(site.app.framework), "openapi")
    again = site.client.get("/openapi.json")
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers == first.headers
    etag = {"If-None-Match": first.headers["etag"]}
    kept = site.client.get("/openapi.json", headers=etag)
    assert (kept.status_code, kept.content) == (304, b"")
    assert kept.headers["etag"] == first.headers["etag"]


# ---- What cannot be shown ----


def test_what_is_not_there_is_a_page_for_people_and_a_problem_for_programs(site: Site) -> None:
    page = site.get("/nope")
    assert page.status_code == 404
    assert page.headers["content-security-policy"] == POLICY
    assert "There is no page /nope." in Read(page.text).text
    assert faults_of(page.text) == []
    for path, accept in (
        ("/nope", "*/*"),
        ("/v1/nope", "text/html"),
        ("/static/x.js", "text/html"),
    ):
        problem = site.client.get(path, headers={"Accept": accept})
        assert problem.status_code == 404
        assert problem.json()["type"] == "not_found"


MISSING = {
    f"/nodes/{NODE}": "There is no node with this key",
    "/swarms/12345": "There is no swarm 12345",
    "/epochs/999999": "There is no header of epoch 999999 here.",
    "/blocks/999999": "There is no block 999999 here.",
    f"/transactions/{HASH}": "There is no transaction with this hash here.",
    "/reports/3/7": "There is no report 3/7 here.",
    "/reports/3/7/evidence": "There is no report 3/7 here.",
}

BAD = {
    "/nodes/wpn1oops": "this is no address",
    f"/nodes/{ACCOUNT}": "this is the address of an account",
    f"/accounts/{NODE}": "this is the address of a node",
    "/accounts?address=x": "this is no address",
    "/swarms/x": "swarm: a number from 0 to",
    "/swarms/18446744073709551616": "swarm: a number from 0 to",
    "/epochs/-1": "epoch: a number from 0 to",
    "/epochs/1e3": "epoch: a number from 0 to",
    "/blocks/9223372036854775808": "height: a number from 0 to",
    "/blocks/٣": "height: a number from 0 to",
    "/transactions/abc": "hash: 64 hex digits",
    "/reports/3/4294967296": "index: a number from 0 to 4294967295",
    "/reports?cursor=!": "cursor: it comes from",
    "/nodes?state=flying": "state: one of awaiting",
    "/nodes?sort=luck": "sort: one of key",
    "/nodes?order=sideways": "order: one of up, down",
    "/nodes?page=0": "page: a number from 1 to",
    "/blocks?before=0": "before: a number from 1 to",
    "/swarms?account=05ab": "account: an account id is 66 hex digits",
    f"/search?q={'a' * 201}": "q: at most 200 characters",
}


@pytest.mark.parametrize("path", MISSING | BAD)
def test_what_is_wrong_is_said_in_a_sentence(site: Site, path: str) -> None:
    answer = site.get(path)
    assert answer.status_code == (404 if path in MISSING else 400)
    assert (MISSING | BAD)[path].lower() in Read(answer.text).text.lower()
    assert answer.headers["cache-control"] == "no-store"
    assert "retry-after" not in answer.headers
    assert 'http-equiv="refresh"' not in answer.text
    assert faults_of(answer.text) == []


TROUBLE: dict[str, tuple[Exception, int, str]] = {
    "busy": (Busy("full"), 503, "as much to do as it takes"),
    "gone": (Gone("past"), 410, "The list moved on while you read it."),
    "lost": (Lost("nobody"), 503, "The ledger does not answer."),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_a_ledger_in_trouble(small: Site, name: str) -> None:
    error, status, text = TROUBLE[name]
    small.ledger.error = error
    for path in (f"/nodes/{NODE}", "/blocks", "/epochs", "/attestors", "/reports"):
        answer = small.get(path)
        assert answer.status_code == status
        assert text in Read(answer.text).text
        assert ("retry-after" in answer.headers) == (status == 503)
        assert ('http-equiv="refresh"' in answer.text) == (status == 503)
        assert faults_of(answer.text) == []
    # what the web process knows by itself is still shown
    for path in ("/", "/nodes", "/open", "/swarms", "/verify"):
        assert small.get(path).status_code == 200


def test_a_lost_ledger_is_told_on_the_pages_that_go_on(small: Site) -> None:
    told = f"what is shown here stands at height {HEIGHT:,}"
    assert told not in Read(small.get("/nodes").text).text
    small.ledger.is_connected = False
    assert told in Read(small.get("/nodes").text).text


def test_before_the_first_view_the_service_is_starting(tmp_path: Path) -> None:
    ledger = FakeLedger()
    ledger.view = None
    starting = Site(tmp_path, ledger)
    with starting.client:
        for path in ("/", "/nodes", "/open", "/swarms", f"/nodes/{NODE}", "/search?q=5"):
            answer = starting.get(path)
            assert answer.status_code == 503
            assert "The service has just started and waits for its ledger." in answer.text
            assert answer.headers["retry-after"] == "5"
            assert faults_of(answer.text) == []
        # a page that asks nothing is there
        for path in ("/accounts", "/api", "/verify"):
            answer = starting.get(path)
            assert (path, answer.status_code) == (path, 200)
            assert faults_of(answer.text) == []
        assert "Genesis hash of this service: not known yet" in Read(answer.text).text


def test_what_nobody_expected_is_logged_and_told_without_details(small: Site) -> None:
    small.ledger.results["attestors"] = {"secret": "/home/somebody"}
    with capture_logs() as logs:
        answer = small.get("/attestors")
    assert [(row["event"], row["path"]) for row in logs] == [("page failed", "/attestors")]
    assert answer.status_code == 500
    assert "its log has the details" in answer.text
    assert "secret" not in answer.text
    assert faults_of(answer.text) == []


# ---- Who asks for too much ----

STRANGER = "203.0.113.7"


def spend(site: Site) -> None:
    """Have a stranger owe so much that his share is not there again while a test runs."""
    headers = [(b"x-forwarded-for", STRANGER.encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": None}
    with site.app.limits.admit(scope, "pages") as charge:
        charge(100_000 * BYTES_A_TOKEN)


def test_who_asks_for_too_much_is_told_on_a_page(small: Site) -> None:
    stranger = {"X-Forwarded-For": STRANGER}
    assert small.get("/nodes", **stranger).status_code == 200
    spend(small)
    answer = small.get("/nodes", **stranger)
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["cache-control"] == "no-store"
    seconds = answer.headers["retry-after"]
    assert int(seconds) >= 1
    told = f"asked for more than its share, and can ask again in {seconds} s."
    assert told in Read(answer.text).text
    assert f'http-equiv="refresh" content="{seconds}"' in answer.text
    assert faults_of(answer.text) == []
    assert 'waypost_requests_total{group="pages",status="4xx"} 1.0' in small.get("/metrics").text
    # a program gets the problem, and nobody else is turned away
    for path, accept in (("/nodes", "*/*"), ("/v1/network", "text/html")):
        problem = small.client.get(path, headers=stranger | {"Accept": accept})
        assert (problem.status_code, problem.json()["type"]) == (429, "too_many_requests")
        assert problem.headers["retry-after"]
    assert small.get("/nodes").status_code == 200


def test_every_page_is_of_the_group_of_pages() -> None:
    assert {group_of(page.path) for page in PAGES} == {"pages"}
    assert group_of("/api") == "pages"
    assert {path for path in PRICED if path not in {page.path for page in PAGES}} == set()


# ---- Strangers' texts ----

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;{{7*7}}"


def poison(value: Any) -> Any:
    """The same shape with a hostile text wherever a text stands that is no number."""
    if isinstance(value, dict):
        return {name: poison(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [poison(item) for item in value]
    if isinstance(value, str) and not value.isdigit():
        return HOSTILE
    return value


POISONED = {
    "/attestors": "attestors",
    "/epochs/48": "epoch",
    "/blocks/8640": "block",
    f"/nodes/{NODE}": "node",
    f"/accounts/{ACCOUNT}": "account",
    f"/transactions/{HASH}": "transaction",
}


@pytest.mark.parametrize("path", POISONED)
def test_a_text_of_a_stranger_is_never_markup(small: Site, path: str) -> None:
    name = POISONED[path]
    clean = small.get(path).text
    small.ledger.results[name] = poison(small.ledger.results[name])
    if name == "transaction":
        small.ledger.results[name]["body"] = {
            HOSTILE: {"amount": HOSTILE[:0] + "5", "b": [HOSTILE]}
        }
    page = small.get(path).text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "{{7*7}}" in page
    assert len(Read(page).named("script")) == len(Read(clean).named("script"))
    assert not [
        fault for fault in faults_of(page) if "stands in the page" in fault or " has on" in fault
    ]


@pytest.mark.parametrize("name", ["q", "operator"])
def test_what_somebody_typed_comes_back_as_text(small: Site, name: str) -> None:
    page = small.client.get("/nodes", params={name: HOSTILE}).text
    assert HOSTILE.lower() in [
        e.attributes.get("value", "").lower() for e in Read(page).named("input")
    ]
    assert faults_of(page) == []


def test_a_search_for_markup_finds_nothing(small: Site) -> None:
    page = small.client.get("/search", params={"q": HOSTILE}).text
    assert "&lt;script&gt;" in page
    assert faults_of(page) == []


def test_a_hostile_name_of_a_network_is_text(small: Site) -> None:
    network = {"chain": HOSTILE}
    small.client.portal.call(small.ledger.push, make_view(HEIGHT + 1, network=network))  # type: ignore[union-attr]
    page = small.get("/").text
    assert "<script>alert" not in page
    assert faults_of(page) == []


# ---- These tests can fail ----


def test_the_checker_finds_what_is_wrong() -> None:
    bad = (
        '<!doctype html><html lang="en"><head><title>x</title><style>a{}</style></head><body>'
        '<header></header><main id="a"><h1>x</h1><h3>y</h3><p id="a" style="x">z</div>'
        '<input id="q"><img src="https://elsewhere/x"></main><footer></footer></body></html>'
    )
    faults = " ".join(faults_of(bad))
    for wanted in (
        *("h3 follows h1", "id a 2 times", "has style", "has no label", "has no text"),
        *("asks https://elsewhere/x", "<style> stands in the page", "</div> inside"),
    ):
        assert wanted in faults
