"""Slices of the lists in memory: each made when it is asked for, of a tree that is made once."""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from ledger.merkle import audit_path_in, leaf_hash, tree_levels
from ledger.messages.entries import make_swarm_leaves, read_columns
from ledger.rules.swarms import nearest_swarm, position_of
from ledger.types import Epoch, Hash
from registry.formats.full import read_file
from registry.formats.slice import Slice, encode_slice
from registry.view import PublishedList


class _Tree(NamedTuple):
    """The swarms of a list, ascending, with their leaves and the tree over these."""

    swarm_ids: Sequence[int]
    leaves: Sequence[bytes]
    levels: Sequence[Sequence[Hash]]


class Slices:
    """The trees of some epochs; those that are not shown any more are let go."""

    def __init__(self) -> None:
        self._trees: dict[Epoch, asyncio.Task[_Tree]] = {}

    def keep(self, epochs: Sequence[Epoch]) -> None:
        """Let go of the trees of all other epochs."""
        self._trees = {epoch: tree for epoch, tree in self._trees.items() if epoch in epochs}

    async def get(self, shown: PublishedList, account_id: bytes) -> bytes | None:
        """Return the slice of the swarm that serves an account; None for a list without nodes."""
        if shown.epoch not in self._trees:
            work = asyncio.to_thread(_make_tree, shown.full)
            self._trees[shown.epoch] = asyncio.create_task(work)
        # whoever asked first may hang up; the others still want the tree
        tree = await asyncio.shield(self._trees[shown.epoch])
        if not tree.swarm_ids:
            return None
        swarm_id = nearest_swarm(tree.swarm_ids, position_of(account_id[-32:]))
        place = bisect_left(tree.swarm_ids, swarm_id)
        path = tuple(audit_path_in(tree.levels, place))
        return encode_slice(Slice(shown.header, place, tree.leaves[place], path))


def _make_tree(full: bytes) -> _Tree:
    columns = read_columns(read_file(full))
    leaves = make_swarm_leaves(columns)
    return _Tree(columns.swarm_ids, leaves, tree_levels([leaf_hash(leaf) for leaf in leaves]))
