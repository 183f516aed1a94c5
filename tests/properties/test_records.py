"""Every record: one value, one encoding, whatever the value is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from ledger import history, messages
from ledger.codec import Codec, Record, encode
from ledger.errors import Refusal
from ledger.messages import (
    blocks,
    challenges,
    checkins,
    contact,
    duty,
    entries,
    evidence,
    genesis,
    lists,
    proofs,
    state,
    tables,
    transactions,
)
from ledger.messages.lists import (
    ListHeader,
    SignedHeader,
    decode_header,
    decode_signed_header,
    encode_header,
    encode_signed_header,
)

MODULES = (
    *(blocks, contact, duty, entries, evidence, genesis, lists, proofs, state, tables),
    *(transactions, checkins, challenges, history),
)


def records() -> Iterator[type[Record]]:
    """Every record that a module of the ledger defines, the generic ones aside."""
    for module in MODULES:
        for thing in vars(module).values():
            is_record = isinstance(thing, type) and issubclass(thing, Record)
            if is_record and thing.__module__ == module.__name__ and not is_generic(thing):
                yield thing


def is_generic(record: type) -> bool:
    return bool(getattr(record, "__parameters__", ()))


RECORDS: list[Any] = [
    *records(),
    transactions.Paid[transactions.Transfer],
    transactions.Paid[transactions.Register],
    transactions.Paid[transactions.SetAttestors],
    transactions.Free[transactions.Attest],
    transactions.Free[transactions.Judge],
]


def values_of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Every value that fits a type."""
    if isinstance(kind, inspect.IntType):
        high = 2**64 - 1 if kind.le is None else kind.le
        low = 0 if kind.ge is None else kind.ge
        assert isinstance(low, int)
        assert isinstance(high, int)
        return st.one_of(st.integers(low, high), st.integers(low, min(high, low + 200)))
    if isinstance(kind, inspect.BytesType):
        low = kind.min_length or 0
        return st.binary(min_size=low, max_size=min(low + 70, kind.max_length or low + 70))
    if isinstance(kind, inspect.VarTupleType):
        most = min(4, kind.max_length or 4)
        items = st.lists(values_of(kind.item_type), min_size=kind.min_length or 0, max_size=most)
        return items.map(tuple)
    if isinstance(kind, inspect.TupleType):
        return st.tuples(*map(values_of, kind.item_types))
    assert isinstance(kind, inspect.StructType), kind
    fields = {field.name: values_of(field.type) for field in kind.fields}
    return st.builds(kind.cls, **fields)


@pytest.mark.parametrize("record", RECORDS, ids=str)
@given(data=st.data())
@settings(max_examples=40)
def test_there_and_back(record: Any, data: st.DataObject) -> None:
    codec: Codec[Any] = Codec(record, "record", 2**20)
    value = data.draw(values_of(inspect.type_info(record)))
    raw = encode(value)
    assert codec.decode(raw) == value
    assert codec.load(raw) == value
    assert encode(codec.decode(raw)) == raw
    assert hash(codec.decode(raw)) == hash(value)


@pytest.mark.parametrize("record", RECORDS, ids=str)
@given(data=st.data())
@settings(max_examples=40)
def test_changed_bytes_are_refused_or_canonical(record: Any, data: st.DataObject) -> None:
    codec: Codec[Any] = Codec(record, "record", 2**20)
    raw = bytearray(encode(data.draw(values_of(inspect.type_info(record)))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        change = data.draw(st.sampled_from(("set", "cut", "insert")))
        if change == "set":
            raw[at] = data.draw(st.integers(0, 255))
        elif change == "cut" and len(raw) > 1:
            del raw[at]
        else:
            raw.insert(at, data.draw(st.integers(0, 255)))
    assert_canonical(codec, bytes(raw))


@pytest.mark.parametrize("record", RECORDS, ids=str)
@given(raw=st.binary(max_size=80))
@settings(max_examples=20)
def test_any_bytes_are_refused_or_canonical(record: Any, raw: bytes) -> None:
    assert_canonical(Codec(record, "record", 2**20), raw)


def assert_canonical(codec: Codec[Any], raw: bytes) -> None:
    try:
        value = codec.decode(raw)
    except Refusal as refusal:
        code = refusal.code
    else:
        assert encode(value) == raw
        return
    assert code == "not_canonical"


@given(data=st.data())
@settings(max_examples=40)
def test_no_field_takes_what_is_no_integer(data: st.DataObject) -> None:
    strange: Any = data.draw(st.sampled_from((None, True, False, 1.0, -1, 2**63, "text", [], {})))
    body = [bytes(32), strange]
    raw = msgspec.msgpack.encode(body)
    codec: Codec[Any] = Codec(transactions.Transfer, "transfer")
    with pytest.raises(Refusal, match="not_canonical"):
        codec.decode(raw)


def test_a_record_over_its_size_is_not_looked_at() -> None:
    codec: Codec[Any] = Codec(transactions.Transfer, "transfer", 10)
    with pytest.raises(Refusal, match="too_large"):
        codec.decode(bytes(11))


U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
HASH = st.binary(min_size=32, max_size=32)
HEADER = st.builds(
    ListHeader,
    st.just(1),
    U16,
    U16,
    U64,
    U64,
    st.integers(0, 10**6),
    st.integers(10**6 + 1, 10**9),
    st.integers(10**9, 2**64 - 1),
    st.integers(1_000, lists.MAX_NODES),
    st.integers(0, 1_000),
    *[HASH] * 9,
)


@given(header=HEADER, seats=st.sets(st.integers(0, 24)), data=st.data())
def test_headers_there_and_back(header: ListHeader, seats: set[int], data: st.DataObject) -> None:
    raw = encode_header(header)
    assert decode_header(raw) == header
    signature = st.binary(min_size=64, max_size=64)
    signed = SignedHeader(raw, tuple((seat, data.draw(signature)) for seat in sorted(seats)))
    assert decode_signed_header(encode_signed_header(signed)) == signed


def test_modules_are_all_here() -> None:
    files = {path.stem for path in Path(messages.__path__[0]).glob("*.py")}
    listed = {module.__name__.split(".")[-1] for module in MODULES[:-1]}
    assert files == {*listed, "tags", "__init__"}
