"""`waypost node duties`, `swarm` and `history`, on a real chain."""

from collections.abc import Iterator
from typing import Any

import pytest

from ledger.messages.tables import NODES, SWARMS
from ledger.transactions.judge import get_quorum
from registry.addresses import encode_node
from registry.cli.looking import MOST_EPOCHS
from registry.node_history import MAX_HISTORY_EPOCHS
from tests.factory import Network, public
from tests.life import FAULTY, judge
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import FakeService, run_service
from tests.registry.town import NODES_NAMES, THRESHOLD, make_town

BAD = NODES_NAMES[0]
ADDRESS = encode_node(public(BAD))
NOBODY = encode_node(public("nobody"))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    with run_service() as running:
        monkeypatch.setenv("WAYPOST_URL", running.url)
        running.network = make_town(removal_floor=9, activation_floor=9, payable_ms=0)
        running.network.attesting = False
        yield running


def lines_of(*arguments: object) -> list[str]:
    """What a command prints, each line with its columns parted by one space."""
    return [" ".join(line.split()) for line in call(*arguments).stdout.splitlines()]


def address_of(network: Network, key: bytes) -> str:
    """The address of a node, as those have it that store with it."""
    return f"{encode_node(key)} 5.6.7.8:22021"


def test_duties(fake: FakeService) -> None:
    network = fake.network
    tested = [
        key
        for key, _ in network.state.items(NODES)
        if public(BAD) in get_quorum(network.state, 1, key)
    ]
    network.block(judge(network, tested[0], FAULTY))
    shown = call_json("node", "duties", ADDRESS)
    assert [row["node"] for row in shown["tests"]] == [encode_node(key) for key in tested]
    lines = lines_of("node", "duties", ADDRESS)
    assert f"has to test {address_of(network, tested[0])} active, judged" in lines
    assert f"has to test {address_of(network, tested[1])} active" in lines
    for tester in get_quorum(network.state, 1, public(BAD)):
        assert f"tested by {encode_node(tester)}" in lines
    assert f"votes {THRESHOLD} make a verdict" in lines
    assert f"member {address_of(network, public(BAD))}" in lines
    assert len([line for line in lines if line.startswith("member")]) == len(shown["members"])


def test_duties_of_who_has_none(fake: FakeService) -> None:
    fake.network.block(fake.network.register("new", "judy"))
    lines = lines_of("node", "duties", encode_node(public("new")))
    assert lines[1:4] == [
        "has to test nobody",
        "tested by nobody",
        f"votes {THRESHOLD} make a verdict",
    ]
    assert lines[4:] == ["swarm none: only active nodes have one"]


def test_swarm(fake: FakeService) -> None:
    network = fake.network
    other = NODES_NAMES[1]
    for _ in range(2):
        network.block(judge(network, other, FAULTY))
        network.end_epoch()
    network.block(network.register("new", "judy"))
    network.end_epoch()
    shown = call_json("node", "swarm", ADDRESS, "--since", "1")
    assert [row["epoch"] for row in shown["changes"]] == [4]
    own = str(network.state.one(SWARMS, public(BAD)).swarm_id)
    assert (shown["swarm"], shown["gap"], shown["since"]) == (own, False, 1)
    lines = lines_of("node", "swarm", ADDRESS, "--since", "1")
    assert lines[:2] == ["epoch 4", f"swarm {own}"]
    assert lines[-2:] == [
        f"epoch 4 joined by {encode_node(public('new'))}",
        f"epoch 4 left by {encode_node(public(other))}",
    ]
    down = lines_of("node", "swarm", encode_node(public(other)), "--since", "0")
    assert down[1:] == [
        "swarm none: only active nodes have one",
        f"epoch 4 left the swarm {own}",
        "gap not all that happened since epoch 0 is known here",
    ]
    came = lines_of("node", "swarm", encode_node(public("new")), "--since", "3")
    assert f"epoch 4 came into the swarm {own}" in came
    assert call_json("node", "swarm", ADDRESS)["changes"] == []


def test_history(fake: FakeService) -> None:
    network = fake.network
    for faults in (FAULTY, None, 24):
        if faults is not None:
            network.block(judge(network, BAD, faults))
        network.end_epoch()
    rows = call_json("node", "history", ADDRESS)["epochs"]
    assert [row["verdict"] for row in rows] == ["failed", "none", "failed"]
    assert all(int(row["reward"]) > 0 for row in rows)
    lines = lines_of("node", "history", ADDRESS)
    assert lines[0] == "epoch ended verdict reward"
    assert " failed: storage port " in lines[1]
    assert " none " in lines[2]
    assert " failed: wrong address, clock " in lines[3]
    assert lines_of("node", "history", ADDRESS, "--epochs", "1")[1:] == lines[3:]


@pytest.mark.parametrize("command", ["duties", "swarm", "history"])
def test_a_node_that_there_is_not(fake: FakeService, command: str) -> None:
    assert error_of(call("node", command, NOBODY, code=1)) == "not_found"
    assert call("node", command, NOBODY[:-1] + "q", code=2).stdout == ""


@pytest.mark.parametrize(
    "options",
    [
        ("swarm", "--since", "-1"),
        ("history", "--epochs", "0"),
        ("history", "--epochs", str(MOST_EPOCHS + 1)),
    ],
)
def test_numbers_out_of_range(fake: FakeService, options: tuple[Any, ...]) -> None:
    command, *rest = options
    call("node", command, ADDRESS, *rest, code=2)
    assert fake.asked == []


def test_the_command_knows_the_bound_of_the_service() -> None:
    assert MOST_EPOCHS == MAX_HISTORY_EPOCHS
