"""Check-ins: which are taken, which are refused and why, and how long they are held."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.codec import encode
from ledger.messages.checkins import SIGNED_CHECK_IN, CheckIn, SignedCheckIn
from ledger.messages.contact import Version
from ledger.messages.tables import NODES
from registry import checkins as module
from registry.addresses import encode_node
from registry.checkins import MAX_ARRIVING, MOST_OFF_MS, show_check_in
from registry.ipc import Busy
from registry.wallet import sign_check_in
from tests.factory import QUARTER, START_MS, keys, public
from tests.registry.factory import Clock, Node, in_loop, queries_of, settle
from tests.registry.town import NODES_NAMES, go_to_end, make_town

NAME = NODES_NAMES[0]
NOW_MS = START_MS + 1_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the service."""
    made = Clock(NOW_MS)
    monkeypatch.setattr(module, "time", made)
    return made


def check_in(**changes: Any) -> CheckIn:
    """What the agent of a node says."""
    return replace(CheckIn(public(NAME), NOW_MS, Version(1, 2, 3), 17), **changes)


def signed(at: Node, who: str = NAME, **changes: Any) -> bytes:
    """A check-in, signed by the key of `who`."""
    return sign_check_in(at.network.hash, keys(who), check_in(**changes))


def statuses(node: Node) -> dict[str, Any]:
    """What the status of each node of the town says of its agent."""
    queries, fields = queries_of(node), show_check_in(None)
    return {
        name: {field: row[field] for field in fields}
        for name in NODES_NAMES
        if (row := queries.answer("node", {"key": public(name)}, None)["result"]) is not None
    }


@in_loop
async def test_one_that_is_taken_shows_in_the_status(clock: Clock) -> None:
    node = Node(make_town())
    try:
        silent = {"checked_in_ms": None, "agent_version": None, "agent_faults": None}
        assert statuses(node) == dict.fromkeys(NODES_NAMES, silent)
        before = node.network.dump()
        clock.off_ms = 40
        answer = await node.replica.check_ins.add(signed(node))
        assert answer == {
            "node": encode_node(public(NAME)),
            "time_ms": NOW_MS,
            "now_ms": NOW_MS + 40,
            "code": None,
            "values": {},
        }
        told = {
            "checked_in_ms": NOW_MS,
            "agent_version": [1, 2, 3],
            "agent_faults": ["storage port", "clock"],
        }
        assert statuses(node) == dict.fromkeys(NODES_NAMES, silent) | {NAME: told}
        # nothing of it is for the ledger
        assert node.network.dump() == before
        assert node.pool.candidates() == []
    finally:
        await node.close()


REFUSED: dict[str, tuple[Callable[[Node], bytes], str, dict[str, Any]]] = {
    "no record": (lambda _: b"\xc0", "not_canonical", {"what": "check-in"}),
    "far too long": (lambda _: bytes(300), "too_large", {"size": 300, "limit": 256}),
    "not the shortest form": (
        lambda node: signed(node).replace(b"\x93\x01\x02\x03", b"\x93\xcc\x01\x02\x03"),
        "not_canonical",
        {"what": "check-in"},
    ),
    "a fault that there is not": (
        lambda _: encode(((bytes(32), 1, (1, 0, 0), 64), bytes(64))),
        "not_canonical",
        {"what": "check-in"},
    ),
    "a key that is no node": (
        lambda node: signed(node, "alice", node=public("alice")),
        "unknown_node",
        {},
    ),
    "too old": (
        lambda node: signed(node, time_ms=NOW_MS - MOST_OFF_MS - 1),
        "check_in_time",
        {"time_ms": NOW_MS - MOST_OFF_MS - 1, "now_ms": NOW_MS, "most_ms": MOST_OFF_MS},
    ),
    "from the future": (
        lambda node: signed(node, time_ms=NOW_MS + MOST_OFF_MS + 1),
        "check_in_time",
        {"time_ms": NOW_MS + MOST_OFF_MS + 1, "now_ms": NOW_MS, "most_ms": MOST_OFF_MS},
    ),
    "signed by another node": (lambda node: signed(node, NODES_NAMES[1]), "bad_signature", {}),
    "signed for another network": (
        lambda _: sign_check_in(bytes(32), keys(NAME), check_in()),
        "bad_signature",
        {},
    ),
    "signed, and then changed": (
        lambda node: encode(
            SignedCheckIn(check_in(faults=0), SIGNED_CHECK_IN.decode(signed(node)).signature)
        ),
        "bad_signature",
        {},
    ),
}


@pytest.mark.parametrize(("make", "code", "values"), REFUSED.values(), ids=REFUSED.keys())
@in_loop
async def test_refused(
    clock: Clock, make: Callable[[Node], bytes], code: str, values: dict[str, Any]
) -> None:
    node = Node(make_town())
    try:
        answer = await node.replica.check_ins.add(make(node))
        nothing = {"node": None, "time_ms": None, "now_ms": None}
        assert answer == nothing | {"code": code, "values": values}
        assert node.replica.check_ins.newest == {}
        # no signature was looked at unless nothing else was wrong
        assert node.verifier.asked == ([1] if code == "bad_signature" else [])
        assert clock.ms == NOW_MS
    finally:
        await node.close()


@pytest.mark.parametrize("off_ms", [-MOST_OFF_MS, MOST_OFF_MS])
@in_loop
async def test_at_the_edge_of_what_may_be_off(clock: Clock, off_ms: int) -> None:
    node = Node(make_town())
    try:
        answer = await node.replica.check_ins.add(signed(node, time_ms=NOW_MS + off_ms))
        assert (answer["code"], answer["now_ms"]) == (None, clock.ms)
    finally:
        await node.close()


@pytest.mark.usefixtures("clock")
@in_loop
async def test_the_newest_counts() -> None:
    node = Node(make_town())
    check_ins = node.replica.check_ins
    try:
        first, second = signed(node), signed(node, time_ms=NOW_MS + 1, faults=0)
        assert (await check_ins.add(first))["code"] is None
        # who heard no answer sends it again
        assert (await check_ins.add(first))["code"] is None
        same_time = await check_ins.add(signed(node, faults=0))
        assert (same_time["code"], same_time["values"]) == ("check_in_old", {"newest_ms": NOW_MS})
        assert (await check_ins.add(second))["code"] is None
        late = await check_ins.add(first)
        assert (late["code"], late["values"]) == ("check_in_old", {"newest_ms": NOW_MS + 1})
        assert check_ins.newest == {public(NAME): check_in(time_ms=NOW_MS + 1, faults=0)}
        # each node has its own
        other = NODES_NAMES[1]
        assert (await check_ins.add(signed(node, other, node=public(other))))["code"] is None
        assert len(check_ins.newest) == 2
    finally:
        await node.close()


@pytest.mark.usefixtures("clock")
@in_loop
async def test_one_that_is_verified_late_does_not_replace_a_newer_one() -> None:
    node = Node(make_town())
    check_ins = node.replica.check_ins
    try:
        node.verifier.gate.clear()
        late = asyncio.create_task(check_ins.add(signed(node)))
        newer = asyncio.create_task(check_ins.add(signed(node, time_ms=NOW_MS + 5)))
        await settle()
        # the other one's signature comes back first
        check_ins.newest[public(NAME)] = check_in(time_ms=NOW_MS + 5)
        node.verifier.gate.set()
        assert ((await newer)["code"], (await late)["code"]) == (None, "check_in_old")
        assert check_ins.newest == {public(NAME): check_in(time_ms=NOW_MS + 5)}
    finally:
        await node.close()


@pytest.mark.usefixtures("clock")
@in_loop
async def test_who_is_no_node_any_more_has_none() -> None:
    node = Node(make_town())
    network, check_ins = node.network, node.replica.check_ins
    try:
        await node.block(network.register("waits", "alice", QUARTER))
        await check_ins.add(signed(node))
        await check_ins.add(signed(node, "waits", node=public("waits")))
        await node.block(network.request_unlock("alice", "waits"))
        assert set(check_ins.newest) == {public(NAME), public("waits")}
        await go_to_end(node)
        assert network.state.get(NODES, public("waits")) is None
        assert set(check_ins.newest) == {public(NAME)}
        again = await check_ins.add(signed(node, "waits", node=public("waits")))
        assert again["code"] == "unknown_node"
    finally:
        await node.close()


@pytest.mark.usefixtures("clock")
@in_loop
async def test_no_more_arrive_than_fit() -> None:
    node = Node(make_town())
    check_ins = node.replica.check_ins
    try:
        node.verifier.gate.clear()
        raw = signed(node)
        arriving = [asyncio.create_task(check_ins.add(raw)) for _ in range(MAX_ARRIVING)]
        await settle()
        with pytest.raises(Busy):
            await check_ins.add(raw)
        node.verifier.gate.set()
        assert {answer["code"] for answer in await asyncio.gather(*arriving)} == {None}
        # there is room again
        assert (await check_ins.add(raw))["code"] is None
    finally:
        await node.close()
