"""Five minutes of what `scripts/soak` does in an hour."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.soak.run import soak

MINUTES = 5


def test_five_minutes_of_load_and_faults() -> None:
    with TemporaryDirectory(prefix="wp", dir="/tmp") as folder:
        report = asyncio.run(soak(Path(folder), MINUTES, seed=1))
    assert not report.findings, "\n".join([*report.findings, *report.lines])
