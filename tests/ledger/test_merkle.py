"""RFC 9162 trees against published values, and the sparse tree against its definition."""

from functools import cache
from hashlib import sha256
from itertools import pairwise, permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Misuse
from ledger.merkle import (
    EMPTY_TREE_ROOT,
    History,
    SparseTree,
    Subtree,
    audit_path,
    leaf_hash,
    node_hash,
    root_from_path,
    sparse_build,
    sparse_change,
    sparse_root,
    sparse_update,
    split_leaves,
    tree_root,
)

ZERO = bytes(32)


def sha(data: bytes) -> bytes:
    return sha256(data).digest()


# ---- RFC 9162: the values that implementations of Certificate Transparency publish ----

KNOWN_LEAVES = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
KNOWN_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
KNOWN_PATHS = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
KNOWN = [leaf_hash(bytes.fromhex(leaf)) for leaf in KNOWN_LEAVES]


def test_known_roots() -> None:
    assert [tree_root(KNOWN[:size]).hex() for size in range(9)] == KNOWN_ROOTS
    assert EMPTY_TREE_ROOT.hex() == KNOWN_ROOTS[0]


@pytest.mark.parametrize(("index", "size"), sorted(KNOWN_PATHS))
def test_known_audit_paths(index: int, size: int) -> None:
    path = audit_path(KNOWN[:size], index)
    assert [part.hex() for part in path] == KNOWN_PATHS[index, size]
    root = root_from_path(KNOWN[index], index, size, path)
    assert root is not None
    assert root.hex() == KNOWN_ROOTS[size]


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, as it is written."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    half = largest_power_below(len(leaves))
    return sha(b"\x01" + naive_root(leaves[:half]) + naive_root(leaves[half:]))


def naive_path(leaves: list[bytes], index: int) -> list[bytes]:
    """RFC 9162, 2.1.3.1, as it is written."""
    if len(leaves) == 1:
        return []
    half = largest_power_below(len(leaves))
    if index < half:
        return [*naive_path(leaves[:half], index), naive_root(leaves[half:])]
    return [*naive_path(leaves[half:], index - half), naive_root(leaves[:half])]


def largest_power_below(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def some_leaves(size: int) -> list[bytes]:
    return [leaf_hash(b"leaf %d" % number) for number in range(size)]


@pytest.mark.parametrize("size", range(1, 35))
def test_every_leaf_of_every_small_tree(size: int) -> None:
    leaves = some_leaves(size)
    root = tree_root(leaves)
    assert root == naive_root(leaves)
    for index in range(size):
        path = audit_path(leaves, index)
        assert path == naive_path(leaves, index)
        assert root_from_path(leaves[index], index, size, path) == root
        assert root_from_path(leaves[index], index, size, [*path, ZERO]) is None
        if path:
            assert root_from_path(leaves[index], index, size, path[:-1]) is None


@given(size=st.integers(1, 300), data=st.data())
def test_a_path_proves_one_leaf_at_one_place(size: int, data: st.DataObject) -> None:
    leaves = some_leaves(size)
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1))
    path, root = audit_path(leaves, index), tree_root(leaves)
    assert (root_from_path(leaves[index], other, size, path) == root) == (index == other)
    assert root_from_path(leaf_hash(b"another"), index, size, path) != root
    if path:
        place = data.draw(st.integers(0, len(path) - 1))
        path[place] = flipped(path[place], data.draw(st.integers(0, 255)))
        assert root_from_path(leaves[index], index, size, path) != root


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 128 >> bit % 8
    return bytes(changed)


@pytest.mark.parametrize(
    ("index", "size", "leaf", "path"),
    [
        pytest.param(-1, 2, ZERO, [ZERO], id="index below 0"),
        pytest.param(2, 2, ZERO, [ZERO], id="index past the end"),
        pytest.param(0, 0, ZERO, [], id="tree without leaves"),
        pytest.param(0, -1, ZERO, [], id="negative size"),
        pytest.param(0, 2, ZERO, [], id="path too short"),
        pytest.param(0, 2, ZERO, [ZERO, ZERO], id="path too long"),
        pytest.param(0, 2, ZERO, [ZERO[1:]], id="short hash"),
        pytest.param(0, 2, ZERO, [ZERO + b"0"], id="long hash"),
        pytest.param(0, 2, ZERO[1:], [ZERO], id="short leaf"),
        pytest.param(0, 2**64, ZERO, [ZERO] * 63, id="path too short in a huge tree"),
    ],
)
def test_what_cannot_be_a_path_has_no_root(
    index: int, size: int, leaf: bytes, path: list[bytes]
) -> None:
    assert root_from_path(leaf, index, size, path) is None


def test_a_node_cannot_stand_for_a_leaf() -> None:
    left, right = some_leaves(2)
    assert leaf_hash(left + right) != node_hash(left, right)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_path_of_no_leaf_is_misuse(index: int) -> None:
    with pytest.raises(Misuse):
        audit_path(some_leaves(3), index)


# ---- history ----


def test_a_history_has_the_root_of_all_its_leaves() -> None:
    history = History()
    leaves = some_leaves(130)
    for size, leaf in enumerate(leaves):
        assert history.size == size
        assert history.root() == tree_root(leaves[:size])
        history = history.append(leaf)
    assert history.root() == tree_root(leaves)
    assert len(history.peaks) == 2


def test_appending_leaves_the_old_history_as_it_was() -> None:
    old = History().append(leaf_hash(b"0"))
    assert old.append(leaf_hash(b"1")) == old.append(leaf_hash(b"1"))
    assert old == History(1, (leaf_hash(b"0"),))


@pytest.mark.parametrize(
    ("size", "peaks"),
    [(1, ()), (0, (ZERO,)), (3, (ZERO,)), (4, (ZERO, ZERO)), (-1, (ZERO,)), (1, (b"short",))],
)
def test_peaks_fit_the_size(size: int, peaks: tuple[bytes, ...]) -> None:
    with pytest.raises(Misuse):
        History(size, peaks)


# ---- history: subtrees and extending ----

MOST_LEAVES = 200
SOME = some_leaves(MOST_LEAVES)


@cache
def root_of(subtree: Subtree) -> bytes:
    """The root over the leaves of a subtree, by the rule for lists."""
    return tree_root(SOME[subtree.place << subtree.level : subtree.stop])


@cache
def histories() -> list[History]:
    """The history of each number of leaves."""
    made = [History()]
    for leaf in SOME:
        made.append(made[-1].append(leaf))
    return made


def fewest_subtrees(start: int) -> dict[int, int]:
    """How many full subtrees there are at least from a leaf to before each later one."""
    fewest = {start: 0}
    for at in range(start, MOST_LEAVES):
        for level in range(MOST_LEAVES.bit_length()):
            stop = at + (1 << level)
            if at % (1 << level) == 0 and stop <= MOST_LEAVES:
                fewest[stop] = min(fewest[at] + 1, fewest.get(stop, MOST_LEAVES))
    return fewest


def is_split(subtrees: list[Subtree], start: int, stop: int) -> bool:
    """Whether these are the leaves from `start` to before `stop`, each once and in order."""
    ends = [start, *(each.stop for each in subtrees)]
    starts = [each.place << each.level for each in subtrees]
    return starts == ends[:-1] and ends[-1] == stop


def test_leaves_are_split_into_the_fewest_full_subtrees() -> None:
    for start in range(MOST_LEAVES + 1):
        for stop, count in fewest_subtrees(start).items():
            subtrees = split_leaves(start, stop)
            assert is_split(subtrees, start, stop), (start, stop)
            assert len(subtrees) == count, (start, stop)


@given(st.integers(0, 2**63), st.integers(0, 2**63))
def test_so_are_the_leaves_of_a_huge_history(one: int, other: int) -> None:
    start, stop = sorted((one, other))
    subtrees = split_leaves(start, stop)
    assert is_split(subtrees, start, stop)
    assert len(subtrees) <= 126
    for left, right in pairwise(subtrees):
        # two that stand side by side in one subtree would be one
        assert left.level != right.level or left.place & 1


def test_between_huge_leaves_there_are_at_most_126_subtrees() -> None:
    assert len(split_leaves(1, 2**63 - 1)) == 124
    assert len(split_leaves(1, 2**64 - 1)) == 126


@pytest.mark.parametrize(
    ("start", "stop", "subtrees"),
    [
        (5, 16, [Subtree(0, 5), Subtree(1, 3), Subtree(3, 1)]),
        (0, 11, [Subtree(3, 0), Subtree(1, 4), Subtree(0, 10)]),
        (0, 0, []),
        (7, 7, []),
        (8, 7, []),
    ],
)
def test_the_page_splits_them_like_this(start: int, stop: int, subtrees: list[Subtree]) -> None:
    assert split_leaves(start, stop) == subtrees


def test_from_the_first_leaf_on_the_subtrees_are_the_peaks() -> None:
    for size, history in enumerate(histories()):
        assert tuple(map(root_of, split_leaves(0, size))) == history.peaks


def test_a_history_that_is_extended_is_that_of_all_its_leaves() -> None:
    for start, short in enumerate(histories()):
        for stop in range(start, MOST_LEAVES + 1):
            roots = [root_of(each) for each in split_leaves(start, stop)]
            assert short.extend(stop, roots) == histories()[stop], (start, stop)


def test_as_many_roots_as_subtrees_extend_a_history_and_no_other_number() -> None:
    for start in range(0, MOST_LEAVES, 7):
        for stop in range(start, MOST_LEAVES, 3):
            roots = [root_of(each) for each in split_leaves(start, stop)]
            wrong = [[*roots, ZERO], [*roots, *roots, ZERO]]
            wrong += [roots[:-1], roots[1:], []] if roots else []
            for each in wrong:
                assert histories()[start].extend(stop, each) is None, (start, stop)


def test_another_root_makes_another_history() -> None:
    roots = [root_of(each) for each in split_leaves(5, 16)]
    for place in range(len(roots)):
        forged = [*roots[:place], ZERO, *roots[place + 1 :]]
        extended = histories()[5].extend(16, forged)
        assert extended is not None
        assert extended.root() != histories()[16].root()


def test_a_leaf_ends_the_subtrees_that_end_with_it() -> None:
    for size, leaf in enumerate(SOME):
        ended = histories()[size].ended_by(leaf)
        assert ended[0] == (Subtree(0, size), leaf)
        for subtree, root in ended:
            assert subtree.stop == size + 1
            assert root == root_of(subtree)
        levels = [subtree.level for subtree, _ in ended]
        whole = [level for level in range(8) if (size + 1) % (1 << level) == 0]
        assert levels == whole, size


def test_each_full_subtree_of_a_history_is_ended_once() -> None:
    ended = [sub for size, leaf in enumerate(SOME) for sub, _ in histories()[size].ended_by(leaf)]
    assert len(ended) == len(set(ended))
    for start in range(MOST_LEAVES):
        assert {*split_leaves(start, MOST_LEAVES)} <= {*ended}


# ---- the sparse tree: one set, one root ----


def naive_sparse_root(leaves: dict[bytes, bytes], depth: int = 0) -> bytes:
    """The definition: nothing, the one leaf that there is, or a branch over the next bit."""
    if not leaves:
        return ZERO
    if len(leaves) == 1:
        ((path, value),) = leaves.items()
        return sha(b"\x00" + path + value)
    sides: list[dict[bytes, bytes]] = [{}, {}]
    for path, value in leaves.items():
        sides[path[depth // 8] >> (7 - depth % 8) & 1][path] = value
    left, right = (naive_sparse_root(side, depth + 1) for side in sides)
    return sha(b"\x01" + left + right)


def near_path(number: int) -> bytes:
    """Paths that part late, early or in the middle, so that small sets have deep trees."""
    top, middle, bottom = number & 1, number >> 1 & 3, number >> 3
    return bytes([top << 7]) + bytes(14) + bytes([middle]) + bytes(15) + bytes([bottom])


PATHS = st.integers(0, 63).map(near_path) | st.binary(min_size=32, max_size=32)
VALUES = st.sampled_from([sha(b"%d" % number) for number in range(4)])
LEAVES = st.dictionaries(PATHS, VALUES, max_size=24)
CHANGES = st.dictionaries(PATHS, st.none() | VALUES, max_size=24)


@given(leaves=LEAVES)
def test_the_root_is_the_one_of_the_definition(leaves: dict[bytes, bytes]) -> None:
    root = naive_sparse_root(leaves)
    assert sparse_root(sparse_update(None, leaves.items())) == root
    assert sparse_root(sparse_build(sorted(leaves.items()))) == root


@given(leaves=LEAVES, batches=st.lists(CHANGES, max_size=4))
def test_batches_lead_to_the_root_of_what_is_left(
    leaves: dict[bytes, bytes], batches: list[dict[bytes, bytes | None]]
) -> None:
    tree = sparse_build(sorted(leaves.items()))
    trees = [(tree, naive_sparse_root(leaves))]
    for batch in batches:
        tree = sparse_update(tree, batch.items())
        merged: dict[bytes, bytes | None] = {**leaves, **batch}
        leaves = {path: value for path, value in merged.items() if value is not None}
        assert tree == sparse_build(sorted(leaves.items()))
        trees.append((tree, naive_sparse_root(leaves)))
    # Old trees stay what they were.
    for old, root in trees:
        assert sparse_root(old) == root


@given(leaves=LEAVES, changes=CHANGES, order=st.randoms(use_true_random=False))
def test_the_order_of_changes_does_not_matter(
    leaves: dict[bytes, bytes], changes: dict[bytes, bytes | None], order: Random
) -> None:
    tree = sparse_build(sorted(leaves.items()))
    shuffled = list(changes.items())
    order.shuffle(shuffled)
    one_by_one = tree
    for change in shuffled:
        one_by_one = sparse_update(one_by_one, [change])
    assert one_by_one == sparse_update(tree, shuffled) == sparse_update(tree, changes.items())


@given(leaves=LEAVES, more=LEAVES)
def test_deleting_what_was_added_leads_back(
    leaves: dict[bytes, bytes], more: dict[bytes, bytes]
) -> None:
    tree = sparse_build(sorted(leaves.items()))
    changed = sparse_update(tree, more.items())
    back = sparse_update(changed, [(path, leaves.get(path)) for path in more])
    assert back == tree
    assert sparse_update(back, [(path, None) for path in leaves]) is None


def test_history_does_not_show_in_a_small_tree() -> None:
    paths = [near_path(number) for number in (0, 1, 6, 8)]
    roots = []
    for order in permutations(paths):
        tree: SparseTree = None
        for path in order:
            tree = sparse_update(tree, [(path, sha(path))])
        roots.append(sparse_root(tree))
    assert roots == [naive_sparse_root({path: sha(path) for path in paths})] * len(roots)


def test_a_tree_of_many_leaves() -> None:
    leaves = dict(sparse_change(b"%d" % number, b"v") for number in range(3000))
    kept = {path: value for path, value in leaves.items() if path and value and path[0] % 3}
    tree = sparse_update(None, leaves.items())
    assert sparse_root(tree) == naive_sparse_root({p: v for p, v in leaves.items() if v})
    tree = sparse_update(tree, [(path, None) for path in leaves if path not in kept])
    assert tree == sparse_build(sorted(kept.items()))


def test_an_empty_batch_gives_the_same_tree() -> None:
    tree = sparse_build([(ZERO, ZERO)])
    assert sparse_update(tree, []) is tree
    assert sparse_update(None, []) is None
    assert sparse_build([]) is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([(ZERO, ZERO), (ZERO, ZERO)], id="the same path twice"),
        pytest.param([(ZERO, ZERO), (ZERO, None)], id="written and removed at once"),
        pytest.param([(ZERO[1:], ZERO)], id="short path"),
        pytest.param([(ZERO + b"0", ZERO)], id="long path"),
        pytest.param([(b"", None)], id="empty path"),
        pytest.param([(ZERO, b"")], id="empty value hash"),
        pytest.param([(ZERO, ZERO + b"0")], id="long value hash"),
    ],
)
def test_changes_that_break_the_contract(changes: list[tuple[bytes, bytes | None]]) -> None:
    with pytest.raises(Misuse):
        sparse_update(None, changes)


@pytest.mark.parametrize(
    "leaves",
    [
        pytest.param([(ZERO, ZERO), (ZERO, ZERO)], id="the same path twice"),
        pytest.param([(near_path(1), ZERO), (near_path(0), ZERO)], id="descending"),
        pytest.param([(b"", ZERO)], id="empty path"),
        pytest.param([(ZERO[1:], ZERO)], id="short path"),
        pytest.param([(ZERO, b"")], id="empty value hash"),
    ],
)
def test_leaves_that_break_the_contract(leaves: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Misuse):
        sparse_build(leaves)
