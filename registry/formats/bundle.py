"""All that a client needs in one file, for any channel: where sources are blocked, or by hand.

u8 1 ‖ u32 length of the path ‖ path from genesis ‖ signed header ‖ `full` file
"""

from typing import Final, NamedTuple

from ledger.errors import Refusal
from ledger.messages.lists import (
    MAX_SIGNED_HEADER_BYTES,
    SIGNERS_END,
    measure_signed_header,
)
from registry.formats.full import MAX_FULL_BYTES
from registry.formats.trust import MAX_PATH_BYTES

NAME: Final = "bundle"
"""The last part of its path, `/v1/lists/{epoch}/bundle`."""

BUNDLE_MEDIA_TYPE: Final = "application/vnd.waypost.bundle"

FORMAT_BYTE: Final = 1

_HEAD_BYTES: Final = 5

MAX_BUNDLE_BYTES: Final = _HEAD_BYTES + MAX_PATH_BYTES + MAX_SIGNED_HEADER_BYTES + MAX_FULL_BYTES
"""Nobody has to read a longer file."""


class Bundle(NamedTuple):
    """The parts of a file, not verified."""

    path: bytes
    """From genesis to the header."""
    signed_header: bytes
    full: bytes


def encode_bundle(bundle: Bundle) -> bytes:
    """Return the file of its parts."""
    head = bytes([FORMAT_BYTE]) + len(bundle.path).to_bytes(4, "big")
    return head + bundle.path + bundle.signed_header + bundle.full


def is_bundle(data: bytes) -> bool:
    """Whether a file begins like a bundle; a signed header does not."""
    return data[:1] == bytes([FORMAT_BYTE])


def decode_bundle(data: bytes) -> Bundle:
    """Return the parts of a file.

    Refuses with `unknown_format` (its first byte), `too_large` and `bad_list` (what is cut off).
    """
    if not data:
        raise Refusal("bad_list", why="the file is empty")
    if data[0] != FORMAT_BYTE:
        raise Refusal("unknown_format", version=data[0])
    length = int.from_bytes(data[1:_HEAD_BYTES], "big")
    if len(data) >= _HEAD_BYTES and length > MAX_PATH_BYTES:
        raise Refusal("too_large", size=length, limit=MAX_PATH_BYTES)
    start = _HEAD_BYTES + length
    end = start + measure_signed_header(data[start : start + SIGNERS_END])
    if end > len(data):
        raise Refusal("bad_list", why="the file is cut off")
    return Bundle(data[_HEAD_BYTES:start], data[start:end], data[end:])
