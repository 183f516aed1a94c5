"""The keys, the genesis file and the processes of a development network."""

import asyncio
import secrets
import shutil
from pathlib import Path
from typing import IO, Final

from ledger.errors import WaypostError
from ledger.types import COIN, Key
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

SEED: Final = "insecure-seed.json"


class Devnet:
    """A development network in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seed_path = folder / SEED

    def remove(self) -> None:
        """Forget everything, if the folder is one of a development network."""
        if self._seed_path.exists():
            shutil.rmtree(self._folder)

    def run(self, first_port: int) -> int:
        """Run until told to stop; return the exit code. Raises `CannotListen`."""
        is_new = not self._seed_path.exists()
        if is_new:
            self._make()
        port = find_port(first_port)
        with self._log_path.open("ab") as log_file:
            set_up_logs("supervisor", self._log_path)
            return asyncio.run(self._run(port, is_new, log_file))

    def give(self, url: str, account: Key, coins: int) -> int:
        """Send coins from the faucet; return the height of their block."""
        return Story(self._load_seed(), self._genesis_path.read_bytes(), url).give(account, coins)

    # ------------------------------------------------------------------------ making

    @property
    def _log_path(self) -> Path:
        return self._folder / "log"

    @property
    def _genesis_path(self) -> Path:
        return self._folder / "0" / GENESIS

    def _load_seed(self) -> bytes:
        if not self._seed_path.exists():
            raise WaypostError(f"there is no development network in {self._folder}: start one")
        return load_seed(self._seed_path)

    def _make(self) -> None:
        """Make keys and genesis; the seed comes last, so that a half-made one is made again."""
        seed = secrets.token_bytes(32)
        genesis = make_devnet_genesis(seed)
        for number in range(ATTESTORS):
            home = self._home(number)
            write_durably(home / GENESIS, genesis)
            for role in ("producer", "attestor"):
                (home / f"{role}.json").unlink(missing_ok=True)
            save_insecure_seed(home / "attestor.json", named_seed(seed, f"attestor {number}"))
        save_insecure_seed(self._home(0) / "producer.json", named_seed(seed, "producer"))
        write_durably(self._folder / GENESIS, genesis)
        save_insecure_seed(self._seed_path, seed)

    def _home(self, number: int) -> Path:
        return self._folder / str(number)

    def settings(self, number: int, port: int) -> Settings:
        """Return the settings of one of the processes' homes; number 0 produces and serves."""
        home = self._home(number)
        attest = home / "attestor.json"
        if number == 0:
            return Settings(home=home, port=port, producer=home / "producer.json", attest=attest)
        url = f"http://127.0.0.1:{port}"
        return Settings(home=home, engine="follow", follow=(url,), attest=attest, web=False)

    # ----------------------------------------------------------------------- running

    async def _run(self, port: int, is_new: bool, log_file: IO[bytes]) -> int:
        url = f"http://127.0.0.1:{port}"
        genesis = self._genesis_path.read_bytes()
        story = Story(self._load_seed(), genesis, url)
        story.introduce(self._folder, is_new)
        service = asyncio.create_task(Supervisor(self.settings(0, port), log_file).run())
        served = asyncio.create_task(asyncio.to_thread(story.wait_until_served))
        replicas: list[Child] = []
        playing: asyncio.Task[None] | None = None
        try:
            await asyncio.wait([service, served], return_when=asyncio.FIRST_COMPLETED)
            if not service.done() and served.result():
                # each is known before the next one starts, so that all of them get stopped
                for number in range(1, ATTESTORS):
                    replicas += [await self._start_replica(number, port, log_file)]
                playing = asyncio.create_task(asyncio.to_thread(story.play))
            code = await service
            if code:
                story.say(f"error: a process ended with code {code}: see {self._log_path}")
            return code
        finally:
            story.stop()
            for child in reversed(replicas):
                await child.stop()
            if playing is not None:
                await playing
            story.say("stopped: nothing of it runs any more")

    async def _start_replica(self, number: int, port: int, log_file: IO[bytes]) -> Child:
        arguments = ["--settings", self.settings(number, port).model_dump_json()]
        name = f"attestor {number}"
        return await Child.start(name, "registry.ledger_process", arguments, (), log_file)


def make_devnet_genesis(seed: bytes) -> bytes:
    """Return the genesis file of a development network: the preset `minimal`, from now on."""
    faucet = derive(named_seed(seed, "faucet"), "account").public
    return make_genesis(
        "devnet",
        "minimal",
        {},
        derive(named_seed(seed, "producer"), "producer").public,
        [make_seat(named_seed(seed, f"attestor {number}")) for number in range(ATTESTORS)],
        [(faucet, FAUCET_COINS * COIN)],
        POOL_COINS * COIN,
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
