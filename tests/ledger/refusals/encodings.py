"""Refusals of bytes that are no canonical transaction.

`rewrite` writes the same values in other forms of MessagePack; `FORMS` is each form there is.
"""

import struct
from collections.abc import Callable
from typing import Any

import msgspec

from ledger.codec import encode
from ledger.messages.transactions import Place
from tests.factory import QUARTER, Network, free, make_contact, public
from tests.ledger.refusals.rows import Row, Sent
from tests.ledger.refusals.stake import register, waiting

Path = tuple[int, ...]
"""Where a value stands in a transaction: the index at each level."""

Form = Callable[[Any, bytes], bytes | None]
"""Writes a value, given its canonical bytes, in another form; None where it has no such form."""


def values_of(raw: bytes) -> Any:
    """The values of a transaction as lists, integers and bytes."""
    return msgspec.msgpack.decode(raw)


def paths_of(value: Any, path: Path = ()) -> list[Path]:
    """The places of all values, the outermost first."""
    paths = [path]
    if isinstance(value, list):
        for index, item in enumerate(value):
            paths += paths_of(item, (*path, index))
    return paths


def rewrite(value: Any, form: Form, at: Path, path: Path = ()) -> bytes | None:
    """The bytes of a value in which the one at `at` has another form; None if it cannot."""
    plain = encode(value)
    if isinstance(value, list):
        items = [rewrite(item, form, at, (*path, i)) for i, item in enumerate(value)]
        if any(item is None for item in items):
            return None
        head = len(plain) - len(b"".join(encode(item) for item in value))
        plain = plain[:head] + b"".join(item for item in items if item is not None)
    return form(value, plain) if path == at else plain


def _numbers(*heads: tuple[bytes, str]) -> dict[str, Form]:
    """Integers with this head and layout."""

    def make(head: bytes, layout: str) -> Form:
        def form(value: Any, plain: bytes) -> bytes | None:
            return _other(value, int, plain, head, layout, value, b"")

        return form

    return {f"int as {head.hex()} {layout}": make(head, layout) for head, layout in heads}


def _bytes(*heads: tuple[bytes, str]) -> dict[str, Form]:
    """Bytes whose head and length have this layout."""

    def make(head: bytes, layout: str) -> Form:
        def form(value: Any, plain: bytes) -> bytes | None:
            size = len(value) if isinstance(value, bytes) else 0
            return _other(value, bytes, plain, head, layout, size, plain[len(plain) - size :])

        return form

    return {f"bytes as {head.hex()} {layout}": make(head, layout) for head, layout in heads}


def _lists(*heads: tuple[bytes, str]) -> dict[str, Form]:
    """Arrays whose head and number of items have this layout."""

    def make(head: bytes, layout: str) -> Form:
        def form(value: Any, plain: bytes) -> bytes | None:
            count = len(value) if isinstance(value, list) else 0
            return _other(value, list, plain, head, layout, count, plain[_head(count) :])

        return form

    return {f"list as {head.hex()} {layout}": make(head, layout) for head, layout in heads}


def _head(count: int) -> int:
    """Length of the head of an array of so many items, fewer than 2^16."""
    return 1 if count < 16 else 3


def _resized(value: list[Any], plain: bytes, count: int) -> bytes:
    """An array whose head says that it has `count` items, whatever it has."""
    head = bytes([0x90 | count]) if count < 16 else b"\xdc" + struct.pack(">H", count)
    return head + plain[_head(len(value)) :]


def _other(
    value: Any, kind: type, plain: bytes, head: bytes, layout: str, number: int, rest: bytes
) -> bytes | None:
    """Head, number and rest, if the value is of this kind and that is not how it stands."""
    if type(value) is not kind:
        return None
    try:
        written = head + struct.pack(layout, number) + rest
    except struct.error:
        return None
    return None if written == plain else written


FORMS: dict[str, Form] = {
    **_numbers(
        *((b"\xcc", ">B"), (b"\xcd", ">H"), (b"\xce", ">I"), (b"\xcf", ">Q")),
        *((b"\xd0", ">b"), (b"\xd1", ">h"), (b"\xd2", ">i"), (b"\xd3", ">q")),
        *((b"\xca", ">f"), (b"\xcb", ">d")),
    ),
    **_bytes(
        *((b"\xc4", ">B"), (b"\xc5", ">H"), (b"\xc6", ">I")),
        *((b"\xd9", ">B"), (b"\xda", ">H"), (b"\xdb", ">I")),
        *((b"\xc7", ">Bx"), (b"\xc8", ">Hx"), (b"\xc9", ">Ix")),
    ),
    **_lists(
        *((b"\xdc", ">H"), (b"\xdd", ">I"), (b"\xde", ">H"), (b"\xdf", ">I")),
    ),
    "nil": lambda _value, _plain: b"\xc0",
    "false": lambda value, _plain: b"\xc2" if value == 0 else None,
    "true": lambda value, _plain: b"\xc3",
    "never used": lambda _value, _plain: b"\xc1",
    "negative": lambda value, _plain: b"\xff" if isinstance(value, int) else None,
    "one more than 64 bits": lambda value, _plain: (
        b"\xcf" + b"\xff" * 8 if isinstance(value, int) else None
    ),
    "map": lambda value, plain: b"\x81" + plain + plain if not isinstance(value, list) else b"\x80",
    "list of itself": lambda _value, plain: b"\x91" + plain,
    "a list in its place": lambda value, _plain: b"\x90" if value != [] else None,
    "text": lambda value, _plain: (
        bytes([0xA0 | len(value)]) + value if isinstance(value, bytes) and len(value) < 32 else None
    ),
    "left out": lambda _value, _plain: b"",
    "twice": lambda _value, plain: plain + plain,
    "one item less": lambda value, plain: (
        _resized(value, plain, len(value) - 1)[: -len(encode(value[-1]))]
        if isinstance(value, list) and value
        else None
    ),
    "one item more": lambda value, plain: (
        _resized(value, plain, len(value) + 1) + b"\x00" if isinstance(value, list) else None
    ),
    "cut off": lambda _value, plain: plain[:-1],
    "one byte less": lambda value, _plain: (
        encode(value[:-1]) if isinstance(value, bytes) and value else None
    ),
    "one byte more": lambda value, _plain: (
        encode(value + b"\x00") if isinstance(value, bytes) else None
    ),
}
"""Every other way to write a value."""


def mutated(form: str, *at: int) -> Any:
    """A function that makes a good transfer with one value in another form."""

    def make(network: Network) -> bytes:
        raw = network.transfer("alice", "bob")
        written = rewrite(values_of(raw), FORMS[form], at)
        assert written is not None, f"{form} does not apply"
        return written

    return make


def refused_by_codec(form: str, *at: int, code: str = "not_canonical") -> Sent:
    """A good transfer with one value in another form."""
    return Sent(code, mutated(form, *at))


def deep(levels: int) -> Any:
    """A function that makes arrays within arrays."""
    return lambda _network: b"\x92\x97\x01\x01" + b"\x91" * levels + b"\x00"


def bytes_of(text: str) -> Any:
    """A function that gives these bytes."""
    return lambda _network: bytes.fromhex(text)


def registers_many(network: Network) -> bytes:
    """A registration with more places than a record holds."""
    reserved = tuple(Place(bytes([i]) * 32, 1) for i in range(11))
    return network.register(stake=QUARTER, reserved=reserved)


def update_in_envelope(network: Network) -> bytes:
    """A kind that is free, sent as if somebody paid for it."""
    return network.paid("update_contact", "alice", Place(public("node"), 1))


ENVELOPE_NONCE, ENVELOPE_SENDER, BODY_AMOUNT = (0, 3), (0, 2), (0, 6, 1)

ENCODINGS: dict[str, Row] = {
    "no bytes": Sent("not_canonical", bytes_of("")),
    "four bytes": Sent("not_canonical", bytes_of("92970101")),
    "trailing byte": Sent("not_canonical", lambda n: n.transfer("alice", "bob") + b"\x00"),
    "last byte missing": Sent("not_canonical", lambda n: n.transfer("alice", "bob")[:-1]),
    "two transactions": Sent("not_canonical", lambda n: 2 * n.transfer("alice", "bob")),
    "nonce in two bytes": refused_by_codec("int as cc >B", *ENVELOPE_NONCE),
    "nonce in nine bytes": refused_by_codec("int as cf >Q", *ENVELOPE_NONCE),
    "nonce as signed integer": refused_by_codec("int as d0 >b", *ENVELOPE_NONCE),
    "negative nonce": refused_by_codec("negative", *ENVELOPE_NONCE),
    "nonce above 63 bits": refused_by_codec("one more than 64 bits", *ENVELOPE_NONCE),
    "amount as float": refused_by_codec("int as cb >d", *BODY_AMOUNT),
    "amount as short float": refused_by_codec("int as ca >f", *BODY_AMOUNT),
    "amount nil": refused_by_codec("nil", *BODY_AMOUNT),
    "amount true": refused_by_codec("true", *BODY_AMOUNT),
    "amount as list": refused_by_codec("list of itself", *BODY_AMOUNT),
    "sender as text": refused_by_codec("bytes as d9 >B", *ENVELOPE_SENDER),
    "sender with a long head": refused_by_codec("bytes as c5 >H", *ENVELOPE_SENDER),
    "sender as extension": refused_by_codec("bytes as c7 >Bx", *ENVELOPE_SENDER),
    "sender of 31 bytes": refused_by_codec("one byte less", *ENVELOPE_SENDER),
    "sender of 33 bytes": refused_by_codec("one byte more", *ENVELOPE_SENDER),
    "sender left out": refused_by_codec("left out", *ENVELOPE_SENDER),
    "body is a map": refused_by_codec("map", 0, 6),
    "body lacks a field": refused_by_codec("one item less", 0, 6),
    "body has a field more": refused_by_codec("one item more", 0, 6),
    "body with a long head": refused_by_codec("list as dc >H", 0, 6),
    "envelope with a long head": refused_by_codec("list as dc >H", 0),
    "envelope lacks a field": refused_by_codec("one item less", 0),
    "envelope has a field more": refused_by_codec("one item more", 0),
    "signature of 63 bytes": refused_by_codec("one byte less", 1),
    "no signature": Sent("not_canonical", lambda n: n.transfer("alice", "bob")[:-66] + b"\xc4\x00"),
    "version 0": Sent("not_canonical", lambda n: n.transfer("alice", "bob", version=0)),
    "version 2": Sent("not_canonical", lambda n: n.transfer("alice", "bob", version=2)),
    "another kind's body": Sent("not_canonical", lambda n: n.transfer("alice", "bob", kind=2)),
    "eleven places": Sent("not_canonical", registers_many),
    "life of 33 bits": Sent("not_canonical", register(life=2**32)),
    "port of 17 bits": Sent(
        "not_canonical", lambda n: n.register(contact=make_contact(storage_port=2**16))
    ),
    "arrays 10 deep": Sent("not_canonical", deep(10)),
    "arrays 10,000 deep": Sent("not_canonical", deep(10_000)),
    "array of 2^32 items": Sent("not_canonical", bytes_of("92970101ddffffffff")),
    "bytes of 2^32 length": Sent("not_canonical", bytes_of("92970101c6ffffffff")),
    "more bytes than a record may have": Sent(
        "too_large", lambda n: n.transfer("alice", "bob").ljust(2**16 + 1, b"\0")
    ),
    "kind 0": Sent("unknown_kind", lambda n: n.transfer("alice", "bob", kind=0)),
    "kind that nobody has": Sent("unknown_kind", lambda n: n.transfer("alice", "bob", kind=127)),
    "kind above its range": Sent("unknown_kind", lambda n: n.transfer("alice", "bob", kind=200)),
    "free kind that nobody has": Sent("unknown_kind", bytes_of("93010090c0")),
    "paid kind that is sent free": Sent(
        "unknown_kind", lambda _n: free("transfer", Place(public("bob"), 1))
    ),
    "free kind that is paid for": Sent("unknown_kind", update_in_envelope, waiting),
    "kind in two bytes": refused_by_codec("int as cc >B", 0, 1, code="unknown_kind"),
    "zeros": Sent("unknown_kind", lambda _n: bytes(100)),
    "text": Sent("unknown_kind", lambda _n: b'{"kind": "transfer", "amount": 5}'),
}
