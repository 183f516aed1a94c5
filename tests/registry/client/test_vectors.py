"""The worked example: the same bytes as ever, quoted by the specification, and it holds."""

import json
import os
import re
from hashlib import sha256

import pytest

from ledger.crypto import Signed, key_pair, sign, verify
from ledger.messages.lists import HEADER_BYTES, ListHeader
from registry.client import TrustedLists
from registry.formats.full import compute_full_bound
from tests.registry.client.factory import START_MS
from tests.registry.client.vectors import (
    PAGE,
    PART,
    PARTS,
    VECTOR,
    compose_vector,
    fill,
    header_layout,
    write,
)

if os.environ.get("WAYPOST_REGENERATE") == "1":
    write()

WRITTEN = json.loads(VECTOR.read_text(encoding="utf-8"))
TEXT = PAGE.read_text(encoding="utf-8")


def written(name: str) -> bytes:
    return bytes.fromhex(WRITTEN[name])


def test_the_example_is_what_the_code_makes() -> None:
    assert compose_vector() == WRITTEN, (
        "the code makes other bytes than tests/vectors/list_header.json holds: other bytes mean "
        "another format; WAYPOST_REGENERATE=1 writes the file and docs/spec/lists.md anew"
    )


def test_the_page_quotes_the_example() -> None:
    assert sorted(match["name"] for match in PART.finditer(TEXT)) == sorted(PARTS)
    assert TEXT.count("<!-- vector:") == len(PARTS)
    assert fill(TEXT) == TEXT, "docs/spec/lists.md: WAYPOST_REGENERATE=1 fills it anew"


def test_a_client_accepts_the_example_from_its_genesis_file_alone() -> None:
    client = TrustedLists(written("genesis"), START_MS + 20_000)
    header = client.update(written("signed_header"))
    client.load_full(written("full"))
    assert [entry.key.hex() for entry in client.entries] == [
        row["key"] for row in WRITTEN["entries"]
    ]
    assert client.fingerprint == WRITTEN["fingerprint_words"]
    assert client.genesis_hash.hex() == WRITTEN["genesis_hash"]
    assert header.hash.hex() == WRITTEN["header_hash"]
    assert len(written("full")) <= compute_full_bound(len(written("columns")))


def test_what_is_signed_is_what_the_signatures_cover() -> None:
    message = written("signing_bytes")
    assert message[:32] == b"waypost list header".ljust(32, b"\0")
    assert message[32:] == written("genesis_hash") + written("header")
    for index, signature in WRITTEN["signatures"].items():
        seat = WRITTEN["attestors"][int(index)]
        pair = key_pair(bytes.fromhex(seat["seed"]))
        assert pair.public.hex() == seat["list_key"]
        assert sign(pair, message).hex() == signature
        assert verify(Signed(pair.public, message, bytes.fromhex(signature)))


@pytest.mark.parametrize(
    ("name", "hashed"),
    [("genesis_hash", "genesis"), ("set_hash", "set"), ("list_hash", "columns")],
)
def test_hashes_are_those_of_the_bytes(name: str, hashed: str) -> None:
    assert sha256(written(hashed)).hexdigest() == WRITTEN[name]


def test_the_table_of_the_header_is_its_layout() -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", TEXT, re.MULTILINE)
    shown = [(int(start), int(size), name) for start, size, name in rows]
    expected, start = [], 0
    for name, size in header_layout():
        expected.append((start, size, name))
        start += size
    assert start == HEADER_BYTES
    assert shown == expected, "docs/spec/lists.md: the table of the header"
    assert tuple(name for _, _, name in shown) == ListHeader._fields
