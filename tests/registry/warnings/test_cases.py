"""What testers found of an active node holds no longer than they go on finding it.

A passing test of it leaves no verdict, so that a failing one stays the newest.
"""

from typing import Final

import pytest

from registry.warnings.facts import Verdict
from tests.registry.warnings.factory import EPOCH, PARAMS, World

EPOCH_MS: Final = PARAMS.epoch_ms
FOUND: Final = {"wrong_address": "wrong address", "outdated_version": "outdated version"}
SHOWN: Final = 16
"""Epochs of which a service shows verdicts."""


def judge(world: World, epoch: int, *failing: int, fault: str) -> None:
    """Let an epoch run, with failing verdicts for some; an active node has no others."""
    shown = sorted((each for each in failing if each > epoch - SHOWN), reverse=True)
    world.node(verdicts=tuple(Verdict(each, True, (fault,)) for each in shown))
    world.network(epoch=epoch)


@pytest.mark.parametrize("name", FOUND)
def test_what_testers_found_of_an_active_node_is_over_once_they_do_not_find_it(name: str) -> None:
    world = World()
    kinds = []
    for epoch in range(EPOCH, EPOCH + 4):
        judge(world, epoch, EPOCH, fault=FOUND[name])
        kinds.append([message.kind for message in world.told(name)])
        world.wait(EPOCH_MS)
    assert kinds == [["new"], [], [], ["over"]]
    judge(world, EPOCH + 8, EPOCH, EPOCH + 7, fault=FOUND[name])
    assert [message.kind for message in world.told(name)] == ["new"]


@pytest.mark.parametrize("name", FOUND)
def test_another_run_of_failures_is_told_though_nobody_looked_in_between(name: str) -> None:
    world = World()
    judge(world, EPOCH + 1, EPOCH, fault=FOUND[name])
    assert [message.kind for message in world.told(name)] == ["new"]
    world.wait(8 * EPOCH_MS)
    judge(world, EPOCH + 9, EPOCH, EPOCH + 8, fault=FOUND[name])
    assert [message.kind for message in world.told(name)] == ["new"]


@pytest.mark.parametrize("name", FOUND)
def test_one_run_of_failures_is_told_once_however_long_it_is(name: str) -> None:
    """Also once its first verdict is not shown any more, and past an epoch without a verdict."""
    world = World()
    kinds = []
    failing = [EPOCH + each for each in range(3 * SHOWN) if each != 5]
    for epoch in range(EPOCH, EPOCH + 3 * SHOWN):
        judge(world, epoch, *(each for each in failing if each <= epoch), fault=FOUND[name])
        kinds += [message.kind for message in world.told(name) if message.kind != "reminder"]
        world.wait(EPOCH_MS)
        world.restart()
    assert kinds == ["new"]


def test_what_its_agent_says_too_is_told_once_through_all_failures() -> None:
    world = World()
    kinds = []
    for epoch in range(EPOCH, EPOCH + 12):
        world.node(agent_faults=("outdated version",))
        failing = (each for each in (EPOCH + 1, EPOCH + 8) if each <= epoch)
        judge(world, epoch, *failing, fault="outdated version")
        kinds += [message.kind for message in world.told("outdated_version")]
        world.wait(EPOCH_MS)
    assert kinds == ["new"]
