"""The codec's bounds: each type takes its range and nothing beyond."""

from typing import Any

import pytest

from ledger import codec
from ledger.codec import Codec, Record, encode
from ledger.errors import CorruptStore, Refusal
from tests.ledger.refusals.rows import code_of

NUMBERS = {"U8": 2**8, "U16": 2**16, "U32": 2**32, "U63": 2**63}
LENGTHS = {
    "Bytes4": range(4, 5),
    "Bytes32": range(32, 33),
    "Bytes64": range(64, 65),
    "UpTo32": range(33),
    "UpTo64": range(65),
}


def codec_of(name: str) -> Codec[Any]:
    """A record of one field of this type."""
    types = {"__annotations__": {"field": getattr(codec, name)}, "__module__": __name__}
    return Codec(type("One", (Record,), types), "record")


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name: str) -> None:
    one = codec_of(name)
    for value in (0, 127, 128, 255, NUMBERS[name] - 1):
        assert one.decode(encode([value])).field == value
    for value in (-1, NUMBERS[name]):
        assert code_of(one.decode, encode([value])) == "not_canonical"


def test_numbers_of_64_bits() -> None:
    one = codec_of("U64")
    for value in (0, 2**63, 2**64 - 1):
        assert one.decode(encode([value])).field == value
    assert code_of(one.decode, encode([-1])) == "not_canonical"


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths(name: str) -> None:
    one = codec_of(name)
    for size in range(70):
        code = code_of(one.decode, encode([bytes(size)]))
        assert code == ("" if size in LENGTHS[name] else "not_canonical"), size


def test_size_is_bounded_before_anything_is_decoded() -> None:
    raw = encode([bytes(64)])
    types = {"__annotations__": {"field": codec.Bytes64}, "__module__": __name__}
    record: Any = type("One", (Record,), types)
    wide: Codec[Any] = Codec(record, "record", len(raw))
    narrow: Codec[Any] = Codec(record, "record", len(raw) - 1)
    assert wide.decode(raw)
    with pytest.raises(Refusal, match="too_large: 67 bytes are more than the 66"):
        narrow.decode(raw)


def test_what_this_process_wrote_is_only_checked_for_its_schema() -> None:
    one = codec_of("U16")
    assert one.load(b"\x91\xcd\x00\x05").field == 5
    assert code_of(one.decode, b"\x91\xcd\x00\x05") == "not_canonical"
    for raw in (b"", b"\x91\xc0", b"\x90", b"\x92\x01\x01", b"\x91" * 5_000):
        with pytest.raises(CorruptStore, match="a record does not decode"):
            one.load(raw)


def test_a_record_cannot_be_changed_and_compares_by_value() -> None:
    one = codec_of("U8")
    record = one.decode(b"\x91\x05")
    assert record == one.decode(b"\x91\x05") != one.decode(b"\x91\x06")
    with pytest.raises(AttributeError):
        record.field = 6
