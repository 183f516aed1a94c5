"""A service and the nodes of a street: real processes, each node at a loopback address of its own.

Street     the service, over the engine `solo`, and what it answers
House      one node: its stand-in for storage server and router, and its agent
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

from ledger.codec import encode
from ledger.messages.genesis import NEW_SWARM, GenesisAttestor, GenesisNode
from registry.addresses import encode_node
from registry.home import GENESIS
from registry.keystore import CHAIN, derive, derive_secret, load_seed, save_insecure_seed
from registry.signer import HashChain
from tests.factory import make_contact, make_genesis
from tests.registry.factory import PRODUCER, seed_of

PATIENCE_S: Final = 240.0
"""How long anything may take on a busy machine."""

ANY_PORT: Final = "0"

PATIENT: Final = {"credit_start_ms": 7_200_000, "credit_most_ms": 172_800_000}
"""Parameters: whoever is away on a busy machine has time to come back."""


class House:
    """One node of a street."""

    def __init__(self, street: "Street", number: int, key_file: Path | None = None) -> None:
        """A house with keys of its own, or those of a key file in the clear."""
        self.street = street
        self.name = f"house {number}"
        self.number = number
        self.home = street.folder / f"house-{number}"
        self.home.mkdir()
        seed = seed_of(self.name) if key_file is None else load_seed(key_file)
        self.key = derive(seed, "node").public
        self.address = f"127.{40 + number}.0.1"
        save_insecure_seed(self.home / "node.json", seed)
        self._all: list[subprocess.Popen[bytes]] = []
        self.agent: subprocess.Popen[bytes] | None = None

    @property
    def genesis_node(self) -> GenesisNode:
        """The node as the genesis file has it: active, and of an operator of its own."""
        return GenesisNode(
            node=self.key,
            operator=derive(seed_of(self.name), "account").public,
            duty_key=derive(seed_of(self.name), "duty").public,
            contact=make_contact(
                ipv4=bytes(map(int, self.address.split("."))),
                storage_port=self.street.storage_port,
                router_port=self.street.router_port,
            ),
            swarm_id=NEW_SWARM,
            exit_ms=0,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What its agent is told."""
        return {
            "home": str(self.home),
            "node": str(self.home / "node.json"),
            "genesis": str(self.street.folder / "service" / GENESIS),
            "services": [self.street.url],
            "networks": ["127.0.0.0/8"],
            "check_in_s": 5,
        }

    def open_up(self, address: str = "") -> None:
        """Start the stand-in, at another address if one is given."""
        place = ["--ipv4", address or self.address]
        storage, router = str(self.street.storage_port), str(self.street.router_port)
        ports = ["--storage-port", storage, "--router-port", router]
        self._run("registry.devnet.node", *place, *ports)

    def start(self, **changes: Any) -> "House":
        """Start the agent."""
        told = json.dumps(self.settings | changes)
        self.agent = self._run("registry.agent", "--settings", told)
        return self

    def kill(self) -> None:
        """End the agent, whatever it does right now."""
        assert self.agent is not None
        self.agent.send_signal(signal.SIGKILL)
        self.agent.wait(PATIENCE_S)
        self.agent = None

    def stop(self) -> int:
        """Ask the agent to end; return its code."""
        assert self.agent is not None
        self.agent.send_signal(signal.SIGTERM)
        code = self.agent.wait(PATIENCE_S)
        self.agent = None
        return code

    def end(self) -> None:
        """End everything."""
        for process in self._all:
            process.kill()
            process.wait(PATIENCE_S)

    def _run(self, module: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.home / "log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", module, *arguments], stderr=log)
        self._all.append(process)
        return process

    # ------------------------------------------------------------------------ looking

    @property
    def votes(self) -> dict[int, bytes]:
        """The files of votes that were decided, by epoch, but for those that were just removed."""
        found = {}
        for path in (self.home / "votes").glob("[0-9]*"):
            # its agent forgets old epochs, maybe between the name and the file
            with suppress(FileNotFoundError):
                found[int(path.name)] = path.read_bytes()
        return found

    @property
    def status(self) -> dict[str, Any]:
        """What its agent tells; nothing before it does."""
        path = self.home / "status.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    @property
    def log(self) -> str:
        """What it logged."""
        return (self.home / "log").read_text()

    @property
    def shown(self) -> dict[str, Any]:
        """What the service says of the node."""
        shown: dict[str, Any] = self.street.get(f"/v1/nodes/{self.key.hex()}")
        return shown


class Street:
    """A service and its houses."""

    def __init__(
        self, folder: Path, houses: int, params: Mapping[str, int], **genesis: Any
    ) -> None:
        """`params` and `genesis` change what a genesis file of tests says."""
        self.folder = folder
        self.url = ""
        # numbers that no other network of this machine has now, on whatever address
        self.storage_port, self.router_port = find_port(), find_port()
        self.houses = [House(self, number) for number in range(houses)]
        self._make(params, genesis)
        self.service = self._start()

    def _make(self, params: Mapping[str, int], changes: Mapping[str, Any]) -> None:
        home = self.folder / "service"
        home.mkdir()
        tip = HashChain(derive_secret(seed_of("attestor"), CHAIN)).tip
        nodes = sorted((house.genesis_node for house in self.houses), key=lambda row: row.node)
        genesis = make_genesis(
            {**PATIENT, **params},
            start_ms=time.time_ns() // 1_000_000 - 1,
            producer=PRODUCER.public,
            attestors=(GenesisAttestor(derive(seed_of("attestor"), "list").public, 1, tip),),
            nodes=tuple(nodes),
            **changes,
        )
        (home / GENESIS).write_bytes(encode(genesis))
        for name in ("producer", "attestor"):
            save_insecure_seed(home / f"{name}.json", seed_of(name))

    def _start(self) -> "subprocess.Popen[bytes]":
        home = self.folder / "service"
        keys = [f"--{what}" for what in ("producer", "attest")]
        files = [str(home / f"{what}.json") for what in ("producer", "attestor")]
        pairs = [each for pair in zip(keys, files, strict=True) for each in pair]
        where = ["--home", str(home), "--port", ANY_PORT, "--workers", "1"]
        log = (home / "log").open("wb")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-m", "registry", "run", *where, *pairs], stderr=log
            )

        def find_port() -> int:
            lines = (home / "log").read_text().splitlines()
            return next((row["port"] for row in map(json.loads, lines) if "port" in row), 0)

        self.url = f"http://127.0.0.1:{wait_for(find_port)}"
        wait_for(lambda: self.find("/v1/lists/latest") is not None)
        return process

    def get(self, path: str) -> Any:
        """Return what the service answers."""
        with urlopen(self.url + path, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def find(self, path: str) -> bytes | None:
        """Return the answer as it is; None as long as there is none."""
        try:
            with urlopen(self.url + path, timeout=PATIENCE_S) as answer:
                return bytes(answer.read())
        except (HTTPError, OSError):
            return None

    @property
    def epoch(self) -> int:
        """The running epoch."""
        return int(self.get("/v1/network")["epoch"])

    def end(self) -> None:
        """End everything."""
        for house in self.houses:
            house.end()
        self.service.send_signal(signal.SIGTERM)
        self.service.wait(PATIENCE_S)


@contextmanager
def street(
    folder: Path, houses: int, params: Mapping[str, int] | None = None, **genesis: Any
) -> Iterator[Street]:
    """Run a street; nobody is home yet."""
    made = Street(folder, houses, params or {}, **genesis)
    try:
        yield made
    finally:
        made.end()


def find_port() -> int:
    """Return a number that is free, over TCP, on all addresses of this machine."""
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])


def wait_for(holds: Callable[[], Any], pause_s: float = 0.05) -> Any:
    """Return what `holds` returns, once that is something."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found = holds()
        if found:
            return found
        time.sleep(pause_s)
    raise AssertionError(f"it never came: {holds}")


def environment() -> dict[str, str]:
    """The environment of a command line, without this machine's own settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}


def address_of(house: House) -> str:
    """The address of a house's node."""
    return encode_node(house.key)
