"""What the desk answers to messages, well-formed and not, and to whom."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from registry.api.models import HEIGHT
from registry.oxenmq import PeerReport, RouterPing, StoragePing
from registry.oxenmq.allowance import UNITS_A_SECOND, Allowance, Peer
from registry.oxenmq.commands import COMMANDS, MAX_UNDER_WAY, Access, Callbacks, Desk
from registry.oxenmq.wire import MAX_TAG_BYTES
from tests.registry.factory import in_loop, settle
from tests.registry.oxenmq.face import NODE, Hand
from tests.registry.oxenmq.services import Service

TAG = b"\x00\xfftag"
LOCAL = Peer(0, 1, "", True)
NEAR = Peer(1, 1, "127.0.0.1", True)
FAR = Peer(1, 2, "192.0.2.1", False)
OTHER_NODE = "ab" * 32
OURS = NODE.public.hex()


class Office:
    """A desk, its service, its clock, and what was reported to it."""

    def __init__(self) -> None:
        self.service = Service()
        self.clock = Hand()
        self.reports: list[Any] = []
        add = self.reports.append
        callbacks = Callbacks(add, add, add)
        self.desk = Desk(self.service, NODE.public, lambda: None, callbacks, self.clock)

    async def ask(self, *parts: bytes, peer: Peer = LOCAL) -> Sequence[bytes] | None:
        """Return what a message gets."""
        answer = self.desk.take(peer, parts)
        return await answer() if callable(answer) else answer

    async def call(self, command: str, body: Any = None, peer: Peer = LOCAL) -> list[bytes]:
        """Return what stands behind the tag."""
        bodies = [] if body is None else [json.dumps(body).encode()]
        answer = await self.ask(command.encode(), TAG, *bodies, peer=peer)
        assert answer is not None
        assert answer[:2] == (b"REPLY", TAG), answer
        return list(answer[2:])

    async def status(self, command: str, body: Any, peer: Peer = LOCAL) -> str:
        """Return the status that a good answer tells."""
        code, raw = await self.call(command, body, peer)
        assert code == b"200", raw
        status: str = json.loads(raw)["status"]
        return status


# ---- Messages ----


@in_loop
async def test_a_greeting_is_returned() -> None:
    office = Office()
    assert await office.ask(b"HI") == (b"HELLO",)
    assert await office.ask(b"HI", b"more") == (b"HELLO",)


UNANSWERED = {
    "nothing": [],
    "a farewell": [b"BYE"],
    "a greeting's answer": [b"HELLO"],
    "an answer": [b"REPLY", TAG, b"200"],
    "an error": [b"UNKNOWNCOMMAND", b"rpc.get_info"],
    "an error about a tag": [b"FORBIDDEN", b"REPLY", TAG],
    "a lack of a tag": [b"NO_REPLY_TAG", b"rpc.get_info"],
    "an error among nodes": [b"FORBIDDEN_SN", b"REPLY", TAG],
    "no node": [b"NOT_A_SERVICE_NODE", b"REPLY", TAG],
    "a tag without end": [b"rpc.get_info", b"t" * (MAX_TAG_BYTES + 1)],
}


@pytest.mark.parametrize("name", UNANSWERED)
@in_loop
async def test_what_is_no_request_gets_no_answer(name: str) -> None:
    office = Office()
    assert await office.ask(*UNANSWERED[name]) is None
    assert office.service.calls == []


REFUSED: dict[str, tuple[list[bytes], tuple[bytes, ...]]] = {
    "a command that does not exist": (
        [b"rpc.get_everything", TAG],
        (b"UNKNOWNCOMMAND", b"rpc.get_everything"),
    ),
    "an empty command": ([b""], (b"UNKNOWNCOMMAND", b"")),
    "a command that is no text": ([b"\xff\x00", TAG], (b"UNKNOWNCOMMAND", b"\xff\x00")),
    "a command without end": ([b"c" * 60_000, TAG], (b"UNKNOWNCOMMAND", b"c" * 100)),
    "a command in capitals": ([b"RPC.GET_INFO", TAG], (b"UNKNOWNCOMMAND", b"RPC.GET_INFO")),
    "no tag": ([b"rpc.get_info"], (b"NO_REPLY_TAG", b"rpc.get_info")),
    "two bodies": (
        [b"rpc.get_info", TAG, b"{}", b"{}"],
        (b"REPLY", TAG, b"400", b"send one part as the body"),
    ),
    "keys for a storage server": (
        [b"admin.get_service_node_privkey", TAG],
        (b"FORBIDDEN", b"REPLY", TAG),
    ),
    "keys for a router": ([b"admin.get_service_privkeys", TAG], (b"FORBIDDEN", b"REPLY", TAG)),
}


@pytest.mark.parametrize("name", REFUSED)
@in_loop
async def test_what_is_refused(name: str) -> None:
    office = Office()
    parts, expected = REFUSED[name]
    assert await office.ask(*parts) == expected
    assert office.service.calls == office.reports == []


@in_loop
async def test_an_empty_tag_is_a_tag() -> None:
    office = Office()
    answer = await office.ask(b"rpc.get_info", b"")
    assert answer == (b"REPLY", b"", b"200", b'{"status":"OK","height":%d}' % (HEIGHT + 1))


@in_loop
async def test_administration_is_for_this_machine() -> None:
    for name, command in COMMANDS.items():
        office = Office()
        answer = await office.ask(name.encode(), TAG, peer=FAR)
        is_forbidden = answer == (b"FORBIDDEN", b"REPLY", TAG)
        assert is_forbidden is name.startswith("admin."), name
        assert is_forbidden is (command.access is not Access.ANYBODY), name
        assert office.reports == []


BODIES = {
    "no JSON": b"{",
    "no text": b'{"height": "\xff"}',
    "bencode": b"d6:heighti1ee",
    "an array": b"[1]",
    "nested without end": b'{"fields": ' + b"[" * 60_000,
    "another type": b'{"active_only": "yes", "height": "1"}',
    "keys that are none": b'{"service_node_pubkeys": ["zz"], "height": {}}',
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("command", ["rpc.get_service_nodes", "rpc.get_block_hash"])
@in_loop
async def test_a_body_that_says_nothing_is_refused(command: str, name: str) -> None:
    office = Office()
    answer = await office.ask(command.encode(), TAG, BODIES[name])
    assert answer is not None
    code, why = answer[2:]
    assert code == b"400", answer
    assert why.startswith(b"change the body: ")
    assert len(why) < 300
    assert office.service.calls == []


@pytest.mark.parametrize("body", [b"", b"null", b" {} ", b'{"unknown": 1}'])
@in_loop
async def test_a_body_may_be_left_out(body: bytes) -> None:
    office = Office()
    answer = await office.ask(b"rpc.get_service_nodes", TAG, body)
    assert answer is not None
    assert len(json.loads(answer[3])["service_node_states"]) == 32


# ---- What happens to a service ----


@in_loop
async def test_a_service_that_is_away_is_an_error() -> None:
    office = Office()
    office.service.is_away = True
    for command in ("rpc.get_service_nodes", "rpc.get_info"):
        assert await office.call(command) == [
            b"500",
            b"no service answers: ask again in a moment",
        ]


@in_loop
async def test_what_a_service_refuses_is_told() -> None:
    office = Office()
    office.service.error = {"code": -32602, "message": "send 1 to 100 heights as height"}
    expected = [b"400", b"send 1 to 100 heights as height"]
    assert await office.call("rpc.get_block_hash", {"heights": list(range(101))}) == expected


@in_loop
async def test_one_height_is_as_good_as_several() -> None:
    office = Office()
    _, one = await office.call("rpc.get_block_hash", {"height": [7]})
    assert json.loads(one)["7"]
    assert office.service.calls == [("get_block_hash", {"height": [7]})]


# ---- Reports of local programs ----


@in_loop
async def test_a_storage_server_that_runs() -> None:
    office = Office()
    ping = {"version": [2, 11, 0], "pubkey_ed25519": OURS, "https_port": 22021, "omq_port": 22020}
    assert await office.status("admin.storage_server_ping", ping) == "OK"
    assert office.reports == [StoragePing((2, 11, 0), 22021, 22020)]
    # older ones say no key
    del ping["pubkey_ed25519"]
    assert await office.status("admin.storage_server_ping", ping, NEAR) == "OK"
    assert len(office.reports) == 2


@in_loop
async def test_a_router_that_runs_or_does_not() -> None:
    office = Office()
    ping = {"version": [1, 0, 3], "pubkey_ed25519": OURS}
    assert await office.status("admin.session_router_ping", ping) == "OK"
    status = await office.status("admin.session_router_ping", ping | {"error": "no tunnel"})
    assert status == "Error: no tunnel"
    await office.status("admin.session_router_ping", ping | {"error": "e" * 1_000})
    assert office.reports == [
        RouterPing((1, 0, 3), ""),
        RouterPing((1, 0, 3), "no tunnel"),
        RouterPing((1, 0, 3), "e" * 200),
    ]


@pytest.mark.parametrize("command", ["admin.storage_server_ping", "admin.session_router_ping"])
@in_loop
async def test_pings_that_are_not_for_this_node(command: str) -> None:
    office = Office()
    of_another = {"version": [2, 11, 0], "pubkey_ed25519": OTHER_NODE}
    status = await office.status(command, of_another)
    assert status == f"Invalid pubkey: this is the agent of {OURS}"
    assert await office.status(command, {}) == "Invalid version: say which one runs"
    for body in ({"version": [1, 2]}, {"version": [-1, 0, 0]}, {"version": [1, 0, 0], "error": 1}):
        code, _ = await office.call(command, body)
        assert code == b"400"
    assert office.reports == []


@in_loop
async def test_a_test_of_another_node() -> None:
    office = Office()
    report = {"type": "storage", "pubkey": OTHER_NODE, "passed": False}
    assert await office.status("admin.report_peer_status", report) == "OK"
    assert office.reports == [PeerReport("storage", bytes.fromhex(OTHER_NODE), False)]
    wrong: list[dict[str, Any]] = [
        {"type": "storage; rm"},
        {"type": "s" * 33},
        {"pubkey": OTHER_NODE[:-1]},
        {"pubkey": OTHER_NODE.upper()},
        {"passed": 1},
    ]
    for change in wrong:
        code, _ = await office.call("admin.report_peer_status", report | change)
        assert code == b"400", change
    code, _ = await office.call("admin.report_peer_status")
    assert code == b"400"
    assert len(office.reports) == 1


@in_loop
async def test_what_a_callback_raises_is_logged_and_told_as_an_error() -> None:
    office = Office()

    def fail(_report: object) -> None:
        raise ZeroDivisionError

    office.desk.callbacks = Callbacks(fail, fail, fail)
    with capture_logs() as logs:
        answer = await office.call("admin.storage_server_ping", {"version": [1, 0, 0]})
    assert answer == [b"500", b"this failed: see the agent's log"]
    assert [line["event"] for line in logs] == ["a command failed"]
    assert (await office.call("rpc.get_info"))[0] == b"200"


# ---- Bounds ----


@in_loop
async def test_one_host_has_only_so_many_requests_under_way() -> None:
    office = Office()
    office.service.gate.clear()
    waiting = [
        asyncio.ensure_future(office.call("rpc.get_info", peer=FAR)) for _ in range(MAX_UNDER_WAY)
    ]
    await settle()
    one_more = await office.call("rpc.get_info", peer=FAR)
    assert one_more == [b"500", b"too many at once: ask again in a second"]
    other = asyncio.ensure_future(office.call("rpc.get_info", peer=NEAR))
    await settle()
    office.service.gate.set()
    assert {code for code, _ in await asyncio.gather(*waiting, other)} == {b"200"}
    assert (await office.call("rpc.get_info", peer=FAR))[0] == b"200"


@in_loop
async def test_what_costs_much_is_counted() -> None:
    office = Office()
    cost = COMMANDS["rpc.get_block_hash"].cost
    for _ in range(-(-UNITS_A_SECOND // (cost - 1))):
        assert (await office.call("rpc.get_block_hash", {"height": [1]}, FAR))[0] == b"200"
    expected = [b"500", b"too much at once: ask again in a second"]
    assert await office.call("rpc.get_block_hash", {"height": [1]}, FAR) == expected
    assert (await office.call("rpc.get_block_hash", {"height": [1]}, NEAR))[0] == b"200"
    office.clock.now_s += 1
    assert (await office.call("rpc.get_block_hash", {"height": [1]}, FAR))[0] == b"200"


def test_an_allowance_is_each_hosts_own_and_each_seconds() -> None:
    clock = Hand()
    allowance = Allowance(clock, units=10)
    assert all(allowance.take("one") for _ in range(10))
    assert not allowance.take("one")
    assert allowance.take("other", 4)
    # who has any left may have one large answer, and pays for it later
    assert allowance.take("other", 31)
    assert not allowance.take("other")
    clock.now_s += 1
    assert allowance.take("one")
    assert not allowance.take("other")
    clock.now_s += 2
    assert allowance.take("other", 4)
    assert allowance.take("other")
    assert not allowance.take("other")
    allowance.charge("one", 25)
    clock.now_s += 1
    assert not allowance.take("one")
    clock.now_s += 1
    assert [allowance.take("one") for _ in range(6)] == [True] * 5 + [False]
