"""One epoch of testing: who is looked at how often, and what may be said of whom."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from ipaddress import ip_network
from itertools import pairwise
from typing import Any, Final

import pytest

from ledger.types import Key
from registry.agent.networks import Networks
from registry.agent.probes import Finding, Looked, Prober, Target
from registry.agent.rounds import (
    AGAIN,
    AT_A_TIME,
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

V4: Final = bytes((127, 0, 0, 1))
V6: Final = bytes(15) + b"\1"
LOOPBACK: Final = Networks([ip_network("127.0.0.0/8"), ip_network("::1/128")])
NOWHERE: Final = Networks([ip_network("10.0.0.0/8")])

GOOD: Final = "good"
BAD: Final = "bad"
"""It answers the challenge, and a port is closed."""
DEAD: Final = "dead"
SHUT: Final = "shut"
"""It answers the challenge, and no TCP connection comes about."""
NO_WAY: Final = "no way"
ODD: Final = "odd"
"""Looking at it shows a fault of ours."""
ENDLESS: Final = "endless"
"""A look at it does not end."""


class Jumping(asyncio.SelectorEventLoop):
    """A loop on which nobody waits: its clock jumps to what is due next."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None) -> Any:
            self._now += timeout or 0.0
            return select(None if timeout is None else 0)

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a loop of its own, on which nobody waits."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=Jumping) as runner:
            runner.run(test(*args, **kwargs))

    return run


EPOCH: Final = Window(0, 85_000, 100_000)
"""When the epoch is tested."""


def node(name: str, v4: bool = True, v6: bool = False) -> Target:
    """A node with these kinds of addresses."""
    contact = make_contact(ipv4=V4 if v4 else b"", ipv6=V6 if v6 else b"")
    return Target(public(name), 1, public(f"{name} duty"), contact)


def outcome(kind: str, address: bytes) -> Looked | None:
    """What a look comes to."""
    family = 4 if len(address) == 4 else 6
    silent = Finding("challenge", "wrong address", "no answer")
    closed = Finding("router TCP", "router port", "refused")
    no_storage = Finding("storage TCP", "storage port", "refused")
    return {
        GOOD: Looked(family, (), True, True),
        BAD: Looked(family, (closed,), True, True),
        DEAD: Looked(family, (silent, closed), False, False),
        SHUT: Looked(family, (no_storage, closed), True, False),
        NO_WAY: None,
    }[kind]


class Scene:
    """Nodes that are found like this, look by look; the last outcome goes on for ever."""

    def __init__(self, **outcomes: str | list[str]) -> None:
        self._script = {
            public(name): [script] if isinstance(script, str) else list(script)
            for name, script in outcomes.items()
        }
        self.took_ms = 0
        """How long a look takes."""
        self._start_ms = 0
        self.newest_ms = 0
        """When the newest look began."""
        self.ended_ms = 0
        """When the newest look ended, whatever ended it."""
        self.over_v6: dict[Key, str] = {}
        """What is found of a node over IPv6, where that is something else."""
        self.looks: list[tuple[Key, bytes]] = []
        self.controls: list[Target] = []
        self.asked_for_controls = 0

    def now_ms(self) -> int:
        """Milliseconds since the epoch began."""
        return round(asyncio.get_running_loop().time() * 1000) - self._start_ms

    async def look(self, prober: Prober, target: Target, address: bytes) -> Looked | None:
        assert prober is PROBER
        self.newest_ms = self.now_ms()
        self.looks.append((target.node, address))
        kind = self._find_kind(target.node, address)
        try:
            await asyncio.sleep(self.took_ms / 1000)
            if kind == ODD:
                raise RuntimeError("odd")
            if kind == ENDLESS:
                await asyncio.sleep(10 * EPOCH.end_ms)
        finally:
            self.ended_ms = self.now_ms()
        return outcome(kind, address)

    def _find_kind(self, key: Key, address: bytes) -> str:
        if len(address) == 16 and key in self.over_v6:
            return self.over_v6[key]
        script = self._script[key]
        return script.pop(0) if len(script) > 1 else script[0]

    def count(self, name: str) -> int:
        """How often a node was looked at."""
        return sum(key == public(name) for key, _ in self.looks)

    async def _find_controls(self) -> Sequence[Target]:
        self.asked_for_controls += 1
        return self.controls

    async def run(self, *targets: Target, networks: Networks = LOOPBACK) -> dict[Key, int]:
        """Test them; return the faults of those of whom something is said."""
        self._start_ms += self.now_ms()
        testing = Round(PROBER, targets, networks, self._find_controls, self.now_ms, self.look)
        verdicts = await testing.run(EPOCH)
        assert self.now_ms() >= EPOCH.until_ms >= self.newest_ms
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
    # the one that is right is looked at once
    assert scene.count("both") == 4


@in_loop
async def test_an_address_that_was_right_once_keeps_its_chances_whatever_the_other_does() -> None:
    """This machine's IPv6 leads nowhere, and one look over IPv4 goes wrong."""
    for script in ([BAD, GOOD, BAD], [BAD, BAD, GOOD], [GOOD, BAD, BAD]):
        scene = Scene(both=script)
        scene.over_v6 = {public("both"): DEAD}
        assert await scene.run(node("both", v6=True)) == {public("both"): 0}


@in_loop
async def test_an_address_without_a_way_is_left_aside() -> None:
    scene = Scene(both=GOOD, six=NO_WAY)
    scene.over_v6 = {public("both"): NO_WAY}
    assert await scene.run(node("both", v6=True), node("six", v4=False, v6=True)) == {
        public("both"): 0
    }


@in_loop
async def test_nobody_fails_after_fewer_looks_that_tell_something() -> None:
    for script in ([BAD, NO_WAY, BAD], [BAD, BAD, NO_WAY], [NO_WAY, BAD, BAD]):
        scene = Scene(one=script, two=GOOD)
        assert await scene.run(node("one"), node("two")) == {public("two"): 0}
        assert scene.count("one") == 3
    scene = Scene(one=[NO_WAY, NO_WAY, GOOD])
    assert await scene.run(node("one")) == {public("one"): 0}


@in_loop
async def test_that_nobody_takes_a_connection_is_no_fault_of_theirs() -> None:
    """This machine can send datagrams, and no connection of its own comes about."""
    scene = Scene(one=SHUT, two=DEAD, control=SHUT)
    scene.controls = [node("control")]
    # that it answers no challenge is told all the same
    assert await scene.run(node("one"), node("two")) == {public("two"): 8}
    assert scene.count("control") == 1


@in_loop
async def test_who_takes_no_connection_fails_where_somebody_else_does() -> None:
    scene = Scene(one=SHUT, control=GOOD)
    scene.controls = [node("control")]
    assert await scene.run(node("one")) == {public("one"): 3}
    assert scene.count("control") == 1
    # over IPv4 somebody does, and over IPv6 nobody
    scene = Scene(one=SHUT, six=SHUT, two=GOOD, control=GOOD)
    targets = [node("one"), node("six", v4=False, v6=True), node("two")]
    assert await scene.run(*targets) == {public("one"): 3, public("two"): 0}


@in_loop
async def test_a_fault_of_ours_costs_nobody_else_a_vote() -> None:
    scene = Scene(one=ODD, two=BAD, three=GOOD, control=ODD)
    scene.controls = [node("control")]
    found = await scene.run(node("one"), node("two"), node("three"))
    assert found == {public("two"): 2, public("three"): 0}
    # nor itself, if it shows at one look only
    assert await Scene(one=[ODD, GOOD]).run(node("one")) == {public("one"): 0}
    scene = Scene(one=DEAD, control=ODD)
    scene.controls = [node("control")]
    assert await scene.run(node("one")) == {}
    assert scene.count("control") == 1


@in_loop
async def test_no_look_begins_once_votes_are_due() -> None:
    """Looks take long, and the last ones wait for their turn until it is too late."""
    names = [f"node {number}" for number in range(3 * AT_A_TIME)]
    scene = Scene(**dict.fromkeys(names, DEAD))
    scene.took_ms = 15_000
    await scene.run(*map(node, names))
    assert len(scene.looks) < 3 * len(names)


@in_loop
async def test_no_look_outlasts_the_epoch() -> None:
    scene = Scene(one=[BAD, BAD, ENDLESS], two=GOOD)
    assert await scene.run(node("one"), node("two")) == {public("two"): 0}
    assert scene.count("one") == 3
    assert scene.ended_ms == scene.now_ms() == EPOCH.end_ms


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
        (1_000, Window(1_000, 9_500, 11_000)),
        (4_000, Window(4_000, 9_500, 11_000)),
        (6_500, Window(6_500, 9_500, 11_000)),
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
    window = Window(1_000, 2_000, 2_500)
    picked = {window.pick(FIRST) for _ in range(200)}
    assert len(picked) > 50
    assert all(1_000 <= at <= 1_400 for at in picked)


@pytest.mark.parametrize(("epoch_ms", "wait_s"), [(10_000, 1.0), (1_800_000, 5.0)])
def test_a_step_has_its_time(epoch_ms: int, wait_s: float) -> None:
    assert compute_wait_s(epoch_ms) == wait_s
