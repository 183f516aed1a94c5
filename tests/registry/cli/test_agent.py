"""`waypost agent`: what a first start writes, what is refused, and what `status` shows."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.codec import encode
from registry import logs
from registry.agent import agent as program
from registry.agent.settings import CONFIG, AgentSettings
from registry.keystore import MINIMUM, save_insecure_seed, save_seed
from tests.factory import make_genesis
from tests.registry.cli.driver import call
from tests.registry.factory import seed_of

GENESIS: Final = encode(make_genesis())
PASSPHRASE: Final = "five words on no list"


class Started:
    """The agents that were started, instead of running them."""

    def __init__(self) -> None:
        self.settings: list[AgentSettings] = []
        self.seeds: list[dict[Path, bytes]] = []

    async def serve(self, settings: AgentSettings, seeds: Any) -> None:
        self.settings.append(settings)
        self.seeds.append(dict(seeds))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Started:
    """Somebody in a folder with a genesis file and key files."""
    started = Started()
    monkeypatch.setattr(program, "serve", started.serve)
    monkeypatch.setattr(logs, "set_up_logs", lambda process: None)
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("network.bin").write_bytes(GENESIS)
    save_insecure_seed(tmp_path / "node.json", seed_of("node"))
    save_seed(tmp_path / "sealed.json", seed_of("sealed"), PASSPHRASE.encode(), MINIMUM)
    Path("passphrase").write_text(f"{PASSPHRASE}\n")
    Path("passphrase").chmod(0o600)
    return started


def test_the_first_start_keeps_what_it_was_told(started: Started, tmp_path: Path) -> None:
    home = tmp_path / "home" / "agent"
    first = call(
        *("agent", "--node", "node.json", "--genesis", "network.bin"),
        *("--service", "http://127.0.0.1:1", "--service", "http://127.0.0.1:2"),
        *("--ipv4", "127.0.0.7", "--storage-port", "22021", "--network", "127.0.0.0/8"),
    )
    assert str(home / CONFIG) in first.stderr
    assert (home / "genesis.bin").read_bytes() == GENESIS
    again = call("agent")
    assert again.stderr == ""
    one, two = started.settings
    assert one.home == two.home == home
    assert two.node == tmp_path / "node.json"
    assert two.services == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert two.read_genesis() == one.read_genesis() == GENESIS
    assert str(two.ipv4) == "127.0.0.7"
    assert two.storage_port == 22021
    assert [str(prefix) for prefix in two.networks] == ["127.0.0.0/8"]
    assert started.seeds == [{tmp_path / "node.json": seed_of("node")}] * 2


def test_flags_count_over_what_is_kept_and_change_nothing_there(
    started: Started, tmp_path: Path
) -> None:
    told = ("agent", "--home", "elsewhere")
    call(*told, "--node", "node.json", "--genesis", "network.bin", "--router-port", "5")
    before = (tmp_path / "elsewhere" / CONFIG).read_bytes()
    call(*told, "--router-port", "6")
    assert [settings.router_port for settings in started.settings] == [5, 6]
    assert (tmp_path / "elsewhere" / CONFIG).read_bytes() == before


def test_a_sealed_key_file_is_opened_from_a_file_that_settings_may_name(
    started: Started, tmp_path: Path
) -> None:
    told = ("agent", "--home", "a", "--node", "sealed.json", "--genesis", "network.bin")
    call(*told, "--passphrase-file", "passphrase")
    call("agent", "--home", "a")
    assert started.seeds == [{tmp_path / "sealed.json": seed_of("sealed")}] * 2


REFUSED: Final = {
    "no key file": (["--genesis", "network.bin"], "setting node"),
    "a key file that is not there": (["--node", "x.json", "--genesis", "network.bin"], "x.json"),
    "no genesis file": (["--node", "node.json"], "--genesis"),
    "a bad address": (
        ["--node", "node.json", "--genesis", "network.bin", "--ipv4", "1.2.3"],
        "setting ipv4",
    ),
    "a bad prefix": (
        ["--node", "node.json", "--genesis", "network.bin", "--network", "127.0.0.1/8"],
        "setting networks",
    ),
    "nobody to ask for a passphrase": (
        ["--node", "sealed.json", "--genesis", "network.bin"],
        "--passphrase-file",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_not_kept(started: Started, tmp_path: Path, name: str) -> None:
    flags, says = REFUSED[name]
    result = call("agent", "--home", "a", *flags, code=1)
    assert says in result.stderr
    assert started.settings == []
    assert not (tmp_path / "a" / CONFIG).exists()


STATUS: Final[dict[str, Any]] = {
    "written_ms": 1_800_000_000_000,
    "node": "wpn1abc",
    "epoch": 8,
    "list": "fresh",
    "state": "active",
    "answering": ["127.0.0.7 port 22021"],
    "not_answering": ["::1 port 22021: Address already in use"],
    "check_in": {"at_ms": 1_800_000_000_000, "faults": [], "services": {"http://a": "taken"}},
    "duties": {"epoch": 8, "tests": ["wpn1x", "wpn1y"], "unproven": []},
    "judged": {
        "epoch": 7,
        "verdicts": [
            {"node": "wpn1x", "faults": ["clock"], "reasons": ["clock: it is late"]},
            {"node": "wpn1y", "faults": [], "reasons": []},
        ],
    },
    "votes": {
        "epoch": 7,
        "passes": 1,
        "fails": [{"node": "wpn1x", "faults": ["clock"]}],
        "services": {"http://a": {"noted": 1, "judged": 1}},
    },
    "no_votes": {"epoch": 6, "why": "it was too late"},
    "problem": "nobody proves nodes",
    "contact_why": None,
    "clock": None,
}


def test_status_shows_what_the_agent_tells(started: Started, tmp_path: Path) -> None:
    home = tmp_path / "home" / "agent"
    missing = call("agent", "status", code=1)
    assert "start the agent with `waypost agent`" in missing.stderr
    home.mkdir(parents=True)
    (home / "status.json").write_text(json.dumps(STATUS))
    assert json.loads(call("agent", "status", "-o", "json").stdout) == STATUS
    text = call("agent", "--home", str(home), "status").stdout
    for part in (
        "wpn1abc",
        "2027-01-15 08:00:00 UTC",
        "2 in epoch 8",
        "epoch 7: 1 pass, 1 fail",
        "1 judged, 1 noted",
        "wpn1x: clock: it is late",
        "no votes in 6",
        "nobody proves nodes",
        "Address already in use",
    ):
        assert part in text
    assert "contact " not in text
    assert started.settings == []
