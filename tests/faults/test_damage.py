"""No damaged file of a database leads to a wrong record, wherever the damage is."""

from pathlib import Path

import pytest

from ledger.leveldb import LevelStore
from registry.home import GENESIS
from tests.factory import Network
from tests.faults.damage import (
    AT_A_READ,
    FILES,
    HARMS,
    NOTICED,
    SHORTER,
    Heights,
    count_outcomes,
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose database has a table and a log of some size."""
    network = Network(store=LevelStore(tmp_path / "ledger"))
    network.checking = False
    (tmp_path / GENESIS).write_bytes(network.raw)
    for _ in range(2):
        for _ in range(20):
            network.block(*(network.transfer("alice", "bob") for _ in range(10)))
        network.end_epoch()
        # the next opening turns the log into a table
        network.store.close()
        network.store = LevelStore(tmp_path / "ledger")
        network.reopen()
    network.block(*(network.transfer("alice", "bob") for _ in range(50)))
    network.store.close()
    return tmp_path


def test_a_harmed_file_is_refused_or_serves_what_was_there(home: Path) -> None:
    counts = count_outcomes(home, tries=15, seed=2026)
    assert counts.keys() == {(file, harm) for file in FILES for harm in HARMS}
    for (file, harm), outcomes in counts.items():
        is_like_power_cut = file == "*.log" and harm in ("cut", "remove")
        expected = SHORTER if is_like_power_cut else NOTICED
        assert outcomes[expected], (file, harm, outcomes)
    assert counts["*.ldb", "flip"][AT_A_READ]


def test_the_judge_sees_a_record_that_was_never_written(home: Path) -> None:
    store = LevelStore(home / "ledger")
    heights = Heights((home / GENESIS).read_bytes(), store)
    key, value = next(store.items(b"X", b"Y"))
    store.write({key: value[:-1] + b"\x07"})
    store.close()
    with pytest.raises(AssertionError, match=key.hex()):
        heights.judge(home / "ledger")
