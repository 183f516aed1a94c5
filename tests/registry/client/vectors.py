"""A worked example in bytes: from the genesis file to the fingerprint, for other programs to run.

    WAYPOST_REGENERATE=1 pytest tests/registry/client/test_vectors.py

writes `tests/vectors/list_header.json` anew, and the parts of `docs/spec/lists.md` that quote it,
which stand between `<!-- vector: NAME -->` and `<!-- end vector: NAME -->`.
"""

import json
import re
import struct
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from msgspec.structs import astuple

from ledger.crypto import TAG_BYTES
from ledger.merkle import leaf_hash
from ledger.messages import tags
from ledger.messages.contact import Contact, Version
from ledger.messages.entries import Entry, pack_entry
from ledger.messages.lists import (
    Attestor,
    ListHeader,
    attestor_set_hash,
    decode_signed_header,
    encode_header,
    fingerprint_bits,
    header_signing_bytes,
)
from registry.formats.fingerprint import fingerprint_words
from tests.registry.client.factory import MadeList, digest, make_list, make_swarm_leaves, seat

ROOT: Final = Path(__file__).resolve().parents[3]
VECTOR: Final = ROOT / "tests" / "vectors" / "list_header.json"
PAGE: Final = ROOT / "docs" / "spec" / "lists.md"
PART: Final = re.compile(
    r"<!-- vector: (?P<name>[a-z ]+) -->\n.*?<!-- end vector: (?P=name) -->", re.DOTALL
)

WEIGHTS: Final = (3, 2, 1)
SIGNERS: Final = (0, 1)
HEX_WIDTH: Final = 64
"""Hexadecimal digits in a line of the page."""


@cache
def make_example() -> MadeList:
    """Return the list: three nodes in two swarms, signed by two of three attestors."""
    storage, router = Version(2, 8, 0), Version(11, 5, 1)
    ipv6 = bytes.fromhex("2a010000000000000000000000000001")
    contacts = (
        Contact(bytes([45, 76, 0, 1]), b"", 22021, 22020, storage, router),
        Contact(b"", ipv6, 22021, 22020, storage, router),
        Contact(bytes([45, 76, 0, 3]), ipv6, 443, 1090, storage, router),
    )
    keys = sorted(digest(f"node {number}") for number in range(3))
    swarm_ids = (2**63, 100, 2**63)
    entries = [Entry(*row) for row in zip(keys, contacts, swarm_ids, strict=True)]
    before = make_list(0, weights=WEIGHTS, entries=[])
    return make_list(
        1,
        weights=WEIGHTS,
        signers=SIGNERS,
        entries=entries,
        history_root=leaf_hash(before.raw_header),
    )


def compose_vector() -> dict[str, Any]:
    """Return the whole example: bytes as hexadecimal, numbers past 2^53 as decimal strings."""
    made = make_example()
    genesis_hash, raw = sha256(made.genesis).digest(), made.raw_header
    leaves = make_swarm_leaves(made.entries)
    return {
        "about": "Made by tests/registry/client/vectors.py; docs/spec/lists.md quotes it.",
        "genesis": made.genesis.hex(),
        "genesis_hash": genesis_hash.hex(),
        "attestors": [
            {
                "seed": seat(index).secret[:32].hex(),
                "list_key": seat(index).public.hex(),
                "weight": weight,
            }
            for index, weight in enumerate(WEIGHTS)
        ],
        "set": set_preimage().hex(),
        "set_hash": made.header.set_hash.hex(),
        "entries": [describe_entry(entry) for entry in made.entries],
        "columns": made.columns.hex(),
        "list_hash": made.header.list_hash.hex(),
        "full": store(made.columns).hex(),
        "swarm_leaves": [leaf.hex() for leaf in leaves],
        "swarm_leaf_hashes": [leaf_hash(leaf).hex() for leaf in leaves],
        "swarm_root": made.header.swarm_root.hex(),
        "header_fields": {
            name: value.hex() if isinstance(value, bytes) else value
            for name, value in made.header._asdict().items()
        },
        "header": raw.hex(),
        "header_hash": made.header.hash.hex(),
        "signing_bytes": header_signing_bytes(genesis_hash, raw).hex(),
        "signatures": {
            str(index): signature.hex()
            for index, signature in decode_signed_header(made.signed).signatures
        },
        "signed_header": made.signed.hex(),
        "fingerprint_bits": fingerprint_bits(genesis_hash, raw).hex(),
        "fingerprint_words": fingerprint_words(genesis_hash, raw),
    }


def set_preimage() -> bytes:
    """Return the bytes whose hash is that of the set; put together here, and compared."""
    members = [Attestor(seat(index).public, weight) for index, weight in enumerate(WEIGHTS)]
    seats = b"".join(member.list_key + member.weight.to_bytes(4, "big") for member in members)
    preimage = tags.ATTESTORS.ljust(TAG_BYTES, b"\0") + bytes([len(members)]) + seats
    assert sha256(preimage).digest() == attestor_set_hash(members)
    return preimage


def describe_entry(entry: Entry) -> dict[str, Any]:
    """Return an entry by its fields, and as it stands in a swarm leaf."""
    contact = entry.contact
    return {
        "key": entry.key.hex(),
        "ipv4": contact.ipv4.hex(),
        "ipv6": contact.ipv6.hex(),
        "storage_port": contact.storage_port,
        "router_port": contact.router_port,
        "storage_version": list(astuple(contact.storage_version)),
        "router_version": list(astuple(contact.router_version)),
        "swarm_id": str(entry.swarm_id),
        "packed": pack_entry(entry).hex(),
    }


def store(columns: bytes) -> bytes:
    """Return a `full` file that does not compress, whose bytes depend on no compressor."""
    size = len(columns).to_bytes(2, "little")
    return b"\1\1" + size + bytes(byte ^ 255 for byte in size) + columns


# ---- How the page quotes it ----


def write() -> None:
    """Write the example, and fill the page with it."""
    VECTOR.write_text(json.dumps(compose_vector(), indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def fill(page: str) -> str:
    """Return the page with each of its parts made anew."""

    def made(found: re.Match[str]) -> str:
        name = found["name"]
        body = "\n".join(PARTS[name]())
        return f"<!-- vector: {name} -->\n```text\n{body}\n```\n<!-- end vector: {name} -->"

    return PART.sub(made, page)


def quote(title: str, data: bytes) -> Iterator[str]:
    """Some bytes under their title."""
    yield f"{title}, {len(data)} bytes"
    text = data.hex()
    yield from (f"    {text[at : at + HEX_WIDTH]}" for at in range(0, len(text), HEX_WIDTH))


def quote_set() -> Iterator[str]:
    """The set of attestors."""
    yield from quote("what is hashed", set_preimage())
    yield from quote("set hash", make_example().header.set_hash)


def quote_header() -> Iterator[str]:
    """The header field by field, with the place of each."""
    header = make_example().header
    start = 0
    for name, size in header_layout():
        cell = encode_header(header)[start : start + size].hex()
        yield f"{start:3}  {cell}{'' if size == 32 else ' ' * (18 - len(cell)) + name}"
        if size == 32:
            yield f"     {name}"
        start += size
    yield from quote("header hash", header.hash)


def header_layout() -> list[tuple[str, int]]:
    """Every field of a header with its size in bytes, in order, seen from outside.

    Of a header of zeros, the bytes of a field are those that its largest value sets.
    """
    fields = make_example().header._asdict()
    zeros: dict[str, Any] = {
        name: bytes(32) if isinstance(value, bytes) else 0 for name, value in fields.items()
    }
    sizes = []
    for name, zero in zeros.items():
        values = [b"\xff" * 32] if zero else [2 ** (8 * width) - 1 for width in (8, 4, 2)]
        sizes.append((name, max(_count_set(zeros | {name: value}) for value in values)))
    return sizes


def _count_set(fields: dict[str, Any]) -> int:
    """How many bytes of a header are not zero; none of one that cannot be encoded."""
    try:
        return sum(map(bool, encode_header(ListHeader(**fields))))
    except struct.error:
        return 0


def quote_attestation() -> Iterator[str]:
    """What is signed, and the signatures."""
    made = make_example()
    message = header_signing_bytes(sha256(made.genesis).digest(), made.raw_header)
    yield from quote("what is signed", message)
    for index, signature in decode_signed_header(made.signed).signatures:
        yield from quote(f"list key of index {index}", seat(index).public)
        yield from quote(f"signature of index {index}", signature)


def quote_columns() -> Iterator[str]:
    """The columns and their hash."""
    made = make_example()
    yield from quote("columns", made.columns)
    yield from quote("list hash", made.header.list_hash)


def quote_leaves() -> Iterator[str]:
    """The swarm leaves and their root."""
    made = make_example()
    for leaf in make_swarm_leaves(made.entries):
        yield from quote(f"leaf of swarm {int.from_bytes(leaf[8:16], 'big')}", leaf)
        yield from quote("its hash", leaf_hash(leaf))
    yield from quote("swarm root", made.header.swarm_root)


def quote_fingerprint() -> Iterator[str]:
    """The fingerprint in bytes and words."""
    made = make_example()
    genesis_hash = sha256(made.genesis).digest()
    yield from quote("fingerprint", fingerprint_bits(genesis_hash, made.raw_header))
    words = fingerprint_words(genesis_hash, made.raw_header)
    yield f"in words: {' '.join(words)}"


def quote_signed_header() -> Iterator[str]:
    """What follows the header in a signed one."""
    yield from quote("behind the 342 bytes of the header", make_example().signed[342:])


def quote_full() -> Iterator[str]:
    """The head of a file that does not compress."""
    yield from quote("the file without the columns at its end", store(make_example().columns)[:6])


PARTS: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "set": quote_set,
    "header": quote_header,
    "attestation": quote_attestation,
    "signed header": quote_signed_header,
    "columns": quote_columns,
    "leaves": quote_leaves,
    "fingerprint": quote_fingerprint,
    "full": quote_full,
}
"""What makes each part of the page."""
