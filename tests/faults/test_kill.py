"""What was acknowledged survives kill -9 of any process at any time."""

import asyncio
from pathlib import Path

from tests.faults.kill import run


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    counts = asyncio.run(run(kills=10, seed=2026, folder=tmp_path))
    assert counts["acknowledged"] > 10
    assert min(counts.values()) > 0
