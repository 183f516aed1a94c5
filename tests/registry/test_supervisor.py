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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import sha256
from ledger.history import LAYOUT, LAYOUT_KEY
from ledger.leveldb import LevelStore
from ledger.messages.genesis import GenesisAttestor
from registry.handover import EXIT_FAULT
from registry.home import GENESIS
from registry.keystore import (
    CHAIN,
    MINIMUM,
    ROLES,
    derive,
    derive_secret,
    save_insecure_seed,
    save_seed,
)
from registry.signer import HashChain
from tests.factory import make_genesis
from tests.registry.cli.person import at_terminal
from tests.registry.factory import PRODUCER, seed_of, short_folder

ROOT: Final = Path(__file__).parents[2]
HANGS_S: Final = 60.0
"""Nothing here takes this long; what does hangs."""

FULL: Final = {"worker": 1, "ledger": 1, "web": 1}

PASSPHRASE: Final = "five words on no list"


@cache
def list_tip() -> bytes:
    """Tip of the attestor's hash chain, in its real length."""
    return HashChain(derive_secret(seed_of("attestor"), CHAIN)).tip


class Home:
    """A home with genesis file and keys; the network's start is a moment ago."""

    def __init__(self, path: Path, attestor: bool = False, passphrase: str = "") -> None:
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
        for name in ("producer", "attestor"):
            if passphrase:
                save_seed(path / f"{name}.json", seed_of(name), passphrase.encode(), MINIMUM)
            else:
                save_insecure_seed(path / f"{name}.json", seed_of(name))

    def write(self, name: str, text: str) -> Path:
        """Write a file that its owner alone can read."""
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o600)
        return self.path / name

    def is_sealing(self) -> bool:
        """Whether the producer sealed its first block."""
        return any((self.path / "watermarks").glob("blocks-*"))

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

    def __init__(
        self,
        home: Home,
        *flags: object,
        producer: str = "producer.json",
        environment: Mapping[str, str] | None = None,
        fds: Sequence[int] = (),
    ) -> None:
        self._home = home.path
        self._log = home.path / f"log-{time.monotonic_ns()}"
        command = [sys.executable, "-m", "registry", "run", "--home", str(home.path)]
        command += ["--producer", str(home.path / producer), "--workers", "1", *map(str, flags)]
        bare = {name: value for name, value in os.environ.items() if "WAYPOST" not in name}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=bare | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
                # whoever runs the tests in a terminal is not asked
                start_new_session=True,
                pass_fds=fds,
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


@pytest.mark.parametrize("layout", [LAYOUT - 1, LAYOUT + 1], ids=["older", "newer"])
def test_a_store_of_another_version_is_refused_and_left_alone(home: Home, layout: int) -> None:
    store = LevelStore(home.path / "ledger")
    Chain(store, home.genesis).init()
    store.write({LAYOUT_KEY: layout.to_bytes(2, "big")})
    content = dict(store.items())
    store.close()
    with running(Service(home, "--port", "0", "--no-web")) as (service,):
        assert service.wait() == EXIT_FAULT
        assert f"store_layout: the store has layout {layout}, this version" in service.said
        assert "Traceback" not in service.said
    store = LevelStore(home.path / "ledger", create=False)
    assert dict(store.items()) == content
    store.close()


def test_a_damaged_database_is_named_with_what_helps(home: Home) -> None:
    store = LevelStore(home.path / "ledger")
    Chain(store, home.genesis).init()
    store.close()
    (home.path / "ledger" / "CURRENT").unlink()
    with running(Service(home, "--port", "0", "--no-web")) as (service,):
        assert service.wait() == EXIT_FAULT
        assert f"the store {home.path}/ledger is damaged: the file CURRENT is miss" in service.said
        assert f"Move {home.path}/ledger away" in service.said
        assert "--refill" in service.said
        assert "Traceback" not in service.said


def test_a_key_file_that_is_not_there_is_refused_by_name(home: Home) -> None:
    with running(Service(home, "--no-web", "--attest", "nowhere.json")) as (service,):
        assert service.wait() == 1
        assert re.search(r"there is no key file .*nowhere\.json", service.said)
        assert "Traceback" not in service.said
    # nothing was begun
    assert not (home.path / "run").exists()


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
        wait_for(home.is_sealing)
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
        wait_for(home.is_sealing)
        service.kill()
        service.wait()
        wait_for(lambda: not any(map(is_running, children)))
        # they ended by themselves, in good order
        assert '"level": "error"' not in service.said
        assert list((home.path / "run").glob("*.sock")) == []
    assert home.height > 0


def test_a_refill_without_a_source_ends_with_its_supervisor(home: Home) -> None:
    with running(Service(home, "--no-web").ready("ledger ready")) as (service,):
        wait_for(home.is_sealing)
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


def is_given_away(secret: bytes, text: str) -> bool:
    return any(spelt in text for spelt in spellings(secret))


def shown_of(pid: int) -> str:
    """What every user of this machine, or of this account, can read of a process."""
    folder = Path(f"/proc/{pid}")
    parts = [(folder / name).read_bytes() for name in ("cmdline", "environ")]
    return b"\n".join(parts).decode(errors="replace")


def pipes_of(pid: int) -> set[str]:
    """The pipes of which a process holds an end."""
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return {link for link in links if link.startswith("pipe:")}


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
            assert not is_given_away(secret, text)
            assert not [file for file in public if secret in file]


@pytest.mark.parametrize("passphrase", ["", PASSPHRASE], ids=["insecure", "encrypted"])
def test_no_process_shows_a_secret(passphrase: str) -> None:
    with short_folder() as folder:
        home = Home(folder / "home", attestor=True, passphrase=passphrase)
        told = home.write("passphrase", PASSPHRASE)
        key = home.path / "attestor.json"
        flags = ("--port", "0", "--attest", key, "--passphrase-file", told)
        with running(Service(home, *flags).ready("attested")) as (service,):
            children = service.children()
            assert counted(children) == FULL
            shown = [shown_of(pid) for pid in (service.process.pid, *children)]
            # the ledger process has closed what the seeds came through: its lifeline is left
            [ledger] = [pid for pid, kind in children.items() if kind == "ledger"]
            assert len(pipes_of(ledger)) == 1
            said = service.said
            service.kill(signal.SIGTERM)
            assert service.wait() == 0
        written = [path for path in home.path.rglob("*") if path.is_file()]
        data = {path.name: path.read_bytes() for path in written}
    assert "registry.ledger_process" in shown[1] + shown[2] + shown[3]
    text = "\n".join([*shown, said])
    assert PASSPHRASE not in text
    for seed in (seed_of("producer"), seed_of("attestor")):
        for secret in secrets_of(seed):
            assert not is_given_away(secret, text)
            assert not [name for name, raw in data.items() if secret in raw]
            if passphrase:
                assert not [name for name, raw in data.items() if secret.hex().encode() in raw]
    assert [name for name, raw in data.items() if PASSPHRASE.encode() in raw] == ["passphrase"]


def test_the_search_for_secrets_finds_them() -> None:
    secret = sha256(b"a secret")
    shown = [f"{secret.hex()}", f"{secret!r}", f"{list(secret)}", base64.b64encode(secret).decode()]
    for text in shown:
        assert is_given_away(secret, text)


# ---------------------------------------------------------------------- encrypted key files


@pytest.fixture
def locked() -> Iterator[Home]:
    """A home whose key files have a passphrase."""
    with short_folder() as folder:
        yield Home(folder / "home", passphrase=PASSPHRASE)


def runs(service: Service) -> None:
    """A service that opened its key files, and works."""
    with running(service.ready("ledger ready")):
        service.kill(signal.SIGTERM)
        assert service.wait() == 0
        assert "Traceback" not in service.said


def test_a_passphrase_comes_from_where_a_setting_says(locked: Home) -> None:
    told = locked.write("passphrase", f"{PASSPHRASE}\n")
    runs(Service(locked, "--no-web", environment={"WAYPOST_PASSPHRASE_FILE": str(told)}))
    locked.write("config.toml", f'passphrase_file = "{told}"')
    runs(Service(locked, "--no-web", "--attest", locked.path / "attestor.json"))
    # who gives it now means it
    reading, writing = os.pipe()
    os.write(writing, b"another one")
    os.close(writing)
    with running(Service(locked, "--passphrase-fd", reading, fds=[reading])) as (service,):
        os.close(reading)
        assert service.wait() == 1
        assert "the passphrase is wrong" in service.said


def test_a_passphrase_comes_through_a_descriptor(locked: Home) -> None:
    reading, writing = os.pipe()
    os.write(writing, PASSPHRASE.encode())
    os.close(writing)
    try:
        runs(Service(locked, "--no-web", "--passphrase-fd", reading, fds=[reading]))
    finally:
        os.close(reading)


NOT_OPENED: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "nobody to ask": ((), "give --passphrase-file PATH or --passphrase-fd N"),
    "a wrong passphrase": (("--passphrase-file", "wrong"), "the passphrase is wrong"),
    "no such file": (("--passphrase-file", "missing"), "cannot be read: No such file"),
    "no such descriptor": (("--passphrase-fd", "99"), "descriptor 99 cannot be read"),
}


@pytest.mark.parametrize(("flags", "why"), NOT_OPENED.values(), ids=NOT_OPENED.keys())
def test_key_files_that_do_not_open_start_nothing(
    locked: Home, flags: tuple[str, ...], why: str
) -> None:
    locked.write("wrong", "six words on no list")
    flags = tuple(
        str(locked.path / flag) if flag in ("wrong", "missing") else flag for flag in flags
    )
    with running(Service(locked, "--port", "0", *flags)) as (service,):
        assert service.wait() == 1
        [line] = service.said.splitlines()
        assert line.startswith("error: ")
        assert why in line
    assert not (locked.path / "run").exists()
    assert not (locked.path / "ledger").exists()


def test_a_person_is_asked_for_each_key_file(locked: Home) -> None:
    key = locked.path / "attestor.json"
    producer = locked.path / "producer.json"
    with at_terminal(
        *("run", "--home", locked.path, "--no-web", "--producer", producer, "--attest", key)
    ) as person:
        person.answer(f"Passphrase for {producer}: ", "a wrong one")
        person.answer(f"Passphrase for {producer}: ", PASSPHRASE)
        person.answer(f"Passphrase for {key}: ", PASSPHRASE)
        person.wait_for("ledger ready")
        person.press(b"\x03")
        assert person.end() == 0
    assert PASSPHRASE not in person.seen
    assert "Traceback" not in person.seen


def test_a_follower_attests_with_an_encrypted_key() -> None:
    with short_folder() as folder:
        home = Home(folder / "home", attestor=True)
        other = Home(folder / "other", passphrase=PASSPHRASE)
        (other.path / GENESIS).write_bytes(home.genesis)
        told = other.write("passphrase", PASSPHRASE)
        with running(Service(home, "--port", "0").ready("listening")) as (service,):
            [listening] = service.lines("listening")
            flags = (
                *("--no-web", "--follow", f"http://127.0.0.1:{listening['port']}"),
                *("--attest", other.path / "attestor.json", "--passphrase-file", told),
            )
            with running(Service(other, *flags).ready("attested")) as (follower,):
                follower.kill(signal.SIGTERM)
                assert follower.wait() == 0
            service.kill(signal.SIGTERM)
            assert service.wait() == 0


def test_a_follower_is_not_asked_for_the_producer_s_key(locked: Home) -> None:
    with running(Service(locked, "--no-web", "--follow", "http://127.0.0.1:1")) as (service,):
        service.ready("source failed")
        service.kill(signal.SIGTERM)
        assert service.wait() == 0
