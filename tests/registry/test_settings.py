"""Settings: flags over environment over one file over defaults; what is unknown is refused."""

import os
from pathlib import Path
from typing import Any

import pytest

from registry.settings import PREFIX, BadSettings, Settings, load_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.startswith(PREFIX):
            monkeypatch.delenv(variable)


def write(home: Path, text: str) -> None:
    (home / "config.toml").write_text(text)


def refused(home: Path, flags: dict[str, Any] | None = None) -> str:
    with pytest.raises(BadSettings) as caught:
        load_settings(home, flags or {})
    return str(caught.value)


def test_without_a_word_it_serves_on_loopback(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, {})
    assert (settings.host, settings.port, settings.engine) == ("127.0.0.1", 8420, "solo")
    assert settings.home == tmp_path
    assert (settings.attest, settings.producer, settings.follow) == (None, None, ())


SOURCES: dict[str, tuple[str | None, str | None, int | None, int]] = {
    "the default": (None, None, None, 8420),
    "the file": ("port = 1", None, None, 1),
    "the environment": (None, "2", None, 2),
    "a flag": (None, None, 3, 3),
    "the environment over the file": ("port = 1", "2", None, 2),
    "a flag over the file": ("port = 1", None, 3, 3),
    "a flag over the environment": (None, "2", 3, 3),
    "a flag over everything": ("port = 1", "2", 3, 3),
}


@pytest.mark.parametrize(("file", "variable", "flag", "port"), SOURCES.values(), ids=SOURCES.keys())
def test_who_is_listened_to(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str | None,
    variable: str | None,
    flag: int | None,
    port: int,
) -> None:
    if file is not None:
        write(tmp_path, f'{file}\nhost = "::1"')
    if variable is not None:
        monkeypatch.setenv("WAYPOST_PORT", variable)
    settings = load_settings(tmp_path, {"port": flag, "workers": None})
    assert settings.port == port
    # each setting for itself: the others are still heard
    assert settings.host == ("::1" if file else "127.0.0.1")


@pytest.mark.parametrize("name", ["prot", "Port", "home", "PORT"])
def test_a_setting_of_the_file_that_does_not_exist_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, f'{name} = "1"')
    assert refused(tmp_path) == f"{tmp_path / 'config.toml'}: there is no setting {name}"


def test_a_variable_that_does_not_exist_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_PROT", "1")
    assert refused(tmp_path) == "WAYPOST_PROT: there is no setting prot"


def test_variables_of_the_command_line_and_the_tests_are_none_of_its_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "URL", "NO_SKIP", "WARN_OPERATOR", "AGENT_NODE"):
        monkeypatch.setenv(f"WAYPOST_{name}", "1")
    assert load_settings(tmp_path, {}).home == tmp_path


BAD: dict[str, tuple[str, str]] = {
    "a port that does not exist": ("port", "65536"),
    "a port below all": ("port", "-1"),
    "a port that is no number": ("port", '"http"'),
    "too many workers": ("workers", "65"),
    "an engine that does not exist": ("engine", '"duet"'),
    "a switch that is neither": ("web", '"perhaps"'),
    "a list that is none": ("follow", "7"),
}


@pytest.mark.parametrize(("name", "value"), BAD.values(), ids=BAD.keys())
def test_a_value_out_of_range_is_refused_by_the_setting_s_name(
    tmp_path: Path, name: str, value: str
) -> None:
    write(tmp_path, f"{name} = {value}")
    assert f"setting {name}" in refused(tmp_path)


@pytest.mark.parametrize(("name", "value"), BAD.values(), ids=BAD.keys())
def test_so_is_one_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"WAYPOST_{name.upper()}", value.strip('"'))
    assert name in refused(tmp_path)


def test_a_list_in_the_environment_that_cannot_be_read_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_FOLLOW", "http://127.0.0.1:1")
    assert "follow" in refused(tmp_path)
    monkeypatch.setenv("WAYPOST_FOLLOW", '["http://127.0.0.1:1", "http://127.0.0.1:2"]')
    assert load_settings(tmp_path, {}).follow == ("http://127.0.0.1:1", "http://127.0.0.1:2")


def test_a_flag_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert "setting prot" in refused(tmp_path, {"prot": 1})


NO_TOML = {
    "without a value": "port =",
    "open": "[port",
    "twice": "port = 1\nport = 2",
    "no UTF-8": "\xff",
    "nested too deep": "port = " + 20_000 * "[",
}


@pytest.mark.parametrize("text", NO_TOML.values(), ids=NO_TOML)
def test_a_file_that_is_no_toml_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_bytes(text.encode("latin-1"))
    assert refused(tmp_path).startswith(str(tmp_path / "config.toml"))


def test_a_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(Path("node"), {})
    assert settings.home == tmp_path / "node"
    for path in (settings.ledger_socket, settings.database_path, settings.watermark_path):
        assert path.is_relative_to(tmp_path / "node")
    # a backup of the database does not bring the watermarks back
    assert not settings.watermark_path.is_relative_to(settings.database_path)


def test_settings_survive_being_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"port": 0, "workers": 3, "follow": ("http://a",), "attest": tmp_path / "key"}
    settings = load_settings(tmp_path, flags)
    handed_over = settings.model_dump_json()
    # what the child finds in its own environment changes nothing
    monkeypatch.setenv("WAYPOST_PORT", "1")
    monkeypatch.setenv("WAYPOST_PRODUCER", "/elsewhere")
    assert Settings.model_validate_json(handed_over) == settings


def test_each_worker_has_a_socket_of_its_own(tmp_path: Path) -> None:
    assert len(load_settings(tmp_path, {"workers": 3}).worker_sockets) == 3
    assert len(set(load_settings(tmp_path, {"workers": 64}).worker_sockets)) == 64
    assert len(load_settings(tmp_path, {"workers": 0}).worker_sockets) == (os.cpu_count() or 1)


# --- validators ---------------------------------------------------------------------------------

ID = "0a" * 20


def test_a_validator_is_told_everything_in_its_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        f"""
        engine = "comet"
        validator = "/keys/mine.json"
        attest = "/keys/mine.json"
        peers = ["{ID}@one.example.org:26656", "{ID}@[::1]:1"]
        p2p_host = "0.0.0.0"
        p2p_port = 7
        external_address = "mine.example.org:8"
        rpc = "0.0.0.0:9"
        state_sync = ["https://one.example.org:26657"]
        lists = ["https://lists.example.org"]
        snapshot_epochs = 0
        halt_height = 12
        cometbft = "/opt/cometbft"
        """,
    )
    settings = load_settings(tmp_path, {})
    assert settings.peers == (f"{ID}@one.example.org:26656", f"{ID}@[::1]:1")
    assert (settings.p2p_host, settings.p2p_port) == ("0.0.0.0", 7)
    assert (settings.external_address, settings.rpc) == ("mine.example.org:8", "0.0.0.0:9")
    assert (settings.snapshot_epochs, settings.halt_height) == (0, 12)
    assert settings.cometbft == Path("/opt/cometbft")
    # one file, opened once; the ledger process gets what it signs with
    assert settings.key_files == settings.ledger_key_files == [Path("/keys/mine.json")]
    handed = Settings.model_validate_json(settings.model_dump_json())
    assert handed == settings


def test_by_default_nobody_reaches_a_validator(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, {"engine": "comet"})
    assert (settings.p2p_host, settings.p2p_port, settings.rpc) == ("127.0.0.1", 26656, "")
    assert (settings.snapshot_epochs, settings.halt_height) == (24, 0)


def test_the_ledger_process_is_not_told_what_another_one_votes_with(tmp_path: Path) -> None:
    flags = {"validator": Path("/votes"), "attest": Path("/attests"), "producer": Path("/p")}
    settings = load_settings(tmp_path, flags | {"engine": "comet"})
    assert settings.key_files == [Path("/attests"), Path("/votes")]
    assert settings.ledger_key_files == [Path("/attests")]
    settings = load_settings(tmp_path, flags)
    assert settings.key_files == settings.ledger_key_files == [Path("/p"), Path("/attests")]


def test_where_things_of_a_validator_lie(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, {"engine": "comet"})
    assert settings.abci_socket == tmp_path / "run" / "abci.sock"
    assert settings.cometbft_rpc_socket == tmp_path / "run" / "cometbft.sock"
    assert settings.cometbft_path == tmp_path / "cometbft"
    assert settings.snapshot_path == tmp_path / "snapshots"


NOT_SETTINGS: dict[str, dict[str, Any]] = {
    "a peer in capitals": {"peers": (f"{'0A' * 20}@h:1",)},
    "a peer with half an id": {"peers": ("0a@h:1",)},
    "a peer without a port": {"peers": (f"{ID}@h",)},
    "two peers in one": {"peers": (f"{ID}@h:1,{ID}@h:2",)},
    "a peer that ends a line": {"peers": (f"{ID}@h:1\n",)},
    "a quote in a peer": {"peers": (f'{ID}@h":1',)},
    "an address without a port": {"external_address": "h"},
    "an RPC without a port": {"rpc": "h"},
    "an RPC that is two": {"rpc": "h:1,tcp://h:2"},
    "a server that is no URL": {"state_sync": ("h:1",)},
    "two servers in one": {"state_sync": ("http://h:1,http://h:2",)},
    "a host with a quote": {"p2p_host": 'h"'},
    "no port": {"p2p_port": 0},
    "a port beyond all": {"p2p_port": 65_536},
    "a height below all": {"halt_height": -1},
    "a snapshot below all": {"snapshot_epochs": -1},
}


@pytest.mark.parametrize("flags", NOT_SETTINGS.values(), ids=NOT_SETTINGS)
def test_what_no_validator_can_be_told(tmp_path: Path, flags: dict[str, Any]) -> None:
    (name,) = flags
    assert f"setting {name}" in refused(tmp_path, flags)
