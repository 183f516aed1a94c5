"""What the store keeps beside the state: its keys, as the specification writes them."""

import pytest

from ledger.history import (
    BASE_KEY,
    GENESIS_KEY,
    LAYOUT_KEY,
    TIP,
    TIP_KEY,
    Location,
    decode_location,
    encode_location,
    end_key,
    final_key,
    find_gap,
    journal_key,
    location_key,
    moves_key,
)
from ledger.store import MemoryStore
from tests.factory import Network


def test_keys_in_bytes() -> None:
    assert (TIP_KEY, GENESIS_KEY, BASE_KEY, LAYOUT_KEY) == (b"T", b"G", b"B", b"L")
    assert journal_key(258) == b"J" + bytes((0, 0, 0, 0, 0, 0, 1, 2))
    assert final_key(258) == b"F" + bytes((0, 0, 0, 0, 0, 0, 1, 2))
    assert end_key(258) == b"E" + bytes((0, 0, 0, 0, 0, 0, 1, 2))
    assert moves_key(258) == b"S" + bytes((0, 0, 0, 0, 0, 0, 1, 2))
    assert location_key(b"h" * 32) == b"X" + b"h" * 32


def test_location_in_bytes() -> None:
    raw = encode_location(Location(258, 3, 0x0405))
    assert raw == bytes((0, 0, 0, 0, 0, 0, 1, 2)) + bytes((0, 0, 0, 3)) + bytes((4, 5))
    for location in (Location(0, 0, 0), Location(258, 3, 0x0405), Location(2**63, 2**31, 65_535)):
        assert decode_location(encode_location(location)) == location


def test_every_key_of_a_store_is_a_known_one() -> None:
    network = Network()
    network.block(network.transfer("alice", "bob"))
    network.end_epoch()
    lengths = {b"T": 1, b"G": 1, b"J": 9, b"F": 9, b"X": 33, b"A": 33, b"H": 10}
    lengths |= {b"E": 9, b"S": 9}
    for key in dict(network.store.items(stop=b"a")):
        assert len(key) == lengths[key[:1]]
    raw = network.store.get(TIP_KEY)
    assert raw is not None
    assert TIP.decode(raw) == network.chain.tip


@pytest.mark.parametrize(
    ("heights", "base", "height", "gap"),
    [
        ((), None, 0, None),
        ((1, 2, 3), None, 3, None),
        ((1, 2, 3, 4), None, 3, None),
        ((), None, 1, 1),
        ((2, 3), None, 3, 1),
        ((1, 3), None, 3, 2),
        ((1, 2), None, 3, 3),
        ((7,), 7, 7, None),
        ((7, 8), 7, 8, None),
        ((8,), 7, 8, 7),
        ((7, 9), 7, 9, 8),
    ],
)
def test_gaps_of_a_journal(
    heights: tuple[int, ...], base: int | None, height: int, gap: int | None
) -> None:
    content = {journal_key(number): b"block" for number in heights}
    if base is not None:
        content[BASE_KEY] = base.to_bytes(8, "big")
    assert find_gap(MemoryStore(content), height) == gap
