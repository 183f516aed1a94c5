"""The home: the first of several places that is named."""

import sys
from pathlib import Path

import pytest

from registry.home import GENESIS, default_genesis, default_home


@pytest.fixture(autouse=True)
def _linux(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAYPOST_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setattr(sys, "platform", "linux")


@pytest.mark.parametrize(
    ("environment", "home"),
    [
        ({}, "/home/someone/.local/share/waypost"),
        ({"XDG_DATA_HOME": "/data"}, "/data/waypost"),
        ({"XDG_DATA_HOME": ""}, "/home/someone/.local/share/waypost"),
        ({"XDG_DATA_HOME": "relative"}, "/home/someone/.local/share/waypost"),
        ({"WAYPOST_HOME": "/here", "XDG_DATA_HOME": "/data"}, "/here"),
        ({"WAYPOST_HOME": "~/there"}, "/home/someone/there"),
        ({"WAYPOST_HOME": ""}, "/home/someone/.local/share/waypost"),
    ],
)
def test_home(environment: dict[str, str], home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_home() == Path(home)


def test_home_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_home() == Path("/home/someone/Library/Application Support/waypost")
    monkeypatch.setenv("WAYPOST_HOME", "/here")
    assert default_home() == Path("/here")


def test_a_home_without_a_genesis_file_takes_that_of_its_devnet(tmp_path: Path) -> None:
    assert default_genesis(tmp_path) == tmp_path / GENESIS
    (tmp_path / "devnet").mkdir()
    devnet = tmp_path / "devnet" / GENESIS
    devnet.touch()
    assert default_genesis(tmp_path) == devnet
    (tmp_path / GENESIS).touch()
    assert default_genesis(tmp_path) == tmp_path / GENESIS
