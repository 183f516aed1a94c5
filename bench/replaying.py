"""A chain that was prepared, in a process of its own: how it starts, and how it replays blocks.

    python -m bench.replaying FOLDER     replays the next block for each line that it reads

`FOLDER` holds `ledger`, `genesis` and `blocks`. Everything happens in this one process: signatures
too, as in `waypost ledger replay`. Answers are lines of JSON.
"""

import gc
import os
import sys
import time
from pathlib import Path
from typing import Final, TextIO

import msgspec

from bench.processes import read_memory_mb
from ledger.chain import Chain
from ledger.leveldb import LevelStore
from ledger.messages.blocks import BLOCK
from ledger.replay import execute_block
from registry.replica import fill_memory

LEDGER: Final = "ledger"
GENESIS: Final = "genesis"
BLOCKS: Final = "blocks"


class Started(msgspec.Struct, frozen=True):
    """A chain is open: every record was read, and the tree of the state has the root it should."""

    seconds: float
    processor_s: float
    memory_mb: float
    """What the process holds because of it."""


class Replayed(msgspec.Struct, frozen=True):
    """A block is committed."""

    seconds: float
    processor_s: float


def main(folder: Path, orders: TextIO) -> None:
    """Open, then replay for each order."""
    gc.collect()
    before = read_memory_mb(os.getpid())
    began, used = time.perf_counter(), time.process_time()
    with fill_memory():
        chain = Chain(LevelStore(folder / LEDGER, create=False), (folder / GENESIS).read_bytes())
    seconds, processor_s = time.perf_counter() - began, time.process_time() - used
    say(Started(seconds, processor_s, read_memory_mb(os.getpid()) - before))
    blocks = msgspec.msgpack.decode((folder / BLOCKS).read_bytes(), type=list[bytes])
    for _, raw in zip(orders, blocks, strict=False):
        block = BLOCK.decode(raw)
        began, used = time.perf_counter(), time.process_time()
        execute_block(chain, block)
        say(Replayed(time.perf_counter() - began, time.process_time() - used))
    chain.store.close()


def say(what: Started | Replayed) -> None:
    """Answer with a line."""
    print(msgspec.json.encode(what).decode(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.stdin)
