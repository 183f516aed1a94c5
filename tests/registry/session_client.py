"""A client as strict as those of the Session network together: desktop, storage server, router.

    reply = fetch(url)                        what the desktop client sends to a seed
    check_desktop(reply.body, reply.content_type)
    check_storage_server(result_of(reply.body))
    check_router(result_of(reply.body))

Each check returns what the client would keep and raises `AssertionError`, with the reason, where
the client would turn the reply away, or where the form is not the one that is agreed upon. The
last two take a bare result, as it comes over OxenMQ.
"""

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import httpx2
from nacl.bindings import crypto_sign_ed25519_pk_to_curve25519

PATIENCE_S: Final = 5
"""When the desktop client gives up."""

NO_SWARM: Final = 2**64 - 1

LEAST_HARDFORK: Final = (19, 6)
"""Hardfork and revision below which a storage server serves nobody."""

LEAST_ROUTER_VERSION: Final = (11, 6, 0)
"""Nodes of older versions are no routers."""

DESKTOP: Final = {
    "active_only": True,
    "fields": {
        "public_ip": True,
        "storage_port": True,
        "pubkey_x25519": True,
        "pubkey_ed25519": True,
        "storage_server_version": True,
        "requested_unlock_height": True,
        "height": True,
    },
}
"""Parameters of the desktop client; the method is `get_n_service_nodes`."""

STORAGE_SERVER: Final = {
    "active_only": False,
    "fields": [
        *("block_hash", "hardfork", "height", "pubkey_ed25519", "pubkey_x25519", "public_ip"),
        *("service_node_pubkey", "snode_revision", "storage_lmq_port", "storage_port"),
        *("storage_server_version", "swarm_id", "funded"),
    ],
}
"""Parameters of a storage server; the method is `get_service_nodes`."""

ROUTER: Final = {"fields": ["pubkey_ed25519", "block_hash", "service_node_version"]}
"""Parameters of a router; the method is `get_service_nodes`."""

_HEX_32: Final = re.compile(r"[0-9a-f]{64}\Z")

Entry = dict[str, Any]


class Reply(NamedTuple):
    """An answer of HTTP."""

    status: int
    content_type: str
    body: bytes


def fetch(
    url: str,
    method: str = "get_n_service_nodes",
    params: Mapping[str, Any] | None = None,
    **other: Any,
) -> Reply:
    """Ask a seed as the desktop client does; `url` is that of the service, without a path.

    `other` are further members of the call, such as an `id`, which the client leaves out.
    """
    call = {"jsonrpc": "2.0", "method": method, "params": DESKTOP if params is None else params}
    headers = {"Content-Type": "text/plain;charset=UTF-8", "User-Agent": "WhatsApp"}
    body = json.dumps(call | other).encode()
    path = url.rstrip("/") + "/json_rpc"
    answer = httpx2.post(path, content=body, headers=headers, timeout=PATIENCE_S)
    return Reply(answer.status_code, answer.headers.get("content-type", ""), answer.content)


def result_of(body: bytes) -> bytes:
    """Return the result of an answer by JSON-RPC, as OxenMQ would carry it."""
    answer = _parse(body)
    assert answer.get("jsonrpc") == "2.0", "jsonrpc is not 2.0"
    assert "id" in answer, "there is no id"
    assert "result" in answer, f"there is no result: {answer.get('error')}"
    return json.dumps(answer["result"]).encode()


# --------------------------------------------------------------------------------- clients


def check_desktop(body: bytes, content_type: str) -> list[Entry]:
    """Return the nodes that the desktop client takes from an answer to `DESKTOP`."""
    assert content_type == "application/json", f"the content type is {content_type!r}"
    result = _parse(result_of(body))
    assert result.get("status") == "OK", f"status is {result.get('status')!r}"
    _number(result, "height")
    states = _states(result)
    for entry in states:
        _text(entry, "public_ip")
        _number(entry, "storage_port")
        _text(entry, "pubkey_ed25519")
        _text(entry, "pubkey_x25519")
        _number(entry, "requested_unlock_height")
        _check_entry(entry)
    usable = [entry for entry in states if entry["public_ip"] != "0.0.0.0"]
    assert usable, "not a single node has an address"
    return usable


def check_storage_server(result: bytes) -> list[Entry] | None:
    """Return the nodes that a storage server takes from an answer to `STORAGE_SERVER`.

    None stands for "unchanged".
    """
    answer = _parse(result)
    if answer.get("unchanged"):
        assert answer["unchanged"] is True, "unchanged is not a boolean"
        assert "service_node_states" not in answer, "unchanged, and yet there are nodes"
        return None
    _number(answer, "height")
    _key(answer, "block_hash")
    _number(answer, "hardfork")
    _number(answer, "snode_revision")
    hardfork = (answer["hardfork"], answer["snode_revision"])
    assert hardfork >= LEAST_HARDFORK, f"hardfork {hardfork} is too old to serve anybody"
    states = _states(answer)
    for entry in states:
        _key(entry, "service_node_pubkey")
        _bounded(entry, "swarm_id", NO_SWARM)
        for name in ("storage_port", "storage_lmq_port"):
            _bounded(entry, name, 65_535)
        _version(entry, "storage_server_version")
        _text(entry, "public_ip")
        assert isinstance(entry.get("funded"), bool), _wrong(entry, "funded", "a boolean")
        _check_entry(entry)
    return states


def check_router(result: bytes) -> list[Entry] | None:
    """Return the nodes that a router takes from an answer to `ROUTER`; None for "unchanged"."""
    answer = _parse(result)
    assert answer.get("status") == "OK", f"status is {answer.get('status')!r}"
    if answer.get("unchanged") is True:
        return None
    _key(answer, "block_hash")
    states = _states(answer)
    for entry in states:
        _key(entry, "pubkey_ed25519")
        _version(entry, "service_node_version")
        _check_entry(entry)
    routers = [e for e in states if tuple(e["service_node_version"]) >= LEAST_ROUTER_VERSION]
    assert routers, "not a single node is a router"
    return routers


# ---------------------------------------------------------------------------------- fields


def _check_entry(entry: Entry) -> None:
    """Check the form of whatever stands in an entry."""
    for name in ("service_node_pubkey", "pubkey_ed25519", "pubkey_x25519"):
        if name in entry:
            _key(entry, name)
    if "pubkey_ed25519" in entry and "pubkey_x25519" in entry:
        key = bytes.fromhex(entry["pubkey_ed25519"])
        converted = crypto_sign_ed25519_pk_to_curve25519(key).hex()
        assert entry["pubkey_x25519"] == converted, _wrong(entry, "pubkey_x25519", converted)
    if "public_ip" in entry:
        _text(entry, "public_ip")
        assert _is_ipv4(entry["public_ip"]), _wrong(entry, "public_ip", "an IPv4 address")
    for name in ("storage_port", "storage_lmq_port"):
        if name in entry:
            _bounded(entry, name, 65_535)
    for name in ("storage_server_version", "service_node_version"):
        if name in entry:
            _version(entry, name)
    if "requested_unlock_height" in entry:
        _number(entry, "requested_unlock_height")
    if "swarm" in entry:
        _text(entry, "swarm")
        assert entry["swarm"] == f"{int(entry['swarm'], 16):x}", _wrong(entry, "swarm", "hex")
    if "swarm" in entry and "swarm_id" in entry:
        swarm = f"{entry['swarm_id']:x}"
        assert entry["swarm"] == swarm, _wrong(entry, "swarm", swarm)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError as error:
        raise AssertionError(f"this is no JSON: {error}") from error
    assert isinstance(parsed, dict), "this is no JSON object"
    return parsed


def _states(result: dict[str, Any]) -> list[Entry]:
    states = result.get("service_node_states")
    assert isinstance(states, list), "service_node_states is not an array"
    assert all(isinstance(entry, dict) for entry in states), "an entry is not an object"
    return states


def _text(row: dict[str, Any], name: str) -> None:
    assert isinstance(row.get(name), str), _wrong(row, name, "text")


def _number(row: dict[str, Any], name: str) -> None:
    value = row.get(name)
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    assert is_number, _wrong(row, name, "a whole number")


def _bounded(row: dict[str, Any], name: str, largest: int) -> None:
    _number(row, name)
    assert row[name] <= largest, _wrong(row, name, f"at most {largest}")


def _key(row: dict[str, Any], name: str) -> None:
    _text(row, name)
    assert _HEX_32.match(row[name]), _wrong(row, name, "64 lower-case hex digits")


def _version(row: dict[str, Any], name: str) -> None:
    parts = row.get(name)
    is_array = isinstance(parts, list) and len(parts) == 3
    assert is_array, _wrong(row, name, "an array of three numbers")
    for place in range(3):
        _bounded({name: row[name][place]}, name, 65_535)
    if row.get("public_ip", "0.0.0.0") != "0.0.0.0":
        assert parts != [0, 0, 0], _wrong(row, name, "above 0.0.0")


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _wrong(row: dict[str, Any], name: str, expected: str) -> str:
    return f"{name} should be {expected}, not {row.get(name)!r}, in {json.dumps(row)[:300]}"
