"""`waypost doctor`: a machine on which all is well, and each thing that can be wrong with it."""

import asyncio
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from ledger.codec import encode
from ledger.crypto import sha256
from registry.addresses import encode_node
from registry.agent.status import Status
from registry.cli import doctor, examining, preflight
from registry.cli.doctor import CHECKS
from registry.cli.findings import Finding
from registry.cometbft import version
from registry.keystore import derive
from registry.watermarks import BLOCKS, Watermarks
from tests.factory import START_MS, make_genesis
from tests.flip import flip
from tests.registry.agent import stand_in
from tests.registry.agent.stand_in import StandIn
from tests.registry.cli.driver import call
from tests.registry.cli.fake_service import FakeService, run_service, save_keys, seed_of
from tests.registry.factory import short_folder

NODE: Final = encode_node(derive(seed_of("node"), "node").public)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Home(NamedTuple):
    """A machine with a service and an agent, and what may be changed of it."""

    folder: Path
    fake: FakeService
    node: dict[str, Any]
    """What the service says of the node."""
    stand_in: StandIn
    loop: asyncio.AbstractEventLoop

    def say(self) -> None:
        """Have the service say it."""
        self.fake.answers[f"/v1/nodes/{NODE}"] = 200, json.dumps(self.node).encode()

    def write(self, file: str, **settings: Any) -> None:
        """Write settings."""
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines))


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A machine on which all is well."""
    for name in ("WAYPOST_URL", "WAYPOST_HOME", "WAYPOST_AGENT_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(preflight.check_reached, "__defaults__", (0.4,))
    with short_folder() as folder, run_service({"start_ms": now_ms() - 10_200}) as fake:
        for _ in range(2):
            fake.network.settle()
        (folder / "genesis.bin").write_bytes(fake.network.raw)
        monkeypatch.setattr(stand_in, "NETWORK", fake.network.hash)
        with living(StandIn()) as (node, loop):
            made = Home(folder, fake, describe(node), node, loop)
            made.say()
            with running(made):
                yield made


def describe(node: StandIn) -> dict[str, Any]:
    """What a service says of a node that is on duty."""
    return {
        "key": NODE,
        "state": "active",
        "next_step": "it is on duty: keep it running",
        "duty_key": derive(seed_of("node"), "duty").public.hex(),
        "contact": {
            "ipv4": "127.0.0.1",
            "ipv6": None,
            "storage_port": node.contact.storage_port,
            "router_port": node.contact.router_port,
            "storage_version": [2, 11, 0],
            "router_version": [11, 6, 0],
        },
        "checked_in_ms": now_ms() - 60_000,
        "agent_version": [0, 1, 0],
        "agent_faults": [],
    }


class living:
    """A node that answers its testers, on a loop of its own."""

    def __init__(self, node: StandIn) -> None:
        self._node = node
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> tuple[StandIn, asyncio.AbstractEventLoop]:
        self._node.duty = derive(seed_of("node"), "duty")
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._node.start(), self._loop).result(20)
        return self._node, self._loop

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._node.stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class running:
    """The processes of a machine, as far as they are seen from outside."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def __enter__(self) -> None:
        home, folder = self._home, self._home.folder
        port = int(home.fake.url.rpartition(":")[2])
        for name in ("producer", "node"):
            save_encrypted(folder / f"{name}.json", name)
        (folder / "secret").write_text("x\n")
        (folder / "secret").chmod(0o600)
        secret = str(folder / "secret")
        home.write(
            "config.toml",
            producer=str(folder / "producer.json"),
            port=port,
            passphrase_file=secret,
            new_watermark=False,
        )
        home.write(
            "agent/agent.toml",
            node=str(folder / "node.json"),
            genesis=str(folder / "genesis.bin"),
            services=[home.fake.url],
        )
        (folder / "run").mkdir()
        self._ledger = socket.socket(socket.AF_UNIX)
        self._ledger.bind(str(folder / "run" / "ledger.sock"))
        self._ledger.listen()
        hash_ = sha256(home.fake.network.raw)
        self._marks = Watermarks(folder / "watermarks", hash_)
        self._marks.open(BLOCKS, derive(seed_of("producer"), "producer").public).advance(7, hash_)
        self._agent_marks = Watermarks(folder / "agent" / "watermarks", hash_)
        Status(folder / "agent" / "status.json", node=NODE).put(epoch=7)

    def __exit__(self, *_: object) -> None:
        self._ledger.close()
        self._marks.close()
        self._agent_marks.close()


def save_encrypted(path: Path, name: str) -> None:
    from registry.keystore import MINIMUM, save_seed

    save_seed(path, seed_of(name), b"x", MINIMUM)


def look(home: Home, *more: object, code: int) -> dict[str, list[dict[str, str]]]:
    """What the doctor finds, by check; `code` is how it has to end."""
    result = call("doctor", "--home", home.folder, *more, "-o", "json", code=code)
    answer = json.loads(result.stdout)
    assert answer["well"] is (code == 0)
    found: dict[str, list[dict[str, str]]] = {}
    for row in answer["findings"]:
        assert bool(row["todo"]) is (row["level"] != "ok")
        found.setdefault(row["check"], []).append(row)
    return found


def test_all_is_well(home: Home) -> None:
    before = {path: path.read_bytes() for path in home.folder.rglob("*") if path.is_file()}
    found = look(home, code=0)
    assert {row["level"] for rows in found.values() for row in rows} == {"ok"}
    assert set(found) >= {check.name for check in CHECKS}
    assert {path: path.read_bytes() for path in home.folder.rglob("*") if path.is_file()} == before
    text = call("doctor", "--home", home.folder).stdout
    assert text.count("\n") == sum(map(len, found.values()))
    assert f"{NODE} is active" in text


class Wrong(NamedTuple):
    """One thing that is wrong."""

    check: str
    level: str
    says: str
    breaks: Callable[[Home, pytest.MonkeyPatch], object]


def of_node(**changes: Any) -> Callable[[Home, pytest.MonkeyPatch], None]:
    def change(home: Home, _: pytest.MonkeyPatch) -> None:
        home.node.update(changes)
        home.say()

    return change


def of_summary(**changes: Any) -> Callable[[Home, pytest.MonkeyPatch], None]:
    def change(home: Home, _: pytest.MonkeyPatch) -> None:
        status, body = home.fake.answer("GET", "/v1/network", b"")
        home.fake.answers["/v1/network"] = (
            status,
            json.dumps(json.loads(body) | changes).encode(),
        )

    return change


def patching(where: object, name: str, value: object) -> Callable[[Home, pytest.MonkeyPatch], None]:
    return lambda _, patch: patch.setattr(where, name, value)


def without(*names: str) -> Callable[[Home, pytest.MonkeyPatch], None]:
    """Some libraries are not there."""
    real = util.find_spec

    def find(name: str, package: str | None = None) -> Any:
        return None if name in names else real(name, package)

    return lambda _, patch: patch.setattr(util, "find_spec", find)


def with_free(free: int) -> Callable[[Home, pytest.MonkeyPatch], None]:
    usage = shutil.disk_usage("/")._replace(free=free)
    return lambda _, patch: patch.setattr(shutil, "disk_usage", lambda _: usage)


def mode(file: str, bits: int) -> Callable[[Home, pytest.MonkeyPatch], None]:
    return lambda home, _: (home.folder / file).chmod(bits)


def gone(file: str) -> Callable[[Home, pytest.MonkeyPatch], None]:
    return lambda home, _: (home.folder / file).unlink()


def add_setting(file: str, line: str) -> Callable[[Home, pytest.MonkeyPatch], None]:
    def add(home: Home, _: pytest.MonkeyPatch) -> None:
        path = home.folder / file
        path.write_text(path.read_text() + line + "\n")

    return add


def in_the_clear(home: Home, _: pytest.MonkeyPatch) -> None:
    (home.folder / "node.json").unlink()
    save_keys(home.folder, "node")


def loosen(home: Home, _: pytest.MonkeyPatch) -> None:
    (path,) = (home.folder / "watermarks").glob("blocks-*")
    path.chmod(0o620)


def damage(home: Home, _: pytest.MonkeyPatch) -> None:
    (path,) = (home.folder / "watermarks").glob("blocks-*")
    raw = path.read_bytes()
    path.write_bytes(flip(raw))


def restore(home: Home, _: pytest.MonkeyPatch) -> None:
    folder, network = home.folder / "watermarks", home.fake.network.hash
    shutil.rmtree(folder)
    marks = Watermarks(folder, network)
    marks.open(BLOCKS, bytes(32)).restore(9, network)
    marks.close()


def other_genesis(home: Home, _: pytest.MonkeyPatch) -> None:
    raw = encode(make_genesis(name=b"another-net"))
    (home.folder / "agent" / "genesis.bin").write_bytes(raw)
    for path in (home.folder / "genesis.bin", home.folder / "agent" / "agent.toml"):
        if path.suffix == ".bin":
            path.write_bytes(raw)


def forge(home: Home, _: pytest.MonkeyPatch) -> None:
    status, body = home.fake.answer("GET", "/v1/lists/latest", b"")
    home.fake.answers["/v1/lists/latest"] = status, flip(body)


def stop(name: str) -> Callable[[Home, pytest.MonkeyPatch], None]:
    """Take one part of the node away."""

    def end(home: Home, _: pytest.MonkeyPatch) -> None:
        assert name in ("storage", "router", "agent")
        place = {"storage": 0, "router": 1, "agent": 2}[name]
        home.loop.call_soon_threadsafe(home.stand_in._open[place])
        done = threading.Event()
        home.loop.call_soon_threadsafe(done.set)
        assert done.wait(20)

    return end


def not_running(home: Home, _: pytest.MonkeyPatch) -> None:
    shutil.move(home.folder / "agent" / "watermarks", home.folder / "agent" / "before")


WRONG: Final = {
    "an old Python": Wrong("python", "fail", "use 9.9", patching(examining, "OLDEST", (9, 9))),
    "a very new Python": Wrong("python", "warn", "newer", patching(examining, "NEWEST", (3, 1))),
    "a library that is missing": Wrong("programs", "fail", "missing: nacl", without("nacl")),
    "no database": Wrong("programs", "fail", "no database", without("plyvel", "plyvel_next")),
    "a full disk": Wrong("disk", "fail", "0 GiB", with_free(2**20)),
    "a disk that fills": Wrong("disk", "warn", "2 GiB", with_free(2 * 2**30)),
    "a setting that is none": Wrong(
        "settings", "fail", "no setting prot", add_setting("config.toml", "prot = 1")
    ),
    "a setting of the agent that is none": Wrong(
        "settings", "fail", "no setting nod", add_setting("agent/agent.toml", "nod = 1")
    ),
    "no genesis file": Wrong("settings", "fail", "there is no", gone("genesis.bin")),
    "a key file that others read": Wrong(
        "key files", "fail", "chmod 600", mode("node.json", 0o644)
    ),
    "a key file that is gone": Wrong("key files", "fail", "no key file", gone("producer.json")),
    "a key file in the clear": Wrong("key files", "warn", "in the clear", in_the_clear),
    "a passphrase that others read": Wrong("key files", "fail", "by others", mode("secret", 0o640)),
    "a passphrase that is gone": Wrong("key files", "fail", "there is no", gone("secret")),
    "watermarks that others change": Wrong(
        "watermarks", "fail", "by others", mode("watermarks", 0o777)
    ),
    "a watermark that others change": Wrong(
        "watermarks",
        "fail",
        "by others",
        loosen,
    ),
    "a damaged watermark": Wrong("watermarks", "fail", "blocks-", damage),
    "a restored watermark": Wrong("watermarks", "warn", "out of a backup", restore),
    "no ledger process": Wrong("processes", "fail", "does not run", gone("run/ledger.sock")),
    "no web process": Wrong(
        "processes", "fail", "nothing listens", add_setting("config.toml", 'host = "127.0.0.9"')
    ),
    "no CometBFT": Wrong(
        "cometbft",
        "fail",
        "there is no CometBFT",
        lambda home, patch: (
            add_setting("config.toml", 'engine = "comet"')(home, patch),
            patch.setattr(version, "find_program", lack_cometbft),
        ),
    ),
    "a service that is not there": Wrong(
        "service",
        "fail",
        "nothing answers",
        lambda home, _: home.write(
            "agent/agent.toml",
            node=str(home.folder / "node.json"),
            services=["http://127.0.0.1:1", home.fake.url],
        ),
    ),
    "a chain that stands": Wrong("service", "warn", "d old", of_summary(time_ms=START_MS)),
    "a chain that moved": Wrong(
        "service",
        "fail",
        "another network",
        lambda home, _: home.fake.answers.update(
            {"/v1/rules": (200, json.dumps({"has_moved": True}).encode())}
        ),
    ),
    "another network": Wrong("network", "fail", "is of", of_summary(genesis_hash="5f" * 32)),
    "a clock that is wrong": Wrong(
        "clock", "fail", "ahead of the service's", patching(preflight, "CLOCK_OFF_MS", -1)
    ),
    "a list that is forged": Wrong("list", "fail", "signature", forge),
    "no agent": Wrong("agent", "fail", "none runs", not_running),
    "an agent that says nothing": Wrong("agent", "warn", "it runs, but", gone("agent/status.json")),
    "an agent in trouble": Wrong(
        "agent",
        "warn",
        "cannot listen",
        lambda home, _: Status(home.folder / "agent" / "status.json").put(problem="cannot listen"),
    ),
    "a node that is off duty": Wrong(
        "node", "fail", "decommissioned", of_node(state="decommissioned", next_step="mend it")
    ),
    "a node that failed": Wrong(
        "node", "fail", "active", of_node(next_step="its last verdict failed: mend it")
    ),
    "a node that waits": Wrong("node", "warn", "queued", of_node(state="queued")),
    "no such node": Wrong(
        "node",
        "fail",
        "is not registered",
        lambda home, _: home.fake.answers.pop(f"/v1/nodes/{NODE}"),
    ),
    "an agent that never checked in": Wrong(
        "check-in", "warn", "has not checked in", of_node(checked_in_ms=None)
    ),
    "an agent that is silent": Wrong(
        "check-in", "fail", "silent for 3 h", of_node(checked_in_ms=now_ms() - 3 * 3_600_000)
    ),
    "an agent that sees a fault": Wrong(
        "check-in", "fail", "storage port", of_node(agent_faults=["storage port"])
    ),
    "nobody answers challenges": Wrong("reached", "warn", "challenge: no signed", stop("agent")),
    "nobody on the storage port": Wrong("reached", "warn", "storage TCP", stop("storage")),
    "nobody on the router port": Wrong("reached", "warn", "router TCP", stop("router")),
}


def lack_cometbft(_: Path | None) -> Path:
    raise version.NoCometbft("there is no CometBFT")


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_found(home: Home, monkeypatch: pytest.MonkeyPatch, wrong: Wrong) -> None:
    wrong.breaks(home, monkeypatch)
    more = () if wrong.check == "reached" else ("--no-probe",)
    found = look(home, *more, code=int(wrong.level == "fail"))
    rows = [row for row in found[wrong.check] if row["level"] == wrong.level]
    assert any(wrong.says in row["text"] + row["todo"] for row in rows), found[wrong.check]


def test_every_check_can_fail() -> None:
    beside = {"network": "service", "clock": "service", "check-in": "node"}
    broken = {beside.get(wrong.check, wrong.check) for wrong in WRONG.values()}
    assert broken == {check.name for check in CHECKS}


def test_a_machine_with_nothing_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYPOST_AGENT_HOME", raising=False)
    with run_service({"start_ms": now_ms() - 10_200}) as fake:
        fake.network.settle()
        words = ("doctor", "--home", tmp_path / "none", "--url", fake.url)
        answer = json.loads(call(*words, "-o", "json").stdout)
    levels = {row["check"]: row["level"] for row in answer["findings"]}
    assert levels["list"] == levels["network"] == "warn"
    assert levels["agent"] == levels["processes"] == levels["settings"] == "ok"
    assert not (tmp_path / "none").exists()


def test_without_a_genesis_file_nobody_is_found_silent(home: Home, tmp_path: Path) -> None:
    """The node is well; only nobody can know of which network its answers would have to be."""
    words = ("doctor", "--home", tmp_path / "none", "--url", home.fake.url, "--node", NODE)
    answer = json.loads(call(*words, "-o", "json").stdout)
    (reached,) = [row for row in answer["findings"] if row["check"] == "reached"]
    assert reached["level"] == "warn"
    assert "there is no genesis file" in reached["text"]
    assert "--genesis FILE" in reached["todo"]
    found = json.loads(call(*words, "--genesis", home.folder / "genesis.bin", "-o", "json").stdout)
    assert {row["level"] for row in found["findings"] if row["check"] == "reached"} == {"ok"}


def test_what_was_named_goes_before_the_settings(home: Home) -> None:
    other = encode_node(derive(seed_of("other"), "node").public)
    found = look(home, "--node", other, "--no-probe", code=1)
    assert [row["text"] for row in found["node"]] == [f"{other} is not registered"]
    assert "reached" not in found
    found = look(home, "--url", "http://127.0.0.1:1", code=1)
    assert "nothing answers" in found["service"][0]["text"]


def test_a_bug_is_no_finding(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: examining.Machine) -> list[Finding]:
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "CHECKS", (doctor.Check("broken", broken),))
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        call("doctor", "--home", home.folder)
