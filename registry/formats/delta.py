"""What changed between two lists: for who holds the columns of the earlier one.

    u8 1 ‖ number of nodes that join ‖ their keys, ascending ‖ raw deflate (RFC 1951) of

    removals of nodes, by their places in the earlier list
    removals of swarms, by their places there; u64 of each swarm that is new, ascending
    for each column after the keys, in the order of `COLUMNS`:
        changes of nodes that stay, by their places among those that stay; their new cells
        the cells of the nodes that join, in the order of their keys
    for the swarms: the same, each cell a number: the place of the swarm in the later list

- Numbers are LEB128, three bytes at most. Places ascend, so each is told as the gap before it.
- Keys stand outside of the deflated part, since there is nothing in them to compress.
- A node that stays keeps its swarm, unless that is gone or a change says another one.
- Nothing of it is signed: it is right if what comes out has the hash that a signed header names.
"""

import struct
from collections.abc import Iterable, Sequence
from itertools import compress, pairwise
from typing import Final, NamedTuple

from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.messages.entries import (
    COLUMNS,
    FLAG_OF,
    KEY_BYTES,
    Columns,
    join_columns,
    read_columns,
)
from ledger.messages.lists import MAX_NODES, MAX_SWARMS
from ledger.types import Hash, Key
from registry.formats.full import deflate, inflate

DELTA_MEDIA_TYPE: Final = "application/vnd.waypost.delta"

FORMAT_BYTE: Final = 1

_MIDDLE: Final = COLUMNS[1:-1]
"""Columns of cells of one width, behind the keys and before the swarms."""

_NUMBER_BYTES: Final = 3
"""Length of a number at most: all are below 2^21."""

_LONGEST_ROW: Final = sum(width for _, width in _MIDDLE) + _NUMBER_BYTES * (len(COLUMNS) + 1)
"""What a node of the later list costs at most, with its place in each column."""


def compute_delta_bound(old_nodes: int, new_nodes: int, old_swarms: int, new_swarms: int) -> int:
    """Return how many bytes the deflated part has at most once it is inflated."""
    numbers = _NUMBER_BYTES * (old_nodes + old_swarms + 2 * len(COLUMNS) + 4)
    return numbers + _LONGEST_ROW * new_nodes + 8 * new_swarms


def _compute_file_bound(inflated: int, new_nodes: int) -> int:
    """Return how many bytes a file has at most whose deflated part inflates to so many."""
    return 1 + _NUMBER_BYTES + KEY_BYTES * new_nodes + inflated * 1001 // 1000 + 64


MAX_DELTA_BYTES: Final = _compute_file_bound(
    compute_delta_bound(MAX_NODES, MAX_NODES, MAX_SWARMS, MAX_SWARMS), MAX_NODES
)
"""Nobody has to read a longer file."""


# --------------------------------------------------------------------------------- encode


class Rows(NamedTuple):
    """A list by its keys, made once for all deltas that lead to it."""

    swarm_ids: tuple[int, ...]
    cells: dict[Key, tuple[bytes, ...]]
    """The cells of each node in the columns between keys and swarms, by ascending key."""
    swarm_of: dict[Key, int]


def make_rows(columns: Columns) -> Rows:
    """Return a list by its keys."""
    keys, *cells, places = columns.split()
    ids = columns.swarm_ids
    swarms = [ids[int.from_bytes(place, "big")] for place in places]
    rows = zip(*cells, strict=True)
    return Rows(ids, dict(zip(keys, rows, strict=True)), dict(zip(keys, swarms, strict=True)))


def encode_delta(old: bytes, new: bytes) -> bytes:
    """Return what leads from the columns of one list to those of another."""
    return compute_delta(make_rows(read_columns(old)), make_rows(read_columns(new)))


def compute_delta(old: Rows, new: Rows) -> bytes:
    """Return what leads from one list to another: for who makes several that lead to one."""
    stay = [key for key in old.cells if key in new.cells]
    join = [key for key in new.cells if key not in old.cells]
    body = bytearray()
    _put_places(body, [place for place, key in enumerate(old.cells) if key not in new.cells])
    _put_swarms(body, old.swarm_ids, new.swarm_ids)
    other = [(place, key) for place, key in enumerate(stay) if old.cells[key] != new.cells[key]]
    for column in range(len(_MIDDLE)):
        _put_column(body, column, other, join, old, new)
    moved = [(p, key) for p, key in enumerate(stay) if old.swarm_of[key] != new.swarm_of[key]]
    _put_places(body, [place for place, _ in moved])
    place_of = {swarm_id: place for place, swarm_id in enumerate(new.swarm_ids)}
    for key in (*(key for _, key in moved), *join):
        body += _number(place_of[new.swarm_of[key]])
    return bytes([FORMAT_BYTE]) + _number(len(join)) + b"".join(join) + deflate(bytes(body))


def _put_column(
    body: bytearray,
    column: int,
    other: Sequence[tuple[int, Key]],
    join: Sequence[Key],
    old: Rows,
    new: Rows,
) -> None:
    """Add the cells of one column that changed, and those of who joins.

    An address that a node has not any more needs no change here: its flags say so.
    """
    changed = [
        (place, new.cells[key][column])
        for place, key in other
        if new.cells[key][column] and old.cells[key][column] != new.cells[key][column]
    ]
    _put_places(body, [place for place, _ in changed])
    body += b"".join(cell for _, cell in changed)
    body += b"".join(new.cells[key][column] for key in join)


def _put_swarms(body: bytearray, old: Sequence[int], new: Sequence[int]) -> None:
    kept = {*old} & {*new}
    _put_places(body, [place for place, swarm_id in enumerate(old) if swarm_id not in kept])
    added = [swarm_id for swarm_id in new if swarm_id not in kept]
    body += _number(len(added)) + struct.pack(f">{len(added)}Q", *added)


def _put_places(body: bytearray, places: Sequence[int]) -> None:
    body += _number(len(places))
    for before, place in pairwise((-1, *places)):
        body += _number(place - before - 1)


def _number(value: int) -> bytes:
    """Return a number as LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


# --------------------------------------------------------------------------------- decode


def apply_delta(
    old: Columns,
    data: bytes,
    expected_hash: Hash | None = None,
    counts: tuple[int, int] = (MAX_NODES, MAX_SWARMS),
) -> Columns:
    """Return the columns of the later list, which have `expected_hash`, if one is given.

    `counts` are the nodes and swarms of the later list, of a verified header; they bound what is
    read before anything is inflated.

    Refuses with `too_large` (the file), `unknown_format` (its first byte) and `bad_list` (what
    does not fit the earlier list, is cut off or goes on, or gives another list).
    """
    nodes, swarms = counts
    bound = compute_delta_bound(old.node_count, nodes, len(old.swarm_ids), swarms)
    limit = _compute_file_bound(bound, nodes)
    if len(data) > limit:
        raise Refusal("too_large", size=len(data), limit=limit)
    if not data:
        raise Refusal("bad_list", why="the file is empty")
    if data[0] != FORMAT_BYTE:
        raise Refusal("unknown_format", version=data[0])
    head = _Reader(data, 1)
    join = head.cells(head.number(nodes), KEY_BYTES)
    body = _Reader(inflate(memoryview(data)[head.at :], bound))
    gone = body.places(old.node_count)
    swarm_ids, kept_swarms = _read_swarms(body, old.swarm_ids, swarms)
    old_cells = old.split()
    stay = _without(old_cells[0], gone)
    if len(stay) + len(join) > nodes:
        raise Refusal("bad_list", why="it has more nodes than its header says")
    keys = (*stay, *join)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    columns = [b"".join(keys[place] for place in order)]
    cells_of: dict[str, list[bytes]] = {}
    for (name, width), before in zip(_MIDDLE, old_cells[1:-1], strict=True):
        flags = cells_of.get("flags")
        cells = _read_column(body, name, width, _without(before, gone), len(join), flags)
        cells_of[name] = cells
        columns.append(b"".join(cells[place] for place in order))
    places = _read_places(body, _without(old_cells[-1], gone), kept_swarms, len(join), swarm_ids)
    columns.append(struct.pack(f">{len(order)}H", *(places[place] for place in order)))
    body.finish()
    raw = join_columns(Columns(swarm_ids, tuple(columns)))
    if expected_hash is not None and sha256(raw) != expected_hash:
        raise Refusal("bad_list", why="its hash is not the one that the header names")
    return read_columns(raw)


def _read_swarms(
    body: "_Reader", old: tuple[int, ...], most: int
) -> tuple[tuple[int, ...], list[int]]:
    """Return the swarms of the later list, and the place there of each earlier one, −1 if gone."""
    gone = {*body.places(len(old))}
    count = body.number(most)
    added = struct.unpack(f">{count}Q", body.take(8 * count))
    kept = [swarm_id for place, swarm_id in enumerate(old) if place not in gone]
    swarm_ids = tuple(sorted({*kept, *added}))
    if len(swarm_ids) > most:
        raise Refusal("bad_list", why="it has more swarms than its header says")
    place_of = {swarm_id: place for place, swarm_id in enumerate(swarm_ids)}
    return swarm_ids, [
        -1 if place in gone else place_of[swarm_id] for place, swarm_id in enumerate(old)
    ]


def _read_column(
    body: "_Reader",
    name: str,
    width: int,
    before: Sequence[bytes],
    joining: int,
    flags: list[bytes] | None,
) -> list[bytes]:
    """Return the cells of a column, of those who stay and then of those who join."""
    changed = body.places(len(before))
    bit = FLAG_OF.get(name, 0)
    cells = [*before, *[b""] * joining]
    has_cell = [bool(flag[0] & bit) for flag in flags] if flags and bit else [True] * len(cells)
    for place in (*changed, *range(len(before), len(cells))):
        if has_cell[place]:
            cells[place] = body.take(width)
    for place, cell in enumerate(cells):
        if not has_cell[place]:
            cells[place] = b""
        elif not cell:
            raise Refusal("bad_list", why="a node has no address that its flags name")
    return cells


def _read_places(
    body: "_Reader",
    before: Sequence[bytes],
    kept: Sequence[int],
    joining: int,
    swarm_ids: Sequence[int],
) -> list[int]:
    """Return the place of its swarm for each node, of those who stay and then of those who join."""
    places = [kept[int.from_bytes(cell, "big")] for cell in before]
    places += [-1] * joining
    for place in (*body.places(len(before)), *range(len(before), len(places))):
        places[place] = body.number(len(swarm_ids) - 1)
    if -1 in places:
        raise Refusal("bad_list", why="a node has no swarm")
    return places


def _without(cells: Sequence[bytes], gone: Iterable[int]) -> list[bytes]:
    stays = bytearray(b"\1" * len(cells))
    for place in gone:
        stays[place] = 0
    return list(compress(cells, stays))


class _Reader:
    """Reads numbers and cells one after another, and refuses what is cut off or left over."""

    def __init__(self, raw: bytes, at: int = 0) -> None:
        self._raw = raw
        self.at = at

    def take(self, size: int) -> bytes:
        piece = self._raw[self.at : self.at + size]
        if len(piece) != size:
            raise Refusal("bad_list", why="it is cut off")
        self.at += size
        return piece

    def cells(self, count: int, width: int) -> list[bytes]:
        return [cell for (cell,) in struct.iter_unpack(f"{width}s", self.take(count * width))]

    def number(self, most: int) -> int:
        """Return a number of at most `most`."""
        value = 0
        for place in range(_NUMBER_BYTES):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                break
        else:
            raise Refusal("bad_list", why="a number is too long")
        if value > most:
            raise Refusal("bad_list", why=f"{value} is more than {most}")
        return value

    def places(self, count: int) -> list[int]:
        """Return ascending places below `count`."""
        places = []
        next_place = 0
        for _ in range(self.number(count)):
            place = next_place + self.number(count)
            if place >= count:
                raise Refusal("bad_list", why="a place is beyond the list")
            places.append(place)
            next_place = place + 1
        return places

    def finish(self) -> None:
        if self.at != len(self._raw):
            raise Refusal("bad_list", why="bytes are left over")
