"""The homes of a development network: who is told what, and which network goes on."""

from pathlib import Path
from typing import Final

import pytest

from ledger.genesis import load_genesis
from ledger.messages.genesis import COMET, FIXED, REGISTRY, SOLO
from registry import signer
from registry.cli import devnet as command
from registry.cometbft import version
from registry.cometbft.home import prepare
from registry.devnet import Devnet, network
from registry.keystore import derive, load_seed
from registry.sockets import listen
from tests.registry.cli.driver import call
from tests.registry.cometbft.site import make_program
from tests.registry.factory import LINKS

COUNT: Final = 4


@pytest.fixture(autouse=True)
def _short_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signer, "CHAIN_LINKS", LINKS)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CometBFT on the path, where nothing else is."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(version, "CHECKOUT_FOLDER", tmp_path / "nowhere")
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))
    return make_program(tmp_path / "bin" / "cometbft")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[network.Place], bool]]:
    """With which places networks were started; nothing runs."""
    runs: list[tuple[list[network.Place], bool]] = []

    async def run(_self: Devnet, places: list[network.Place], is_new: bool, _log: object) -> int:
        runs.append((places, is_new))
        return 0

    monkeypatch.setattr(Devnet, "_run", run)
    return runs


def test_four_validators_know_each_other(
    tmp_path: Path, program: Path, started: list[tuple[list[network.Place], bool]]
) -> None:
    folder = tmp_path / "devnet"
    made = Devnet(folder, COUNT)
    assert made.run(18_000) == 0
    [(places, is_new)] = started
    assert is_new
    genesis = load_genesis((folder / "genesis.bin").read_bytes())
    assert (genesis.engine, genesis.policy, genesis.producer) == (COMET, REGISTRY, b"")
    validators = {seat.consensus_key for seat in genesis.attestors}
    ports = set()
    for number in range(COUNT):
        settings = made.settings(number, places)
        assert settings.engine == "comet"
        assert settings.validator == settings.attest == folder / str(number) / "attestor.json"
        seed = load_seed(settings.attest)
        assert derive(seed, "consensus").public in validators
        validators.remove(derive(seed, "consensus").public)
        assert settings.genesis_path.read_bytes() == (folder / "genesis.bin").read_bytes()
        assert settings.web is (number == 0)
        ports.add(settings.p2p_port)
        # what others call it by is what its CometBFT is going to be called
        mine = f"{prepare(settings, {}).node_id}@127.0.0.1:{settings.p2p_port}"
        assert places[number].peer == mine
        others = {place.peer for place in places} - {mine}
        assert set(settings.peers) == others
        assert len(others) == COUNT - 1
        assert not (folder / str(number) / "producer.json").exists()
    assert len(ports) == COUNT
    assert validators == set()


def test_all_of_them_may_serve(
    tmp_path: Path, program: Path, started: list[tuple[list[network.Place], bool]]
) -> None:
    made = Devnet(tmp_path / "devnet", COUNT, serve_all=True)
    with listen("127.0.0.1", 0) as taken:
        first = taken.getsockname()[1]
        made.run(first)
    [(places, _)] = started
    settings = [made.settings(number, places) for number in range(COUNT)]
    assert all(row.web for row in settings)
    serving = [row.port for row in settings]
    # one that is taken is passed over
    assert serving == sorted(set(serving))
    assert serving[0] > first


def test_the_next_start_goes_on_with_what_is_there(
    tmp_path: Path, program: Path, started: list[tuple[list[network.Place], bool]]
) -> None:
    folder = tmp_path / "devnet"
    Devnet(folder, COUNT).run(18_000)
    raw = (folder / "genesis.bin").read_bytes()
    again = Devnet(folder)
    again.run(18_000)
    (first, _), (second, is_new) = started
    assert not is_new
    assert (folder / "genesis.bin").read_bytes() == raw
    # nodes keep their names, wherever they are reached
    assert [place.peer.partition("@")[0] for place in second] == [
        place.peer.partition("@")[0] for place in first
    ]
    assert again.settings(0, second).engine == "comet"


def test_without_validators_there_is_a_producer_as_ever(
    tmp_path: Path, started: list[tuple[list[network.Place], bool]]
) -> None:
    made = Devnet(tmp_path / "devnet")
    made.run(18_000)
    [(places, _)] = started
    genesis = load_genesis((tmp_path / "devnet" / "genesis.bin").read_bytes())
    assert (genesis.engine, genesis.policy) == (SOLO, FIXED)
    assert len(genesis.attestors) == len(places) == 3
    first, *others = (made.settings(number, places) for number in range(3))
    assert first.producer == tmp_path / "devnet" / "0" / "producer.json"
    assert genesis.producer == derive(load_seed(first.producer), "producer").public
    assert [row.follow for row in others] == [(f"http://127.0.0.1:{places[0].port}",)] * 2
    assert not (tmp_path / "devnet" / "0" / "cometbft").exists()


OTHERS = {"more": (4, 5, "has 4 validators"), "where there are none": (0, 4, "has no validators")}


@pytest.mark.parametrize(("there", "wanted", "why"), OTHERS.values(), ids=OTHERS)
def test_another_number_is_refused(
    tmp_path: Path,
    program: Path,
    started: list[tuple[list[network.Place], bool]],
    there: int,
    wanted: int,
    why: str,
) -> None:
    Devnet(tmp_path / "devnet", there).run(18_000)
    raw = (tmp_path / "devnet" / "genesis.bin").read_bytes()
    result = call("devnet", "--validators", str(wanted), code=1)
    assert why in result.stderr
    assert "--fresh" in result.stderr
    assert (tmp_path / "devnet" / "genesis.bin").read_bytes() == raw
    assert len(started) == 1
    call("devnet", "--validators", str(wanted), "--fresh")
    assert len(started) == 2
    assert (tmp_path / "devnet" / "genesis.bin").read_bytes() != raw


def test_without_cometbft_nothing_is_made(tmp_path: Path, program: Path) -> None:
    program.unlink()
    result = call("devnet", "--validators", "4", code=1)
    assert "there is no CometBFT" in result.stderr
    assert "scripts/install_cometbft" in result.stderr
    assert not (tmp_path / "devnet").exists()


def test_more_than_a_network_may_have(program: Path) -> None:
    call("devnet", "--validators", str(command.MOST + 1), code=2)
