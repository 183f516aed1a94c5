"""What leads a client from what it trusts to a newer header, over changes of the attestors.

    path    u8 1 ‖ u16 headers on the way ‖ hop ‖ (signed header ‖ hop) for each of them
    hop     u8 sets ‖ (u8 members ‖ (key ‖ u32 weight)…)…
            ‖ u8 recovery signers ‖ if any: u64 begin ‖ tips hash ‖ (key ‖ signature)…
            ‖ u8 hashes ‖ 32 bytes each

- A hop has what is needed to check the header at its end. The last one leads to the header that the
  path is for, which comes by itself: it gains signatures while the path stays.
- A path is not signed; docs/spec/trust.md says how it is checked.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, NoReturn

from ledger.crypto import SIGNATURE_BYTES
from ledger.errors import Refusal
from ledger.messages.lists import (
    MAX_ATTESTORS,
    SIGNERS_END,
    Attestor,
    attestor_set_hash,
    measure_signed_header,
)
from ledger.types import Epoch, Hash, Key

TRUST_MEDIA_TYPE: Final = "application/vnd.waypost.trust"

FORMAT_BYTE: Final = 1

MAX_PATH_BYTES: Final = 2**22
"""Nobody has to read a longer path."""

MAX_HEADERS: Final = 1000
"""Headers on the way at most."""

MAX_SETS: Final = 2
"""Sets that one hop can need: the one that was to sign next, and the one that signed."""

MAX_HASHES: Final = 126
"""Full subtrees between two leaves of a tree of up to 2^63 at most."""

MAX_ANCHOR_BYTES: Final = 2**14
"""What a client keeps of its own is never longer."""

Members = tuple[Attestor, ...]
"""An attestor set, by ascending list key."""


class Recovery(NamedTuple):
    """The order by which the recovery keys replaced the attestors; what it names is their set."""

    begin: Epoch
    """The epoch at whose end the set took over."""
    tips_hash: Hash
    signers: tuple[tuple[Key, bytes], ...]
    """`(key, signature)` of each recovery key that signed, by ascending key."""


class Hop(NamedTuple):
    """What is needed to get from one header to another."""

    sets: tuple[Members, ...] = ()
    recovery: Recovery | None = None
    hashes: tuple[Hash, ...] = ()
    """Roots of the full subtrees of the history between the two."""

    def find_set(self, set_hash: Hash) -> Members | None:
        """Return the set that has a hash, if it is one of these."""
        return next((m for m in self.sets if attestor_set_hash(m) == set_hash), None)


class Way(NamedTuple):
    """One header on the way, and the hop that leads to it."""

    hop: Hop
    signed_header: bytes


class Path(NamedTuple):
    """The parts of a path, not verified."""

    ways: tuple[Way, ...] = ()
    hop: Hop = Hop()
    """The hop to the header that the path is for."""


# ------------------------------------------------------------------------------- encoding


def encode_path(path: Path) -> bytes:
    """Return the file of a path."""
    head = bytes([FORMAT_BYTE]) + len(path.ways).to_bytes(2, "big")
    ways = b"".join(encode_hop(way.hop) + way.signed_header for way in path.ways)
    return head + ways + encode_hop(path.hop)


def encode_hop(hop: Hop) -> bytes:
    """Return the bytes of one hop."""
    sets = b"".join(bytes([len(members)]) + _encode_members(members) for members in hop.sets)
    hashes = bytes([len(hop.hashes)]) + b"".join(hop.hashes)
    return bytes([len(hop.sets)]) + sets + _encode_recovery(hop.recovery) + hashes


def _encode_members(members: Sequence[Attestor]) -> bytes:
    return b"".join(each.list_key + each.weight.to_bytes(4, "big") for each in members)


def _encode_recovery(recovery: Recovery | None) -> bytes:
    if recovery is None:
        return b"\0"
    head = bytes([len(recovery.signers)]) + recovery.begin.to_bytes(8, "big") + recovery.tips_hash
    return head + b"".join(key + signature for key, signature in recovery.signers)


# -------------------------------------------------------------------------------- reading


def decode_path(data: bytes) -> Path:
    """Return the parts of a path; no bytes are the path with nothing in it.

    Refuses with `too_large`, `unknown_format` (its first byte) and `bad_path`. What the signed
    headers hold is not looked at.
    """
    if len(data) > MAX_PATH_BYTES:
        raise Refusal("too_large", size=len(data), limit=MAX_PATH_BYTES)
    if not data:
        return Path()
    reader = Reader(data)
    reader.take_format()
    count = reader.take_number(2, MAX_HEADERS)
    ways = tuple(Way(reader.take_hop(), reader.take_signed_header()) for _ in range(count))
    path = Path(ways, reader.take_hop())
    reader.finish()
    return path


def join_paths(first: Path, signed_header: bytes, second: Path) -> Path:
    """Return the path through `signed_header`, where the first one ends and the second begins."""
    return Path((*first.ways, Way(first.hop, signed_header), *second.ways), second.hop)


# ---- What a client keeps of its own: u8 1 ‖ signed header ‖ hop ----


def encode_anchor(signed_header: bytes, hop: Hop) -> bytes:
    """Return the file of a header that a client goes on from, and what is known with it."""
    return bytes([FORMAT_BYTE]) + signed_header + encode_hop(hop)


def decode_anchor(data: bytes) -> tuple[bytes, Hop]:
    """Return the signed header and the hop. Refuses with `unknown_format` and `bad_path`."""
    reader = Reader(data)
    reader.take_format()
    parts = reader.take_signed_header(), reader.take_hop()
    reader.finish()
    return parts


class Reader:
    """Takes the parts of a file from its bytes. Refuses with `bad_path` what is cut off."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            _refuse("it is cut off")
        self._at += size
        return part

    def take_format(self) -> None:
        """Take the format byte. Refuses with `unknown_format`."""
        version = self.take(1)[0]
        if version != FORMAT_BYTE:
            raise Refusal("unknown_format", version=version)

    def take_number(self, size: int, most: int) -> int:
        """Return a number of `size` bytes that is not above `most`."""
        number = int.from_bytes(self.take(size), "big")
        if number > most:
            _refuse(f"it has {number} of what may be {most}")
        return number

    def take_signed_header(self) -> bytes:
        """Return a signed header, as long as its set of signers makes it."""
        head = self.take(SIGNERS_END)
        return head + self.take(measure_signed_header(head) - SIGNERS_END)

    def take_hop(self) -> Hop:
        """Return a hop."""
        sets = tuple(self._take_members() for _ in range(self.take_number(1, MAX_SETS)))
        recovery = self._take_recovery()
        return Hop(sets, recovery, tuple(self._take_hashes()))

    def finish(self) -> None:
        """Refuse bytes that are left over."""
        if self._at != len(self._data):
            _refuse("bytes are left over")

    def _take_members(self) -> Members:
        count = self.take_number(1, MAX_ATTESTORS)
        if not count:
            _refuse("a set has no attestor")
        return tuple(Attestor(self.take(32), self.take_number(4, 2**32)) for _ in range(count))

    def _take_recovery(self) -> Recovery | None:
        count = self.take_number(1, MAX_ATTESTORS)
        if not count:
            return None
        begin, tips_hash = self.take_number(8, 2**64), self.take(32)
        signers = tuple((self.take(32), self.take(SIGNATURE_BYTES)) for _ in range(count))
        return Recovery(begin, tips_hash, signers)

    def _take_hashes(self) -> list[Hash]:
        return [self.take(32) for _ in range(self.take_number(1, MAX_HASHES))]


def _refuse(why: str) -> NoReturn:
    raise Refusal("bad_path", why=why)
