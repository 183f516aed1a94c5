"""Small inputs that ask for much, each with the memory that refusing it takes.

    python -m tests.mutations.bombs NAME     prints by how many bytes the peak of the process grew

Each runs in a process of its own, whose whole room is limited too: without a bound it would not
end in gigabytes but in a failure.
"""

import resource
import sys
import zlib
from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple

from msgspec.structs import replace

from ledger.codec import encode
from ledger.errors import Refusal
from ledger.history import MAX_CHUNK_BYTES, make_manifest, restore
from ledger.messages.blocks import BLOCK, MAX_BLOCK_BYTES, BlockHeader
from ledger.messages.lists import MAX_NODES, MAX_SWARMS, decode_header, encode_header
from ledger.replay import check_sealed
from ledger.store import MemoryStore
from registry.client import TrustedLists
from registry.formats.full import FORMAT_BYTE, decode_full
from registry.formats.session_json import MAX_SESSION_JSON_BYTES, decode_session_json
from tests.factory import Network
from tests.mutations.lists import signed_alone
from tests.registry.client.factory import NOW_MS, make_list

ROOM_BYTES: Final = 3 * 2**30
"""Address space of the process; each bomb would take more."""

PIECE_BYTES: Final = 2**24
PIECES: Final = 256
"""Together 4 GiB."""


def make_bomb(fill: bytes = b"\0", pieces: int = PIECES) -> bytes:
    """A `full` file of some MB that inflates to `pieces` of 16 MiB: deflate's best is 1:1032.

    Each piece ends at a whole byte and looks back on nothing, so that one is compressed and the
    others are its copies.
    """
    stream = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    piece = stream.compress(fill * (PIECE_BYTES // len(fill))) + stream.flush(zlib.Z_FULL_FLUSH)
    return bytes([FORMAT_BYTE]) + piece * pieces + stream.flush()


def inflate_alone(data: bytes) -> None:
    """By whoever knows no header."""
    decode_full(data, sha256(b"").digest())


def inflate_below(node_count: int, swarm_count: int) -> Callable[[bytes], None]:
    """By a client whose verified header claims so much."""

    def read(data: bytes) -> None:
        made = make_list(weights=(1,), entries=[])
        header = made.header._replace(
            node_count=node_count, swarm_count=swarm_count, list_hash=sha256(data).digest()
        )
        client = TrustedLists(made.genesis, NOW_MS)
        client.update(signed_alone(made.genesis, encode_header(header)))
        client.load_full(data)

    return read


def claim_nodes(_data: bytes) -> None:
    """A header that claims more nodes than a list can hold."""
    header = make_list(weights=(1,), entries=[]).header._replace(node_count=2**32 - 1)
    decode_header(encode_header(header))


def tiny_entries() -> bytes:
    """A JSON list as long as it may be, of entries as short as they may be."""
    head, entry, tail = b'{"height":1,"service_node_states":[', b'{"pubkey_ed25519":0}', b"]}"
    count = (MAX_SESSION_JSON_BYTES - len(head) - len(tail)) // (len(entry) + 1)
    return head + b",".join([entry] * count) + tail


def many_transactions(count: int, size: int) -> bytes:
    """A block of so many transactions that are all the same, which nobody sealed."""
    network = Network()
    header = BlockHeader(1, network.chain.tip.time_ms + 1, b"", network.hash, bytes(32), bytes(32))
    items = encode(bytes(size)) * count
    return b"\x94" + encode(header) + b"\x90\xdd" + count.to_bytes(4, "big") + items + b"\xc4\0"


def follow(raw: bytes) -> None:
    """By a follower, from whatever source."""
    check_sealed(Network().chain, BLOCK.decode(raw))


def many_records() -> bytes:
    """A chunk of a snapshot as long as it may be, of records that are nothing."""
    count = (MAX_CHUNK_BYTES - 6) // 5
    return b"\x91\xdd" + count.to_bytes(4, "big") + b"\x92\xc4\0\xc4\0" * count


def restore_chunk(raw: bytes) -> None:
    """By whoever restores a snapshot whose manifest names this chunk."""
    network = Network()
    network.end_epoch()
    manifest = make_manifest(network.view.reader)
    named = replace(manifest, chunks=(sha256(raw).digest(),))
    restore(MemoryStore(), network.hash, named, [raw], network.chain.tip.root)


class Bomb(NamedTuple):
    """One row."""

    make: Callable[[], bytes]
    read: Callable[[bytes], object]
    code: str
    """What it is refused with."""
    room: int
    """Bytes by which the peak of the process may grow, beside the input."""


MIB: Final = 2**20

BOMBS: Final[dict[str, Bomb]] = {
    "zeros, no header": Bomb(make_bomb, inflate_alone, "bad_list", 64 * MIB),
    "zeros below the largest header": Bomb(
        make_bomb, inflate_below(MAX_NODES, MAX_SWARMS), "bad_list", 64 * MIB
    ),
    "zeros below a small header": Bomb(make_bomb, inflate_below(3, 1), "too_large", 8 * MIB),
    "a pattern below the largest header": Bomb(
        lambda: make_bomb(bytes(range(256))), inflate_below(MAX_NODES, MAX_SWARMS), "bad_list",
        64 * MIB,
    ),
    "the largest header over nothing": Bomb(
        lambda: make_bomb(pieces=0), inflate_below(MAX_NODES, MAX_SWARMS), "bad_list", 8 * MIB
    ),
    "more nodes than there can be": Bomb(lambda: b"", claim_nodes, "bad_header", 8 * MIB),
    "a block of nothing, sixteen million times": Bomb(
        lambda: many_transactions(MAX_BLOCK_BYTES // 2 - 100, 0), follow, "not_canonical", 256 * MIB
    ),
    "a block of as many transactions as there can be": Bomb(
        lambda: many_transactions(100_000, 300), follow, "block_seal", 256 * MIB
    ),
    "records of nothing": Bomb(many_records, restore_chunk, "bad_snapshot", 384 * MIB),
    "tiny entries in JSON": Bomb(tiny_entries, decode_session_json, "bad_list", 512 * MIB),
}  # fmt: skip


def peak_bytes() -> int:
    """Return the most memory that this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1_024 * peak


def main(name: str) -> None:
    """Read one bomb, which has to be refused, and print what it took."""
    resource.setrlimit(resource.RLIMIT_AS, (ROOM_BYTES, ROOM_BYTES))
    bomb = BOMBS[name]
    data = bomb.make()
    before = peak_bytes()
    try:
        bomb.read(data)
    except Refusal as refusal:
        print(refusal.code, peak_bytes() - before)


if __name__ == "__main__":
    main(sys.argv[1])
