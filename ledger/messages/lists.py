"""What clients verify: the header, its signatures, the list's columns, the swarms' leaves.

These are fixed binary layouts, big-endian, hashed and signed as the bytes they are:

    header          342 bytes, `HEADER_FIELDS`
    signed header   header ‖ u32 bit set of the signers (bit i = index i) ‖ 64 bytes a signer
    columns         u32 nodes ‖ u32 swarms ‖ swarm ids ‖ one column for each field of an entry
    swarm leaf      ids of the swarm before, itself, the one after ‖ u16 members ‖ entries
    set             u8 members ‖ (list key ‖ u32 weight) by ascending key
"""

import struct
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from operator import lt
from typing import Final, NamedTuple

from ledger.codec import U32, Bytes32, Record
from ledger.crypto import SIGNATURE_BYTES, Signed, sha256, signing_bytes, tagged_hash
from ledger.errors import Refusal
from ledger.messages import tags
from ledger.messages.contact import IPV4_BYTES, IPV6_BYTES, Contact, Version
from ledger.types import Epoch, Hash, Height, Key, TimeMs

FORMAT_VERSION: Final = 1
"""Version of header and list; fixes every algorithm that they use."""

RULES_VERSION: Final = 1
"""Version of the ledger's rules that made the header."""

MAX_NODES: Final = 2**18
"""Nodes that a list holds at most."""

MAX_SWARMS: Final = 2**16
"""Swarms that a list holds at most, so that a node's swarm fits a u16."""

MAX_MEMBERS: Final = 2**16 - 1
"""Nodes of one swarm at most, so that their number fits the u16 of its leaf."""

MAX_ATTESTORS: Final = 25
"""Members of an attestor set at most."""

HAS_IPV4: Final = 1
HAS_IPV6: Final = 2


# ------------------------------------------------------------------------------ attestors


class Attestor(Record, frozen=True):
    """One seat of an attestor set; its index is its place by ascending key."""

    list_key: Bytes32
    weight: U32
    """Voting weight, at least 1."""


def attestor_set_hash(members: Sequence[Attestor]) -> Hash:
    """Return the flat hash of a set: tag ‖ u8 count ‖ (key ‖ u32 weight) by ascending key."""
    seats = b"".join(m.list_key + m.weight.to_bytes(4, "big") for m in members)
    return tagged_hash(tags.ATTESTORS, bytes([len(members)]), seats)


def is_final(weight: int, total: int) -> bool:
    """Whether signatures of `weight` are more than two thirds of `total`."""
    return 3 * weight > 2 * total


def has_single_signer(weights: Sequence[int]) -> bool:
    """Whether one attestor of a set has the weight that makes a header final."""
    total = sum(weights)
    return any(is_final(weight, total) for weight in weights)


# --------------------------------------------------------------------------------- header


class ListHeader(NamedTuple):
    """The header of one epoch's list: made at the end of `epoch`, governs the next one."""

    format_version: int
    rules_version: int
    next_format: int
    """Format that the next headers will have; equal to `format_version` unless it changes."""
    epoch: Epoch
    height: Height
    """Last block of the epoch."""
    valid_after_ms: TimeMs
    """Time of that block."""
    fresh_until_ms: TimeMs
    """Past it a client goes on in a degraded state."""
    valid_until_ms: TimeMs
    """Past it a client uses the list by explicit setting only."""
    node_count: int
    swarm_count: int
    list_hash: Hash
    """SHA-256 of the columns."""
    swarm_root: Hash
    """RFC 9162 root over the swarm leaves, by ascending swarm id."""
    set_hash: Hash
    """The attestors that sign this header."""
    next_set_hash: Hash
    """The attestors that will sign the next one."""
    history_root: Hash
    """RFC 9162 root over all earlier headers."""
    state_root: Hash
    """Root of the state after block `height`."""
    params_digest: Hash
    seed: Hash
    """Seed of the swarms made at this end, and of what the next epoch draws."""
    successor: Hash
    """Hash of the genesis file that continues this chain, else zero."""

    @property
    def hash(self) -> Hash:
        """SHA-256 of the header's bytes."""
        return sha256(encode_header(self))


_HEADER: Final = struct.Struct(">HHHQQQQQII" + 9 * "32s")
HEADER_BYTES: Final = _HEADER.size
"""Length of an encoded header: 342."""


def encode_header(header: ListHeader) -> bytes:
    """Return the 342 bytes that are signed."""
    return _HEADER.pack(*header)


def decode_header(raw: bytes) -> ListHeader:
    """Return the header of `raw`.

    Refuses with `bad_header` (length, times, counts) and `unknown_format`.
    """
    version = int.from_bytes(raw[:2], "big")
    if len(raw) >= 2 and version != FORMAT_VERSION:
        raise Refusal("unknown_format", version=version)
    if len(raw) != HEADER_BYTES:
        raise Refusal("bad_header", why=f"{len(raw)} bytes instead of {HEADER_BYTES}")
    header = ListHeader(*_HEADER.unpack(raw))
    if not header.valid_after_ms < header.fresh_until_ms <= header.valid_until_ms:
        raise Refusal("bad_header", why="its times are out of order")
    if header.node_count > MAX_NODES or header.swarm_count > min(MAX_SWARMS, header.node_count):
        raise Refusal("bad_header", why="its counts are out of range")
    return header


def header_signing_bytes(genesis_hash: Hash, header: bytes) -> bytes:
    """Return what a list key signs to attest an encoded header."""
    return signing_bytes(tags.LIST_HEADER, genesis_hash, header)


def fingerprint_bits(genesis_hash: Hash, header: bytes) -> bytes:
    """Return the 16 bytes that two people compare, as twelve words or a QR code."""
    return tagged_hash(tags.FINGERPRINT, genesis_hash, header)[:16]


class SignedHeader(NamedTuple):
    """A header with the signatures that are known, `(index, signature)` by ascending index."""

    header: bytes
    signatures: tuple[tuple[int, bytes], ...]


def weigh(signed: SignedHeader, members: Sequence[Attestor]) -> tuple[int, int]:
    """Return the weight that signed, and that of the whole set.

    Who signed is one of `members`; whether the signatures are valid was looked at before.
    """
    weight = sum(members[index].weight for index, _ in signed.signatures)
    return weight, sum(member.weight for member in members)


def encode_signed_header(signed: SignedHeader) -> bytes:
    """Return header ‖ u32 bit set ‖ signatures in index order."""
    bits = sum(1 << index for index, _ in signed.signatures)
    return (
        signed.header
        + bits.to_bytes(4, "big")
        + b"".join(signature for _, signature in signed.signatures)
    )


def decode_signed_header(raw: bytes) -> SignedHeader:
    """Return the parts of a signed header. Refuses with `bad_header`."""
    head, rest = raw[:HEADER_BYTES], raw[HEADER_BYTES:]
    if len(rest) < 4:
        raise Refusal("bad_header", why="it is cut off")
    bits = int.from_bytes(rest[:4], "big")
    if bits >= 1 << MAX_ATTESTORS:
        raise Refusal("bad_header", why="it names attestors that cannot exist")
    indices = [index for index in range(MAX_ATTESTORS) if bits >> index & 1]
    signatures = rest[4:]
    if len(signatures) != len(indices) * SIGNATURE_BYTES:
        raise Refusal("bad_header", why="signatures and signers differ in number")
    return SignedHeader(
        head,
        tuple(
            (index, signatures[64 * place : 64 * place + 64]) for place, index in enumerate(indices)
        ),
    )


def attestation(genesis_hash: Hash, header: bytes, key: Key, signature: bytes) -> Signed:
    """Return what has to be verified for one signature of an encoded header."""
    return Signed(key, header_signing_bytes(genesis_hash, header), signature)


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
_FLAG_OF: Final = {"ipv4": HAS_IPV4, "ipv6": HAS_IPV6}
"""The flag that says whether an entry has a cell in a column."""
_ADDRESSED: Final = bytes((HAS_IPV4, HAS_IPV6, HAS_IPV4 | HAS_IPV6))
"""Every value that flags may have."""
_COUNTS: Final = struct.Struct(">II")
_MANY_KEYS: Final = struct.Struct(1_000 * f"{KEY_BYTES}s")

MAX_ENTRY_BYTES: Final = sum(width for _, width in COLUMNS[:-1])
"""Length of a packed entry with both addresses."""
_LEAF_HEAD: Final = struct.Struct(">QQQH")


class Entry(NamedTuple):
    """One active node in the list; entries are sorted by `key`."""

    key: Key
    contact: Contact
    swarm_id: int
    """Swarm of the node, 0 to 2^64 − 2."""


def pack_entry(entry: Entry) -> bytes:
    """Return one entry as it stands in a swarm leaf: its fields without the swarm id."""
    contact = entry.contact
    return b"".join((entry.key, *contact_cells(contact)))


def contact_cells(contact: Contact) -> tuple[bytes, ...]:
    """Return the fields of a contact as bytes, in the order of the columns."""
    flags = (HAS_IPV4 if contact.ipv4 else 0) | (HAS_IPV6 if contact.ipv6 else 0)
    storage, router = contact.storage_version, contact.router_version
    return (
        bytes([flags]),
        contact.ipv4,
        contact.ipv6,
        contact.storage_port.to_bytes(2, "big"),
        contact.router_port.to_bytes(2, "big"),
        bytes((storage.major, storage.minor, storage.patch)),
        bytes((router.major, router.minor, router.patch)),
    )


def pack_swarm_leaf(before: int, swarm_id: int, after: int, members: Iterable[bytes]) -> bytes:
    """Return the leaf of one swarm from its members' packed entries, by ascending key."""
    entries = list(members)
    return _LEAF_HEAD.pack(before, swarm_id, after, len(entries)) + b"".join(entries)


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
        present = name not in _FLAG_OF or flags & _FLAG_OF[name]
        cells.append(raw[at : at + width] if present else b"")
        at += len(cells[-1])
    ipv4, ipv6, storage_port, router_port, storage_version, router_version = cells
    return Entry(
        raw[:KEY_BYTES],
        Contact(
            ipv4,
            ipv6,
            int.from_bytes(storage_port, "big"),
            int.from_bytes(router_port, "big"),
            Version(*storage_version),
            Version(*router_version),
        ),
        swarm_id,
    )


# -------------------------------------------------------------------------------- columns


def pack_columns(entries: Sequence[Entry], packed: Sequence[tuple[bytes, ...]] = ()) -> bytes:
    """Return the list's columns: what `list_hash` covers and `full` carries.

    `entries` are sorted by key; `packed` may bring their `contact_cells`, computed before.
    """
    swarm_ids = sorted({entry.swarm_id for entry in entries})
    place = {swarm_id: index.to_bytes(2, "big") for index, swarm_id in enumerate(swarm_ids)}
    cells = packed or [contact_cells(entry.contact) for entry in entries]
    columns = [
        struct.pack(">II", len(entries), len(swarm_ids)),
        struct.pack(f">{len(swarm_ids)}Q", *swarm_ids),
        b"".join(entry.key for entry in entries),
    ]
    columns += [b"".join(column) for column in zip(*cells, strict=True)]
    columns.append(b"".join(place[entry.swarm_id] for entry in entries))
    return b"".join(columns)


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
            _spread(_cut(cells, width), flags, _FLAG_OF[name]) if name in _FLAG_OF
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
        if name in _FLAG_OF:
            bit, flags = _FLAG_OF[name], cells[_FLAGS]
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
    return [
        Entry(
            key,
            Contact(
                ipv4,
                ipv6,
                int.from_bytes(storage_port, "big"),
                int.from_bytes(router_port, "big"),
                Version(*storage_version),
                Version(*router_version),
            ),
            columns.swarm_ids[int.from_bytes(place, "big")],
        )
        for (
            key, _, ipv4, ipv6, storage_port, router_port, storage_version, router_version, place,
        ) in rows
    ]  # fmt: skip


def make_swarm_leaves(columns: Columns) -> list[bytes]:
    """Return the leaves of a list's swarms, by ascending swarm id."""
    ids = columns.swarm_ids
    members: list[list[bytes]] = [[] for _ in ids]
    for *cells, place in zip(*columns.split(), strict=True):
        members[int.from_bytes(place, "big")].append(b"".join(cells))
    return [
        pack_swarm_leaf(ids[place - 1], swarm_id, ids[(place + 1) % len(ids)], members[place])
        for place, swarm_id in enumerate(ids)
    ]


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
