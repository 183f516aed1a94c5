"""What is looked at before somebody signs, by itself."""

from pathlib import Path
from typing import Any

import pytest

from ledger.crypto import sha256
from registry.agent import probes
from registry.agent.probes import PROBES
from registry.cli.findings import Level
from registry.cli.preflight import (
    ADVICE,
    Looked,
    Summary,
    check_clock,
    check_funds,
    check_network,
    check_reached,
)
from tests.factory import make_contact
from tests.registry.agent import stand_in
from tests.registry.agent.stand_in import DUTY, EPOCH, NODE, standing_in
from tests.registry.factory import in_loop

RAW = b"a genesis file"
SUMMARY = Summary("test", sha256(RAW).hex(), "solo", 5, 0, 1, 0, 1, 1, "0", 0)
LOOKED = Looked(stand_in.NETWORK, EPOCH, NODE, DUTY.public, make_contact())

CLOCKS = {
    None: Level.WARN,
    0: Level.OK,
    30_000: Level.OK,
    -30_001: Level.WARN,
    300_000: Level.WARN,
    300_001: Level.FAIL,
    -300_001: Level.FAIL,
}


@pytest.mark.parametrize(("ahead_ms", "level"), CLOCKS.items())
def test_the_clock(ahead_ms: int | None, level: Level) -> None:
    (finding,) = check_clock(ahead_ms)
    assert finding.level is level
    assert bool(finding.todo) is (level is not Level.OK)


def test_the_direction_in_which_a_clock_is_off() -> None:
    assert "behind the service's" in check_clock(600_000)[0].text
    assert "ahead of the service's" in check_clock(-600_000)[0].text


@pytest.mark.parametrize(
    ("raw", "level"), [(RAW, Level.OK), (None, Level.WARN), (b"another", Level.FAIL)]
)
def test_the_network(raw: bytes | None, level: Level) -> None:
    (finding,) = check_network(SUMMARY, raw, Path("genesis.bin"))
    assert finding.level is level
    assert sha256(RAW).hex() in finding.text


@pytest.mark.parametrize(("balance", "level"), [(25, Level.OK), (24, Level.FAIL)])
def test_the_funds(balance: int, level: Level) -> None:
    (finding,) = check_funds(balance, 25, "wpa1")
    assert finding.level is level


def test_there_is_advice_for_every_probe() -> None:
    assert set(ADVICE) == {probe.name for probe in PROBES}


def in_thread(looked: Looked) -> Any:
    """Look from another thread, as the loop of the node is this one's."""
    import asyncio

    return asyncio.get_running_loop().run_in_executor(None, check_reached, looked, 0.5)


@in_loop
async def test_a_node_that_answers_its_testers() -> None:
    async with standing_in() as node:
        (finding,) = await in_thread(LOOKED._replace(contact=node.contact))
    assert finding.level is Level.OK


@in_loop
async def test_what_it_does_not_answer_is_a_doubt_with_advice() -> None:
    async with standing_in(duty=None, has_router=False) as node:
        found = await in_thread(LOOKED._replace(contact=node.contact))
    assert {finding.level for finding in found} == {Level.WARN}
    assert {finding.todo for finding in found} == {ADVICE["challenge"], ADVICE["router TCP"]}


def test_a_machine_that_has_no_way_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def see_nothing(*_: Any) -> None:
        return None

    monkeypatch.setattr(probes, "look", see_nothing)
    contact = make_contact(ipv4=bytes((127, 0, 0, 1)), ipv6=bytes(15) + b"\1")
    found = check_reached(LOOKED._replace(contact=contact))
    assert ["127.0.0.1" in found[0].text, "::1" in found[1].text] == [True, True]
    assert {finding.level for finding in found} == {Level.WARN}
