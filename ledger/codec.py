"""Canonical bytes: MessagePack arrays of unsigned integers and byte strings, nothing else.

- A record has a fixed schema; fields are never named, added or left out on the wire.
- There are no maps, floats, nil, bool, text or extension types; integers are minimal.
- Size is bounded before anything is decoded, depth by the schema.
- What does not encode again to the very same bytes is refused, so one value has one encoding.

The schema check, decoding and encoding are msgspec's (docs/adr/0002-records-by-msgspec.md).
"""

from typing import Annotated, Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from ledger.errors import CorruptStore, Refusal

U8: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**8 - 1)]
U16: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**16 - 1)]
U32: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
U63: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
U64: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Bytes4: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=4, max_length=4)]
Bytes32: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Bytes64: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
UpTo32: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=32)]
UpTo64: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=64)]

MAX_RECORD_BYTES: Final = 64 * 1024
"""Bound for a record that names no other: far above any state record, far below harm."""


class Record(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, gc=False):
    """Base of every record: an immutable value whose fields, in order, are its wire form."""


R = TypeVar("R")


class Codec(Generic[R]):
    """Encodes and decodes one kind of record.

    `what` names the record in refusals; `max_bytes` is checked before decoding.
    """

    __slots__ = ("_decode", "max_bytes", "what")

    def __init__(self, record: Any, what: str, max_bytes: int = MAX_RECORD_BYTES) -> None:
        self._decode = msgspec.msgpack.Decoder(record).decode
        self.what = what
        self.max_bytes = max_bytes

    def decode(self, raw: bytes) -> R:
        """Return the record of which `raw` is the encoding.

        Refuses with `too_large` and `not_canonical`.
        """
        if len(raw) > self.max_bytes:
            raise Refusal("too_large", size=len(raw), limit=self.max_bytes)
        try:
            record: R = self._decode(raw)
        except (msgspec.MsgspecError, RecursionError):
            # the library's own words differ between its versions, so they stay out
            raise Refusal("not_canonical", what=self.what) from None
        if encode(record) != raw:
            raise Refusal("not_canonical", what=self.what)
        return record

    def load(self, raw: bytes) -> R:
        """Decode what this process encoded and the state root vouches for: no second encoding.

        Raises `CorruptStore` if it does not fit the schema.
        """
        try:
            record: R = self._decode(raw)
        except (msgspec.MsgspecError, RecursionError):
            raise CorruptStore("of this chain", f"a {self.what} does not decode") from None
        return record


encode = msgspec.msgpack.Encoder().encode
"""The canonical bytes of a record, an integer, a byte string or a tuple of these."""
