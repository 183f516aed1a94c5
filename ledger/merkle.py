"""Trees of hashes: RFC 9162 trees, the history of an append-only one, the sparse tree of the state.

- A leaf is hashed behind 0x00, an inner node behind 0x01: neither can stand for the other.
- An RFC 9162 tree proves that something stands at a position of a list.
- The sparse tree proves that a record has a value, or that there is no such record. A subtree that
  holds one leaf *is* that leaf, so the root follows from the records, whatever was there before.

Sparse trees are plain tuples that never change: an update shares what it did not touch, so an old
root or an overlay costs nothing but its own nodes. They hold no cycles, so whoever builds one of
millions of leaves may pause the garbage collector meanwhile: it finds nothing and doubles the time.

The rules, with examples in bytes, are docs/spec/merkle.md.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from ledger.errors import Misuse, Refusal
from ledger.types import ZERO_HASH, Hash

HASH_BYTES: Final = 32
MAX_DEPTH: Final = 256
"""Bits of a path; no sparse proof has more siblings."""

EMPTY_TREE_ROOT: Final = sha256(b"").digest()
"""Root of an RFC 9162 tree without leaves."""

# --- RFC 9162 trees -----------------------------------------------------------------------------


def leaf_hash(data: bytes) -> Hash:
    """SHA-256(0x00 ‖ data): the hash of a leaf."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: Hash, right: Hash) -> Hash:
    """SHA-256(0x01 ‖ left ‖ right): the hash of an inner node over two hashes of 32 bytes."""
    return sha256(b"\x01" + left + right).digest()


def tree_root(leaf_hashes: Sequence[Hash]) -> Hash:
    """Return the root over any number of leaf hashes; without a leaf it is SHA-256 of nothing."""
    return tree_levels(leaf_hashes)[-1][0] if leaf_hashes else EMPTY_TREE_ROOT


def tree_levels(leaf_hashes: Sequence[Hash]) -> list[Sequence[Hash]]:
    """Return the hashes of a tree, from its leaves to its root: for who wants many audit paths."""
    levels = [leaf_hashes]
    while len(levels[-1]) > 1:
        levels.append(_level_above(levels[-1]))
    return levels


def audit_path(leaf_hashes: Sequence[Hash], index: int) -> list[Hash]:
    """Return the hashes that lead from leaf `index` to the root, nearest to the leaf first.

    `index` is 0 to the number of leaves − 1; anything else is a caller's mistake.
    """
    return audit_path_in(tree_levels(leaf_hashes), index)


def audit_path_in(levels: Sequence[Sequence[Hash]], index: int) -> list[Hash]:
    """Return the audit path of a leaf of the tree that has these `tree_levels`."""
    if not 0 <= index < len(levels[0]):
        raise Misuse(f"leaf {index} of {len(levels[0])}")
    path = []
    for level in levels[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index >>= 1
    return path


def root_from_path(leaf: Hash, index: int, size: int, path: Sequence[Hash]) -> Hash | None:
    """Return the root that `path` gives the leaf hash `leaf` at `index` of `size` leaves.

    None where the index is outside the tree, where the path's length does not fit index and size,
    or where a hash is not 32 bytes. The caller compares the root with one that it trusts.
    """
    if not 0 <= index < size or any(len(part) != HASH_BYTES for part in (leaf, *path)):
        return None
    root, last, used = leaf, size - 1, 0
    while last:
        # The last node of a level of odd length has no sibling and moves up as it is.
        if index & 1 or index < last:
            if used == len(path):
                return None
            sibling, used = path[used], used + 1
            root = node_hash(sibling, root) if index & 1 else node_hash(root, sibling)
        index >>= 1
        last >>= 1
    return root if used == len(path) else None


def _level_above(level: Sequence[Hash]) -> list[Hash]:
    above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) & 1:
        above.append(level[-1])
    return above


# --- history ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class History:
    """An append-only RFC 9162 tree, reduced to what appending and its root need.

    A size that does not fit the peaks is a caller's mistake.
    """

    size: int = 0
    """Leaves appended so far."""

    peaks: tuple[Hash, ...] = ()
    """Roots of the full subtrees, left to right: one for each 1 in `size`, largest first."""

    def __post_init__(self) -> None:
        if self.size < 0 or self.size.bit_count() != len(self.peaks):
            raise Misuse(f"{len(self.peaks)} peaks do not make a tree of {self.size} leaves")
        if any(len(peak) != HASH_BYTES for peak in self.peaks):
            raise Misuse("a peak is a hash of 32 bytes")

    def append(self, leaf: Hash) -> "History":
        """Return the history with one more leaf hash at its end."""
        return self._append(Subtree(0, self.size), leaf)

    def ended_by(self, leaf: Hash) -> list[tuple["Subtree", Hash]]:
        """Return the full subtrees that one more leaf ends, itself first, with their roots."""
        return list(self._climb(Subtree(0, self.size), leaf))

    def extend(self, stop: int, roots: Sequence[Hash]) -> "History | None":
        """Return the history grown to `stop` leaves, or None where the roots do not fit.

        `roots` are those of `split_leaves(size, stop)`.
        """
        subtrees = split_leaves(self.size, stop)
        if len(subtrees) != len(roots):
            return None
        history = self
        for subtree, root in zip(subtrees, roots, strict=True):
            history = history._append(subtree, root)
        return history

    def _append(self, subtree: "Subtree", root: Hash) -> "History":
        *_, (last, peak) = self._climb(subtree, root)
        taken = last.level - subtree.level
        return History(subtree.stop, (*self.peaks[: len(self.peaks) - taken], peak))

    def _climb(self, subtree: "Subtree", root: Hash) -> Iterator[tuple["Subtree", Hash]]:
        """Yield a subtree at the end, and those that it completes with the peaks before it."""
        yield subtree, root
        for peak in reversed(self.peaks):
            if not subtree.place & 1:  # it is a left side, so the peak before it is a larger one
                return
            subtree, root = Subtree(subtree.level + 1, subtree.place >> 1), node_hash(peak, root)
            yield subtree, root

    def root(self) -> Hash:
        """Return the root, the same as `tree_root` over all leaf hashes."""
        if not self.peaks:
            return EMPTY_TREE_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


class Subtree(NamedTuple):
    """A full subtree of a history: 2^`level` leaves, from leaf `place` · 2^`level` on."""

    level: int
    place: int

    @property
    def stop(self) -> int:
        """The leaf after its last one."""
        return (self.place + 1) << self.level


def split_leaves(start: int, stop: int) -> list[Subtree]:
    """Return the fewest full subtrees that make the leaves from `start` to before `stop`.

    By ascending leaf; none if there are no such leaves. From 0 on they are the peaks.
    """
    subtrees = []
    while start < stop:
        largest = (stop - start).bit_length() - 1
        level = min(largest, (start & -start).bit_length() - 1) if start else largest
        subtrees.append(Subtree(level, start >> level))
        start = subtrees[-1].stop
    return subtrees


# --- the sparse tree ----------------------------------------------------------------------------
# A node is kept as the bytes that its hash is taken of, 65 of them, so that a branch holds the
# hashes of both sides and an update never looks at the side that it does not touch.

SparseLeaf: TypeAlias = bytes
"""0x00 ‖ path ‖ value hash."""

SparseBranch: TypeAlias = "tuple[bytes, SparseTree, SparseTree]"
"""0x01 ‖ left hash ‖ right hash; what is left, where the path's next bit is 0; what is right."""

SparseTree: TypeAlias = "SparseLeaf | SparseBranch | None"
"""None is the empty tree. Nobody else looks inside."""

SparseChange: TypeAlias = tuple[Hash, Hash | None]
"""A path and its new value hash, or None to remove the record."""

_LEFT: Final = slice(1, 33)
_RIGHT: Final = slice(33, 65)

_BITS: Final = tuple(1 << bit for bit in range(MAX_DEPTH - 1, -1, -1))
"""The bit of a path, taken as an integer, that decides at each depth."""

_Part: TypeAlias = tuple[SparseTree, Hash, int]
"""A subtree, its hash, and the depth at which it stands; a leaf stands anywhere below its turn."""

_Waiting: TypeAlias = tuple[int, _Part]
"""The depth of a branch whose right side is still to come; its left side."""

_EMPTY: Final[_Part] = (None, ZERO_HASH, MAX_DEPTH)


def sparse_change(key: bytes, value: bytes | None) -> SparseChange:
    """Return the path of `key`, and the value hash of `value` (None stays None)."""
    return sha256(key).digest(), None if value is None else sha256(value).digest()


def sparse_root(tree: SparseTree) -> Hash:
    """Return the root: 32 zero bytes for the empty tree."""
    if tree is None:
        return ZERO_HASH
    return sha256(tree[0] if isinstance(tree, tuple) else tree).digest()


def sparse_update(tree: SparseTree, changes: Iterable[SparseChange]) -> SparseTree:
    """Return the tree after all changes, in whatever order they come; `tree` stays as it was.

    Removing what is not there changes nothing. A path that comes twice is a caller's mistake, and
    so is a hash that is not 32 bytes.
    """
    ordered = sorted(changes, key=itemgetter(0))
    for path, value in ordered:
        if len(path) != HASH_BYTES or (value is not None and len(value) != HASH_BYTES):
            raise Misuse("paths and value hashes are 32 bytes")
    numbers = [int.from_bytes(path) for path, _ in ordered]
    turns = [MAX_DEPTH - (one ^ next_one).bit_length() for one, next_one in pairwise(numbers)]
    if MAX_DEPTH in turns:
        raise Misuse("a path comes twice")
    return _update(tree, ordered, numbers, [*turns, -1]) if ordered else tree


def sparse_build(leaves: Iterable[tuple[Hash, Hash]]) -> SparseTree:
    """Return the tree of (path, value hash) in strictly ascending order of path.

    The same as `sparse_update` of the empty tree, faster and without holding the leaves twice.
    Another order is a caller's mistake, and so is a hash that is not 32 bytes.
    """
    waiting: list[_Waiting] = []
    part = _EMPTY
    last = b""
    for path, value in leaves:
        if path <= last or len(path) != HASH_BYTES or len(value) != HASH_BYTES:
            raise Misuse("paths and value hashes are 32 bytes, and the paths ascend")
        if last:
            turn = _shared_bits(last, path)
            part = _close(waiting, turn, part, last)
            waiting.append((turn, _lift(part, turn + 1, last)))
        leaf = b"\x00" + path + value
        part, last = (leaf, sha256(leaf).digest(), MAX_DEPTH), path
    return _lift(_close(waiting, -1, part, last), 0, last)[0]


def _update(
    tree: SparseTree, changes: list[SparseChange], numbers: list[int], turns: list[int]
) -> SparseTree:
    """Apply changes in order of path.

    `numbers` has their paths as integers, `turns` the depth at which each next path turns off, and
    −1 at the end: from one change the walk climbs to that turn only, so a branch is hashed once.
    """
    passed: list[SparseBranch] = []
    node, depth = tree, 0
    for (path, value), number, turn in zip(changes, numbers, turns, strict=True):
        while isinstance(node, tuple):
            passed.append(node)
            node = node[2] if number & _BITS[depth] else node[1]
            depth += 1
        node, digest = _place(node, depth, path, value)
        while depth > turn + 1:
            depth -= 1
            data, left, right = passed.pop()
            if number & _BITS[depth]:
                data, right = data[:33] + digest, node
            else:
                data, left = b"\x01" + digest + data[_RIGHT], node
            if left is None and not isinstance(right, tuple):
                node, digest = right, data[_RIGHT]
            elif right is None and not isinstance(left, tuple):
                node, digest = left, data[_LEFT]
            else:
                node, digest = (data, left, right), sha256(data).digest()
        if turn >= 0 and depth == turn + 1:
            # The next path passes this branch on the right; its climb takes the branch's hash.
            data, _, right = passed[-1]
            passed[-1] = b"\x01" + digest + data[_RIGHT], node, right
            node = right
    return node


def _place(
    found: SparseLeaf | None, depth: int, path: Hash, value: Hash | None
) -> tuple[SparseTree, Hash]:
    """Return what stands at a place after the change, where `found` stood at `depth`; its hash."""
    if value is None:
        if found is None or found.startswith(path, 1):
            return None, ZERO_HASH
        return found, sha256(found).digest()
    leaf = b"\x00" + path + value
    digest = sha256(leaf).digest()
    if found is None or found.startswith(path, 1):
        return leaf, digest
    found_hash = sha256(found).digest()
    if found < leaf:
        branch = (b"\x01" + found_hash + digest, found, leaf)
    else:
        branch = (b"\x01" + digest + found_hash, leaf, found)
    turn = _shared_bits(found[_LEFT], path)
    node, digest, _ = _lift((branch, sha256(branch[0]).digest(), turn), depth, path)
    return node, digest


def _close(waiting: list[_Waiting], turn: int, part: _Part, path: bytes) -> _Part:
    """Finish the branches deeper than `turn`, of which `part`, on `path`, ends the right side."""
    while waiting and waiting[-1][0] > turn:
        depth, (left, left_hash, _) = waiting.pop()
        right, right_hash, _ = _lift(part, depth + 1, path)
        data = b"\x01" + left_hash + right_hash
        part = ((data, left, right), sha256(data).digest(), depth)
    return part


def _lift(part: _Part, above: int, path: bytes) -> _Part:
    """Return the subtree at depth `above` that holds `part`, which lies on `path`, and no more.

    A leaf stays what it is; a branch gets a branch with an empty side on each level between.
    """
    node, digest, depth = part
    if not isinstance(node, tuple):
        return part
    while depth > above:
        depth -= 1
        if _bit(path, depth):
            node = (b"\x01" + ZERO_HASH + digest, None, node)
        else:
            node = (b"\x01" + digest + ZERO_HASH, node, None)
        digest = sha256(node[0]).digest()
    return node, digest, depth


def _bit(path: bytes, depth: int) -> int:
    """Return bit `depth` of the path, as 0 or not 0; bit 0 is the highest of the first byte."""
    return path[depth >> 3] & (128 >> (depth & 7))


def _shared_bits(one: bytes, other: bytes) -> int:
    """Return how many bits two paths share before the first that differs, 0 to 256."""
    differ = int.from_bytes(one) ^ int.from_bytes(other)
    return MAX_DEPTH - differ.bit_length()


# --- proofs of the sparse tree ------------------------------------------------------------------


class SparseProof(NamedTuple):
    """What stands at the end of a path, and the hashes beside the way there."""

    siblings: tuple[Hash, ...]
    """The other side of each branch on the way, from the root down; 32 zero bytes if empty."""

    leaf: tuple[Hash, Hash] | None
    """Path and value hash of the leaf at the end, or None where the place is empty."""

    def encode(self) -> bytes:
        """Return the bytes of the proof, 3 to 8291 of them.

        u8 1 with a leaf, else 0 ‖ the leaf's path ‖ its value hash ‖ u16 number of siblings ‖ one
        bit for each sibling, 1 where it is not empty, from the highest bit of the first byte on,
        padded with 0 to a whole byte ‖ the siblings that are not empty. Integers are big-endian.
        """
        depth = len(self.siblings)
        shown = 0
        for sibling in self.siblings:
            shown = shown << 1 | (sibling != ZERO_HASH)
        width = (depth + 7) >> 3
        parts = [b"\x00"] if self.leaf is None else [b"\x01", *self.leaf]
        parts.append(depth.to_bytes(2))
        parts.append((shown << (8 * width - depth)).to_bytes(width))
        parts.extend(sibling for sibling in self.siblings if sibling != ZERO_HASH)
        return b"".join(parts)

    @staticmethod
    def decode(data: bytes) -> "SparseProof":
        """Return the proof of which `data` is the encoding.

        Refuses with `not_canonical` more than 256 siblings, an empty sibling that is written out
        or comes last, bits set in the padding, and bytes that are missing or left over.
        """
        head = 1 + 2 * HASH_BYTES * int(data[:1] == b"\x01")
        depth = int.from_bytes(data[head : head + 2])
        width = (depth + 7) >> 3
        start = head + 2 + width
        bits = int.from_bytes(data[head + 2 : start]) >> (8 * width - depth)
        count = bits.bit_count()
        if depth > MAX_DEPTH or len(data) != start + HASH_BYTES * count:
            raise Refusal("not_canonical", what="sparse proof")
        shown = iter([data[i : i + HASH_BYTES] for i in range(start, len(data), HASH_BYTES)])
        siblings = tuple(
            next(shown) if bits >> level & 1 else ZERO_HASH for level in range(depth - 1, -1, -1)
        )
        leaf = (data[1:33], data[33:65]) if head > 1 else None
        proof = SparseProof(siblings, leaf)
        # One proof has one encoding, so whatever was padded or written in another way differs now.
        if proof.encode() != data or siblings[-1:] == (ZERO_HASH,):
            raise Refusal("not_canonical", what="sparse proof")
        return proof


def sparse_prove(tree: SparseTree, path: Hash) -> SparseProof:
    """Return the proof of what the tree holds at `path`: this record, or that there is none."""
    siblings: list[Hash] = []
    node = tree
    while isinstance(node, tuple):
        data, left, right = node
        one = _bit(path, len(siblings))
        siblings.append(data[_LEFT if one else _RIGHT])
        node = right if one else left
    leaf = None if node is None else (node[_LEFT], node[_RIGHT])
    return SparseProof(tuple(siblings), leaf)


def sparse_verify(root: Hash, key: bytes, value: bytes | None, proof: SparseProof) -> bool:
    """Whether `proof` shows that the tree under `root` holds `value` at `key`.

    A value of None asks whether it holds no record of that key: because the place is empty, or
    because the only leaf there has another path. Any proof may come in; what is malformed is false.
    """
    siblings, leaf = proof
    path, value_hash = sparse_change(key, value)
    if len(siblings) > MAX_DEPTH or any(len(part) != HASH_BYTES for part in siblings):
        return False
    # What is alone below a branch would stand in the branch's place.
    if siblings and siblings[-1] == ZERO_HASH:
        return False
    if leaf is None:
        current = ZERO_HASH
        fits = value_hash is None
    else:
        current = leaf_hash(leaf[0] + leaf[1])
        fits = len(leaf[0]) == len(leaf[1]) == HASH_BYTES and _answers(leaf, path, value_hash)
        fits = fits and _shared_bits(leaf[0], path) >= len(siblings)
    for depth in range(len(siblings) - 1, -1, -1):
        sibling = siblings[depth]
        one = _bit(path, depth)
        current = node_hash(sibling, current) if one else node_hash(current, sibling)
    return fits and current == root


def _answers(leaf: tuple[Hash, Hash], path: Hash, value_hash: Hash | None) -> bool:
    """Whether the leaf found is the record asked for, or another one where none is asked for."""
    if value_hash is None:
        return leaf[0] != path
    return leaf == (path, value_hash)
