"""The `trust` file and what a client keeps: they come back, and what is none is refused.

What the parts have to pass is in tests/registry/client/test_trust.py.
"""

import tracemalloc
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import Refusal
from ledger.messages.lists import (
    HEADER_BYTES,
    MAX_ATTESTORS,
    MAX_SIGNED_HEADER_BYTES,
    Attestor,
    attestor_set_hash,
)
from registry.formats.trust import (
    MAX_ANCHOR_BYTES,
    MAX_HASHES,
    MAX_HEADERS,
    MAX_PATH_BYTES,
    MAX_SETS,
    Hop,
    Members,
    Path,
    Recovery,
    Way,
    decode_anchor,
    decode_path,
    encode_anchor,
    encode_hop,
    encode_path,
    join_paths,
)
from tests.registry.client.clients import refused
from tests.registry.client.factory import digest

# ---- What comes back ----

NUMBERS: Final = st.integers(0, 2**32 - 1)
HASHES: Final = st.binary(min_size=32, max_size=32)
SIGNATURES: Final = st.binary(min_size=64, max_size=64)
ATTESTORS: Final = st.builds(Attestor, HASHES, NUMBERS)
SETS: Final = st.lists(ATTESTORS, min_size=1, max_size=4).map(tuple)
RECOVERIES: Final = st.builds(
    Recovery,
    st.integers(0, 2**64 - 1),
    HASHES,
    st.lists(st.tuples(HASHES, SIGNATURES), min_size=1, max_size=3).map(tuple),
)
HOPS: Final = st.builds(
    Hop,
    st.lists(SETS, max_size=MAX_SETS).map(tuple),
    st.none() | RECOVERIES,
    st.lists(HASHES, max_size=5).map(tuple),
)


@st.composite
def signed_headers(draw: st.DrawFn) -> bytes:
    """Bytes as long as their set of signers makes them; any bit may be set."""
    header = draw(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES))
    places = draw(st.sets(st.integers(0, 31), max_size=3))
    return header + sum(1 << n for n in places).to_bytes(4, "big") + bytes(64 * len(places))


PATHS: Final = st.builds(
    Path, st.lists(st.builds(Way, HOPS, signed_headers()), max_size=3).map(tuple), HOPS
)


@given(PATHS)
def test_a_path_comes_back(path: Path) -> None:
    data = encode_path(path)
    assert decode_path(data) == path
    assert encode_path(decode_path(data)) == data


@given(PATHS, st.data())
def test_a_part_of_a_path_is_none(path: Path, data: st.DataObject) -> None:
    raw = encode_path(path)
    size = data.draw(st.integers(1, len(raw) - 1))
    refused("bad_path", lambda: decode_path(raw[:size]))
    refused("bad_path", lambda: decode_path(raw + bytes(size)))


@given(st.binary(max_size=600))
def test_any_bytes_are_a_path_in_one_way_only_or_none(data: bytes) -> None:
    for raw in (data, b"\1\0\0" + data, b"\1\0\1" + data):
        try:
            path = decode_path(raw)
        except Refusal:
            continue
        assert encode_path(path) == raw or not raw


@given(signed_headers(), HOPS)
def test_what_a_client_keeps_comes_back(signed: bytes, hop: Hop) -> None:
    data = encode_anchor(signed, hop)
    assert decode_anchor(data) == (signed, hop)
    assert data == b"\1" + signed + encode_hop(hop)


@given(PATHS, signed_headers(), PATHS)
def test_joined_paths_go_by_the_header_between_them(
    first: Path, signed: bytes, second: Path
) -> None:
    joined = join_paths(first, signed, second)
    stops = [way.signed_header for way in joined.ways]
    assert stops == [way.signed_header for way in (*first.ways, Way(Hop(), signed), *second.ways)]
    hops = [*(way.hop for way in joined.ways), joined.hop]
    expected = [*(way.hop for way in first.ways), first.hop]
    assert hops == [*expected, *(way.hop for way in second.ways), second.hop]
    assert decode_path(encode_path(joined)) == joined


def test_no_bytes_are_the_path_in_which_there_is_nothing() -> None:
    assert decode_path(b"") == Path((), Hop()) == decode_path(encode_path(Path()))
    assert encode_path(Path()) == b"\1\0\0" + bytes(3)


# ---- The bytes, one by one ----

SIGNED: Final = bytes(HEADER_BYTES) + b"\0\0\0\5" + b"s" * 128
SEATS: Final[Members] = (Attestor(b"a" * 32, 1), Attestor(b"b" * 32, 2**32 - 1))
ORDER: Final = Recovery(2**63 + 5, b"t" * 32, ((b"k" * 32, b"g" * 64), (b"l" * 32, b"h" * 64)))
WHOLE: Final = Path(
    (Way(Hop((SEATS,), ORDER, (b"x" * 32,)), SIGNED),), Hop((SEATS[:1], SEATS), None, ())
)


def test_a_path_stands_in_bytes_as_the_page_says() -> None:
    one, two = b"a" * 32 + b"\0\0\0\1", b"b" * 32 + b"\xff\xff\xff\xff"
    recovery = (
        b"\x80" + bytes(6) + b"\5" + b"t" * 32 + b"k" * 32 + b"g" * 64 + b"l" * 32 + b"h" * 64
    )
    parts = [
        *(b"\1", b"\0\1"),
        *(b"\1", b"\2", one, two, b"\2", recovery, b"\1", b"x" * 32),
        SIGNED,
        *(b"\2", b"\1", one, b"\2", one, two, b"\0", b"\0"),
    ]
    assert encode_path(WHOLE) == b"".join(parts)
    assert decode_path(b"".join(parts)) == WHOLE


def test_the_first_set_with_a_hash_is_found() -> None:
    hop = WHOLE.hop
    assert hop.find_set(attestor_set_hash(SEATS)) == SEATS
    assert hop.find_set(attestor_set_hash(SEATS[:1])) == SEATS[:1]
    assert hop.find_set(attestor_set_hash(SEATS[::-1])) is None
    assert Hop().find_set(bytes(32)) is None


# ---- What is refused ----

DATA: Final = encode_path(WHOLE)
HEAD: Final = b"\1\0\0"
SEAT: Final = digest("key") + b"\0\0\0\1"

BAD: Final[dict[str, tuple[str, bytes]]] = {
    "format 0": ("unknown_format", b"\0" + DATA[1:]),
    "format 2": ("unknown_format", b"\2" + DATA[1:]),
    "format 255, and nothing": ("unknown_format", b"\xff"),
    "longer than it may be": ("too_large", DATA + bytes(MAX_PATH_BYTES)),
    "longer by a byte": ("too_large", bytes(MAX_PATH_BYTES + 1)),
    "as long as it may be, in another format": ("unknown_format", bytes(MAX_PATH_BYTES)),
    "as long as it may be": ("bad_path", DATA.ljust(MAX_PATH_BYTES, b"\0")),
    "the format alone": ("bad_path", b"\1"),
    "half a number of headers": ("bad_path", b"\1\0"),
    "no hop": ("bad_path", HEAD),
    "a hop without a recovery": ("bad_path", HEAD + b"\0"),
    "a hop without hashes": ("bad_path", HEAD + b"\0\0"),
    "a byte left over": ("bad_path", DATA + b"\0"),
    "a hop left over": ("bad_path", DATA + bytes(3)),
    "a header that is not there": ("bad_path", b"\1\0\1" + bytes(3)),
    "a header without its set of signers": ("bad_path", b"\1\0\1" + bytes(3) + bytes(342)),
    "a header without its signature": ("bad_path", b"\1\0\1" + bytes(3) + bytes(345) + b"\1" * 4),
    "a header more than there may be": (
        "bad_path",
        b"\1" + (MAX_HEADERS + 1).to_bytes(2, "big") + bytes(349) * (MAX_HEADERS + 1) + bytes(3),
    ),
    "as many headers as a number has": ("bad_path", b"\1\xff\xff" + DATA[3:]),
    "a set more than there may be": ("bad_path", HEAD + b"\3" + (b"\1" + SEAT) * 3 + b"\0\0"),
    "as many sets as a number has": ("bad_path", HEAD + b"\xff" + (b"\1" + SEAT) * 255 + b"\0\0"),
    "a set of none": ("bad_path", HEAD + b"\1\0" + b"\0\0"),
    "a set of none behind another": ("bad_path", HEAD + b"\2\1" + SEAT + b"\0" + b"\0\0"),
    "a set of 26": ("bad_path", HEAD + b"\1\x1a" + SEAT * 26 + b"\0\0"),
    "half a member": ("bad_path", HEAD + b"\1\1" + SEAT[:30]),
    "a member without a weight": ("bad_path", HEAD + b"\1\1" + SEAT[:32]),
    "26 recovery signatures": ("bad_path", HEAD + b"\0\x1a" + bytes(40 + 26 * 96) + b"\0"),
    "a recovery without signatures": ("bad_path", HEAD + b"\0\1" + bytes(40)),
    "a recovery without tips": ("bad_path", HEAD + b"\0\1" + bytes(8)),
    "a begin without signatures": ("bad_path", HEAD + b"\0\0" + bytes(40) + b"\0"),
    "127 hashes": ("bad_path", HEAD + b"\0\0\x7f" + bytes(32 * 127)),
    "a hash less than it says": ("bad_path", HEAD + b"\0\0\2" + bytes(32)),
    "a hash more than it says": ("bad_path", HEAD + b"\0\0\1" + bytes(64)),
}


@pytest.mark.parametrize(("code", "data"), BAD.values(), ids=BAD.keys())
def test_what_is_no_path_is_refused(code: str, data: bytes) -> None:
    refused(code, lambda: decode_path(data))


FULLEST: Final = Hop(
    (tuple(Attestor(bytes([n]) * 32, n) for n in range(1, MAX_ATTESTORS + 1)),) * MAX_SETS,
    Recovery(1, bytes(32), ((bytes(32), bytes(64)),) * MAX_ATTESTORS),
    (bytes(32),) * MAX_HASHES,
)
LONGEST: Final = bytes(HEADER_BYTES) + b"\1\xff\xff\xff" + bytes(64 * MAX_ATTESTORS)


def test_the_bounds_are_those_of_the_page() -> None:
    assert (MAX_PATH_BYTES, MAX_HEADERS) == (4_194_304, 1_000)
    assert (MAX_SETS, MAX_ATTESTORS, MAX_HASHES) == (2, 25, 126)


def test_as_much_as_there_may_be_is_read() -> None:
    assert len(LONGEST) == MAX_SIGNED_HEADER_BYTES
    assert decode_path(encode_path(Path((), FULLEST))) == Path((), FULLEST)
    many = Path((Way(Hop(), LONGEST),) * MAX_HEADERS, FULLEST)
    data = encode_path(many)
    assert len(data) < MAX_PATH_BYTES
    assert decode_path(data) == many


def test_what_a_client_keeps_is_never_longer_than_its_bound() -> None:
    assert len(encode_anchor(LONGEST, FULLEST)) < MAX_ANCHOR_BYTES
    assert decode_anchor(encode_anchor(LONGEST, FULLEST)) == (LONGEST, FULLEST)


# ---- What a client keeps ----

KEPT: Final = encode_anchor(SIGNED, Hop((SEATS,), None, (b"x" * 32,)))
ANCHORS: Final[dict[str, tuple[str, bytes]]] = {
    "nothing": ("bad_path", b""),
    "the format alone": ("bad_path", b"\1"),
    "format 0": ("unknown_format", b"\0" + KEPT[1:]),
    "format 2": ("unknown_format", b"\2" + KEPT[1:]),
    "no hop": ("bad_path", b"\1" + SIGNED),
    "no header": ("bad_path", b"\1" + encode_hop(FULLEST)[:300]),
    "a signature is missing": ("bad_path", b"\1" + SIGNED[:-1]),
    "a byte left over": ("bad_path", KEPT + b"\0"),
    "a set of none": ("bad_path", b"\1" + SIGNED + b"\1\0\0\0"),
    "three sets": ("bad_path", b"\1" + SIGNED + b"\3" + (b"\1" + SEAT) * 3 + b"\0\0"),
    "127 hashes": ("bad_path", b"\1" + SIGNED + b"\0\0\x7f" + bytes(32 * 127)),
    "longer than one can be": ("bad_path", KEPT.ljust(MAX_ANCHOR_BYTES + 1, b"\0")),
}


@pytest.mark.parametrize(("code", "data"), ANCHORS.values(), ids=ANCHORS.keys())
def test_what_no_client_keeps_is_refused(code: str, data: bytes) -> None:
    refused(code, lambda: decode_anchor(data))


@pytest.mark.parametrize("size", range(1, len(KEPT), 7))
def test_a_part_of_what_is_kept_is_refused(size: int) -> None:
    refused("bad_path", lambda: decode_anchor(KEPT[:size]))


# ---- Room ----

ROOM_BYTES: Final = 2**16
"""What refusing some bytes may take beside them."""

ZEROS: Final = bytes(MAX_PATH_BYTES + 1)

COUNTS: Final[dict[str, Callable[[], object]]] = {
    "headers": lambda: decode_path(b"\1\3\xe8"),
    "more headers": lambda: decode_path(b"\1\xff\xff"),
    "sets": lambda: decode_path(HEAD + b"\2\x19"),
    "recovery signatures": lambda: decode_path(HEAD + b"\0\x19"),
    "hashes": lambda: decode_path(HEAD + b"\0\0\x7e"),
    "signers": lambda: decode_path(b"\1\0\1\0\0\0" + bytes(342) + b"\xff" * 4),
    "signers of what is kept": lambda: decode_anchor(b"\1" + bytes(342) + b"\xff" * 4),
    "bytes past the bound": lambda: decode_path(ZEROS),
}


@pytest.mark.parametrize("read", COUNTS.values(), ids=COUNTS.keys())
def test_what_promises_much_takes_no_room(read: Callable[[], object]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Refusal):
            read()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < ROOM_BYTES


@settings(max_examples=50)
@given(PATHS)
def test_reading_takes_no_more_than_a_few_times_the_path(path: Path) -> None:
    data = encode_path(path)
    tracemalloc.start()
    try:
        decode_path(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < ROOM_BYTES + 8 * len(data)
