"""The keys, the genesis file and the processes of a development network.

solo      one producer who serves and attests, and replicas that attest
comet     validators, each with a CometBFT beside it, under a supervisor of its own

Under both, each node has an agent and what it looks after (`registry.devnet.crew`).
"""

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

from ledger.errors import WaypostError
from ledger.messages.genesis import COMET, FIXED, REGISTRY, SOLO
from ledger.messages.genesis import GENESIS as GENESIS_FILE
from ledger.types import COIN, Key
from registry.client.services import Services
from registry.cometbft.home import prepare_node
from registry.cometbft.version import find_program
from registry.devnet import cheating, failing
from registry.devnet.cast import Cast, NoAddresses
from registry.devnet.crew import Crew
from registry.devnet.stage import Stage
from registry.devnet.story import Story
from registry.files import write_durably
from registry.founding import make_genesis, make_seat
from registry.home import GENESIS
from registry.keystore import derive, load_seed, named_seed, save_insecure_seed
from registry.logs import set_up_logs
from registry.settings import Settings
from registry.sockets import CannotListen, listen
from registry.supervisor import Child, Supervisor

ATTESTORS: Final = 3
FAUCET_COINS: Final = 10_000_000
POOL_COINS: Final = 1_000_000
PORTS_TRIED: Final = 100

FIRST_P2P_PORT: Final = 26_656
"""First port to try for what validators say to each other."""

SEED: Final = "insecure-seed.json"
CREW: Final = "nodes"
"""Names in the folder: of the seed of all keys, and of the homes of the nodes' agents."""

SEEDS_TRIED: Final = 20


class OtherNetwork(WaypostError):
    """The network in the folder is not the one that was asked for."""


class Place(NamedTuple):
    """Where a process of the network is reached in this run."""

    port: int
    """Where it serves, if it does."""
    p2p_port: int = 0
    peer: str = ""
    """What other validators call it by."""


class Plan(NamedTuple):
    """What a network is to be, and what is to happen on it."""

    validators: int = 0
    """So many in a new network; with 0 the engine `solo`, or what is there."""
    serve_all: bool = False
    """Whether each validator serves, not the first one alone."""
    has_agents: bool = True
    """Whether anything runs at the nodes' addresses; a new network without needs no tests."""
    fail: int = 0
    """Nodes that die and come back."""
    equivocate: int = 0
    """Nodes that cheat, and are reported."""


USUAL: Final = Plan()


class Devnet:
    """A development network in `folder`."""

    def __init__(self, folder: Path, plan: Plan = USUAL) -> None:
        self._folder = folder
        self._seed_path = folder / SEED
        self._plan = plan
        self._validators = plan.validators

    def remove(self) -> None:
        """Forget everything, if the folder is one of a development network."""
        if self._seed_path.exists():
            shutil.rmtree(self._folder)

    def run(self, first_port: int) -> int:
        """Run until told to stop; return the exit code.

        Raises `CannotListen`, `NoAddresses`, `OtherNetwork`, and with validators `NoCometbft`.
        """
        is_new = not self._seed_path.exists()
        if not is_new:
            self._check_validators()
        if self._validators:
            find_program()
        if is_new:
            self._make()
        elif self._plan.has_agents:
            self._load_cast().check_addresses()
        places = self._find_places(first_port)
        with self._log_path.open("ab") as log_file:
            set_up_logs("supervisor", self._log_path)
            return asyncio.run(self._run(places, is_new, log_file))

    def give(self, url: str, account: Key, coins: int) -> int:
        """Send coins from the faucet; return the height of their block."""
        return self._make_story(url).give(account, coins)

    # ------------------------------------------------------------------------ making

    @property
    def _log_path(self) -> Path:
        return self._folder / "log"

    @property
    def _genesis_path(self) -> Path:
        return self._folder / "0" / GENESIS

    def _load_cast(self) -> Cast:
        if not self._seed_path.exists():
            raise WaypostError(f"there is no development network in {self._folder}: start one")
        return Cast(load_seed(self._seed_path))

    def _make_story(self, url: str) -> Story:
        extras = [cheating.WATCHER] if self._plan.equivocate else []
        return Story(
            self._load_cast(),
            self._genesis_path.read_bytes(),
            url,
            extras,
            has_agents=self._plan.has_agents,
        )

    def _make(self) -> None:
        """Make keys and genesis; the seed comes last, so that a half-made one is made again."""
        has_agents = self._plan.has_agents
        seed = _choose_seed() if has_agents else secrets.token_bytes(32)
        genesis = make_devnet_genesis(seed, self._validators, has_agents=has_agents)
        for number in range(self._validators or ATTESTORS):
            home = self._home(number)
            write_durably(home / GENESIS, genesis)
            for role in ("producer", "attestor"):
                (home / f"{role}.json").unlink(missing_ok=True)
            save_insecure_seed(home / "attestor.json", named_seed(seed, f"attestor {number}"))
        if not self._validators:
            save_insecure_seed(self._home(0) / "producer.json", named_seed(seed, "producer"))
        write_durably(self._folder / GENESIS, genesis)
        save_insecure_seed(self._seed_path, seed)

    def _home(self, number: int) -> Path:
        return self._folder / str(number)

    def _check_validators(self) -> None:
        """Go on with what is there. Raises `OtherNetwork` if something else was asked for."""
        genesis = GENESIS_FILE.decode(self._genesis_path.read_bytes())
        there = len(genesis.attestors) if genesis.engine == COMET else 0
        if self._validators not in (0, there):
            raise OtherNetwork(
                f"the network in {self._folder} has {there or 'no'} validators: leave --validators "
                "away to go on with it, or start over with --fresh"
            )
        self._validators = there

    def _find_places(self, first_port: int) -> list[Place]:
        """Find free ports for this run, and say what validators call each other by."""
        port = find_port(first_port)
        if not self._validators:
            return [Place(port)] * ATTESTORS
        places: list[Place] = []
        p2p_port = FIRST_P2P_PORT - 1
        for number in range(self._validators):
            if self._plan.serve_all and number:
                port = find_port(port + 1)
            p2p_port = find_port(p2p_port + 1)
            node = prepare_node(Settings(home=self._home(number)))
            places.append(Place(port, p2p_port, f"{node}@127.0.0.1:{p2p_port}"))
        return places

    def settings(self, number: int, places: Sequence[Place]) -> Settings:
        """Return the settings of one of the homes; number 0 serves, and produces under `solo`."""
        home, place = self._home(number), places[number]
        attest = home / "attestor.json"
        if self._validators:
            return Settings(
                home=home,
                engine="comet",
                validator=attest,
                attest=attest,
                peers=tuple(other.peer for other in places if other is not place),
                p2p_port=place.p2p_port,
                web=number == 0 or self._plan.serve_all,
                port=place.port,
                workers=min(number, 1),
            )
        if number == 0:
            producer = home / "producer.json"
            return Settings(home=home, port=place.port, producer=producer, attest=attest)
        url = f"http://127.0.0.1:{place.port}"
        return Settings(home=home, engine="follow", follow=(url,), attest=attest, web=False)

    # ----------------------------------------------------------------------- running

    async def _run(self, places: Sequence[Place], is_new: bool, log_file: IO[bytes]) -> int:
        urls = [
            f"http://127.0.0.1:{place.port}"
            for number, place in enumerate(places)
            if self.settings(number, places).web
        ]
        story = self._make_story(urls[0])
        story.introduce(self._folder, is_new)
        others: list[Child] = []
        playing: asyncio.Task[None] | None = None
        service = asyncio.create_task(Supervisor(self.settings(0, places), log_file).run())
        served = asyncio.create_task(asyncio.to_thread(story.wait_until_served))
        try:
            if self._validators:
                # alone the first one agrees on nothing
                await self._start_others(places, others, log_file)
            await asyncio.wait([service, served], return_when=asyncio.FIRST_COMPLETED)
            if not service.done() and served.result():
                if not self._validators:
                    await self._start_others(places, others, log_file)
                playing = asyncio.create_task(self._play(story, urls, log_file))
            code = await service
            if code:
                story.say(f"error: a process ended with code {code}: see {self._log_path}")
            return code
        finally:
            story.stop()
            if playing is not None:
                await playing
            await asyncio.gather(*(child.stop() for child in others))
            story.say("stopped: nothing of it runs any more")

    async def _play(self, story: Story, urls: Sequence[str], log_file: IO[bytes]) -> None:
        """Tell what happens until the story is stopped.

        Agents start once the nodes are registered: a newcomer waits for the first list.
        """
        if not await asyncio.to_thread(story.found):
            return
        acts: list[asyncio.Task[None]] = []
        if self._plan.has_agents:
            acts += [asyncio.create_task(self._act(story, urls, log_file))]
        await asyncio.to_thread(story.watch)
        for act in acts:
            act.cancel()
        await asyncio.gather(*acts, return_exceptions=True)

    async def _act(self, story: Story, urls: Sequence[str], log_file: IO[bytes]) -> None:
        """Run the nodes, and what is to happen to them, until cancelled."""
        cast, services = self._load_cast(), Services(urls)
        crew = Crew(cast, self._folder / CREW, self._folder / GENESIS, urls, log_file, story.tell)
        stage = Stage(cast, services, story.tell)
        try:
            await crew.start()
            acts = [stage.tell_tests()]
            if self._plan.fail:
                acts += [failing.Failing(stage, crew, self._plan.fail).play()]
            if self._plan.equivocate:
                count = self._plan.equivocate
                acts += [cheating.Cheating(stage, crew, self._folder, count).play()]
            await asyncio.gather(*acts)
            await asyncio.Event().wait()
        except Exception as error:
            story.say(f"error: the nodes are stopped: {error!r}")
            raise
        finally:
            await crew.stop()
            await services.close()

    async def _start_others(
        self, places: Sequence[Place], others: list[Child], log_file: IO[bytes]
    ) -> None:
        """Start all but number 0; each is known before the next one starts, and gets stopped."""
        module = "registry.supervisor" if self._validators else "registry.ledger_process"
        for number in range(1, len(places)):
            arguments = ["--settings", self.settings(number, places).model_dump_json()]
            name = f"attestor {number}"
            others += [await Child.start(name, module, arguments, (), log_file)]


def _choose_seed() -> bytes:
    """Return the seed of a network whose nodes' addresses are free. Raises `NoAddresses`."""
    seed = secrets.token_bytes(32)
    for _ in range(SEEDS_TRIED):
        with contextlib.suppress(NoAddresses):
            Cast(seed).check_addresses()
            return seed
        seed = secrets.token_bytes(32)
    Cast(seed).check_addresses()
    return seed


def make_devnet_genesis(seed: bytes, validators: int = 0, *, has_agents: bool = True) -> bytes:
    """Return the genesis file of a development network: the preset `minimal`, from now on.

    Its engine is `comet` if it has `validators`, else `solo`. Where there are agents, a node that
    comes later has to pass a test before it is active.
    """
    producer = derive(named_seed(seed, "producer"), "producer").public
    seats = [
        make_seat(named_seed(seed, f"attestor {number}"), validates=bool(validators))
        for number in range(validators or ATTESTORS)
    ]
    faucet = derive(named_seed(seed, "faucet"), "account").public
    return make_genesis(
        "devnet",
        "minimal",
        {"activation_verdict": int(has_agents)},
        b"" if validators else producer,
        seats,
        [(faucet, FAUCET_COINS * COIN)],
        POOL_COINS * COIN,
        engine=COMET if validators else SOLO,
        policy=REGISTRY if validators else FIXED,
    )


def find_port(first: int) -> int:
    """Return the first free port from `first` on. Raises `CannotListen`."""
    for port in range(first, first + PORTS_TRIED - 1):
        try:
            listen("127.0.0.1", port).close()
        except CannotListen:
            continue
        return port
    listen("127.0.0.1", first + PORTS_TRIED - 1).close()
    return first + PORTS_TRIED - 1
