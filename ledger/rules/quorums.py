"""Who tests whom: a quorum is drawn anew for each node and epoch.

- The testers of node v are the first k distinct indices u64(SHA-256(tag ‖ seed ‖ v ‖ u32 counter))
  mod n, over the n nodes of the roster in key order.
- Values that would favour low indices are passed over, and so are v and its operator's nodes.
- Where fewer than k nodes of other operators are active, nobody tests v.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

from ledger.crypto import TAG_BYTES
from ledger.messages import tags
from ledger.types import Hash, Key

MEMBER_BYTES: Final = 64
"""Node key ‖ operator."""

_HALF: Final = Struct(f"{MEMBER_BYTES // 2}s")

PREFIX: Final = tags.QUORUM.ljust(TAG_BYTES, b"\0")


class Members(NamedTuple):
    """A roster, taken apart."""

    keys: tuple[Key, ...]
    """Node keys, ascending."""
    operators: tuple[Key, ...]
    """Operator of each."""
    nodes_of: Mapping[Key, int]
    """How many of them each operator has."""


def pack_members(members: Iterable[tuple[Key, Key]]) -> bytes:
    """Return the bytes of `(node, operator)`, which come by ascending node."""
    return b"".join(node + operator for node, operator in members)


@lru_cache(maxsize=4)
def unpack_members(packed: bytes) -> Members:
    """Return what `pack_members` packed; kept for the few rosters that are in use."""
    halves = [half for (half,) in _HALF.iter_unpack(packed)]
    operators = tuple(halves[1::2])
    return Members(tuple(halves[::2]), operators, Counter(operators))


def has_quorum(members: Members, operator: Key, testers: int) -> bool:
    """Whether enough nodes of other operators are active to test a node of `operator`."""
    return len(members.keys) - members.nodes_of.get(operator, 0) >= testers


def draw_testers(
    members: Members, seed: Hash, node: Key, operator: Key, testers: int
) -> tuple[Key, ...]:
    """Return the testers of `node` in the order in which they are drawn; none without a quorum."""
    if not has_quorum(members, operator, testers):
        return ()
    keys, operators = members.keys, members.operators
    count = len(keys)
    start = sha256(PREFIX + seed + node)
    fair = 2**64 - 2**64 % count
    drawn: dict[int, None] = {}
    counter = 0
    while len(drawn) < testers:
        draw = start.copy()
        draw.update(counter.to_bytes(4, "big"))
        value = int.from_bytes(draw.digest()[:8], "big")
        counter += 1
        index = value % count
        if value < fair and index not in drawn and operators[index] != operator:
            drawn[index] = None
    return tuple(keys[index] for index in drawn)
