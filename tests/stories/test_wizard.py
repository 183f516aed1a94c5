"""The wizard at a terminal, wherever one may turn; and beside a service, an agent and a node."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.messages.tables import NODES
from registry import signer
from registry.keystore import derive, load_seed
from tests.comet.network import free_ports
from tests.registry.cli.driver import call
from tests.registry.cli.fake_service import FakeService, account_of, problem, run_service
from tests.registry.cli.person import PASSPHRASE, at_terminal, bare_environment, write_passphrase
from tests.registry.cli.wizarding import ALICE, BOB, KEY, QUESTIONS, answer, begin, make_keys, words
from tests.registry.factory import LINKS, short_folder


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeService]:
    monkeypatch.setattr(signer, "CHAIN_LINKS", LINKS)
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path / "home"))
    with run_service() as running:
        monkeypatch.setenv("WAYPOST_URL", running.url)
        yield running


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with key files."""
    return make_keys(tmp_path)


def test_wrong_answers_are_asked_again(fake: FakeService, keys: Path) -> None:
    asked = {
        "operator": ("poor.json", "send it 25.000001 coins more"),
        "ipv4": ("10.0.0", "Expected 4 octets"),
        "ipv6": ("fe80::1", "others can reach"),
        "storage_version": ("2.11", "is no version"),
        "storage_port": ("0", "is no port"),
        "seat": ("both", "one of none, attests, validates"),
        "fee": ("101 %", "is no fee"),
        "stake": ("5", "have to be staked here"),
        "reserve": (f"{ALICE}=1", "for the operator himself"),
    }
    with begin(fake.url, keys) as person:
        for name, question in QUESTIONS.items():
            if name in asked:
                typed, says = asked[name]
                person.answer(question, str(keys / typed) if name == "operator" else typed)
                person.wait_for(says)
                right = {"operator": str(keys / "alice.json"), "stake": "25", "reserve": "none"}
                person.answer(question, right.get(name, "none" if name == "ipv6" else ""))
                continue
            person.answer(question, "?" if name == "node" else "")
            if name == "node":
                person.wait_for("Keep it apart from the operator's")
                person.answer(question, "")
        person.answer("Sign it?", "yes")
        person.answer("Send it?", "yes")
        assert person.end() == 0
    assert fake.network.state.one(NODES, KEY).operator == account_of("alice")


ENDS = [*QUESTIONS, "Sign it?", "Send it?"]


@pytest.mark.parametrize("end", ENDS)
def test_it_ends_at_every_point_and_leaves_nothing(fake: FakeService, keys: Path, end: str) -> None:
    before = {path: path.read_bytes() for path in keys.iterdir()}
    with begin(fake.url, keys, "--stake", "25") as person:
        for name, question in QUESTIONS.items():
            if name == end:
                person.answer(question, "quit")
                break
            person.answer(question, "")
        for question, yes in (("Sign it?", "yes"), ("Send it?", "")):
            if end in (question, "Send it?"):
                person.answer(question, "quit" if end == question else yes)
            if end == question:
                break
        assert person.end() == 1
        assert "Nothing was sent." in person.seen
        assert "error: abandoned: " in person.seen
    assert fake.network.blocks == []
    assert {path: path.read_bytes() for path in keys.iterdir()} == before


def test_new_keys_are_made_on_the_way_with_their_words(fake: FakeService, keys: Path) -> None:
    with begin(fake.url, keys, "--stake", "25", node="mine") as person:
        person.answer(QUESTIONS["url"], "")
        person.answer(QUESTIONS["operator"], "")
        person.answer(QUESTIONS["node"], "")
        person.answer("Make a new key file there?", "no")
        person.wait_for("there is no key file")
        assert not (keys / "mine.json").exists()
        person.answer(QUESTIONS["node"], "")
        person.answer("Make a new key file there?", "yes")
        person.answer("New passphrase", PASSPHRASE)
        person.answer("The same once more: ", PASSPHRASE)
        person.give_back(person.write_down())
        for name in list(QUESTIONS)[3:]:
            person.answer(QUESTIONS[name], "")
        person.answer("Sign it?", "yes")
        person.answer("Passphrase for", PASSPHRASE)
        person.answer("Send it?", "quit")
        assert person.end() == 1
        assert "was made, and stays" in person.seen
    seed = load_seed(keys / "mine.json", PASSPHRASE.encode)
    assert fake.network.blocks == []
    mine = derive(seed, "node").public
    given = ("--yes", "--stake", "25", "--passphrase-file", write_passphrase(keys))
    call(*words(keys, *given, node="mine"))
    assert fake.network.state.get(NODES, mine) is not None


def test_a_service_that_is_not_there_can_be_named_again(fake: FakeService, keys: Path) -> None:
    with begin(fake.url, keys, "--stake", "25", "--url", "http://127.0.0.1:1") as person:
        person.answer(QUESTIONS["url"], "")
        person.wait_for("nothing answers at")
        person.answer(QUESTIONS["url"], fake.url)
        person.answer(QUESTIONS["operator"], "quit")
        assert person.end() == 1


def test_a_transaction_that_came_first_is_signed_anew(fake: FakeService, keys: Path) -> None:
    with begin(fake.url, keys, "--stake", "25") as person:
        answer(person)
        person.answer("Sign it?", "yes")
        person.wait_for("transaction 0 of this account")
        call("account", "send", "--from", keys / "alice.json", "--to", BOB, "--amount", "1")
        person.answer("Send it?", "yes")
        person.wait_for("it has to be signed anew")
        person.answer("Sign it?", "yes")
        person.wait_for("transaction 1 of this account")
        person.answer("Send it?", "yes")
        assert person.end() == 0
    assert fake.network.state.get(NODES, KEY) is not None


def test_a_refusal_is_said(fake: FakeService, keys: Path) -> None:
    with begin(fake.url, keys, "--stake", "25") as person:
        answer(person)
        person.answer("Sign it?", "yes")
        person.wait_for("Send it?")
        fake.answers["/v1/transactions"] = problem(422, "expired", "sign anew", {})
        person.press(b"yes\n")
        assert person.end() == 1
        assert "It was refused: nothing changed." in person.seen
        assert "error: expired: sign anew" in person.seen
    assert fake.network.blocks == []


def test_the_result_goes_where_it_is_led(fake: FakeService, keys: Path) -> None:
    out = keys / "result"
    home = {"WAYPOST_HOME": str(keys / "home")}
    line = words(keys, "--url", fake.url, "--stake", "25", "-o", "json")
    with out.open("wb") as file, at_terminal(*line, environment=home, stdout=file.fileno()) as one:
        answer(one)
        one.answer("Sign it?", "yes")
        one.answer("Send it?", "yes")
        assert one.end() == 0
    assert json.loads(out.read_text())["state"] == "committed"


# --- beside real processes ----------------------------------------------------------------------

WAIT_S: Final = 120.0
ADDRESS: Final = "127.0.9.9"


class Machine:
    """A service, and a node with all that its testers ask for, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.storage, self.router = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, name: str, *command: object) -> None:
        """Start a process, and keep what it says in a file of its name."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=bare_environment(),
                start_new_session=True,
            )

    def end(self, name: str) -> None:
        """Stop it, with all that it started."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def end_all(self) -> None:
        """Stop all of them."""
        for name in list(self._processes):
            self.end(name)

    def ask(self, *command: object, code: int = 0) -> Any:
        """Run a command of its own process, and return the JSON that it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "registry", *map(str, command), "-o", "json"],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=bare_environment() | {"WAYPOST_URL": self.url, "WAYPOST_HOME": str(self.home)},
            check=False,
        )
        assert done.returncode == code, f"{done.stdout}{done.stderr}\n{self.logs()}"
        return json.loads(done.stdout) if done.stdout else done.stderr

    @property
    def home(self) -> Path:
        """The home of the service."""
        return self.folder / "home"

    def logs(self) -> str:
        """What the processes said at last."""
        return "\n".join(path.read_text()[-2_000:] for path in self.folder.glob("*.log"))

    def wait_until(self, holds: Any, *command: object) -> Any:
        """Ask until the answer is right, and return it."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                answer = self.ask(*command)
            except AssertionError:
                answer = None
            if answer is not None and holds(answer):
                return answer
            assert time.monotonic() < deadline, f"{command}: {answer}\n{self.logs()}"
            time.sleep(0.5)

    def start_service(self) -> None:
        """A network with one producer, whose treasury pays."""
        self.ask("init", "--home", self.home, "--insecure")
        with (self.home / "config.toml").open("a") as config:
            config.write(f"port = {self.port}\nworkers = 1\n")
        self.run("service", "registry", "run", "--home", self.home)
        self.wait_until(lambda rows: rows["nodes"] == [], "node", "list")

    def start_node(self) -> None:
        """A storage server and a router, as far as testers see them."""
        ports = ("--storage-port", self.storage, "--router-port", self.router)
        self.run("node", "registry.devnet.node", "--ipv4", ADDRESS, *ports)

    def start_agent(self) -> None:
        """The agent of the node."""
        self.run(
            "agent",
            *("registry", "agent", "--home", self.home / "agent", "--service", self.url),
            *("--node", self.folder / "node.json", "--genesis", self.home / "genesis.bin"),
            *("--ipv4", ADDRESS, "--storage-port", self.storage, "--router-port", self.router),
            *("--network", "127.0.0.0/8"),
        )

    def setup(self, *more: object) -> list[object]:
        """All answers of a setup."""
        return [
            *("node", "setup", "--yes", "--operator", self.home / "treasury.json"),
            *("--node", self.folder / "node.json", "--stake", "100", "--ipv4", ADDRESS),
            *("--storage-port", self.storage, "--router-port", self.router, *more),
        ]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with short_folder() as folder:
        made = Machine(folder)
        try:
            made.start_service()
            made.start_node()
            yield made
        finally:
            made.end_all()


def levels(findings: Sequence[dict[str, str]]) -> dict[str, set[str]]:
    """How each check came out."""
    found: dict[str, set[str]] = {}
    for row in findings:
        found.setdefault(row.get("check", ""), set()).add(row["level"])
    return found


def test_an_operators_first_hour(machine: Machine) -> None:
    refused = machine.ask(*machine.setup(), code=1)
    assert "there is no key file" in refused
    assert machine.ask("node", "list")["nodes"] == []

    # the agent's key file is made first, so that the agent can run before the node is registered
    machine.ask("keys", "new", "--insecure", machine.folder / "node.json")
    machine.start_agent()
    made = machine.ask(*machine.setup("--fee", "1000"))
    found = levels(made["checks"])
    assert found["network"] == found["service"] == found["clock"] == {"ok"}
    assert found["funds"] == found["node key"] == found["role keys"] == {"ok"}
    assert found["reached"] <= {"ok", "warn"}
    assert made["state"] == "committed"

    def is_active(node: Any) -> bool:
        return bool(node["state"] == "active")

    machine.wait_until(is_active, "node", "status", made["node"])
    machine.wait_until(lambda node: node["checked_in_ms"], "node", "status", made["node"])
    card = machine.ask("node", "status", made["node"])
    assert card["agent_faults"] == []

    # on duty, with its agent, all is well; the development network's key files are in the clear
    report = machine.ask("doctor", "--home", machine.home)
    found = levels(report["findings"])
    assert report["well"] is True
    assert found.pop("key files") == {"warn"}
    assert found["reached"] == found["check-in"] == found["agent"] == found["node"] == {"ok"}
    assert found["list"] == found["processes"] == found["watermarks"] == {"ok"}

    # without it, that is said, and what to do
    machine.end("agent")
    report = json.loads(json.dumps(machine.ask("doctor", "--home", machine.home, code=1)))
    found = levels(report["findings"])
    assert {check for check, seen in found.items() if "fail" in seen} == {"agent"}
    assert found["reached"] == {"warn"}
    assert any("waypost agent" in row["todo"] for row in report["findings"])


def test_coins_leave_a_machine_without_a_network(machine: Machine) -> None:
    treasury = machine.ask("keys", "show", machine.home / "treasury.json")["account"]
    other = machine.ask("keys", "new", "--insecure", machine.folder / "other.json")["account"]
    draft = machine.folder / "draft"
    machine.ask("tx", "build", "transfer", "--from", treasury, "--to", other, "--amount", 5,
                "--out", draft)  # fmt: skip
    before = machine.ask("account", "show", other)["balance"]
    genesis = machine.home / "genesis.bin"
    keys = machine.home / "treasury.json"
    signed = machine.ask("tx", "sign", draft, "--from", keys, "--genesis", genesis, "--yes")
    assert signed["network_compared"] is True
    sent = machine.ask("tx", "send", draft)
    assert (sent["hash"], sent["state"]) == (signed["hash"], "committed")
    after = machine.ask("account", "show", other)["balance"]
    assert int(after) - int(before) == 5 * 10**9
