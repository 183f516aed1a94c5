"""What the commands of lists start from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry.client.factory import make_genesis
from tests.registry.client.server import Source, run_source


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the genesis file of a network, and nothing else."""
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))
    monkeypatch.delenv("WAYPOST_URL", raising=False)
    (tmp_path / "genesis.bin").write_bytes(make_genesis())
    return tmp_path


@pytest.fixture
def source() -> Iterator[Source]:
    """A source of lists that runs."""
    with run_source() as running:
        yield running
