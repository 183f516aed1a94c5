"""One byte behind what a decoder takes is refused; so is what promises more than it brings."""

import ast
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.errors import Refusal
from ledger.messages.tables import TABLES
from registry.formats.session_binary import ENTRY_BYTES
from tests.mutations.decoders import DECODERS
from tests.mutations.engine import msgpack_cuts
from tests.mutations.rows import Decoder

ROOT = Path(__file__).resolve().parents[2]

TRAILING = {"zero": b"\0", "nil": b"\xc0", "255": b"\xff", "a space": b" ", "a line": b"\n"}

ROOM_BYTES = 2**19
"""What refusing a small message may take, beside the message."""


def refused(decoder: Decoder, raw: bytes) -> bool:
    try:
        decoder.decode(raw)
    except decoder.errors:
        return True
    return False


@pytest.mark.parametrize("name", DECODERS)
def test_trailing_bytes_are_refused(name: str) -> None:
    decoder = DECODERS[name]
    raw = decoder.raw
    assert not refused(decoder, raw)
    for what, trailing in {**TRAILING, "itself": raw, "its end": raw[-1:]}.items():
        # JSON allows space round a value, and says the same with it
        if name == "session-json" and what in ("a space", "a line"):
            assert not refused(decoder, raw + trailing)
        else:
            assert refused(decoder, raw + trailing), what


@pytest.mark.parametrize("name", DECODERS)
def test_every_cut_is_refused(name: str) -> None:
    decoder = DECODERS[name]
    length = len(decoder.raw)
    for size in {*range(min(4, length)), *range(0, length, 1 + length // 200), length - 1}:
        # a shorter list is a list too
        is_list = name == "session-binary" and size % ENTRY_BYTES == 0
        assert refused(decoder, decoder.raw[:size]) is not is_list, size


HEADS = [
    *(b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\x9f", b"\xdf\xff\xff\xff\xff"),
    *(b"\xc6\xff\xff\xff\xff", b"\xc5\xff\xff", b"\xc4\xff", b"\xdb\xff\xff\xff\xff"),
    *(b"\xc9\xff\xff\xff\xff\x01", b"\x91" * 60_000, b"\x81\x00" * 30_000),
]
"""Heads of MessagePack that promise much, and depth without end."""

ENCODED = [name for name, decoder in DECODERS.items() if decoder.what]


@pytest.mark.parametrize("name", ENCODED)
def test_a_head_that_promises_gigabytes_takes_no_room(name: str) -> None:
    decoder = DECODERS[name]
    cuts = msgpack_cuts(decoder.raw)
    places = cuts if len(cuts) < 60 else [*cuts[:40], *cuts[-20:]]
    tracemalloc.start()
    try:
        for place in places:
            for head in HEADS:
                assert refused(decoder, decoder.raw[:place] + head)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < ROOM_BYTES + 4 * len(decoder.raw), peak


@pytest.mark.parametrize(
    "raw",
    [
        b'{"height":1,"service_node_states":' + b"[" * 10**6,
        b'{"height":1,"service_node_states":[{"pubkey_ed25519":' + b"[" * 10**6,
        b'{"height":1,"service_node_states":[],"more":' + b'{"a":' * 10**5,
        b'{"height":' + b"9" * 10**6 + b',"service_node_states":[]}',
        b'{"height":1,"service_node_states":[{"pubkey_ed25519":1,"swarm_id":'
        + b"9" * 10**6
        + b"}]}",
        b'{"height":1e999999,"service_node_states":[]}',
    ],
    ids=["lists", "lists in a field", "objects", "a long height", "a long number", "a power"],
)
def test_json_without_end_is_refused(raw: bytes) -> None:
    with pytest.raises(Refusal, match="bad_list"):
        DECODERS["session-json"].decode(raw)


# ---- the table is complete ----


def codecs() -> Iterator[str]:
    """What each codec that the project makes calls its records; those of tables aside."""
    for path in [
        path for folder in ("ledger", "registry") for path in (ROOT / folder).rglob("*.py")
    ]:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Codec":
                what = call.args[1]
                if isinstance(what, ast.Constant):
                    yield str(what.value)
                else:
                    assert path.name == "tables.py", f"{path}: a codec that no table can name"


def test_every_codec_has_a_row() -> None:
    rows = [decoder.what for decoder in DECODERS.values()]
    assert {*codecs(), *(table.codec.what for table in TABLES)} == set(rows) - {""}
