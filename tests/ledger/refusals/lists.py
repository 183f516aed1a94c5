"""Refusals of headers and columns, as any reader of a list meets them."""

import struct
from collections.abc import Callable
from typing import Any

from ledger.merkle import SparseProof
from ledger.messages.entries import Entry, pack_columns, unpack_columns
from ledger.messages.lists import (
    HEADER_BYTES,
    MAX_NODES,
    MAX_SWARMS,
    decode_header,
    decode_signed_header,
    encode_header,
    encode_signed_header,
)
from tests.factory import Network, make_contact
from tests.ledger.refusals.rows import Done, Row

V6 = bytes.fromhex("26200000000000000000000000000001")
NODES, SWARMS = 3, 1
"""What the list of `three_nodes` holds; so few nodes share a swarm."""

KEYS = 8 + 8 * SWARMS
FLAGS = KEYS + 32 * NODES
"""Where columns begin."""


def three_nodes(network: Network) -> None:
    """A list of three nodes: one with IPv4, one with IPv6, one with both."""
    network.block(
        network.register("node 1", "alice"),
        network.register("node 2", "bob", contact=make_contact(ipv4=b"", ipv6=V6)),
        network.register("node 3", "carol", contact=make_contact(9, ipv6=V6)),
    )
    network.end_epoch()


def header(**changes: Any) -> Callable[[Network], object]:
    """Read a header that says something else."""

    def act(network: Network) -> object:
        return decode_header(encode_header(network.header._replace(**changes)))

    return act


def header_bytes(change: Callable[[bytes], bytes]) -> Callable[[Network], object]:
    """Read a header whose bytes were changed."""
    return lambda network: decode_header(change(network.chain.newest_header().header))


def signed(change: Callable[[bytes], bytes]) -> Callable[[Network], object]:
    """Read a signed header whose bytes were changed."""

    def act(network: Network) -> object:
        network.settle()
        return decode_signed_header(change(encode_signed_header(network.chain.newest_header())))

    return act


def columns(change: Callable[[bytes], bytes]) -> Callable[[Network], object]:
    """Read columns whose bytes were changed."""

    def act(network: Network) -> object:
        raw = network.chain.newest_list().columns
        assert struct.unpack(">II", raw[:8]) == (NODES, SWARMS)
        return unpack_columns(change(raw))

    return act


def put(at: int, new: bytes) -> Callable[[bytes], bytes]:
    """Put bytes in the place of others; a negative place counts from the end."""

    def change(raw: bytes) -> bytes:
        start = at % len(raw)
        return raw[:start] + new + raw[start + len(new) :]

    return change


def swap_keys(raw: bytes) -> bytes:
    """The first two keys in the wrong order."""
    first, second = raw[KEYS : KEYS + 32], raw[KEYS + 32 : KEYS + 64]
    return raw[:KEYS] + second + first + raw[KEYS + 64 :]


def same_key(raw: bytes) -> bytes:
    """The first key twice."""
    return raw[: KEYS + 32] + raw[KEYS : KEYS + 32] + raw[KEYS + 64 :]


def second_swarm(swarm_id: int) -> Callable[[bytes], bytes]:
    """Columns that name one swarm more, which has no members unless `put` says so."""

    def change(raw: bytes) -> bytes:
        head = struct.pack(">II", NODES, SWARMS + 1) + raw[8:16]
        return head + swarm_id.to_bytes(8, "big") + raw[16:]

    return change


LENGTH, TIMES, COUNTS = "bytes instead of 342", "times are out of order", "counts are out of range"
CUT_OFF, LEFT_OVER = "cut off", "left over"
SEATS, SIGNERS = "attestors that cannot exist", "signatures and signers differ"
FLAGS_WRONG, MEMBERS = "no address or unknown flags", "swarms and their members do not match"

HEADERS: dict[str, Row] = {
    name: Done("bad_header", act, three_nodes, why=why)
    for name, (why, act) in {
        "header of one byte less": (LENGTH, header_bytes(lambda raw: raw[:-1])),
        "header of one byte more": (LENGTH, header_bytes(lambda raw: raw + b"\0")),
        "header of two bytes": (LENGTH, header_bytes(lambda raw: raw[:2])),
        "no header": (LENGTH, header_bytes(lambda raw: b"")),
        "fresh until it begins": (
            TIMES,
            lambda n: header(fresh_until_ms=n.header.valid_after_ms)(n),
        ),
        "valid for less than fresh": (
            TIMES,
            lambda n: header(valid_until_ms=n.header.fresh_until_ms - 1)(n),
        ),
        "more nodes than a list holds": (COUNTS, header(node_count=MAX_NODES + 1)),
        "more swarms than nodes": (COUNTS, header(swarm_count=NODES + 1)),
        "more swarms than a list holds": (
            COUNTS,
            header(node_count=MAX_NODES, swarm_count=MAX_SWARMS + 1),
        ),
        "signed header cut off": (CUT_OFF, signed(lambda raw: raw[: HEADER_BYTES + 3])),
        "signed header without a header": (CUT_OFF, signed(lambda raw: b"")),
        "signature cut off": (SIGNERS, signed(lambda raw: raw[:-1])),
        "signature more": (SIGNERS, signed(lambda raw: raw + bytes(64))),
        "signer without a signature": (
            SIGNERS,
            signed(put(HEADER_BYTES, (0b1111).to_bytes(4, "big"))),
        ),
        "signature without a signer": (
            SIGNERS,
            signed(put(HEADER_BYTES, (0b11).to_bytes(4, "big"))),
        ),
        "seat 25": (SEATS, signed(put(HEADER_BYTES, (1 << 25).to_bytes(4, "big")))),
        "seat 31": (SEATS, signed(put(HEADER_BYTES, (1 << 31).to_bytes(4, "big")))),
    }.items()
}

HEADERS |= {
    "format 0": Done("unknown_format", header(format_version=0)),
    "format 2": Done("unknown_format", header(format_version=2)),
    "format 2 of another length": Done(
        "unknown_format", header_bytes(lambda raw: b"\0\2" + raw[2:-1])
    ),
}

COLUMNS: dict[str, Row] = {
    name: Done("bad_list", columns(change), three_nodes, why=why)
    for name, (why, change) in {
        "no columns": (CUT_OFF, lambda raw: b""),
        "columns cut off": (CUT_OFF, lambda raw: raw[:-1]),
        "columns with a byte behind": (LEFT_OVER, lambda raw: raw + b"\0"),
        "columns of more nodes than there can be": (
            COUNTS,
            put(0, (MAX_NODES + 1).to_bytes(4, "big")),
        ),
        "columns of as many nodes as there can be": (CUT_OFF, put(0, MAX_NODES.to_bytes(4, "big"))),
        "columns of more swarms than nodes": (COUNTS, put(4, (NODES + 1).to_bytes(4, "big"))),
        "columns of more swarms than there can be": (
            COUNTS,
            put(0, struct.pack(">II", MAX_NODES, MAX_SWARMS + 1)),
        ),
        "columns of as many swarms as there can be": (
            CUT_OFF,
            put(0, struct.pack(">II", MAX_SWARMS, MAX_SWARMS)),
        ),
        "keys out of order": ("keys are not in ascending order", swap_keys),
        "key twice": ("keys are not in ascending order", same_key),
        "node without an address": (
            FLAGS_WRONG,
            lambda _raw: pack_columns([Entry(b"k" * 32, make_contact(ipv4=b""), 1)]),
        ),
        "flags that nobody knows": (
            FLAGS_WRONG,
            lambda raw: put(FLAGS, bytes([raw[FLAGS] | 4]))(raw),
        ),
        "all flags": (FLAGS_WRONG, put(FLAGS, b"\xff" * 3)),
        "swarm that the list does not name": (MEMBERS, put(-2, (SWARMS).to_bytes(2, "big"))),
        "swarm without members": (MEMBERS, second_swarm(2**64 - 2)),
        "swarm id that means none": ("a node has no swarm", put(8, b"\xff" * 8)),
        "swarm ids out of order": (
            "swarm ids are not in ascending order",
            lambda raw: put(-2, b"\0\1")(put(8, b"\0" * 7 + b"\2")(second_swarm(1)(raw))),
        ),
        "swarm id twice": (
            "swarm ids are not in ascending order",
            lambda raw: put(-2, b"\0\1")(put(8, b"\0" * 7 + b"\1")(second_swarm(1)(raw))),
        ),
    }.items()
}

PROOFS: dict[str, Row] = {
    f"sparse proof {name}": Done("not_canonical", lambda _n, raw=raw: SparseProof.decode(raw))  # type: ignore[misc]
    for name, raw in {
        "of nothing": b"",
        "cut off": b"\0\0",
        "with a byte behind": b"\0\0\0\0",
        "of 257 levels": b"\0" + (257).to_bytes(2, "big") + bytes(33),
    }.items()
}

LISTS: dict[str, Row] = {**HEADERS, **COLUMNS, **PROOFS}
