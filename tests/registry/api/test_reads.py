"""Reading: shapes, JSON and MessagePack, pages, health."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from registry.addresses import encode_node
from registry.api import agent_models, duty_models, models, rule_models
from registry.api.answers import decode_cursor, encode_cursor
from registry.api.models import EPOCH, HEIGHT, example_of
from registry.api.proofs import Proof
from registry.api.verdicts import EXAMPLE
from registry.metrics import WebState
from tests.registry.api.conftest import Site
from tests.registry.api.fake_ledger import (
    FRESH_UNTIL_MS,
    GENESIS,
    NODE_KEYS,
    make_view,
)

MSGPACK = "application/msgpack"
KEY = NODE_KEYS[0]

READS: dict[str, tuple[type[BaseModel], str, dict[str, Any]]] = {
    f"/v1/nodes/{encode_node(KEY)}": (duty_models.NodeStatus, "node", {"key": KEY}),
    f"/v1/nodes/{KEY.hex()}": (duty_models.NodeStatus, "node", {"key": KEY}),
    f"/v1/nodes/{KEY.hex()}/duties": (agent_models.Duties, "duties", {"key": KEY}),
    f"/v1/nodes/{KEY.hex()}/swarm": (agent_models.SwarmFeed, "swarm", {"key": KEY, "since": None}),
    f"/v1/nodes/{encode_node(KEY)}/swarm?since=7": (
        agent_models.SwarmFeed,
        "swarm",
        {"key": KEY, "since": 7},
    ),
    f"/v1/nodes/{KEY.hex()}/history": (
        agent_models.NodeHistory,
        "history",
        {"key": KEY, "epochs": 48},
    ),
    f"/v1/nodes/{KEY.hex()}/history?epochs=336": (
        agent_models.NodeHistory,
        "history",
        {"key": KEY, "epochs": 336},
    ),
    f"/v1/accounts/{models.ACCOUNT}": (
        models.Account,
        "account",
        {"key": bytes(range(32))},
    ),
    f"/v1/epochs/{EPOCH}": (models.Epoch, "epoch", {"epoch": EPOCH}),
    f"/v1/blocks/{HEIGHT}": (models.Block, "block", {"height": HEIGHT}),
    "/v1/attestors": (models.Attestors, "attestors", {}),
    f"/v1/reports/{HEIGHT}/0": (rule_models.Report, "report", {"height": HEIGHT, "index": 0}),
    "/v1/participation": (duty_models.Participation, "participation", {"epochs": 16}),
    "/v1/participation?epochs=96": (duty_models.Participation, "participation", {"epochs": 96}),
    f"/v1/verdicts/{EPOCH}/{KEY.hex()}": (
        duty_models.NodeVotes,
        "votes",
        {"epoch": EPOCH, "key": KEY},
    ),
    "/v1/verdicts": (duty_models.Votes, "contradictions", {}),
    "/v1/rules": (rule_models.Rules, "rules", {}),
    f"/v1/proofs/accounts/{models.ACCOUNT}": (
        Proof,
        "proof",
        {"epoch": EPOCH, "table": "accounts", "key": bytes(range(32))},
    ),
    f"/v1/proofs/nodes/{KEY.hex()}?epoch=7": (
        Proof,
        "proof",
        {"epoch": 7, "table": "nodes", "key": KEY},
    ),
    "/v1/proofs/pool": (Proof, "proof", {"epoch": EPOCH, "table": "pool", "key": b""}),
}


@pytest.mark.parametrize(("path", "read"), READS.items(), ids=READS.keys())
def test_read(site: Site, path: str, read: tuple[type[BaseModel], str, dict[str, Any]]) -> None:
    shape, question, arguments = read
    answer = site.client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["waypost-height"] == str(HEIGHT)
    assert answer.json() == plain(example_of(shape))
    assert site.ledger.calls == [("query", question, arguments, None)]
    packed = site.client.get(path, headers={"accept": MSGPACK})
    assert packed.headers["content-type"] == MSGPACK
    assert msgspec.msgpack.decode(packed.content) == answer.json()


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def test_the_network_comes_from_the_view(site: Site) -> None:
    site.push(make_view(HEIGHT + 1))
    answer = site.client.get("/v1/network")
    assert answer.json() == plain(example_of(models.Network)) | {
        "height": HEIGHT + 1,
        "epoch": EPOCH + 1,
    }
    assert answer.headers["waypost-height"] == str(HEIGHT + 1)
    assert site.ledger.calls == []


def test_the_network_before_the_first_final_list(site: Site) -> None:
    network = {"latest_final": None, "fingerprint": None}
    site.push(make_view(HEIGHT + 1, network=network, latest=None))
    assert site.client.get("/v1/network").json()["latest_final"] is None


def test_a_view_that_does_not_fit_changes_nothing(site: Site) -> None:
    site.push(make_view(HEIGHT + 1, network={"height": "high"}))
    site.push({"height": HEIGHT + 2})
    assert site.client.get("/v1/network").json()["height"] == HEIGHT


def test_a_lost_ledger_leaves_the_view(site: Site) -> None:
    site.ledger.is_connected = False
    assert site.client.get("/v1/network").status_code == 200
    assert site.client.get("/v1/lists/latest").status_code == 200


ACCEPTS = {
    "": False,
    "*/*": False,
    "application/json": False,
    "application/msgpack": True,
    "Application/MsgPack": True,
    "application/msgpack, */*": True,
    "application/msgpack, application/json": False,
    "application/json;q=0.9, application/msgpack": True,
    "application/json, application/msgpack;q=0.9": False,
    "application/msgpack;q=0.5, */*;q=0.8": False,
    "application/msgpack;q=0": False,
    "application/msgpack;q=x": False,
    "application/msgpack;q=inf": False,
    "text/html": False,
}


@pytest.mark.parametrize(("accept", "is_packed"), ACCEPTS.items())
def test_negotiation(site: Site, accept: str, is_packed: bool) -> None:
    answer = site.client.get("/v1/network", headers={"accept": accept})
    assert answer.headers["content-type"] == (MSGPACK if is_packed else "application/json")
    assert answer.headers["vary"] == "Accept"


# ---------------------------------------------------------------------------------- pages


def test_pages_show_one_height(site: Site) -> None:
    keys: list[str] = []
    cursor = ""
    sizes = []
    while True:
        page = site.client.get("/v1/nodes", params={"limit": 3, "cursor": cursor}).json()
        assert page["height"] == HEIGHT
        keys += [node["key"] for node in page["nodes"]]
        sizes.append(len(page["nodes"]))
        if page["next"] is None:
            break
        cursor = page["next"]
    assert keys == [encode_node(key) for key in NODE_KEYS]
    assert sizes == [3, 3, 1]
    heights = [call[3] for call in site.ledger.calls]
    assert heights == [None, HEIGHT, HEIGHT]


def test_pages_of_one_state(site: Site) -> None:
    assert site.client.get("/v1/nodes?state=queued").json()["nodes"] == []
    assert len(site.client.get("/v1/nodes?state=active").json()["nodes"]) == 7


def test_cursors_come_back() -> None:
    for after in (b"", KEY, bytes(64)):
        assert decode_cursor(encode_cursor(HEIGHT, after)) == (HEIGHT, after)


# --------------------------------------------------------------------------------- others


def test_blocks_are_messagepack_for_everybody(site: Site) -> None:
    answer = site.client.get("/v1/blocks?start=5&limit=2", headers={"accept": "application/json"})
    assert answer.headers["content-type"] == MSGPACK
    assert msgspec.msgpack.decode(answer.content) == [b"block one", b"block two"]
    assert site.ledger.calls == [("query", "blocks", {"start": 5, "limit": 2}, None)]


def test_genesis_is_the_file(site: Site) -> None:
    answer = site.client.get("/v1/genesis")
    assert answer.content == GENESIS
    assert answer.headers["etag"] == f'"{models.HASH}"'


def test_ready(site: Site) -> None:
    site.now_ms = FRESH_UNTIL_MS - 1
    answer = site.client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "height": HEIGHT,
        "epoch": EPOCH + 1,
        "final_epoch": EPOCH,
        "fresh_until_ms": FRESH_UNTIL_MS,
    }


def test_no_slash_is_added_and_no_page_loads_programs(site: Site) -> None:
    for path in ("/docs", "/redoc", "/v1/nodes/"):
        assert site.client.get(path, follow_redirects=False).status_code == 404


# -------------------------------------------------------------------------------- metrics


def samples(site: Site) -> dict[str, float]:
    """What `/metrics` shows, by name and labels."""
    lines = site.client.get("/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_metrics(site: Site) -> None:
    site.push(make_view(HEIGHT, votes_held=7, verdicts_made=5))
    site.client.get("/v1/network")
    site.client.get("/v1/lists/3")
    site.client.post("/v1/transactions", json={"transactions": ["01", "02"]})
    site.client.post("/v1/verdicts", json={"votes": [EXAMPLE] * 3})
    shown = samples(site)
    expected = {
        "waypost_height": HEIGHT,
        "waypost_epoch": EPOCH + 1,
        'waypost_nodes{state="active"}': 2_000,
        "waypost_pool_coins": 51_000,
        "waypost_final_list_epoch": EPOCH,
        "waypost_final_list_age_seconds": 60,
        "waypost_final_list_fresh_seconds": 10_740,
        "waypost_view_age_seconds": 60,
        "waypost_ready": 1,
        "waypost_ledger_connected": 1,
        "waypost_event_streams": 0,
        'waypost_requests_total{group="network",status="2xx"}': 1,
        'waypost_requests_total{group="lists",status="4xx"}': 1,
        'waypost_request_seconds_count{group="network"}': 1,
        'waypost_transactions_total{state="pending"}': 2,
        'waypost_votes_total{state="held"}': 3,
        'waypost_requests_total{group="verdicts",status="2xx"}': 1,
        "waypost_votes_held": 7,
        "waypost_verdicts_made": 5,
    }
    assert {name: shown.get(name) for name in expected} == expected
    assert 'waypost_request_seconds_count{group="lists"}' not in shown


SPARSE: dict[str, tuple[Callable[[Site], object], dict[str, float]]] = {
    "an old list": (
        lambda site: setattr(site, "now_ms", FRESH_UNTIL_MS + 1_000),
        {"waypost_ready": 0, "waypost_final_list_fresh_seconds": -1},
    ),
    "a lost ledger": (
        lambda site: setattr(site.ledger, "is_connected", False),
        {"waypost_ready": 0, "waypost_ledger_connected": 0, "waypost_height": HEIGHT},
    ),
    "no final list": (
        lambda site: site.push(make_view(HEIGHT + 1, network={"latest_final": None})),
        {"waypost_ready": 0, "waypost_final_list_epoch": -1, "waypost_height": HEIGHT + 1},
    ),
}


@pytest.mark.parametrize(("prepare", "expected"), SPARSE.values(), ids=SPARSE.keys())
def test_metrics_when_something_is_missing(
    site: Site, prepare: Callable[[Site], object], expected: dict[str, float]
) -> None:
    prepare(site)
    shown = samples(site)
    assert {name: shown[name] for name in expected} == expected


def test_metrics_before_a_view(blind: Site) -> None:
    shown = samples(blind)
    assert shown["waypost_height"] == WebState().height == -1
    assert shown["waypost_ready"] == 0
