"""The explorer over a network with something of everything, and over a ledger in memory."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.api.models import TIME_MS
from tests.registry.api.fake_ledger import FakeLedger
from tests.registry.web.explored import Explored, Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The explorer over the network, which no test changes."""
    folder = tmp_path_factory.mktemp("publish")
    ledger = Explored(folder, start_ms=TIME_MS)
    asyncio.run(ledger.start())
    assert ledger.view is not None
    made = Site(folder, ledger, now_ms=ledger.view["time_ms"] + 60_000)
    with made.client:
        yield made


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Site]:
    """The explorer over a ledger whose answers a test may change."""
    made = Site(tmp_path, FakeLedger(), now_ms=TIME_MS + 60_000)
    with made.client:
        yield made
