"""`waypost init`: the homes that come out, and what is never touched."""

import stat
from pathlib import Path

import pytest

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.genesis import load_genesis
from ledger.messages.genesis import COMET
from ledger.params import PRESETS, preset
from ledger.types import COIN
from registry import keystore, signer
from registry.addresses import encode_account
from registry.cli.init import CONFIG
from registry.home import GENESIS
from registry.keystore import MINIMUM, BadKeyFile, derive, load_seed, save_seed
from registry.settings import load_settings
from tests.factory import make_genesis, public
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import save_keys, seed_of
from tests.registry.cli.person import (
    PASSPHRASE,
    at_terminal,
    run_without_terminal,
    write_passphrase,
)

URL = "http://127.0.0.1:8420"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signer, "CHAIN_LINKS", 2**11)
    for name in ("WAYPOST_HOME", "WAYPOST_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", PRESETS)
def test_a_new_network_is_one_that_its_node_can_run(tmp_path: Path, name: str) -> None:
    home = tmp_path / 'a "home"'
    made = call_json("init", "--home", home, "--preset", name, "--name", "mine", "--insecure")
    settings = load_settings(home, {})
    assert settings.engine == "solo"
    assert settings.producer == home / "producer.json"
    assert settings.attest == home / "attestor.json"
    raw = settings.genesis_path.read_bytes()
    genesis = load_genesis(raw)
    assert genesis.name == b"mine"
    assert genesis.params == tuple(preset(name))
    assert genesis.producer == derive(load_seed(settings.producer), "producer").public
    (seat,) = genesis.attestors
    assert seat.list_key == derive(load_seed(settings.attest), "list").public
    treasury = derive(load_seed(home / "treasury.json"), "account").public
    assert [(row.account, row.balance) for row in genesis.accounts] == [(treasury, 10**7 * COIN)]
    assert made["genesis_hash"] == sha256(raw).hex()
    assert made["account"] == encode_account(treasury)


def test_it_says_what_the_keys_are_worth_and_what_comes_next(tmp_path: Path) -> None:
    home = tmp_path / "home"
    result = call("init", "--home", home, "--insecure")
    assert "INSECURE" in result.stderr
    assert "one attestor signs alone" in result.stderr
    assert f"waypost run --home {home}" in result.stdout
    for name in ("producer", "attestor", "treasury"):
        file = home / f"{name}.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert load_seed(file).hex() not in result.output


def test_the_home_is_the_one_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path / "home"))
    assert "  waypost run\n" in call("init", "--insecure").stdout
    assert (tmp_path / "home" / GENESIS).exists()


@pytest.mark.parametrize(
    "name", [GENESIS, CONFIG, "producer.json", "attestor.json", "treasury.json", "ledger"]
)
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    assert error_of(call("init", "--home", tmp_path, code=1)) == "home_in_use"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_second_time_is_refused(tmp_path: Path) -> None:
    call("init", "--home", tmp_path, "--insecure")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    call("init", "--home", tmp_path, "--insecure", code=1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# --- encrypted key files -------------------------------------------------------------------------


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore, "MODERATE", keystore.MINIMUM)


def test_key_files_are_encrypted_unless_told_otherwise(tmp_path: Path, cheap: None) -> None:
    told = write_passphrase(tmp_path)
    home = tmp_path / "home"
    result = call("init", "--home", home, "--passphrase-file", told)
    assert "INSECURE" not in result.output
    assert "no backup yet" in result.stderr
    genesis = load_genesis((home / GENESIS).read_bytes())
    for name in ("producer", "attestor", "treasury"):
        file = home / f"{name}.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert f"waypost keys backup {file}" in result.stdout
        with pytest.raises(BadKeyFile, match="encrypted"):
            load_seed(file)
        assert load_seed(file, lambda: PASSPHRASE.encode()).hex() not in result.output
    producer = load_seed(home / "producer.json", lambda: PASSPHRASE.encode())
    assert genesis.producer == derive(producer, "producer").public
    assert PASSPHRASE not in result.output
    assert all(PASSPHRASE.encode() not in path.read_bytes() for path in home.iterdir())


def test_without_anybody_to_ask_nothing_is_made(tmp_path: Path) -> None:
    done = run_without_terminal("init", "--home", tmp_path / "home")
    assert done.returncode == 1
    assert "error: no_passphrase: " in done.stderr
    assert "--passphrase-file PATH or --passphrase-fd N" in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_person_types_one_passphrase_twice(tmp_path: Path) -> None:
    with at_terminal("init", "--home", tmp_path / "home") as person:
        person.answer(f"New passphrase for the key files of {tmp_path / 'home'}: ", PASSPHRASE)
        person.answer("The same once more: ", PASSPHRASE)
        assert person.end() == 0
    assert PASSPHRASE not in person.seen
    for name in ("producer", "attestor", "treasury"):
        load_seed(tmp_path / "home" / f"{name}.json", lambda: PASSPHRASE.encode())


def test_an_encrypted_attestor_needs_no_passphrase_to_be_named(
    tmp_path: Path, genesis: Path
) -> None:
    file = tmp_path / "mine.json"
    save_seed(file, seed_of("alice"), PASSPHRASE.encode(), MINIMUM)
    home = tmp_path / "home"
    result = call("init", "--home", home, "--genesis", genesis, "--follow", URL, "--attest", file)
    assert "no seat" in result.stderr


# --- followers ----------------------------------------------------------------------------------


@pytest.fixture
def genesis(tmp_path: Path) -> Path:
    """The genesis file of another network."""
    file = tmp_path / "theirs.bin"
    file.write_bytes(encode(make_genesis()))
    return file


def test_a_follower_has_the_file_and_the_urls(tmp_path: Path, genesis: Path) -> None:
    home = tmp_path / "home"
    other = "http://127.0.0.1:8421"
    made = call_json(
        "init", "--home", home, "--genesis", genesis, "--follow", URL, "--follow", other
    )
    settings = load_settings(home, {})
    assert settings.engine == "follow"
    assert settings.follow == (URL, other)
    assert settings.attest is None
    assert settings.genesis_path.read_bytes() == genesis.read_bytes()
    assert made["follows"] == [URL, other]
    assert sorted(path.name for path in home.iterdir()) == [CONFIG, GENESIS]


def test_the_producer_of_a_network_that_exists(tmp_path: Path) -> None:
    file = tmp_path / "mine.bin"
    producer = save_keys(tmp_path, "producer")
    key = derive(seed_of("producer"), "producer").public
    file.write_bytes(encode(make_genesis(producer=key)))
    home = tmp_path / "home"
    made = call_json("init", "--home", home, "--genesis", file, "--producer", producer)
    settings = load_settings(home, {})
    assert (settings.engine, settings.producer, settings.attest) == ("solo", producer, None)
    assert made["produces_with"] == str(producer)
    assert sorted(path.name for path in home.iterdir()) == [CONFIG, GENESIS]


@pytest.mark.parametrize("more", [["--follow", URL], ["--producer", "p.json"]], ids=" ".join)
def test_a_network_of_another_engine_gets_no_home(tmp_path: Path, more: list[str]) -> None:
    file = tmp_path / "comet.bin"
    file.write_bytes(encode(make_genesis(engine=COMET, producer=b"")))
    result = call("init", "--home", tmp_path / "home", "--genesis", file, *more, code=1)
    assert error_of(result) == "engine_missing"
    assert "needs the engine comet, which this version cannot run yet" in result.stderr
    assert not (tmp_path / "home").exists()


def test_only_the_producer_gets_his_home(tmp_path: Path, genesis: Path) -> None:
    words = ("--genesis", genesis, "--producer", save_keys(tmp_path, "alice"))
    result = call("init", "--home", tmp_path / "home", *words, code=1)
    assert error_of(result) == "wrong_producer"
    assert public("producer").hex() in result.stderr
    assert not (tmp_path / "home").exists()


def test_a_follower_may_attest(tmp_path: Path, genesis: Path) -> None:
    keys = save_keys(tmp_path, "alice")
    home = tmp_path / "home"
    result = call("init", "--home", home, "--genesis", genesis, "--follow", URL, "--attest", keys)
    assert "no seat" in result.stderr
    assert load_settings(home, {}).attest == keys


@pytest.mark.parametrize(
    "words",
    [
        ["--genesis", "g"],
        ["--genesis", "g", "--follow", URL, "--producer", "k"],
        ["--producer", "k"],
        ["--follow", URL],
        ["--attest", "k"],
        ["--genesis", "g", "--follow", URL, "--preset", "minimal"],
        ["--genesis", "g", "--follow", URL, "--name", "net"],
        ["--genesis", "g", "--follow", URL, "--insecure"],
        ["--insecure", "--passphrase-file", "p"],
        ["--insecure", "--passphrase-fd", "3"],
        ["--passphrase-file", "p", "--passphrase-fd", "3"],
        ["--passphrase-fd", "-1"],
        ["--name", "Net"],
        ["--preset", "huge"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line(tmp_path: Path, words: list[str]) -> None:
    call("init", "--home", tmp_path / "home", *words, code=2)
    assert not (tmp_path / "home").exists()


def test_a_follower_is_refused(tmp_path: Path, genesis: Path) -> None:
    home = ("--home", tmp_path / "home")
    (tmp_path / "junk").write_bytes(b"junk")
    refused = {
        ("--genesis", tmp_path / "junk"): "not_canonical",
        ("--genesis", tmp_path / "missing"): "io",
        ("--genesis", genesis, "--attest", tmp_path / "missing"): "bad_key_file",
    }
    for words, code in refused.items():
        assert error_of(call("init", *home, *words, "--follow", URL, code=1)) == code
    assert not (tmp_path / "home").exists()
