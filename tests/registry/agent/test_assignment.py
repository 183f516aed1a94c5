"""Whom an agent tests: what the ledger proves, and what no service can add, change or hide."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.messages.state import DECOMMISSIONED, QUEUED
from ledger.messages.tables import CONTACTS, NODES, ROSTERS
from ledger.rules.quorums import draw_testers, unpack_members
from ledger.state import epoch_key
from ledger.transactions.judge import get_quorum
from ledger.types import Key
from registry.addresses import encode_node
from registry.agent import assignment as assignment_module
from registry.agent.assignment import (
    ASKING,
    TRIES,
    Assignment,
    draw_assigned,
    find_assignment,
    find_control,
)
from registry.agent.ledger import Ledger, Unproven
from registry.client.cache import ListCache
from registry.client.services import Services
from tests.factory import make_contact, public
from tests.registry.agent.served import NODES as COUNT
from tests.registry.agent.served import Town, Witness, key_of, serve_town
from tests.registry.factory import in_loop
from tests.registry.small_service import problem, running, said

NODE_PATH: Final = "GET /v1/nodes/{}/duties"
CONTACT: Final = make_contact(ipv4=bytes((127, 31, 0, 1)))
Make = Callable[..., Any]


class Agent:
    """An agent that has verified the newest header, and the services that it asks."""

    def __init__(self, folder: Path, town: Town, witnesses: list[Witness]) -> None:
        self.town = town
        self.witnesses = witnesses
        self.services = Services([witness.url for witness in witnesses])
        raw = town.network.raw
        self.ledger = Ledger(self.services, raw, ListCache(folder / "lists", raw))

    async def find(self, node: Key) -> Assignment:
        """What a node has to do."""
        return await find_assignment(self.ledger, self.services, node)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make an agent of a town."""
    with ExitStack() as stack:

        async def make(town: Town | None = None, services: int = 1) -> Agent:
            town = town or Town()
            served = [stack.enter_context(running(serve_town(town))) for _ in range(services)]
            agent = Agent(tmp_path, town, served)
            await agent.ledger.refresh()
            return agent

        yield make


def drawn_for(town: Town, epoch: int, key: Key) -> tuple[Key, ...]:
    """Who tests a node, as the ledger itself says."""
    return get_quorum(town.network.state, epoch, key)


def with_others(*, from_epoch: int = 1, **states: int) -> Town:
    """A town with nodes in other states, such as `idle=QUEUED`, when epoch 1 ended.

    They are tested from an epoch on.
    """
    town = Town()
    state = town.network.state
    for name, number in states.items():
        key = public(name)
        row = replace(
            state.one(NODES, key_of(0)),
            state=number,
            operator=public("nobody's operator"),
            duty_key=public(f"{name} duty"),
            tested_from=from_epoch,
        )
        town.network.checking = False
        town.network.rewrite({NODES.letter + key: row, CONTACTS.letter + key: CONTACT})
    town.end_epoch()
    return town


@in_loop
async def test_the_active_nodes_are_drawn_by_the_agent_itself(make: Make) -> None:
    agent = await make()
    drawn = []
    for number in range(COUNT):
        tester = key_of(number)
        assignment = await agent.find(tester)
        targets = {target.node: target for target in assignment.targets}
        expected = [
            key_of(each)
            for each in range(COUNT)
            if tester in drawn_for(agent.town, 1, key_of(each))
        ]
        assert sorted(targets) == sorted(expected)
        assert [target.node for target in assignment.targets] == sorted(targets)
        assert (assignment.epoch, assignment.unproven) == (1, ())
        assert assignment.start_ms == agent.town.network.genesis.start_ms
        drawn += expected
    # each of them by so many testers
    assert len(drawn) == COUNT * agent.town.network.params.quorum_testers
    target = targets[expected[0]]
    row = agent.town.network.state.one(NODES, target.node)
    assert (target.life, target.duty_key) == (row.life, row.duty_key)
    assert target.contact == agent.town.network.state.one(CONTACTS, target.node)


@in_loop
async def test_who_is_not_active_tests_nobody(make: Make) -> None:
    agent = await make()
    assignment = await agent.find(public("nobody"))
    assert assignment.targets == ()


@in_loop
async def test_without_a_proven_roster_there_is_no_duty(make: Make) -> None:
    agent = await make()
    (witness,) = agent.witnesses
    epoch = epoch_key(1).hex()
    witness.answers[f"GET /v1/proofs/rosters/{epoch}"] = problem("state_not_kept", 404)
    with pytest.raises(Unproven, match="rosters"):
        await agent.find(key_of(0))


@in_loop
async def test_queued_and_decommissioned_nodes_are_found_through_any_service(make: Make) -> None:
    town = with_others(idle=QUEUED, down=DECOMMISSIONED)
    agent = await make(town, services=3)
    silent, lying, honest = agent.witnesses
    others = [public("idle"), public("down")]
    honest.named = tuple(others)
    found = []
    for number in range(COUNT):
        node = key_of(number)
        silent.answers[NODE_PATH.format(encode_node(node))] = problem("busy", 503)
        lying.answers[NODE_PATH.format(encode_node(node))] = said({"tests": [5, None, {"node": 7}]})
        targets = {target.node: target for target in (await agent.find(node)).targets}
        for key in others:
            assert (key in targets) is (node in drawn_for(town, 2, key))
        found += [targets[key] for key in others if key in targets]
    assert len(found) == 2 * town.network.params.quorum_testers
    assert {target.contact for target in found} == {CONTACT}
    assert {target.duty_key for target in found} == {public("idle duty"), public("down duty")}


@in_loop
async def test_a_service_cannot_invent_a_duty(make: Make) -> None:
    """Nodes that are not there, that others test, that are named twice, or as no node at all."""
    town = with_others(idle=QUEUED)
    agent = await make(town)
    (witness,) = agent.witnesses
    others = [n for n in range(COUNT) if key_of(n) not in drawn_for(town, 2, public("idle"))]
    node = key_of(others[0])
    honest = await agent.find(node)
    witness.named = (
        public("nobody"),
        public("idle"),
        public("idle"),
        node,
        *map(key_of, range(COUNT)),
    )
    assert await agent.find(node) == honest


@pytest.mark.parametrize(("from_epoch", "count"), [(0, 0), (1, 5), (2, 5), (3, 0)])
@in_loop
async def test_a_node_is_tested_from_its_epoch_on(make: Make, from_epoch: int, count: int) -> None:
    agent = await make(with_others(from_epoch=from_epoch, idle=QUEUED))
    (witness,) = agent.witnesses
    witness.named = (public("idle"),)
    testers = [
        number
        for number in range(COUNT)
        if public("idle") in {row.node for row in (await agent.find(key_of(number))).targets}
    ]
    assert len(testers) == count


NO_DUTIES: Final = {
    "no JSON": said(b"<html>"),
    "a list": said([1, 2]),
    "no names": said({"tests": [{"node": 5}]}),
    "bad names": said({"tests": [{"node": "wpn1x"}]}),
    "no text": said(b'{"tests": [{"node": "\xff"}]}'),
    "too much": said(b" " * (2**20) + b'{"tests": []}'),
    "deep": said(b'{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
}


@pytest.mark.parametrize("name", NO_DUTIES)
@in_loop
async def test_an_answer_that_is_none_hides_nothing(make: Make, name: str) -> None:
    town = with_others(idle=QUEUED)
    agent = await make(town, services=2)
    bad, honest = agent.witnesses
    honest.named = (public("idle"),)
    node = drawn_for(town, 2, public("idle"))[0]
    bad.answers[NODE_PATH.format(encode_node(node))] = NO_DUTIES[name]
    assert public("idle") in {target.node for target in (await agent.find(node)).targets}


@in_loop
async def test_what_a_service_names_has_a_bound(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignment_module, "MAX_NAMED", 20)
    agent = await make()
    (witness,) = agent.witnesses
    witness.named = tuple(number.to_bytes(32, "big") for number in range(40))
    before = len(witness.asked)
    assignment = await agent.find(key_of(0))
    named = [path for path in witness.paths()[before:] if path.startswith("/v1/proofs/nodes/0000")]
    assert len(named) == 20
    assert assignment.targets


@pytest.mark.parametrize("table", ["nodes", "contacts"])
@in_loop
async def test_a_node_without_a_proof_is_said_and_not_tested(make: Make, table: str) -> None:
    agent = await make(services=2)
    honest = await agent.find(key_of(0))
    missing = honest.targets[0].node
    for witness in agent.witnesses:
        witness.answers[f"GET /v1/proofs/{table}/{missing.hex()}"] = problem("state_not_kept", 404)
    assignment = await agent.find(key_of(0))
    assert assignment.targets == honest.targets[1:]
    assert assignment.unproven == (missing,)
    del agent.witnesses[1].answers[f"GET /v1/proofs/{table}/{missing.hex()}"]
    assert await agent.find(key_of(0)) == honest


@in_loop
async def test_a_service_that_is_busy_for_a_while_is_asked_again(make: Make) -> None:
    agent = await make()
    (witness,) = agent.witnesses
    honest = await agent.find(key_of(0))
    name = f"GET /v1/proofs/nodes/{honest.targets[0].node.hex()}"

    def busy_once(asked: Any) -> Any:
        del witness.answers[name]
        return problem("busy", 429)

    witness.answers[name] = busy_once
    assert await agent.find(key_of(0)) == honest


def give_way(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let an epoch begin now, on which nobody waits; return the pauses between tries."""
    pauses: list[float] = []
    passed_s = [0.0]
    real = asyncio.sleep

    async def sleep(seconds: float, *_: Any) -> None:
        pauses.append(seconds)
        passed_s[0] += seconds
        await real(0)

    monkeypatch.setattr(agent.ledger, "epoch_ms", 1_800_000)
    monkeypatch.setattr(assignment_module, "PAUSE_S", (30.0, 60.0))
    monkeypatch.setattr(assignment_module, "now_ms", lambda: agent.ledger.started_ms)
    monkeypatch.setattr(assignment_module, "get_time_s", lambda: passed_s[0])
    monkeypatch.setattr(asyncio, "sleep", sleep)
    return pauses


@in_loop
async def test_a_service_that_limits_its_clients_is_waited_for(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a dozen times it has no tokens left, and says when it will have some."""
    agent = await make()
    (witness,) = agent.witnesses
    honest = await agent.find(key_of(0))
    pauses = give_way(agent, monkeypatch)
    left = itertools.count(15, -1)
    limited = problem("too_many_requests", 429)._replace(headers={"retry-after": "40"})
    name = f"GET /v1/proofs/contacts/{honest.targets[0].node.hex()}"

    def limit(asked: Any) -> Any:
        if next(left) > 0:
            return limited
        del witness.answers[name]
        return witness.find(asked)

    witness.answers[name] = limit
    assert await agent.find(key_of(0)) == honest
    assert pauses == [40] * 15


@pytest.mark.parametrize(
    ("answer", "pause_s"),
    [
        (problem("state_not_kept", 404), 30.0),
        (problem("busy", 503)._replace(headers={"retry-after": "86400"}), 60.0),
    ],
    ids=["it has none", "it asks for a day"],
)
@in_loop
async def test_who_is_drawn_is_asked_for_until_there_has_to_be_time_for_tests(
    make: Make, monkeypatch: pytest.MonkeyPatch, answer: Any, pause_s: float
) -> None:
    agent = await make()
    (witness,) = agent.witnesses
    honest = await agent.find(key_of(0))
    pauses = give_way(agent, monkeypatch)
    missing = honest.targets[0].node
    witness.answers[f"GET /v1/proofs/nodes/{missing.hex()}"] = answer
    assignment = await agent.find(key_of(0))
    assert assignment.unproven == (missing,)
    assert assignment.targets == honest.targets[1:]
    assert set(pauses) == {pause_s}
    assert sum(pauses) == ASKING * 1_800


@in_loop
async def test_a_node_that_only_services_name_holds_nobody_up(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await make()
    (witness,) = agent.witnesses
    honest = await agent.find(key_of(0))
    pauses = give_way(agent, monkeypatch)
    witness.named = (public("nobody"),)
    witness.answers[f"GET /v1/proofs/nodes/{public('nobody').hex()}"] = problem("no", 404)
    assert await agent.find(key_of(0)) == honest
    assert pauses == [30.0] * (TRIES - 1)


@in_loop
async def test_another_address_from_a_service_is_nothing(make: Make) -> None:
    """A service gives the proof of other contact data: the agent goes where the ledger says."""
    agent = await make(services=2)
    honest = await agent.find(key_of(0))
    first, second = honest.targets[0].node, honest.targets[1].node
    liar = agent.witnesses[0]
    view = agent.town.ends[0]
    other = said({"proof": liar.prove(view, CONTACTS.letter + second)})
    liar.answers[f"GET /v1/proofs/contacts/{first.hex()}"] = other
    assert await agent.find(key_of(0)) == honest


@in_loop
async def test_a_control_is_any_node_that_is_proven(make: Make) -> None:
    agent = await make()
    target = await find_control(agent.ledger, 1, key_of(3))
    assert target is not None
    assert target.contact.ipv4 == bytes((127, 30, 3, 1))
    assert await find_control(agent.ledger, 1, public("nobody")) is None


def test_the_draw_is_the_ledgers() -> None:
    town = Town()
    roster = town.network.state.one(ROSTERS, epoch_key(1))
    members = unpack_members(roster.members)
    for number in range(COUNT):
        drawn = draw_assigned(roster, key_of(number))
        for key, operator in zip(members.keys, members.operators, strict=True):
            testers = draw_testers(members, roster.seed, key, operator, roster.testers)
            assert (key_of(number) in testers) is (key in drawn)
