"""The `slice` file: one swarm with its proof, and everything that does not prove it."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Refusal
from ledger.merkle import audit_path, leaf_hash, tree_root
from ledger.messages.entries import Entry, pack_entry, pack_swarm_leaf, unpack_swarm_leaf
from ledger.rules.swarms import nearest_swarm, position_of
from registry.formats.slice import (
    MAX_PATH,
    MAX_SLICE_BYTES,
    Slice,
    decode_slice,
    encode_slice,
    open_slice,
)
from tests.registry.client.clients import refused, start
from tests.registry.client.factory import (
    MadeList,
    digest,
    make_entries,
    make_list,
    make_swarm_leaves,
)

VECTOR: Final = Path(__file__).resolve().parents[2] / "vectors" / "slice.json"
MADE: Final = make_list(entries=make_entries(35, 5))
OTHER: Final = make_list(entries=make_entries(35, 4))
ACCOUNT: Final = digest("somebody")


def swarm_ids(made: MadeList) -> list[int]:
    """The swarms of a list."""
    return sorted({entry.swarm_id for entry in made.entries})


def slice_of(made: MadeList, place: int) -> Slice:
    """The slice of the swarm at a place."""
    leaves = make_swarm_leaves(made.entries)
    path = audit_path([leaf_hash(leaf) for leaf in leaves], place)
    return Slice(made.signed, place, leaves[place], tuple(path))


def place_of(made: MadeList, account: bytes) -> int:
    """The place of the swarm that serves an account."""
    ids = swarm_ids(made)
    return ids.index(nearest_swarm(ids, position_of(account)))


GOOD: Final = slice_of(MADE, place_of(MADE, ACCOUNT))


@pytest.mark.parametrize("swarms", [1, 2, 3, 5, 8, 13])
def test_each_swarm_comes_back(swarms: int) -> None:
    made = make_list(entries=make_entries(40, swarms))
    for place, swarm_id in enumerate(swarm_ids(made)):
        data = encode_slice(slice_of(made, place))
        parts = decode_slice(data)
        assert parts == slice_of(made, place)
        leaf = unpack_swarm_leaf(parts.leaf)
        assert list(leaf.members) == [e for e in made.entries if e.swarm_id == swarm_id]
        assert len(data) <= MAX_SLICE_BYTES


@given(st.binary(min_size=32, max_size=32))
def test_an_account_is_served_by_one_swarm_and_its_slice_says_so(account: bytes) -> None:
    place = place_of(MADE, account)
    members = open_slice(slice_of(MADE, place), MADE.header, account)
    assert {entry.swarm_id for entry in members} == {swarm_ids(MADE)[place]}
    for other in set(range(5)) - {place}:
        with pytest.raises(Refusal, match="another swarm is nearer"):
            open_slice(slice_of(MADE, other), MADE.header, account)


def test_a_client_reads_its_swarm_without_the_list() -> None:
    client = start(MADE)
    for account in (ACCOUNT, b"\5" + ACCOUNT):
        assert client.read_slice(encode_slice(GOOD), account) == list(
            unpack_swarm_leaf(GOOD.leaf).members
        )
    assert client.header == MADE.header
    assert client.needs_list


# -------------------------------------------------------------------------------- refused


def another_member(entries: list[Entry]) -> bytes:
    """The leaf of the swarm with other members."""
    leaf = unpack_swarm_leaf(GOOD.leaf)
    packed = [pack_entry(entry) for entry in entries]
    return pack_swarm_leaf(leaf.before, leaf.swarm_id, leaf.after, packed)


MEMBERS: Final = list(unpack_swarm_leaf(GOOD.leaf).members)
FORGED: dict[str, Slice] = {
    "a leaf without a member": GOOD._replace(leaf=another_member(MEMBERS[1:])),
    "a leaf with another member": GOOD._replace(
        leaf=another_member(sorted([*MEMBERS, Entry(bytes(32), MEMBERS[0].contact, 0)]))
    ),
    "a leaf that names no neighbour": GOOD._replace(
        leaf=pack_swarm_leaf(0, MEMBERS[0].swarm_id, 0, [pack_entry(e) for e in MEMBERS])
    ),
    "another place": GOOD._replace(place=GOOD.place ^ 1),
    "a place beyond the tree": GOOD._replace(place=5),
    "no path": GOOD._replace(path=()),
    "a hash less": GOOD._replace(path=GOOD.path[:-1]),
    "a hash more": GOOD._replace(path=(*GOOD.path, bytes(32))),
    "another hash": GOOD._replace(path=(bytes(32), *GOOD.path[1:])),
    "the swarm of another list": slice_of(OTHER, place_of(OTHER, ACCOUNT))._replace(
        signed_header=MADE.signed
    ),
    "the path of an inner node": GOOD._replace(leaf=GOOD.path[0] * 2, path=GOOD.path[1:]),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_what_does_not_prove_the_swarm_is_refused(forged: Slice) -> None:
    with pytest.raises(Refusal) as caught:
        open_slice(forged, MADE.header, ACCOUNT)
    assert caught.value.code == "bad_list"


DATA: Final = encode_slice(GOOD)
BROKEN: dict[str, tuple[str, bytes]] = {
    "nothing": ("bad_list", b""),
    "format 0": ("unknown_format", b"\0" + DATA[1:]),
    "format 2": ("unknown_format", b"\2" + DATA[1:]),
    "a header that is cut off": ("bad_list", DATA[:300]),
    "a leaf that is cut off": ("bad_list", DATA[:700]),
    "a part of a hash": ("bad_list", DATA[:-1]),
    "a byte too many": ("bad_list", DATA + b"\0"),
    "too many hashes": ("bad_list", DATA + bytes(32) * MAX_PATH),
    "flags that no entry has": (
        "bad_list",
        encode_slice(GOOD._replace(leaf=GOOD.leaf[:58] + b"\0" + GOOD.leaf[59:])),
    ),
    "more than the bound": ("too_large", bytes(MAX_SLICE_BYTES + 1)),
}


@pytest.mark.parametrize(("code", "data"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_slice_is_refused(code: str, data: bytes) -> None:
    refused(code, lambda: start(MADE).read_slice(data, ACCOUNT))


HEADERS: dict[str, tuple[str, Callable[[], MadeList]]] = {
    "too few signatures": ("not_final", lambda: make_list(entries=MADE.entries, signers=(0, 1))),
    "of another network": ("wrong_set", lambda: make_list(entries=MADE.entries, weights=(1, 2))),
}


@pytest.mark.parametrize(("code", "make"), HEADERS.values(), ids=HEADERS.keys())
def test_its_header_has_to_hold(code: str, make: Callable[[], MadeList]) -> None:
    data = encode_slice(GOOD._replace(signed_header=make().signed))
    client = start(MADE)
    refused(code, lambda: client.read_slice(data, ACCOUNT))
    assert client.is_empty


@given(st.data())
def test_no_bit_of_leaf_place_and_path_may_change(data: st.DataObject) -> None:
    start_at = len(DATA) - len(GOOD.leaf) - 32 * len(GOOD.path) - 2
    changed = bytearray(DATA)
    changed[data.draw(st.integers(start_at, len(DATA) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    refused("bad_list", lambda: start(MADE).read_slice(bytes(changed), ACCOUNT))


# ------------------------------------------------------------------------------- its size


@pytest.mark.parametrize(("nodes", "most"), [(2_000, 1_250), (10_000, 1_350)])
def test_a_swarm_of_seven_is_small_whatever_the_list(nodes: int, most: int) -> None:
    """IPv4, four attestors of whom three signed."""
    seven = [entry for entry in make_entries(60, 1) if not entry.contact.ipv6][:7]
    leaf = pack_swarm_leaf(1, 2, 3, [pack_entry(entry) for entry in seven])
    leaves = [digest(f"leaf {number}") for number in range(nodes // 7)]
    path = tuple(audit_path(leaves, 0))
    assert tree_root(leaves)
    signed = make_list(weights=(1, 1, 1, 1), signers=(0, 1, 2)).signed
    assert len(encode_slice(Slice(signed, 0, leaf, path))) <= most


# -------------------------------------------------------------------------------- vectors


def compose() -> dict[str, Any]:
    """Every swarm of a list, and what is refused for one account."""
    return {
        "about": "Made by tests/registry/formats/test_slice.py; docs/spec/lists.md tells the form.",
        "header": MADE.raw_header.hex(),
        "slices": [
            {
                "slice": encode_slice(slice_of(MADE, place)).hex(),
                "swarm": str(swarm_id),
                "members": [e.key.hex() for e in MADE.entries if e.swarm_id == swarm_id],
            }
            for place, swarm_id in enumerate(swarm_ids(MADE))
        ],
        "account": ACCOUNT.hex(),
        "place": GOOD.place,
        "refused": [
            {"title": name, "code": "bad_list", "slice": encode_slice(forged).hex()}
            for name, forged in FORGED.items()
        ]
        + [
            {"title": name, "code": code, "slice": data.hex()}
            for name, (code, data) in BROKEN.items()
            if len(data) < 10_000
        ],
    }


def test_vectors_are_what_is_made_now() -> None:
    text = json.dumps(compose(), indent=1) + "\n"
    if os.environ.get("WAYPOST_REGENERATE"):
        VECTOR.write_text(text)
    assert VECTOR.read_text() == text


def test_written_slices_are_read() -> None:
    written = json.loads(VECTOR.read_text())
    account = bytes.fromhex(written["account"])
    row = written["slices"][written["place"]]
    members = start(MADE).read_slice(bytes.fromhex(row["slice"]), account)
    assert [entry.key.hex() for entry in members] == row["members"]
    assert {str(entry.swarm_id) for entry in members} == {row["swarm"]}
    for bad in written["refused"]:
        raw = bytes.fromhex(bad["slice"])
        refused(bad["code"], partial(start(MADE).read_slice, raw, account))
