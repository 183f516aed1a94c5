"""The homes of a development network: who is told what, and which network goes on."""

import json
from pathlib import Path
from typing import Final

import pytest

from ledger.genesis import load_genesis
from ledger.messages.genesis import COMET, FIXED, REGISTRY, SOLO
from ledger.params import Params
from registry import signer
from registry.agent.settings import AgentSettings
from registry.cli import devnet as command
from registry.cometbft import version
from registry.cometbft.home import prepare
from registry.devnet import cheating, failing, network
from registry.devnet.cast import NODES, ROUTER_PORT, STORAGE_PORT, Cast, NoAddresses
from registry.devnet.crew import Crew
from registry.devnet.network import Devnet, Plan
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
    made = Devnet(folder, Plan(COUNT))
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
    made = Devnet(tmp_path / "devnet", Plan(COUNT, serve_all=True))
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
    Devnet(folder, Plan(COUNT)).run(18_000)
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
    Devnet(tmp_path / "devnet", Plan(there)).run(18_000)
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


# --------------------------------------------------------------------------------- the nodes


def test_the_nodes_of_a_network_keep_their_addresses(
    tmp_path: Path, started: list[tuple[list[network.Place], bool]]
) -> None:
    folder = tmp_path / "devnet"
    Devnet(folder).run(18_000)
    cast = Cast(load_seed(folder / network.SEED))
    addresses = [node.ipv4 for node in cast.nodes]
    assert len(set(addresses)) == NODES == 25
    assert all(address.startswith("127.") for address in addresses)
    assert len({address.rpartition(".")[0] for address in addresses}) == 5
    again = Cast(load_seed(folder / network.SEED))
    assert [(node.key, node.ipv4) for node in again.nodes] == [
        (node.key, node.ipv4) for node in cast.nodes
    ]


AGENTS: Final = {"agents": ([], 1), "nobody": (["--no-agents"], 0)}


@pytest.mark.parametrize(("words", "wanted"), AGENTS.values(), ids=AGENTS)
def test_newcomers_are_tested_where_somebody_can(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: list[tuple[list[network.Place], bool]],
    words: list[str],
    wanted: int,
) -> None:
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))
    call("devnet", *words)
    genesis = load_genesis((tmp_path / "devnet" / "genesis.bin").read_bytes())
    assert Params(*genesis.params).activation_verdict == wanted


def test_a_new_network_avoids_addresses_that_are_taken(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: list[tuple[list[network.Place], bool]],
) -> None:
    taken, free = bytes(31) + b"a", b"free" + bytes(28)
    given = iter([taken, taken, free])
    monkeypatch.setattr("registry.devnet.network.secrets.token_bytes", lambda _size: next(given))
    assert Cast(taken).nodes[3].ipv4 != Cast(free).nodes[3].ipv4
    with listen(Cast(taken).nodes[3].ipv4, ROUTER_PORT):
        Devnet(tmp_path / "devnet").run(18_000)
    assert load_seed(tmp_path / "devnet" / network.SEED) == free


def test_addresses_that_somebody_took_are_named(
    tmp_path: Path, started: list[tuple[list[network.Place], bool]]
) -> None:
    folder = tmp_path / "devnet"
    Devnet(folder).run(18_000)
    node = Cast(load_seed(folder / network.SEED)).nodes[7]
    with listen(node.ipv4, STORAGE_PORT):
        with pytest.raises(NoAddresses, match=f"{node.ipv4} port {STORAGE_PORT} is taken"):
            Devnet(folder).run(18_000)
        # who needs none of them may go on
        Devnet(folder, Plan(has_agents=False)).run(18_000)
    assert [is_new for _, is_new in started] == [True, False]


def test_a_machine_without_the_addresses_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cast = Cast(bytes(32))
    # no machine has an address of the documentation
    monkeypatch.setattr("registry.devnet.cast.IPv4Address", lambda _packed: "192.0.2.1")
    with pytest.raises(NoAddresses, match=r"does not have the address 192\.0\.2\.1.*--no-agents"):
        cast.check_addresses()


def test_an_agent_is_told_where_it_is_and_what_it_may_probe(tmp_path: Path) -> None:
    cast = Cast(bytes(32))
    genesis = tmp_path / "genesis.bin"
    crew = Crew(cast, tmp_path / "nodes", genesis, ["http://127.0.0.1:1", "http://127.0.0.1:2"])
    node = cast.nodes[6]
    settings = AgentSettings.model_validate_json(json.dumps(crew.agent_settings(node)))
    assert str(settings.ipv4) == node.ipv4
    assert [str(prefix) for prefix in settings.networks] == ["127.0.0.0/8"]
    assert settings.services == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert settings.genesis_path == genesis
    assert load_seed(settings.node) == node.seed
    homes = {crew.agent_settings(each)["home"] for each in cast.nodes}
    assert len(homes) == len(cast.nodes)


MISFITS: Final = {
    "a failure without agents": ["--no-agents", "--fail", "1"],
    "a cheat without agents": ["--no-agents", "--equivocate", "1"],
    "too many failures": ["--fail", str(command.MOST_ACTORS + 1)],
    "too many cheats": ["--equivocate", str(command.MOST_ACTORS + 1)],
}


@pytest.mark.parametrize("words", MISFITS.values(), ids=MISFITS)
def test_what_cannot_be_played_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))
    call("devnet", *words, code=2)
    assert not (tmp_path / "devnet").exists()


def test_no_more_act_than_there_are_parts() -> None:
    assert command.MOST_ACTORS == len(failing.VICTIMS) == len(cheating.CHEATS)
    assert not set(failing.VICTIMS) & set(cheating.CHEATS)
