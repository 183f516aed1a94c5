"""`waypost init`: the homes that come out, and what is never touched."""

import stat
from pathlib import Path

import pytest

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.genesis import load_genesis
from ledger.messages.genesis import COMET, FIXED, REGISTRY, SOLO, GenesisAttestor
from ledger.params import PRESETS, preset
from ledger.types import COIN
from registry import keystore, signer
from registry.addresses import encode_account
from registry.cli.init import CONFIG
from registry.cometbft import version
from registry.cometbft.home import prepare, prepare_node
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
from tests.registry.cometbft.site import make_program

URL = "http://127.0.0.1:8420"
PEER = f"{'0a' * 20}@127.0.0.1:26656"


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
    assert (genesis.engine, genesis.policy) == (SOLO, FIXED)
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
def test_a_network_of_validators_takes_no_producer_and_no_follower(
    tmp_path: Path, theirs: Path, more: list[str]
) -> None:
    result = call("init", "--home", tmp_path / "home", "--genesis", theirs, *more, code=1)
    assert error_of(result) == "wrong_engine"
    assert "with the engine comet, not with" in result.stderr
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
        ["--engine", "follow"],
        ["--engine", "comet", "--genesis", "g", "--follow", URL],
        ["--engine", "comet", "--genesis", "g", "--producer", "k"],
        ["--engine", "comet", "--validator", "k"],
        ["--engine", "comet", "--peer", PEER],
        ["--engine", "comet", "--genesis", "g", "--state-sync", URL],
        ["--engine", "comet", "--genesis", "g", "--lists", URL],
        ["--engine", "comet", "--genesis", "g", "--name", "net"],
        ["--genesis", "g", "--follow", URL, "--validator", "k"],
        ["--genesis", "g", "--follow", URL, "--peer", PEER],
        ["--genesis", "g", "--producer", "k", "--state-sync", URL, "--lists", URL],
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


# --- validators ---------------------------------------------------------------------------------


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """The genesis file of a network of validators."""
    file = tmp_path / "comet.bin"
    file.write_bytes(encode(make_genesis(engine=COMET, producer=b"")))
    return file


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CometBFT on the path, where nothing else is."""
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(version, "CHECKOUT_FOLDER", tmp_path / "nowhere")
    return make_program(folder / "cometbft")


@pytest.mark.parametrize("name", PRESETS)
def test_a_new_network_of_one_validator(tmp_path: Path, program: Path, name: str) -> None:
    home = tmp_path / "home"
    words = ("--home", home, "--preset", name, "--engine", "comet", "--insecure")
    made = call_json("init", *words)
    settings = load_settings(home, {})
    assert settings.engine == "comet"
    assert settings.validator == settings.attest == home / "validator.json"
    assert settings.producer is None
    genesis = load_genesis((home / GENESIS).read_bytes())
    assert genesis.name == b"waypost-comet"
    assert (genesis.engine, genesis.policy, genesis.producer) == (COMET, REGISTRY, b"")
    assert genesis.params == tuple(preset(name))
    seed = load_seed(home / "validator.json")
    (seat,) = genesis.attestors
    assert seat.list_key == derive(seed, "list").public
    assert seat.consensus_key == derive(seed, "consensus").public
    assert (seat.weight, seat.node) == (1, b"")
    treasury = derive(load_seed(home / "treasury.json"), "account").public
    assert [(row.account, row.balance) for row in genesis.accounts] == [(treasury, 10**7 * COIN)]
    assert made["validator"] == str(home / "validator.json")
    assert made["treasury"] == str(home / "treasury.json")
    assert made["next"][0] == f"waypost run --home {home}"
    assert sorted(path.name for path in home.glob("*.json")) == ["treasury.json", "validator.json"]
    # by that name others reach it, also once it runs
    node = made["peer"].partition("@")[0]
    assert made["peer"] == f"{node}@HOST:26656"
    assert node == prepare_node(settings)
    assert prepare(settings, {}).node_id == node


def test_the_keys_of_a_validator_are_encrypted_unless_told_otherwise(
    tmp_path: Path, program: Path, cheap: None
) -> None:
    told = write_passphrase(tmp_path)
    home = tmp_path / "home"
    result = call("init", "--home", home, "--engine", "comet", "--passphrase-file", told)
    for name in ("validator", "treasury"):
        assert f"waypost keys backup {home / f'{name}.json'}" in result.stdout
        with pytest.raises(BadKeyFile, match="encrypted"):
            load_seed(home / f"{name}.json")
    assert "producer" not in result.output


def test_without_cometbft_it_says_how_to_get_it(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.unlink()
    result = call("init", "--home", tmp_path / "home", "--engine", "comet", "--insecure")
    assert "warning: there is no CometBFT" in result.stderr
    assert "scripts/install_cometbft" in result.stderr
    assert (tmp_path / "home" / GENESIS).exists()


@pytest.mark.parametrize("name", ["validator.json", "cometbft"])
def test_a_home_of_a_validator_is_never_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    assert error_of(call("init", "--home", tmp_path, "--engine", "comet", code=1)) == "home_in_use"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_node_joins_by_replay(tmp_path: Path, program: Path, theirs: Path) -> None:
    home = tmp_path / "home"
    other = f"{'0b' * 20}@example.org:1"
    words = ("--engine", "comet", "--genesis", theirs, "--peer", PEER, "--peer", other)
    made = call_json("init", "--home", home, *words)
    settings = load_settings(home, {})
    assert (settings.engine, settings.peers) == ("comet", (PEER, other))
    assert (settings.validator, settings.attest, settings.state_sync) == (None, None, ())
    assert settings.genesis_path.read_bytes() == theirs.read_bytes()
    assert made["peers"] == [PEER, other]
    assert (made["validates_with"], made["attests_with"]) == (None, None)
    assert sorted(path.name for path in home.iterdir()) == ["cometbft", CONFIG, GENESIS]


def test_a_node_joins_by_a_snapshot(tmp_path: Path, program: Path, theirs: Path) -> None:
    home = tmp_path / "home"
    words = ("--engine", "comet", "--genesis", theirs, "--lists", URL)
    call("init", "--home", home, *words, "--state-sync", URL, "--state-sync", "https://b.example")
    settings = load_settings(home, {})
    assert settings.state_sync == (URL, "https://b.example")
    assert settings.lists == (URL,)


def test_a_validator_joins_with_its_keys(tmp_path: Path, program: Path, theirs: Path) -> None:
    keys, home = save_keys(tmp_path, "alice"), tmp_path / "home"
    words = ("--engine", "comet", "--genesis", theirs, "--validator", keys, "--attest", keys)
    result = call("init", "--home", home, *words)
    assert "has no seat in the genesis file: it validates nothing yet" in result.stderr
    assert "has no seat among the attestors" in result.stderr
    settings = load_settings(home, {})
    assert settings.validator == settings.attest == keys
    assert f"validates with  {keys}" in result.stdout


def test_a_founder_is_known_by_his_keys(tmp_path: Path, program: Path) -> None:
    keys = save_keys(tmp_path, "alice")
    seat = GenesisAttestor(
        derive(seed_of("alice"), "list").public,
        1,
        bytes(32),
        derive(seed_of("alice"), "consensus").public,
    )
    file = tmp_path / "mine.bin"
    file.write_bytes(encode(make_genesis(engine=COMET, producer=b"", attestors=(seat,))))
    words = ("--engine", "comet", "--genesis", file, "--validator", keys, "--attest", keys)
    assert "no seat" not in call("init", "--home", tmp_path / "home", *words).stderr


NOT_SETTINGS = {
    "a peer without its id": ["--peer", "example.org:26656"],
    "a peer without its port": ["--peer", f"{'0a' * 20}@example.org"],
    "two peers in one": ["--peer", f"{PEER},{PEER}"],
    "an RPC that is no URL": ["--state-sync", "example.org:26657", "--lists", URL],
}


@pytest.mark.parametrize("more", NOT_SETTINGS.values(), ids=NOT_SETTINGS)
def test_what_no_setting_can_be_makes_no_home(
    tmp_path: Path, theirs: Path, more: list[str]
) -> None:
    words = ("--engine", "comet", "--genesis", theirs, *more)
    assert error_of(call("init", "--home", tmp_path / "home", *words, code=1)) == "bad_settings"
    assert not (tmp_path / "home").exists()


def test_a_network_with_a_producer_takes_no_validator(tmp_path: Path, genesis: Path) -> None:
    words = ("--engine", "comet", "--genesis", genesis, "--peer", PEER)
    result = call("init", "--home", tmp_path / "home", *words, code=1)
    assert error_of(result) == "wrong_engine"
    assert "with the engine solo or follow, not with comet" in result.stderr
    assert not (tmp_path / "home").exists()
