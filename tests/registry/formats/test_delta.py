"""The `delta` file: what it leads to, what it costs, and what a hostile one cannot do."""

import json
import os
import zlib
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.errors import Refusal
from ledger.messages.contact import Contact, Version
from ledger.messages.entries import Columns, Entry, pack_columns, read_columns
from ledger.rules.swarms import UNASSIGNED, reassign
from registry.formats.delta import (
    MAX_DELTA_BYTES,
    apply_delta,
    compute_delta_bound,
    encode_delta,
)
from tests.registry.client.factory import digest, make_entries

VECTOR: Final = Path(__file__).resolve().parents[2] / "vectors" / "delta.json"

BEFORE: Final = make_entries(21, 3)
OLD: Final = pack_columns(BEFORE)


def counts(raw: bytes) -> tuple[int, int]:
    """Nodes and swarms of a list, as its header says them."""
    return int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:8], "big")


def applied(old: bytes, data: bytes, new: bytes) -> Columns:
    """What a client makes of a delta that should lead to a list."""
    return apply_delta(read_columns(old), data, sha256(new).digest(), counts(new))


# ---------------------------------------------------------------------------- round trips


def change(entry: Entry, **fields: Any) -> Entry:
    """A node with other contact data."""
    return entry._replace(contact=replace(entry.contact, **fields))


def newcomer(name: str, swarm_id: int) -> Entry:
    """A node that no list had before."""
    contact = Contact(bytes([45, 77, 0, 1]), b"", 443, 444, Version(9, 9, 9), Version(8, 8, 8))
    return Entry(digest(name), contact, swarm_id)


FIRST, LAST = BEFORE[0], BEFORE[-1]
IPV4_ONLY = next(entry for entry in BEFORE if not entry.contact.ipv6)
IPV6_ONLY = next(entry for entry in BEFORE if not entry.contact.ipv4)
BOTH = next(entry for entry in BEFORE if entry.contact.ipv4 and entry.contact.ipv6)
SWARM = BEFORE[1].swarm_id


def without(*gone: Entry) -> list[Entry]:
    """The list without some of its nodes."""
    return [entry for entry in BEFORE if entry not in gone]


def changed(entry: Entry, **fields: Any) -> list[Entry]:
    """The list with another contact of one node."""
    return [*without(entry), change(entry, **fields)]


CASES: dict[str, list[Entry]] = {
    "nothing": BEFORE,
    "everything": [newcomer(f"another {n}", n) for n in range(5)],
    "to no node": [],
    "the first leaves": without(FIRST),
    "the last leaves": without(LAST),
    "every second leaves": BEFORE[::2],
    "one joins": [*BEFORE, newcomer("one", SWARM)],
    "one joins with a swarm of its own": [*BEFORE, newcomer("one", 7)],
    "one joins where another leaves": [*without(FIRST), newcomer("one", FIRST.swarm_id)],
    "another port": changed(FIRST, storage_port=1),
    "another version": changed(LAST, router_version=Version(0, 0, 0)),
    "another address": changed(IPV4_ONLY, ipv4=bytes([1, 2, 3, 4])),
    "an IPv6 address more": changed(IPV4_ONLY, ipv6=bytes(range(16))),
    "an IPv4 address more": changed(IPV6_ONLY, ipv4=bytes([1, 2, 3, 4])),
    "an IPv4 address less": changed(BOTH, ipv4=b""),
    "an IPv6 address less": changed(BOTH, ipv6=b""),
    "IPv6 for IPv4": changed(IPV4_ONLY, ipv4=b"", ipv6=bytes(range(16))),
    "another swarm": [*without(FIRST), FIRST._replace(swarm_id=SWARM)],
    "a swarm is gone": [entry._replace(swarm_id=max(1, entry.swarm_id)) for entry in BEFORE],
    "a swarm is another one": [
        entry._replace(swarm_id=5) if entry.swarm_id == SWARM else entry for entry in BEFORE
    ],
}


@pytest.mark.parametrize("after", CASES.values(), ids=CASES.keys())
def test_it_leads_there_and_back(after: list[Entry]) -> None:
    new = pack_columns(sorted(after))
    for one, other in ((OLD, new), (new, OLD)):
        data = encode_delta(one, other)
        assert applied(one, data, other) == read_columns(other)
        nodes, swarms = counts(other)
        bound = compute_delta_bound(counts(one)[0], nodes, counts(one)[1], swarms)
        assert len(data) <= 4 + 32 * nodes + bound + 64 <= MAX_DELTA_BYTES


CONTACTS = st.builds(
    Contact,
    st.sampled_from((b"", bytes(4), b"\1\2\3\4")),
    st.sampled_from((b"", bytes(16), bytes(range(16)))),
    st.integers(0, 2**16 - 1),
    st.sampled_from((0, 22020)),
    st.builds(Version, *[st.integers(0, 255)] * 3),
    st.just(Version(1, 2, 3)),
).filter(lambda contact: bool(contact.ipv4 or contact.ipv6))
LISTS = st.dictionaries(
    st.integers(0, 40).map(lambda n: digest(f"node {n}")),
    st.tuples(CONTACTS, st.integers(0, 6)),
    max_size=30,
)


@given(LISTS, LISTS)
def test_any_list_leads_to_any_other(
    before: dict[bytes, tuple[Contact, int]], after: dict[bytes, tuple[Contact, int]]
) -> None:
    old, new = (
        pack_columns([Entry(key, *row) for key, row in sorted(rows.items())])
        for rows in (before, after)
    )
    assert applied(old, encode_delta(old, new), new) == read_columns(new)


@given(LISTS, st.data())
def test_whatever_is_damaged_is_refused_or_leads_there(
    after: dict[bytes, tuple[Contact, int]], data: st.DataObject
) -> None:
    new = pack_columns([Entry(key, *row) for key, row in sorted(after.items())])
    good = bytearray(encode_delta(OLD, new))
    place = data.draw(st.integers(0, len(good) - 1))
    good[place] ^= data.draw(st.integers(1, 255))
    code, columns = "", None
    try:
        columns = applied(OLD, bytes(good), new)
    except Refusal as refusal:
        code = refusal.code
    if code:
        assert code in ("bad_list", "unknown_format", "too_large")
    else:
        assert columns == read_columns(new)


# -------------------------------------------------------------------------------- refused

NEW: Final = pack_columns(sorted([*without(FIRST), newcomer("one", 7)]))
GOOD: Final = encode_delta(OLD, NEW)
KEYS_END: Final = 2 + 32
BODY: Final = zlib.decompress(GOOD[KEYS_END:], wbits=-15)


def with_body(body: bytes, head: bytes = GOOD[:KEYS_END]) -> bytes:
    """A delta with another body."""
    stream = zlib.compressobj(wbits=-15)
    return head + stream.compress(body) + stream.flush()


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "nothing": ("bad_list", b"", "empty"),
    "format 0": ("unknown_format", b"\0" + GOOD[1:], ""),
    "format 2": ("unknown_format", b"\2" + GOOD[1:], ""),
    "a number without an end": ("bad_list", b"\1\xff\xff\xff\xff", "too long"),
    "more keys than nodes": ("bad_list", b"\1\x7f" + GOOD[2:], "is more than"),
    "keys that are cut off": ("bad_list", GOOD[:20], "cut off"),
    "no stream": ("bad_list", GOOD[:KEYS_END] + b"\xff" * 9, "no deflate stream"),
    "a stream without an end": ("bad_list", GOOD[:-1], "cut off"),
    "a byte behind the stream": ("bad_list", GOOD + b"\0", "left over"),
    "a body that is cut off": ("bad_list", with_body(BODY[:-1]), "cut off"),
    "a body that goes on": ("bad_list", with_body(BODY + b"\0"), "left over"),
    "an empty body": ("bad_list", with_body(b""), "cut off"),
    "a place beyond the list": ("bad_list", with_body(b"\1\x15" + BODY[2:]), "beyond"),
    "more places than there are": ("bad_list", with_body(b"\x16" + BODY[1:]), "is more than"),
    "nobody leaves": ("bad_list", with_body(b"\0" + BODY[2:]), "more nodes"),
    "more than the bound": ("too_large", GOOD + bytes(100_000), ""),
    "a bomb": ("bad_list", with_body(bytes(10_000)), "inflates to more"),
}


@pytest.mark.parametrize(("code", "data", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(code: str, data: bytes, why: str) -> None:
    with pytest.raises(Refusal) as caught:
        applied(OLD, data, NEW)
    assert caught.value.code == code
    assert why in caught.value.text


def test_a_delta_from_another_list_is_refused() -> None:
    other = pack_columns(make_entries(21, 4))
    with pytest.raises(Refusal, match="bad_list"):
        applied(other, GOOD, NEW)


def test_what_comes_out_has_to_be_the_list_of_the_header() -> None:
    with pytest.raises(Refusal, match="its hash is not"):
        apply_delta(read_columns(OLD), GOOD, bytes(32), counts(NEW))


# ------------------------------------------------------------------------------- its size


def test_ten_thousand_nodes_of_which_one_percent_changes_take_two_kilobytes() -> None:
    """Of each hundred that change 40 leave, 40 join and 20 have another address."""
    random, names = Random(1), count()

    def contact() -> Contact:
        storage = Version(2, 11, random.randrange(2))
        port = 22_020 + 100 * random.randrange(3)
        return Contact(
            b"\x2d" + random.randbytes(3), b"", port + 1, port, storage, Version(1, 6, 0)
        )

    contacts = {digest(f"{next(names)}"): contact() for _ in range(10_000)}
    swarm_of = reassign(dict.fromkeys(contacts, UNASSIGNED), 7)
    old = pack(contacts, swarm_of)
    for key in random.sample(sorted(contacts), 40):
        del contacts[key], swarm_of[key]
    for key in random.sample(sorted(contacts), 20):
        contacts[key] = replace(contacts[key], ipv4=b"\x2d" + random.randbytes(3))
    for _ in range(40):
        key = digest(f"{next(names)}")
        contacts[key], swarm_of[key] = contact(), UNASSIGNED
    new = pack(contacts, reassign(swarm_of, 8))
    assert len(encode_delta(old, new)) <= 2_000


def pack(contacts: dict[bytes, Contact], swarm_of: dict[bytes, int]) -> bytes:
    """The columns of a list."""
    return pack_columns([Entry(key, contacts[key], swarm_of[key]) for key in sorted(contacts)])


# -------------------------------------------------------------------------------- vectors


def compose() -> dict[str, Any]:
    """Each case, with what is inflated; how it is compressed is left open."""
    rows = []
    for name, after in CASES.items():
        new = pack_columns(sorted(after))
        data = encode_delta(OLD, new)
        joining = {entry.key for entry in after} - {entry.key for entry in BEFORE}
        keys_end = 2 + 32 * len(joining)
        rows.append(
            {
                "title": name,
                "delta": data.hex(),
                "keys_end": keys_end,
                "inflated": zlib.decompress(data[keys_end:], wbits=-15).hex(),
                "columns": new.hex(),
            }
        )
    refused = [
        {"title": name, "code": code, "delta": data.hex()}
        for name, (code, data, _) in REFUSED.items()
        if len(data) < 1_000
    ]
    return {
        "about": "Made by tests/registry/formats/test_delta.py; docs/spec/lists.md tells the form.",
        "before": OLD.hex(),
        "deltas": rows,
        "refused_after": NEW.hex(),
        "refused": refused,
    }


def test_vectors_are_up_to_date() -> None:
    text = json.dumps(compose(), indent=1) + "\n"
    if os.environ.get("WAYPOST_REGENERATE"):
        VECTOR.write_text(text)
    made, file = compose(), json.loads(VECTOR.read_text())
    assert (file["before"], file["refused_after"]) == (made["before"], made["refused_after"])
    # another version of the library may compress otherwise
    assert [shown(row) for row in file["deltas"]] == [shown(row) for row in made["deltas"]]


def shown(row: dict[str, Any]) -> tuple[str, ...]:
    """What of a vector does not depend on how it was compressed."""
    return row["title"], row["inflated"], row["columns"]


def written(part: str) -> dict[str, dict[str, Any]]:
    """The vectors of a part of the file, by their titles."""
    return {row["title"]: row for row in json.loads(VECTOR.read_text())[part]}


@pytest.mark.parametrize("title", CASES)
def test_written_deltas_lead_to_their_lists(title: str) -> None:
    row = written("deltas")[title]
    new = bytes.fromhex(row["columns"])
    assert applied(OLD, bytes.fromhex(row["delta"]), new) == read_columns(new)


def test_written_deltas_are_refused() -> None:
    rows = written("refused")
    assert len(rows) >= 15
    for row in rows.values():
        with pytest.raises(Refusal) as caught:
            applied(OLD, bytes.fromhex(row["delta"]), NEW)
        assert caught.value.code == row["code"]
