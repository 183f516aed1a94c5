"""What a node of one's own needs beside it: which process is told what, and what is refused."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from registry.addresses import encode_node
from registry.agent.settings import AgentSettings
from registry.devnet.own import NotRegistered, run_own
from registry.keystore import derive
from tests.devnet import read_command
from tests.processes import find_children
from tests.registry.cli.driver import call
from tests.registry.cli.fake_service import FakeService, run_service, save_keys, seed_of

NODE: Final = encode_node(derive(seed_of("node"), "node").public)
IPV4: Final = "127.0.33.9"
WAIT_S: Final = 60.0


@pytest.fixture
def fake() -> Iterator[FakeService]:
    with run_service({}, allow_loopback=1) as service:
        service.network.block()
        yield service


@pytest.fixture
def folder(tmp_path: Path, fake: FakeService) -> Path:
    """The folder of a network with its genesis file, and somebody's key files in it."""
    (tmp_path / "devnet").mkdir()
    (tmp_path / "devnet" / "genesis.bin").write_bytes(fake.network.raw)
    for name in ("alice", "node"):
        save_keys(tmp_path, name)
    return tmp_path / "devnet"


def register(folder: Path, url: str, *contact: str) -> None:
    home = folder.parent
    keys = ("--operator", home / "alice.json", "--node", home / "node.json")
    call("node", "register", *keys, *contact, "--stake", "100", "--url", url)


def wait_for_children(process: subprocess.Popen[str]) -> list[list[str]]:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = [words for words in find_children(process.pid).values() if "--lifeline" in words]
        if len(found) == 2:
            return sorted(found, key=lambda words: words[2])
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("it does not start two processes")


def test_an_agent_and_what_stands_in_for_servers(folder: Path, fake: FakeService) -> None:
    register(folder, fake.url, "--ipv4", IPV4, "--storage-port", "5001", "--router-port", "5002")
    command = [sys.executable, "-m", "registry", "devnet", "--home", str(folder.parent), "node"]
    command += [str(folder.parent / "node.json"), "--url", fake.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    agent, servers = wait_for_children(process)
    assert servers[2:9] == [
        *("registry.devnet.node", "--ipv4", IPV4),
        *("--storage-port", "5001", "--router-port", "5002"),
    ]
    told = read_settings(agent)
    settings = AgentSettings.model_validate(told)
    assert agent[2] == "registry.agent"
    assert settings.node == folder.parent / "node.json"
    assert settings.genesis == folder / "genesis.bin"
    assert settings.services == (fake.url,)
    assert [str(prefix) for prefix in settings.networks] == ["127.0.0.0/8"]
    # its contact data is the operator's affair
    assert (settings.ipv4, settings.storage_version) == (None, None)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=WAIT_S)
    assert said == f"{NODE} at {IPV4}: its agent runs until Ctrl-C\n"
    assert process.returncode == 0
    lines = map(read_command, Path("/proc").glob("[0-9]*/cmdline"))
    assert [line for line in lines if str(folder) in line or f" {IPV4} " in line] == []


def read_settings(command: list[str]) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(command[command.index("--settings") + 1])
    return settings


def test_one_that_is_not_registered_is_told_so(folder: Path, fake: FakeService) -> None:
    key_file = folder.parent / "node.json"
    with pytest.raises(NotRegistered, match=f"register {NODE} first"):
        run_own(folder, key_file, fake.url)
    words = ("devnet", "--home", folder.parent, "node", key_file, "--url", fake.url)
    assert call(*words, code=1).stderr.startswith(f"error: register {NODE} first")


def test_one_without_ipv4_is_told_so(folder: Path, fake: FakeService) -> None:
    register(folder, fake.url, "--ipv6", "::1")
    with pytest.raises(NotRegistered, match="has no IPv4 address"):
        run_own(folder, folder.parent / "node.json", fake.url)


def test_nobody_who_answers(folder: Path) -> None:
    key_file = folder.parent / "node.json"
    words = ("devnet", "--home", folder.parent, "node", key_file, "--url", "http://127.0.0.1:1")
    assert "no service answers" in call(*words, code=1).stderr
