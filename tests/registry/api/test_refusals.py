"""What each endpoint refuses: code, status, and the shape of the problem."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pytest

from ledger.errors import REFUSALS
from registry.addresses import encode_account, encode_node
from registry.api.answers import encode_cursor
from registry.api.problems import (
    MAX_BODY_BYTES,
    MEDIA_TYPE,
    REFUSAL_STATUS,
    SERVICE_PROBLEMS,
    make_problem,
    status_of,
)
from registry.ipc import Busy, Gone, Lost
from tests.registry.api.conftest import Site
from tests.registry.api.fake_ledger import FRESH_UNTIL_MS, make_view, refused

HASH = "ab" * 32
ACCOUNT = encode_account(bytes(32))
NODE = encode_node(bytes(32))
MSGPACK = {"content-type": "application/msgpack"}
TEXT = {"content-type": "text/plain"}
SEND = "/v1/transactions"


def pack(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


class Case(NamedTuple):
    """One request that is refused."""

    request: str
    """Method and path."""
    status: int
    code: str
    says: str = ""
    """Part of the detail."""
    body: Mapping[str, Any] = MappingProxyType({})
    """Arguments for the client."""
    prepare: Callable[[Site], object] = lambda site: None
    headers: Mapping[str, str] = MappingProxyType({})
    """Headers that the answer has."""


def refuse(code: str, **values: int | str) -> Callable[[Site], object]:
    """Have the ledger refuse the transaction `aa`."""
    return lambda site: site.ledger.fates.update({b"\xaa": refused(b"\xaa", code, **values)})


def fail(error: Exception) -> Callable[[Site], object]:
    """Have every call of the ledger fail."""
    return lambda site: setattr(site.ledger, "error", error)


def forget(question: str) -> Callable[[Site], object]:
    """Have the ledger answer "not there"."""
    return lambda site: site.ledger.results.update({question: None})


def age(site: Site) -> None:
    """Let the newest final list get old."""
    site.now_ms = FRESH_UNTIL_MS


def disconnect(site: Site) -> None:
    """Lose the ledger process, but not the view."""
    site.ledger.is_connected = False


def unfinal(site: Site) -> None:
    """Have a view before the first final list."""
    network = {"latest_final": None, "fingerprint": None}
    site.push(make_view(8641, latest=None, lists=[], network=network))


ONE = {"json": {"transaction": "aa"}}

CASES: dict[str, Case] = {
    # sending transactions
    "a body that is no JSON": Case(
        f"POST {SEND}", 400, "bad_request", "JSON",
        {"content": b"{", "headers": {"content-type": "application/json"}},
    ),
    "neither field": Case(f"POST {SEND}", 400, "bad_request", "either", {"json": {}}),
    "both fields": Case(
        f"POST {SEND}", 400, "bad_request", "either",
        {"json": {"transaction": "aa", "transactions": ["aa"]}},
    ),
    "an unknown field": Case(
        f"POST {SEND}", 400, "bad_request", "unknown field", {"json": {"tx": "aa"}}
    ),
    "a field of another type": Case(
        f"POST {SEND}", 400, "bad_request", "transactions[0]", {"json": {"transactions": [1]}}
    ),
    "no transaction": Case(
        f"POST {SEND}", 400, "bad_request", "no transaction", {"json": {"transactions": []}}
    ),
    "what is not hex": Case(
        f"POST {SEND}", 400, "bad_request", "transaction 1 is not hex",
        {"json": {"transactions": ["aa", "ag"]}},
    ),
    "half a byte": Case(
        f"POST {SEND}", 400, "bad_request", "transaction 0 is not hex",
        {"json": {"transaction": "aaa"}},
    ),
    "a body that is no MessagePack": Case(
        f"POST {SEND}", 400, "bad_request", "one binary", {"content": b"\xc1", "headers": MSGPACK}
    ),
    "MessagePack text": Case(
        f"POST {SEND}", 400, "bad_request", "one binary",
        {"content": pack(["aa"]), "headers": MSGPACK},
    ),
    "a bare transaction as MessagePack": Case(
        f"POST {SEND}", 400, "bad_request", "one binary",
        {"content": pack([[1, 2], b""]), "headers": MSGPACK},
    ),
    "no transaction in MessagePack": Case(
        f"POST {SEND}", 400, "bad_request", "no transaction",
        {"content": pack([]), "headers": MSGPACK},
    ),
    "an empty body": Case(f"POST {SEND}", 415, "unsupported_media_type", "application/json"),
    "another content type": Case(
        f"POST {SEND}", 415, "unsupported_media_type", "application/msgpack",
        {"content": b"aa", "headers": TEXT},
    ),
    "one transaction too many": Case(
        f"POST {SEND}", 413, "too_many_transactions", "5001 are more than 5000",
        {"content": pack([b"aa"] * 5_001), "headers": MSGPACK},
    ),
    "a body one byte too long": Case(
        f"POST {SEND}", 413, "body_too_large", str(MAX_BODY_BYTES),
        {"content": bytes(MAX_BODY_BYTES + 1), "headers": MSGPACK},
        headers={"connection": "close"},
    ),
    "another kind of waiting": Case(
        f"POST {SEND}?wait=forever", 400, "bad_request", "query.wait", ONE
    ),
    "one transaction that is refused": Case(
        f"POST {SEND}", 422, "nonce_used", "nonce 4 was used already", ONE,
        refuse("nonce_used", nonce=4, expected=5),
    ),
    "one that is refused after waiting": Case(
        f"POST {SEND}?wait=commit", 422, "nonce_used", "nonce 4 was used already", ONE,
        refuse("nonce_used", nonce=4, expected=5),
    ),
    "one whose bytes are no transaction": Case(
        f"POST {SEND}", 400, "not_canonical", "canonical transaction", ONE,
        refuse("not_canonical", what="transaction"),
    ),
    "one of an unknown kind": Case(
        f"POST {SEND}", 400, "unknown_kind", "kind 99", ONE, refuse("unknown_kind", kind=99)
    ),
    "one that is too long": Case(
        f"POST {SEND}", 400, "too_large", "20000 bytes", ONE,
        refuse("too_large", size=20_000, limit=16_384),
    ),
    "a full pool": Case(
        f"POST {SEND}", 503, "busy", "again", ONE, fail(Busy("")), {"retry-after": "1"}
    ),
    "sending without a ledger process": Case(
        f"POST {SEND}", 503, "unavailable", "again", ONE, fail(Lost("")), {"retry-after": "1"}
    ),
    "reading where only sending is": Case(
        f"GET {SEND}", 405, "method_not_allowed", "POST", headers={"allow": "POST"}
    ),
    # transactions
    "a transaction that was never seen": Case(
        f"GET {SEND}/{HASH}", 404, "not_found", HASH, prepare=forget("transaction")
    ),
    "a hash of another length": Case(f"GET {SEND}/abcd", 400, "bad_request", "path.hash"),
    "a hash that is not hex": Case(f"GET {SEND}/{'zz' * 32}", 400, "bad_request", "path.hash"),
    # nodes
    "a node that is not registered": Case(
        f"GET /v1/nodes/{NODE}", 404, "not_found", NODE, prepare=forget("node")
    ),
    "an account in place of a node": Case(
        f"GET /v1/nodes/{ACCOUNT}", 400, "bad_request", "address of an account"
    ),
    "a node's address with a slip": Case(
        f"GET /v1/nodes/{NODE[:-1]}q", 400, "bad_request", "checksum"
    ),
    "a page of nothing": Case("GET /v1/nodes?limit=0", 400, "bad_request", "query.limit"),
    "a page too long": Case("GET /v1/nodes?limit=201", 400, "bad_request", "query.limit"),
    "a limit that is no number": Case("GET /v1/nodes?limit=x", 400, "bad_request", "query.limit"),
    "a state that does not exist": Case(
        "GET /v1/nodes?state=asleep", 400, "bad_request", "awaiting, queued, active"
    ),
    "a cursor of somebody else": Case("GET /v1/nodes?cursor=a!", 400, "bad_request", "cursor"),
    "a cursor that is too short": Case("GET /v1/nodes?cursor=AAAA", 400, "bad_request", "cursor"),
    "a cursor that is too long": Case(
        f"GET /v1/nodes?cursor={'A' * 500}", 400, "bad_request", "cursor"
    ),
    "a cursor of a height that is gone": Case(
        f"GET /v1/nodes?cursor={encode_cursor(7, bytes(32))}", 410, "height_gone", "first page"
    ),
    "sending a node": Case(
        "POST /v1/nodes", 405, "method_not_allowed", "GET", headers={"allow": "GET"}
    ),
    "nodes while the ledger is busy": Case(
        "GET /v1/nodes", 503, "busy", prepare=fail(Busy("")), headers={"retry-after": "1"}
    ),
    # accounts
    "a node in place of an account": Case(
        f"GET /v1/accounts/{NODE}", 400, "bad_request", "address of a node"
    ),
    "what is no address": Case("GET /v1/accounts/me", 400, "bad_request", "wpa1"),
    "an account without a ledger process": Case(
        f"GET /v1/accounts/{ACCOUNT}", 503, "unavailable", prepare=fail(Lost("")),
        headers={"retry-after": "1"},
    ),
    # the network
    "deleting the network": Case(
        "DELETE /v1/network", 405, "method_not_allowed", "GET", headers={"allow": "GET"}
    ),
    "an epoch that has no header": Case(
        "GET /v1/epochs/9", 404, "not_found", "epoch 9", prepare=forget("epoch")
    ),
    "an epoch below zero": Case("GET /v1/epochs/-1", 400, "bad_request", "path.epoch"),
    "an epoch of 65 bits": Case(f"GET /v1/epochs/{2**64}", 400, "bad_request", "path.epoch"),
    "an epoch that is no number": Case("GET /v1/epochs/new", 400, "bad_request", "path.epoch"),
    "a block that is not there": Case(
        "GET /v1/blocks/9", 404, "not_found", "block 9", prepare=forget("block")
    ),
    "a block below zero": Case("GET /v1/blocks/-1", 400, "bad_request", "path.height"),
    "blocks from nowhere": Case("GET /v1/blocks", 400, "bad_request", "query.start"),
    "too many blocks": Case(
        "GET /v1/blocks?start=1&limit=201", 400, "bad_request", "query.limit"
    ),
    "attestors while the ledger is busy": Case(
        "GET /v1/attestors", 503, "busy", prepare=fail(Busy("")), headers={"retry-after": "1"}
    ),
    "a height that is gone": Case(
        "GET /v1/attestors", 410, "height_gone", prepare=fail(Gone(""))
    ),
    # events
    "an event id that is no height": Case(
        "GET /v1/events", 400, "bad_request", "Last-Event-ID",
        {"headers": {"last-event-id": "new"}},
    ),
    "too many streams": Case(
        "GET /v1/events", 503, "busy",
        prepare=lambda site: setattr(site.app.live.feed, "readers", 256),
        headers={"retry-after": "1"},
    ),
    # lists
    "a list that is not due": Case(
        "GET /v1/lists/49", 404, "not_due", "due in 1740 s",
        headers={"retry-after": "1740", "access-control-allow-origin": "*"},
    ),
    "a whole list that is not due": Case(
        "GET /v1/lists/50/full", 404, "not_due", headers={"retry-after": "3540"}
    ),
    "a list that is not kept": Case(
        "GET /v1/lists/3", 404, "not_kept", headers={"access-control-allow-origin": "*"}
    ),
    "a whole list that is not kept": Case("GET /v1/lists/3/full", 404, "not_kept"),
    "the newest list before the first": Case(
        "GET /v1/lists/latest", 404, "not_found", "final list yet", prepare=unfinal,
        headers={"retry-after": "10"},
    ),
    "a list of no epoch": Case("GET /v1/lists/newest", 404, "not_found", "path"),
    "a list with leading zeros": Case("GET /v1/lists/048", 404, "not_found", "path"),
    "a list in an unknown form": Case("GET /v1/lists/48/half", 404, "not_found", "path"),
    "a path out of the directory": Case(
        "GET /v1/lists/%2e%2e/%2e%2e/full", 404, "not_found", "path"
    ),
    "sending a list": Case(
        "POST /v1/lists/48", 405, "method_not_allowed", "GET, HEAD, OPTIONS",
        headers={"allow": "GET, HEAD, OPTIONS", "access-control-allow-origin": "*"},
    ),
    # health
    "ready with an old list": Case(
        "GET /health/ready", 503, "not_ready", "not fresh any more", prepare=age,
        headers={"retry-after": "1"},
    ),
    "ready without a ledger process": Case(
        "GET /health/ready", 503, "not_ready", "does not answer", prepare=disconnect
    ),
    "ready before the first final list": Case(
        "GET /health/ready", 503, "not_ready", "no list is final", prepare=unfinal
    ),
    # anything
    "a path that does not exist": Case("GET /v1/nothing", 404, "not_found", "path /v1/nothing"),
    "a slash too many": Case("GET /v1/network/", 404, "not_found", "path"),
    "a fault of the service": Case(
        "GET /v1/attestors", 500, "internal", "log", prepare=fail(RuntimeError("secret"))
    ),
    "an answer in another shape": Case(
        "GET /v1/attestors", 500, "internal", "log", prepare=forget("attestors")
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_refusal(site: Site, case: Case) -> None:
    case.prepare(site)
    method, path = case.request.split(" ")
    answer = site.client.request(method, path, **case.body)
    assert answer.status_code == case.status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "detail", "values"]
    assert problem["type"] == case.code
    assert problem["title"] == case.code.replace("_", " ")
    assert problem["status"] == case.status == status_of(case.code)
    assert case.says in problem["detail"]
    assert "secret" not in answer.text
    faults = [line for line in site.logs if line["log_level"] == "error"]
    assert len(faults) == (case.code == "internal")
    for name, value in case.headers.items():
        assert answer.headers[name] == value


BEFORE_A_VIEW = (
    *("/v1/network", "/v1/nodes", f"/v1/nodes/{NODE}", f"/v1/accounts/{ACCOUNT}", "/v1/attestors"),
    *("/v1/epochs/1", "/v1/blocks/1", "/v1/blocks?start=1", "/v1/genesis", "/v1/events"),
    *(f"/v1/transactions/{HASH}", "/v1/lists/latest", "/v1/lists/1", "/v1/lists/1/full"),
)


@pytest.mark.parametrize("path", BEFORE_A_VIEW)
def test_unavailable_before_a_view(blind: Site, path: str) -> None:
    answer = blind.client.get(path)
    assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("wait", ["", "?wait=commit"])
def test_nothing_is_sent_before_a_view(blind: Site, wait: str) -> None:
    answer = blind.client.post(f"{SEND}{wait}", json={"transaction": "aa"})
    assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")


def test_a_process_without_a_view_lives_and_is_not_ready(blind: Site) -> None:
    assert blind.client.get("/health/live").json() == {"status": "live"}
    reasons = blind.client.get("/health/ready").json()["values"]["reasons"]
    assert reasons == "the ledger process does not answer; no view has arrived"


def test_each_code_has_one_meaning() -> None:
    assert not set(SERVICE_PROBLEMS) & set(REFUSALS)
    assert set(REFUSAL_STATUS) <= set(REFUSALS)


def test_a_problem_may_have_its_own_words() -> None:
    body = msgspec.json.decode(make_problem("bad_key", {"field": "x"}, detail="another").body)
    assert body["detail"] == "another"
    assert body["values"] == {"field": "x"}
