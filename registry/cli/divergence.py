"""The first block in which two histories of one network differ.

- Under `solo` a block's hash covers every block before it. Where it is the same in both, so is all
  that leads there; so the first difference is found by halving, with a few blocks of each history.
- Under `comet` a block names the state before it, and two blocks may lead to the same state. There
  every block up to the first difference is read.
- What is read carries its inputs and follows the block before; for the rest its headers' word is
  taken.
"""

from typing import Any, Final, NamedTuple

from ledger.codec import Record
from ledger.crypto import sha256
from ledger.errors import WaypostError
from ledger.messages.blocks import Block, block_hash
from ledger.messages.genesis import GENESIS, SOLO
from ledger.types import Height
from registry.cli.histories import (
    Finding,
    Source,
    check_follows,
    read_block,
    tip_of,
    tip_of_genesis,
)

HEADER_PARTS: Final = ("time_ms", "proposer", "previous", "state_root")
BODY_PARTS: Final = ("transactions", "misbehaviour", "seal")


class DifferentNetworks(WaypostError):
    """Two histories are not of one network; the text names both."""


class Difference(NamedTuple):
    """The first block that is not the same."""

    height: Height
    blocks: tuple[Block, Block]

    @property
    def parts(self) -> list[str]:
        """What of it differs: fields of the header, and what the block carries."""
        one, other = self.blocks
        heads = one.header, other.header
        header = [part for part in HEADER_PARTS if _differ(*heads, part)]
        return header + [part for part in BODY_PARTS if _differ(one, other, part)]

    @property
    def transaction(self) -> int | None:
        """Index of the first transaction that is not the same; None if all are."""
        one, other = (block.transactions for block in self.blocks)
        if one == other:
            return None
        pairs = enumerate(zip(one, other, strict=False))
        return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _differ(one: Record, other: Record, part: str) -> bool:
    differs: bool = getattr(one, part) != getattr(other, part)
    return differs


class Comparison:
    """Two histories, side by side."""

    def __init__(self, one: Source, other: Source) -> None:
        """Raises `DifferentNetworks`."""
        if one.genesis != other.genesis:
            hashes = [sha256(source.genesis).hex() for source in (one, other)]
            raise DifferentNetworks(
                f"{one.name} is of network {hashes[0]}, {other.name} of {hashes[1]}"
            )
        self.sources = one, other
        self.common = min(one.height, other.height)
        """The last height that both have."""
        self.reads = 0
        """Blocks that were read of each."""
        self._engine = GENESIS.decode(one.genesis).engine

    def find(self, *, every_block: bool = False) -> Difference | None:
        """Return the first difference up to the common height; None if there is none.

        `every_block` compares all bytes of all blocks, seals too. Raises `Finding`.
        """
        if every_block or self._engine != SOLO:
            return self._walk()
        return self._halve()

    def _halve(self) -> Difference | None:
        if not self.common or self._is_same(self._read(self.common)):
            return None
        same, differs = 0, self.common
        while differs - same > 1:
            middle = (same + differs) // 2
            if self._is_same(self._read(middle)):
                same = middle
            else:
                differs = middle
        return self._confirm(differs)

    def _confirm(self, height: Height) -> Difference:
        """Return the difference, if both blocks follow the one that is the same."""
        blocks = self._read(height)
        before = self._read(height - 1)[0] if height > 1 else None
        tip = tip_of_genesis(self.sources[0]) if before is None else tip_of(before.header)
        for source, block in zip(self.sources, blocks, strict=True):
            try:
                check_follows(tip, block.header, self._engine)
            except Finding as finding:
                raise _blame(source, finding) from None
        return Difference(height, blocks)

    def _walk(self) -> Difference | None:
        one, other = (source.blocks() for source in self.sources)
        for height, *raws in zip(range(1, self.common + 1), one, other, strict=False):
            self.reads += 1
            if raws[0] != raws[1]:
                return Difference(height, self._decode(height, raws))
        return None

    def _is_same(self, blocks: tuple[Block, Block]) -> bool:
        return block_hash(blocks[0].header) == block_hash(blocks[1].header)

    def _read(self, height: Height) -> tuple[Block, Block]:
        self.reads += 1
        return self._decode(height, [source.block(height) for source in self.sources])

    def _decode(self, height: Height, raws: list[bytes]) -> tuple[Block, Block]:
        blocks = []
        for source, raw in zip(self.sources, raws, strict=True):
            try:
                blocks.append(read_block(raw, height))
            except Finding as finding:
                raise _blame(source, finding) from None
        return blocks[0], blocks[1]


def _blame(source: Source, finding: Finding) -> Finding:
    """Return a finding that says in which history it is."""
    return Finding(finding.height, f"{source.name}: {finding.why}", finding.what)


def describe(block: Block) -> dict[str, Any]:
    """Return a block in terms of JSON, its transactions as hashes."""
    header = block.header
    return {
        "hash": block_hash(header).hex(),
        "time_ms": header.time_ms,
        "proposer": header.proposer.hex(),
        "previous": header.previous.hex(),
        "state_root": header.state_root.hex(),
        "transactions": [sha256(raw).hex() for raw in block.transactions],
        "misbehaviour": [raw.hex() for raw in block.misbehaviour],
        "seal": block.seal.hex(),
    }
