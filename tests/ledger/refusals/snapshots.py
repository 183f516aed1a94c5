"""Refusals of snapshots."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.history import CHUNK, MANIFEST, Chunk, Manifest, iterate_chunks, make_manifest, restore
from ledger.messages.blocks import BLOCK, Block
from ledger.store import MemoryStore
from tests.factory import Network
from tests.ledger.refusals.rows import Done, Row

Tamper = Callable[[Manifest, list[bytes]], tuple[Manifest, list[bytes]]]


def with_history(network: Network) -> None:
    """Something to take a snapshot of."""
    network.block(network.register())
    network.end_epoch()
    network.block(network.transfer("alice", "bob"))


def restored(tamper: Tamper) -> Callable[[Network], object]:
    """Restore a snapshot that was changed; nothing of it may reach the store."""

    def act(network: Network) -> object:
        reader = network.view.reader
        manifest, chunks = tamper(make_manifest(reader), list(iterate_chunks(reader)))
        store = MemoryStore()
        try:
            return restore(store, network.hash, manifest, chunks)
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


def with_block(change: Callable[[Block], Block]) -> Tamper:
    """Another block in the manifest."""

    def tamper(manifest: Manifest, chunks: list[bytes]) -> tuple[Manifest, list[bytes]]:
        block = change(BLOCK.decode(manifest.block))
        return replace(manifest, block=encode(block)), chunks

    return tamper


def into_used_store(network: Network) -> object:
    """Restore a good snapshot where something lies already."""
    reader = network.view.reader
    chunks = list(iterate_chunks(reader))
    return restore(network.store, network.hash, make_manifest(reader), chunks)


def without_bytes(manifest: Manifest, chunks: list[bytes]) -> tuple[Manifest, list[bytes]]:
    """A chunk that is nothing, named as it ought to be."""
    return replace(manifest, chunks=(sha256(b""),)), [b""]


def flip_value(records: list[Any]) -> list[Any]:
    """One bit of the first value is another."""
    key, value = records[0]
    return [(key, value[:-1] + bytes([value[-1] ^ 1])), *records[1:]]


SNAPSHOTS: dict[str, Row] = {
    name: Done(code, restored(tamper), with_history)
    for name, (code, tamper) in {
        "chunk missing": ("bad_snapshot", lambda m, c: (m, c[:-1])),
        "chunk twice": ("bad_snapshot", lambda m, c: (m, [*c, c[-1]])),
        "chunk with another byte": ("bad_snapshot", lambda m, c: (m, [c[0][:-1] + b"?", *c[1:]])),
        "chunk that is empty": ("not_canonical", without_bytes),
        "record missing": ("bad_snapshot", with_records(lambda rows: rows[1:])),
        "record twice": ("bad_snapshot", with_records(lambda rows: [rows[0], *rows])),
        "records out of order": ("bad_snapshot", with_records(lambda rows: rows[::-1])),
        "record outside of the state": (
            "bad_snapshot",
            with_records(lambda rows: [(b"T", b"tip"), *rows]),
        ),
        "record behind the state": (
            "bad_snapshot",
            with_records(lambda rows: [*rows, (b"{", b"")]),
        ),
        "record more": ("bad_snapshot", with_records(lambda rows: [*rows, (b"zz", b"")])),
        "value changed": ("bad_snapshot", with_records(flip_value)),
        "key changed": (
            "bad_snapshot",
            with_records(lambda rows: [(rows[0][0] + b"\0", rows[0][1]), *rows[1:]]),
        ),
        "block with another root": (
            "bad_snapshot",
            with_block(lambda b: replace(b, header=replace(b.header, state_root=bytes(32)))),
        ),
        "block that carries something else": (
            "bad_snapshot",
            with_block(lambda b: replace(b, transactions=())),
        ),
        "block with evidence added": (
            "bad_snapshot",
            with_block(lambda b: replace(b, misbehaviour=(b"x",))),
        ),
        "block that is none": (
            "not_canonical",
            lambda m, c: (replace(m, block=b"\x90"), c),
        ),
    }.items()
}

SNAPSHOTS |= {
    "store that is not empty": Done("bad_snapshot", into_used_store, with_history),
    "snapshot of genesis": Done("bad_snapshot", lambda n: make_manifest(Network().view.reader)),
    "manifest with a byte behind it": Done(
        "not_canonical",
        lambda n: MANIFEST.decode(encode(make_manifest(n.view.reader)) + b"\0"),
        with_history,
    ),
}
