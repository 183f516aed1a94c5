"""`waypost account` and `waypost tx`: coins, and what becomes of transactions."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.types import COIN
from registry.addresses import encode_account
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import (
    RICH,
    FakeService,
    account_of,
    run_service,
    save_keys,
)

FEE = 1_000
ALICE, BOB, DAVE = (encode_account(account_of(name)) for name in ("alice", "bob", "dave"))
HASH = "5f" * 32


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    with run_service() as running:
        monkeypatch.setenv("WAYPOST_URL", running.url)
        yield running


@pytest.fixture
def alice(tmp_path: Path) -> Path:
    return save_keys(tmp_path, "alice")


def send(alice: Path, amount: str, *more: object, to: str = DAVE) -> list[object]:
    return ["account", "send", "--from", alice, "--to", to, "--amount", amount, *more]


def balance(fake: FakeService, name: str) -> int:
    return fake.network.state.account(account_of(name)).balance


def test_coins_are_sent_and_shown(fake: FakeService, alice: Path) -> None:
    assert f"sent 2.5 coins to {DAVE}: in block 1" in call(*send(alice, "2.5")).stdout
    made = call_json(*send(alice, "7u"))
    assert (made["amount"], made["to"], made["state"]) == ("7", DAVE, "committed")
    assert balance(fake, "dave") == 5 * COIN // 2 + 7
    assert balance(fake, "alice") == RICH - 5 * COIN // 2 - 7 - 2 * FEE
    shown = call_json("account", "show", ALICE)
    assert (shown["balance"], shown["nonce"]) == (str(balance(fake, "alice")), 2)
    assert "2.500000007 coins" in call("account", "show", DAVE).stdout


def test_an_account_that_never_existed_is_empty(fake: FakeService) -> None:
    text = call("account", "show", "11" * 32).stdout
    assert "0 coins" in text
    assert "stakes     none" in text
    assert "claimable  0 coins of rewards" in text


def test_stakes_are_shown(fake: FakeService, alice: Path, tmp_path: Path) -> None:
    node = save_keys(tmp_path, "node")
    call(
        *("node", "register", "--operator", alice, "--node", node),
        *("--ipv4", "5.6.7.8", "--stake", "30"),
    )
    assert "30 coins in wpn1" in call("account", "show", ALICE).stdout


def test_the_same_twice_is_sent_twice(fake: FakeService, alice: Path) -> None:
    """The second is no copy of the first, although no block came in between."""
    fake.is_holding = True
    first, second, third = (call_json(*send(alice, "1", "--no-wait")) for _ in range(3))
    assert {row["state"] for row in (first, second, third)} == {"pending"}
    assert len({row["hash"] for row in (first, second, third)}) == 3
    assert "waits for a block" in call(*send(alice, "2", "--no-wait")).stdout
    fake.release()
    assert balance(fake, "dave") == 5 * COIN


def test_who_waits_in_vain_is_told(fake: FakeService, alice: Path) -> None:
    fake.is_holding = True
    result = call(*send(alice, "1"), code=1)
    assert error_of(result) == "still_pending"
    assert "waypost tx show" in result.stderr


def say(fake: FakeService, network_fee: int, rules_fee: int) -> None:
    """Have the service name these fees."""
    network = json.loads(fake.answer("GET", "/v1/network", b"")[1])
    network["minimum_fee"] = str(network_fee)
    rules = json.loads(fake.answer("GET", "/v1/rules", b"")[1])
    for row in rules["parameters"]:
        if row["name"] == "minimum_fee":
            row["value"] = str(rules_fee)
    fake.answers["/v1/network"] = 200, json.dumps(network).encode()
    fake.answers["/v1/rules"] = 200, json.dumps(rules).encode()


def test_the_fee_is_shown(fake: FakeService, alice: Path) -> None:
    assert "fee           0.000001 coins" in call(*send(alice, "1")).stdout
    assert call_json(*send(alice, "1"))["fee"] == str(FEE)
    # the most that it can be on any network
    say(fake, COIN, COIN)
    assert call_json(*send(alice, "1"))["fee"] == str(COIN)
    assert balance(fake, "alice") == RICH - 3 * COIN - 2 * FEE - COIN


FEES = {
    "more than any network asks for": (COIN + 1, COIN + 1, "names rules that no network has"),
    "more than the rules say": (FEE + 1, FEE, "asks for a fee of 0.000001001 coins"),
    "less than the rules say": (FEE, FEE + 1, "asks for a fee of 0.000001 coins"),
}


@pytest.mark.parametrize(("network", "rules", "says"), FEES.values(), ids=FEES.keys())
def test_a_fee_that_a_service_makes_up(
    fake: FakeService, alice: Path, tmp_path: Path, network: int, rules: int, says: str
) -> None:
    say(fake, network, rules)
    draft = ("--from", ALICE, "--to", DAVE, "--amount", "1", "--out", tmp_path / "draft")
    for words in (send(alice, "1"), ("tx", "build", "transfer", *draft)):
        result = call(*words, code=1)
        assert error_of(result) == "bad_answer"
        assert says in result.stderr
    assert (fake.network.blocks, "/v1/transactions" in fake.asked) == ([], False)
    assert not (tmp_path / "draft").exists()


REFUSED = {
    "more than there is": ("1000", DAVE, "balance_too_low"),
    "nothing": ("0", DAVE, "amount_zero"),
    "to nobody": ("1", "00" * 32, "bad_key"),
}


@pytest.mark.parametrize(("amount", "to", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(fake: FakeService, alice: Path, amount: str, to: str, code: str) -> None:
    assert error_of(call(*send(alice, amount, to=to), code=1)) == code
    assert balance(fake, "alice") == RICH


@pytest.mark.parametrize(
    ("state", "code", "shown"),
    [("dropped", "balance_too_low", "balance_too_low"), ("expired", None, "expired")],
)
def test_what_leaves_without_a_block_is_an_error(
    fake: FakeService, alice: Path, state: str, code: str | None, shown: str
) -> None:
    row: dict[str, object] = {"hash": HASH, "state": state, "code": code, "values": {}}
    answer = {"results": [row | {"height": None, "index": None, "detail": None}]}
    fake.answers["/v1/transactions"] = 200, json.dumps(answer).encode()
    assert error_of(call(*send(alice, "1"), code=1)) == shown


# --- tx -----------------------------------------------------------------------------------------


def test_a_transaction_is_shown_before_and_after_its_block(fake: FakeService, alice: Path) -> None:
    fake.is_holding = True
    made = call_json(*send(alice, "1", "--no-wait"))
    assert call_json("tx", "show", made["hash"])["state"] == "pending"
    fake.release()
    shown = call_json("tx", "show", made["hash"].upper())
    assert (shown["state"], shown["height"], shown["kind"]) == ("committed", 1, "transfer")
    text = call("tx", "show", made["hash"]).stdout
    for part in ("committed", "transfer", ALICE, str(COIN), account_of("dave").hex()):
        assert part in text


def test_a_transaction_that_nobody_knows(fake: FakeService) -> None:
    assert error_of(call("tx", "show", HASH, code=1)) == "not_found"
    call("tx", "show", "5f", code=2)


def test_signed_transactions_are_sent_as_bytes_or_hex(
    fake: FakeService, alice: Path, tmp_path: Path
) -> None:
    made = call_json(*send(alice, "1"))
    raw = bytes.fromhex(call_json("tx", "show", made["hash"])["raw"])
    file = tmp_path / "transaction"
    for content in (raw, raw.hex().encode(), raw.hex().upper().encode() + b"\n"):
        file.write_bytes(content)
        for words, given in ((["tx", "send", file], None), (["tx", "send", "-"], content)):
            again = call_json(*words, given=given)
            assert (again["hash"], again["state"]) == (made["hash"], "committed")
    assert balance(fake, "dave") == COIN


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "not_canonical"),
        (b"not hex at all", "unknown_kind"),
        (b"\x92" * 300_000, "no_transaction"),
    ],
    ids=["nothing", "text", "endless"],
)
def test_what_is_no_transaction(fake: FakeService, content: bytes, code: str) -> None:
    assert error_of(call("tx", "send", "-", code=1, given=content)) == code


def test_no_file(fake: FakeService, tmp_path: Path) -> None:
    assert error_of(call("tx", "send", tmp_path / "missing", code=1)) == "io"


@pytest.mark.parametrize(
    "words",
    [["account", "show", ALICE], ["tx", "show", HASH], ["node", "list"], ["node", "status", HASH]],
    ids=lambda words: " ".join(words[:2]),
)
def test_nobody_answers(words: list[str]) -> None:
    result = call(*words, "--url", "http://127.0.0.1:1", code=1)
    assert error_of(result) == "unreachable"
    assert "http://127.0.0.1:1" in result.stderr
