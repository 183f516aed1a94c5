"""Histories that tests make.

Made           blocks of a network, as a source
read_vector    those of a file in tests/vectors
reseal         a block that was changed, sealed again by its producer
write_file     a history as the file that `export` writes
write_home     the home of a stopped node
Validated      a network of validators, with blocks as CometBFT leaves them
"""

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import sha256, sign
from ledger.inheritance import Inheritance
from ledger.leveldb import LevelStore
from ledger.messages.blocks import BLOCK, Block, BlockInput, inputs_hash, seal_bytes
from ledger.messages.genesis import COMET, Genesis
from ledger.nodes import consensus_address
from ledger.validators import get_validators
from registry.history_file import write_history
from registry.home import GENESIS
from tests.factory import Network, keys, make_genesis

VECTORS: Final = Path(__file__).parents[2] / "vectors"


class Made:
    """Encoded blocks, as a source."""

    def __init__(self, genesis: bytes, blocks: Sequence[bytes], name: str = "made") -> None:
        self.name, self.genesis = name, genesis
        self.height = len(blocks)
        self.root: bytes | None = None
        self.raws = list(blocks)

    @classmethod
    def of(cls, network: Network) -> "Made":
        """The blocks of a network."""
        return cls(network.raw, list(map(encode, network.blocks)))

    def blocks(self) -> Iterator[bytes]:
        return iter(self.raws)

    def block(self, height: int) -> bytes:
        return self.raws[height - 1]

    def decoded(self, height: int) -> Block:
        """A block as its record."""
        return BLOCK.decode(self.raws[height - 1])

    def put(self, block: Block) -> None:
        """Set a block in the place of the one of its height."""
        self.raws[block.header.height - 1] = encode(block)


def read_vector(name: str) -> Made:
    """The history of a vector."""
    vector = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    blocks = [bytes.fromhex(row["block"]) for row in vector["blocks"]]
    return Made(bytes.fromhex(vector["genesis"]), blocks, name)


def reseal(genesis: bytes, block: Block, **header: Any) -> Block:
    """A block whose header names what it carries, and has these fields, sealed by its producer."""
    inputs = inputs_hash(block.transactions, block.misbehaviour)
    made = replace(block.header, **({"inputs": inputs} | header))
    seal = sign(keys("producer"), seal_bytes(sha256(genesis), made))
    return replace(block, header=made, seal=seal)


def write_file(path: Path, made: Made) -> Path:
    """Write a history."""
    stream = BytesIO()
    write_history(stream, made.genesis, made.blocks())
    path.write_bytes(stream.getvalue())
    return path


def write_home(folder: Path, network: Network) -> Path:
    """Write what a stopped node of a network in memory has."""
    folder.mkdir(exist_ok=True)
    store = LevelStore(folder / "ledger")
    store.write(dict(network.store.items()))
    store.close()
    (folder / GENESIS).write_bytes(network.raw)
    return folder


class Validated(Network):
    """A network of validators: one of them proposes each block, and nobody seals it."""

    def __init__(
        self, genesis: Genesis | None = None, inheritance: Inheritance | None = None, **params: int
    ) -> None:
        made = genesis or make_genesis(params, engine=COMET, producer=b"")
        super().__init__(made, inheritance=inheritance)

    def input(self, *raws: bytes, **kwargs: Any) -> BlockInput:
        proposer = consensus_address(get_validators(self.state)[0])
        return super().input(*raws, **kwargs)._replace(proposer=proposer)

    def seal(self) -> bytes:
        return b""
