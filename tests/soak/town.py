"""A development network whose processes may die at any time, and are started again.

The service and its attestors run as `waypost devnet` runs them, but each under somebody who starts
it again when it ends, as a service manager does. The nodes are `registry.devnet`'s crew.
"""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import IO, Final

import httpx2

from ledger.crypto import KeyPair, sha256
from registry.client.services import Services
from registry.devnet.cast import Cast
from registry.devnet.crew import Crew
from registry.devnet.network import ATTESTORS, find_port, make_devnet_genesis
from registry.devnet.stage import Stage
from registry.devnet.story import Story
from registry.home import GENESIS
from registry.keystore import derive, named_seed, save_insecure_seed
from registry.settings import Settings
from registry.supervisor import Child
from tests.faults.kill import children
from tests.processes import find_children

RESTART_S: Final = 0.5
"""Time after which a service manager starts again what has ended."""

READY_S: Final = 120.0
FIRST_PORT: Final = 24_000

CREW: Final = {"agent": "registry.agent", "stand-in": "registry.devnet.node"}
"""The modules of the nodes' processes."""

SENDERS: Final = 8
SENDER_COINS: Final = 10_000


class Kept:
    """A program that is started again whenever it ends."""

    def __init__(self, name: str, settings: Settings, log_file: IO[bytes]) -> None:
        self.name = name
        self.settings = settings
        self._log_file = log_file
        self._child: Child | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._is_wanted = True
        self.codes: list[int] = []
        """How it ended, each time."""

    async def start(self) -> None:
        """Start it, and keep it up."""
        await self._start()
        self._keeping = asyncio.create_task(self._keep())

    async def _start(self) -> None:
        told = ["--settings", self.settings.model_dump_json()]
        self._child = await Child.start(self.name, "registry.supervisor", told, (), self._log_file)

    async def _keep(self) -> None:
        while self._is_wanted and self._child is not None:
            self.codes.append(await self._child.process.wait())
            if self._is_wanted:
                await asyncio.sleep(RESTART_S)
                await self._start()

    @property
    def pids(self) -> dict[str, int]:
        """Its processes, by what they are."""
        if self._child is None:
            return {}
        pid = self._child.process.pid
        return {"supervisor": pid, **children(pid)}

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its supervisor."""
        if self._child is not None and self._child.process.returncode is None:
            # `send_signal` looks whether it has ended, and takes its exit code from who waits
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.process.pid, number)

    async def stop(self) -> int:
        """Stop it for good; return its exit code."""
        self._is_wanted = False
        self.send(signal.SIGTERM)
        if self._keeping is not None:
            await asyncio.wait_for(self._keeping, READY_S)
        return self.codes[-1]


class Town:
    """The whole network."""

    def __init__(self, folder: Path, seed: bytes) -> None:
        """Make keys, genesis file and homes in a folder."""
        self.folder = folder
        self.seed = seed
        self.cast = Cast(seed)
        self.cast.check_addresses()
        self.genesis = make_devnet_genesis(seed)
        self.port = find_port(FIRST_PORT)
        self.url = f"http://127.0.0.1:{self.port}"
        self.senders = [self._sender(number) for number in range(SENDERS)]
        self.said: list[str] = []
        """What the crew told: ends of processes that nobody wanted."""
        self._log_file = (folder / "log").open("ab")
        self.kept = [self._make_kept(number) for number in range(ATTESTORS)]
        (folder / GENESIS).write_bytes(self.genesis)
        self._services = Services([self.url])
        self.crew = Crew(
            self.cast,
            folder / "nodes",
            folder / GENESIS,
            [self.url],
            self._log_file,
            self.said.append,
        )
        self.stage = Stage(self.cast, self._services, self.said.append)

    def _sender(self, number: int) -> KeyPair:
        return derive(named_seed(self.seed, f"sender {number}"), "account")

    def _make_kept(self, number: int) -> Kept:
        home = self.folder / str(number)
        home.mkdir()
        (home / GENESIS).write_bytes(self.genesis)
        attest = home / "attestor.json"
        save_insecure_seed(attest, named_seed(self.seed, f"attestor {number}"))
        if number:
            settings = Settings(
                home=home, engine="follow", follow=(self.url,), attest=attest, web=False, workers=1
            )
            return Kept(f"attestor {number}", settings, self._log_file)
        save_insecure_seed(home / "producer.json", named_seed(self.seed, "producer"))
        settings = Settings(
            home=home, port=self.port, producer=home / "producer.json", attest=attest, workers=2
        )
        return Kept("service", settings, self._log_file)

    @property
    def service(self) -> Kept:
        """Who produces and serves."""
        return self.kept[0]

    @property
    def genesis_hash(self) -> bytes:
        """What the network is known by."""
        return sha256(self.genesis)

    async def start(self) -> None:
        """Start everything, fund the accounts and register the nodes."""
        await self.service.start()
        await self.wait_for_blocks(1)
        for kept in self.kept[1:]:
            await kept.start()
        story = Story(self.cast, self.genesis, self.url)
        assert await asyncio.to_thread(story.found), "the nodes could not be registered"
        for pair in self.senders:
            await asyncio.to_thread(story.give, pair.public, SENDER_COINS)
        await self.crew.start()

    async def stop(self) -> list[int]:
        """Stop everything; return the exit codes of the service and its attestors."""
        await self.crew.stop()
        codes = [await kept.stop() for kept in reversed(self.kept)]
        await self._services.close()
        self._log_file.close()
        return codes

    async def find_height(self) -> int | None:
        """Return the height of the chain; None if nobody answers."""
        try:
            async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
                answer = await client.get(f"{self.url}/v1/network")
                return int(answer.json()["height"]) if answer.status_code == 200 else None
        except (httpx2.HTTPError, ValueError):
            return None

    async def wait_for_blocks(self, count: int) -> None:
        """Wait until there are so many blocks more than the first that is seen."""
        deadline = time.monotonic() + READY_S
        first: int | None = None
        while time.monotonic() < deadline:
            height = await self.find_height()
            first = height if first is None else first
            if height is not None and first is not None and height >= first + count:
                return
            await asyncio.sleep(0.2)
        raise AssertionError(f"no {count} blocks within {READY_S:.0f} s")

    async def list_states(self) -> list[str]:
        """Return the state of each node."""
        return [str((await self.stage.get_node(node.number))["state"]) for node in self.cast.nodes]

    def processes(self) -> dict[str, list[int]]:
        """Return the process ids of everything that runs, by what it is."""
        found: dict[str, list[int]] = {}
        for kept in self.kept:
            role = "service" if kept is self.service else "attestor"
            for part, pid in kept.pids.items():
                found.setdefault(f"{role}'s {part}", []).append(pid)
        for what, module in CREW.items():
            found[what] = find_processes(module)
        return found


def find_processes(module: str) -> list[int]:
    """Return the processes that this one started with a module, oldest first."""
    return sorted(pid for pid, words in find_children(os.getpid()).items() if module in words)
