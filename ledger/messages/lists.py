"""What clients verify of a list: the header, its signatures, and the set that signs.

These are fixed binary layouts, big-endian, hashed and signed as the bytes they are:

    header          342 bytes, `HEADER_FIELDS`
    signed header   header ‖ u32 bit set of the signers (bit i = index i) ‖ 64 bytes a signer
    set             u8 members ‖ (list key ‖ u32 weight) by ascending key

What the header names, the columns and the swarms' leaves, is in `ledger.messages.entries`.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from ledger.codec import U32, Bytes32, Record
from ledger.crypto import SIGNATURE_BYTES, Signed, sha256, signing_bytes, tagged_hash
from ledger.errors import Refusal
from ledger.messages import tags
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


SIGNERS_END: Final = HEADER_BYTES + 4
"""Where the set of signers of a signed header ends, and their signatures begin."""

MAX_SIGNED_HEADER_BYTES: Final = SIGNERS_END + MAX_ATTESTORS * SIGNATURE_BYTES
"""What everybody's signature makes of a header; nobody has to read more."""


def measure_signed_header(head: bytes) -> int:
    """Return how long the signed header is that begins with these `SIGNERS_END` bytes."""
    return SIGNERS_END + SIGNATURE_BYTES * int.from_bytes(head[HEADER_BYTES:], "big").bit_count()


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
