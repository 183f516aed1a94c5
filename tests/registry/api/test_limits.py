"""What one client address gets: who it is, what it pays, and that nobody else pays for it."""

import asyncio
import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import ValidationError
from starlette.types import Message, Receive, Scope, Send

from registry.api import limits
from registry.api.app import make_app
from registry.api.edge import Edge, group_of
from registry.api.limits import (
    BYTES_A_TOKEN,
    COSTS,
    OTHER_COST,
    PAGES,
    Buckets,
    Counts,
    Limits,
    cost_of,
)
from registry.api.problems import MAX_BODY_BYTES, ProblemAnswer, ProblemError
from registry.metrics import WebMetrics
from registry.settings import ClientLimits, Settings, load_settings
from tests.registry.api.fake_ledger import FakeLedger
from tests.registry.api.processes import Answer, Web, head_of, web_process

DOCS: Final = Path(__file__).parents[3] / "docs"
ALICE: Final = b"\x01\x02\x03\x04"
BOB: Final = b"\x05\x06\x07\x08"
PROXIES: Final = ("127.0.0.0/8", "::1/128", "192.0.2.0/24", "2001:db8::/32")


class Watch:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


def settings(**changed: Any) -> ClientLimits:
    return ClientLimits.model_validate(changed)


def scope_of(
    peer: str | None, *forwarded: str, method: str = "GET", path: str = "/v1/network"
) -> Scope:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "client": None if peer is None else (peer, 4_711),
        "headers": [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded],
    }


# ------------------------------------------------------------------------------- who it is

CLIENTS: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "a client of its own": ("203.0.113.7", (), "203.0.113.7"),
    "an address mapped into IPv6": ("::ffff:203.0.113.7", (), "203.0.113.7"),
    "a client that claims to be a proxy": ("203.0.113.7", ("198.51.100.1",), "203.0.113.7"),
    "a proxy": ("127.0.0.1", ("203.0.113.7",), "203.0.113.7"),
    "a proxy with IPv6": ("::1", ("2a00:1:2:3:4::5",), "2a00:1:2:3::"),
    "a proxy mapped into IPv6": ("::ffff:192.0.2.9", ("203.0.113.7",), "203.0.113.7"),
    "a proxy behind a proxy": ("127.0.0.1", ("203.0.113.7, 192.0.2.9",), "203.0.113.7"),
    "two lines": ("127.0.0.1", ("203.0.113.7", "192.0.2.9"), "203.0.113.7"),
    "what a client wrote itself": ("127.0.0.1", ("1.1.1.1, 203.0.113.7",), "203.0.113.7"),
    "what a client wrote as a proxy": (
        "127.0.0.1",
        ("1.1.1.1, 203.0.113.7, 192.0.2.9",),
        "203.0.113.7",
    ),
    "a mapped address in the header": ("127.0.0.1", ("::ffff:203.0.113.7",), "203.0.113.7"),
    "no spaces, many spaces": ("127.0.0.1", ("1.1.1.1,  203.0.113.7 ",), "203.0.113.7"),
    "a proxy that asks for itself": ("127.0.0.1", ("192.0.2.9",), "192.0.2.9"),
    "this machine, by its own proxy": ("127.0.0.1", ("127.0.0.1",), "127.0.0.1"),
    "a proxy that says nothing": ("192.0.2.9", (), "192.0.2.9"),
    "an empty header": ("127.0.0.1", ("",), "127.0.0.1"),
    "rubbish": ("127.0.0.1", ("unknown",), "127.0.0.1"),
    "rubbish that is not ASCII": ("127.0.0.1", ("\xe9\xff, \xb2",), "127.0.0.1"),
    "an address with a port": ("192.0.2.9", ("203.0.113.7:80",), "192.0.2.9"),
    "rubbish before a proxy": ("127.0.0.1", ("unknown, 192.0.2.9",), "192.0.2.9"),
    "more hops than are looked at": ("127.0.0.1", ("1.1.1.1" + ", 127.0.0.1" * 16,), "127.0.0.1"),
    "as many hops as are looked at": ("127.0.0.1", ("1.1.1.1" + ", 127.0.0.1" * 15,), "1.1.1.1"),
    "a megabyte of commas": ("127.0.0.1", ("," * 1_000_000,), "127.0.0.1"),
}
"""The far side, its header, and the address (the first one of a /64) that pays."""


@pytest.mark.parametrize(("peer", "forwarded", "address"), CLIENTS.values(), ids=CLIENTS.keys())
def test_who_asks(peer: str, forwarded: tuple[str, ...], address: str) -> None:
    made = Limits(settings(trusted_proxies=PROXIES), WebMetrics())
    found = made.find_client(scope_of(peer, *forwarded))
    assert found == ip_address(address).packed[:8]


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", None])
def test_programs_on_this_machine_are_not_limited(peer: str | None) -> None:
    assert Limits(settings(), WebMetrics()).find_client(scope_of(peer)) is None
    assert Limits(settings(limit_local=True), WebMetrics()).find_client(scope_of(peer)) is not None


def test_an_ipv6_subscriber_is_one_client() -> None:
    made = Limits(settings(), WebMetrics())
    one, same, other = (
        made.find_client(scope_of(address))
        for address in ("2a00:1:2:3::1", "2a00:1:2:3:ffff::2", "2a00:1:2:4::1")
    )
    assert one == same != other


def test_without_trusted_proxies_the_header_is_only_a_sign_of_one() -> None:
    made = Limits(settings(trusted_proxies=()), WebMetrics())
    assert made.find_client(scope_of("127.0.0.1", "203.0.113.7")) == bytes((127, 0, 0, 1))


# ------------------------------------------------------------------------------- what it pays


def test_a_bucket_holds_a_burst_and_fills_again(watch: Watch) -> None:
    buckets = Buckets(rate=2, burst=10, clock=watch)
    assert [buckets.take(ALICE, 4) for _ in range(3)] == [0, 0, 1]
    # two are left, and one second brings the two that are missing
    watch.now += 0.9
    assert buckets.take(ALICE, 4) == 1
    watch.now += 0.1
    assert buckets.take(ALICE, 4) == 0
    assert buckets.take(ALICE, 10) == 5
    # refusals cost nothing, so whoever waits as long as he was told gets it
    watch.now += 5
    assert buckets.take(ALICE, 10) == 0
    watch.now += 1_000
    assert [buckets.take(ALICE, 5) for _ in range(3)] == [0, 0, 3]


def test_clients_do_not_pay_for_each_other(watch: Watch) -> None:
    buckets = Buckets(rate=1, burst=10, clock=watch)
    assert buckets.take(ALICE, 10) == 0
    assert buckets.take(ALICE, 1) == 1
    assert buckets.take(BOB, 10) == 0


def test_a_debt_is_paid_by_waiting(watch: Watch) -> None:
    buckets = Buckets(rate=10, burst=10, clock=watch)
    buckets.charge(ALICE, 100)
    assert buckets.take(ALICE, 1) == 10
    watch.now += 9
    assert buckets.take(ALICE, 1) == 1
    watch.now += 1
    assert buckets.take(ALICE, 10) == 0


def test_what_costs_more_than_a_bucket_holds_takes_a_full_one(watch: Watch) -> None:
    buckets = Buckets(rate=1, burst=3, clock=watch)
    assert buckets.take(ALICE, 8) == 0
    assert buckets.take(ALICE, 8) == 3


def test_a_rate_of_zero_limits_nobody(watch: Watch) -> None:
    buckets = Buckets(rate=0, burst=1, clock=watch)
    buckets.charge(ALICE, 10_000)
    assert [buckets.take(ALICE, 8) for _ in range(100)] == [0] * 100
    assert len(buckets) == 0


def test_many_addresses_neither_grow_the_table_nor_wipe_out_a_debt(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS", 1_024)
    monkeypatch.setattr(limits, "FREED", 256)
    buckets = Buckets(rate=1, burst=100, clock=watch)
    buckets.charge(ALICE, 10_000)
    assert buckets.take(BOB, 100) == 0
    for number in range(5_000):
        assert buckets.take(b"6" + number.to_bytes(7, "big"), 1) == 0
        assert len(buckets) <= 1_024
    # neither of the two was forgotten meanwhile
    assert buckets.take(BOB, 1) == 1
    assert buckets.take(ALICE, 1) == 9_901


def test_costs() -> None:
    assert cost_of("GET", "/v1/lists/latest/full", "lists") == 0
    assert cost_of("HEAD", "/v1/lists/latest/full", "lists") == 0
    assert cost_of("OPTIONS", "/v1/transactions", "transactions") == 0
    assert cost_of("GET", "/v1/lists/latest/swarm/" + 64 * "a", "lists") == 2
    assert cost_of("GET", "/v1/nodes", "nodes") == 2
    assert cost_of("DELETE", "/v1/lists/latest", "lists") == 2
    assert cost_of("GET", "/metrics", "metrics") == 2
    assert cost_of("GET", "/openapi.json", "openapi.json") == 0
    assert cost_of("GET", "/wp-login.php", "other") == 4
    assert cost_of("PUT", "/wp-login.php", "other") == 2
    assert cost_of("POST", "/v1/transactions", "transactions") == 8
    # so that a burst lets everything through at least once
    assert max(COSTS.values()) <= ClientLimits().burst


PRICES: Final = {
    "/": 4,
    "/nodes": 10,
    "/nodes/wpn1": 4,
    "/open": 10,
    "/search": 10,
    "/swarms": 10,
    "/swarms/7": 10,
    "/epochs": 24,
    "/epochs/7": 4,
    "/blocks": 4,
    "/api": 4,
}


@pytest.mark.parametrize(("path", "price"), PRICES.items())
def test_a_page_costs_what_it_takes(path: str, price: int) -> None:
    assert cost_of("GET", path, group_of(path)) == price
    assert cost_of("HEAD", path, group_of(path)) == price


def test_every_path_has_a_group_and_every_price_a_path() -> None:
    document = make_app(FakeLedger(), Path("nowhere")).framework.openapi()
    groups = {group_of(path) for path in document["paths"]}
    assert "other" not in groups
    beside = {"openapi.json", "other", "pages", "slices", "static", *PAGES.values()}
    assert {group for _, group in COSTS} <= groups | beside


# ----------------------------------------------------------------------------- at the edge


class Visited:
    """An edge over an application that reads the body and counts who came."""

    def __init__(self, watch: Watch, **changed: Any) -> None:
        self.metrics = WebMetrics()
        self.visits = 0
        self.edge = Edge(self, self.metrics, Limits(settings(**changed), self.metrics, watch))
        self.going_on = asyncio.Event()
        self.going_on.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.visits += 1
        while (await receive())["more_body"]:
            pass
        await self.going_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(
        self, scope: Scope, *pieces: bytes
    ) -> tuple[int, dict[bytes, bytes], dict[str, Any], int]:
        """Return status, headers, problem and how many pieces of the body were read."""
        left = list(pieces) or [b""]
        sent: list[Message] = []

        async def receive() -> Message:
            piece = left.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(left)}

        async def send(message: Message) -> None:
            sent.append(message)

        await self.edge(scope, receive, send)
        body = sent[-1]["body"]
        read = len(pieces) - len(left)
        problem = json.loads(body) if body else {}
        return sent[0]["status"], dict(sent[0]["headers"]), problem, read

    def counted(self, limit: str) -> int:
        """How often something was turned away."""
        for line in self.metrics.render().decode().splitlines():
            if line.startswith(f'waypost_limited_total{{limit="{limit}"}}'):
                return int(float(line.split()[-1]))
        return 0


def test_a_request_too_many_is_told_when_to_come_back(watch: Watch) -> None:
    async def story() -> None:
        site = Visited(watch, rate=1, burst=4)
        scope = scope_of("203.0.113.7")
        assert [(await site.ask(scope))[0] for _ in range(3)] == [200, 200, 429]
        status, headers, problem, _ = await site.ask(scope)
        assert (status, headers[b"retry-after"], headers[b"cache-control"]) == (
            429,
            b"2",
            b"no-store",
        )
        assert headers[b"content-type"] == b"application/problem+json"
        assert (problem["type"], problem["values"]) == ("too_many_requests", {"seconds": 2})
        assert (site.visits, site.counted("rate")) == (2, 2)
        assert 'waypost_requests_total{group="network",status="4xx"} 2.0' in (
            site.metrics.render().decode()
        )
        # others, what is free, and the operator's own programs are served
        assert (await site.ask(scope_of("203.0.113.8")))[0] == 200
        assert (await site.ask(scope_of("203.0.113.7", path="/v1/lists/4")))[0] == 200
        assert (await site.ask(scope_of("127.0.0.1")))[0] == 200
        # the same client, by the proxy
        assert (await site.ask(scope_of("127.0.0.1", "203.0.113.7")))[0] == 429
        watch.now += 2
        assert (await site.ask(scope))[0] == 200

    asyncio.run(story())


def test_a_body_is_paid_for_as_it_comes_and_that_of_a_refused_request_is_read_off(
    watch: Watch,
) -> None:
    async def story() -> None:
        site = Visited(watch, rate=1, burst=100)
        scope = scope_of("203.0.113.7", method="POST", path="/v1/transactions")
        half = bytes(MAX_BODY_BYTES // 2)
        # it begins with a full bucket, and ends with a debt
        assert (await site.ask(scope, half, half))[0] == 200
        paid = COSTS["POST", "transactions"] + MAX_BODY_BYTES / BYTES_A_TOKEN
        status, headers, _, read = await site.ask(scope, half, half, b"")
        assert (status, read, site.visits) == (429, 3, 1)
        # until what the next one costs is there
        wait_s = paid - 100 + COSTS["POST", "transactions"]
        assert headers[b"retry-after"] == str(ceil(wait_s)).encode()
        # what was refused costs nothing
        watch.now += wait_s
        assert (await site.ask(scope, b""))[0] == 200

    asyncio.run(story())


def test_a_refused_body_that_is_too_long_is_not_read_for_ever(watch: Watch) -> None:
    async def story() -> None:
        site = Visited(watch, rate=1, burst=8)
        scope = scope_of("203.0.113.7", method="POST", path="/v1/transactions")
        assert (await site.ask(scope))[0] == 200
        status, _, _, read = await site.ask(scope, *[bytes(1_000_000)] * 100)
        assert (status, read) == (429, 17)

    asyncio.run(story())


def test_streams_are_counted_while_they_are_open(watch: Watch) -> None:
    async def story() -> None:
        site = Visited(watch, streams=2)
        scope = scope_of("203.0.113.7", path="/v1/events")
        site.going_on.clear()
        opened = [asyncio.create_task(site.ask(scope)) for _ in range(2)]
        while site.visits < 2:
            await asyncio.sleep(0)
        status, _, problem, _ = await site.ask(scope)
        assert (status, problem["type"]) == (429, "too_many_streams")
        assert (problem["values"], site.counted("streams")) == ({"limit": 2}, 1)
        other = asyncio.create_task(site.ask(scope_of("203.0.113.8", path="/v1/events")))
        while site.visits < 3:
            await asyncio.sleep(0)
        # one that broke off makes room as well as one that ended
        opened[0].cancel()
        await asyncio.wait([opened[0]])
        site.going_on.set()
        assert (await site.ask(scope))[0] == 200
        assert ((await opened[1])[0], (await other)[0], site.visits) == (200, 200, 4)
        assert [(await site.ask(scope))[0] for _ in range(5)] == [200] * 5

    asyncio.run(story())


def test_counts_forget_whoever_has_nothing_open() -> None:
    counts = Counts(1)
    assert (counts.enter(ALICE), counts.enter(ALICE), counts.enter(BOB)) == (True, False, True)
    counts.leave(ALICE)
    assert counts.enter(ALICE)
    counts.leave(ALICE)
    counts.leave(BOB)
    assert counts._open == {}


def test_connections_of_proxies_are_those_of_many() -> None:
    metrics = WebMetrics()
    made = Limits(settings(trusted_proxies=PROXIES, connections=1), metrics)
    for peer in ("127.0.0.1", "192.0.2.9", "2001:db8::1", None):
        assert [made.connect(peer) for _ in range(3)] == [None] * 3
    client = made.connect("203.0.113.7")
    assert isinstance(client, bytes)
    refused = made.connect("203.0.113.7")
    assert isinstance(refused, ProblemAnswer)
    assert (refused.status, json.loads(refused.body)["type"]) == (429, "too_many_connections")
    assert isinstance(made.connect("203.0.113.8"), bytes)
    made.disconnect(client)
    assert made.connect("203.0.113.7") == client
    assert 'waypost_limited_total{limit="connections"} 1.0' in metrics.render().decode()
    # without trust in loopback it is for `limit_local` to say
    assert Limits(settings(trusted_proxies=()), metrics).connect("127.0.0.1") is None
    told = Limits(settings(trusted_proxies=(), limit_local=True), metrics)
    assert told.connect("127.0.0.1") is not None


def test_admission_ends_with_an_exception_too(watch: Watch) -> None:
    made = Limits(settings(streams=1), WebMetrics(), watch)
    scope = scope_of("203.0.113.7", path="/v1/events")
    with pytest.raises(KeyError), made.admit(scope, "events"):
        raise KeyError
    with made.admit(scope, "events"), pytest.raises(ProblemError), made.admit(scope, "events"):
        raise AssertionError("that is one too many")


# --------------------------------------------------------------------------- as a process


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    """A process that limits this machine too, and trusts what comes from 127.0.0.9."""
    told = settings(
        rate=1, burst=8, connections=3, limit_local=True, trusted_proxies=("127.0.0.9/32",)
    )
    # the ledger's arrival is waited for by paths that cost nothing
    with web_process("--limits", told.model_dump_json()) as (web, _):
        yield web


SOURCE: Final = (f"127.0.1.{number}" for number in count(1))
"""An address for each that asks."""


def ask(web: Web, source: str, request: str, headers: str = "") -> Answer:
    with web.connect(source=source) as sock:
        sock.sendall(head_of(request, f"{headers}Connection: close\r\n"))
        return Answer.read(sock)


def test_a_process_limits_each_address(web: Web) -> None:
    source = next(SOURCE)
    statuses = [ask(web, source, "GET /v1/network").status for _ in range(9)]
    assert statuses[:4] == [200] * 4
    assert 429 in statuses
    # on a slow machine a token comes in between
    refused = next(
        answer
        for answer in (ask(web, source, "GET /v1/network") for _ in range(20))
        if answer.status == 429
    )
    assert refused.code == "too_many_requests"
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert ask(web, source, "GET /v1/lists/latest").status == 200
    assert ask(web, next(SOURCE), "GET /v1/network").status == 200
    assert b'waypost_limited_total{limit="rate"}' in ask(web, next(SOURCE), "GET /metrics").body


def test_a_process_reads_who_is_behind_the_proxy_it_trusts(web: Web) -> None:
    def statuses(source: str, headers: str) -> list[int]:
        return [ask(web, source, "GET /v1/network", headers).status for _ in range(10)]

    assert 429 in statuses("127.0.0.9", "X-Forwarded-For: 203.0.113.7\r\n")
    assert statuses("127.0.0.9", "X-Forwarded-For: 203.0.113.8\r\n")[0] == 200
    # nobody else may say who he is
    source = next(SOURCE)
    assert 429 in statuses(source, "")
    forged = [f"X-Forwarded-For: 203.0.113.{number}\r\n" for number in range(9, 19)]
    assert 429 in [ask(web, source, "GET /v1/network", each).status for each in forged]


def test_a_process_turns_away_a_connection_too_many(web: Web) -> None:
    source = next(SOURCE)
    with ExitStack() as stack:
        for _ in range(3):
            sock = stack.enter_context(web.connect(source=source))
            sock.sendall(head_of("GET /v1/lists/latest"))
            assert sock.recv(12) == b"HTTP/1.1 200"
        with web.connect(source=source) as sock:
            answer = Answer.read(sock)
        assert (answer.status, answer.code) == (429, "too_many_connections")
        assert answer.headers["connection"] == "close"
        assert ask(web, next(SOURCE), "GET /v1/network").status == 200
        # the proxy's are not counted
        for _ in range(5):
            stack.enter_context(web.connect(source="127.0.0.9"))
    web.wait_for(
        "GET /health/live", lambda answer: ask(web, source, "GET /health/live").status == 200
    )


# ------------------------------------------------------------------------------- settings


def test_the_table_of_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text(
        'port = 1\n[limits]\nrate = 7\ntrusted_proxies = ["10.0.0.0/8", "fd00::/8"]\n'
    )
    read = load_settings(tmp_path, {}).limits
    assert (read.rate, read.burst) == (7, ClientLimits().burst)
    assert [str(prefix) for prefix in read.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]
    # as the supervisor hands it on
    assert ClientLimits.model_validate_json(read.model_dump_json()) == read
    whole = load_settings(tmp_path, {})
    assert Settings.model_validate_json(whole.model_dump_json()) == whole
    monkeypatch.setenv("WAYPOST_LIMITS", '{"rate": 0}')
    assert load_settings(tmp_path, {}).limits == ClientLimits(rate=0)


@pytest.mark.parametrize(
    "changed",
    [
        {"rate": -1},
        {"burst": 0},
        {"connections": 0},
        {"streams": 0},
        {"trusted_proxies": ["10.0.0.1/8"]},
        {"trusted_proxies": ["localhost"]},
        {"rates": 1},
    ],
    ids=str,
)
def test_settings_that_make_no_sense(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**changed)


def test_the_docs_show_the_defaults() -> None:
    page = (DOCS / "operating" / "publication.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(\[limits\]\n.*?)```", page, re.DOTALL)
    table = tomllib.loads(shown)["limits"]
    assert list(table) == list(ClientLimits.model_fields)
    others = {name: value for name, value in table.items() if name != "trusted_proxies"}
    assert settings(**others) == ClientLimits()
    defaults = [str(prefix) for prefix in ClientLimits().trusted_proxies]
    assert table["trusted_proxies"][:2] == defaults
    bounds = (DOCS / "api.md").read_text(encoding="utf-8").partition("## Bounds")[2]
    assert f"earns {ClientLimits().rate} tokens a second and\nhas {ClientLimits().burst}" in bounds
    prices = dict(re.findall(r"^\| ([^|]+) \| (\d+) \|$", bounds.partition("\n## ")[0], re.M))
    assert [int(price) for price in prices.values()] == [24, 10, 8, 4, OTHER_COST, 1]
    assert set(COSTS.values()) - {0, OTHER_COST} == {24, 10, 8, 4}
    assert (ClientLimits().connections, ClientLimits().streams) == (64, 8)
