"""The real network moves here: from its published list to clients old and new.

Real processes: one orders blocks, serves and attests, two more follow and attest; the fourth of the
four attestors stays silent.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from ledger.messages.lists import HEADER_BYTES, decode_signed_header
from ledger.rules.swarms import nearest_swarm
from registry.client.cache import read_bounded
from registry.formats.session_binary import decode_session_binary
from registry.formats.session_json import decode_session_json
from registry.keystore import save_insecure_seed
from tests.registry.operators import make_operators
from tests.registry.session_client import (
    ROUTER,
    STORAGE_SERVER,
    check_desktop,
    check_router,
    check_storage_server,
    fetch,
    result_of,
)
from tests.registry.session_network import LEAVING, NODES, session_network

WAIT_S: Final = 120.0
ATTESTORS: Final = ("first", "second", "third", "silent")
SIGNATURES: Final = 3
BYTES_A_NODE: Final = 40
ACCOUNT: Final = "05" + sha256(b"somebody").hexdigest()


class Services:
    """A network that was made from a published list, and its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.genesis = folder / "genesis.bin"
        self.port = 20_000 + os.getpid() % 20_000
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "HOME": str(folder),
            "WAYPOST_HOME": str(folder / "client"),
            "WAYPOST_URL": self.url,
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def run(self, *words: object) -> str:
        """Run a command of `waypost`, and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "registry", *map(str, words)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def make(self) -> None:
        """Make keys, the map of operators, and the genesis file from the list."""
        published = session_network()
        (self.folder / "list.json").write_bytes(published)
        (self.folder / "operators.json").write_bytes(make_operators(published))
        for name in ("producer", *ATTESTORS):
            seed = sha256(name.encode()).digest()
            save_insecure_seed(self.folder / f"{name}.json", seed)
        attestors = [word for name in ATTESTORS for word in ("--attestor", f"{name}.json")]
        self.run(
            *("genesis", "import-session", "list.json", "--operators", "operators.json"),
            *("--name", "session", "--preset", "minimal", "--producer", "producer.json"),
            *("--router-port", 22020, "--storage-version", "2.11.0"),
            *("--router-version", "11.6.0", "--out", self.genesis, *attestors),
        )
        for name in ATTESTORS[:SIGNATURES]:
            source = ("--follow", self.url) if name != "first" else ("--producer", "producer.json")
            self.run(
                *("init", "--home", self.folder / name, "--genesis", self.genesis),
                *("--attest", f"{name}.json", *source),
            )

    def start(self) -> None:
        """Start who orders blocks and attests, and who follows and attests."""
        self._start("first", "--port", self.port, "--workers", 1)
        for name in ATTESTORS[1:SIGNATURES]:
            self._start(name, "--no-web")

    def _start(self, name: str, *words: object) -> None:
        command = ["run", "--home", self.folder / name, *words]
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "registry", *map(str, command)],
                    cwd=self.folder,
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                )
            )

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(30)

    def get(self, path: str) -> bytes:
        return httpx2.get(self.url + path, trust_env=False).raise_for_status().content

    def wait_until_final(self) -> None:
        """Wait for a final list; a process that ended instead fails the test with its log."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            assert all(process.poll() is None for process in self._processes), self.logs()
            try:
                if httpx2.get(f"{self.url}/v1/lists/latest", trust_env=False).is_success:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"no list became final: {self.logs()}")

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    made = Services(tmp_path_factory.mktemp("session"))
    made.make()
    try:
        made.start()
        made.wait_until_final()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def facts(services: Services) -> Any:
    """What `waypost list fetch` verified."""
    return json.loads(services.run("list", "fetch", "--genesis", services.genesis, "-o", "json"))


def published_keys() -> set[str]:
    _, nodes = decode_session_json(session_network())
    return {node.key.hex() for node in nodes}


def test_desktop_client_gets_every_node(services: Services) -> None:
    nodes = check_desktop(*reversed(fetch(services.url)[1:]))
    assert {node["pubkey_ed25519"] for node in nodes} == published_keys()
    assert len(nodes) == NODES
    assert sum(node["requested_unlock_height"] > 0 for node in nodes) == LEAVING


def test_desktop_client_gets_the_addresses_of_the_list(services: Services) -> None:
    _, published = decode_session_json(session_network())
    expected = {
        node.key.hex(): (".".join(map(str, node.ipv4)), node.storage_port) for node in published
    }
    nodes = check_desktop(*reversed(fetch(services.url)[1:]))
    shown = {n["pubkey_ed25519"]: (n["public_ip"], n["storage_port"]) for n in nodes}
    assert shown == expected


def test_storage_server_and_router_get_every_node(services: Services) -> None:
    ask = partial(fetch, services.url, "get_service_nodes")
    stored = check_storage_server(result_of(ask(STORAGE_SERVER).body))
    routers = check_router(result_of(ask(ROUTER).body))
    assert stored is not None
    assert routers is not None
    assert len(stored) == len(routers) == NODES
    assert all(node["funded"] for node in stored)


def test_full_list_is_small_and_signed_by_three(services: Services, facts: Any) -> None:
    epoch = facts["epoch"]
    signed = services.get(f"/v1/lists/{epoch}")
    full = services.get(f"/v1/lists/{epoch}/full")
    assert len(decode_signed_header(signed).signatures) == SIGNATURES
    assert len(signed) == HEADER_BYTES + 4 + 64 * SIGNATURES
    assert len(full) + len(signed) <= BYTES_A_NODE * NODES


def test_client_verifies_it_from_the_genesis_file(services: Services, facts: Any) -> None:
    assert facts["node_count"] == NODES
    assert facts["signers"]["signed"] == SIGNATURES
    assert facts["genesis_hash"] == sha256(services.genesis.read_bytes()).hexdigest()
    assert facts["status"] == "fresh"


def test_swarm_of_an_account_is_the_one_that_old_clients_find(
    services: Services, facts: Any
) -> None:
    shown = json.loads(
        services.run("list", "swarm", ACCOUNT, "--genesis", services.genesis, "-o", "json")
    )
    nodes = check_storage_server(
        result_of(fetch(services.url, "get_service_nodes", STORAGE_SERVER).body)
    )
    assert nodes is not None
    words = bytes.fromhex(ACCOUNT)[1:]
    position = 0
    for at in range(0, 32, 8):
        position ^= int.from_bytes(words[at : at + 8], "big")
    swarm_id = nearest_swarm(sorted({node["swarm_id"] for node in nodes}), position)
    assert shown["swarm"] == str(swarm_id)
    members = [n for n in nodes if n["swarm_id"] == swarm_id]
    assert len(shown["nodes"]) == len(members) >= 5
    assert shown["epoch"] == facts["epoch"]


def test_files_for_old_clients_hold_the_same_nodes(services: Services, facts: Any) -> None:
    epoch = facts["epoch"]
    height, listed = decode_session_json(services.get(f"/v1/lists/{epoch}/session-json"))
    packed = decode_session_binary(services.get(f"/v1/lists/{epoch}/session-binary"))
    assert height == facts["height"]
    assert {node.key.hex() for node in listed} == published_keys()
    assert [node.key for node in packed] == [node.key for node in listed]


def test_list_that_is_published_here_can_be_imported_again(services: Services, facts: Any) -> None:
    """Nothing has to be told but who owns the nodes, and the swarms stay the same."""
    raw = services.get(f"/v1/lists/{facts['epoch']}/session-json")
    (services.folder / "again.json").write_bytes(raw)
    (services.folder / "again-operators.json").write_bytes(make_operators(raw))
    shown = json.loads(
        services.run(
            *("genesis", "import-session", "again.json", "--operators", "again-operators.json"),
            *("--name", "again", "--preset", "minimal", "--producer", "producer.json"),
            *("--attestor", "first.json", "--block-seconds", 1, "--out", "again.bin"),
            *("-o", "json"),
        )
    )
    assert shown["nodes"]["count"] == shown["nodes"]["with_swarm"] == NODES
    assert shown["nodes"]["leaving"] == LEAVING
    assert read_bounded(services.folder / "again.bin", 2**26)
