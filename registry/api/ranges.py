"""Parts of an answer: the one range of bytes that a client lacks after an interrupted download.

- One range is understood, by first and last byte, by the first alone, or as so many last bytes.
  What else the header may say is ignored, as RFC 9110 lets a server do: the answer is the whole.
- With `If-Range` only whoever has a part of these very bytes gets the rest of them.
"""

import re
from typing import Final, NamedTuple, TypeAlias

_RANGE: Final = re.compile(rb"bytes=([0-9]{0,19})-([0-9]{0,19})\Z", re.ASCII | re.IGNORECASE)


class Part(NamedTuple):
    """The bytes from `first` up to but without `end`."""

    first: int
    end: int


class Beyond(NamedTuple):
    """A range that names no byte of so many."""

    size: int


Asked: TypeAlias = Part | Beyond | None
"""None: the whole."""


def read_range(value: bytes, if_range: bytes | None, etag: bytes, size: int) -> Asked:
    """Return what the headers Range and If-Range ask for of `size` bytes that `etag` names."""
    match = _RANGE.match(value.strip())
    if match is None or (if_range is not None and if_range.strip() != etag):
        return None
    first, last = match.groups()
    if not first:
        return _last_bytes(last, size)
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        return Beyond(size)
    return Part(int(first), min(size, int(last) + 1) if last else size)


def _last_bytes(count: bytes, size: int) -> Asked:
    if not count:
        return None
    return Part(max(0, size - int(count)), size) if int(count) and size else Beyond(size)
