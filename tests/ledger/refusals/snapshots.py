"""Refusals of snapshots, and of stores."""

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import sha256
from ledger.history import (
    CHUNK,
    LAYOUT_KEY,
    MANIFEST,
    Chunk,
    Manifest,
    iterate_chunks,
    make_manifest,
    restore,
)
from ledger.messages.tables import EPOCH
from ledger.store import MemoryStore
from ledger.types import Height
from ledger.views import View
from tests.factory import Network
from tests.flip import flip
from tests.ledger.refusals.rows import Done, Row

Tamper = Callable[[Manifest, list[bytes]], tuple[Manifest, list[bytes]]]


def with_history(network: Network) -> None:
    """Something to take a snapshot of."""
    network.block(network.register())
    network.end_epoch()
    network.block(network.transfer("alice", "bob"))


def end_of(network: Network) -> View:
    """The newest height at which an epoch ended."""
    view = network.chain.end_of(network.state.one(EPOCH).epoch - 1)
    assert view is not None
    return view


def restored(tamper: Tamper) -> Callable[[Network], object]:
    """Restore a snapshot that was changed; nothing of it may reach the store."""

    def act(network: Network) -> object:
        end = end_of(network)
        manifest, chunks = tamper(make_manifest(end.reader), list(iterate_chunks(end.reader)))
        store = MemoryStore()
        try:
            return restore(store, network.hash, manifest, chunks, end.tip.root)
        finally:
            assert list(store.items()) == []

    return act


def with_records(change: Callable[[list[Any]], list[Any]]) -> Tamper:
    """Other records in the first chunk, which the manifest names as it ought to."""

    def tamper(manifest: Manifest, chunks: list[bytes]) -> tuple[Manifest, list[bytes]]:
        records = change(list(CHUNK.decode(chunks[0]).records))
        chunks = [encode(Chunk(tuple(records))), *chunks[1:]]
        return replace(manifest, chunks=tuple(map(sha256, chunks))), chunks

    return tamper


def in_the_middle(network: Network, height: Height | None = None) -> object:
    """Restore the state of a height at which no epoch ended, with the root that it has.

    `height` is what the manifest says of it, if that is another one.
    """
    reader, tip = network.view.reader, network.chain.tip
    chunks = list(iterate_chunks(reader))
    store = MemoryStore()
    try:
        manifest = Manifest(tip.height if height is None else height, tuple(map(sha256, chunks)))
        return restore(store, network.hash, manifest, chunks, tip.root)
    finally:
        assert list(store.items()) == []


def as_of_the_end(network: Network) -> object:
    """Restore a later state under the height at which the epoch before ended."""
    return in_the_middle(network, end_of(network).tip.height)


def of_genesis(network: Network) -> object:
    """Restore the state of height 0, which is no block's."""
    fresh = Network()
    chunks = list(iterate_chunks(fresh.view.reader))
    manifest = Manifest(0, tuple(map(sha256, chunks)))
    return restore(MemoryStore(), fresh.hash, manifest, chunks, fresh.chain.tip.root)


def with_another_root(network: Network) -> object:
    """Restore a good snapshot below a root that is that of the block before."""
    reader = end_of(network).reader
    chunks, root = list(iterate_chunks(reader)), network.chain.tip.root
    return restore(MemoryStore(), network.hash, make_manifest(reader), chunks, root)


def into_used_store(network: Network) -> object:
    """Restore a good snapshot where something lies already."""
    reader, root = end_of(network).reader, end_of(network).tip.root
    chunks = list(iterate_chunks(reader))
    return restore(network.store, network.hash, make_manifest(reader), chunks, root)


def with_layout(raw: bytes) -> Callable[[Network], object]:
    """Open a chain whose store says that its layout has this number."""

    def act(network: Network) -> object:
        store = MemoryStore(dict(network.store.items()) | {LAYOUT_KEY: raw})
        before = dict(store.items())
        try:
            return Chain(store, network.raw)
        finally:
            assert dict(store.items()) == before

    return act


def without_bytes(manifest: Manifest, chunks: list[bytes]) -> tuple[Manifest, list[bytes]]:
    """A chunk that is nothing, named as it ought to be."""
    return replace(manifest, chunks=(sha256(b""),)), [b""]


def flip_value(records: list[Any]) -> list[Any]:
    """One bit of the first value is another."""
    key, value = records[0]
    return [(key, flip(value)), *records[1:]]


CHUNK_WHY: Final = "a chunk is not the one that the manifest names"
ORDER_WHY: Final = "its records are out of order"
ROOT_WHY: Final = "its records do not have the root that was verified"
END_WHY: Final = "its state is not that after an epoch's last block"
NO_END_WHY: Final = "no block ended an epoch there"

BAD: Final[dict[str, tuple[str, Tamper]]] = {
    "chunk missing": (CHUNK_WHY, lambda m, c: (m, c[:-1])),
    "chunk twice": (CHUNK_WHY, lambda m, c: (m, [*c, c[-1]])),
    "chunk with another byte": (CHUNK_WHY, lambda m, c: (m, [c[0][:-1] + b"?", *c[1:]])),
    "record missing": (ROOT_WHY, with_records(lambda rows: rows[1:])),
    "record twice": (ORDER_WHY, with_records(lambda rows: [rows[0], *rows])),
    "records out of order": (ORDER_WHY, with_records(lambda rows: rows[::-1])),
    "record outside of the state": (
        ORDER_WHY,
        with_records(lambda rows: [(b"T", b"tip"), *rows]),
    ),
    "record behind the state": (ROOT_WHY, with_records(lambda rows: [*rows, (b"{", b"")])),
    "record more": (ROOT_WHY, with_records(lambda rows: [*rows, (b"zz", b"")])),
    "value changed": (ROOT_WHY, with_records(flip_value)),
    "key changed": (
        ROOT_WHY,
        with_records(lambda rows: [(rows[0][0] + b"\0", rows[0][1]), *rows[1:]]),
    ),
    "height before": (END_WHY, lambda m, c: (replace(m, height=m.height - 1), c)),
    "height after": (END_WHY, lambda m, c: (replace(m, height=m.height + 1), c)),
}

SNAPSHOTS: dict[str, Row] = {
    name: Done("bad_snapshot", restored(tamper), with_history, why=why)
    for name, (why, tamper) in BAD.items()
}

SNAPSHOTS |= {
    "chunk that is empty": Done("not_canonical", restored(without_bytes), with_history),
    "store that is not empty": Done(
        "bad_snapshot", into_used_store, with_history, why="the store is not empty"
    ),
    "state of another root": Done("bad_snapshot", with_another_root, with_history, why=ROOT_WHY),
    "state within an epoch": Done("bad_snapshot", in_the_middle, with_history, why=END_WHY),
    "state after the end": Done("bad_snapshot", as_of_the_end, with_history, why=END_WHY),
    "state of genesis": Done("bad_snapshot", of_genesis, why=END_WHY),
    "snapshot of genesis": Done(
        "bad_snapshot", lambda n: make_manifest(Network().view.reader), why=NO_END_WHY
    ),
    "snapshot within an epoch": Done(
        "bad_snapshot", lambda n: make_manifest(n.view.reader), with_history, why=NO_END_WHY
    ),
    "manifest with a byte behind it": Done(
        "not_canonical",
        lambda n: MANIFEST.decode(encode(make_manifest(end_of(n).reader)) + b"\0"),
        with_history,
    ),
    "store of a newer version": Done("store_layout", with_layout(b"\0\2"), with_history),
    "store of an older version": Done("store_layout", with_layout(b"\0\0"), with_history),
    "store with a layout of many bytes": Done(
        "store_layout", with_layout(b"\1" + bytes(7)), with_history
    ),
}
