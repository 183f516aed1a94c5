"""The same blocks give the same roots in every process, whatever surrounds it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.codec import encode
from tests.factory import EPOCH_MS, Network, attestor_roles, places, replay

ROOT = Path(__file__).resolve().parents[2]

REPLAY = """
import sys
from ledger.chain import Chain
from ledger.replay import execute_block
from ledger.messages.blocks import BLOCK
from ledger.store import MemoryStore

genesis, *blocks = (bytes.fromhex(line) for line in sys.stdin.read().split())
chain = Chain(MemoryStore(), genesis)
chain.init()
print(chain.tip.root.hex())
for raw in blocks:
    print(execute_block(chain, BLOCK.decode(raw)).root.hex())
print(chain.newest_header().header.hex())
"""

SURROUNDINGS = {
    "hash seed 0": {"PYTHONHASHSEED": "0"},
    "hash seed 12345": {"PYTHONHASHSEED": "12345", "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8"},
    "another place": {"TZ": "Pacific/Kiritimati", "LANG": "C", "LC_ALL": "C"},
    "optimised": {"PYTHONOPTIMIZE": "2", "TZ": "America/St_Johns"},
}


def history() -> Network:
    """Blocks with every kind of transaction, refused ones and three ends of epochs."""
    network = Network(activation_floor=2)
    people = ("alice", "bob", "carol", "dave", "erin")
    network.block(*[network.register(f"node {who}", who) for who in people])
    network.block(
        network.register("node", "frank", 25 * 10**9, **attestor_roles("node")),
        network.register("kept", "grace", 25 * 10**9, reserved=places(("bob", 7), ("carol", 9))),
        network.transfer("alice", "a stranger", 10**9),
    )
    network.block(network.contribute("bob", 10**10), network.contribute("bob", 7, "kept"))
    network.block(network.withdraw("bob"), b"nonsense", codes=[0, 3])
    for sequence in (1, 2, 3):
        network.end_epoch()
        network.block(network.update_contact("node alice", sequence), ms=EPOCH_MS // 2)
    network.end_epoch()
    return network


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_another_process_comes_to_the_same_roots(name: str) -> None:
    network = history()
    lines = [network.raw.hex(), *(encode(block).hex() for block in network.blocks)]
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LC_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", REPLAY],
        input="\n".join(lines),
        env=environment | {"PYTHONPATH": str(ROOT)} | SURROUNDINGS[name],
        capture_output=True,
        text=True,
        check=True,
    )
    start = replay(network.raw, []).tip.root.hex()
    roots = [block.header.state_root.hex() for block in network.blocks]
    header = network.chain.newest_header().header.hex()
    assert done.stdout.split() == [start, *roots, header]


def test_two_runs_make_the_same_blocks() -> None:
    assert history().blocks == history().blocks
