"""One agent in this process: what it holds, what it says, and with which key it signs."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.errors import Fault, Refusal
from ledger.messages.contact import Version
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
from registry.watermarks import WatermarksInUse
from tests.factory import keys
from tests.registry.agent.served import Town, Witness, key_of, serve_town
from tests.registry.factory import eventually, in_loop, seed_of, short_folder
from tests.registry.oxenmq_client import OxenClient
from tests.registry.small_service import problem, running, said

SEED: Final = seed_of("node")
NOBODY: Final = "http://127.0.0.1:1"


class Scene:
    """A home with its files, and a service."""

    def __init__(self, folder: Path, witness: Witness) -> None:
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
        lambda: (scene.folder / "status.json").exists() and scene.status.get("contact_why")
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
        if "nobody proves" in (agent.status.get("problem") or ""):
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
