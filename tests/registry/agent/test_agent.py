"""One agent in this process: what it holds, what it says, and with which key it signs."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.errors import Fault, Refusal
from ledger.messages.contact import Version
from ledger.messages.tables import CONTACTS, NODES
from ledger.state import epoch_key
from registry.agent import agent as module
from registry.agent.agent import Agent, find_timeout_s, read_version
from registry.agent.challenge import Asked, ask
from registry.agent.checkins import PING_SILENCE_S, Pings
from registry.agent.settings import AgentSettings
from registry.agent.status import read_status
from registry.files import write_durably
from registry.home import GENESIS
from registry.keystore import BadKeyFile, derive, save_insecure_seed
from registry.oxenmq.addresses import BadAddress
from registry.watermarks import SignerRefuses, WatermarksInUse
from tests.factory import EPOCH_MS, keys, make_contact
from tests.registry.agent.served import Town, key_of, serve_town
from tests.registry.factory import eventually, in_loop, seed_of, short_folder
from tests.registry.oxenmq_client import OxenClient
from tests.registry.small_service import problem, running, said

SEED: Final = seed_of("node")
NOBODY: Final = "http://127.0.0.1:1"


class Scene:
    """A home with its files, and a service."""

    def __init__(self, folder: Path, witness: Any) -> None:
        self.folder = folder
        self.witness = witness
        save_insecure_seed(folder / "node.json", SEED)
        write_durably(folder / GENESIS, witness.town.network.raw)

    def settings(self, **changes: Any) -> AgentSettings:
        told: dict[str, Any] = {"services": [self.witness.url], "home": self.folder}
        return AgentSettings(**(told | {"node": self.folder / "node.json"} | changes))

    @property
    def status(self) -> dict[str, Any]:
        """What it tells."""
        return read_status(self.folder / "status.json")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A town where epoch 1 runs."""
    with ExitStack() as stack:
        yield Scene(tmp_path, stack.enter_context(running(serve_town(Town()))))


async def run_until(agent: Agent, holds: Any) -> None:
    """Run an agent until something holds."""
    running = asyncio.create_task(agent.run())
    try:
        await eventually(lambda: running.done() or holds())
        if running.done():
            running.result()
    finally:
        running.cancel()
        await asyncio.wait([running])


@in_loop
async def test_before_it_is_registered_it_answers_and_waits(scene: Scene) -> None:
    told = {
        "ipv4": "127.0.0.1",
        "storage_port": 9,
        "router_port": 7,
        "storage_version": "1.0.0",
        "router_version": "1.0.0",
    }
    # a free port, which no setting may say
    settings = scene.settings(**told).model_copy(update={"storage_port": 0})
    scene.witness.answers["POST /v1/checkins"] = problem("unknown_node")
    agent = Agent(settings, {})
    pair = derive(SEED, "duty")

    async def heard() -> bool:
        ((host, port),) = agent.responder.places
        network = agent.ledger.genesis_hash
        asked = Asked(network, agent.node.public, pair.public, ip_address(host), port)
        return await ask(asked, key_of(0), 1, 5) is not None

    running = asyncio.create_task(agent.run())
    await eventually(
        lambda: (scene.folder / "status.json").exists() and scene.status.get("no_votes")
    )
    await eventually(lambda: scene.status.get("check_in"))
    assert await heard()
    running.cancel()
    await asyncio.wait([running])
    found = scene.status
    assert found["contact_why"] == "the node is not registered"
    assert (found["epoch"], found["state"], found["list"]) == (1, None, "fresh")
    assert found["check_in"]["services"] == {scene.witness.url: "about unknown_node"}
    assert found["no_votes"]["why"] == "this node has nobody to test"
    assert found["problem"] is None
    assert agent.responder.places == []


@in_loop
async def test_without_services_it_says_what_is_wrong_and_goes_on(scene: Scene) -> None:
    agent = Agent(scene.settings(services=[NOBODY]), {})
    await run_until(agent, lambda: agent.status.get("problem"))
    assert "no service has a signed list" in scene.status["problem"]
    assert scene.status["epoch"] is None
    # the home is free again
    Agent(scene.settings(), {})._watermarks.close()


@in_loop
async def test_what_nobody_proves_is_asked_for_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    monkeypatch.setattr(module, "POLL_S", (0.01, 0.01))
    agent = Agent(scene.settings(), {})
    path = f"GET /v1/proofs/nodes/{agent.node.public.hex()}"
    scene.witness.answers[path] = problem("state_not_kept", 404)

    def come_to_itself() -> bool:
        if path in scene.witness.answers and agent.status.get("problem"):
            assert "nobody proves" in agent.status.get("problem")
            # that the node is not registered is not proven either
            assert agent.status.get("contact_why") is None
            scene.witness.answers.pop(path, None)
        return agent.status.get("contact_why") is not None

    await run_until(agent, come_to_itself)
    assert agent.status.get("duties")["epoch"] == 1


@in_loop
async def test_without_a_roster_the_contact_data_are_looked_after_all_the_same(
    scene: Scene,
) -> None:
    agent = Agent(scene.settings(), {})
    roster = f"GET /v1/proofs/rosters/{epoch_key(1).hex()}"
    scene.witness.answers[roster] = problem("state_not_kept", 404)
    await run_until(agent, lambda: agent.status.get("problem"))
    assert "rosters" in agent.status.get("problem")
    assert agent.status.get("contact_why") == "the node is not registered"
    assert agent.status.get("duties") is None


@in_loop
async def test_a_home_is_held_by_one_agent(scene: Scene) -> None:
    agent = Agent(scene.settings(), {})
    with pytest.raises(WatermarksInUse):
        Agent(scene.settings(), {})
    await agent.close()
    await Agent(scene.settings(), {}).close()


@in_loop
async def test_without_its_files_it_does_not_start(scene: Scene) -> None:
    with pytest.raises(Fault, match="--genesis"):
        Agent(scene.settings(genesis=scene.folder / "nothing"), {})
    with pytest.raises(Refusal):
        Agent(scene.settings(genesis=scene.folder / "node.json"), {})
    with pytest.raises(BadKeyFile):
        Agent(scene.settings(node=scene.folder / "nothing"), {})


@in_loop
async def test_it_signs_with_the_duty_key_that_the_ledger_has(scene: Scene) -> None:
    save_insecure_seed(scene.folder / "new.json", seed_of("new duty"))
    agent = Agent(scene.settings(duty=scene.folder / "new.json"), {})
    old, new = derive(SEED, "duty"), derive(seed_of("new duty"), "duty")
    # as long as the ledger says nothing, the one that was named for that
    assert agent.pair_of(5) == new
    row = scene.witness.town.network.node("node 0")
    agent.own = replace(row, duty_key=new.public, former_duty_key=old.public, keys_epoch=6)
    assert [agent.pair_of(epoch) for epoch in (5, 6)] == [old, new]
    agent.own = replace(row, duty_key=keys("somebody else").public, keys_epoch=0)
    assert agent.pair_of(5) == new
    await agent.close()


class Ours(Town):
    """A town in which the agent's node is active too, with contact data and a duty key."""

    def __init__(self, port: int, duty_key: bytes) -> None:
        super().__init__()
        rows = self.network.state
        key, row = derive(SEED, "node").public, rows.one(NODES, key_of(0))
        self.contact = make_contact(ipv4=bytes((127, 0, 0, 1)), storage_port=port)
        self.row = replace(row, duty_key=duty_key, former_duty_key=duty_key, keys_epoch=0)
        self.network.checking = False
        self.network.rewrite({NODES.letter + key: self.row, CONTACTS.letter + key: self.contact})
        self.end_epoch()


@contextmanager
def at_home(folder: Path, duty_key: bytes) -> Iterator[Scene]:
    """A town with the agent's node in it, which has that duty key."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running(serve_town(Ours(port, duty_key))) as witness:
        yield Scene(folder, witness)


async def is_heard(agent: Agent, epoch: int) -> bool:
    """Whether a challenge at its contact data is answered under its duty key."""
    town = agent.ledger.genesis_hash
    ((host, port),) = agent.responder.places
    duty_key = derive(SEED, "duty").public
    asked = Asked(town, agent.node.public, duty_key, ip_address(host), port)
    return await ask(asked, key_of(0), epoch, 5) is not None


@in_loop
async def test_after_a_restart_without_services_it_is_found_where_it_was(tmp_path: Path) -> None:
    with at_home(tmp_path, derive(SEED, "duty").public) as scene:
        town = scene.witness.town
        agent = Agent(scene.settings(), {})
        await run_until(agent, lambda: agent.status.get("contact"))
        assert agent.status.get("problem") is None
    agent = Agent(scene.settings(services=[NOBODY]), {})
    assert agent.own == town.row
    running = asyncio.create_task(agent.run())
    await eventually(lambda: agent.status.get("problem"))
    assert agent.responder.places == [("127.0.0.1", town.contact.storage_port)]
    assert await is_heard(agent, 2)
    running.cancel()
    await asyncio.wait([running])
    # of another network, or for another node, it says nothing
    save_insecure_seed(tmp_path / "other.json", seed_of("other"))
    other = Agent(scene.settings(node=tmp_path / "other.json"), {})
    assert (other.own, other._in_force) == (None, None)
    await other.close()


@in_loop
async def test_a_duty_key_that_is_not_here_is_said_and_nothing_is_signed(tmp_path: Path) -> None:
    lost = derive(seed_of("lost"), "duty").public
    with at_home(tmp_path, lost) as scene:
        scene.witness.answers["POST /v1/checkins"] = said({})
        agent = Agent(scene.settings(check_in_s=1), {})
        found: dict[str, Any] = {}

        def is_told() -> bool:
            found.update(scene.status if scene.status.get("problem") else {})
            return (found.get("check_in") or {}).get("faults") == ["wrong address"]

        (tmp_path / "status.json").write_text("{}")
        await run_until(agent, is_told)
        assert found["check_in"]["faults"] == ["wrong address"]
        assert lost.hex() in found["problem"]
        assert "`duty`" in found["problem"]
        assert found["state"] == "active"
        with pytest.raises(SignerRefuses, match=lost.hex()):
            agent.voting_pair_of(2)
        # with it, all is well
        save_insecure_seed(tmp_path / "new.json", seed_of("lost"))
        agent = Agent(scene.settings(duty=tmp_path / "new.json"), {})
        await run_until(agent, lambda: agent.status.get("state") == "active")
        assert agent.status.get("problem") is None
        assert agent.find_own_faults() == []
        assert agent.voting_pair_of(2).public == lost


@in_loop
async def test_votes_are_not_decided_without_the_duty_key(tmp_path: Path) -> None:
    with at_home(tmp_path, derive(seed_of("lost"), "duty").public) as scene:
        agent = Agent(scene.settings(), {})
        await agent.ledger.refresh()
        await agent._look_up()
        ballot = agent.judging._ballot
        with pytest.raises(SignerRefuses, match="in no key file"):
            ballot.check(2)
        with pytest.raises(SignerRefuses, match="in no key file"):
            ballot.decide(9, [])
        await agent.close()
    assert not list(tmp_path.glob("votes/*"))
    assert not [path for path in tmp_path.glob("watermarks/**/*") if "votes" in path.name]


@in_loop
async def test_it_asks_again_whatever_its_clock_says(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(scene.settings(), {})
    poll_s = EPOCH_MS / 1000 / module.POLLS
    # it knows of nothing yet, so nothing is done
    assert agent._find_pause_s(is_done=False) == max(poll_s, EPOCH_MS / 10_000)
    await agent.ledger.refresh()
    due_ms = agent.ledger.started_ms + EPOCH_MS
    for ahead_ms, polls in ((-86_400_000, 5.0), (-round(2 * poll_s * 1000), 3.0), (86_400_000, 1)):
        monkeypatch.setattr(module, "now_ms", lambda at=due_ms + ahead_ms: at)
        assert agent._find_pause_s(is_done=True) == pytest.approx(polls * poll_s)
    await agent.close()


@in_loop
async def test_while_no_epoch_runs_nothing_is_done(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(scene.settings(services=[NOBODY]), {})
    asked = []

    def note(*, is_done: bool) -> float:
        asked.append(is_done)
        return 0.01

    monkeypatch.setattr(agent, "_find_pause_s", note)
    await run_until(agent, lambda: len(asked) > 1)
    assert not any(asked)


@in_loop
async def test_seeds_that_were_opened_elsewhere_are_taken(scene: Scene) -> None:
    path = scene.folder / "sealed.json"
    agent = Agent(scene.settings(node=path), {path: seed_of("other")})
    assert agent.node == derive(seed_of("other"), "node")
    assert agent.pair_of(1) == derive(seed_of("other"), "duty")
    await agent.close()


@in_loop
async def test_the_faults_that_it_sees_of_its_own_node(scene: Scene) -> None:
    now = [0.0]
    agent = Agent(scene.settings(expects_pings=True), {})
    agent.pings = Pings(lambda: now[0])
    assert agent.find_own_faults() == []
    now[0] = PING_SILENCE_S + 1
    assert agent.find_own_faults() == ["storage failure"]
    agent.ledger.clock = "the clock of this machine is 400 s behind"
    assert agent.find_own_faults() == ["clock", "storage failure"]
    await agent.close()
    calm = Agent(scene.settings(), {})
    calm.pings = Pings(lambda: now[0])
    now[0] += PING_SILENCE_S + 1
    assert calm.find_own_faults() == []
    await calm.close()


@in_loop
async def test_an_address_that_is_not_here_is_a_fault_of_its_own(scene: Scene) -> None:
    told = {"ipv4": "127.0.0.1", "bind": ["192.0.2.1"], "storage_port": 9, "router_port": 7}
    settings = scene.settings(**told, storage_version="1.0.0", router_version="1.0.0")
    scene.witness.answers["POST /v1/checkins"] = said({})
    agent = Agent(settings, {})
    await run_until(agent, lambda: agent.status.get("check_in"))
    assert agent.status.get("not_answering")[0].startswith("192.0.2.1 port 9: ")
    assert agent.status.get("check_in")["faults"] == ["wrong address"]


@in_loop
async def test_a_storage_server_is_heard_over_oxenmq(scene: Scene) -> None:
    with short_folder() as folder:
        address = f"ipc://{folder}/omq"
        agent = Agent(scene.settings(oxenmq=[address], expects_pings=True), {})
        ping = {"version": [2, 11, 0], "https_port": 22021, "omq_port": 22020}

        def tell() -> Any:
            with OxenClient(address) as client:
                client.greet()
                return client.request("admin.storage_server_ping", ping).json

        running = asyncio.create_task(agent.run())
        await eventually(lambda: running.done() or (folder / "omq").exists())
        assert await asyncio.to_thread(tell) == {"status": "OK"}
        running.cancel()
        await asyncio.wait([running])
    assert agent.pings.count == 1


@in_loop
async def test_an_address_of_oxenmq_that_is_none_is_refused(scene: Scene) -> None:
    with pytest.raises(BadAddress):
        Agent(scene.settings(oxenmq=["127.0.0.1:5"]), {})


def test_a_dead_service_does_not_cost_an_epoch(scene: Scene) -> None:
    assert find_timeout_s(scene.witness.town.network.raw) == 2.5


def test_its_version_is_that_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "version", lambda _: "3.20.1.dev5")
    assert read_version() == Version(3, 20, 1)
    monkeypatch.setattr(module, "version", lambda _: "unknown")
    assert read_version() == Version(0, 0, 1)
