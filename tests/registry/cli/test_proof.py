"""`waypost proof`: what is shown was proven by a header that was verified from genesis on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.codec import encode
from ledger.messages.lists import encode_signed_header
from ledger.types import COIN
from registry.addresses import encode_account, encode_node
from registry.formats.full import encode_full
from tests.factory import founding, public
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import (
    RICH,
    FakeService,
    account_of,
    problem,
    run_service,
    save_keys,
)
from tests.registry.client.server import run_source

ALICE: Final = encode_account(account_of("alice"))
NOBODY: Final = encode_account(public("nobody at all"))
NOBODY_NODE: Final = encode_node(public("nobody at all"))
NODE: Final = encode_node(public("node"))
EXPIRED: Final = "--allow-expired"
"""The network's time is long ago."""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """A service whose newest header is final, and a home with its genesis file."""
    nodes = founding("node", operator=account_of("alice"))
    with run_service({"nodes": nodes}) as running:
        running.network.end_epoch()
        running.network.settle()
        (tmp_path / "genesis.bin").write_bytes(running.network.raw)
        monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))
        monkeypatch.setenv("WAYPOST_URL", running.url)
        yield running


def path_of(key: str, table: str) -> str:
    """Where a record's proof is asked for."""
    return f"/v1/proofs/{table}/{key}"


def facts(text: str) -> dict[str, str]:
    """The lines of a card by their names; of several with one name the last."""
    rows = [line.split("  ", 1) for line in text.splitlines()]
    return {name.strip(): value.strip() for name, value in rows}


def test_an_account(service: FakeService) -> None:
    shown = facts(call("proof", ALICE, EXPIRED).stdout)
    header = service.network.header
    assert shown["account"] == ALICE
    assert shown["balance"] == "1000 coins"
    assert shown["nonce"] == "0"
    assert shown["as of"].endswith(f"UTC, block {header.height}")
    assert shown["proven"] == (
        f"by the header of epoch {header.epoch}, signed by 3 of 3 attestors, 100 % of the weight"
    )
    assert shown["source"] == service.url


def test_an_account_as_json(service: FakeService) -> None:
    answer = call_json("proof", ALICE, EXPIRED)
    header = service.network.header
    assert answer == {
        "table": "accounts",
        "key": account_of("alice").hex(),
        "record": {"balance": str(RICH), "nonce": 0},
        "epoch": header.epoch,
        "height": header.height,
        "time_ms": header.valid_after_ms,
        "header_hash": header.hash.hex(),
        "state_root": header.state_root.hex(),
        "status": "expired",
        "signers": {"signed": 3, "seats": 3, "weight": 3, "total": 3},
        "single_signer": False,
        "source": service.url,
    }


def test_an_account_that_never_was(service: FakeService) -> None:
    assert facts(call("proof", NOBODY, EXPIRED).stdout)["balance"] == "0 coins: it was never used"
    assert call_json("proof", NOBODY, EXPIRED)["record"] is None


def test_a_node(service: FakeService) -> None:
    text = call("proof", NODE, EXPIRED).stdout
    shown = facts(text)
    assert shown["node"] == NODE
    assert shown["state"].startswith("active since 2023-")
    assert shown["operator"] == ALICE
    assert shown["staked"] == "100 coins of 100 coins"
    assert shown["contributor"] == f"100 coins of {ALICE}"
    record = call_json("proof", NODE, EXPIRED)["record"]
    assert record["requirement"] == str(100 * COIN)
    assert record["contributions"][0]["account"] == account_of("alice").hex()


def test_a_node_that_is_not_there(service: FakeService) -> None:
    assert facts(call("proof", NOBODY_NODE, EXPIRED).stdout)["state"] == "not registered"


def test_other_tables(service: FakeService) -> None:
    shown = facts(call("proof", NODE, "--table", "contacts", EXPIRED).stdout)
    assert (shown["IPv4"], shown["IPv6"]) == ("5.6.7.8", "none")
    assert shown["storage"] == "port 22021, 2.11.0"
    shown = facts(call("proof", NOBODY_NODE, "--table", "contacts", EXPIRED).stdout)
    assert shown["record"] == "there is none"
    shown = facts(call("proof", "--table", "pool", EXPIRED).stdout)
    assert int(shown["supply"]) > 3 * RICH
    shown = facts(call("proof", "--table", "params", EXPIRED).stdout)
    assert shown["epoch_ms"] == "10000 ms"
    shown = facts(call("proof", "--table", "sets", EXPIRED).stdout)
    assert shown["ordered"] == "none"
    assert len(shown["current"].split(", ")) == 3
    shown = facts(call("proof", "--table", "attestations", "09", EXPIRED).stdout)
    assert (shown["table"], shown["record"]) == ("attestations", "there is none")
    assert call_json("proof", "--table", "params", EXPIRED)["record"]["values"][1] == "10000"


def test_it_is_the_end_of_the_epoch_that_is_shown(service: FakeService, tmp_path: Path) -> None:
    alice = save_keys(tmp_path, "alice")
    before = call_json("proof", ALICE, EXPIRED)
    call("account", "send", "--from", alice, "--to", NOBODY, "--amount", "7")
    assert call_json("proof", ALICE, EXPIRED) == before
    service.network.end_epoch()
    service.network.settle()
    after = call_json("proof", ALICE, EXPIRED)
    assert after["epoch"] == before["epoch"] + 1
    assert after["record"]["nonce"] == 1
    assert call_json("proof", NOBODY, EXPIRED)["record"]["balance"] == str(7 * COIN)


WRONG: Final = {
    "nothing": ((), "or say --table"),
    "hex alone": ((public("node").hex(),), "or say --table"),
    "a table that there is not": (("--table", "coins"), "no table 'coins', but: accounts, "),
    "a table without the key": (("--table", "nodes"), "node 32"),
    "a key for a table without": (("--table", "pool", "00"), "none"),
    "an account among nodes": ((ALICE, "--table", "nodes"), "one of theirs"),
    "a mistyped address": ((f"{NODE[:-1]}q",), "checksum"),
}


@pytest.mark.parametrize(("words", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_question_ends_with_2(
    service: FakeService, words: tuple[str, ...], says: str
) -> None:
    result = call("proof", *words, code=2)
    assert says in " ".join(result.stderr.split())
    assert service.asked == []


# ---- what is not proven is not shown ----


def answer_with(service: FakeService, **changes: Any) -> None:
    """Have the service answer for alice's account with something else."""
    key = account_of("alice")
    end = service.network.chain.end_of(service.network.header.epoch)
    assert end is not None
    fields = {"record": "00", "proof": encode(end.make_proof(b"a" + key)).hex()} | changes
    service.answers[path_of(key.hex(), "accounts")] = (200, json.dumps(fields).encode())


def proof_of(service: FakeService, key: bytes, epoch: int) -> str:
    end = service.network.chain.end_of(epoch)
    assert end is not None
    return encode(end.make_proof(key)).hex()


def test_only_what_is_proven_is_shown(service: FakeService) -> None:
    answer_with(service)
    assert call_json("proof", ALICE, EXPIRED)["record"]["balance"] == str(RICH)


def test_forged_proofs_are_refused(service: FakeService) -> None:
    epoch = service.network.header.epoch
    for proof, code in (
        (proof_of(service, b"a" + account_of("bob"), epoch), "bad_proof"),
        (proof_of(service, b"a" + account_of("alice"), epoch - 1), "bad_proof"),
        ("00", "not_canonical"),
        ("", "bad_answer"),
        ("xy", "bad_answer"),
    ):
        answer_with(service, proof=proof)
        result = call("proof", ALICE, EXPIRED, code=1)
        assert error_of(result) == code
        assert result.stdout == ""
        assert f"  {service.url}: " in result.stderr


def test_a_state_that_is_not_kept_is_said_so(service: FakeService) -> None:
    path = path_of(account_of("alice").hex(), "accounts")
    service.answers[path] = problem(404, "state_not_kept", "ask again", {"seconds": 9})
    assert error_of(call("proof", ALICE, EXPIRED, code=1)) == "state_not_kept"


def test_another_source_may_have_the_proof(service: FakeService) -> None:
    network = service.network
    with run_source() as source:
        source.answers["/v1/lists/latest"] = encode_signed_header(network.chain.newest_header())
        source.answers["/v1/lists/1/full"] = encode_full(network.chain.newest_list().columns)
        result = call("proof", ALICE, EXPIRED, "--url", service.url, "--url", source.url)
        asked = [path for path in source.asked if "proofs" in path]
    assert f"warning: {source.url}: " in result.stderr
    assert facts(result.stdout)["source"] == service.url
    assert asked == [f"{path_of(account_of('alice').hex(), 'accounts')}?epoch=1"]


def test_another_network_proves_nothing(service: FakeService) -> None:
    with run_service() as other:
        other.network.end_epoch()
        other.network.settle()
        result = call("proof", ALICE, EXPIRED, "--url", other.url, code=1)
    assert error_of(result) == "bad_signature"


def test_a_header_that_is_not_final_proves_nothing(service: FakeService) -> None:
    service.network.end_epoch()
    assert error_of(call("proof", ALICE, EXPIRED, code=1)) == "not_final"
    assert not [path for path in service.asked if "proofs" in path]


def test_an_expired_header_proves_nothing_unless_it_is_asked_for(service: FakeService) -> None:
    assert error_of(call("proof", ALICE, code=1)) == "list_expired"
