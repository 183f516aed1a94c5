"""One swarm of a list with its proof: a client that needs no more gets all of it in one answer.

    u8 1 ‖ signed header ‖ u16 place of the swarm among all swarms ‖ swarm leaf ‖ audit path

- Every part says by itself how long it is; the path is what is left, 32 bytes a hash.
- The leaf names the swarms on both sides of its own, so that one path proves that no other swarm is
  nearer to an account.
- Whoever asks for one swarm tells which accounts he cares for; the whole list tells nobody.
"""

from typing import Final, NamedTuple

from ledger.errors import Refusal
from ledger.merkle import leaf_hash, root_from_path
from ledger.messages.entries import (
    MAX_ENTRY_BYTES,
    SWARM_LEAF_HEAD_BYTES,
    Entry,
    measure_swarm_leaf,
    unpack_swarm_leaf,
)
from ledger.messages.lists import (
    MAX_MEMBERS,
    MAX_SIGNED_HEADER_BYTES,
    MAX_SWARMS,
    SIGNERS_END,
    ListHeader,
    measure_signed_header,
)
from ledger.rules.swarms import nearest_swarm, position_of
from ledger.types import Hash

SLICE_MEDIA_TYPE: Final = "application/vnd.waypost.slice"

FORMAT_BYTE: Final = 1

MAX_PATH: Final = MAX_SWARMS.bit_length() - 1
"""Hashes of an audit path at most."""

MAX_SLICE_BYTES: Final = (
    1
    + MAX_SIGNED_HEADER_BYTES
    + 2
    + SWARM_LEAF_HEAD_BYTES
    + MAX_MEMBERS * MAX_ENTRY_BYTES
    + 32 * MAX_PATH
)
"""Nobody has to read a longer file."""


class Slice(NamedTuple):
    """The parts of a file, not verified."""

    signed_header: bytes
    place: int
    leaf: bytes
    path: tuple[Hash, ...]


def encode_slice(parts: Slice) -> bytes:
    """Return the file of its parts."""
    head = bytes([FORMAT_BYTE]) + parts.signed_header + parts.place.to_bytes(2, "big")
    return head + parts.leaf + b"".join(parts.path)


def decode_slice(data: bytes) -> Slice:
    """Return the parts of a file.

    Refuses with `too_large`, `unknown_format` (its first byte) and `bad_list` (what is cut off or
    has no whole hashes at its end).
    """
    if len(data) > MAX_SLICE_BYTES:
        raise Refusal("too_large", size=len(data), limit=MAX_SLICE_BYTES)
    if not data:
        raise Refusal("bad_list", why="the file is empty")
    if data[0] != FORMAT_BYTE:
        raise Refusal("unknown_format", version=data[0])
    header_end = 1 + measure_signed_header(data[1 : 1 + SIGNERS_END])
    start = header_end + 2
    end = start + measure_swarm_leaf(data[start:])
    rest = data[end:]
    if len(rest) % 32 or len(rest) > 32 * MAX_PATH:
        raise Refusal("bad_list", why="its path has no whole hashes, or too many")
    return Slice(
        data[1:header_end],
        int.from_bytes(data[header_end:start], "big"),
        data[start:end],
        tuple(rest[at : at + 32] for at in range(0, len(rest), 32)),
    )


def open_slice(parts: Slice, header: ListHeader, account_id: bytes) -> list[Entry]:
    """Return the members of the swarm that serves an account, by ascending key.

    `header` is that of the slice, verified; `account_id` has 33 bytes, or 32 without its prefix.
    Refuses with `bad_list` a leaf that is not in the header's tree at its place, and a swarm to
    which another one is nearer.
    """
    root = root_from_path(leaf_hash(parts.leaf), parts.place, header.swarm_count, parts.path)
    if root != header.swarm_root:
        raise Refusal("bad_list", why="its path does not lead to the header's root of swarms")
    leaf = unpack_swarm_leaf(parts.leaf)
    around = sorted({leaf.before, leaf.swarm_id, leaf.after})
    if nearest_swarm(around, position_of(account_id[-32:])) != leaf.swarm_id:
        raise Refusal("bad_list", why="another swarm is nearer to the account")
    return list(leaf.members)
