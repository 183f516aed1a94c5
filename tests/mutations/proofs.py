"""Mutations of proofs: whatever is still shown is true."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from ledger.merkle import (
    History,
    SparseProof,
    audit_path,
    leaf_hash,
    root_from_path,
    sparse_build,
    sparse_prove,
    sparse_root,
    sparse_verify,
    tree_root,
)
from ledger.messages.lists import HEADER_BYTES
from tests.mutations.engine import Sample, Subject, Target, Unproven, cuts_of
from tests.registry.client.factory import make_list

Statement = tuple[bytes, bytes | None]
"""A key of the state and its record, or None: there is no such record."""


def records_of(seed: int) -> dict[bytes, bytes]:
    """The records of a state of some size."""
    count = (1, 2, 3, 20, 200, 1_000)[seed % 6]
    return {b"key %d" % number: b"value %d" % number for number in range(count)}


def paths_of(records: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Path and value hash of each record, by ascending path."""
    return sorted((hash_of(key), hash_of(value)) for key, value in records.items())


def hash_of(data: bytes) -> bytes:
    return sha256(data).digest()


def sparse_proofs(seed: int) -> Subject:
    """Encoded proofs of records that are there and of some that are not."""
    records = records_of(seed)
    tree = sparse_build(paths_of(records))
    root = sparse_root(tree)
    keys = [b"key 0", b"key 1", b"absent 1", b"absent 2"]
    asked: list[Statement] = [(key, records.get(key)) for key in keys]
    asked += [(key, b"forged") for key in keys] + [(key, None) for key in keys]

    def offer(raw: bytes) -> list[Statement]:
        proof = SparseProof.decode(raw)
        assert proof.encode() == raw
        shown = [(key, value) for key, value in asked if sparse_verify(root, key, value, proof)]
        if not shown:
            raise Unproven
        return shown

    samples = [Sample(proof, proof_cuts(proof)) for proof in proofs_of(records, keys)]
    return Subject(
        samples,
        offer,
        lambda _raw, shown: all(records.get(key) == value for key, value in shown),
    )


def proofs_of(records: dict[bytes, bytes], keys: Sequence[bytes]) -> list[bytes]:
    """The encoded proof of what stands under each key."""
    tree = sparse_build(paths_of(records))
    return [sparse_prove(tree, hash_of(key)).encode() for key in keys]


def proof_cuts(proof: bytes) -> tuple[int, ...]:
    """Kind, leaf, number of siblings, their bits, and each that is written out."""
    leaf = (32, 32) if proof[0] else ()
    head = cuts_of(1, *leaf, 2)
    depth = int.from_bytes(proof[head[-2] : head[-1]], "big")
    bits = head[-1] + (depth + 7) // 8
    return (*head, *range(bits, len(proof) + 1, 32))


def proven_records(seed: int) -> Subject:
    """A record below its proof: only the record itself is proven."""
    records = records_of(seed)
    tree = sparse_build(paths_of(records))
    root, proof = sparse_root(tree), sparse_prove(tree, hash_of(b"key 0"))

    def offer(raw: bytes) -> bytes:
        if not sparse_verify(root, b"key 0", raw, proof):
            raise Unproven
        return raw

    return Subject([Sample(records[b"key 0"])], offer, lambda _raw, made: made == b"value 0")


def inclusion(seed: int) -> Subject:
    """Index, leaf and path in a tree whose size and root are known."""
    size = (1, 2, 3, 7, 8, 100)[seed % 6]
    leaves = [leaf_hash(b"leaf %d" % number) for number in range(size)]
    root = tree_root(leaves)

    def offer(raw: bytes) -> int:
        index, leaf = int.from_bytes(raw[:4], "big"), raw[4:36]
        path = [raw[at : at + 32] for at in range(36, len(raw), 32)]
        if root_from_path(leaf, index, size, path) != root:
            raise Unproven
        return index

    def proof_of(index: int) -> bytes:
        return index.to_bytes(4, "big") + leaves[index] + b"".join(audit_path(leaves, index))

    samples = [
        Sample(proof, (0, *range(4, len(proof) + 1, 32)))
        for proof in map(proof_of, sorted({0, size // 2, size - 1}))
    ]
    return Subject(samples, offer, lambda raw, index: raw == proof_of(index))


def histories(seed: int) -> Subject:
    """All headers up to one: their tree has the root that the next header names."""
    count = 3 + seed
    made = [make_list(number, weights=(1,), entries=[]).raw_header for number in range(count)]
    root = tree_root([leaf_hash(header) for header in made])

    def offer(raw: bytes) -> bytes:
        history = History()
        for at in range(0, len(raw), HEADER_BYTES):
            history = history.append(leaf_hash(raw[at : at + HEADER_BYTES]))
        if history.root() != root:
            raise Unproven
        return raw

    raw = b"".join(made)
    sample = Sample(raw, tuple(range(0, len(raw) + 1, HEADER_BYTES)))
    return Subject([sample], offer, lambda _raw, shown: shown == raw)


UNPROVEN: Final = (Unproven,)

PROOFS: Final = (
    Target("sparse proofs", sparse_proofs, 6, 1_000, frozenset(("not_canonical",)), UNPROVEN),
    Target("proven records", proven_records, 6, 500, frozenset(), UNPROVEN),
    Target("inclusion", inclusion, 6, 500, frozenset(), UNPROVEN),
    Target("histories", histories, 2, 1_000, frozenset(), UNPROVEN),
)
