"""Proofs as a program gets them: a real chain behind the web side, checked against its header."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from ledger.errors import Refusal
from ledger.messages.tables import ACCOUNTS, NODES, PARAMS, TABLES
from ledger.views import PINNED_HEIGHTS
from registry.addresses import encode_account, encode_node
from registry.client.proofs import read_record
from tests.factory import public
from tests.registry.api.shown import Shown

ALICE: Final = encode_account(public("alice"))
NOBODY: Final = encode_account(public("nobody at all"))
MSGPACK: Final = "application/msgpack"


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    made = Shown(tmp_path)
    with made.client:
        yield made


def test_a_record_is_proven_to_who_has_the_header(shown: Shown) -> None:
    shown.network.block(shown.network.transfer("alice", "bob"))
    header = shown.end_epoch()
    shown.network.block(shown.network.transfer("alice", "bob"), ms=1)
    answer = shown.ask(f"accounts/{ALICE}")
    fields = answer.json()
    account = read_record(header, ACCOUNTS, public("alice"), bytes.fromhex(fields["proof"]))
    assert account is not None
    assert account.nonce == 1
    assert fields == {
        "epoch": header.epoch,
        "height": header.height,
        "table": "accounts",
        "key": "61" + public("alice").hex(),
        "record": fields["record"],
        "proof": fields["proof"],
    }
    assert ACCOUNTS.codec.decode(bytes.fromhex(fields["record"])) == account
    assert answer.headers["waypost-height"] == str(header.height)
    packed = shown.ask(f"accounts/{ALICE}", accept=MSGPACK)
    assert packed.headers["content-type"] == MSGPACK
    assert msgspec.msgpack.decode(packed.content) == fields


def test_that_there_is_no_record_is_proven(shown: Shown) -> None:
    header = shown.end_epoch()
    fields = shown.ask(f"accounts/{NOBODY}").json()
    assert fields["record"] is None
    data = bytes.fromhex(fields["proof"])
    assert read_record(header, ACCOUNTS, public("nobody at all"), data) is None
    with pytest.raises(Refusal, match="bad_proof"):
        read_record(header, ACCOUNTS, public("alice"), data)


def test_every_table_has_its_path(shown: Shown) -> None:
    header = shown.end_epoch()
    for table in TABLES:
        for size in table.sizes:
            key = bytes(size)
            path = f"{table.name}/{key.hex()}" if size else table.name
            found = read_record(header, table, key, shown.file(path))
            assert found == shown.state(header).get(table, key)
    params = read_record(header, PARAMS, b"", shown.file("params"))
    assert params is not None
    assert params.values == tuple(shown.network.params)


def test_a_node_is_found_by_its_address_and_by_hex(shown: Shown) -> None:
    header = shown.end_epoch()
    for key in (encode_node(public("node")), public("node").hex(), public("node").hex().upper()):
        assert read_record(header, NODES, public("node"), shown.file(f"nodes/{key}"))


def test_a_long_epoch_proves_to_its_end(shown: Shown) -> None:
    header = shown.end_epoch()
    for _ in range(PINNED_HEIGHTS + 5):
        shown.network.block(ms=1)
    shown.show(header.epoch)
    assert read_record(header, ACCOUNTS, public("alice"), shown.file(f"accounts/{ALICE}"))


def test_both_headers_that_clients_may_hold_can_be_proven_from(shown: Shown) -> None:
    old = shown.end_epoch()
    # alice pays, the next epoch ends, and its header is not final yet
    shown.network.block(shown.network.transfer("alice", "bob"))
    new = shown.network.end_epoch()
    shown.show(latest=old.epoch)
    for header, epoch, nonce in ((old, "", 0), (old, "?epoch=1", 0), (new, "?epoch=2", 1)):
        data = shown.file(f"accounts/{ALICE}{epoch}")
        account = read_record(header, ACCOUNTS, public("alice"), data)
        assert account == shown.state(header).account(public("alice"))
        assert account.nonce == nonce


def test_after_a_start_within_an_epoch_it_says_when_to_ask_again(shown: Shown) -> None:
    header = shown.end_epoch()
    shown.network.reopen()
    answer = shown.client.get(f"/v1/proofs/accounts/{ALICE}")
    left_ms = header.valid_after_ms + shown.network.params.epoch_ms
    seconds = -(-(left_ms - shown.network.chain.tip.time_ms) // 1_000)
    assert (answer.status_code, answer.json()["type"]) == (404, "state_not_kept")
    assert answer.json()["values"] == {"epoch": header.epoch, "seconds": seconds}
    assert answer.headers["retry-after"] == str(seconds)
    header = shown.end_epoch()
    assert read_record(header, ACCOUNTS, public("alice"), shown.file(f"accounts/{ALICE}"))
