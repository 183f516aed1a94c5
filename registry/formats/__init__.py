"""The files in which lists travel, one module for each.

    full           all columns of a list, compressed
    fingerprint    a header as twelve words, for people

`FORMATS` is the table of those that carry a list; a new one is a file here and a row there.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from ledger.messages.lists import Entry
from ledger.types import Hash
from registry.formats.full import MAX_FULL_BYTES, decode_full, encode_full

HEADER_MEDIA_TYPE: Final = "application/vnd.waypost.header"
"""Type of a signed header, which stands beside every format."""


class Format(NamedTuple):
    """One row of `FORMATS`."""

    name: str
    """The last part of its path, `/v1/lists/{epoch}/{name}`."""
    media_type: str
    encode: Callable[[bytes], bytes]
    """From the columns of a list to the file."""
    decode: Callable[[bytes, Hash], list[Entry]]
    """From the file and the list hash of a verified header to the entries; refuses with a code."""
    max_bytes: int
    """Size of a file that holds as much as the format can; nobody has to read more."""


FORMATS: Final[dict[str, Format]] = {
    row.name: row
    for row in (
        Format("full", "application/vnd.waypost.full", encode_full, decode_full, MAX_FULL_BYTES),
    )
}
"""Every format by its name."""
