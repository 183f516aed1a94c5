"""Duty over an epoch: testing, deciding and sending, and what a restart makes of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.types import Key
from registry.addresses import encode_node
from registry.agent import judging as module
from registry.agent.assignment import Assignment, find_assignment
from registry.agent.judging import Judging
from registry.agent.ledger import Ledger, now_ms
from registry.agent.probes import Finding, Looked, Prober, Target
from registry.agent.rounds import Round, Window
from registry.agent.settings import AgentSettings
from registry.agent.status import Status
from registry.agent.votes import Ballot
from registry.client.cache import ListCache
from registry.client.services import Services
from registry.watermarks import Watermarks
from tests.factory import keys, public
from tests.registry.agent.served import Town, Witness, key_of, serve_town
from tests.registry.factory import eventually, in_loop
from tests.registry.small_service import Asked, Said, running, said

NODE: Final = key_of(0)
DUTY: Final = keys("node 0 duty")
SILENT: Final = Finding("challenge", "wrong address", "no answer")


class Place:
    """A machine with a home; `starting` is a process on it."""

    def __init__(self, folder: Path, witness: Witness) -> None:
        self.folder = folder
        self.witness = witness
        self.town = witness.town
        self.silent: set[Key] = set()
        """Nodes that do not answer."""
        self.looks: list[Key] = []
        self.span_ms = 100
        """How long is tested."""
        self.state = "noted"
        """What the service says of votes."""
        witness.answers["POST /v1/verdicts"] = self._take

    def _take(self, asked: Asked) -> Said:
        return said({"results": [{"state": self.state} for _ in asked.json["votes"]]})

    async def look(self, prober: Prober, target: Target, address: bytes) -> Looked:
        """Look at a node, without going there."""
        self.looks.append(target.node)
        is_silent = target.node in self.silent
        return Looked(4, (SILENT,) if is_silent else (), not is_silent, not is_silent)

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The votes that came to the service, the newest request's."""
        asked = [each for each in self.witness.asked if each.method == "POST"]
        return list(asked[-1].json["votes"]) if asked else []

    @asynccontextmanager
    async def starting(self, started_epoch: int) -> AsyncIterator["Process"]:
        """Run a process that started while an epoch ran."""
        services = Services([self.witness.url])
        raw = self.town.network.raw
        ledger = Ledger(services, raw, ListCache(self.folder / "lists", raw))
        await ledger.refresh()
        watermarks = Watermarks(self.folder / "watermarks", ledger.genesis_hash)
        status = Status(self.folder / "status.json")
        ballot = Ballot(
            self.folder / "votes", watermarks, NODE, lambda _: DUTY, lambda: started_epoch
        )
        settings = AgentSettings(home=self.folder, node=self.folder / "node.json")
        judging = Judging(settings, ledger, services, ballot, NODE, status)
        try:
            yield Process(judging, ledger, services, status)
        finally:
            await judging.close()
            await services.close()
            watermarks.close()


class Process:
    """What runs in it."""

    def __init__(
        self, judging: Judging, ledger: Ledger, services: Services, status: Status
    ) -> None:
        self.judging = judging
        self.status = status
        self._ledger = ledger
        self._services = services

    async def refresh(self) -> None:
        """Take a newer header."""
        await self._ledger.refresh()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return all(task.done() for task in self.judging._tasks.values())

    async def find(self) -> Assignment:
        """What there is to do."""
        return await find_assignment(self._ledger, self._services, NODE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine in a town where epoch 1 runs, whose looks go nowhere and take no time."""
    with running(serve_town(Town())) as witness:
        place = Place(tmp_path, witness)

        def soon(*_: Any) -> Window:
            return Soon(now_ms(), now_ms() + place.span_ms, now_ms() + 60_000)

        monkeypatch.setattr(module, "Round", partial(Round, look=place.look))
        monkeypatch.setattr(module, "find_window", soon)
        monkeypatch.setattr(module, "MIN_PAUSE_S", 0.01)
        monkeypatch.setattr("registry.agent.networks.Networks.find_reason", lambda *_: "")
        yield place


class Soon(Window):
    """A window in which all looks come at once, so that none of them is late."""

    def pick(self, part: tuple[float, float]) -> int:
        return self.from_ms


def told(status: Status, name: str) -> Callable[[], Any]:
    return lambda: status.get(name)


@in_loop
async def test_what_is_found_is_decided_and_sent(place: Place) -> None:
    async with place.starting(0) as process:
        assignment = await process.find()
        dead, *others = (target.node for target in assignment.targets)
        place.silent = {dead}
        process.judging.begin(assignment)
        await eventually(told(process.status, "votes"))
        await eventually(lambda: place.sent)
        await eventually(lambda: process.status.get("votes")["services"] == _all_noted(place))
        votes = process.status.get("votes")
        assert (votes["epoch"], votes["passes"]) == (1, len(others))
        assert votes["fails"] == [{"node": encode_node(dead), "faults": ["wrong address"]}]
        assert process.status.get("duties")["tests"] == [
            encode_node(target.node) for target in assignment.targets
        ]
        # the same assignment again changes nothing
        looks = len(place.looks)
        process.judging.begin(assignment)
    assert len(place.looks) == looks == len(others) + 3
    assert {row["node"]: row["faults"] for row in place.sent} == {
        **{encode_node(key): 0 for key in others},
        encode_node(dead): 8,
    }
    assert all(row["tester"] == encode_node(NODE) for row in place.sent)


def _all_noted(place: Place) -> dict[str, dict[str, int]]:
    return {place.witness.url: {"noted": len(place.sent)}}


@in_loop
async def test_a_new_agent_says_nothing_of_the_epoch_in_which_it_starts(place: Place) -> None:
    async with place.starting(1) as process:
        process.judging.begin(await process.find())
        await eventually(told(process.status, "no_votes"))
        assert "it votes from epoch 2 on" in process.status.get("no_votes")["why"]
        place.town.end_epoch()
    assert place.looks == []
    async with place.starting(1) as process:
        process.judging.begin(await process.find())
        await eventually(lambda: place.sent)
    assert {row["epoch"] for row in place.sent} == {2}


@in_loop
async def test_after_a_restart_the_same_votes_go_out_again(place: Place) -> None:
    place.state = "held"
    async with place.starting(0) as process:
        assignment = await process.find()
        place.silent = {target.node for target in assignment.targets[:2]}
        process.judging.begin(assignment)
        await eventually(lambda: place.sent)
        first = place.sent
    place.silent = set()
    looks, asked = len(place.looks), len(place.witness.asked)
    async with place.starting(1) as process:
        process.judging.resume()
        process.judging.begin(await process.find())
        await eventually(
            lambda: len(place.witness.paths("POST")) > asked - len(place.witness.paths())
        )
        assert place.sent == first
    # and so in the epoch after, where new ones come beside them
    place.town.end_epoch()
    async with place.starting(2) as process:
        process.judging.resume()
        await eventually(lambda: process.status.get("votes"))
        assert process.status.get("votes")["epoch"] == 1
        await eventually(lambda: place.sent == first)
    assert len(place.looks) == looks


@in_loop
async def test_votes_are_not_sent_once_it_is_too_late_for_them(place: Place) -> None:
    async with place.starting(0) as process:
        process.judging.begin(await process.find())
        await eventually(lambda: process.status.get("votes"))
    place.town.end_epoch()
    place.town.end_epoch()
    before = len(place.witness.paths("POST"))
    async with place.starting(3) as process:
        process.judging.resume()
        assert process.status.get("votes") is None
    assert len(place.witness.paths("POST")) == before


@in_loop
async def test_votes_that_nobody_judges_are_sent_until_the_next_epoch_has_ended(
    place: Place,
) -> None:
    place.state = "held"
    async with place.starting(0) as process:
        process.judging.begin(await process.find())
        await eventually(lambda: place.sent)
        place.town.end_epoch()
        await process.refresh()
        rounds = len(place.witness.paths("POST"))
        await eventually(lambda: len(place.witness.paths("POST")) > rounds + 1)
        assert not process.is_idle
        place.town.end_epoch()
        await process.refresh()
        await eventually(lambda: process.is_idle)
        assert set(process.status.get("votes")["services"][place.witness.url]) == {"held"}


@in_loop
async def test_who_is_cut_off_says_nothing(place: Place) -> None:
    async with place.starting(0) as process:
        place.silent = {key_of(number) for number in range(9)}
        process.judging.begin(await process.find())
        await eventually(told(process.status, "no_votes"))
        assert "cut off" in process.status.get("no_votes")["why"]
        assert process.status.get("judged") == {"epoch": 1, "verdicts": []}
    assert place.sent == []
    assert list(place.folder.glob("votes/*")) == []


@in_loop
async def test_with_one_other_node_that_answers_all_may_fail(place: Place) -> None:
    async with place.starting(0) as process:
        assignment = await process.find()
        place.silent = {target.node for target in assignment.targets}
        tested = set(place.silent)
        # others have to be proven before they can be asked
        place.span_ms = 3_000
        assert tested < {key_of(number) for number in range(1, 9)}
        process.judging.begin(assignment)
        await eventually(lambda: place.sent)
    assert {row["faults"] for row in place.sent} == {8}
    assert set(place.looks) > tested
    assert NODE not in place.looks


@in_loop
async def test_too_late_in_an_epoch_nobody_is_tested(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_window", lambda *_: None)
    async with place.starting(0) as process:
        process.judging.begin(await process.find())
        await eventually(told(process.status, "no_votes"))
        assert "too little" in process.status.get("no_votes")["why"]
    assert place.looks == []


@in_loop
async def test_who_has_nobody_to_test_says_so(place: Place) -> None:
    async with place.starting(0) as process:
        assignment = (await process.find())._replace(targets=(), unproven=(public("x"),))
        process.judging.begin(assignment)
        await eventually(told(process.status, "no_votes"))
        assert "nobody to test" in process.status.get("no_votes")["why"]
        assert process.status.get("duties")["unproven"] == [encode_node(public("x"))]


@in_loop
async def test_a_damaged_batch_is_said_and_stops_nothing_else(place: Place) -> None:
    async with place.starting(0) as process:
        process.judging.begin(await process.find())
        await eventually(lambda: process.status.get("votes"))
    (path,) = place.folder.glob("votes/*")
    path.write_bytes(b"x" + path.read_bytes()[1:])
    async with place.starting(1) as process:
        process.judging.resume()
        assert "damaged" in process.status.get("no_votes")["why"]
        process.judging.begin(await process.find())
        await eventually(lambda: "damaged" in process.status.get("no_votes")["why"])
    place.town.end_epoch()
    before = len(place.witness.paths("POST"))
    async with place.starting(2) as process:
        process.judging.begin(await process.find())
        await eventually(lambda: len(place.witness.paths("POST")) > before)
    assert {row["epoch"] for row in place.sent} == {2}
