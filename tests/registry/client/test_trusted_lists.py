"""Lists, genesis files and swarms of a client; and how its core is written."""

import inspect
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ledger.codec import encode
from ledger.errors import Misuse
from ledger.messages.entries import join_columns, pack_columns
from ledger.messages.genesis import GENESIS
from ledger.params import PARAMETERS, preset
from ledger.rules.swarms import nearest_swarm, position_of
from registry.client import TrustedLists, checks, trusted
from registry.formats.delta import encode_delta
from registry.formats.full import encode_full
from tests.registry.client import factory
from tests.registry.client.clients import holding, refused, snapshot, start
from tests.registry.client.factory import (
    EPOCH,
    EPOCH_MS,
    NOW_MS,
    make_entries,
    make_genesis,
    make_list,
)

ROOT = Path(__file__).resolve().parents[3]
GOOD = make_list()

# --- lists that are refused -----------------------------------------------------------------------

LISTS: dict[str, tuple[str, bytes]] = {
    "nothing": ("bad_list", b""),
    "the format byte alone": ("bad_list", b"\1"),
    "another format": ("unknown_format", b"\2" + GOOD.full[1:]),
    "cut off": ("bad_list", GOOD.full[:-1]),
    "a byte left over": ("bad_list", GOOD.full + b"\0"),
    "the list of another epoch": ("bad_list", make_list(entries=make_entries(28, 4)).full),
    "no list": ("bad_list", make_list(entries=[]).full),
    "more than its header names": ("too_large", GOOD.full + bytes(2000)),
}


@pytest.mark.parametrize(("code", "full"), LISTS.values(), ids=LISTS.keys())
def test_a_list_is_refused_and_changes_nothing(code: str, full: bytes) -> None:
    client = holding(GOOD)
    before = snapshot(client)
    refused(code, lambda: client.load_full(full))
    assert snapshot(client) == before


@pytest.mark.parametrize("change", [{"node_count": 22}, {"swarm_count": 2}, {"swarm_count": 4}])
def test_a_list_has_as_many_nodes_and_swarms_as_its_header_says(change: dict[str, Any]) -> None:
    made = make_list(**change)
    client = start(made)
    client.update(made.signed)
    refused("bad_list", lambda: client.load_full(made.full))
    assert client.needs_list


def test_columns_that_were_signed_but_hold_no_list() -> None:
    columns = pack_columns(make_entries()) + b"\0"
    made = make_list(list_hash=sha256(columns).digest())
    client = start(made)
    client.update(made.signed)
    refused("bad_list", lambda: client.load_full(encode_full(columns)))


def test_without_a_header_there_is_nothing() -> None:
    client = start()
    for act in (
        lambda: client.header,
        lambda: client.signed_header,
        lambda: client.entries,
        lambda: client.status,
        lambda: client.signers,
        lambda: client.fingerprint,
        lambda: client.swarm_ids,
        lambda: client.swarm_of(bytes(33)),
        lambda: client.load_full(GOOD.full),
    ):
        refused("list_missing", act)


# --- genesis --------------------------------------------------------------------------------------

GENESIS_FIELDS = GENESIS.decode(make_genesis())
PARAMS = preset("minimal")
SEATS = GENESIS_FIELDS.attestors
LOW_ORDER = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")

GENESES: dict[str, tuple[str, bytes]] = {
    "nothing": ("not_canonical", b""),
    "half of it": ("not_canonical", make_genesis()[:50]),
    "a byte left over": ("not_canonical", make_genesis() + b"\0"),
    "something else": ("not_canonical", encode((1, 2, 3))),
    "another version": ("bad_genesis", make_genesis(version=2)),
    "another policy": ("bad_genesis", make_genesis(policy=3)),
    "no attestors": ("not_canonical", make_genesis(())),
    "attestors out of order": ("bad_genesis", make_genesis(attestors=SEATS[::-1])),
    "an attestor twice": ("bad_genesis", make_genesis(attestors=SEATS[:1] * 2)),
    "an attestor without weight": ("bad_genesis", make_genesis((1, 0, 1))),
    "a key of low order": (
        "bad_genesis",
        make_genesis(attestors=(type(SEATS[0])(LOW_ORDER, 1, bytes(32)),)),
    ),
    "too few parameters": ("bad_genesis", make_genesis(params=tuple(PARAMS)[:-1])),
    "a parameter out of range": (
        "bad_parameter",
        make_genesis(params=(PARAMETERS[0].low - 1, *tuple(PARAMS)[1:])),
    ),
    "parameters that do not fit": (
        "bad_relation",
        make_genesis(params=tuple(PARAMS._replace(fresh_ms=PARAMS.valid_ms + 1))),
    ),
}


@pytest.mark.parametrize(("code", "genesis"), GENESES.values(), ids=GENESES.keys())
def test_a_genesis_file_is_refused(code: str, genesis: bytes) -> None:
    refused(code, lambda: TrustedLists(genesis, NOW_MS))


SINGLE: dict[str, tuple[Sequence[int], bool]] = {
    "one": ((1,), True),
    "two": ((1, 1), False),
    "one with two thirds": ((4, 1, 1), False),
    "one with more": ((5, 1, 1), True),
    "twenty-five": ((1,) * 25, False),
}


@pytest.mark.parametrize(("weights", "is_single"), SINGLE.values(), ids=SINGLE.keys())
def test_a_single_signer_is_called_one(weights: Sequence[int], is_single: bool) -> None:
    made = make_list(weights=weights)
    client = start(made)
    assert client.is_single_signer is is_single
    client.update(made.signed)
    assert client.is_single_signer is is_single


# --- swarms ---------------------------------------------------------------------------------------


def test_the_swarm_of_an_account_is_the_nearest() -> None:
    made = make_list(entries=make_entries(50, 7))
    client = holding(made)
    assert client.swarm_ids == sorted({entry.swarm_id for entry in made.entries})
    for number in range(200):
        key = factory.digest(f"account {number}")
        nearest = nearest_swarm(client.swarm_ids, position_of(key))
        expected = [entry for entry in made.entries if entry.swarm_id == nearest]
        assert client.swarm_of(key) == client.swarm_of(b"\x05" + key) == expected


@pytest.mark.parametrize("length", [0, 31, 34, 66])
def test_an_account_id_of_another_length_is_the_callers_mistake(length: int) -> None:
    with pytest.raises(Misuse):
        holding(make_list()).swarm_of(bytes(length))


# --- how it is written ----------------------------------------------------------------------------


def test_each_rule_of_the_module_is_quoted_where_it_is_enforced() -> None:
    head, _, code = inspect.getsource(trusted).partition('"""\n\nfrom ')
    code += inspect.getsource(checks)
    rules = [re.sub(r"\s+", " ", rule) for rule in re.findall(r"^- (.+(?:\n  .+)*)", head, re.M)]
    comments = re.sub(r"\n\s*# ", " ", code)
    assert len(rules) == 13
    for rule in rules:
        assert f"# {rule}" in comments or f" {rule}" in comments, rule


def test_the_core_loads_neither_files_nor_the_network() -> None:
    code = (
        "import sys, registry.client.trusted;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert not loaded & {"httpx2", "socket", "ssl", "numpy", "mnemonic", "fcntl", "asyncio"}


# ---- deltas ----


def test_a_delta_leads_from_the_list_that_is_held_to_the_newest() -> None:
    old, new = make_list(), make_list(EPOCH + 1, entries=make_entries(28, 4))
    client = holding(old)
    client.start_update(NOW_MS + EPOCH_MS)
    client.update(new.signed)
    assert (client.list_epoch, client.needs_list) == (EPOCH, True)
    client.load_deltas(encode_delta(old.columns, new.columns))
    assert (client.list_epoch, client.needs_list) == (EPOCH + 1, False)
    assert client.entries == new.entries
    assert len(client.swarm_ids) == 4


def test_a_delta_that_is_refused_takes_nothing_away() -> None:
    old, new = make_list(), make_list(EPOCH + 1, entries=make_entries(28, 4))
    client = holding(old)
    client.start_update(NOW_MS + EPOCH_MS)
    client.update(new.signed)
    other = make_list(EPOCH + 1, entries=make_entries(29, 4))
    to_another, from_another = (
        encode_delta(old.columns, other.columns),
        encode_delta(new.columns, new.columns),
    )
    for data in (to_another, from_another, b""):
        refused("bad_list", partial(client.load_deltas, data))
        assert (client.list_epoch, client.needs_list) == (EPOCH, True)
    client.load_deltas(encode_delta(old.columns, new.columns))
    assert client.entries == new.entries


def test_a_list_that_stayed_the_same_counts_for_the_newest_epoch() -> None:
    client = holding(make_list())
    client.start_update(NOW_MS + EPOCH_MS)
    client.update(make_list(EPOCH + 1).signed)
    assert client.list_epoch == EPOCH + 1


def test_a_delta_needs_a_list_to_begin_with() -> None:
    made = make_list()
    client = start(made)
    assert client.list_epoch is None
    refused("list_missing", lambda: client.load_deltas(b""))
    client.update(made.signed)
    refused("list_missing", lambda: client.load_deltas(encode_delta(made.columns, made.columns)))


def test_columns_and_entries_are_of_one_list() -> None:
    made = make_list()
    client = start(made)
    client.update(made.signed)
    refused("list_missing", lambda: client.columns)
    client.load_full(made.full)
    assert join_columns(client.columns) == made.columns
