"""What a node has to do, against quorums drawn node by node."""

from typing import Any

import pytest

from ledger.messages.state import NODE_STATES
from ledger.messages.tables import CONTACTS, EPOCH, NODES, SWARMS
from ledger.transactions.judge import get_quorum
from ledger.types import Key
from registry import duties as duties_module
from registry.addresses import encode_account, encode_node
from registry.assignments import show_duties
from registry.duties import Duties
from registry.status import show_contact
from registry.swarm_feed import Swarms
from tests.factory import Network, public
from tests.life import FAULTY, duty_pair, judge, running, set_keys
from tests.registry.factory import Node, in_loop, queries_of
from tests.registry.town import NODES_NAMES, THRESHOLD, go_to_end, lives, make_town

BAD = NODES_NAMES[0]


def duties_of(network: Network, key: Key) -> dict[str, Any]:
    """What a node has to do, told by somebody who has read nothing yet."""
    shown = show_duties(network.view, Duties(), Swarms(), key)
    assert shown is not None
    return shown


def nodes_tested_by(network: Network, key: Key) -> list[Key]:
    """Whom a node tests in the running epoch."""
    state, epoch = network.state, running(network)
    return [
        tested
        for tested, node in state.items(NODES)
        if 0 < node.tested_from <= epoch and key in get_quorum(state, epoch, tested)
    ]


def check_duties(network: Network, key: Key) -> dict[str, Any]:
    """Compare what a node is told with the records; whether others are judged aside."""
    state, epoch = network.state, running(network)
    swarm_of = {other: row.swarm_id for other, row in state.items(SWARMS)}
    own, is_tested = swarm_of.get(key), 0 < state.one(NODES, key).tested_from <= epoch
    testers = get_quorum(state, epoch, key) if is_tested else ()
    told = duties_of(network, key)
    tests = []
    for tested in nodes_tested_by(network, key):
        node = state.one(NODES, tested)
        tests.append(
            {
                "node": encode_node(tested),
                "life": node.life,
                "state": NODE_STATES[node.state],
                "operator": encode_account(node.operator),
                "contact": show_contact(state.one(CONTACTS, tested)),
                "duty_key": duty_pair(network, tested, epoch).public.hex(),
            }
        )
    assert [{k: v for k, v in row.items() if k != "judged"} for row in told["tests"]] == tests
    assert {name: value for name, value in told.items() if name != "tests"} == {
        "node": encode_node(key),
        "height": network.chain.tip.height,
        "epoch": epoch,
        "epoch_start_ms": state.one(EPOCH).start_ms,
        "epoch_ends_ms": state.one(EPOCH).start_ms + network.params.epoch_ms,
        "testers_needed": THRESHOLD,
        "testers": [encode_node(tester) for tester in testers],
        "swarm": None if own is None else str(own),
        "members": [
            {"node": encode_node(other), "contact": show_contact(state.one(CONTACTS, other))}
            for other, swarm in swarm_of.items()
            if swarm == own
        ],
    }
    return told


def test_nodes_in_every_state() -> None:
    network = make_town()
    states, swarms, busy = set(), set(), set()
    for raws, ms in lives(network):
        network.block(*raws, ms=ms)
        for key, node in network.state.items(NODES):
            told = check_duties(network, key)
            states.add(node.state)
            swarms.add(told["swarm"] is None)
            busy.add(bool(told["tests"]))
    assert len(states) > 4
    assert swarms == busy == {True, False}


def test_who_is_judged_need_not_be_tested() -> None:
    network = make_town()
    network.block(judge(network, BAD, FAULTY))
    seen = set()
    for name in NODES_NAMES:
        for row in duties_of(network, public(name))["tests"]:
            assert row["judged"] == (row["node"] == encode_node(public(BAD)))
            seen.add(row["judged"])
    assert seen == {True, False}
    network.end_epoch()
    # that was for the epoch before
    rows = [row for name in NODES_NAMES for row in duties_of(network, public(name))["tests"]]
    assert {row["judged"] for row in rows} == {False}


def test_contact_data_and_keys_are_those_in_force() -> None:
    network = make_town()
    before = check_duties(network, public(BAD))
    for name in NODES_NAMES[1:]:
        network.block(
            network.update_contact(name), set_keys(network, name, 2, duty=f"{name} duty 2")
        )
    # what waits for the epoch's end is told by nobody
    assert duties_of(network, public(BAD)) | {"height": 0} == before | {"height": 0}
    network.end_epoch()
    after = check_duties(network, public(BAD))
    assert after["tests"]
    assert {row["contact"]["ipv4"] for row in after["tests"]} == {"5.6.7.9"}
    assert {row["contact"]["ipv4"] for row in after["members"]} == {"5.6.7.8", "5.6.7.9"}
    new_keys = {public(f"{name} duty 2").hex() for name in NODES_NAMES}
    assert {row["duty_key"] for row in after["tests"]} <= new_keys


def test_nobody_has_no_duties() -> None:
    assert show_duties(make_town().view, Duties(), Swarms(), bytes(32)) is None


@in_loop
async def test_what_was_prepared_is_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    node, key = Node(make_town()), public(BAD)
    drawn: list[Key] = []
    real = duties_module._draw

    def draw(members: Any, roster: Any, tested: Key, operator: Key) -> tuple[Key, ...]:
        drawn.append(tested)
        return real(members, roster, tested, operator)

    try:
        queries, arguments = queries_of(node), {"key": key}
        monkeypatch.setattr(duties_module, "_draw", draw)
        for _ in range(3):
            height = await queries.prepare("duties", arguments, None)
            assert len(drawn) == len(NODES_NAMES)
            drawn.clear()
            answer = queries.answer("duties", arguments, height)
            # its own testers are drawn each time, and nobody else's
            assert drawn == [key]
            assert answer == {"height": height, "result": duties_of(node.network, key)}
            drawn.clear()
            await go_to_end(node)
    finally:
        await node.close()
