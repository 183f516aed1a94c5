"""The processes of a service, for real: started together, stopped in order, never left behind."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import sha256
from ledger.leveldb import LevelStore
from ledger.messages.genesis import GenesisAttestor
from registry.home import GENESIS
from registry.keystore import CHAIN, ROLES, derive, derive_secret, save_seed
from registry.ledger_process import EXIT_FAULT
from registry.signer import HashChain
from tests.factory import make_genesis
from tests.registry.factory import PRODUCER, seed_of, short_folder

ROOT: Final = Path(__file__).parents[2]
HANGS_S: Final = 60.0
"""Nothing here takes this long; what does hangs."""

FULL: Final = {"worker": 1, "ledger": 1, "web": 1}


@cache
def list_tip() -> bytes:
    """Tip of the attestor's hash chain, in its real length."""
    return HashChain(derive_secret(seed_of("attestor"), CHAIN)).tip


class Home:
    """A home with genesis file and keys; the network's start is a moment ago."""

    def __init__(self, path: Path, attestor: bool = False) -> None:
        self.path = path
        self.path.mkdir(exist_ok=True)
        key = derive(seed_of("attestor"), "list").public
        tip = list_tip() if attestor else bytes(32)
        genesis = make_genesis(
            {"block_ms": 100, "epoch_ms": 1_000, "attest_blocks": 8},
            start_ms=time.time_ns() // 1_000_000 - 1,
            producer=PRODUCER.public,
            attestors=(GenesisAttestor(key, 1, tip),),
        )
        self.genesis = encode(genesis)
        (path / GENESIS).write_bytes(self.genesis)
        save_seed(path / "producer.json", seed_of("producer"))
        save_seed(path / "attestor.json", seed_of("attestor"))

    @property
    def height(self) -> int:
        """Of the newest block; nobody may have the database open."""
        store = LevelStore(self.path / "ledger", create=False)
        try:
            return Chain(store, self.genesis).tip.height
        finally:
            store.close()


class Service:
    """`waypost run`, with everything that it says in one file."""

    def __init__(self, home: Home, *flags: str, producer: str = "producer.json") -> None:
        self._home = home.path
        self._log = home.path / f"log-{time.monotonic_ns()}"
        command = [sys.executable, "-m", "registry", "run", "--home", str(home.path)]
        command += ["--producer", str(home.path / producer), "--workers", "1", *flags]
        bare = {name: value for name, value in os.environ.items() if "WAYPOST" not in name}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=bare | {"PYTHONPATH": str(ROOT)}
            )

    @property
    def said(self) -> str:
        """Everything that it and its children said so far."""
        return self._log.read_text(errors="replace")

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What was logged of an event."""
        lines = [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def ready(self, *events: str) -> "Service":
        """Return once each of these was logged."""
        wait_for(
            lambda: all(self.lines(event) for event in events) or self.process.poll() is not None,
            lambda: self.said,
        )
        assert self.process.poll() is None, self.said
        return self

    def children(self) -> dict[int, str]:
        """The running children, and what each is."""
        return {pid: kind for pid, parent, kind in self.processes() if parent == self.process.pid}

    def processes(self) -> list[tuple[int, int, str]]:
        """Every process that works on this home: its number, its parent's, and what it is."""
        listed = subprocess.run(
            ["ps", "-axwwo", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
        ).stdout
        found = []
        for line in listed.splitlines():
            pid, parent, state, args = line.split(maxsplit=3)
            kind = re.search(r"registry\.(ledger|web|worker)", args)
            if kind and str(self._home) in args and "Z" not in state:
                found.append((int(pid), int(parent), kind[1]))
        return found

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return its exit code once it has ended."""
        return self.process.wait(HANGS_S)


def wait_for(holds: Callable[[], object], why: Callable[[], str] = str) -> None:
    """Return once something holds; what never does fails."""
    deadline = time.monotonic() + HANGS_S
    while not holds():
        assert time.monotonic() < deadline, why()
        time.sleep(0.005)


def is_running(pid: int) -> bool:
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return bool(listed.strip()) and "Z" not in listed


@contextmanager
def running(*started: Service) -> Iterator[tuple[Service, ...]]:
    """End what a failing test would leave behind."""
    try:
        yield started
    finally:
        for service in started:
            service.process.kill()
            service.process.wait()
            for pid, _, _ in service.processes():
                os.kill(pid, signal.SIGKILL)


def counted(children: dict[int, str]) -> dict[str, int]:
    kinds = list(children.values())
    return {kind: kinds.count(kind) for kind in sorted(set(kinds), key=list(FULL).index)}


@pytest.fixture
def home() -> Iterator[Home]:
    with short_folder() as folder:
        yield Home(folder / "home")


# ------------------------------------------------------------------------------- starting


def test_a_port_that_is_taken_is_refused_by_name(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(Service(home, "--port", str(port))) as (service,):
            assert service.wait() == 1
            assert f"port {port} is taken" in service.said
            assert "Traceback" not in service.said
            assert service.children() == {}
    # nothing was begun
    assert not (home.path / "ledger").exists()


def test_a_fault_at_the_start_is_said_and_ends_everything(home: Home) -> None:
    with running(Service(home, "--port", "0", producer="attestor.json")) as (service,):
        assert service.wait() == EXIT_FAULT
        assert "attestor.json is not the key of this network's producer" in service.said
        assert "Traceback" not in service.said
        assert service.children() == {}


def test_a_key_file_that_is_not_there_is_refused_by_name(home: Home) -> None:
    with running(Service(home, "--no-web", "--attest", "nowhere.json")) as (service,):
        assert service.wait() == EXIT_FAULT
        assert re.search(r"there is no key file .*nowhere\.json", service.said)
        assert "Traceback" not in service.said


def test_to_follow_nobody_is_refused(home: Home) -> None:
    (home.path / "config.toml").write_text('engine = "follow"')
    with running(Service(home, "--no-web")) as (service,):
        assert service.wait() == EXIT_FAULT
        assert "needs the URL of a node: --follow" in service.said
        assert "Traceback" not in service.said


def test_a_second_service_on_a_home_is_refused_and_the_first_goes_on(home: Home) -> None:
    with running(Service(home, "--port", "0").ready("ledger ready", "listening")) as (first,):
        sockets = sorted(path.name for path in (home.path / "run").glob("*.sock"))
        second = Service(home, "--port", "0")
        try:
            assert second.wait() != 0
        finally:
            second.kill()
        assert "in use by another" in second.said
        assert "Traceback" not in second.said
        assert sorted(path.name for path in (home.path / "run").glob("*.sock")) == sockets
        assert counted(first.children()) == FULL
        # its workers can still be reached by whoever did not connect to them yet
        for name in sockets:
            with socket.socket(socket.AF_UNIX) as reached:
                reached.connect(str(home.path / "run" / name))
        first.kill(signal.SIGTERM)
        assert first.wait() == 0


# ------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_children_in_order(home: Home, number: int) -> None:
    with running(Service(home, "--port", "0").ready("ledger ready", "listening")) as (service,):
        children = service.children()
        assert counted(children) == FULL
        wait_for((home.path / "watermarks" / "blocks").exists)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (home.path / "run").iterdir()}
        assert {mode for name, mode in modes.items() if name.endswith(".sock")} == {0o600}
        assert (home.path / "run").stat().st_mode & 0o077 == 0
        service.kill(number)
        gone: list[str] = []
        while len(gone) < len(children):
            before = set(gone)
            ended = {kind for pid, kind in children.items() if not is_running(pid)}
            # who starts first ends last
            gone += [kind for kind in ("web", "ledger", "worker") if kind in ended - before]
            assert gone == ["web", "ledger", "worker"][: len(gone)]
        assert service.wait() == 0
        assert list((home.path / "run").glob("*.sock")) == []
        assert '"level": "error"' not in service.said
        assert "Traceback" not in service.said
    assert home.height > 0


def test_what_is_told_to_stop_at_once_leaves_nothing_behind(home: Home) -> None:
    with running(Service(home, "--port", "0")) as (service,):
        wait_for(lambda: service.children() or service.process.poll() is not None)
        children = service.children()
        service.kill(signal.SIGTERM)
        service.wait()
        wait_for(lambda: not any(map(is_running, children)))
    # the next start finds everything as it should be
    with running(Service(home, "--port", "0").ready("ledger ready", "listening")) as (service,):
        service.kill(signal.SIGTERM)
        assert service.wait() == 0


def test_a_supervisor_that_is_killed_takes_its_children_along(home: Home) -> None:
    with running(Service(home, "--port", "0").ready("ledger ready", "listening")) as (service,):
        children = service.children()
        assert counted(children) == FULL
        wait_for((home.path / "watermarks" / "blocks").exists)
        service.kill()
        service.wait()
        wait_for(lambda: not any(map(is_running, children)))
        # they ended by themselves, in good order
        assert '"level": "error"' not in service.said
        assert list((home.path / "run").glob("*.sock")) == []
    assert home.height > 0


def test_a_refill_without_a_source_ends_with_its_supervisor(home: Home) -> None:
    with running(Service(home, "--no-web").ready("ledger ready")) as (service,):
        wait_for(lambda: (home.path / "watermarks" / "blocks").exists())
        service.kill(signal.SIGTERM)
        assert service.wait() == 0
    # an older copy: the empty database
    (home.path / "ledger").rename(home.path / "newer")
    flags = ("--no-web", "--refill", "http://127.0.0.1:1")
    with running(Service(home, *flags).ready("source failed")) as (service,):
        children = service.children()
        service.kill()
        service.wait()
        wait_for(lambda: not any(map(is_running, children)))
    with running(Service(home, *flags).ready("source failed")) as (service,):
        service.kill(signal.SIGTERM)
        assert service.wait() == 0


@pytest.mark.parametrize("victim", ["worker", "ledger", "web"])
def test_a_child_that_is_killed_ends_everything(home: Home, victim: str) -> None:
    with running(Service(home, "--port", "0").ready("ledger ready", "listening")) as (service,):
        children = service.children()
        [pid] = [pid for pid, kind in children.items() if kind == victim]
        os.kill(pid, signal.SIGKILL)
        assert service.wait() not in (0, None)
        assert not any(map(is_running, children))
        [ended] = service.lines("process ended")
        assert (ended["name"], ended["code"]) == (victim, -signal.SIGKILL)
    # the database is whole, and the next start takes it up
    height = home.height
    with running(Service(home, "--no-web").ready("ledger ready")) as (service,):
        [ready] = service.lines("ledger ready")
        assert ready["height"] == height
        service.kill(signal.SIGTERM)
        assert service.wait() == 0


# -------------------------------------------------------------------------------- secrets


def secrets_of(seed: bytes) -> Iterator[bytes]:
    """Everything that is derived from a seed and nobody else may know."""
    yield seed
    for role in (*ROLES, CHAIN):
        yield derive_secret(seed, role)
        if role != CHAIN:
            yield derive(seed, role).secret[:32]


def spellings(secret: bytes) -> Iterator[str]:
    """How a secret may come to stand in a text."""
    yield secret.hex()
    yield base64.b64encode(secret).decode().rstrip("=")
    yield base64.urlsafe_b64encode(secret).decode().rstrip("=")
    yield repr(secret)[2:-1]
    yield str(list(secret))[1:-1]
    yield str(int.from_bytes(secret, "big"))


def test_nothing_that_is_said_gives_a_secret_away() -> None:
    with short_folder() as folder:
        home = Home(folder / "home", attestor=True)
        key = str(home.path / "attestor.json")
        said = []
        with running(Service(home, "--port", "0", "--attest", key).ready("attested")) as (service,):
            said.append(service.said)
            service.kill(signal.SIGTERM)
            assert service.wait() == 0
            said.append(service.said)
        # and whatever goes wrong with the keys
        Path(key).chmod(0o644)
        with running(Service(home, "--no-web", "--attest", key)) as (service,):
            assert service.wait() != 0
            said.append(service.said)
        Path(key).chmod(0o600)
        Path(key).write_bytes(Path(key).read_bytes()[:-20])
        with running(Service(home, "--no-web", "--attest", key)) as (service,):
            assert service.wait() != 0
            said.append(service.said)
        public = [
            path.read_bytes() for path in (home.path / "publish").rglob("*") if path.is_file()
        ]
    text = "\n".join(said)
    assert '"event": "attested"' in text
    assert "can be read by others" in text
    for seed in (seed_of("producer"), seed_of("attestor")):
        for secret in secrets_of(seed):
            assert not [spelt for spelt in spellings(secret) if spelt in text]
            assert not [file for file in public if secret in file]


def test_the_search_for_secrets_finds_them() -> None:
    secret = sha256(b"a secret")
    shown = [f"{secret.hex()}", f"{secret!r}", f"{list(secret)}", base64.b64encode(secret).decode()]
    for text in shown:
        assert [spelt for spelt in spellings(secret) if spelt in text]
