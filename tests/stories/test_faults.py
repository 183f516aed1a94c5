"""Faults under real services; docs/reliability.md says what is promised under each."""

import asyncio
import copy
import shutil
import sys
from pathlib import Path

import pytest

from tests.faults import clocks, crowd, damage, full_disk
from tests.faults.damage import NOTICED
from tests.faults.kill import Acknowledged, Home

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Acknowledged]:
    return asyncio.run(damage.make_home(tmp_path_factory.mktemp("made")))


@pytest.fixture
def home(made: tuple[Home, Acknowledged], tmp_path: Path) -> Home:
    """A copy of it for one test."""
    home = copy.copy(made[0])
    home.folder = tmp_path / "home"
    shutil.copytree(made[0].folder, home.folder, symlinks=True)
    return home


def test_a_producer_on_a_harmed_database_says_so_and_is_healed(
    home: Home, made: tuple[Home, Acknowledged]
) -> None:
    cases = (("*.ldb", "cut"), ("*.log", "cut"))
    counts = asyncio.run(damage.refuse_and_heal(home, made[1], 2026, cases))
    assert counts == {NOTICED: len(cases), "acknowledged": 600}


def test_what_is_damaged_while_it_is_served_ends_the_service(
    home: Home, made: tuple[Home, Acknowledged]
) -> None:
    counts = asyncio.run(damage.harm_while_served(home, made[1]))
    assert counts["failed"] > 0


def test_nothing_acknowledged_is_lost_where_the_disk_is_full(tmp_path: Path) -> None:
    counts = asyncio.run(full_disk.fill_disk(1, 2026, tmp_path))
    assert counts["acknowledged"] > 0


def test_clocks_that_jump_hold_nothing_up(tmp_path: Path) -> None:
    counts = asyncio.run(clocks.jump(tmp_path))
    assert counts["acknowledged"] > len(clocks.JUMPS_MS)


def test_a_crowd_that_says_nothing_keeps_nobody_else_out(tmp_path: Path) -> None:
    counts = asyncio.run(crowd.stand(2_500, 2, tmp_path))
    assert counts["answers"] == 2 * len(crowd.PATHS)
