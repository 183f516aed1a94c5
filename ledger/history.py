"""History: what the store keeps beside the state, derived from the blocks; and snapshots.

    T                   the tip
    G                   the hash of the genesis file
    J height 8          a block (the journal)
    B                   the first block of the journal, height 8, if that is not 1: a store that a
                        snapshot filled holds no block up to the snapshot's
    L                   the layout of all this, 2 bytes, if that is not 1
    X hash 32           where a transaction stands: height 8 ‖ index 4 ‖ code 2
    F epoch 8           the frozen signed header of an epoch
    V epoch 8 ‖ node    a verdict: who voted what, and who was drawn and did not
    R height 8 ‖ index  a penalty: what a report took, and what it brought
    E epoch 8           when an epoch ended, and what it paid
    S epoch 8           the nodes whose swarm changed at an epoch's end
    A hash 32           an attestor set that headers name, by its hash
    N epoch 8           (empty) the header of that epoch is final, and names another set as the next
    O epoch 8           the recovery order for the end of an epoch: who signed it
    H level 1 ‖ place 8 the root of a full subtree of the history of headers

None of it is covered by the state root. A snapshot is the state at an epoch's end in chunks, and
nothing that the root of that state does not prove.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Final, NamedTuple

import msgspec

from ledger.codec import U8, U32, U63, U64, Bytes32, Codec, Record, encode
from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.merkle import Subtree, sparse_root
from ledger.messages.genesis import SOLO
from ledger.messages.lists import MAX_ATTESTORS, Attestor
from ledger.messages.tables import DRAFT, EPOCH
from ledger.messages.transactions import Signer
from ledger.state import STATE_START, STATE_STOP, build_tree
from ledger.store import Reader, Store
from ledger.types import ZERO_HASH, Epoch, Hash, Height, Key

TIP_KEY: Final = b"T"
GENESIS_KEY: Final = b"G"
BASE_KEY: Final = b"B"
LAYOUT_KEY: Final = b"L"

LAYOUT: Final = 1
"""What lies where in a store, as this version knows it. Who changes that counts up, here too."""

CHUNK_BYTES: Final = 2**20
"""A chunk of a snapshot ends with the record that reaches this size."""

MAX_CHUNK_BYTES: Final = 2**24
"""What engines carry at most in one piece."""

MAX_MANIFEST_BYTES: Final = 2**22
"""What engines carry at most of a snapshot's description; 120,000 chunks fit."""


class Tip(Record, frozen=True):
    """The newest committed block."""

    height: U63
    time_ms: U63
    root: Bytes32
    """State root after it."""
    block_hash: Bytes32
    """The genesis hash at height 0; zeros where a snapshot filled the store."""


TIP: Final[Codec[Tip]] = Codec(Tip, "tip")


def link_to(tip: Tip, engine: int) -> Hash:
    """Return what the header after a tip names as `previous`.

    A producer signs for the blocks before his; validators agree on what CometBFT's headers bear,
    which is the state root, so that one who began with a snapshot has the same block as the rest.
    """
    return tip.block_hash if engine == SOLO else tip.root


class Location(NamedTuple):
    """Where a transaction stands."""

    height: Height
    place: int
    """Its index in the block."""
    code: int
    """0 if it was applied, else the number of its refusal."""


def check_layout(reader: Reader) -> None:
    """Refuse with `store_layout` a store that another version of this program wrote otherwise."""
    found = int.from_bytes(reader.get(LAYOUT_KEY) or b"\1", "big")
    if found != LAYOUT:
        raise Refusal("store_layout", found=found, known=LAYOUT)


def journal_key(height: Height) -> bytes:
    """Return the store key of a block."""
    return b"J" + height.to_bytes(8, "big")


def find_gap(reader: Reader, height: Height) -> Height | None:
    """Return the first block that a journal up to `height` lacks, or None.

    A journal begins with block 1, or with the one after the snapshot that filled the store.
    """
    expected = int.from_bytes(reader.get(BASE_KEY) or b"\1", "big")
    for key, _ in reader.items(journal_key(0), journal_key(height + 1)):
        if key != journal_key(expected):
            return expected
        expected += 1
    return None if expected == height + 1 else expected


def final_key(epoch: Epoch) -> bytes:
    """Return the store key of the frozen signed header of an epoch."""
    return b"F" + epoch.to_bytes(8, "big")


class AttestorSet(Record, frozen=True):
    """The attestors of some epoch: headers name them by their hash only."""

    members: Annotated[tuple[Attestor, ...], msgspec.Meta(max_length=MAX_ATTESTORS)]
    """By ascending list key."""


ATTESTOR_SET: Final[Codec[AttestorSet]] = Codec(AttestorSet, "attestor set")


def set_key(set_hash: Hash) -> bytes:
    """Return the store key of an attestor set."""
    return b"A" + set_hash


def announcement_key(epoch: Epoch) -> bytes:
    """Return the store key that marks a final header which names another set as the next one."""
    return b"N" + epoch.to_bytes(8, "big")


class RecoveryRow(Record, frozen=True):
    """What clients need of an order by which recovery keys replace the attestors.

    It may have lapsed; the header of the epoch at whose end it was due then names another set.
    """

    set_hash: Bytes32
    """Of the set that was ordered."""
    tips_hash: Bytes32
    signers: Annotated[tuple[Signer, ...], msgspec.Meta(max_length=MAX_ATTESTORS)]
    """By ascending key."""


RECOVERY_ROW: Final[Codec[RecoveryRow]] = Codec(RecoveryRow, "recovery")


def recovery_key(epoch: Epoch) -> bytes:
    """Return the store key of the recovery order for the end of an epoch."""
    return b"O" + epoch.to_bytes(8, "big")


def subtree_key(subtree: Subtree) -> bytes:
    """Return the store key of the root of a full subtree of the history."""
    return b"H" + bytes([subtree.level]) + subtree.place.to_bytes(8, "big")


def location_key(tx_hash: Hash) -> bytes:
    """Return the store key under which a transaction's location lies."""
    return b"X" + tx_hash


def encode_location(location: Location) -> bytes:
    """Return the 14 bytes of a location."""
    height, place, code = location
    return height.to_bytes(8, "big") + place.to_bytes(4, "big") + code.to_bytes(2, "big")


def decode_location(raw: bytes) -> Location:
    """Return the location of its 14 bytes."""
    parts = (raw[:8], raw[8:12], raw[12:])
    return Location(*(int.from_bytes(part, "big") for part in parts))


# ------------------------------------------------------------- verdicts and penalties


class VerdictRow(Record, frozen=True):
    """Who voted what on a node in an epoch."""

    life: U32
    votes: tuple[tuple[Bytes32, U8], ...]
    """`(tester, faults)` of each vote, in the order in which the testers were drawn."""
    silent: tuple[Bytes32, ...]
    """The testers whose votes the verdict does not carry."""


class PenaltyRow(Record, frozen=True):
    """What a proven offence cost; the evidence stands in the block."""

    offence: U8
    node: Bytes32
    """The node, or a key without one."""
    epoch: U63
    """Epoch of the offence."""
    taken: U63
    bounty: U63


VERDICT_ROW: Final[Codec[VerdictRow]] = Codec(VerdictRow, "verdict")
PENALTY_ROW: Final[Codec[PenaltyRow]] = Codec(PenaltyRow, "penalty")

ENGINE_INDEX: Final = 2**32 - 1
"""Stands for the index of what no transaction reported: the first piece that an engine gave; the
next ones count down."""


def verdict_key(epoch: Epoch, node: Key = b"") -> bytes:
    """Return the store key of an archived verdict."""
    return b"V" + epoch.to_bytes(8, "big") + node


def penalty_key(height: Height, index: int) -> bytes:
    """Return the store key of an archived penalty."""
    return b"R" + height.to_bytes(8, "big") + index.to_bytes(4, "big")


# ----------------------------------------------------------------------------- epochs' ends


class EpochRow(Record, frozen=True):
    """When an epoch ended, and what it paid."""

    height: U63
    """Of its last block."""
    time_ms: U63
    """Of that block."""
    share: U63
    """Atomic units that each node got which earned."""
    earning: U32
    """Nodes that got it."""
    balance: U63
    """Atomic units in the pool after that."""
    accumulator: U63
    """The network's accumulator after that."""


class SwarmMove(Record, frozen=True):
    """A node whose swarm changed; 2^64 − 1 stands for none."""

    node: Bytes32
    before: U64
    after: U64


class SwarmRow(Record, frozen=True):
    """How an epoch's end changed the swarms."""

    moves: tuple[SwarmMove, ...]
    """By ascending node key."""


MAX_MOVES_BYTES: Final = 2**23
"""All nodes of the longest list may move at once."""

EPOCH_ROW: Final[Codec[EpochRow]] = Codec(EpochRow, "epoch's end")
SWARM_ROW: Final[Codec[SwarmRow]] = Codec(SwarmRow, "swarm changes", MAX_MOVES_BYTES)


def end_key(epoch: Epoch) -> bytes:
    """Return the store key of how an epoch ended."""
    return b"E" + epoch.to_bytes(8, "big")


def moves_key(epoch: Epoch) -> bytes:
    """Return the store key of how an epoch's end changed the swarms."""
    return b"S" + epoch.to_bytes(8, "big")


# ------------------------------------------------------------------------------ snapshots


class Manifest(Record, frozen=True):
    """What a snapshot consists of."""

    height: U63
    """Of the block after which the state was taken, which ended an epoch; 1 at least."""
    chunks: tuple[Bytes32, ...]
    """SHA-256 of each chunk, in order."""


class Chunk(Record, frozen=True):
    """Consecutive records of the state, by ascending store key."""

    records: tuple[tuple[bytes, bytes], ...]


MANIFEST: Final[Codec[Manifest]] = Codec(Manifest, "snapshot manifest", MAX_MANIFEST_BYTES)
CHUNK: Final[Codec[Chunk]] = Codec(Chunk, "snapshot chunk", MAX_CHUNK_BYTES)


def iterate_chunks(reader: Reader) -> Iterator[bytes]:
    """Yield the chunks of a snapshot: the same bytes on every replica of that height."""
    records: list[tuple[bytes, bytes]] = []
    size = 0
    for key, value in reader.items(STATE_START, STATE_STOP):
        records.append((key, value))
        size += len(key) + len(value)
        if size >= CHUNK_BYTES:
            yield encode(Chunk(tuple(records)))
            records, size = [], 0
    yield encode(Chunk(tuple(records)))


def make_manifest(reader: Reader) -> Manifest:
    """Return the manifest of the snapshot of a reader's height, at which an epoch has ended.

    Refuses with `bad_snapshot` at genesis and at any other height.
    """
    height = TIP.load(reader.get(TIP_KEY) or b"").height
    if not height or reader.get(DRAFT.letter) is None:
        raise Refusal("bad_snapshot", why="no block ended an epoch there")
    return Manifest(height, tuple(sha256(chunk) for chunk in iterate_chunks(reader)))


def restore(
    store: Store, genesis_hash: Hash, manifest: Manifest, chunks: Iterable[bytes], root: Hash
) -> Tip:
    """Fill an empty store from a snapshot, in one synced write, and return its tip.

    The caller's engine has verified `root`, the state root after the block of the manifest's
    height; all else comes from the state that has it. Refuses with `bad_snapshot` what does not
    add up to it, and with `not_canonical` and `too_large` what is no chunk at all.
    """
    records = _read_chunks(manifest, list(chunks))
    if sparse_root(build_tree(records.items())) != root:
        raise Refusal("bad_snapshot", why="its records do not have the root that was verified")
    epoch = EPOCH.codec.decode(records.get(EPOCH.letter, b""))
    is_end = DRAFT.letter in records and epoch.start_height == manifest.height
    if not is_end or not manifest.height:
        raise Refusal("bad_snapshot", why="its state is not that after an epoch's last block")
    if next(iter(store.items()), None) is not None:
        raise Refusal("bad_snapshot", why="the store is not empty")
    # the block itself is not there, so nobody says what its hash was
    tip = Tip(manifest.height, epoch.start_ms, root, ZERO_HASH)
    beside = {
        TIP_KEY: encode(tip),
        GENESIS_KEY: genesis_hash,
        BASE_KEY: (tip.height + 1).to_bytes(8, "big"),
    }
    store.write(dict(records | beside), sync=True)
    return tip


def _read_chunks(manifest: Manifest, chunks: list[bytes]) -> dict[bytes, bytes]:
    """Return the records of chunks that a manifest names. Refuses like `restore`."""
    if [sha256(chunk) for chunk in chunks] != list(manifest.chunks):
        raise Refusal("bad_snapshot", why="a chunk is not the one that the manifest names")
    records = read_records(chunks)
    if records is None:
        raise Refusal("bad_snapshot", why="its records are out of order")
    return records


def read_records(chunks: Iterable[bytes]) -> dict[bytes, bytes] | None:
    """Return the records of chunks by ascending store key; None if they are out of order.

    Refuses like the codec of chunks.
    """
    records: dict[bytes, bytes] = {}
    last = b""
    for raw in chunks:
        for key, value in CHUNK.decode(raw).records:
            if not (last < key and STATE_START <= key < STATE_STOP):
                return None
            records[key] = value
            last = key
    return records
