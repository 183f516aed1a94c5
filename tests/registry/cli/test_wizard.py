"""`waypost node setup`: with all answers on the command line, and with a person at a terminal."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.codec import encode
from ledger.messages.tables import BINDINGS, HISTORIES, NODES
from ledger.types import COIN
from registry import signer
from registry.cli.passphrases import KeyFiles
from registry.cli.steps import parse_fee
from registry.keystore import derive, load_seed
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import (
    RICH,
    FakeService,
    account_of,
    problem,
    run_service,
    seed_of,
)
from tests.registry.cli.person import (
    PASSPHRASE,
    run_without_terminal,
    write_passphrase,
)
from tests.registry.cli.wizarding import (
    ALICE,
    BOB,
    KEY,
    NODE,
    QUESTIONS,
    answer,
    begin,
    make_keys,
    words,
)
from tests.registry.factory import LINKS

FEE: Final = 1_000


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


def unattended(keys: Path, *more: object, **who: str) -> list[object]:
    return words(keys, "--yes", *(() if "--stake" in more else ("--stake", "25")), *more, **who)


# --- without questions --------------------------------------------------------------------------


def test_all_answers_on_the_command_line(fake: FakeService, keys: Path) -> None:
    (keys / "genesis.bin").write_bytes(fake.network.raw)
    made = call_json(
        *unattended(keys, "--stake", "30.5", "--fee", "1250", "--attests"),
        *("--reserve", f"{BOB}=20", "--storage-port", "1001", "--router-version", "12.0.1"),
        *("--genesis", keys / "genesis.bin"),
    )
    assert (made["state"], made["height"], made["node"]) == ("committed", 1, NODE)
    assert (made["operator"], made["stake"]) == (ALICE, str(61 * COIN // 2))
    record = fake.network.state.one(NODES, KEY)
    assert (record.fee, record.operator) == (1_250, account_of("alice"))
    assert record.list_key == derive(seed_of("node"), "list").public
    assert [place.amount for place in record.reserved] == [20 * COIN]
    shown = call_json("node", "status", NODE)["contact"]
    assert (shown["ipv4"], shown["storage_port"]) == ("127.0.9.9", 1001)
    assert shown["router_version"] == [12, 0, 1]
    levels = {row["check"]: row["level"] for row in made["checks"]}
    assert levels["network"] == levels["clock"] == levels["funds"] == levels["node key"] == "ok"
    assert levels["reached"] == "warn"
    assert made["transaction"]["takes"] == str(61 * COIN // 2 + FEE)
    balance = fake.network.state.account(account_of("alice")).balance
    assert balance == RICH - 61 * COIN // 2 - FEE


def test_the_single_command_does_the_same(fake: FakeService, keys: Path) -> None:
    words = unattended(keys, "--fee", "1250", "--validates", "--reserve", f"{BOB}=20.5")
    command = shlex.split(call_json(*words)["command"])
    assert command[:3] == ["waypost", "node", "register"]
    first = fake.network.state.one(NODES, KEY)
    with run_service() as another:
        call(*command[1:], "--url", another.url)
        assert another.network.state.one(NODES, KEY) == first


def test_what_is_shown_before_it_is_sent(fake: FakeService, keys: Path) -> None:
    text = call(*unattended(keys, "--fee", "1250", "--reserve", f"{BOB}=20")).stdout
    shown = " ".join(text.split())
    for part in (
        "fee 1250 (12.5 % of the rewards)",
        "stake 25 coins, locked; it comes back after the node has left",
        "fee 0.000001 coins, gone",
        "left 974.999999 coins in the operator's account",
        "20 coins are kept for those named, for 10 min",
        "waits for 55 coins of up to 8 contributors, each with 6.875 coins at least",
        "paid out 4 d later",
        "waypost node register --url",
        "takes 25.000001 coins from it",
        "valid up to block 600",
        f"registered {NODE} with 25 coins: in block 1",
    ):
        assert part in shown, part


def test_key_files_are_made_where_that_is_said(fake: FakeService, keys: Path) -> None:
    new = unattended(keys, "--passphrase-file", write_passphrase(keys), node="new")
    result = call(*new, code=1)
    assert error_of(result) == "no_such_file"
    assert not (keys / "new.json").exists()
    made = call_json(*new, "--make-keys")
    assert made["made"] == [str(keys / "new.json")]
    seed = load_seed(keys / "new.json", PASSPHRASE.encode)
    assert fake.network.state.get(NODES, derive(seed, "node").public) is not None


REFUSED = {
    "an operator without coins": ([], {"operator": "poor"}, "send it 25.000001 coins more"),
    "more than he has": (["--stake", "100"], {}, "has 50 coins"),
    "too little stake": (["--stake", "24"], {}, "have to be staked here"),
    "a place for the operator": (["--reserve", f"{ALICE}=1"], {}, "for the operator himself"),
    "an address that nobody reaches": (["--ipv4", "10.0.0.1"], {}, "others can reach"),
    "the network of another genesis file": (["--genesis", "other.bin"], {}, "the service is of"),
}


@pytest.mark.parametrize(("more", "who", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_not_ready(
    fake: FakeService,
    keys: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    who: dict[str, str],
    says: str,
) -> None:
    monkeypatch.chdir(keys)
    if says == "has 50 coins":
        call("account", "send", "--from", "alice.json", "--to", BOB, "--amount", "949.999999")
    with run_service(epoch_ms=20_000) as elsewhere:
        Path("other.bin").write_bytes(elsewhere.network.raw)
    height = fake.network.chain.tip.height
    result = call(*unattended(keys, *more, **who), code=1)
    assert error_of(result) == "not_ready"
    assert says in result.stderr
    assert "->" in result.stderr
    assert result.stdout == ""
    assert fake.network.chain.tip.height == height


NETWORKS = {
    "with a genesis file at home": (True, "serves the network test-net with the genesis"),
    "without one": (False, "serves another network than when it was looked at"),
}


@pytest.mark.parametrize(("has_file", "says"), NETWORKS.values(), ids=NETWORKS.keys())
def test_it_signs_for_the_network_that_was_looked_at(
    fake: FakeService, keys: Path, monkeypatch: pytest.MonkeyPatch, has_file: bool, says: str
) -> None:
    if has_file:
        (keys / "home").mkdir()
        (keys / "home" / "genesis.bin").write_bytes(fake.network.raw)
    load = KeyFiles.load
    with run_service(epoch_ms=20_000) as elsewhere:

        def change_and_load(files: KeyFiles, path: Path) -> bytes:
            fake.network = elsewhere.network
            return load(files, path)

        monkeypatch.setattr(KeyFiles, "load", change_and_load)
        result = call(*unattended(keys), code=1)
        assert elsewhere.network.blocks == []
    assert error_of(result) == "wrong_network"
    assert says in result.stderr
    assert "/v1/transactions" not in fake.asked


def test_the_genesis_file_at_home_is_part_of_the_command(fake: FakeService, keys: Path) -> None:
    path = keys / "home" / "genesis.bin"
    path.parent.mkdir()
    path.write_bytes(fake.network.raw)
    made = call_json(*unattended(keys))
    command = shlex.split(made["command"])
    assert command[command.index("--genesis") + 1] == str(path)
    assert made["transaction"]["fee"] == str(FEE)


def test_a_node_that_is_registered(fake: FakeService, keys: Path) -> None:
    call(*unattended(keys))
    result = call(*unattended(keys), code=1)
    assert error_of(result) == "not_ready"
    assert "is registered already: awaiting" in result.stderr
    call("node", "unlock", NODE, "--from", keys / "alice.json")
    fake.network.end_epoch()
    assert fake.network.state.get(NODES, KEY) is None
    made = call_json(*unattended(keys))
    assert made["transaction"]["body"]["registration"]["life"] == 2
    assert "this will be its life 2" in json.dumps(made["checks"])


def record(fake: FakeService, table: Any, key: bytes, value: Any) -> None:
    """Have the service say that there is this record."""
    path = f"/v1/proofs/{table.name}/{key.hex()}"
    fake.answers[path] = 200, json.dumps({"record": encode(value).hex()}).encode()


def test_keys_that_cannot_be_used(fake: FakeService, keys: Path) -> None:
    from ledger.messages.state import DUTY_ROLE, NODE_ROLE, Binding, KeyHistory

    duty = derive(seed_of("node"), "duty").public
    record(fake, BINDINGS, duty, Binding(DUTY_ROLE, bytes(32)))
    assert "the duty key is bound to another" in call(*unattended(keys), code=1).stderr
    record(fake, BINDINGS, duty, Binding(DUTY_ROLE, KEY))
    record(fake, BINDINGS, KEY, Binding(NODE_ROLE, KEY))
    record(fake, HISTORIES, KEY, KeyHistory(3, 5, 1))
    assert "was slashed for equivocating" in call(*unattended(keys), code=1).stderr
    assert fake.network.blocks == []


def test_a_state_that_is_not_kept_stops_nobody(fake: FakeService, keys: Path) -> None:
    for table, key in ((HISTORIES, KEY), (BINDINGS, KEY)):
        path = f"/v1/proofs/{table.name}/{key.hex()}"
        fake.answers[path] = problem(503, "state_not_kept", "ask in 5 s", {})
    made = call_json(*unattended(keys))
    texts = [row["text"] for row in made["checks"] if row["level"] == "warn"]
    assert "whether it was used is not known: ask in 5 s" in texts
    assert made["state"] == "committed"


def test_one_key_file_for_both_is_warned_of(fake: FakeService, keys: Path) -> None:
    made = call_json(*unattended(keys, node="alice"))
    assert "key files" in [row["check"] for row in made["checks"] if row["level"] == "warn"]


def test_a_transaction_that_waits_goes_first(fake: FakeService, keys: Path) -> None:
    alice = ("account", "send", "--from", keys / "alice.json", "--to", BOB, "--amount", "1")
    fake.answers["/v1/transactions"] = problem(422, "nonce_used", "used", {"expected": 1})
    result = call(*unattended(keys), code=1)
    assert error_of(result) == "service_error"
    assert fake.asked.count("/v1/transactions") == 3
    del fake.answers["/v1/transactions"]
    call(*alice)
    assert call_json(*unattended(keys))["transaction"]["nonce"] == 1


def test_a_wrong_command_line(fake: FakeService, keys: Path) -> None:
    for option in ("--operator", "--node", "--stake", "--ipv4"):
        line = unattended(keys)
        at = line.index(option)
        del line[at : at + 2]
        assert option in call(*line, code=2).stderr
    call(*unattended(keys, "--insecure", "--passphrase-file", "x"), code=2)
    assert fake.asked == []
    assert not (keys / "home").exists()


def test_nobody_there_to_ask(fake: FakeService, keys: Path) -> None:
    done = run_without_terminal(*words(keys, "--url", fake.url))
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: no_terminal: " in done.stderr
    assert fake.asked == []


FEES = {"0": 0, "1250": 1_250, "12.5 %": 1_250, "100%": 10_000, "0.05%": 5}


@pytest.mark.parametrize(("text", "parts"), FEES.items())
def test_a_fee_as_people_write_it(text: str, parts: int) -> None:
    assert parse_fee(text) == parts


@pytest.mark.parametrize("text", ["", "%", ".%", "-1", "10001", "101%", "1.005%", "12,5%", "1.5"])
def test_a_fee_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no fee"):
        parse_fee(text)


# --- with a person ------------------------------------------------------------------------------


def test_from_the_first_question_to_the_block(fake: FakeService, keys: Path) -> None:
    with begin(fake.url, keys) as person:
        answer(person, fee="12.5 %", stake="30", reserve=f"{BOB}=20")
        person.wait_for("What follows")
        person.wait_for("waypost node register")
        person.answer("Sign it?", "yes")
        found = person.wait_for(r"hash +([0-9a-f]{64})")
        assert fake.network.blocks == []
        person.answer("Send it?", "yes")
        assert person.end() == 0
        assert f"registered {NODE} with 30 coins: in block 1" in person.seen
    record = fake.network.state.one(NODES, KEY)
    assert record.fee == 1_250
    assert [place.amount for place in record.reserved] == [20 * COIN]
    # what was sent is what was shown
    assert call_json("tx", "show", found[1])["height"] == 1


def test_one_can_go_back_everywhere(fake: FakeService, keys: Path) -> None:
    with begin(fake.url, keys, "--stake", "25") as person:
        person.answer(QUESTIONS["url"], "back")
        person.answer(QUESTIONS["url"], "")
        person.answer(QUESTIONS["operator"], "")
        person.answer(QUESTIONS["node"], "b")
        person.answer(QUESTIONS["operator"], str(keys / "bob.json"))
        for name in list(QUESTIONS)[2:]:
            person.answer(QUESTIONS[name], "")
        person.answer("Sign it?", "back")
        person.answer(QUESTIONS["reserve"], f"{ALICE}=20")
        place = list(QUESTIONS).index("stake") + 1
        person.answer("Sign it?", str(place))
        # the reserved place does not fit beside it: that is asked again
        person.answer(QUESTIONS["stake"], "90")
        person.wait_for("for more than is open")
        person.answer(QUESTIONS["reserve"], f"{ALICE}=10")
        person.answer("Sign it?", "what")
        person.answer("Sign it?", "yes")
        person.answer("Send it?", "back")
        person.answer("Sign it?", "yes")
        assert fake.network.blocks == []
        person.answer("Send it?", "yes")
        assert person.end() == 0
    record = fake.network.state.one(NODES, KEY)
    assert record.operator == account_of("bob")
    assert [row.amount for row in record.contributions] == [90 * COIN]


@pytest.mark.parametrize(("key", "code"), [(b"\x03", 130), (b"\x04", 1)], ids=["Ctrl-C", "Ctrl-D"])
def test_a_key_ends_it_too(fake: FakeService, keys: Path, key: bytes, code: int) -> None:
    with begin(fake.url, keys) as person:
        person.wait_for(QUESTIONS["url"])
        assert person.insist(key) == code
        assert "Nothing was sent." in person.seen
    assert fake.network.blocks == []
