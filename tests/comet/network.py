"""Validators as real processes: services under their supervisors, a CometBFT beside each.

needs_cometbft   skips where there is none, and says how to install it
Validator        one home, and what runs of it
Network          homes that know each other, and the genesis file that they share
watched          ends every process that a test started, however it ends
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx2
import pytest

from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import sha256
from ledger.history import TIP, TIP_KEY
from ledger.leveldb import LevelStore
from ledger.messages.blocks import Block
from ledger.messages.contact import Contact, Version
from ledger.messages.genesis import COMET, NEW_SWARM, REGISTRY, GenesisAttestor, GenesisNode
from ledger.types import COIN, Hash, Height, Key
from ledger.views import View
from registry.cometbft.home import prepare_node
from registry.cometbft.version import NoCometbft, find_program
from registry.founding import make_genesis, make_seat
from registry.keystore import derive, save_insecure_seed
from registry.settings import Settings

ROOT: Final = Path(__file__).parents[2]
DYING: Final = Path(__file__).with_name("dying")
"""Folder whose `sitecustomize` lets a ledger process die where it is told."""

WAIT_S: Final = 120.0
LOOK_S: Final = 0.1
STOP_S: Final = 30.0

ACCOUNTS: Final = 40
RICH: Final = 1_000_000 * COIN

PARTS: Final = {"ledger": "registry.ledger_process", "cometbft": "cometbft", "web": "web_process"}
"""What stands in the command of each part of a service."""


def needs_cometbft() -> Path:
    """Return CometBFT, or skip the test with how to get it."""
    try:
        return find_program()
    except NoCometbft as missing:
        pytest.skip(str(missing))


def wait_for(holds: Callable[[], object], what: Callable[[], str], wait_s: float = WAIT_S) -> None:
    """Return once something holds; fails with what is known by then."""
    deadline = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(LOOK_S)


def seed_of(name: str) -> bytes:
    """The seed of whoever has a name."""
    return sha256(name.encode())


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Validator:
    """One home: what it is told, what runs of it, and what it holds when nothing does."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.log = settings.home / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._client = httpx2.Client(
            base_url=f"http://127.0.0.1:{settings.port}", timeout=30.0, trust_env=False
        )

    # ---------------------------------------------------------------------- processes

    def start(self, variables: Mapping[str, str] | None = None, **changes: Any) -> None:
        """Start its service; `changes` are of its settings, for this time and later ones."""
        if changes:
            self.settings = self.settings.model_copy(update=changes)
        bare = {name: value for name, value in os.environ.items() if "WAYPOST" not in name}
        paths = f"{DYING}:{ROOT}" if variables else str(ROOT)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "registry.supervisor", "--settings",
                 self.settings.model_dump_json()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=bare | {"PYTHONPATH": paths} | dict(variables or {}),
            )  # fmt: skip

    @property
    def is_running(self) -> bool:
        """Whether its supervisor runs."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> int:
        """Stop it in order; return its exit code."""
        assert self.process is not None
        if self.is_running:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def kill(self, part: str) -> None:
        """Kill one of its processes, and wait until all of them have ended."""
        os.kill(self.pid_of(part), signal.SIGKILL)
        self.wait_until_ended()

    def wait_until_ended(self) -> int:
        """Wait until it has ended by itself; return its exit code."""
        assert self.process is not None
        wait_for(lambda: not self.is_running, lambda: f"{self.name} goes on: {self.said[-2000:]}")
        return self.process.wait()

    def pid_of(self, part: str) -> int:
        """The id of one of its processes."""
        assert self.process is not None
        wanted = PARTS[part].encode()
        found: list[int] = []

        def look() -> bool:
            assert self.process is not None
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            found[:] = [
                int(pid)
                for pid in children.read_text().split()
                if any(wanted in word for word in _command(pid)[:3])
            ]
            return bool(found)

        wait_for(look, lambda: f"{self.name} has no {part}: {self.said[-2000:]}")
        return found[0]

    @property
    def said(self) -> str:
        """Everything that its processes said so far."""
        return self.log.read_text(errors="replace")

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What was logged of an event."""
        found = []
        for line in self.said.splitlines():
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and row.get("event") == event:
                    found.append(row)
        return found

    # -------------------------------------------------------------------------- asking

    @property
    def url(self) -> str:
        """Where its service answers."""
        return str(self._client.base_url).rstrip("/")

    def get(self, path: str) -> Any:
        """What its service answers; None while it does not."""
        try:
            answer = self._client.get(path)
        except httpx2.HTTPError:
            return None
        return answer.json() if answer.status_code == httpx2.codes.OK else None

    def submit(self, raws: Sequence[bytes], wait: bool = False) -> list[dict[str, Any]]:
        """Send transactions; return what became of each. Fails where it does not answer."""
        answer = self._client.post(
            "/v1/transactions",
            params={"wait": "commit"} if wait else {},
            json={"transactions": [raw.hex() for raw in raws]},
            timeout=WAIT_S,
        )
        told = answer.json()
        if len(raws) == 1 and "results" not in told:
            # one that is refused alone comes as a problem
            return [{"state": "refused", "code": told["type"]}]
        results: list[dict[str, Any]] = told.get("results", [])
        assert len(results) == len(raws), answer.text
        return results

    @property
    def height(self) -> Height:
        """Its height; -1 while it does not answer."""
        network = self.get("/v1/network")
        return -1 if network is None else int(network["height"])

    def wait_for_height(self, height: Height, wait_s: float = WAIT_S) -> None:
        """Return once its service is at a height."""
        wait_for(
            lambda: self.height >= height or not self.is_running,
            lambda: f"{self.name} is at {self.height}, not {height}: {self.said[-3000:]}",
            wait_s,
        )
        assert self.is_running, f"{self.name} has ended: {self.said[-3000:]}"

    def consensus(self, method: str, **arguments: Any) -> Any:
        """What its CometBFT answers."""
        transport = httpx2.HTTPTransport(uds=str(self.settings.cometbft_rpc_socket))
        with httpx2.Client(transport=transport, base_url="http://cometbft") as client:
            return client.get(f"/{method}", params=arguments, timeout=30.0).json()["result"]

    # ------------------------------------------------------------------ what it holds

    @contextlib.contextmanager
    def opened(self) -> Iterator[View]:
        """Its newest height, while nothing runs of it; its store is checked from end to end."""
        store = LevelStore(self.settings.database_path, create=False)
        try:
            yield Chain(store, self.settings.genesis_path.read_bytes()).view()
        finally:
            store.close()

    def blocks(self) -> list[Block]:
        """Its journal, while nothing runs of it."""
        with self.opened() as view:
            found = (view.block(height) for height in range(1, view.tip.height + 1))
            return [block for block in found if block is not None]

    def tip_height(self) -> Height:
        """Height of its store, while nothing runs of it."""
        store = LevelStore(self.settings.database_path, create=False)
        try:
            return TIP.load(store.get(TIP_KEY) or b"").height
        finally:
            store.close()


def _command(pid: str) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


class Network:
    """Validators that know each other, with a node of its own behind each founder's seat."""

    def __init__(
        self,
        folder: Path,
        count: int,
        params: Mapping[str, int] | None = None,
        genesis: bytes | None = None,
    ) -> None:
        """Make `count` homes, of founders, and the file if none is given; nothing is started."""
        self.folder = folder
        self.program = needs_cometbft()
        self.genesis = genesis or make_network_genesis(count, params or {})
        self.genesis_hash: Hash = sha256(self.genesis)
        self.validators: list[Validator] = []
        self.all: list[Validator] = []
        ports = free_ports(2 * count)
        for number in range(count):
            self.validators.append(self.add(f"validator {number}", *ports[2 * number :][:2]))
        self.introduce()

    def add(self, name: str, port: int, p2p_port: int, **changes: Any) -> Validator:
        """Make the home of a node that holds the keys of a name."""
        home = self.folder / name.replace(" ", "-")
        home.mkdir()
        (home / "genesis.bin").write_bytes(self.genesis)
        key = home / "key.json"
        save_insecure_seed(key, seed_of(name))
        settings = Settings(
            home=home, engine="comet", port=port, p2p_port=p2p_port, validator=key, attest=key,
            workers=1, cometbft=self.program,
        ).model_copy(update=changes)  # fmt: skip
        assert settings.genesis_path.exists()
        made = Validator(name, settings)
        self.all.append(made)
        return made

    def join(self, name: str, **changes: Any) -> Validator:
        """Make the home of another node, which knows the founders."""
        made = self.add(name, *free_ports(2), **changes)
        self._tell_peers(made)
        return made

    def introduce(self) -> None:
        """Tell each founder where the others are."""
        for validator in self.validators:
            self._tell_peers(validator)

    def _tell_peers(self, validator: Validator) -> None:
        peers = tuple(
            f"{prepare_node(other.settings)}@127.0.0.1:{other.settings.p2p_port}"
            for other in self.validators
            if other is not validator
        )
        validator.settings = validator.settings.model_copy(update={"peers": peers})

    def start(self) -> None:
        """Start all founders, and wait until the first block of each."""
        for validator in self.validators:
            validator.start()
        self.wait_for_height(1)

    def wait_for_height(self, height: Height, wait_s: float = WAIT_S) -> None:
        """Return once every founder that runs is at a height."""
        for validator in self.validators:
            if validator.is_running:
                validator.wait_for_height(height, wait_s)

    def stop(self) -> None:
        """Stop every node that runs; each one has to end in order."""
        codes = {each.name: each.stop() for each in self.all if each.is_running}
        assert not any(codes.values()), codes

    def compare(self, *validators: Validator, least: Height = 1) -> Height:
        """Hold what nodes hold against each other, block by block; return how far all have it.

        Nothing may run of them.
        """
        journals = {each.name: each.blocks() for each in validators or self.validators}
        shared = min(len(journal) for journal in journals.values())
        assert shared >= least, {name: len(journal) for name, journal in journals.items()}
        first, *others = journals.values()
        for journal in others:
            for mine, theirs in zip(first[:shared], journal[:shared], strict=True):
                assert encode(mine) == encode(theirs)
        return shared

    def end(self) -> None:
        """End whatever still runs, at once."""
        for validator in self.all:
            if validator.is_running:
                assert validator.process is not None
                validator.process.terminate()
        for validator in self.all:
            if validator.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    validator.process.wait(STOP_S)
                validator.process.kill()
                validator.process.wait()


@contextlib.contextmanager
def watched(
    count: int, params: Mapping[str, int] | None = None, genesis: bytes | None = None
) -> Iterator[Network]:
    """A network in a folder of its own, whose path is short enough for sockets."""
    with TemporaryDirectory(prefix="wp", dir="/tmp") as folder:
        network = Network(Path(folder), count, params, genesis)
        try:
            yield network
        finally:
            network.end()


# ----------------------------------------------------------------------------------- genesis


def account_of(number: int) -> Key:
    """The key of an account that begins with coins."""
    return derive(seed_of(f"person {number}"), "account").public


def make_network_genesis(count: int, params: Mapping[str, int]) -> bytes:
    """A genesis file of `count` founders, a node behind the seat of each."""
    seeds = [seed_of(f"validator {number}") for number in range(count)]
    nodes = [_founding_node(seed, number) for number, seed in enumerate(seeds)]
    seats = [
        GenesisAttestor(seat.list_key, seat.weight, seat.tip, seat.consensus_key, row.node)
        for seat, row in zip(
            (make_seat(seed, validates=True) for seed in seeds), nodes, strict=True
        )
    ]
    return make_genesis(
        "comet-test",
        "minimal",
        {"block_ms": 500, "epoch_ms": 5_000} | dict(params),
        b"",
        seats,
        [(account_of(number), RICH) for number in range(ACCOUNTS)],
        1_000 * COIN,
        nodes=nodes,
        engine=COMET,
        policy=REGISTRY,
    )


def _founding_node(seed: bytes, number: int) -> GenesisNode:
    return GenesisNode(
        node=derive(seed, "node").public,
        operator=derive(seed, "account").public,
        duty_key=derive(seed, "duty").public,
        contact=contact_of(number),
        swarm_id=NEW_SWARM,
        exit_ms=0,
    )


def contact_of(number: int) -> Contact:
    """Contact data on loopback."""
    return Contact(bytes((127, 20, number, 1)), b"", 22021, 22020, Version(2, 11, 0),
                   Version(11, 6, 0))  # fmt: skip
