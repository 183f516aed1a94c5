"""One epoch of testing: who is looked at how often, and what may be said of whom."""

from collections.abc import Sequence
from ipaddress import ip_network
from itertools import pairwise
from typing import Any, Final

import pytest

from ledger.types import Key
from registry.agent.ledger import now_ms
from registry.agent.networks import Networks
from registry.agent.probes import Finding, Looked, Prober, Target
from registry.agent.rounds import (
    AGAIN,
    CONTROLLED,
    DECIDED,
    FIRST,
    LEAST,
    Round,
    Window,
    compute_wait_s,
    find_window,
)
from tests.factory import make_contact, public
from tests.registry.agent.stand_in import PROBER
from tests.registry.factory import in_loop

V4: Final = bytes((127, 0, 0, 1))
V6: Final = bytes(15) + b"\1"
LOOPBACK: Final = Networks([ip_network("127.0.0.0/8"), ip_network("::1/128")])
NOWHERE: Final = Networks([ip_network("10.0.0.0/8")])

GOOD: Final = "good"
BAD: Final = "bad"
"""It answers the challenge, and a port is closed."""
DEAD: Final = "dead"
NO_WAY: Final = "no way"


def node(name: str, v4: bool = True, v6: bool = False) -> Target:
    """A node with these kinds of addresses."""
    contact = make_contact(ipv4=V4 if v4 else b"", ipv6=V6 if v6 else b"")
    return Target(public(name), 1, public(f"{name} duty"), contact)


def outcome(kind: str, address: bytes) -> Looked | None:
    """What a look comes to."""
    family = 4 if len(address) == 4 else 6
    silent = Finding("challenge", "wrong address", "no answer")
    closed = Finding("router TCP", "router port", "refused")
    return {
        GOOD: Looked(family, (), True),
        BAD: Looked(family, (closed,), True),
        DEAD: Looked(family, (silent, closed), False),
        NO_WAY: None,
    }[kind]


class Scene:
    """Nodes that are found like this, look by look; the last outcome goes on for ever."""

    def __init__(self, **outcomes: str | list[str]) -> None:
        self._script = {
            public(name): [script] if isinstance(script, str) else list(script)
            for name, script in outcomes.items()
        }
        self.over_v6: dict[Key, str] = {}
        """What is found of a node over IPv6, where that is something else."""
        self.looks: list[tuple[Key, bytes]] = []
        self.controls: list[Target] = []
        self.asked_for_controls = 0

    async def look(self, prober: Prober, target: Target, address: bytes) -> Looked | None:
        assert prober is PROBER
        self.looks.append((target.node, address))
        if len(address) == 16 and target.node in self.over_v6:
            return outcome(self.over_v6[target.node], address)
        script = self._script[target.node]
        return outcome(script.pop(0) if len(script) > 1 else script[0], address)

    def count(self, name: str) -> int:
        """How often a node was looked at."""
        return sum(key == public(name) for key, _ in self.looks)

    async def _find_controls(self) -> Sequence[Target]:
        self.asked_for_controls += 1
        return self.controls

    async def run(self, *targets: Target, networks: Networks = LOOPBACK) -> dict[Key, int]:
        """Test them; return the faults of those of whom something is said."""
        testing = Round(PROBER, targets, networks, self._find_controls, now_ms, self.look)
        start = now_ms()
        verdicts = await testing.run(Window(start, start + 60))
        assert now_ms() >= start + 60
        for verdict in verdicts:
            assert bool(verdict.faults) is bool(verdict.reasons)
        return {verdict.target.node: verdict.faults for verdict in verdicts}


@in_loop
async def test_who_is_well_is_looked_at_once() -> None:
    scene = Scene(one=GOOD, two=GOOD)
    assert await scene.run(node("one"), node("two")) == {public("one"): 0, public("two"): 0}
    assert (scene.count("one"), scene.count("two")) == (1, 1)
    assert scene.asked_for_controls == 0


@pytest.mark.parametrize(
    ("script", "faults", "looks"),
    [
        ([BAD, GOOD], 0, 2),
        ([BAD, BAD, GOOD], 0, 3),
        ([BAD], 2, 3),
        ([DEAD], 10, 3),
        ([DEAD, DEAD, BAD], 2, 3),
        ([BAD, BAD, DEAD], 10, 3),
    ],
    ids=str,
)
@in_loop
async def test_nobody_fails_without_two_more_looks(
    script: list[str], faults: int, looks: int
) -> None:
    scene = Scene(one=script, two=GOOD)
    assert await scene.run(node("one"), node("two")) == {public("one"): faults, public("two"): 0}
    assert scene.count("one") == looks


@in_loop
async def test_who_hears_nobody_says_nothing() -> None:
    scene = Scene(one=DEAD, two=DEAD, control=DEAD)
    scene.controls = [node("control")]
    assert await scene.run(node("one"), node("two")) == {}
    assert scene.asked_for_controls == 1
    assert scene.count("control") == 1


@in_loop
async def test_who_hears_somebody_else_may_say_that_all_fail() -> None:
    scene = Scene(one=DEAD, two=DEAD, control=DEAD, other=BAD)
    scene.controls = [node("control"), node("other")]
    assert await scene.run(node("one"), node("two")) == {public("one"): 10, public("two"): 10}


@in_loop
async def test_a_fault_that_a_node_shows_itself_needs_no_control() -> None:
    scene = Scene(one=BAD)
    assert await scene.run(node("one")) == {public("one"): 2}
    assert scene.asked_for_controls == 0


@in_loop
async def test_over_ipv6_somebody_has_to_be_heard_over_ipv6() -> None:
    """This machine's IPv6 is down: only IPv4 counts."""
    scene = Scene(both=GOOD, six=DEAD, four=GOOD, dead=DEAD, control=DEAD)
    scene.over_v6 = {public("both"): DEAD}
    scene.controls = [node("control", v4=False, v6=True)]
    targets = [
        node("both", v6=True),
        node("six", v4=False, v6=True),
        node("four"),
        node("dead", v6=True),
    ]
    found = await scene.run(*targets)
    assert found == {public("both"): 0, public("four"): 0, public("dead"): 10}
    assert scene.count("control") == 1


@in_loop
async def test_a_node_has_to_be_there_at_each_of_its_addresses() -> None:
    scene = Scene(both=GOOD, six=GOOD)
    scene.over_v6 = {public("both"): DEAD}
    targets = [node("both", v6=True), node("six", v4=False, v6=True)]
    assert await scene.run(*targets) == {public("both"): 10, public("six"): 0}
    assert scene.count("both") == 6


@in_loop
async def test_an_address_without_a_way_is_left_aside() -> None:
    scene = Scene(both=GOOD, six=NO_WAY)
    scene.over_v6 = {public("both"): NO_WAY}
    assert await scene.run(node("both", v6=True), node("six", v4=False, v6=True)) == {
        public("both"): 0
    }


@in_loop
async def test_outside_of_the_networks_nobody_is_looked_at() -> None:
    scene = Scene(one=DEAD)
    scene.controls = [node("one")]
    assert await scene.run(node("one", v6=True), networks=NOWHERE) == {}
    assert scene.looks == []
    only_v6 = Networks([ip_network("::1/128")])
    scene = Scene(one=GOOD)
    assert await scene.run(node("one", v6=True), networks=only_v6) == {public("one"): 0}
    assert scene.looks == [(public("one"), V6)]


@in_loop
async def test_controls_outside_of_the_networks_are_left_alone() -> None:
    scene = Scene(one=DEAD, control=GOOD)
    outside = node("control")._replace(contact=make_contact())
    scene.controls = [outside]
    assert await scene.run(node("one")) == {}
    assert scene.count("control") == 0


@in_loop
async def test_without_anybody_to_test_nothing_is_said() -> None:
    scene = Scene()
    assert await scene.run() == {}
    assert scene.asked_for_controls == 0


# ---------------------------------------------------------------------------------- the time


@pytest.mark.parametrize(
    ("now", "window"),
    [
        (999, None),
        (1_000, Window(1_000, 9_500)),
        (4_000, Window(4_000, 9_500)),
        (6_500, Window(6_500, 9_500)),
        (6_501, None),
        (20_000, None),
    ],
)
def test_an_epoch_is_tested_while_enough_of_it_is_left(now: int, window: Any) -> None:
    assert find_window(1_000, 10_000, now) == window


def test_looks_are_spaced_and_come_before_the_decision() -> None:
    parts = [FIRST, *AGAIN, (CONTROLLED, CONTROLLED)]
    for (_, before), (after, _) in pairwise(parts):
        assert before < after
    assert len(AGAIN) == 2
    assert 0 < LEAST < DECIDED < CONTROLLED < 1
    window = Window(1_000, 2_000)
    picked = {window.pick(FIRST) for _ in range(200)}
    assert len(picked) > 50
    assert all(1_000 <= at <= 1_400 for at in picked)


@pytest.mark.parametrize(("epoch_ms", "wait_s"), [(10_000, 1.0), (1_800_000, 5.0)])
def test_a_step_has_its_time(epoch_ms: int, wait_s: float) -> None:
    assert compute_wait_s(epoch_ms) == wait_s
