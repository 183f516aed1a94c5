"""Blocks, as the journal keeps them and followers fetch them."""

from typing import Annotated, Final, NamedTuple, TypeAlias

import msgspec

from ledger.codec import U63, Bytes32, Codec, Record, UpTo32, UpTo64, encode
from ledger.crypto import Signed, sha256, signing_bytes
from ledger.messages import tags
from ledger.types import Hash, Height, Key, TimeMs

MAX_BLOCK_BYTES: Final = 2**25
"""Bound for decoding a block: twice what any network's parameters allow."""

MAX_PIECES: Final = 100_000
"""As many transactions as any network's parameters allow, and as many pieces of evidence."""

Pieces: TypeAlias = Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MAX_PIECES)]


class BlockInput(NamedTuple):
    """What an engine hands to the Chain: all that a block's execution may depend on."""

    height: Height
    time_ms: TimeMs
    proposer: bytes
    """Who ordered it: a producer's key, a validator's address, or none."""
    misbehaviour: tuple[bytes, ...]
    """Evidence that the engine itself found."""
    transactions: tuple[bytes, ...]


class BlockHeader(Record, frozen=True):
    """A block's header; its hash is the block's hash."""

    height: U63
    time_ms: U63
    proposer: UpTo32
    previous: Bytes32
    """Hash of the block before; the genesis hash for block 1. Under `comet` the state root before
    this block instead, which its validators agree on."""
    inputs: Bytes32
    """SHA-256 over the hashes of the transactions, then of the misbehaviour."""
    state_root: Bytes32
    """Root of the state after this block."""


class Block(Record, frozen=True):
    """A block with what its engine gives as a proof of it."""

    header: BlockHeader
    misbehaviour: Pieces
    transactions: Pieces
    seal: UpTo64
    """`solo`: the producer's signature, tag `BLOCK`, over the encoded header. Else none."""

    @property
    def input(self) -> BlockInput:
        """What a replica executes."""
        head = self.header
        return BlockInput(
            head.height, head.time_ms, head.proposer, self.misbehaviour, self.transactions
        )

    def has_its_inputs(self) -> bool:
        """Whether the header names exactly what the block carries."""
        return self.header.inputs == inputs_hash(self.transactions, self.misbehaviour)


BLOCK: Final[Codec[Block]] = Codec(Block, "block", MAX_BLOCK_BYTES)


def inputs_hash(transactions: tuple[bytes, ...], misbehaviour: tuple[bytes, ...]) -> Hash:
    """Return the hash that binds a block header to what the block carries."""
    transaction_hashes = b"".join(map(sha256, transactions))
    return sha256(sha256(transaction_hashes) + sha256(b"".join(map(sha256, misbehaviour))))


def block_hash(header: BlockHeader) -> Hash:
    """SHA-256 of the encoded header."""
    return sha256(encode(header))


def block_seal(genesis_hash: Hash, producer: Key, header: BlockHeader, seal: bytes) -> Signed:
    """Return what has to be verified for the seal of a `solo` block."""
    return Signed(producer, seal_bytes(genesis_hash, header), seal)


def seal_bytes(genesis_hash: Hash, header: BlockHeader) -> bytes:
    """Return what the producer of a `solo` chain signs."""
    return signing_bytes(tags.BLOCK, genesis_hash, encode(header))
