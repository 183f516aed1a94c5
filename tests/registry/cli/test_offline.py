"""Signing where no network is: built at a service, signed without a socket, sent by a third."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ledger.messages.tables import HISTORIES, NEW_KEYS, NODES, PENDING
from ledger.types import COIN
from registry import signer
from registry.addresses import encode_account, encode_node
from registry.keystore import derive
from tests.factory import START_MS
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import (
    RICH,
    FakeService,
    account_of,
    run_service,
    save_keys,
    seed_of,
)
from tests.registry.cli.person import at_terminal, run_without_terminal
from tests.registry.factory import LINKS

FEE = 1_000
KEY = derive(seed_of("node"), "node").public
NODE = encode_node(KEY)
ALICE, BOB = (encode_account(account_of(name)) for name in ("alice", "bob"))
DUTY = derive(seed_of("node"), "duty").public.hex()
REGISTER = (
    *("register", "--operator", ALICE, "--node", NODE, "--duty-key", DUTY),
    *("--ipv4", "5.6.7.8", "--stake", "100"),
)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    with run_service() as running:
        monkeypatch.setenv("WAYPOST_URL", running.url)
        yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with key files, in which the commands are run."""
    monkeypatch.chdir(tmp_path)
    for name in ("alice", "bob", "node", "other"):
        save_keys(tmp_path, name)
    return tmp_path


@pytest.fixture(autouse=True)
def short_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signer, "CHAIN_LINKS", LINKS)


def build(*words: object, out: str = "draft") -> Any:
    """Build a transaction at the service."""
    return call_json("tx", "build", *words, "--out", out)


def sign(*names: str, file: str = "draft", more: tuple[str, ...] = ()) -> Any:
    """Sign it on a machine on which every attempt at a connection fails."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("signing asked the network")

    with pytest.MonkeyPatch.context() as offline:
        offline.setattr(socket, "socket", refuse)
        offline.setattr(socket, "create_connection", refuse)
        offline.setattr(socket, "getaddrinfo", refuse)
        keys = [word for name in names for word in ("--from", f"{name}.json")]
        return call_json("tx", "sign", file, *keys, "--yes", *more)


def send(file: str = "draft") -> Any:
    return call_json("tx", "send", file)


def balance(fake: FakeService, name: str) -> int:
    return fake.network.state.account(account_of(name)).balance


def test_coins_are_sent_by_three_machines(fake: FakeService, folder: Path) -> None:
    built = build("transfer", "--from", ALICE, "--to", BOB, "--amount", "5")
    assert built["genesis_hash"] == fake.network.hash.hex()
    assert (built["network"], built["kind"], built["hash"]) == ("test-net", "transfer", None)
    assert built["body"] == {"recipient": BOB, "amount": str(5 * COIN)}
    assert built["takes"] == str(5 * COIN + FEE)
    assert built["missing"] == [{"role": "account", "key": account_of("alice").hex()}]
    signed = sign("alice")
    assert (signed["signed"], signed["missing"]) == (["account"], [])
    sent = send()
    assert (sent["hash"], sent["state"], sent["height"]) == (signed["hash"], "committed", 1)
    assert balance(fake, "bob") == RICH + 5 * COIN
    assert balance(fake, "alice") == RICH - 5 * COIN - FEE
    # to send it again is safe
    assert send()["height"] == 1
    assert balance(fake, "bob") == RICH + 5 * COIN


def test_no_key_comes_near_the_machine_that_builds(fake: FakeService, tmp_path: Path) -> None:
    out = tmp_path / "draft"
    call("tx", "build", *REGISTER, "--out", out)
    call("tx", "build", "transfer", "--from", BOB, "--to", ALICE, "--amount", "1", "--out", "-x")
    Path("-x").unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["draft"]
    assert fake.network.blocks == []


def test_a_life_from_the_first_to_the_last_file(fake: FakeService, folder: Path) -> None:
    build(*REGISTER[:-1], "50", "--fee", "1250", "--reserve", f"{BOB}=20")
    assert [slot.get("role") for slot in sign("node")["missing"]] == ["account"]
    sign("alice")
    send()
    node = fake.network.state.one(NODES, KEY)
    assert (node.operator, node.fee, node.list_key) == (account_of("alice"), 1_250, b"")
    for kind, amount in (("contribute", ("--amount", "20")), ("withdraw", ())):
        build(kind, "--from", BOB, "--node", NODE, *amount, out=kind)
        sign("bob", file=kind)
        send(kind)
        staked = sum(row.amount for row in fake.network.state.one(NODES, KEY).contributions)
        assert staked == (70 if kind == "contribute" else 50) * COIN
    build("contact", "--node", NODE, "--ipv4", "5.6.7.9", out="contact")
    assert sign("node", file="contact")["signed"] == ["node"]
    send("contact")
    pending = fake.network.state.one(PENDING, KEY).contact
    assert (pending.ipv4, pending.storage_port) == (bytes([5, 6, 7, 9]), 22021)
    build("unlock", "--from", ALICE, "--node", NODE, out="unlock")
    sign("alice", file="unlock")
    send("unlock")
    fake.network.end_epoch()
    assert fake.network.state.get(NODES, KEY) is None
    build(*REGISTER, out="again")
    sign("node", "alice", file="again")
    send("again")
    assert fake.network.state.one(HISTORIES, KEY).life == 2


def test_rewards_are_claimed(fake: FakeService, folder: Path) -> None:
    build(*REGISTER)
    sign("alice", "node")
    send()
    for _ in range(4):
        fake.network.end_epoch()
    before = balance(fake, "alice")
    build("claim", "--from", ALICE, "--node", NODE, out="claim")
    sign("alice", file="claim")
    send("claim")
    assert balance(fake, "alice") > before


def test_an_attestor_registers_and_changes_its_keys(fake: FakeService, folder: Path) -> None:
    seat = call("keys", "seat", "node.json").stdout.strip()
    build(*REGISTER, "--seat", seat)
    sign("node", "alice")
    send()
    record = fake.network.state.one(NODES, KEY)
    assert record.list_key == derive(seed_of("node"), "list").public
    assert record.consensus_key == derive(seed_of("node"), "consensus").public
    other = derive(seed_of("other"), "duty").public
    build("set-keys", "--node", NODE, "--duty-key", other.hex(), out="keys")
    assert sign("node", file="keys")["missing"] == [{"role": "duty", "key": other.hex()}]
    sign("other", file="keys")
    send("keys")
    change = fake.network.state.one(NEW_KEYS, KEY)
    assert (change.duty_key, change.list_key, change.list_tip) == (other, record.list_key, b"")
    fake.network.end_epoch()
    build("set-keys", "--node", NODE, "--no-seat", out="less")
    sign("node", "other", file="less")
    send("less")
    assert fake.network.state.one(NEW_KEYS, KEY).list_key == b""


def test_several_wait_to_be_signed(fake: FakeService, folder: Path) -> None:
    for nonce in (0, 1):
        words = ("transfer", "--from", ALICE, "--to", BOB, "--amount", "1", "--nonce", nonce)
        build(*words, out=f"draft {nonce}")
        sign("alice", file=f"draft {nonce}")
    send("draft 0")
    send("draft 1")
    assert balance(fake, "bob") == RICH + 2 * COIN


# --- what is refused ----------------------------------------------------------------------------


def change(field: str, value: object) -> None:
    """Change a field of the file, and write it as it would be."""
    fields = json.loads(Path("draft").read_text())
    where = fields
    *path, last = field.split(".")
    for name in path:
        where = where[name]
    assert last in where
    where[last] = value
    Path("draft").write_text(json.dumps(fields, indent=1) + "\n")


TAMPERED = {
    "another amount beside the bytes": ("says.body.amount", "1"),
    "another recipient beside the bytes": ("says.body.recipient", ALICE),
    "less that it takes": ("says.takes", "1"),
    "nobody who has to sign": ("missing", []),
    "another form": ("waypost transaction", 2),
    "bytes that are none": ("transaction", "92"),
    "no hash": ("genesis_hash", "5f"),
    "a name that nobody may have": ("network", "test-net\nsigned"),
}


@pytest.mark.parametrize(("field", "value"), TAMPERED.values(), ids=TAMPERED.keys())
def test_a_file_that_was_changed(
    fake: FakeService, folder: Path, field: str, value: object
) -> None:
    build("transfer", "--from", ALICE, "--to", BOB, "--amount", "5")
    change(field, value)
    raw = Path("draft").read_bytes()
    for words in (("inspect", "draft"), ("sign", "draft", "--from", "alice.json", "--yes")):
        assert error_of(call("tx", *words, code=1)) == "bad_draft"
    assert Path("draft").read_bytes() == raw


def test_a_signature_holds_for_its_bytes_and_its_network_only(
    fake: FakeService, folder: Path
) -> None:
    build("transfer", "--from", ALICE, "--to", BOB, "--amount", "5")
    sign("alice")
    raw = Path("draft").read_text()
    change("genesis_hash", "5f" * 32)
    assert "does not fit" in call("tx", "inspect", "draft", code=1).stderr
    fields = json.loads(raw)
    fields["transaction"] = fields["transaction"][:-2] + "00"
    Path("draft").write_text(json.dumps(fields, indent=1) + "\n")
    assert "does not fit" in call("tx", "send", "draft", code=1).stderr
    assert fake.network.blocks == []


def test_the_network_is_compared(fake: FakeService, folder: Path) -> None:
    build("transfer", "--from", ALICE, "--to", BOB, "--amount", "5")
    Path("genesis.bin").write_bytes(fake.network.raw)
    assert call_json("tx", "inspect", "draft")["network_compared"] is False
    assert "a name only" in call("tx", "inspect", "draft").stdout
    assert sign("alice", more=("--genesis", "genesis.bin"))["network_compared"] is True
    with run_service(epoch_ms=20_000) as elsewhere:
        Path("other.bin").write_bytes(elsewhere.network.raw)
        words = ("tx", "send", "draft", "--url", elsewhere.url)
        assert error_of(call(*words, code=1)) == "wrong_network"
        assert elsewhere.network.blocks == []
    again = ("tx", "sign", "draft", "--from", "alice.json", "--yes", "--genesis", "other.bin")
    assert error_of(call(*again, code=1)) == "wrong_network"


def test_who_signs_too_early_or_for_others(fake: FakeService, folder: Path) -> None:
    build(*REGISTER)
    raw = Path("draft").read_bytes()
    sign_as = ("tx", "sign", "draft", "--yes", "--from")
    assert error_of(call(*sign_as, "alice.json", code=1)) == "not_signed"
    assert error_of(call(*sign_as, "bob.json", code=1)) == "nothing_to_sign"
    assert Path("draft").read_bytes() == raw
    result = call("tx", "send", "draft", code=1)
    assert error_of(result) == "not_signed"
    assert f"the node key {NODE}" in result.stderr
    assert f"the account key {ALICE}" in result.stderr
    sign("node", "alice")
    result = call(*sign_as, "alice.json", code=1)
    assert "every signature is there" in result.stderr


def test_the_standard_input_cannot_be_signed(fake: FakeService, folder: Path) -> None:
    build("transfer", "--from", ALICE, "--to", BOB, "--amount", "5")
    raw = Path("draft").read_bytes()
    result = call("tx", "sign", "-", "--from", "none.json", "--yes", code=2, given=raw)
    # it says so before it looks for keys
    assert "the signatures are added to it" in " ".join(result.stderr.replace("│", " ").split())
    assert not Path("-").exists()
    assert call_json("tx", "inspect", "-", given=raw)["kind"] == "transfer"


def test_what_is_built_is_never_written_over(fake: FakeService, folder: Path) -> None:
    build("transfer", "--from", ALICE, "--to", BOB, "--amount", "5")
    raw = Path("draft").read_bytes()
    words = ("transfer", "--from", ALICE, "--to", BOB, "--amount", "6", "--out", "draft")
    assert error_of(call("tx", "build", *words, code=1)) == "io"
    assert Path("draft").read_bytes() == raw
    call("tx", "build", "set-keys", "--node", NODE, "--out", "x", code=2)
    call("tx", "build", "contact", "--node", NODE, "--out", "x", code=2)
    call("tx", "build", *REGISTER[:7], "--stake", "5", "--out", "x", code=2)
    assert not Path("x").exists()


def test_a_person_reads_what_is_signed(fake: FakeService, folder: Path) -> None:
    build(*REGISTER[:-1], "60", "--fee", "1250", "--reserve", f"{BOB}=20")
    file, keys = folder / "draft", folder / "node.json"
    raw = file.read_bytes()
    with at_terminal("tx", "sign", file, "--from", keys) as person:
        person.answer("Sign this? Type yes: ", "no")
        assert person.end() == 1
        assert "not_confirmed" in person.seen
        shown = " ".join(person.seen.split())
    for part in (
        f"genesis {fake.network.hash.hex()}",
        f"paid by {ALICE}, transaction 0",
        "takes 60.000001 coins",
        "fee 12.5 % of the rewards",
        f"reserved account {BOB}",
        "reserved amount 20 coins",
        "contact ipv4 5.6.7.8",
        "stake 60 coins",
        f"not signed node key {KEY.hex()}",
    ):
        assert part in shown, part
    assert file.read_bytes() == raw
    with at_terminal("tx", "sign", file, "--from", keys) as person:
        person.answer("Sign this? Type yes: ", "yes")
        assert person.end() == 0
    assert call_json("tx", "inspect", "draft")["missing"] == [
        {"role": "account", "key": account_of("alice").hex()}
    ]


def test_nobody_there_to_ask(fake: FakeService, folder: Path) -> None:
    build("transfer", "--from", ALICE, "--to", BOB, "--amount", "5")
    words = ("tx", "sign", folder / "draft", "--from", folder / "alice.json")
    done = run_without_terminal(*words)
    assert (done.returncode, "not_confirmed" in done.stderr) == (1, True)
    assert run_without_terminal(*words, "--yes").returncode == 0
    assert send()["state"] == "committed"


def test_times_are_those_of_the_network(fake: FakeService, folder: Path) -> None:
    built = build(*REGISTER)
    params = fake.network.state.params()
    assert built["body"]["registration"]["expiry_ms"] == START_MS + params.registration_ms
    assert built["expiry"] == params.max_lifetime_blocks
