"""A face before a real service, asked by a client that knows nothing of this code."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.crypto import convert_to_x25519
from registry.api.models import HEIGHT
from registry.oxenmq import PeerReport, RouterPing, StoragePing
from registry.sockets import CannotListen
from tests.registry.api.fake_ledger import (
    SESSION_NODES,
    make_block_hash,
)
from tests.registry.api.processes import LedgerProcess, Web, folder, web_process
from tests.registry.oxenmq.face import NODE, RunningFace, client_of, path_of, run_face
from tests.registry.oxenmq_client import NoAnswer, OxenClient
from tests.registry.session_client import (
    ROUTER,
    STORAGE_SERVER,
    check_router,
    check_storage_server,
    fetch,
    result_of,
)

HASH = make_block_hash(HEIGHT)
KEYS = [node.pubkey_ed25519 for node in SESSION_NODES]
SCHEMES = ("ipc", "tcp", "curve")
SILENCE_MS = 200
"""Long enough for what should not come to come, mostly."""

Running = tuple[Web, LedgerProcess]


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    """A service that runs, for tests that do not change it."""
    with web_process() as running:
        yield running


@pytest.fixture(scope="module")
def face(service: Running) -> Iterator[RunningFace]:
    """A face at all kinds of addresses, without a verified list."""
    with folder() as place:
        at = (f"ipc://{place}/omq", "tcp://127.0.0.1:0", "curve://127.0.0.1:0")
        with run_face(service[0].url, *at) as running:
            yield running


# ---- What clients of that network do ----


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_storage_server_starts(face: RunningFace, scheme: str) -> None:
    with client_of(face, scheme) as client:
        answer = client.request("rpc.get_service_nodes", STORAGE_SERVER)
        assert answer.status == "200"
        rows = check_storage_server(answer.data[1])
        assert rows is not None
        assert [row["service_node_pubkey"] for row in rows] == KEYS
        assert {row["swarm_id"] for row in rows} > {2**63, 2**64 - 1}
        known = json.loads(answer.data[1])["block_hash"]
        assert known == HASH
        poll = STORAGE_SERVER | {"poll_block_hash": known}
        unchanged = client.request("rpc.get_service_nodes", poll)
        assert check_storage_server(unchanged.data[1]) is None
        assert client.request("sub.block").data in ([b"OK"], [b"ALREADY"])
        ping = {"version": [2, 11, 0], "https_port": 22021, "omq_port": 22020}
        before = len(face.storage_pings)
        assert client.request("admin.storage_server_ping", ping).json == {"status": "OK"}
        assert face.storage_pings[before:] == [StoragePing((2, 11, 0), 22021, 22020)]
        report = {"type": "storage", "pubkey": KEYS[0], "passed": False}
        assert client.request("admin.report_peer_status", report).json == {"status": "OK"}
        assert face.peer_reports[-1] == PeerReport("storage", bytes.fromhex(KEYS[0]), False)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_router_starts(face: RunningFace, scheme: str) -> None:
    with client_of(face, scheme) as client:
        ours = {"pubkey_ed25519": NODE.public.hex(), "version": [1, 0, 0]}
        before = len(face.router_pings)
        assert client.request("admin.session_router_ping", ours).json == {"status": "OK"}
        assert face.router_pings[before:] == [RouterPing((1, 0, 0), "")]
        routers = check_router(client.request("rpc.get_service_nodes", ROUTER).data[1])
        assert routers is not None
        assert len(routers) == len(KEYS)
        poll = ROUTER | {"poll_block_hash": HASH}
        assert check_router(client.request("rpc.get_service_nodes", poll).data[1]) is None


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_private_key_comes_out(face: RunningFace, scheme: str) -> None:
    with client_of(face, scheme) as client:
        for command in ("admin.get_service_node_privkey", "admin.get_service_privkeys"):
            answer = client.request(command)
            assert answer.error == "FORBIDDEN"
            assert NODE.secret[:32] not in b"".join(answer.data)


CALLS: dict[str, dict[str, Any] | None] = {
    "everything": None,
    "all": {"fields": ["all"]},
    "all but one": {"fields": ["all", "-contributors", "-height"]},
    "active ones": {"active_only": True},
    "fields by name": {"fields": {"public_ip": True, "height": True, "storage_port": False}},
    "fields that nobody knows": {"fields": ["nonsense"]},
    "no fields": {"fields": []},
    "one that is left of all": {"fields": {"all": True, "-swarm": True}},
    "some keys": {"service_node_pubkeys": [KEYS[2], KEYS[0].upper(), "00" * 32]},
    "some keys that are active": {"service_node_pubkeys": KEYS, "active_only": True},
    "an old block": {"poll_block_hash": "00" * 32, "fields": ["public_ip"]},
    "the newest block": {"poll_block_hash": HASH, "fields": ["public_ip", "height"]},
    "no block": {"poll_block_hash": ""},
    "a storage server": STORAGE_SERVER,
    "a router": ROUTER,
    "nulls": {"active_only": None, "fields": None, "limit": None, "poll_block_hash": None},
    "parameters that nobody knows": {"include_json": True},
}


@pytest.mark.parametrize("name", CALLS)
def test_answers_are_those_of_json_rpc(face: RunningFace, service: Running, name: str) -> None:
    params = CALLS[name]
    with client_of(face) as client:
        answer = client.request("rpc.get_service_nodes", params)
    reply = fetch(service[0].url, "get_service_nodes", params or {})
    assert answer.json == json.loads(result_of(reply.body))
    assert list(answer.json) == list(json.loads(result_of(reply.body)))


REFUSED: dict[str, dict[str, Any]] = {
    "keys that are none": {"service_node_pubkeys": ["zz"]},
    "a hash that is none": {"poll_block_hash": "zz"},
    "a limit as text": {"limit": "3"},
    "fields as text": {"fields": "all"},
    "fields that are neither": {"fields": {"public_ip": 1}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_json_rpc_refuses_is_refused(face: RunningFace, service: Running, name: str) -> None:
    with client_of(face) as client:
        assert client.request("rpc.get_service_nodes", REFUSED[name]).status == "400"
    reply = fetch(service[0].url, "get_service_nodes", REFUSED[name])
    assert json.loads(reply.body)["error"]["code"] == -32602


def test_limits(face: RunningFace) -> None:
    with client_of(face) as client:
        for limit, count in ((3, 3), (0, 32), (-1, 32), (99, 32)):
            rows = client.request("rpc.get_service_nodes", {"limit": limit}).json
            keys = [row["pubkey_ed25519"] for row in rows["service_node_states"]]
            assert len(set(keys)) == len(keys) == count
            assert set(keys) <= set(KEYS)


def test_the_other_calls_are_those_of_json_rpc(face: RunningFace, service: Running) -> None:
    calls: list[tuple[str, Any]] = [
        ("get_info", {}),
        ("get_block_hash", {"height": [HEIGHT]}),
        ("get_block_hash", {"heights": [HEIGHT, 0]}),
        ("get_block_hash", {"height": HEIGHT}),
    ]
    with client_of(face) as client:
        for method, params in calls:
            reply = fetch(service[0].url, method, params)
            assert client.request(f"rpc.{method}", params).json == json.loads(result_of(reply.body))
        answer = client.request("rpc.get_block_hash", {"height": [HEIGHT + 1]})
        assert (answer.status, b"up to" in answer.data[1]) == ("400", True)


def test_many_requests_are_answered_by_their_tags(face: RunningFace) -> None:
    with client_of(face) as client:
        tags = {client.start("rpc.get_service_nodes", {"limit": n % 3 + 1}): n for n in range(30)}
        for _ in range(30):
            first, tag, code, raw = client.receive()
            limit = tags.pop(tag) % 3 + 1
            assert (first, code) == (b"REPLY", b"200")
            assert len(json.loads(raw)["service_node_states"]) == limit
        assert not tags


def test_a_farewell_is_passed_over(face: RunningFace) -> None:
    with client_of(face) as client:
        client.send(b"BYE")
        assert client.raw(b"") == [b"UNKNOWNCOMMAND", b""]
        client.greet()


# ---- Where it listens ----


def test_a_socket_is_this_users_own_and_goes_with_the_face(service: Running) -> None:
    with run_face(service[0].url) as face:
        path = path_of(face.addresses[0])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.is_socket()
        with pytest.raises(CannotListen, match="another program does"):
            RunningFace([face.addresses[0]], service[0].url).end()
        with client_of(face) as client:
            assert client.request("rpc.get_info").status == "200"
    assert not path.exists()


def test_what_a_dead_program_left_is_no_hindrance(service: Running, tmp_path: Path) -> None:
    with folder() as place:
        (place / "omq").write_bytes(b"")
        with run_face(service[0].url, f"ipc://{place}/omq") as face, client_of(face) as client:
            assert client.request("rpc.get_info").status == "200"


def test_a_port_that_is_taken(service: Running, face: RunningFace) -> None:
    taken = next(each for each in face.addresses if each.startswith("tcp"))
    with pytest.raises(CannotListen, match=r"cannot listen on tcp://127\.0\.0\.1:\d+: "):
        RunningFace([taken], service[0].url).end()


def test_an_encrypted_address_answers_only_those_who_know_its_key(face: RunningFace) -> None:
    address = next(each for each in face.addresses if each.startswith("curve"))
    wrong = convert_to_x25519(bytes.fromhex(KEYS[0])).hex()
    for key in ("", wrong):
        with OxenClient(address, server_key=key) as client:
            client.send(b"HI")
            with pytest.raises(NoAnswer):
                client.receive(SILENCE_MS)
    with client_of(face, "curve") as client:
        assert client.request("rpc.get_info").status == "200"
