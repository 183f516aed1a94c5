"""The `bundle` file: its parts come back, and what is cut off or too long is refused.

What the parts have to pass is in tests/registry/client/test_trust.py.
"""

import tracemalloc
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Refusal
from ledger.messages.lists import HEADER_BYTES
from registry.formats.bundle import (
    MAX_BUNDLE_BYTES,
    Bundle,
    decode_bundle,
    encode_bundle,
    is_bundle,
)
from registry.formats.full import MAX_FULL_BYTES
from registry.formats.trust import MAX_PATH_BYTES
from tests.registry.client.clients import refused
from tests.registry.client.factory import make_list
from tests.registry.formats.test_trust import LONGEST, SIGNED, signed_headers

BUNDLES: Final = st.builds(
    Bundle, st.binary(max_size=300), signed_headers(), st.binary(max_size=300)
)


@given(BUNDLES)
def test_the_parts_come_back(parts: Bundle) -> None:
    assert decode_bundle(encode_bundle(parts)) == parts


@given(BUNDLES, st.data())
def test_what_is_cut_off_before_the_list_is_refused(parts: Bundle, data: st.DataObject) -> None:
    raw = encode_bundle(parts)
    size = data.draw(st.integers(0, len(raw) - len(parts.full) - 1))
    refused("bad_list", lambda: decode_bundle(raw[:size]))


@given(st.binary(max_size=1000))
def test_any_bytes_are_a_bundle_in_one_way_only_or_none(data: bytes) -> None:
    for raw in (data, b"\1\0\0\0\2" + data):
        try:
            parts = decode_bundle(raw)
        except Refusal:
            continue
        assert encode_bundle(parts) == raw


def test_a_bundle_stands_in_bytes_as_the_page_says() -> None:
    parts = Bundle(b"p" * 300, SIGNED, b"list")
    raw = b"\1" + b"\0\0\1\x2c" + b"p" * 300 + SIGNED + b"list"
    assert encode_bundle(parts) == raw
    assert decode_bundle(raw) == parts


# ---- What is refused ----

WHOLE: Final = encode_bundle(Bundle(b"path", SIGNED, b"list"))
HEADER_END: Final = 9 + HEADER_BYTES
TOO_MANY: Final = (MAX_PATH_BYTES + 1).to_bytes(4, "big")

BAD: Final[dict[str, tuple[str, bytes]]] = {
    "nothing": ("bad_list", b""),
    "format 0": ("unknown_format", b"\0" + WHOLE[1:]),
    "format 2": ("unknown_format", b"\2" + WHOLE[1:]),
    "format 2, and nothing": ("unknown_format", b"\2"),
    "the format alone": ("bad_list", b"\1"),
    "half a length": ("bad_list", b"\1\0\0"),
    "half a length, of much": ("bad_list", b"\1\xff\xff\xff"),
    "the length alone": ("bad_list", b"\1\0\0\0\4"),
    "a path that is cut off": ("bad_list", WHOLE[:7]),
    "a header that is cut off": ("bad_list", WHOLE[:200]),
    "no set of signers": ("bad_list", WHOLE[:HEADER_END]),
    "half a set of signers": ("bad_list", WHOLE[: HEADER_END + 2]),
    "a signature less than it says": ("bad_list", WHOLE[: HEADER_END + 4 + 64]),
    "a signature that is cut off": ("bad_list", WHOLE[: -len(b"list") - 1]),
    "a signer more than there are signatures": (
        "bad_list",
        encode_bundle(Bundle(b"", SIGNED[:345] + b"\7" + SIGNED[346:], b"")),
    ),
    "a path longer than the file": ("bad_list", b"\1\0\0\2\0" + WHOLE[5:]),
    "the longest path, which is not there": (
        "bad_list",
        b"\1" + MAX_PATH_BYTES.to_bytes(4, "big") + WHOLE[5:],
    ),
    "a path longer than one may be": ("too_large", b"\1" + TOO_MANY + WHOLE[5:]),
    "the length alone, of a path too long": ("too_large", b"\1\xff\xff\xff\xff"),
    "a path much longer than one may be": ("too_large", b"\1\1\0\0\0" + WHOLE[5:]),
    "as long a path as a number says": ("too_large", b"\1\xff\xff\xff\xff" + WHOLE[5:]),
}


@pytest.mark.parametrize(("code", "data"), BAD.values(), ids=BAD.keys())
def test_what_is_no_bundle_is_refused(code: str, data: bytes) -> None:
    refused(code, lambda: decode_bundle(data))


def test_a_bundle_does_not_begin_like_a_header() -> None:
    signed = make_list().signed
    assert [is_bundle(data) for data in (WHOLE, signed, b"", b"\2")] == [True, False, False, False]


def test_the_longest_bundle_is_as_long_as_the_bound() -> None:
    parts = Bundle(bytes(MAX_PATH_BYTES), LONGEST, bytes(MAX_FULL_BYTES))
    data = encode_bundle(parts)
    assert len(data) == MAX_BUNDLE_BYTES
    assert decode_bundle(data) == parts


def test_a_length_that_promises_much_takes_no_room() -> None:
    tracemalloc.start()
    try:
        for data in (b"\1\0\x40\0\0", b"\1\xff\xff\xff\xff", b"\1\0\0\0\0" + b"\xff" * 346):
            with pytest.raises(Refusal):
                decode_bundle(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**16
