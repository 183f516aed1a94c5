"""Headers, columns and leaves: the bytes that clients verify."""

import struct
from itertools import pairwise

import pytest

from ledger.crypto import sha256
from ledger.errors import Misuse
from ledger.lists import PAUSE_NODES, build_list, get_signed_header
from ledger.messages.contact import Contact, Version
from ledger.messages.entries import (
    COLUMNS,
    Entry,
    pack_columns,
    pack_entry,
    pack_swarm_leaf,
    unpack_columns,
)
from ledger.messages.lists import (
    HEADER_BYTES,
    MAX_ATTESTORS,
    MAX_NODES,
    MAX_SWARMS,
    Attestor,
    SignedHeader,
    attestor_set_hash,
    decode_header,
    decode_signed_header,
    encode_header,
    encode_signed_header,
    fingerprint_bits,
    header_signing_bytes,
    is_final,
)
from ledger.messages.state import Swarm
from ledger.messages.tables import CONTACTS, SWARMS
from ledger.state import State
from ledger.steps import run
from ledger.store import MemoryStore
from tests.factory import Network, make_contact, public

V6 = bytes.fromhex("26200000000000000000000000000001")
CONTACTS_OF_ALL_KINDS = (make_contact(), make_contact(ipv4=b"", ipv6=V6), make_contact(ipv6=V6))


def entries_of(count: int, swarms: int) -> list[Entry]:
    """Entries by ascending key, spread over some swarms."""
    keys = sorted(sha256(bytes([i])) for i in range(count))
    return [
        Entry(key, CONTACTS_OF_ALL_KINDS[place % 3], (place % swarms) * 2**60)
        for place, key in enumerate(keys)
    ]


def state_of(entries: list[Entry]) -> State:
    """A state that holds nothing but a list."""
    state = State(MemoryStore())
    for entry in entries:
        state.put(SWARMS, Swarm(entry.swarm_id), entry.key)
        state.put(CONTACTS, entry.contact, entry.key)
    return state


@pytest.mark.parametrize(("count", "swarms"), [(0, 1), (1, 1), (7, 1), (30, 4), (30, 15)])
def test_columns_there_and_back(count: int, swarms: int) -> None:
    entries = entries_of(count, swarms)
    raw = pack_columns(entries)
    assert unpack_columns(raw) == entries
    built = run(build_list(state_of(entries)))
    assert built.columns == raw
    assert built.node_count == count
    assert built.swarm_ids == tuple(sorted({entry.swarm_id for entry in entries}))


def test_columns_in_bytes() -> None:
    contact = Contact(bytes((1, 2, 3, 4)), b"", 0x0102, 0x0304, Version(5, 6, 7), Version(8, 9, 10))
    raw = pack_columns([Entry(b"k" * 32, contact, 77)])
    assert raw.hex() == (
        "00000001" + "00000001" + "000000000000004d" + (b"k" * 32).hex() + "01" + "01020304"
        "0102" + "0304" + "050607" + "08090a" + "0000"
    )
    widths = [width for name, width in COLUMNS if name != "ipv6"]
    assert len(raw) == 8 + 8 + sum(widths)


def test_leaves_name_their_neighbours_on_the_ring() -> None:
    entries = entries_of(20, 5)
    built = run(build_list(state_of(entries)))
    ids = built.swarm_ids
    assert len(built.leaves) == len(ids) == 5
    for place, leaf in enumerate(built.leaves):
        members = [pack_entry(e) for e in entries if e.swarm_id == ids[place]]
        expected = (ids[place - 1], ids[place], ids[(place + 1) % 5], len(members))
        assert struct.unpack(">QQQH", leaf[:26]) == expected
        assert leaf[26:] == b"".join(members)
        assert leaf == pack_swarm_leaf(*expected[:3], members)


def test_one_swarm_is_its_own_neighbour() -> None:
    (leaf,) = run(build_list(state_of(entries_of(3, 1)))).leaves
    assert struct.unpack(">QQQH", leaf[:26]) == (0, 0, 0, 3)


def test_entries_of_a_large_list_come_in_pieces() -> None:
    size = 3 * PAUSE_NODES
    keys = sorted(sha256(number.to_bytes(2, "big")) for number in range(size))
    entries = [Entry(key, make_contact(place % 200 + 1), 7) for place, key in enumerate(keys)]
    few, many = (len(list(build_list(state_of(entries[:count])))) for count in (10, size))
    assert many > few > 0
    assert run(build_list(state_of(entries))).columns == pack_columns(entries)


def test_header_has_fixed_places() -> None:
    network = Network()
    header = network.header
    raw = encode_header(header)
    assert len(raw) == HEADER_BYTES == 342
    assert decode_header(raw) == header
    assert header.hash == sha256(raw)
    assert raw[:6] == bytes((0, 1, 0, 1, 0, 1))
    assert raw[6:14] == header.epoch.to_bytes(8, "big")
    assert raw[-32:] == header.successor
    assert raw[-64:-32] == header.seed
    assert raw[-128:-96] == header.state_root


def test_header_at_the_ends_of_its_ranges() -> None:
    header = Network().header
    soon = header.valid_after_ms + 1
    for extreme in (
        header._replace(fresh_until_ms=soon, valid_until_ms=soon),
        header._replace(node_count=MAX_NODES, swarm_count=MAX_SWARMS),
        header._replace(node_count=1, swarm_count=1),
    ):
        assert decode_header(encode_header(extreme)) == extreme
    assert (MAX_NODES, MAX_SWARMS, MAX_ATTESTORS) == (2**18, 2**16, 25)


@pytest.mark.parametrize("seats", [(), (0,), (24,), (0, 3, 24), tuple(range(25))])
def test_signed_header_there_and_back(seats: tuple[int, ...]) -> None:
    header = Network().chain.newest_header().header
    signed = SignedHeader(header, tuple((seat, bytes([seat]) * 64) for seat in seats))
    raw = encode_signed_header(signed)
    assert decode_signed_header(raw) == signed
    assert len(raw) == HEADER_BYTES + 4 + 64 * len(seats)


def test_no_header_before_the_first_block() -> None:
    with pytest.raises(Misuse):
        get_signed_header(State(MemoryStore()))


@pytest.mark.parametrize(
    ("weight", "total", "final"),
    [(0, 1, False), (1, 1, True), (2, 3, False), (3, 3, True), (3, 4, True), (66, 100, False),
     (67, 100, True), (2 * 2**32, 3 * 2**32, False), (2 * 2**32 + 1, 3 * 2**32, True)],
)  # fmt: skip
def test_final_is_more_than_two_thirds(weight: int, total: int, final: bool) -> None:
    assert is_final(weight, total) is final


def test_set_hash_covers_count_keys_and_weights() -> None:
    one, two = (Attestor(public(name), 1) for name in ("attestor 0", "attestor 1"))
    sets = [(), (one,), (two,), (one, two), (two, one), (Attestor(one.list_key, 2),)]
    assert len({attestor_set_hash(members) for members in sets}) == len(sets)


def test_fingerprint_binds_network_and_header() -> None:
    one, other = Network(), Network(minimum_fee=1)
    raw = one.chain.newest_header().header
    assert len(fingerprint_bits(one.hash, raw)) == 16
    assert fingerprint_bits(one.hash, raw) != fingerprint_bits(other.hash, raw)
    assert fingerprint_bits(one.hash, raw) != fingerprint_bits(one.hash, raw[:-1] + b"\1")
    assert header_signing_bytes(one.hash, raw)[64:] == raw


def test_every_list_of_a_history_is_what_its_header_says() -> None:
    network = Network(activation_floor=7, activation_share=0)
    network.block(*[network.register(f"node {i}", "alice") for i in range(25)])
    headers = []
    for _ in range(5):
        header = network.end_epoch()
        built = network.chain.newest_list()
        entries = unpack_columns(built.columns)
        assert header.list_hash == sha256(built.columns)
        assert [e.key for e in entries] == [key for key, _ in network.state.items(SWARMS)]
        assert (header.node_count, header.swarm_count) == (len(entries), len(built.swarm_ids))
        headers.append(header)
    assert [header.node_count for header in headers] == [7, 14, 21, 25, 25]
    for before, after in pairwise(headers):
        assert before.valid_after_ms < after.valid_after_ms
