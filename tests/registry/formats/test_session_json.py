"""The `session-json` file: what it holds, and how strictly what others publish is read."""

import ipaddress
import json
from collections import Counter
from typing import Any

import pytest

from ledger.crypto import convert_to_x25519
from ledger.errors import Refusal
from ledger.messages.contact import Version
from registry.formats import session_json
from registry.formats.session import NO_ADDRESS, NO_SWARM
from registry.formats.session_json import (
    MAX_SESSION_JSON_BYTES,
    PublishedNode,
    decode_session_json,
    encode_session_json,
)
from tests.registry.session_network import (
    ADDRESSES,
    HEIGHT,
    LEAVING,
    NETWORKS,
    NODES,
    make_key,
    make_network,
    make_session_node,
    session_network,
)

KEY = make_key(1)
REQUIRED: dict[str, Any] = {
    "public_ip": "127.0.0.1",
    "storage_port": 22021,
    "pubkey_ed25519": KEY.hex(),
    "pubkey_x25519": convert_to_x25519(KEY).hex(),
    "requested_unlock_height": 0,
}
BARE = PublishedNode(KEY, bytes([127, 0, 0, 1]), 22021, None, 0, None, None, None, True)


def file_of(*entries: Any, **changes: Any) -> bytes:
    return json.dumps({"height": 7, "service_node_states": entries} | changes).encode()


def entry(**changes: Any) -> dict[str, Any]:
    return REQUIRED | changes


def without(name: str) -> dict[str, Any]:
    return {other: value for other, value in REQUIRED.items() if other != name}


def test_what_is_written_is_read() -> None:
    nodes = [
        make_session_node(1, swarm_id=0, swarm="0"),
        make_session_node(2, requested_unlock_height=99, storage_server_version=(255, 0, 1)),
        make_session_node(3, storage_port=1, storage_lmq_port=65_535, swarm_id=2**64 - 2),
    ]
    height, found = decode_session_json(encode_session_json(7, nodes))
    assert height == 7
    assert found == tuple(
        PublishedNode(
            key=bytes.fromhex(node.pubkey_ed25519),
            ipv4=ipaddress.IPv4Address(node.public_ip).packed,
            storage_port=node.storage_port,
            router_port=node.storage_lmq_port,
            unlock_height=node.requested_unlock_height,
            swarm_id=node.swarm_id,
            storage_version=Version(*node.storage_server_version),
            router_version=Version(*node.service_node_version),
            active=True,
        )
        for node in nodes
    )


def test_the_bytes_are_these() -> None:
    data = encode_session_json(7, [make_session_node(1)])
    key = KEY.hex()
    assert data.decode() == (
        '{"height":7,"service_node_states":[{"public_ip":"127.0.0.1","storage_port":22021,'
        f'"storage_lmq_port":22020,"pubkey_ed25519":"{key}",'
        f'"pubkey_x25519":"{convert_to_x25519(KEY).hex()}","requested_unlock_height":0,'
        '"swarm_id":9223372036854775808,"storage_server_version":[2,11,0],'
        '"service_node_version":[11,6,0]}]}'
    )


def test_nodes_without_ipv4_are_left_out() -> None:
    nodes = [make_session_node(1, public_ip=NO_ADDRESS), make_session_node(2)]
    _, found = decode_session_json(encode_session_json(7, nodes))
    assert [node.key for node in found] == [make_key(2)]
    assert encode_session_json(0, []) == b'{"height":0,"service_node_states":[]}'


TAKEN: dict[str, tuple[dict[str, Any], PublishedNode]] = {
    "what every client insists on": (entry(), BARE),
    "a port": (entry(storage_lmq_port=1), BARE._replace(router_port=1)),
    "no port yet": (entry(storage_port=0), BARE._replace(storage_port=0)),
    "no address yet": (entry(public_ip="0.0.0.0"), BARE._replace(ipv4=bytes(4))),
    "the swarm 0": (entry(swarm_id=0), BARE._replace(swarm_id=0)),
    "no swarm": (entry(swarm_id=2**64 - 1), BARE._replace(swarm_id=NO_SWARM, active=False)),
    "funded but in no swarm": (
        entry(swarm_id=2**64 - 1, funded=True),
        BARE._replace(swarm_id=NO_SWARM, active=False),
    ),
    "active and no swarm yet": (
        entry(swarm_id=2**64 - 1, active=True),
        BARE._replace(swarm_id=NO_SWARM),
    ),
    "versions": (
        entry(storage_server_version=[2, 11, 0], service_node_version=[0, 0, 255]),
        BARE._replace(storage_version=Version(2, 11, 0), router_version=Version(0, 0, 255)),
    ),
    "one that leaves": (
        entry(requested_unlock_height=2**63 - 1),
        BARE._replace(unlock_height=2**63 - 1),
    ),
    "active": (entry(funded=True, active=True), BARE),
    "not active": (entry(funded=True, active=False), BARE._replace(active=False)),
    "not funded": (entry(funded=False), BARE._replace(active=False)),
    "fields of others": (entry(state_height=-1, contributors=[{}], swarm=None), BARE),
}


@pytest.mark.parametrize(("shown", "expected"), TAKEN.values(), ids=TAKEN.keys())
def test_taken(shown: dict[str, Any], expected: PublishedNode) -> None:
    assert decode_session_json(file_of(shown, status="OK")) == (7, (expected,))


def test_the_order_of_the_file_stays() -> None:
    entries = [
        entry(pubkey_ed25519=key.hex(), pubkey_x25519=convert_to_x25519(key).hex())
        for key in sorted(map(make_key, range(5)), reverse=True)
    ]
    _, nodes = decode_session_json(file_of(*entries))
    assert [node.key.hex() for node in nodes] == [row["pubkey_ed25519"] for row in entries]


NO_FORM = "it is no JSON object with height and service_node_states"
NO_KEY = "entry 1 (no key): pubkey_ed25519 is not 64 lower-case hex digits"
NAMED = f"entry 1 ({KEY.hex()}): "
SMALL_ORDER = "01" + 31 * "00"

WHOLE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", NO_FORM),
    "no JSON": (b"\1", NO_FORM),
    "half of it": (file_of(entry())[:-1], NO_FORM),
    "more behind it": (file_of(entry()) + b"{}", NO_FORM),
    "a list": (b"[]", NO_FORM),
    "deep": (b'{"height":7,"service_node_states":' + b"[" * 100_000, NO_FORM),
    "deep in a field": (b'{"height":7,"service_node_states":[],"x":' + b"[" * 100_000, NO_FORM),
    "no entries": (b'{"height":7}', NO_FORM),
    "no height": (b'{"service_node_states":[]}', NO_FORM),
    "entries of another type": (file_of(service_node_states={}), NO_FORM),
    "an entry of another type": (file_of([]), NO_FORM),
    "an entry without a key": (file_of(without("pubkey_ed25519")), NO_FORM),
    "a height as text": (file_of(height="7"), "height is not a height"),
    "a height with a point": (file_of(height=7.0), "height is not a height"),
    "a height below 0": (file_of(height=-1), "height is not a height"),
    "a height past the last one": (file_of(height=2**63), "height is not a height"),
    "a height that is not UTF-8": (b'{"height":"\xff","service_node_states":[]}', NO_FORM),
    "a name that is not UTF-8": (b'{"height":7,"service_node_states":[],"\xff":1}', NO_FORM),
}  # fmt: skip

ENTRIES: dict[str, tuple[dict[str, Any], str]] = {
    **{
        f"no {name}": (without(name), f"{NAMED}{name} is missing")
        for name in REQUIRED
        if name != "pubkey_ed25519"
    },
    "a key as a number": (entry(pubkey_ed25519=1), NO_KEY),
    "a key of null": (entry(pubkey_ed25519=None), NO_KEY),
    "a key in upper case": (entry(pubkey_ed25519=KEY.hex().upper()), NO_KEY),
    "a key with a line behind it": (entry(pubkey_ed25519=KEY.hex() + "\n"), NO_KEY),
    "a short key": (entry(pubkey_ed25519=KEY.hex()[2:]), NO_KEY),
    "a key of small order": (
        entry(pubkey_ed25519=SMALL_ORDER),
        f"entry 1 ({SMALL_ORDER}): pubkey_ed25519 is not a usable Ed25519 key",
    ),
    "the X25519 key of another": (
        entry(pubkey_x25519=convert_to_x25519(make_key(2)).hex()),
        NAMED + "pubkey_x25519 is not that key as an X25519 key",
    ),
    "an X25519 key in upper case": (
        entry(pubkey_x25519=convert_to_x25519(KEY).hex().upper()),
        NAMED + "pubkey_x25519 is not 64 lower-case hex digits",
    ),
    **{
        f"the address {text!r}": (
            entry(public_ip=text), NAMED + "public_ip is not an IPv4 address",
        )
        for text in (
            "", "127.0.0", "127.0.0.256", "127.0.0.01", " 127.0.0.1", "::1", "\u0661.0.0.1", 1,
        )
    },
    **{
        f"{name} {port!r}": (entry(**{name: port}), f"{NAMED}{name} is not a port")
        for name in ("storage_port", "storage_lmq_port")
        for port in (-1, 65_536, "22021", 22021.0, True, None)
    },
    **{
        f"requested_unlock_height {height!r}": (
            entry(requested_unlock_height=height),
            NAMED + "requested_unlock_height is not a height",
        )
        for height in (-1, 2**63, "0", 0.0, False, None)
    },
    **{
        f"swarm_id {swarm_id!r}": (
            entry(swarm_id=swarm_id), NAMED + "swarm_id is not a whole number below 2^64",
        )
        for swarm_id in (-1, 2**64, 10**30, "0", 1.0, True, None)
    },
    **{
        f"{name} {version!r}": (
            entry(**{name: version}), f"{NAMED}{name} is not three whole numbers up to 255",
        )
        for name in ("storage_server_version", "service_node_version")
        for version in ([2, 11], [2, 11, 0, 0], [2, 11, 256], [2, 11, -1], ["2", 1, 0], "2.11.0")
    },
    **{
        f"{name} {flag!r}": (entry(**{name: flag}), f"{NAMED}{name} is not true or false")
        for name in ("funded", "active")
        for flag in (0, 1, "true", None)
    },
    "a node twice": (
        entry(
            pubkey_ed25519=make_key(2).hex(),
            pubkey_x25519=convert_to_x25519(make_key(2)).hex(),
        ),
        f"entry 1 ({make_key(2).hex()}): it is entry 0 again",
    ),
}  # fmt: skip

GOOD = entry(pubkey_ed25519=make_key(2).hex(), pubkey_x25519=convert_to_x25519(make_key(2)).hex())


@pytest.mark.parametrize(("data", "why"), WHOLE.values(), ids=WHOLE.keys())
def test_refused_as_a_whole(data: bytes, why: str) -> None:
    refused(data, why)


@pytest.mark.parametrize(("bad", "why"), ENTRIES.values(), ids=ENTRIES.keys())
def test_an_entry_is_refused_by_its_name(bad: dict[str, Any], why: str) -> None:
    assert decode_session_json(file_of(GOOD))
    refused(file_of(GOOD, bad), why)


def refused(data: bytes, why: str) -> None:
    with pytest.raises(Refusal) as caught:
        decode_session_json(data)
    assert caught.value.code == "bad_list"
    assert str(caught.value.values["why"]).startswith(why)


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refusal) as caught:
        decode_session_json(bytes(MAX_SESSION_JSON_BYTES + 1))
    assert caught.value.code == "too_large"
    assert caught.value.values == {
        "size": MAX_SESSION_JSON_BYTES + 1,
        "limit": MAX_SESSION_JSON_BYTES,
    }
    monkeypatch.setattr(session_json, "MAX_NODES", 1)
    refused(file_of(entry(), GOOD), "it has more than 1 entries")


# -------------------------------------------------------------------------- a whole network


@pytest.mark.parametrize("make", [session_network, make_network])
def test_a_network_of_the_real_shape_is_read(make: Any) -> None:
    height, nodes = decode_session_json(make())
    assert height == HEIGHT
    assert len({node.key for node in nodes}) == len(nodes) == NODES
    assert len({node.ipv4 for node in nodes}) == ADDRESSES
    assert len({node.ipv4[:3] for node in nodes}) == NETWORKS
    assert sum(node.unlock_height > height for node in nodes) == LEAVING
    assert sum(node.unlock_height == 0 for node in nodes) == NODES - LEAVING
    assert max(Counter(node.ipv4 for node in nodes).values()) == 38
    # nothing that is done with it can reach anybody
    assert {node.ipv4[0] for node in nodes} == {127}
    assert all(node.active and node.router_port is None and node.swarm_id is None for node in nodes)
