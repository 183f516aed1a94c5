"""The strict client turns away what a client of the Session network would turn away."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from registry.api.models import HASH, HEIGHT
from registry.formats.session import NO_ADDRESS
from tests.registry.api.fake_ledger import make_node, plain
from tests.registry.session_client import (
    check_desktop,
    check_router,
    check_storage_server,
    result_of,
)

TOP = {
    "status": "OK",
    "height": HEIGHT,
    "hardfork": 21,
    "snode_revision": 0,
    "block_hash": HASH,
}
ROWS = [make_node(1), make_node(2, public_ip=NO_ADDRESS, swarm_id=2**64 - 1)]


def result(top: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """A result that is right but for some changes; `...` takes a member away."""
    fields = plain(ROWS[0]) | changes
    row = {name: value for name, value in fields.items() if value is not ...}
    whole = TOP | {"service_node_states": [row, plain(ROWS[1])]} | (top or {})
    return msgspec.json.encode({name: value for name, value in whole.items() if value is not ...})


def desktop(raw: bytes) -> Any:
    """What the desktop client makes of a result."""
    body = b'{"jsonrpc":"2.0","id":null,"result":%s}' % raw
    return check_desktop(body, "application/json")


CHECKS: dict[str, Callable[[bytes], Any]] = {
    "desktop": desktop,
    "storage server": check_storage_server,
    "router": check_router,
}


def test_what_is_right_is_taken() -> None:
    assert [len(check(result())) for check in CHECKS.values()] == [1, 2, 2]


def test_what_did_not_change_is_no_list() -> None:
    raw = result({"unchanged": True, "service_node_states": ...})
    assert check_storage_server(raw) is check_router(raw) is None
    with pytest.raises(AssertionError, match="unchanged"):
        check_storage_server(result({"unchanged": True}))


ALL = ("desktop", "storage server", "router")

WRONG: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "no height": (result({"height": ...}), ("desktop", "storage server")),
    "a height as text": (result({"height": "1"}), ("desktop", "storage server")),
    "no status": (result({"status": ...}), ("desktop", "router")),
    "no hardfork": (result({"hardfork": ...}), ("storage server",)),
    "an old hardfork": (result({"hardfork": 19}), ("storage server",)),
    "no hash": (result({"block_hash": ...}), ("storage server", "router")),
    "a hash in capitals": (result({"block_hash": "A" * 64}), ("storage server", "router")),
    "no nodes": (result({"service_node_states": ...}), ALL),
    "nodes by key": (result({"service_node_states": {}}), ALL),
    "a node that is none": (result({"service_node_states": [None]}), ALL),
    "no address": (result(public_ip=...), ("desktop", "storage server")),
    "no address at all": (result(public_ip=NO_ADDRESS), ("desktop",)),
    "an address of another form": (result(public_ip="node.example"), ALL),
    "an address as null": (result(public_ip=None), ALL),
    "no Ed25519 key": (result(pubkey_ed25519=...), ("desktop", "router")),
    "no X25519 key": (result(pubkey_x25519=...), ("desktop",)),
    "a key in capitals": (result(pubkey_x25519=ROWS[0].pubkey_x25519.upper()), ALL),
    "another node's X25519 key": (result(pubkey_x25519=ROWS[1].pubkey_x25519), ALL),
    "no port": (result(storage_port=...), ("desktop", "storage server")),
    "a port as text": (result(storage_port="22021"), ALL),
    "a port past 16 bits": (result(storage_port=65_536), ALL),
    "no unlock height": (result(requested_unlock_height=...), ("desktop",)),
    "an unlock height of null": (result(requested_unlock_height=None), ALL),
    "no node key": (result(service_node_pubkey=...), ("storage server",)),
    "no swarm id": (result(swarm_id=...), ("storage server",)),
    "a swarm id as text": (result(swarm_id="7", swarm=...), ("storage server",)),
    "a swarm id past 64 bits": (result(swarm_id=2**64, swarm=...), ("storage server",)),
    "a swarm with zeros before it": (result(swarm="0" + ROWS[0].swarm), ALL),
    "another swarm": (result(swarm="1"), ALL),
    "no funded": (result(funded=...), ("storage server",)),
    "funded as a number": (result(funded=1), ("storage server",)),
    "no storage version": (result(storage_server_version=...), ("storage server",)),
    "a version as text": (result(storage_server_version="2.11.0"), ALL),
    "a version of two parts": (result(service_node_version=[11, 6]), ALL),
    "a live node without a version": (result(storage_server_version=[0, 0, 0]), ALL),
    "no router version": (result(service_node_version=...), ("router",)),
    "no JSON": (b"{", ALL),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_turned_away(name: str) -> None:
    raw, by = WRONG[name]
    for client, check in CHECKS.items():
        if client in by:
            with pytest.raises(AssertionError) as refused:
                check(raw)
            assert str(refused.value)
        else:
            check(raw)


def test_old_nodes_are_no_routers() -> None:
    taken = check_router(result(service_node_version=[11, 5, 9]))
    assert taken is not None
    assert [row["pubkey_ed25519"] for row in taken] == [ROWS[1].pubkey_ed25519]


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "text/json", ""])
def test_the_whole_content_type_is_compared(media: str) -> None:
    body = b'{"jsonrpc":"2.0","id":null,"result":%s}' % result()
    with pytest.raises(AssertionError, match="content type"):
        check_desktop(body, media)


@pytest.mark.parametrize(
    "members", [{"id": 1}, {"jsonrpc": "1.0"}, {"jsonrpc": "2.0"}, {"error": {"code": -32601}}]
)
def test_an_answer_without_a_result(members: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        result_of(json.dumps(members).encode())
