"""The story of an operator, from new keys to the payout, with nothing but commands and processes.

Seven nodes of others are there already, each with an agent; they test his node as they test each
other. Somebody else shares the stake, and `waypost warn` tells what happens.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.messages.genesis import GenesisAccount
from ledger.params import preset
from ledger.types import COIN
from registry.home import GENESIS
from registry.keystore import derive, save_insecure_seed
from tests.registry.cli.person import at_terminal
from tests.registry.cli.wizarding import QUESTIONS
from tests.registry.factory import seed_of
from tests.stories.street import House, Street, environment, street, wait_for

OTHERS: Final = 7
REQUIREMENT: Final = preset("minimal").staking_requirement
STAKE: Final = REQUIREMENT // 4
FIRST_COINS: Final = 1_000 * COIN

PARAMS: Final = {
    "activation_verdict": 1,
    # short enough that one sees the payout
    **{"trust_ms": 60_000, "report_margin_ms": 1_000, "evidence_ms": 61_000},
    **{"fresh_ms": 30_000, "valid_ms": 60_000, "unbonding_ms": 62_000, "lock_ms": 62_000},
}


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Street]:
    """The street of the others, all at home, and somebody who gives coins away."""
    faucet = derive(seed_of("faucet"), "account").public
    accounts = (GenesisAccount(faucet, 10_000_000 * COIN),)
    with street(tmp_path, OTHERS, PARAMS, accounts=accounts, pool=1_000_000 * COIN) as made:
        save_insecure_seed(tmp_path / "faucet.json", seed_of("faucet"))
        for house in made.houses:
            house.open_up()
            house.start()
        yield made


class Operator:
    """Somebody with a folder of key files, a terminal, and a machine at an address of its own."""

    def __init__(self, town: Street) -> None:
        self.town = town
        self.folder = town.folder
        self.environment = environment() | {
            "WAYPOST_URL": town.url,
            "WAYPOST_HOME": str(self.folder / "home"),
        }
        self.account = self.make_keys("operator")["account"]
        self.node = self.make_keys("node")["node"]
        self.machine = House(town, OTHERS, self.folder / "node.json")
        town.houses.append(self.machine)

    def call(self, *words: object) -> Any:
        """What a command answers as JSON; it has to work."""
        done = subprocess.run(
            [sys.executable, "-m", "registry", *map(str, words), "-o", "json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
        return json.loads(done.stdout)

    def make_keys(self, name: str) -> dict[str, Any]:
        """Make a key file; return what is public of it."""
        path = self.folder / f"{name}.json"
        self.call("keys", "new", path, "--insecure")
        shown: dict[str, Any] = self.call("keys", "show", path)
        return shown

    def status(self) -> dict[str, Any]:
        """The node's card."""
        shown: dict[str, Any] = self.call("node", "status", self.node)
        return shown

    def balance(self, account: str) -> int:
        """The coins of an account, atomic units."""
        return int(self.call("account", "show", account)["balance"])

    def wait_until(self, state: str) -> dict[str, Any]:
        """The node's card once the node is in a state."""
        node = f"/v1/nodes/{self.node}"
        wait_for(lambda: self.town.get(node)["state"] == state, pause_s=0.2)
        return self.status()


class Watch:
    """`waypost warn` beside it, on standard output."""

    def __init__(self, operator: Operator) -> None:
        home = operator.folder / "warn"
        home.mkdir()
        (home / "warn.toml").write_text(
            f'operator = "{operator.account}"\nservice = ["{operator.town.url}"]\n'
            f'genesis = "{operator.town.folder / "service" / GENESIS}"\nevery_s = 1\n'
        )
        self._path = home / "told"
        command = [sys.executable, "-m", "registry", "warn", "--home", str(home), "-o", "json"]
        with self._path.open("wb") as told, (home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, env=operator.environment, stdout=told, stderr=log
            )

    @property
    def told(self) -> list[dict[str, Any]]:
        """All messages so far."""
        whole = self._path.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def wait_for(self, name: str, kind: str = "new") -> dict[str, Any]:
        """The first message of a warning, once it came."""
        found = wait_for(
            lambda: [row for row in self.told if (row["warning"], row["kind"]) == (name, kind)]
        )
        message: dict[str, Any] = found[0]
        return message

    def end(self) -> None:
        """Stop it."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0


@pytest.fixture
def operator(town: Street) -> Operator:
    """An operator with coins, and somebody with coins who looks for a node."""
    operator = Operator(town)
    bob = operator.make_keys("bob")["account"]
    for account in (operator.account, bob):
        operator.call(
            *("account", "send", "--from", operator.folder / "faucet.json"),
            *("--to", account, "--amount", "1000"),
        )
        assert operator.balance(account) == FIRST_COINS
    return operator


def test_an_operators_story(operator: Operator) -> None:
    machine = operator.machine
    machine.open_up()
    machine.start()
    register(operator)
    contribute(operator)
    join(operator)
    watch = Watch(operator)
    try:
        earn(operator)
        fail(operator, watch)
        come_back(operator, watch)
        leave(operator, watch)
    finally:
        watch.end()


def register(operator: Operator) -> None:
    """The wizard looks at the machine, shows two summaries, and registers."""
    keys = operator.folder
    words = (
        *("node", "setup", "--url", operator.town.url, "--operator", keys / "operator.json"),
        *("--node", keys / "node.json", "--ipv4", operator.machine.address),
        *("--storage-port", operator.town.storage_port),
        *("--router-port", operator.town.router_port),
        *("--stake", STAKE // COIN, "--fee", "500"),
    )
    with at_terminal(*words, environment=operator.environment) as person:
        for question in QUESTIONS.values():
            person.answer(question, "")
        person.wait_for("node setup .*--yes|node register ")
        person.answer("Sign it?", "yes")
        person.answer("Send it?", "yes")
        assert person.end() == 0, person.seen
    card = operator.status()
    assert (card["state"], card["operator"]) == ("awaiting", operator.account)
    assert int(card["staked"]) == STAKE
    assert int(card["open"]) == REQUIREMENT - STAKE


def contribute(operator: Operator) -> None:
    """Somebody finds it among the open nodes, and fills it up."""
    (found,) = operator.call("node", "list", "--open")["nodes"]
    assert found["key"] == operator.node
    operator.call(
        *("node", "contribute", "--from", operator.folder / "bob.json"),
        *("--node", found["key"], "--amount", (REQUIREMENT - STAKE) // COIN),
    )
    card = operator.status()
    assert card["state"] in ("queued", "active")
    assert [int(row["amount"]) for row in card["contributions"]] == [STAKE, REQUIREMENT - STAKE]


def join(operator: Operator) -> None:
    """It passes its first test, becomes active, gets a swarm, and stands in the verified list."""
    card = operator.wait_until("active")
    assert [row["failed"] for row in card["verdicts"]][-1:] == [False]
    assert card["swarm"] is not None
    list_words = ("list", "fetch", "--genesis", operator.town.folder / "service" / GENESIS)

    def is_listed() -> bool:
        operator.call(*list_words)
        shown = operator.call("list", "show", "--limit", "0", *list_words[2:])
        return any(row["node"] == operator.node for row in shown["nodes"])

    assert wait_for(is_listed)
    duties = wait_for(lambda: operator.town.get(f"/v1/nodes/{operator.node}/duties")["tests"])
    assert duties


def earn(operator: Operator) -> None:
    """Rewards wait for him and for who shared the stake; he claims his."""

    def waiting() -> int:
        return int(operator.call("rewards", "show", operator.account)["claimable"])

    wait_for(lambda: waiting() > COIN // 1000)
    before = operator.balance(operator.account)
    claimed = operator.call("rewards", "claim", "--from", operator.folder / "operator.json")
    assert [row["state"] for row in claimed["claims"]] == ["committed"]
    assert operator.balance(operator.account) > before


def fail(operator: Operator, watch: Watch) -> None:
    """The machine dies; he is warned while the node is still active, then it is off duty."""
    operator.machine.end()
    warned = watch.wait_for("failing")
    assert warned["subject"] == operator.node
    assert warned["next_step"]
    down = operator.wait_until("decommissioned")
    assert down["swarm"] is None
    assert {"wrong address", "storage port", "router port"} <= set(down["verdicts"][0]["faults"])
    told = watch.wait_for("decommissioned")
    assert told["subject"] == operator.node
    names = [row["warning"] for row in watch.told]
    assert names.index("failing") < names.index("decommissioned")


def come_back(operator: Operator, watch: Watch) -> None:
    """It starts again, passes, and is on duty again in a swarm."""
    operator.machine.open_up()
    operator.machine.start()
    back = operator.wait_until("active")
    assert back["swarm"] is not None
    assert not back["verdicts"][0]["failed"]
    watch.wait_for("decommissioned", "over")


def leave(operator: Operator, watch: Watch) -> None:
    """He asks to leave; duty ends, the stake is paid out, and nobody lost anything."""
    operator.call("node", "unlock", operator.node, "--from", operator.folder / "operator.json")
    operator.wait_until("exited")
    watch.wait_for("exited")
    wait_for(lambda: operator.town.find(f"/v1/nodes/{operator.node}") is None, pause_s=0.2)
    bob = operator.call("keys", "show", operator.folder / "bob.json")["account"]
    # all fees together are far below what a node earns in an epoch
    assert operator.balance(operator.account) > FIRST_COINS
    assert operator.balance(bob) > FIRST_COINS
    paid = watch.wait_for("paid_out")
    assert paid["subject"] == operator.node
