"""`waypost run`: what of its flags reaches the service."""

from pathlib import Path
from typing import Any

import pytest

from registry import supervisor
from registry.handover import Seeds
from registry.settings import Settings
from tests.registry.cli.driver import call
from tests.registry.cli.fake_service import save_keys, seed_of

PEER = f"{'0a' * 20}@127.0.0.1:26656"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, Seeds]]:
    """With what services were started; nothing runs, and each ends with code 7."""
    runs: list[tuple[Settings, Seeds]] = []

    def main(settings: Settings, seeds: Seeds, *_others: Any) -> int:
        runs.append((settings, seeds))
        return 7

    monkeypatch.setattr(supervisor, "main", main)
    return runs


def test_a_validator_is_told_everything_by_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[tuple[Settings, Seeds]]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("alice", "bob"):
        save_keys(tmp_path, name)
    call(
        *("run", "--home", tmp_path, "--engine", "comet", "--validator", "alice.json"),
        *("--attest", "bob.json", "--peer", PEER, "--peer", PEER, "--p2p-host", "0.0.0.0"),
        *("--p2p-port", "7", "--external-address", "a.example:8", "--rpc", "0.0.0.0:9"),
        *("--state-sync", "http://b.example:1", "--lists", "https://c.example"),
        *("--halt-height", "12", "--cometbft", "bin/cometbft", "--new-watermark"),
        code=7,
    )
    [(settings, seeds)] = started
    assert settings.engine == "comet"
    assert settings.validator == tmp_path / "alice.json"
    assert settings.attest == tmp_path / "bob.json"
    assert settings.peers == (PEER, PEER)
    assert (settings.p2p_host, settings.p2p_port) == ("0.0.0.0", 7)
    assert (settings.external_address, settings.rpc) == ("a.example:8", "0.0.0.0:9")
    assert settings.state_sync == ("http://b.example:1",)
    assert settings.lists == ("https://c.example",)
    assert settings.halt_height == 12
    assert settings.cometbft == tmp_path / "bin" / "cometbft"
    assert settings.new_watermark
    assert seeds == {
        tmp_path / "alice.json": seed_of("alice"),
        tmp_path / "bob.json": seed_of("bob"),
    }


def test_what_is_not_said_comes_from_the_file(
    tmp_path: Path, started: list[tuple[Settings, Seeds]]
) -> None:
    (tmp_path / "config.toml").write_text(f'engine = "comet"\npeers = ["{PEER}"]\np2p_port = 5')
    call("run", "--home", tmp_path, "--port", "1", code=7)
    [(settings, seeds)] = started
    assert (settings.engine, settings.peers, settings.p2p_port) == ("comet", (PEER,), 5)
    assert (settings.port, settings.halt_height, seeds) == (1, 0, {})


def test_who_follows_need_not_say_how(
    tmp_path: Path, started: list[tuple[Settings, Seeds]]
) -> None:
    call("run", "--home", tmp_path, "--follow", "http://127.0.0.1:1", code=7)
    assert started[0][0].engine == "follow"


def test_a_flag_that_is_no_setting_starts_nothing(
    tmp_path: Path, started: list[tuple[Settings, Seeds]]
) -> None:
    result = call("run", "--home", tmp_path, "--engine", "comet", "--peer", "nobody", code=1)
    assert "setting peers.0" in result.stderr
    assert started == []
