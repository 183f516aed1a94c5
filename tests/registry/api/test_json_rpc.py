"""JSON-RPC: what is asked for, what is answered, what is refused."""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.api import rpc_methods
from registry.api.json_rpc import PATH, SHORT_BYTES
from registry.api.models import ACCOUNT, HASH, HEIGHT, KEY, example_of
from registry.api.models import Block as BlockShape
from registry.api.node_table import FIELDS
from registry.api.rpc_methods import ALIASES, AT_A_TIME, MAX_HEIGHTS, METHODS, TOP_FIELDS
from registry.ipc import Busy, Gone, Lost
from tests.registry.api.conftest import Site
from tests.registry.api.fake_ledger import (
    ACTIVE_NODES,
    SESSION_NODES,
    UNREACHABLE_NODE,
    WAITING_NODE,
    entries_of,
    make_block_hash,
    make_node,
    make_view,
    push_of,
)
from tests.registry.session_client import (
    DESKTOP,
    ROUTER,
    STORAGE_SERVER,
    check_desktop,
    check_router,
    check_storage_server,
    result_of,
)

NODES = ("get_service_nodes", "get_n_service_nodes", "get_all_service_nodes")
NEWEST = make_block_hash(HEIGHT)
KEYS = [row.service_node_pubkey for row in SESSION_NODES]
USABLE = [key for key in KEYS if key in {row.service_node_pubkey for row in ACTIVE_NODES}]


def keys_of(result: Mapping[str, Any]) -> list[str]:
    """The keys of the nodes in a result, in its order."""
    return [row["service_node_pubkey"] for row in result["service_node_states"]]


# --------------------------------------------------------------------------------- clients


@pytest.mark.parametrize("method", NODES)
def test_clients_take_the_nodes(site: Site, method: str) -> None:
    def ask(params: Any) -> bytes:
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params})
        answer = site.client.post(PATH, content=body, headers={"content-type": "text/plain"})
        assert answer.headers["content-type"] == "application/json"
        return answer.content

    taken = check_desktop(ask(DESKTOP), "application/json")
    assert [row["pubkey_ed25519"] for row in taken] == USABLE
    stored = check_storage_server(result_of(ask(STORAGE_SERVER)))
    assert stored is not None
    assert [row["service_node_pubkey"] for row in stored] == KEYS
    routed = check_router(result_of(ask(ROUTER)))
    assert routed is not None
    assert len(routed) == len(KEYS)
    # nobody had to ask the ledger process
    assert site.ledger.calls == []


def test_clients_that_poll(site: Site) -> None:
    for params, check in ((STORAGE_SERVER, check_storage_server), (ROUTER, check_router)):
        poll = dict(params) | {"poll_block_hash": NEWEST}
        assert check(json.dumps(site.result("get_service_nodes", poll)).encode()) is None
    site.push(make_view(HEIGHT + 1))
    for params, check in ((STORAGE_SERVER, check_storage_server), (ROUTER, check_router)):
        poll = dict(params) | {"poll_block_hash": NEWEST}
        assert check(json.dumps(site.result("get_service_nodes", poll)).encode())


# ------------------------------------------------------------------------- which nodes, and how


def test_everything_there_is(site: Site) -> None:
    result = site.result("get_service_nodes")
    states = result.pop("service_node_states")
    assert states == entries_of(SESSION_NODES)
    assert [list(row) for row in states] == [list(FIELDS)] * len(SESSION_NODES)
    assert result == {
        "status": "OK",
        "height": HEIGHT,
        "target_height": HEIGHT,
        "hardfork": 21,
        "snode_revision": 0,
        "block_hash": NEWEST,
    }


class Choice(NamedTuple):
    """Parameters, and what they choose."""

    params: Any
    top: Set[str] = frozenset(TOP_FIELDS)
    entry: Set[str] = frozenset(FIELDS)
    keys: Sequence[str] = KEYS


ONE, TWO = USABLE[3], USABLE[1]
UNREACHABLE, WAITING = UNREACHABLE_NODE.service_node_pubkey, WAITING_NODE.service_node_pubkey

CHOICES: dict[str, Choice] = {
    "no parameters": Choice({}),
    "null": Choice(None),
    "an empty array": Choice([]),
    "parameters that are null": Choice(
        dict.fromkeys(("active_only", "fields", "limit", "service_node_pubkeys", "poll_block_hash"))
    ),
    "a parameter that nobody knows": Choice({"include_json": False}),
    "active only": Choice({"active_only": True}, keys=USABLE),
    "not active only": Choice({"active_only": False}),
    "no names": Choice({"fields": []}),
    "no names in an object": Choice({"fields": {}}),
    "all": Choice({"fields": ["all"]}),
    "all in an object": Choice({"fields": {"all": True}}),
    "all and a name": Choice({"fields": ["public_ip", "all"]}),
    "all but two": Choice(
        {"fields": ["all", "-swarm", "-height"]},
        top=set(TOP_FIELDS) - {"height"},
        entry=set(FIELDS) - {"swarm"},
    ),
    "a name": Choice({"fields": ["public_ip"]}, top=set(), entry={"public_ip"}),
    "a name in an object": Choice({"fields": {"public_ip": True}}, top=set(), entry={"public_ip"}),
    "a name that is not wanted": Choice(
        {"fields": {"public_ip": True, "swarm": False}}, top=set(), entry={"public_ip"}
    ),
    "no name that is wanted": Choice({"fields": {"public_ip": False}}),
    "names of the top": Choice(
        {"fields": ["height", "hardfork"]}, top={"height", "hardfork"}, entry=set()
    ),
    "names of both": Choice(
        {"fields": ["block_hash", "active"]}, top={"block_hash"}, entry={"active"}
    ),
    "names that nobody knows": Choice(
        {"fields": ["active", "quorumnet_port", ""]}, top=set(), entry={"active"}
    ),
    "only names that nobody knows": Choice({"fields": ["pulse_votes"]}, top=set(), entry=set()),
    "a limit of 0": Choice({"limit": 0}),
    "no keys": Choice({"service_node_pubkeys": []}),
    "keys, in their order": Choice({"service_node_pubkeys": [ONE, TWO]}, keys=[ONE, TWO]),
    "a key twice": Choice({"service_node_pubkeys": [ONE, ONE]}, keys=[ONE]),
    "a key in capitals": Choice({"service_node_pubkeys": [ONE.upper()]}, keys=[ONE]),
    "a key that nobody has": Choice({"service_node_pubkeys": [KEY, ONE]}, keys=[ONE]),
    "only keys that nobody has": Choice({"service_node_pubkeys": [KEY]}, keys=[]),
    "keys of nodes that are not active": Choice(
        {"service_node_pubkeys": [WAITING, ONE, UNREACHABLE], "active_only": True}, keys=[ONE]
    ),
    "an empty hash": Choice({"poll_block_hash": ""}),
}


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES.keys())
def test_choice(site: Site, choice: Choice) -> None:
    result = site.result("get_service_nodes", choice.params)
    assert result["status"] == "OK"
    assert set(result) == {"status", "service_node_states"} | choice.top
    rows = {row["service_node_pubkey"]: row for row in entries_of(SESSION_NODES)}
    assert result["service_node_states"] == [
        {name: value for name, value in rows[key].items() if name in choice.entry}
        for key in choice.keys
    ]


LIMITS: dict[str, tuple[dict[str, Any], list[str], int]] = {
    "three": ({"limit": 3}, KEYS, 3),
    "three that are active": ({"limit": 3, "active_only": True}, USABLE, 3),
    "as many as there are": ({"limit": len(KEYS)}, KEYS, len(KEYS)),
    "more than there are": ({"limit": 10**30}, KEYS, len(KEYS)),
    "all of them": ({"limit": -1}, KEYS, len(KEYS)),
    "all that are active": ({"limit": -5, "active_only": True}, USABLE, len(USABLE)),
    "one of two keys": ({"limit": 1, "service_node_pubkeys": [ONE, TWO]}, [ONE, TWO], 1),
    "one of no keys": ({"limit": 1, "service_node_pubkeys": [KEY]}, [], 0),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limit(site: Site, name: str) -> None:
    random.seed(name)
    params, among, count = LIMITS[name]
    answers = [keys_of(site.result("get_n_service_nodes", params)) for _ in range(100)]
    for keys in answers:
        assert len(keys) == len(set(keys)) == count
        assert set(keys) <= set(among)
    # each of them has its turn, in more than one order
    assert {key for keys in answers for key in keys} == set(among)
    assert len(among) < 2 or len({tuple(keys) for keys in answers}) > 1


@pytest.mark.parametrize("fields", [["active"], ["active", "block_hash"], []])
def test_poll(site: Site, fields: list[str]) -> None:
    same = site.result("get_service_nodes", {"poll_block_hash": NEWEST.upper(), "fields": fields})
    assert same["unchanged"] is True
    assert "service_node_states" not in same
    assert ("block_hash" in same) == (fields != ["active"])
    other = site.result("get_service_nodes", {"poll_block_hash": KEY, "fields": fields})
    assert (other["unchanged"], other["block_hash"]) == (False, NEWEST)
    assert len(other["service_node_states"]) == len(KEYS)


def test_nodes_and_block_change_together(site: Site) -> None:
    changed = make_node(1, storage_port=1)
    key = changed.service_node_pubkey
    asked = {"service_node_pubkeys": [key], "fields": ["storage_port", "height"]}

    def port() -> tuple[int, int]:
        result = site.result("get_service_nodes", asked)
        return result["height"], result["service_node_states"][0]["storage_port"]

    assert port() == (HEIGHT, 22_021)
    site.push_nodes(push_of(changed))
    assert port() == (HEIGHT, 22_021)
    site.push(make_view(HEIGHT + 1))
    assert port() == (HEIGHT + 1, 1)


def test_nodes_come_anew_in_pieces(site: Site) -> None:
    """As after the ledger process started again: nobody sees half of them."""
    site.push_nodes(push_of(*SESSION_NODES[:4], first=True))
    assert keys_of(site.result("get_service_nodes")) == KEYS
    site.push_nodes(push_of(SESSION_NODES[5], removed=[KEYS[0]]))
    site.push(make_view(HEIGHT + 1))
    assert keys_of(site.result("get_service_nodes")) == [*KEYS[1:4], KEYS[5]]


def test_long_answers_go_in_pieces(site: Site) -> None:
    site.push_nodes(push_of(*(make_node(index) for index in range(1, 400)), first=True))
    site.push(make_view(HEIGHT + 1))
    answer = site.client.post(PATH, json={"method": "get_service_nodes", "id": "x"})
    assert len(answer.content) > 4 * SHORT_BYTES
    assert answer.headers["content-length"] == str(len(answer.content))
    assert len(answer.json()["result"]["service_node_states"]) == 399
    assert answer.json()["id"] == "x"


# --------------------------------------------------------------------------- other methods


RESULTS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "info": (
        "get_info",
        {},
        {
            "height": HEIGHT + 1,
            "target_height": HEIGHT,
            "top_block_hash": NEWEST,
            "hard_fork": 21,
            "target": 10,
            "nettype": "waypost-testnet",
            "mainnet": False,
        },
    ),
    "the newest hash": ("get_block_hash", {"height": [HEIGHT]}, {str(HEIGHT): NEWEST}),
    "a hash by the other name": ("get_block_hash", {"heights": [HEIGHT]}, {str(HEIGHT): NEWEST}),
    "a hash without an array": ("get_block_hash", {"height": HEIGHT}, {str(HEIGHT): NEWEST}),
    "older hashes": (
        "get_block_hash",
        {"height": [7, HEIGHT, 0, 7]},
        {"7": make_block_hash(7), str(HEIGHT): NEWEST, "0": HASH},
    ),
    "staking requirement": (
        "get_staking_requirement",
        {"height": 0},
        {"staking_requirement": 100_000_000_000},
    ),
    "rewards": (
        "get_accrued_rewards",
        {"addresses": [ACCOUNT, KEY, ACCOUNT]},
        {"balances": {ACCOUNT: 15_000_000, KEY: 15_000_000}},
    ),
    "rewards of nobody": ("get_accrued_rewards", None, {"balances": {}}),
    "no quorums": ("get_quorum_state", {}, {"quorums": []}),
    "no quorums of any kind": (
        "get_quorum_state",
        {"start_height": 1, "end_height": 9, "quorum_type": 255},
        {"quorums": []},
    ),
    "no votes": (
        "get_service_nodes_state_changes",
        {"start_height": 2, "end_height": 9},
        {"start_height": 2, "end_height": 9} | dict.fromkeys(rpc_methods.STATE_CHANGES, 0),
    ),
    "no votes so far": (
        "get_service_nodes_state_changes",
        {"start_height": 2},
        {"start_height": 2, "end_height": HEIGHT} | dict.fromkeys(rpc_methods.STATE_CHANGES, 0),
    ),
}
COUNTED = ("get_block_hash", "get_staking_requirement")
"""Methods that tell the number of blocks as the height."""


class Blocks(dict[str, Any]):
    """Answers the question for a block with one of the height that was asked for."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.ledger.results)
        self._site = site

    def __getitem__(self, name: str) -> Any:
        if name != "block":
            return super().__getitem__(name)
        height = self._site.ledger.calls[-1][2]["height"]
        return example_of(BlockShape) | {"height": height, "hash": make_block_hash(height)}


@pytest.mark.parametrize("name", RESULTS)
def test_result(site: Site, name: str) -> None:
    method, params, expected = RESULTS[name]
    site.ledger.results = Blocks(site)
    if method in COUNTED:
        expected = {"height": HEIGHT + 1} | expected
    assert site.result(method, params) == {"status": "OK"} | expected


def test_only_older_hashes_are_asked_for_and_each_once(site: Site) -> None:
    heights = [*range(1, AT_A_TIME * 2 + 2), HEIGHT, 0, 3]
    site.ledger.results = Blocks(site)
    result = site.result("get_block_hash", {"height": heights})
    asked = [("query", "block", {"height": height}, None) for height in heights[:-3]]
    assert site.ledger.calls == asked
    assert {key for key in result if key.isdigit()} == {str(height) for height in heights}


@pytest.mark.parametrize("name", METHODS)
def test_the_example_of_each_method_works(site: Site, name: str) -> None:
    assert site.result(name, METHODS[name].example)["status"] == "OK"


# ------------------------------------------------------------------------------- envelopes


IDS = [
    *("0", "-1", "1.0", "1e400", "null", "true", '""', '"a b"', "[1,[2]]", '{"a": {"b" : null}}'),
    *("9" * 5_000, str(2**64), '"\\u00e9\\n"', '"é"', "[]", '"' + "x" * 200_000 + '"'),
]


@pytest.mark.parametrize("text", IDS, ids=lambda text: text[:20])
@pytest.mark.parametrize("method", ["get_info", "no_such_method"])
def test_an_id_comes_back_byte_for_byte(site: Site, text: str, method: str) -> None:
    body = f'{{"id": {text} , "method":"{method}"}}'.encode()
    answer = site.client.post(PATH, content=body)
    assert answer.status_code == 200
    assert answer.content.startswith(b'{"jsonrpc":"2.0","id":' + text.encode() + b",")


WRITTEN: dict[str, bytes] = {
    "only a method": b'{"method":"get_info"}',
    "an id that is null": b'{"method":"get_info","id":null,"jsonrpc":"2.0"}',
    "another version": b'{"method":"get_info","jsonrpc":1.0}',
    "members that nobody knows": b'{"method":"get_info","x":[1]}',
    "a member twice": b'{"method":"no","params":3,"method":"get_info","params":{}}',
    "white space": b' \r\n{\t"method" : "get_info" }\n',
    "a name in escapes": b'{"method":"get\\u005finfo"}',
    "no parameters": b'{"method":"get_info","params":null}',
    "an empty array": b'{"method":"get_info","params":[ ]}',
}


@pytest.mark.parametrize("body", WRITTEN.values(), ids=WRITTEN.keys())
@pytest.mark.parametrize("media", ["text/plain;charset=UTF-8", "application/json", "", "image/png"])
def test_a_call_is_read_however_it_is_written(site: Site, body: bytes, media: str) -> None:
    answer = site.client.post(PATH, content=body, headers={"content-type": media})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert (answer.json()["id"], answer.json()["result"]["status"]) == (None, "OK")


def test_pages_of_every_origin_may_send_json(site: Site) -> None:
    answer = site.client.options(PATH)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == "Content-Type"


# -------------------------------------------------------------------------------- refusals


def call(method: str, **params: Any) -> bytes:
    """A call with an id."""
    return json.dumps({"id": 7, "method": method, "params": params}).encode()


def nodes(**params: Any) -> bytes:
    """A call for nodes."""
    return call("get_service_nodes", **params)


class Case(NamedTuple):
    """A call that is refused."""

    body: bytes
    code: int
    says: str
    prepare: Callable[[Site], object] = lambda site: None


DEEP = b"[" * 100_000 + b"]" * 100_000

NOT_READ: dict[str, Case] = {
    "nothing": Case(b"", -32700, "send one JSON object"),
    "no JSON": Case(b"{method}", -32700, "send one JSON object"),
    "half an object": Case(b'{"method":"get_info"', -32700, "send one JSON object"),
    "two objects": Case(b"{}{}", -32700, "send one JSON object"),
    "half an array": Case(b"[1,", -32700, "send one JSON object"),
    "a number that is none": Case(b'{"id":01}', -32700, "send one JSON object"),
    "not a number": Case(b'{"id":NaN}', -32700, "send one JSON object"),
    "no UTF-8": Case(b'{"id":"\xff","method":"get_info"}', -32700, "send one JSON object"),
    "no UTF-8 where nobody looks": Case(b'{"x":"\xff"}', -32700, "send one JSON object"),
    "UTF-16": Case('{"method":"get_info"}'.encode("utf-16"), -32700, "send one JSON object"),
    "deep arrays": Case(DEEP, -32700, "send one JSON object"),
    "a deep id": Case(b'{"id":%s}' % DEEP, -32700, "flat"),
    "deep parameters": Case(b'{"params":%s,"method":"get_info"}' % DEEP, -32700, "flat"),
    "an array of calls": Case(b'[{"method":"get_info"}]', -32600, "several requests"),
    "an empty array": Case(b"[]", -32600, "one object"),
    "a number": Case(b"1", -32600, "one object"),
    "a text": Case(b'"get_info"', -32600, "one object"),
    "null": Case(b"null", -32600, "one object"),
}
"""Without an id, since there is none or it is not known."""

REFUSED: dict[str, Case] = {
    "no method": Case(b'{"id":7}', -32600, "`method`"),
    "a method that is null": Case(b'{"id":7,"method":null}', -32600, "`method`"),
    "a method that is a number": Case(b'{"id":7,"method":1}', -32600, "`method`"),
    "a method in an array": Case(b'{"id":7,"method":["get_info"]}', -32600, "`method`"),
    "an unknown method": Case(call("get_everything"), -32601, "get_service_nodes, get_info"),
    "an empty method": Case(call(""), -32601, "take one of"),
    "a method in capitals": Case(call("GET_INFO"), -32601, "take one of"),
    "a method's long name": Case(call("x" * 100_000), -32601, "take one of"),
    "parameters in an array": Case(
        b'{"id":7,"method":"get_info","params":[1]}', -32602, "Expected `object`, got `array`"
    ),
    "parameters in a text": Case(
        b'{"id":7,"method":"get_info","params":"{}"}', -32602, "Expected `object`, got `str`"
    ),
    "parameters that are false": Case(
        b'{"id":7,"method":"get_info","params":false}', -32602, "Expected `object`, got `bool`"
    ),
    "active_only as a number": Case(nodes(active_only=1), -32602, "`$.active_only`"),
    "active_only as a text": Case(nodes(active_only="true"), -32602, "`$.active_only`"),
    "fields as a text": Case(nodes(fields="all"), -32602, "`$.fields`"),
    "fields with numbers": Case(nodes(fields=[1]), -32602, "`$.fields[0]`"),
    "fields with texts": Case(nodes(fields={"all": "true"}), -32602, "`$.fields[...]`"),
    "a limit that is a text": Case(nodes(limit="3"), -32602, "`$.limit`"),
    "a limit that is a fraction": Case(nodes(limit=1.5), -32602, "`$.limit`"),
    "a limit that is true": Case(nodes(limit=True), -32602, "`$.limit`"),
    "one key": Case(nodes(service_node_pubkeys=ONE), -32602, "`$.service_node_pubkeys`"),
    "a key that is too short": Case(
        nodes(service_node_pubkeys=[ONE, ONE[1:]]), -32602, "64 hex digits as service_node_pubkeys"
    ),
    "a key that is too long": Case(nodes(service_node_pubkeys=[ONE + "\n"]), -32602, "64 hex"),
    "a key that is not hex": Case(nodes(service_node_pubkeys=["g" * 64]), -32602, "64 hex"),
    "a key that is a number": Case(
        nodes(service_node_pubkeys=[1]), -32602, "`$.service_node_pubkeys[0]`"
    ),
    "an empty key": Case(nodes(service_node_pubkeys=[""]), -32602, "64 hex digits"),
    "a hash that is too short": Case(
        nodes(poll_block_hash="ab"), -32602, "send 64 hex digits as poll_block_hash"
    ),
    "a hash that is a number": Case(nodes(poll_block_hash=0), -32602, "`$.poll_block_hash`"),
    "no heights": Case(call("get_block_hash"), -32602, "1 to 100 heights"),
    "an empty array of heights": Case(call("get_block_hash", height=[]), -32602, "1 to 100"),
    "too many heights": Case(
        call("get_block_hash", height=list(range(MAX_HEIGHTS + 1))), -32602, "1 to 100"
    ),
    "a height below zero": Case(call("get_block_hash", height=[-1]), -32602, "`$.height[0]`"),
    "a height past 63 bits": Case(
        call("get_block_hash", heights=[2**63]), -32602, "`$.heights[0]`"
    ),
    "a height that is a text": Case(call("get_block_hash", height=["1"]), -32602, "`$.height[0]`"),
    "a height in the future": Case(
        call("get_block_hash", height=[1, HEIGHT + 1]), -32602, f"up to {HEIGHT}"
    ),
    "a block that is not there": Case(
        call("get_block_hash", height=[3]), -32602, "no block 3",
        lambda site: site.ledger.results.update(block=None),
    ),
    "a requirement at a text": Case(
        call("get_staking_requirement", height="x"), -32602, "`$.height`"
    ),
    "rewards of one": Case(call("get_accrued_rewards", addresses=ACCOUNT), -32602, "`$.addresses`"),
    "rewards of a slip": Case(
        call("get_accrued_rewards", addresses=[ACCOUNT, ACCOUNT[:-1] + "q"]),
        -32602, "addresses[1]: the checksum",
    ),
    "rewards of nobody": Case(
        call("get_accrued_rewards", addresses=["me"]), -32602, "addresses[0]: this is no address"
    ),
    "rewards of too many": Case(
        call("get_accrued_rewards", addresses=[ACCOUNT] * 1_001), -32602, "1000 addresses at most"
    ),
    "a quorum of no kind": Case(call("get_quorum_state", quorum_type=4), -32602, "0, 1, 2, 3"),
    "a quorum of a text": Case(
        call("get_quorum_state", quorum_type="pulse"), -32602, "`$.quorum_type`"
    ),
    "a quorum below zero": Case(
        call("get_quorum_state", start_height=-1), -32602, "`$.start_height`"
    ),
    "votes from nowhere": Case(
        call("get_service_nodes_state_changes"), -32602, "send start_height"
    ),
    "votes backwards": Case(
        call("get_service_nodes_state_changes", start_height=3, end_height=2), -32602,
        "send start_height",
    ),
    "votes in the future": Case(
        call("get_service_nodes_state_changes", start_height=1, end_height=HEIGHT + 1), -32602,
        f"up to {HEIGHT}",
    ),
}  # fmt: skip
"""Each has the id 7."""

CASES = {name: (case, None) for name, case in NOT_READ.items()} | {
    name: (case, 7) for name, case in REFUSED.items()
}


@pytest.mark.parametrize("name", CASES)
def test_refusal(site: Site, name: str) -> None:
    case, call_id = CASES[name]
    case.prepare(site)
    before = site.result("get_service_nodes")
    answer = site.client.post(PATH, content=case.body)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    body = answer.json()
    assert list(body) == ["jsonrpc", "id", "error"]
    assert (body["jsonrpc"], body["id"]) == ("2.0", call_id)
    assert list(body["error"]) == ["code", "message"]
    assert body["error"]["code"] == case.code, body
    assert case.says in body["error"]["message"]
    assert len(answer.content) < 1_000
    # nothing changed, nothing was sent, and nobody calls it a fault
    assert site.result("get_service_nodes") == before
    assert {made[0] for made in site.ledger.calls} <= {"query"}
    assert [line for line in site.logs if line["log_level"] == "error"] == []


def test_each_code_is_refused_with() -> None:
    assert {case.code for case, _ in CASES.values()} == {*rpc_methods.ErrorCode}


def test_each_method_that_takes_parameters_refuses_some() -> None:
    refused = {json.loads(case.body)["method"] for case in REFUSED.values() if case.code == -32602}
    assert refused == set(METHODS)


@pytest.mark.parametrize("method", [*METHODS, *ALIASES])
def test_unavailable_before_a_view(blind: Site, method: str) -> None:
    params = METHODS[ALIASES.get(method, method)].example
    answer = blind.client.post(PATH, json={"method": method, "params": params})
    assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("method", NODES)
def test_unavailable_while_the_nodes_are_not_known(site: Site, method: str) -> None:
    site.push_nodes({"first": False, "rows": [{"service_node_pubkey": 1}], "removed": []})
    # until the next view, those of this one are shown
    assert keys_of(site.result(method)) == KEYS
    site.push(make_view(HEIGHT + 1))
    for params in ({}, {"limit": 3}, {"service_node_pubkeys": [ONE]}, {"poll_block_hash": KEY}):
        answer = site.client.post(PATH, json={"method": method, "params": params})
        assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
    assert site.client.get("/v1/network").status_code == 200
    # changes alone do not help
    site.push_nodes(push_of(SESSION_NODES[0]))
    site.push(make_view(HEIGHT + 2))
    assert site.client.post(PATH, json={"method": method}).status_code == 503
    site.push_nodes(push_of(*SESSION_NODES, first=True))
    site.push(make_view(HEIGHT + 3))
    assert keys_of(site.result(method)) == KEYS


TROUBLE = {"busy": (Busy(""), 503), "unavailable": (Lost(""), 503), "height_gone": (Gone(""), 410)}


@pytest.mark.parametrize("code", TROUBLE)
def test_trouble_with_the_ledger_process_is_a_problem(site: Site, code: str) -> None:
    site.ledger.error, status = TROUBLE[code]
    answer = site.client.post(PATH, content=call("get_block_hash", height=[1, 2, 3]))
    assert (answer.status_code, answer.json()["type"]) == (status, code)
    # what comes from memory goes on
    assert site.result("get_block_hash", {"height": [HEIGHT]})[str(HEIGHT)] == NEWEST
    assert keys_of(site.result("get_service_nodes")) == KEYS


# ----------------------------------------------------------------------------------- any body


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=8,
)
PARAMS = st.dictionaries(
    st.sampled_from(
        [
            *("active_only", "fields", "limit", "service_node_pubkeys", "poll_block_hash"),
            *("height", "heights", "addresses", "start_height", "end_height", "quorum_type"),
        ]
    ),
    JSON | st.lists(st.sampled_from([*FIELDS, *TOP_FIELDS, "all", ONE, ACCOUNT])),
    max_size=3,
)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from([*METHODS, *ALIASES]) | JSON,
        "params": PARAMS | JSON,
        "id": JSON,
        "jsonrpc": JSON,
    },
)


def is_json(body: bytes) -> bool:
    """Whether a body is JSON, strictly."""

    def refuse(text: str) -> None:
        raise ValueError(text)

    try:
        json.loads(body.decode(), parse_constant=refuse)
    except ValueError:
        return False
    return True


@given(body=JSON.map(json.dumps).map(str.encode) | CALLS.map(json.dumps).map(str.encode))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_answered_well(site: Site, body: bytes) -> None:
    check_any(site, body)


@given(
    body=st.binary(max_size=60) | st.text(alphabet='{}[]":,0e.- \\un', max_size=20).map(str.encode)
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_body_is_answered_well(site: Site, body: bytes) -> None:
    answer = check_any(site, body)
    if not is_json(body):
        assert answer["error"]["code"] == -32700


def check_any(site: Site, body: bytes) -> dict[str, Any]:
    """Send a body and check the form of the answer."""
    answer = site.client.post(PATH, content=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert is_json(answer.content)
    parsed: dict[str, Any] = answer.json()
    assert list(parsed)[:2] == ["jsonrpc", "id"]
    assert (parsed["jsonrpc"], len(parsed)) == ("2.0", 3)
    if "error" in parsed:
        assert parsed["error"]["code"] in {*rpc_methods.ErrorCode}
        assert parsed["error"]["message"]
    else:
        assert parsed["result"]["status"] == "OK"
    sent = json.loads(body) if is_json(body) else None
    if isinstance(sent, dict):
        assert parsed["id"] == sent.get("id")
    return parsed


def test_names_in_the_table_are_those_of_the_network() -> None:
    for name in (*METHODS, *ALIASES):
        assert re.fullmatch("get_[a-z_]+", name)
    assert set(ALIASES.values()) <= set(METHODS)
