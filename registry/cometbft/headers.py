"""CometBFT's headers and commits as its RPC shows them: hashed and verified here.

- A header's hash is the root over its fields, each as protobuf writes it; that of a set of
  validators is the root over its keys with their power, by ascending address.
- A commit counts if more than two thirds of a set signed the block that it names.
"""

import base64
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec

from ledger.crypto import Signed, verify_all
from ledger.merkle import leaf_hash, tree_root
from ledger.nodes import consensus_address
from ledger.types import Hash, Key, TimeMs
from registry.cometbft.genesis import VOTING_POWER

PRECOMMIT: Final = 2
"""Type of a vote that a commit holds."""

FOR_THE_BLOCK: Final = 2
"""Flag of a vote for the block, not for none."""


class PartSet(msgspec.Struct, frozen=True):
    """What the pieces of a block are known by."""

    total: int
    hash: str


class BlockId(msgspec.Struct, frozen=True):
    """What a block is known by."""

    hash: str
    parts: PartSet


class Versions(msgspec.Struct, frozen=True):
    """Of the protocol of blocks, and of the ledger."""

    block: str
    app: str = "0"


class CometHeader(msgspec.Struct, frozen=True):
    """A header: numbers are texts, hashes hex digits."""

    version: Versions
    chain_id: str
    height: str
    time: str
    last_block_id: BlockId
    last_commit_hash: str
    data_hash: str
    validators_hash: str
    next_validators_hash: str
    consensus_hash: str
    app_hash: str
    last_results_hash: str
    evidence_hash: str
    proposer_address: str


class Vote(msgspec.Struct, frozen=True):
    """One vote of a commit."""

    block_id_flag: int
    validator_address: str
    timestamp: str
    signature: str | None


class Commit(msgspec.Struct, frozen=True):
    """The votes for a block."""

    height: str
    round: int
    block_id: BlockId
    signatures: list[Vote]


class SignedBlock(msgspec.Struct, frozen=True):
    """A header with its commit."""

    header: CometHeader
    commit: Commit


def hash_header(header: CometHeader) -> Hash:
    """Return the hash of a header. Raises `ValueError` for what no header holds."""
    hashes = (
        header.last_commit_hash,
        header.data_hash,
        header.validators_hash,
        header.next_validators_hash,
        header.consensus_hash,
        header.app_hash,
        header.last_results_hash,
        header.evidence_hash,
        header.proposer_address,
    )
    fields = (
        _number(1, int(header.version.block)) + _number(2, int(header.version.app)),
        _bytes(1, header.chain_id.encode()),
        _number(1, int(header.height)),
        _time(header.time),
        _block_id(header.last_block_id),
        *(_bytes(1, bytes.fromhex(text)) for text in hashes),
    )
    return tree_root([leaf_hash(field) for field in fields])


def read_time_ms(text: str) -> TimeMs:
    """Return a header's time in milliseconds, rounded down. Raises `ValueError` for no time."""
    second, nanos = _read_time(text)
    return second * 1_000 + nanos // 1_000_000


def hash_validators(keys: Iterable[Key]) -> Hash:
    """Return the hash of a set of validators, all with the same power."""
    return tree_root(
        [
            leaf_hash(_message(1, _bytes(1, key)) + _number(2, VOTING_POWER))
            for key in sorted(keys, key=consensus_address)
        ]
    )


def is_agreed(block: SignedBlock, keys: Iterable[Key]) -> bool:
    """Whether more than two thirds of these validators voted for a block.

    Raises `ValueError` for what no commit holds.
    """
    header, commit = block.header, block.commit
    if bytes.fromhex(commit.block_id.hash) != hash_header(header):
        return False
    key_of = {consensus_address(key): key for key in keys}
    votes: dict[Key, Signed] = {}
    for vote in commit.signatures:
        key = key_of.get(bytes.fromhex(vote.validator_address))
        if key is not None and vote.block_id_flag == FOR_THE_BLOCK and vote.signature:
            signature = base64.b64decode(vote.signature, validate=True)
            votes[key] = Signed(key, vote_bytes(header.chain_id, commit, vote), signature)
    return 3 * sum(verify_all(list(votes.values()))) > 2 * len(key_of)


def vote_bytes(chain_id: str, commit: Commit, vote: Vote) -> bytes:
    """Return what a validator signed that voted for a block."""
    body = b"".join(
        (
            _number(1, PRECOMMIT),
            _fixed(2, int(commit.height)),
            _fixed(3, commit.round),
            _message(4, _block_id(commit.block_id)),
            _message(5, _time(vote.timestamp)),
            _bytes(6, chain_id.encode()),
        )
    )
    return _varint(len(body)) + body


# ------------------------------------------------------------------------------ protobuf


def _number(tag: int, value: int) -> bytes:
    return bytes((tag << 3,)) + _varint(value) if value else b""


def _fixed(tag: int, value: int) -> bytes:
    return bytes((tag << 3 | 1,)) + _bounded(value).to_bytes(8, "little") if value else b""


def _bytes(tag: int, value: bytes) -> bytes:
    return _message(tag, value) if value else b""


def _message(tag: int, value: bytes) -> bytes:
    """Return a record inside another one, which stands there even where it is empty."""
    return bytes((tag << 3 | 2,)) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    value, out = _bounded(value), bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _bounded(value: int) -> int:
    if not 0 <= value < 2**63:
        raise ValueError(f"{value} is no such number")
    return value


def _block_id(block: BlockId) -> bytes:
    parts = _number(1, block.parts.total) + _bytes(2, bytes.fromhex(block.parts.hash))
    return _bytes(1, bytes.fromhex(block.hash)) + _message(2, parts)


def _time(text: str) -> bytes:
    second, nanos = _read_time(text)
    return _number(1, second) + _number(2, nanos)


def _read_time(text: str) -> tuple[int, int]:
    """Return seconds and nanoseconds of a time such as `2026-01-02T03:04:05.000000006Z`."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", text, re.ASCII)
    if found is None:
        raise ValueError(f"{text!r} is no time")
    second = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    return int(second.timestamp()), int((found[2] or "").ljust(9, "0"))
