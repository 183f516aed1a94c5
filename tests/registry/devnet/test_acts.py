"""What acts do and tell, by what a service says: nodes that die, and nodes that cheat."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.types import COIN
from registry.addresses import encode_account
from registry.client.services import Services
from registry.devnet import cheating, failing, stage
from registry.devnet.cast import ROUTER_PORT, STORAGE_PORT, Cast
from registry.devnet.crew import Crew
from registry.devnet.stage import Stage

CAST: Final = Cast(bytes(32))
WATCHER: Final = encode_account(CAST.account(cheating.WATCHER).public)
GENESIS: Final = Path("genesis.bin")


class ScriptedStage(Stage):
    """A stage whose service goes from one scene to the next at each look at its epoch."""

    def __init__(self, scenes: Sequence[dict[str, Any]]) -> None:
        self.told: list[str] = []
        super().__init__(CAST, Services(["http://127.0.0.1:1"]), self.told.append)
        self._scenes = scenes
        self._place = -1
        self._is_tested.set()

    async def get(self, path: str) -> Any:
        """Answer by the scene; an epoch is asked for once in each."""
        if path == "/v1/network":
            self._place = min(self._place + 1, len(self._scenes) - 1)
        return self._scenes[max(self._place, 0)][path]


class ScriptedCrew(Crew):
    """A crew of which nothing runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(CAST, folder, GENESIS, [])
        self.did: list[tuple[str, list[int]]] = []
        self.ran: list[tuple[str, list[str]]] = []

    async def kill(self, numbers: Iterable[int]) -> None:
        self.did.append(("kill", list(numbers)))

    async def revive(self, numbers: Iterable[int]) -> None:
        self.did.append(("revive", list(numbers)))

    async def run(self, name: str, module: str, arguments: Sequence[str]) -> None:
        self.ran.append((module, list(arguments)))


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cheating, failing, stage):
        monkeypatch.setattr(module, "LOOK_S", 0)


def node(number: int, state: str, *verdicts: dict[str, Any], credit_ms: int = 40_000) -> Any:
    """What a service says of a node, by its path."""
    known = {"state": state, "verdicts": list(verdicts), "credit_ms": credit_ms}
    return {f"/v1/nodes/{CAST.nodes[number].address}": known}


def on_duty(numbers: Sequence[int]) -> dict[str, Any]:
    """What a service says of nodes that are on duty."""
    known: dict[str, Any] = {}
    for number in numbers:
        known |= node(number, "active")
    return known


def verdict(epoch: int, *faults: str, votes: int = 5) -> dict[str, Any]:
    silent = [None] * (5 - votes)
    return {
        **{"epoch": epoch, "failed": bool(faults), "faults": list(faults)},
        **{"votes": [None] * votes, "silent": silent},
    }


def network(epoch: int, height: int = 100) -> dict[str, Any]:
    return {"/v1/network": {"epoch": epoch, "height": height}}


# ----------------------------------------------------------------------------- nodes that die


def play_failing(
    folder: Path, scenes: Sequence[dict[str, Any]], count: int
) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """Play it over some scenes; return what was told and done."""
    site, crew = ScriptedStage(scenes), ScriptedCrew(folder)
    asyncio.run(failing.Failing(site, crew, count).play())
    return site.told, crew.did


def test_a_node_dies_and_comes_back(tmp_path: Path) -> None:
    old, bad, good = verdict(3, "clock"), verdict(9, "storage port"), verdict(12)
    scenes = [
        on_duty(failing.VICTIMS) | network(9) | node(2, "active", old),
        network(9) | node(2, "active", bad, old),
        network(11) | node(2, "decommissioned", bad, old),
        network(12) | node(2, "decommissioned", good, bad, old),
        network(13) | node(2, "active", good, bad, old, credit_ms=7_900),
    ]
    told, did = play_failing(tmp_path, scenes, 1)
    assert told == [
        f"epoch 9: node 2 killed, agents and servers ({CAST.nodes[2].ipv4})",
        "epoch 9: node 2 failed in epoch 9, 5 of 5 testers agree: storage port",
        "epoch 11: node 2 decommissioned: off duty and unpaid, "
        "40 s of uptime credit left until deregistered",
        "node 2 started again, agents and servers",
        "epoch 12: node 2 passed in epoch 12, 5 of 5 testers agree",
        "epoch 13: node 2 recommissioned: on duty again, 7 s of uptime credit left",
        "node 2 back on duty: that is all of --fail",
    ]
    assert did == [("kill", [2]), ("revive", [2])]


def test_what_happens_to_several_at_once_is_told_once(tmp_path: Path) -> None:
    first, second = verdict(9, "router port", votes=4), verdict(9, "router port")
    scenes = [
        on_duty(failing.VICTIMS) | network(9),
        network(10) | node(2, "active", first) | node(7, "active", second),
        network(11) | node(2, "decommissioned", first) | node(7, "active", second),
        network(12) | node(2, "active", first) | node(7, "decommissioned", second),
        network(13) | node(7, "active", second),
    ]
    told, did = play_failing(tmp_path, scenes, 2)
    assert told[0].startswith("epoch 9: nodes 2 and 7 killed")
    assert told[1:3] == [
        "epoch 10: node 2 failed in epoch 9, 4 of 5 testers agree: router port",
        "epoch 10: node 7 failed in epoch 9, 5 of 5 testers agree: router port",
    ]
    assert told[-1] == "nodes 2 and 7 back on duty: that is all of --fail"
    # each is started as soon as it is off duty
    assert did == [("kill", [2, 7]), ("revive", [2]), ("revive", [7])]


def test_one_that_is_gone_for_good_ends_it_without_a_happy_end(tmp_path: Path) -> None:
    scenes = [
        on_duty(failing.VICTIMS) | network(9),
        network(10) | node(2, "decommissioned"),
        network(20) | node(2, "deregistered"),
    ]
    told, did = play_failing(tmp_path, scenes, 1)
    assert told[-1] == "epoch 20: node 2 deregistered: down for longer than the credit"
    assert did == [("kill", [2]), ("revive", [2])]


def test_who_is_off_duty_already_does_not_die(tmp_path: Path) -> None:
    down = node(2, "decommissioned") | node(7, "exited")
    scenes = [
        on_duty(failing.VICTIMS) | down | network(9),
        network(10) | node(12, "decommissioned"),
        network(11) | node(12, "active"),
    ]
    told, did = play_failing(tmp_path, scenes, 1)
    assert did == [("kill", [12]), ("revive", [12])]
    assert told[-1] == "node 12 back on duty: that is all of --fail"


def test_nobody_on_duty_is_said(tmp_path: Path) -> None:
    scenes = [network(9)]
    for number in failing.VICTIMS:
        scenes[0] |= node(number, "deregistered")
    told, did = play_failing(tmp_path, scenes, 2)
    assert told == ["no node is on duty that may die for --fail: start over with --fresh"]
    assert did == []


# --------------------------------------------------------------------------- nodes that cheat


def report(number: int, height: int, reporter: str = WATCHER) -> dict[str, Any]:
    penalty = {
        "node": CAST.nodes[number].address,
        "taken": str(COIN),
        "bounty": str(COIN // 20),
    }
    return {"height": height, "reporter": reporter, "penalty": penalty}


def scene_of_cheats(
    reports: Sequence[dict[str, Any]], caught: Sequence[int] = (), balance: int = COIN
) -> dict[str, Any]:
    """What a service says while nodes 3 and 8 cheat."""
    rows = [{"duty_key": f"duty {n}", "node": CAST.nodes[1].address, "epoch": 9} for n in caught]
    nodes = {
        f"/v1/nodes/{CAST.nodes[number].address}": {"state": "active", "duty_key": f"duty {number}"}
        for number in cheating.CHEATS
    }
    return {
        **network(9),
        **nodes,
        f"/v1/accounts/{WATCHER}": {"balance": str(balance)},
        "/v1/verdicts": {"contradictions": rows},
        "/v1/reports": {"reports": list(reports)},
    }


def test_cheats_are_caught_and_reported(tmp_path: Path) -> None:
    stranger = "somebody"
    scenes = [scene_of_cheats([report(8, 101, stranger), report(3, 101), report(3, 90)], [3, 8])]
    site, crew = ScriptedStage(scenes), ScriptedCrew(tmp_path / "nodes")
    asyncio.run(cheating.Cheating(site, crew, tmp_path, 2).play())
    assert site.told[1:] == [
        "epoch 9: nodes 3 and 8 cheating: each signs a pass and a fail of one node, and sends both",
        "node 3: a service has both votes, on node 1 in epoch 9: that is evidence",
        "node 8: a service has both votes, on node 1 in epoch 9: that is evidence",
        "node 3: reported by the watcher in block 101: 1 coin of its stake taken, 0.05 coins of it "
        "for the report",
        f"node 8: reported by {stranger} in block 101: 1 coin of its stake taken, 0.05 coins of it "
        "for the report",
        # what somebody else reported is not its own
        "the watcher earned 0.05 coins: that is all of --equivocate",
    ]
    (watching, words), *cheats = crew.ran
    assert (watching, words[:2]) == ("registry", ["report", "watch"])
    assert str(tmp_path / "watcher.json") in words
    assert [module for module, _ in cheats] == ["registry.devnet.cheat"] * 2
    for number, (_, arguments) in zip((3, 8), cheats, strict=True):
        assert str(crew.key_file(CAST.nodes[number])) in arguments


def test_a_report_of_an_earlier_run_counts_for_nothing(tmp_path: Path) -> None:
    site = ScriptedStage([scene_of_cheats([report(3, 90)], [3])])
    act = cheating.Cheating(site, ScriptedCrew(tmp_path / "nodes"), tmp_path, 1)

    async def play() -> None:
        async with asyncio.timeout(0.2):
            await act.play()

    with pytest.raises(TimeoutError):
        asyncio.run(play())
    assert (
        site.told[-1] == "node 3: a service has both votes, on node 1 in epoch 9: that is evidence"
    )


NAMES: Final = {"one": ([4], "node 4"), "two": ([9, 4], "nodes 4 and 9")}


@pytest.mark.parametrize(("numbers", "text"), NAMES.values(), ids=NAMES)
def test_how_nodes_are_named(numbers: list[int], text: str) -> None:
    assert stage.name_nodes(numbers) == text


COINS: Final = {
    "one": (COIN, "1 coin"),
    "many": (100 * COIN, "100 coins"),
    "a part": ("50000000", "0.05 coins"),
    "none": ("0", "0 coins"),
    "the least": (1, "0.000000001 coins"),
}


@pytest.mark.parametrize(("units", "text"), COINS.values(), ids=COINS)
def test_how_coins_are_shown(units: int | str, text: str) -> None:
    assert stage.show_coins(units) == text


# ------------------------------------------------------------------------------ what is tested


def votes(number: int, epoch: int, passes: int, fails: int = 0) -> dict[str, Any]:
    """What a service holds on a node, by its path."""
    held = {"passes": passes, "fails": fails, "needed": 4}
    return {f"/v1/verdicts/{epoch}/{CAST.nodes[number].address}": held}


def untested(epoch: int) -> dict[str, Any]:
    return {f"/v1/verdicts/{epoch}/{each.address}": None for each in CAST.nodes}


def test_the_first_epoch_with_enough_votes_is_told() -> None:
    some, most = votes(0, 8, 5) | votes(1, 8, 1), votes(0, 8, 5) | votes(1, 8, 0, fails=4)
    scenes = [
        network(8) | untested(7) | untested(8),
        network(8) | untested(7) | untested(8) | some,
        network(9) | untested(8) | untested(9) | most | votes(0, 9, 1),
    ]
    site = ScriptedStage(scenes)
    asyncio.run(site.tell_tests())
    assert site.told == [
        "epoch 8: the agents tested each other and cast 9 votes: 1 of 2 nodes passed"
    ]


# --------------------------------------------------------------------------------- the crew


def test_who_ends_by_itself_is_told_of(tmp_path: Path) -> None:
    """A cheat whose key file is missing; and one that is killed on purpose, which is no news."""
    told: list[str] = []
    log = (tmp_path / "log").open("ab")
    crew = Crew(CAST, tmp_path / "nodes", GENESIS, ["http://127.0.0.1:1"], log, told.append)

    async def play() -> None:
        words = ["--node", str(tmp_path / "none.json"), "--genesis", str(tmp_path / "none.bin")]
        await crew.run("the cheat of node 3", "registry.devnet.cheat", [*words, "--service", "x"])
        async with asyncio.timeout(60):
            while not told:
                await asyncio.sleep(0.01)
        ports = ["--storage-port", str(STORAGE_PORT), "--router-port", str(ROUTER_PORT)]
        place = ["--ipv4", CAST.nodes[24].ipv4, *ports]
        await crew.run("its servers", "registry.devnet.node", place)
        await crew.stop()

    asyncio.run(play())
    log.close()
    assert told == ["the cheat of node 3 ended with code 1: see the log"]
