"""What a proof of the sparse tree shows, what it cannot be made to show, and its bytes."""

import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Refusal
from ledger.merkle import (
    MAX_DEPTH,
    SparseProof,
    SparseTree,
    leaf_hash,
    node_hash,
    sparse_build,
    sparse_change,
    sparse_prove,
    sparse_root,
    sparse_update,
    sparse_verify,
    tree_root,
)

ZERO = bytes(32)


def sha(data: bytes) -> bytes:
    return sha256(data).digest()


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 128 >> bit % 8
    return bytes(changed)


# ---- what is true is shown, and nothing else ----


def records_of(count: int) -> dict[bytes, bytes]:
    return {b"key %d" % number: b"value %d" % number for number in range(count)}


def tree_of(records: dict[bytes, bytes]) -> SparseTree:
    return sparse_update(None, [sparse_change(key, value) for key, value in records.items()])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 300])
def test_each_record_and_each_absence_is_proven(count: int) -> None:
    records = records_of(count)
    tree = tree_of(records)
    root = sparse_root(tree)
    for key in [b"key %d" % number for number in range(count + 40)]:
        proof = sparse_prove(tree, sha(key))
        assert SparseProof.decode(proof.encode()) == proof
        value = records.get(key)
        assert sparse_verify(root, key, value, proof)
        for other in (None, b"", b"another", b"value 0"):
            assert sparse_verify(root, key, other, proof) == (other == value)


def test_absence_is_an_empty_place_or_another_leaf() -> None:
    records = records_of(40)
    tree = tree_of(records)
    root = sparse_root(tree)
    absent = [sparse_prove(tree, sha(b"absent %d" % number)) for number in range(40)]
    assert any(proof.leaf is None for proof in absent)
    assert any(proof.leaf is not None for proof in absent)
    for number, proof in enumerate(absent):
        assert sparse_verify(root, b"absent %d" % number, None, proof)
        assert not sparse_verify(root, b"absent %d" % number, b"value 0", proof)


def test_a_proof_serves_no_other_key() -> None:
    records = records_of(30)
    tree = tree_of(records)
    root = sparse_root(tree)
    for key in records:
        proof = sparse_prove(tree, sha(key))
        for other, value in records.items():
            assert sparse_verify(root, other, value, proof) == (other == key)
            assert not sparse_verify(root, other, None, proof)


def test_proofs_reach_the_deepest_place() -> None:
    # No keys with such paths are known, so this goes up to the hashes and not through verify.
    first, second = bytes(32), bytes(31) + b"\x01"
    tree = sparse_build([(first, sha(b"1")), (second, sha(b"2"))])
    proof = sparse_prove(tree, second)
    assert len(proof.siblings) == MAX_DEPTH
    assert proof.siblings[-1] == leaf_hash(first + sha(b"1"))
    assert proof.leaf == (second, sha(b"2"))
    assert len(proof.encode()) == 1 + 64 + 2 + 32 + 32
    assert SparseProof.decode(proof.encode()) == proof
    current = leaf_hash(second + sha(b"2"))
    for depth in reversed(range(MAX_DEPTH)):
        one = second[depth // 8] >> (7 - depth % 8) & 1
        sibling = proof.siblings[depth]
        current = node_hash(sibling, current) if one else node_hash(current, sibling)
    assert current == sparse_root(tree)


# ---- forgeries ----

Forgery = Callable[[SparseProof], SparseProof]


def with_siblings(change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> Forgery:
    return lambda proof: proof._replace(siblings=change(proof.siblings))


def with_leaf(change: Callable[[bytes, bytes], tuple[bytes, bytes] | None]) -> Forgery:
    return lambda proof: proof._replace(leaf=change(*(proof.leaf or (ZERO, ZERO))))


FORGERIES: dict[str, Forgery] = {
    "the first sibling left out": with_siblings(lambda siblings: siblings[1:]),
    "the last sibling left out": with_siblings(lambda siblings: siblings[:-1]),
    "an empty sibling at the end": with_siblings(lambda siblings: (*siblings, ZERO)),
    "an empty sibling in front": with_siblings(lambda siblings: (ZERO, *siblings)),
    "too many siblings": with_siblings(lambda siblings: (siblings * 257)[:257]),
    "siblings in reverse": with_siblings(lambda siblings: siblings[::-1]),
    "short siblings": with_siblings(lambda siblings: tuple(part[:-1] for part in siblings)),
    "long siblings": with_siblings(lambda siblings: tuple(part + b"0" for part in siblings)),
    "an empty place": with_leaf(lambda path, value: None),
    "another path": with_leaf(lambda path, value: (flipped(path, 255), value)),
    "another value": with_leaf(lambda path, value: (path, flipped(value, 0))),
    "path and value swapped": with_leaf(lambda path, value: (value, path)),
    "a byte moved from the value to the path": with_leaf(
        lambda path, value: (path + value[:1], value[1:])
    ),
    "a byte moved from the path to the value": with_leaf(
        lambda path, value: (path[:-1], path[-1:] + value)
    ),
}


@pytest.mark.parametrize("count", [1, 2, 200])
@pytest.mark.parametrize("name", sorted(FORGERIES))
def test_a_forged_proof_shows_nothing(name: str, count: int) -> None:
    records = records_of(count)
    tree = tree_of(records)
    root = sparse_root(tree)
    for key in [b"key 0", b"key 77", b"absent 1", b"absent 6"]:
        proof = FORGERIES[name](sparse_prove(tree, sha(key)))
        is_unchanged = proof == sparse_prove(tree, sha(key))
        value = records.get(key)
        assert sparse_verify(root, key, value, proof) == is_unchanged
        assert not sparse_verify(root, key, b"forged" if value is None else None, proof)


def two_records() -> tuple[bytes, bytes]:
    """Two keys whose paths part at the first bit, the lower one first."""
    keys = sorted(records_of(20), key=sha)
    return keys[0], keys[-1]


def test_a_branch_cannot_pass_as_a_leaf() -> None:
    low, high = two_records()
    tree = tree_of({low: b"1", high: b"2"})
    left, right = (
        sparse_prove(tree, sha(high)).siblings[0],
        sparse_prove(tree, sha(low)).siblings[0],
    )
    assert sparse_root(tree) == node_hash(left, right)
    # The root's 64 bytes, given out as path and value hash of the only leaf.
    assert not sparse_verify(sparse_root(tree), b"absent", None, SparseProof((), (left, right)))


def test_a_leaf_cannot_pass_as_a_branch() -> None:
    low, high = two_records()
    for key, other in ((low, high), (high, low)):
        path, value = sparse_change(key, b"1")
        assert value is not None
        root = sparse_root(tree_of({key: b"1"}))
        # The leaf's 64 bytes, given out as the hashes of two sides, of which one holds nothing.
        for absent, sibling in ((key, value), (other, path)):
            assert not sparse_verify(root, absent, None, SparseProof((sibling,), None))


def test_another_leaf_shows_absence_on_its_own_path_only() -> None:
    records = records_of(200)
    tree = tree_of(records)
    proof = sparse_prove(tree, sha(b"key 3"))
    shared = MAX_DEPTH - len(proof.siblings)
    shown = 0
    for number in range(5000):
        key = b"elsewhere %d" % number
        is_on_path = int.from_bytes(sha(key)) >> shared == int.from_bytes(sha(b"key 3")) >> shared
        assert sparse_verify(sparse_root(tree), key, None, proof) == is_on_path
        shown += is_on_path
    assert shown > 0


def test_a_tree_against_the_rules_proves_nothing() -> None:
    # A root for one record that hangs a level too deep, as no rule makes it.
    path, value = sparse_change(b"key", b"value")
    assert value is not None
    leaf = leaf_hash(path + value)
    root = node_hash(ZERO, leaf) if path[0] & 128 else node_hash(leaf, ZERO)
    assert not sparse_verify(root, b"key", b"value", SparseProof((ZERO,), (path, value)))
    # Two leaves, each on the other one's side: neither would be found on its own path.
    low, high = two_records()
    left, right = ((sha(key), sha(b"value")) for key in (high, low))
    root = node_hash(leaf_hash(b"".join(left)), leaf_hash(b"".join(right)))
    assert not sparse_verify(root, low, None, SparseProof((leaf_hash(b"".join(right)),), left))
    # The empty tree written as a branch of two empty sides.
    assert not sparse_verify(node_hash(ZERO, ZERO), b"key", None, SparseProof((ZERO,), None))


def test_the_empty_tree_proves_every_absence() -> None:
    proof = sparse_prove(None, sha(b"key"))
    assert proof == SparseProof((), None)
    assert proof.encode() == bytes(3)
    assert sparse_verify(ZERO, b"key", None, proof)
    assert not sparse_verify(ZERO, b"key", b"", proof)
    assert not sparse_verify(sha(b""), b"key", None, proof)


@given(count=st.integers(1, 60), data=st.data())
def test_no_flipped_bit_of_an_encoded_proof_shows_anything(count: int, data: st.DataObject) -> None:
    records = records_of(count)
    tree = tree_of(records)
    key = b"key %d" % data.draw(st.integers(0, 2 * count))
    encoded = sparse_prove(tree, sha(key)).encode()
    bit = data.draw(st.integers(0, 8 * len(encoded) - 1))
    try:
        proof = SparseProof.decode(flipped(encoded, bit))
    except Refusal:
        return
    root = sparse_root(tree)
    assert not sparse_verify(root, key, records.get(key), proof)
    assert not sparse_verify(root, key, None if key in records else b"forged", proof)


# ---- the bytes of a proof ----

SIBLINGS = st.lists(st.just(ZERO) | st.binary(min_size=32, max_size=32), max_size=MAX_DEPTH)
HASHES = st.binary(min_size=32, max_size=32)


@given(siblings=SIBLINGS, leaf=st.none() | st.tuples(HASHES, HASHES))
def test_a_proof_encodes_and_decodes(
    siblings: list[bytes], leaf: tuple[bytes, bytes] | None
) -> None:
    while siblings and siblings[-1] == ZERO:
        siblings.pop()
    proof = SparseProof(tuple(siblings), leaf)
    assert SparseProof.decode(proof.encode()) == proof


@given(data=st.binary(max_size=120))
def test_what_decodes_encodes_to_the_same_bytes(data: bytes) -> None:
    try:
        proof = SparseProof.decode(data)
    except Refusal:
        return
    assert proof.encode() == data


ONE = sha(b"a sibling")
SOUND = b"\x00" + b"\x00\x02" + b"\x40" + ONE
"""An empty place, two siblings of which the first is empty."""


def test_the_sound_proof_of_the_table_below() -> None:
    assert SparseProof.decode(SOUND) == SparseProof((ZERO, ONE), None)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00", id="no count"),
        pytest.param(b"\x00\x00", id="half a count"),
        pytest.param(SOUND + b"\x00", id="a byte left over"),
        pytest.param(SOUND + ONE, id="a sibling left over"),
        pytest.param(SOUND[:-1], id="a byte missing"),
        pytest.param(SOUND[:4], id="the siblings missing"),
        pytest.param(SOUND[:3], id="the bits missing"),
        pytest.param(b"\x01" + SOUND[1:], id="a leaf announced and missing"),
        pytest.param(b"\x02" + SOUND[1:], id="unknown kind"),
        pytest.param(b"\x00\x00\x02\xc0" + ZERO + ONE, id="an empty sibling written out"),
        pytest.param(b"\x00\x00\x02\x80" + ONE, id="an empty sibling last"),
        pytest.param(b"\x00\x00\x01\x00", id="only an empty sibling"),
        pytest.param(b"\x00\x00\x02\x60" + ONE + ONE, id="a bit set in the padding"),
        pytest.param(b"\x00\x00\x02\x41" + ONE, id="a bit set in the padding, nothing for it"),
        pytest.param(b"\x00\x01\x01" + bytes(32) + b"\x80" + ONE, id="257 siblings"),
        pytest.param(b"\x00\xff\xff" + bytes(8191) + b"\x02" + ONE, id="65,535 siblings"),
        pytest.param(b"\x00\xff\xff", id="a count that announces 2 MB"),
    ],
)
def test_bytes_that_are_no_proof_are_refused(data: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        SparseProof.decode(data)
    assert caught.value.code == "not_canonical"


# ---- the specification ----

SPECIFICATION = Path(__file__).resolve().parents[2] / "docs" / "spec" / "merkle.md"


def test_the_examples_of_the_specification() -> None:
    leaves = [leaf_hash(data) for data in (b"", b"\x00", b"\x10")]
    records = {b"a": b"1", b"b": b"2", b"c": b"3"}
    tree = tree_of(records)
    shown = [*leaves, node_hash(leaves[0], leaves[1]), tree_root([]), tree_root(leaves)]
    for key, value in records.items():
        path, value_hash = sparse_change(key, value)
        shown += [path, value_hash or b"", sparse_root(tree_of({key: value}))]
    shown += [sparse_prove(tree, sha(b"a")).siblings[0], sparse_prove(tree, sha(b"d")).siblings[2]]
    shown += [sparse_root(tree), sparse_root(tree_of({b"a": b"1", b"c": b"3"}))]
    shown += [sparse_prove(tree, sha(key)).encode() for key in (b"b", b"d")]
    text = re.sub(r"(?<=[0-9a-f])\n +(?=[0-9a-f]{6,}\n)", "", SPECIFICATION.read_text("utf-8"))
    found = re.findall(r"\b[0-9a-f]{64,}\b", text)
    assert {data.hex() for data in shown} == set(found)
