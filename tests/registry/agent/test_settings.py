"""What an agent is told: flags over environment over the file, and nothing unknown."""

import os
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import Fault
from ledger.messages.contact import Version
from registry.agent.settings import (
    CONFIG,
    AgentSettings,
    default_agent_home,
    load_settings,
    parse_version,
    write_settings,
)
from registry.settings import BadSettings

NODE = Path("/keys/node.json")


def test_a_key_file_is_all_that_is_needed(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, {"node": NODE, "duty": None})
    assert settings == AgentSettings(home=tmp_path, node=NODE)
    assert settings.services == ("http://127.0.0.1:8420",)
    assert settings.networks == ()
    assert settings.key_files == [NODE]
    assert settings.genesis_path == tmp_path / "genesis.bin"
    assert settings.check_in_s == 3600
    with pytest.raises(BadSettings, match="node"):
        load_settings(tmp_path, {})
    with pytest.raises(Fault, match="--genesis"):
        settings.read_genesis()


def test_flags_count_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / CONFIG).write_text(
        f'node = "{NODE}"\nstorage_port = 1\nrouter_port = 1\nagree = 1\n'
        'services = ["http://127.0.0.1:1"]\n'
    )
    monkeypatch.setenv("WAYPOST_AGENT_ROUTER_PORT", "2")
    monkeypatch.setenv("WAYPOST_AGENT_AGREE", "2")
    monkeypatch.setenv("WAYPOST_AGENT_NETWORKS", '["127.0.0.0/8"]')
    monkeypatch.setenv("WAYPOST_AGENT_HOME", "/elsewhere")
    monkeypatch.setenv("WAYPOST_URL", "http://127.0.0.1:9")
    settings = load_settings(tmp_path, {"agree": 3})
    assert (settings.storage_port, settings.router_port, settings.agree) == (1, 2, 3)
    assert settings.networks == (ip_network("127.0.0.0/8"),)
    assert settings.home == tmp_path
    assert settings.services == ("http://127.0.0.1:1",)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"home": "/x"}, "home"),
        ({"ipv4": "1.2.3"}, "ipv4"),
        ({"ipv4": "::1"}, "ipv4"),
        ({"storage_port": 0}, "storage_port"),
        ({"storage_port": 65_536}, "storage_port"),
        ({"storage_version": "1.2"}, "storage_version"),
        ({"services": []}, "services"),
        ({"services": ["ftp://x"]}, "services"),
        ({"networks": ["127.0.0.1/8"]}, "networks"),
        ({"check_in_s": 0}, "check_in_s"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(tmp_path: Path, given: dict[str, Any], named: str) -> None:
    write_settings(tmp_path, {"node": NODE} | given)
    with pytest.raises(BadSettings, match=named):
        load_settings(tmp_path, {})


def test_an_unknown_variable_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_AGENT_COLOUR", "red")
    with pytest.raises(BadSettings, match="WAYPOST_AGENT_COLOUR"):
        load_settings(tmp_path, {"node": NODE})


def test_what_flags_say_is_written_once_and_read_again(tmp_path: Path) -> None:
    home = tmp_path / "new"
    flags: dict[str, Any] = {
        "node": Path('/keys/a "strange\\ name.json'),
        "genesis": None,
        "services": ("http://127.0.0.1:1", "http://127.0.0.1:2"),
        "ipv4": "127.0.0.7",
        "storage_port": 5,
        "expects_pings": True,
        "check_in_s": 12.5,
        "networks": ("127.0.0.0/8",),
    }
    told = load_settings(home, flags)
    path = write_settings(home, flags)
    assert path == home / CONFIG
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert load_settings(home, {}) == told
    assert told.ipv4 == ip_address("127.0.0.7")
    before = path.read_bytes()
    assert write_settings(home, {"node": NODE}) is None
    assert path.read_bytes() == before


def test_the_duty_key_may_be_in_another_file() -> None:
    other = Path("/keys/duty.json")
    assert AgentSettings(home=NODE, node=NODE, duty=other).key_files == [NODE, other]
    assert AgentSettings(home=NODE, node=NODE, duty=NODE).key_files == [NODE]


def test_the_home_is_beside_the_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))
    assert default_agent_home() == tmp_path / "agent"


def test_versions_have_three_small_numbers() -> None:
    assert parse_version("2.11.255") == Version(2, 11, 255)
    with pytest.raises(BadSettings, match=r"2\.256\.0"):
        parse_version("2.256.0")
