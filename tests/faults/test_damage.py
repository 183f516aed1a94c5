"""No damaged file of a database leads to a wrong answer, and a node on one says what helps."""

import asyncio
from pathlib import Path

import pytest

from tests.faults import damage
from tests.faults.damage import AT_A_READ, FILES, HARMS, NOTICED, SHORTER
from tests.faults.kill import Acknowledged


def test_a_harmed_file_is_refused_or_serves_what_was_there(tmp_path: Path) -> None:
    home = asyncio.run(damage.make_home(tmp_path, Acknowledged()))
    counts = damage.count_outcomes(home.folder, tries=25, seed=2026)
    assert counts.keys() == {(file, harm) for file in FILES for harm in HARMS}
    for (file, harm), outcomes in counts.items():
        is_like_power_cut = file == "*.log" and harm in ("cut", "remove")
        expected = SHORTER if is_like_power_cut else NOTICED
        assert outcomes[expected], (file, harm, outcomes)
    assert counts["*.ldb", "flip"][AT_A_READ]


def test_a_producer_on_a_harmed_database_refuses_and_is_healed(tmp_path: Path) -> None:
    counts = asyncio.run(damage.refuse_and_heal(tmp_path, seed=2026))
    assert counts == {"refused": 8, "acknowledged": 600}


def test_what_is_damaged_while_it_is_served_ends_the_service(tmp_path: Path) -> None:
    assert asyncio.run(damage.harm_while_served(tmp_path))["failed"] > 0


def test_a_wrong_record_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge of the first test finds a database that serves what was never written."""
    from ledger.leveldb import LevelStore
    from registry.home import GENESIS

    home = asyncio.run(damage.make_home(tmp_path, Acknowledged()))
    store = LevelStore(home.folder / "ledger")
    heights = damage.Heights((home.folder / GENESIS).read_bytes(), store)
    key, value = next(store.items(b"X", b"Y"))
    store.write({key: value[:-1] + b"\x07"})
    store.close()
    with pytest.raises(AssertionError, match=key.hex()):
        heights.judge(home.folder / "ledger")
