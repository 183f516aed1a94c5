"""The files in which lists travel, one module for each.

    full              all columns of a list, compressed
    delta             what changed between two lists
    ladder            which deltas there are
    slice             one swarm with its proof
    session_json      its nodes as clients of the Session network bundle them
    session_binary    its nodes as storage servers of that network hand them out
    session           how that network shows a node
    fingerprint       a header as twelve words, for people

`FORMATS` is the table of those that carry a list; a new one is a file here and a row there.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ledger.messages.entries import Columns
from ledger.types import Hash, Height
from registry.formats.full import MAX_FULL_BYTES, decode_full, encode_full
from registry.formats.session import SessionNode
from registry.formats.session_binary import MAX_SESSION_BINARY_BYTES, encode_session_binary
from registry.formats.session_json import MAX_SESSION_JSON_BYTES, encode_session_json

HEADER_MEDIA_TYPE: Final = "application/vnd.waypost.header"
"""Type of a signed header, which stands beside every format."""


class Source(NamedTuple):
    """What the files of one list are made from."""

    columns: bytes
    height: Height
    """The header's: last block of the epoch at whose end the list was made."""
    nodes: Sequence[SessionNode]
    """Those of the list, by ascending key."""


class Format(NamedTuple):
    """One row of `FORMATS`."""

    name: str
    """The last part of its path, `/v1/lists/{epoch}/{name}`."""
    media_type: str
    parts: tuple[str, ...]
    """Fields of `Source` that `encode` takes."""
    encode: Callable[..., bytes]
    decode: Callable[[bytes, Hash], Columns] | None
    """From the file and the list hash of a verified header to the columns; refuses with a code.

    None if the file proves nothing: then it is for clients that trust whoever serves it.
    """
    max_bytes: int
    """Nobody has to read a longer file."""

    def make(self, source: Source) -> bytes:
        """Return the file of a list."""
        return self.encode(*(getattr(source, part) for part in self.parts))


FORMATS: Final[dict[str, Format]] = {
    row.name: row
    for row in (
        Format(
            "full", "application/vnd.waypost.full",
            ("columns",), encode_full, decode_full, MAX_FULL_BYTES,
        ),
        Format(
            "session-json", "application/json",
            ("height", "nodes"), encode_session_json, None, MAX_SESSION_JSON_BYTES,
        ),
        Format(
            "session-binary", "application/octet-stream",
            ("nodes",), encode_session_binary, None, MAX_SESSION_BINARY_BYTES,
        ),
    )
}  # fmt: skip
"""Every format by its name."""
