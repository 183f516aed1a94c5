"""What the tables of decoders have in each row."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ledger.codec import Codec, encode
from ledger.errors import Refusal


class Decoder(NamedTuple):
    """One row."""

    raw: bytes
    """What it takes."""
    decode: Callable[[bytes], Any]
    """Returns what can be compared: the same for the same bytes."""
    errors: type[Exception] | tuple[type[Exception], ...] = Refusal
    """What it refuses everything else with."""
    what: str = ""
    """What the codec behind it calls its records, if there is one."""
    encode: Callable[[Any], bytes] | None = None
    """Gives back the bytes of what was decoded, where one value has one encoding."""


def of_codec(raw: bytes, codec: Codec[Any]) -> Decoder:
    """The row of a codec."""
    return Decoder(raw, codec.decode, what=codec.what, encode=encode)
