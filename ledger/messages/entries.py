"""What a list header names: the nodes of a list, as its columns and as the leaves of its swarms.

These are fixed binary layouts, big-endian, hashed as the bytes they are:

    columns         u32 nodes ‖ u32 swarms ‖ swarm ids ‖ one column for each field of an entry
    swarm leaf      ids of the swarm before, itself, the one after ‖ u16 members ‖ entries
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from operator import lt
from typing import Final, NamedTuple

from ledger.errors import Refusal
from ledger.messages.contact import IPV4_BYTES, IPV6_BYTES, Contact, Version
from ledger.messages.lists import MAX_NODES, MAX_SWARMS
from ledger.types import Key

HAS_IPV4: Final = 1
HAS_IPV6: Final = 2

# -------------------------------------------------------------------------------- entries

KEY_BYTES: Final = 32

COLUMNS: Final = (
    ("key", KEY_BYTES),
    ("flags", 1),
    ("ipv4", IPV4_BYTES),
    ("ipv6", IPV6_BYTES),
    ("storage_port", 2),
    ("router_port", 2),
    ("storage_version", 3),
    ("router_version", 3),
    ("swarm_index", 2),
)
"""The columns in order, with the bytes of one cell. The two address columns have cells only for
the nodes whose flags say so; `swarm_index` is the place of the swarm's id in the header part."""

_KEYS, _FLAGS = 0, 1
FLAG_OF: Final = {"ipv4": HAS_IPV4, "ipv6": HAS_IPV6}
"""The flag that says whether an entry has a cell in a column."""
_ADDRESSED: Final = bytes((HAS_IPV4, HAS_IPV6, HAS_IPV4 | HAS_IPV6))
"""Every value that flags may have."""
_COUNTS: Final = struct.Struct(">II")
_MANY_KEYS: Final = struct.Struct(1_000 * f"{KEY_BYTES}s")

MAX_ENTRY_BYTES: Final = sum(width for _, width in COLUMNS[:-1])
"""Length of a packed entry with both addresses."""
_LEAF_HEAD: Final = struct.Struct(">QQQH")
_TAIL: Final = struct.Struct(">HH6B")
"""Ports and versions as they stand in a packed entry: columns in which every entry has a cell."""
_TAIL_WIDTHS: Final = tuple(width for _, width in COLUMNS[4:-1])


class Entry(NamedTuple):
    """One active node in the list; entries are sorted by `key`."""

    key: Key
    contact: Contact
    swarm_id: int
    """Swarm of the node, 0 to 2^64 − 2."""


def pack_entry(entry: Entry) -> bytes:
    """Return one entry as it stands in a swarm leaf: its fields without the swarm id."""
    return b"".join((entry.key, *pack_contact(entry.contact)))


def pack_contact(contact: Contact) -> tuple[bytes, bytes, bytes, bytes]:
    """Return what stands behind the key in a packed entry: flags, IPv4, IPv6, and all the rest."""
    ipv4, ipv6 = contact.ipv4, contact.ipv6
    flags = (HAS_IPV4 if ipv4 else 0) | (HAS_IPV6 if ipv6 else 0)
    storage, router = contact.storage_version, contact.router_version
    tail = _TAIL.pack(
        contact.storage_port, contact.router_port,
        storage.major, storage.minor, storage.patch, router.major, router.minor, router.patch,
    )  # fmt: skip
    return bytes([flags]), ipv4, ipv6, tail


def pack_swarm_leaf(before: int, swarm_id: int, after: int, members: Iterable[bytes]) -> bytes:
    """Return the leaf of one swarm from its members' packed entries, by ascending key."""
    entries = list(members)
    return _LEAF_HEAD.pack(before, swarm_id, after, len(entries)) + b"".join(entries)


def pack_swarm_leaves(
    swarm_ids: Sequence[int], members: Iterable[Iterable[bytes]]
) -> Iterator[bytes]:
    """Yield the leaf of each swarm, by ascending id, from the packed entries of its members."""
    for place, (swarm_id, packed) in enumerate(zip(swarm_ids, members, strict=True)):
        after = swarm_ids[(place + 1) % len(swarm_ids)]
        yield pack_swarm_leaf(swarm_ids[place - 1], swarm_id, after, packed)


SWARM_LEAF_HEAD_BYTES: Final = _LEAF_HEAD.size
"""Length of a leaf without its members."""


class SwarmLeaf(NamedTuple):
    """One swarm as its leaf tells it."""

    before: int
    swarm_id: int
    after: int
    members: tuple[Entry, ...]
    """By ascending key."""


def measure_swarm_leaf(raw: bytes) -> int:
    """Return the length of the leaf with which `raw` begins. Refuses with `bad_list`."""
    at = SWARM_LEAF_HEAD_BYTES
    if len(raw) < at:
        raise Refusal("bad_list", why="it is cut off")
    for _ in range(_LEAF_HEAD.unpack_from(raw)[3]):
        if len(raw) <= at + KEY_BYTES:
            raise Refusal("bad_list", why="it is cut off")
        at += _entry_bytes(raw[at + KEY_BYTES])
    if len(raw) < at:
        raise Refusal("bad_list", why="it is cut off")
    return at


def unpack_swarm_leaf(raw: bytes) -> SwarmLeaf:
    """Return the swarm of a leaf. Refuses with `bad_list` whatever no leaf of a list can be."""
    if measure_swarm_leaf(raw) != len(raw):
        raise Refusal("bad_list", why="bytes are left over")
    before, swarm_id, after, count = _LEAF_HEAD.unpack_from(raw)
    members: list[Entry] = []
    at = SWARM_LEAF_HEAD_BYTES
    for _ in range(count):
        size = _entry_bytes(raw[at + KEY_BYTES])
        members.append(_unpack_entry(raw[at : at + size], swarm_id))
        at += size
    if not members or any(a.key >= b.key for a, b in pairwise(members)):
        raise Refusal("bad_list", why="a swarm has no members, or not in ascending order")
    if swarm_id == 2**64 - 1:
        raise Refusal("bad_list", why="a node has no swarm")
    return SwarmLeaf(before, swarm_id, after, tuple(members))


def _entry_bytes(flags: int) -> int:
    """Return the length of a packed entry with these flags."""
    if flags not in _ADDRESSED:
        raise Refusal("bad_list", why="a node has no address or unknown flags")
    has_ipv4, has_ipv6 = bool(flags & HAS_IPV4), bool(flags & HAS_IPV6)
    return MAX_ENTRY_BYTES - IPV4_BYTES * (not has_ipv4) - IPV6_BYTES * (not has_ipv6)


def _unpack_entry(raw: bytes, swarm_id: int) -> Entry:
    flags, at = raw[KEY_BYTES], KEY_BYTES + 1
    cells = []
    for name, width in COLUMNS[2:-1]:
        present = name not in FLAG_OF or flags & FLAG_OF[name]
        cells.append(raw[at : at + width] if present else b"")
        at += len(cells[-1])
    return Entry(raw[:KEY_BYTES], _make_contact(*cells), swarm_id)


def _make_contact(
    ipv4: bytes,
    ipv6: bytes,
    storage_port: bytes,
    router_port: bytes,
    storage_version: bytes,
    router_version: bytes,
) -> Contact:
    """Return the contact of these cells; the opposite of `pack_contact`, without the flags."""
    return Contact(
        ipv4,
        ipv6,
        int.from_bytes(storage_port, "big"),
        int.from_bytes(router_port, "big"),
        Version(*storage_version),
        Version(*router_version),
    )


# -------------------------------------------------------------------------------- columns


def pack_columns(entries: Sequence[Entry]) -> bytes:
    """Return the list's columns: what `list_hash` covers and `full` carries.

    `entries` are sorted by key.
    """
    cells = pack_cells([pack_contact(entry.contact) for entry in entries])
    keys = [entry.key for entry in entries]
    return pack_columns_of(keys, [entry.swarm_id for entry in entries], cells)


def pack_columns_of(
    keys: Sequence[Key], swarm_id_of: Sequence[int], cells: Sequence[bytes]
) -> bytes:
    """Return the columns of entries with these keys and swarm ids, and the cells between these."""
    swarm_ids = tuple(sorted(set(swarm_id_of)))
    place = {swarm_id: index.to_bytes(2, "big") for index, swarm_id in enumerate(swarm_ids)}
    places = b"".join([place[swarm_id] for swarm_id in swarm_id_of])
    return join_columns(Columns(swarm_ids, (b"".join(keys), *cells, places)))


def pack_cells(rows: Sequence[tuple[bytes, bytes, bytes, bytes]]) -> tuple[bytes, ...]:
    """Return the columns of some contacts, each as `pack_contact` gives it, from flags to versions.

    Ports and versions are taken apart byte by byte, of all contacts at once.
    """
    flags, ipv4, ipv6, tails = (b"".join([row[part] for row in rows]) for part in range(4))
    columns = [flags, ipv4, ipv6]
    start = 0
    for width in _TAIL_WIDTHS:
        cells = bytearray(len(rows) * width)
        for at in range(width):
            cells[at::width] = tails[start + at :: _TAIL.size]
        columns.append(bytes(cells))
        start += width
    return tuple(columns)


class Columns(NamedTuple):
    """A list as its columns, checked: whoever needs no single entry makes none."""

    swarm_ids: tuple[int, ...]
    cells: tuple[bytes, ...]
    """The bytes of each column, in the order of `COLUMNS`."""

    @property
    def node_count(self) -> int:
        """Number of entries."""
        return len(self.cells[_FLAGS])

    def split(self) -> list[Sequence[bytes]]:
        """Return the cells of each column by entry; an address that an entry has not is empty."""
        flags = self.cells[_FLAGS]
        return [
            _spread(_cut(cells, width), flags, FLAG_OF[name]) if name in FLAG_OF
            else _cut(cells, width)
            for (name, width), cells in zip(COLUMNS, self.cells, strict=True)
        ]  # fmt: skip


def _cut(cells: bytes, width: int) -> list[bytes]:
    return [cell for (cell,) in struct.iter_unpack(f"{width}s", cells)]


def _spread(cells: list[bytes], flags: bytes, bit: int) -> list[bytes]:
    if len(cells) == len(flags):
        return cells
    own = iter(cells)
    return [next(own) if flag & bit else b"" for flag in flags]


def join_columns(columns: Columns) -> bytes:
    """Return the bytes that `list_hash` covers."""
    swarm_ids, node_count = columns.swarm_ids, columns.node_count
    head = struct.pack(f">II{len(swarm_ids)}Q", node_count, len(swarm_ids), *swarm_ids)
    return b"".join((head, *columns.cells))


def read_columns(raw: bytes) -> Columns:
    """Return the columns of a list, looked through without making its entries.

    Refuses with `bad_list` whatever `pack_columns` could not have made.
    """
    if len(raw) < _COUNTS.size:
        raise Refusal("bad_list", why="it is cut off")
    count, swarms = _COUNTS.unpack_from(raw)
    if count > MAX_NODES or swarms > min(count, MAX_SWARMS):
        raise Refusal("bad_list", why="its counts are out of range")
    start = _COUNTS.size + 8 * swarms
    if len(raw) < start:
        raise Refusal("bad_list", why="it is cut off")
    swarm_ids = struct.unpack_from(f">{swarms}Q", raw, _COUNTS.size)
    cells: list[bytes] = []
    for name, width in COLUMNS:
        cell_count = count
        if name in FLAG_OF:
            bit, flags = FLAG_OF[name], cells[_FLAGS]
            if flags.translate(None, _ADDRESSED):
                raise Refusal("bad_list", why="a node has no address or unknown flags")
            cell_count = sum(flags.count(value) for value in _ADDRESSED if value & bit)
        cells.append(raw[start : start + cell_count * width])
        start += cell_count * width
        if len(raw) < start:
            raise Refusal("bad_list", why="it is cut off")
    if start != len(raw):
        raise Refusal("bad_list", why="bytes are left over")
    columns = Columns(swarm_ids, tuple(cells))
    _check_columns(columns)
    return columns


def unpack_columns(raw: bytes) -> list[Entry]:
    """Return the entries of packed columns, sorted by key. Refuses with `bad_list`."""
    return make_entries(read_columns(raw))


def make_entries(columns: Columns) -> list[Entry]:
    """Return the entries of a list, sorted by key."""
    rows = zip(*columns.split(), strict=True)
    ids = columns.swarm_ids
    return [
        Entry(key, _make_contact(*cells), ids[int.from_bytes(place, "big")])
        for key, _, *cells, place in rows
    ]


def make_swarm_leaves(columns: Columns) -> list[bytes]:
    """Return the leaves of a list's swarms, by ascending swarm id."""
    ids = columns.swarm_ids
    members: list[list[bytes]] = [[] for _ in ids]
    for *cells, place in zip(*columns.split(), strict=True):
        members[int.from_bytes(place, "big")].append(b"".join(cells))
    return list(pack_swarm_leaves(ids, members))


def _cut_keys(cells: bytes) -> list[bytes]:
    """Return the keys of a column: many at once, since this is a fifth of all checking."""
    whole = len(cells) - len(cells) % _MANY_KEYS.size
    keys: list[bytes] = []
    for start in range(0, whole, _MANY_KEYS.size):
        keys += _MANY_KEYS.unpack_from(cells, start)
    return keys + _cut(cells[whole:], KEY_BYTES)


def _check_columns(columns: Columns) -> None:
    keys, swarm_ids = _cut_keys(columns.cells[_KEYS]), columns.swarm_ids
    if not all(map(lt, keys, islice(keys, 1, None))):
        raise Refusal("bad_list", why="its keys are not in ascending order")
    if not all(map(lt, swarm_ids, swarm_ids[1:])):
        raise Refusal("bad_list", why="its swarm ids are not in ascending order")
    if swarm_ids and swarm_ids[-1] == 2**64 - 1:
        raise Refusal("bad_list", why="a node has no swarm")
    places = set(struct.unpack(f">{len(keys)}H", columns.cells[-1]))
    # places are no negative numbers, so as many of them below the count are all of them
    if len(places) != len(swarm_ids) or (places and max(places) >= len(swarm_ids)):
        raise Refusal("bad_list", why="swarms and their members do not match")
