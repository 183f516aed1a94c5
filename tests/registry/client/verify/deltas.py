"""Scripts about deltas, from one list that is held to another that is signed."""

import struct
import zlib
from hashlib import sha256
from typing import Final

from ledger.messages.entries import Entry, pack_columns, read_columns
from ledger.messages.lists import MAX_NODES, MAX_SWARMS
from registry.formats.delta import compute_delta_bound, encode_delta
from tests.flip import flip
from tests.registry.client.factory import EPOCH, EPOCH_MS, MadeList, make_entries
from tests.registry.client.verify.headers import (
    ACCOUNT,
    ELEVEN,
    LATER_MS,
    NODES,
    TEN,
    alone,
    full,
    of_four,
    with_list,
)
from tests.registry.client.verify.lists import EMPTY_BLOCK, endless_zeros, fixed, stored
from tests.registry.client.verify.script import (
    Case,
    Cases,
    Data,
    Repeat,
    Step,
    entries,
    load_deltas,
    load_full,
    swarm_of,
    update,
)


def split(data: bytes) -> tuple[bytes, bytes]:
    """The keys at the beginning of a file, and what is deflated behind them."""
    joining = data[1]
    assert joining < 128
    end = 2 + 32 * joining
    return data[:end], zlib.decompress(data[end:], wbits=-15)


def delta(before: MadeList | bytes, after: MadeList | bytes) -> bytes:
    """What leads from one list to another, not compressed."""
    old, new = (each if isinstance(each, bytes) else each.columns for each in (before, after))
    head, body = split(encode_delta(old, new))
    return head + stored(body)


DELTA: Final = delta(TEN, ELEVEN)
HEAD, BODY = split(DELTA)

BEHIND: Final = [*with_list(now_ms=LATER_MS), update(ELEVEN.signed, ELEVEN.path(EPOCH))]
"""A client holds the list of epoch 10 and the header of epoch 11."""


def given(*files: Data, code: str = "bad_list") -> Case:
    """It is given deltas; what is refused takes nothing away."""
    return [*BEHIND, load_deltas(*files).but(code)]


def changed(body: bytes, head: bytes = HEAD) -> bytes:
    """The delta with something else in it."""
    return head + stored(body)


CUT_OFF: Final[Cases] = {
    "whole": [*given(DELTA, code=""), entries(), swarm_of(ACCOUNT)],
    **{
        f"after {size} bytes": given(DELTA[:size])
        for size in (0, 1, 2, 20, 33, 34, 36, 39, 60, len(DELTA) - 1)
    },
    "before the last block": given(HEAD + stored(BODY, is_last=False)),
    "inside, by a byte": given(changed(BODY[:-1])),
    "inside, by half": given(changed(BODY[: len(BODY) // 2])),
    "inside, to nothing": given(changed(b"")),
}

LIMIT: Final = 4 + 32 * 9 + 64 + compute_delta_bound(8, 9, 2, 3) * 1001 // 1000

EXTENDED: Final[Cases] = {
    "by blocks without bytes before": given(HEAD + EMPTY_BLOCK * 2 + stored(BODY), code=""),
    "compressed another way": given(HEAD + fixed(BODY), code=""),
    "by a byte": given(DELTA + b"\0"),
    "by another block": given(DELTA + stored(b"")),
    "by itself": given(DELTA + DELTA),
    "inside, by a byte": given(changed(BODY + b"\0")),
    "inside, by a place": given(changed(BODY + b"\1\0")),
    "by all that the bound leaves": given(DELTA + bytes(LIMIT - len(DELTA))),
    "by a byte more": given(DELTA + bytes(LIMIT - len(DELTA) + 1), code="too_large"),
    "by a million bytes": given(Repeat(DELTA, b"\0", 10**6), code="too_large"),
}

VERSIONS: Final[Cases] = {
    "1": given(DELTA, code=""),
    **{
        str(version): given(bytes([version]) + DELTA[1:], code="unknown_format")
        for version in (0, 2, 3, 128, 255)
    },
    "2, and too large": given(Repeat(b"\2", b"\0", LIMIT), code="too_large"),
}

# ---- Where it begins and where it leads ----

OTHERS: Final = {
    "of a list without nodes": pack_columns([]),
    "of a node more": pack_columns(make_entries(9, 2)),
    "of a node less": pack_columns(NODES[1:]),
    "of one swarm": pack_columns(make_entries(8, 1)),
    "of other contacts": pack_columns(
        sorted(
            Entry(node.key, NODES[0].contact, node.swarm_id) for node in NODES
        )
    ),
}  # fmt: skip

WRONG_LIST: Final[Cases] = {
    "from and to what it is for": given(DELTA, code=""),
    "from a list of other contacts, all of which it tells": given(
        delta(OTHERS["of other contacts"], ELEVEN), code=""
    ),
    **{
        f"from that {name}": given(delta(raw, ELEVEN))
        for name, raw in OTHERS.items()
        if name != "of other contacts"
    },
    **{f"to that {name}": given(delta(TEN, raw)) for name, raw in OTHERS.items()},
    "to the same": given(delta(TEN, TEN)),
    "back": given(delta(ELEVEN, TEN)),
    "and then the right one": [*given(DELTA[:-1]), load_deltas(DELTA), entries()],
    "and then the whole list": [*given(DELTA[:-1]), load_full(full(ELEVEN))],
}

TWELVE: Final = of_four(EPOCH + 2, after=[ELEVEN], entries=make_entries(7, 2))
BETWEEN: Final = [pack_columns(make_entries(n, s)) for n, s in ((10, 1), (5, 5))]
STEPS: Final = (
    delta(TEN, BETWEEN[0]),
    delta(BETWEEN[0], BETWEEN[1]),
    delta(BETWEEN[1], ELEVEN),
)
TWO_BEHIND: Final = [
    *with_list(now_ms=LATER_MS + EPOCH_MS),
    update(TWELVE.signed, TWELVE.path(EPOCH)),
]
LAST: Final = delta(ELEVEN, TWELVE)

CHAINS: Final[Cases] = {
    "one after another": given(*STEPS, code=""),
    "two of them": [*TWO_BEHIND, load_deltas(DELTA, LAST), entries()],
    "after what changes nothing": given(delta(TEN, TEN), DELTA, code=""),
    "the wrong way round": given(*STEPS[::-1]),
    "the first two swapped": given(STEPS[1], STEPS[0], STEPS[2]),
    "without the first": given(*STEPS[1:]),
    "without the middle": given(STEPS[0], STEPS[2]),
    "without the last": given(*STEPS[:2]),
    "the last twice": given(*STEPS, STEPS[2]),
    "one at a time": [*TWO_BEHIND, load_deltas(DELTA).but("bad_list"), load_deltas(DELTA, LAST)],
    "one of no format between": given(STEPS[0], b"\2", STEPS[2], code="unknown_format"),
    "nothing between": given(STEPS[0], b"", STEPS[2]),
}  # fmt: skip


# ---- Numbers and places ----


def number(value: int, size: int = 1) -> bytes:
    """A number in so many bytes, maybe more than it needs."""
    low = [value >> 7 * place & 0x7F for place in range(size)]
    return bytes([*(byte | 0x80 for byte in low[:-1]), low[-1]])


SAME: Final = of_four(EPOCH + 1, after=[TEN], seed=bytes(32))
"""The next header with the same list, which is held already."""

HELD: Final = [*with_list(now_ms=LATER_MS), update(SAME.signed, SAME.path(EPOCH))]
COLUMN_COUNT: Final = 7
"""Columns between the keys and the swarms."""


def to_same(body: bytes, code: str = "bad_list", head: bytes = b"\1\0") -> Case:
    """A client is given a delta to the list that it holds."""
    return [*HELD, load_deltas(head + stored(body)).but(code)]


REST: Final = bytes(COLUMN_COUNT + 1)
"""No place in any column, and none in the swarms."""
NO_SWARMS: Final = bytes(2)
CELLS: Final = read_columns(TEN.columns).cells
IDS: Final = struct.unpack_from(">2Q", TEN.columns, 8)


def ids(*values: int) -> bytes:
    """Swarm ids, with their number."""
    return number(len(values)) + b"".join(value.to_bytes(8, "big") for value in values)


NUMBERS: Final[Cases] = {
    "nothing changes": to_same(b"\0" + NO_SWARMS + REST, ""),
    "zeros that are longer than they have to be": to_same(
        number(0, 3) + number(0, 2) + number(0, 3) + REST, ""
    ),
    "the number of keys, longer than it has to be": to_same(
        b"\0" + NO_SWARMS + REST, "", b"\1" + number(0, 3)
    ),
    "a number of four bytes": to_same(number(0, 4) + NO_SWARMS + REST),
    "a number of keys of four bytes": to_same(b"\0" + NO_SWARMS + REST, head=b"\1" + number(0, 4)),
    "a number that does not end": to_same(b"\x80\x80\x80"),
    "more keys than nodes": to_same(b"", head=b"\1\x09" + bytes(32) * 9),
    "as many keys as fit a number": to_same(b"", head=b"\1\xff\xff\x7f"),
    "more leave than there are": to_same(b"\x09" + bytes(9) + NO_SWARMS + REST),
    "a node leaves that is not there": to_same(b"\1\x08" + NO_SWARMS + REST),
    "places that go beyond the list": to_same(b"\2\7\0" + NO_SWARMS + REST),
    "a place far beyond": to_same(b"\1\xff\xff\x7f" + NO_SWARMS + REST),
    "a swarm is gone that is not there": to_same(b"\0\1\2\0" + REST),
    "more swarms are gone than there are": to_same(b"\0\3\0\0\0\0" + REST),
    "more swarms are new than there may be": to_same(b"\0\0" + ids(1, 2, 3) + REST),
    "a column of a node that is not there": to_same(b"\0" + NO_SWARMS + b"\1\x08\1" + REST[1:]),
    "the swarm of a node that is not there": to_same(b"\0" + NO_SWARMS + REST[1:] + b"\1\x08\0"),
    "a swarm that is not there": to_same(b"\0" + NO_SWARMS + REST[1:] + b"\1\0\2"),
}

SWARMS: Final[Cases] = {
    "a swarm is new that was there": to_same(b"\0\0" + ids(IDS[0]) + REST, ""),
    "both, and not ascending": to_same(b"\0\0" + ids(IDS[1], IDS[0]) + REST, ""),
    "one that is gone, and back": to_same(
        b"\0\1\0"
        + ids(IDS[0])
        + REST[1:]
        + b"\4\0\1\1\1"
        + bytes(4),
        "",
    ),
    "one that is gone": to_same(b"\0\1\0\0" + REST),
    "all are gone": to_same(b"\0\2\0\0\0" + REST),
    "one for another": to_same(b"\0\1\1" + ids(7) + REST),
    "one without a node": to_same(b"\0\0" + ids(7) + REST),
    "one more than the header says": to_same(b"\0\0" + ids(7) + REST[1:] + b"\1\0\0"),
    "no swarm": to_same(b"\0\1\1" + ids(2**64 - 1) + REST[1:] + b"\4\1\1\1\1" + b"\1" * 4),
    "its id is cut off": to_same(b"\0\0\1" + bytes(7)),
}  # fmt: skip


# ---- Cells ----


def with_cells(column: int, cells: bytes) -> bytes:
    """A delta that changes nothing but one column."""
    return b"\0" + NO_SWARMS + bytes(column) + cells + REST[column + 1 :]


BOTH: Final = next(n for n, node in enumerate(NODES) if node.contact.ipv4 and node.contact.ipv6)
IPV4: Final = next(n for n, node in enumerate(NODES) if not node.contact.ipv6)
IPV6: Final = next(n for n, node in enumerate(NODES) if not node.contact.ipv4)

FLAGS: Final[Cases] = {
    "the same flags": to_same(with_cells(0, b"\1" + number(BOTH) + b"\3"), ""),
    "the same address": to_same(
        with_cells(1, b"\1" + number(IPV4) + NODES[IPV4].contact.ipv4), ""
    ),
    "an address that it has not is named, and takes no bytes": to_same(
        with_cells(1, b"\1" + number(IPV6)), ""
    ),
    **{
        f"flags {value}": to_same(with_cells(0, b"\1" + number(BOTH) + bytes([value])))
        for value in (0, 1, 2, 4, 7, 128, 255)
    },
    "an IPv4 address that nobody gave": to_same(with_cells(0, b"\1" + number(IPV6) + b"\3")),
    "an IPv6 address that nobody gave": to_same(with_cells(0, b"\1" + number(IPV4) + b"\3")),
    "an address that is cut off": to_same(with_cells(1, b"\1" + number(IPV4) + bytes(3))[:8]),
    "an address that it has not, with bytes": to_same(
        with_cells(1, b"\1" + number(IPV6) + bytes(4))
    ),
    "another port": to_same(with_cells(3, b"\1\0\0\1")),
    "another version": to_same(with_cells(6, b"\1\7\1\2\3")),
}  # fmt: skip

NODE: Final = NODES[0]
JOINS: Final = b"\1\1" + NODE.key
JOINED: Final = (
    b"\1\0" + NO_SWARMS + b"".join(
        b"\0" + column for column in (
            CELLS[1][:1], CELLS[2][:4], CELLS[3][:16], CELLS[4][:2], CELLS[5][:2], CELLS[6][:3],
            CELLS[7][:3],
        )
    ) + b"\0\0"
)  # fmt: skip
"""The first node leaves and joins again."""

TWICE: Final = b"\1\2" + NODES[1].key + NODE.key
ROWS: Final = [
    (CELLS[1][1:2] + CELLS[1][:1]),
    (CELLS[2][4:8] + CELLS[2][:4]),
    (CELLS[3][:16]),
    (CELLS[4][2:4] + CELLS[4][:2]),
    (CELLS[5][2:4] + CELLS[5][:2]),
    (CELLS[6][3:6] + CELLS[6][:3]),
    (CELLS[7][3:6] + CELLS[7][:3]),
]
BACK: Final = b"\2\0\0" + NO_SWARMS + b"".join(b"\0" + row for row in ROWS) + b"\0\1\0"

JOINING: Final[Cases] = {
    "one that left": to_same(JOINED, "", JOINS),
    "two, whose keys do not ascend": to_same(BACK, "", TWICE),
    "the same two, their keys swapped": to_same(BACK, head=b"\1\2" + NODE.key + NODES[1].key),
    "one that did not leave": to_same(JOINED[2:], head=JOINS),
    "one that did not leave, at once with another that did": to_same(
        b"\1\1" + JOINED[2:], head=JOINS
    ),
    "one that did not leave, on the way": given(JOINS + stored(b"\0" + JOINED[2:]), DELTA),
    "another key": to_same(JOINED, head=b"\1\1" + flip(NODE.key, 31)),
    "a key that is cut off": to_same(b"", head=b"\1\1" + NODE.key[:31]),
    "one without a swarm": to_same(JOINED[:-1], head=JOINS),
    "one in a swarm that is not there": to_same(JOINED[:-1] + b"\2", head=JOINS),
    "one without cells": to_same(b"\1\0" + NO_SWARMS + REST, head=JOINS),
    "one more than the header says": to_same(b"\0" + JOINED[2:], head=JOINS),
}

# ---- Bits and bounds ----

FLIPPED: Final[Cases] = {
    "none": given(DELTA, code=""),
    **{
        f"at byte {place} of {len(DELTA)}": given(
            flip(DELTA, place), code="unknown_format" if place == 0 else "bad_list"
        )
        for place in (0, 1, 2, 33, 35, 37, 39, *range(40, len(DELTA), 37))
    },
}

HUGE: Final = alone(
    EPOCH + 1,
    after=[alone()],
    node_count=MAX_NODES,
    swarm_count=MAX_SWARMS,
    list_hash=sha256(b"").digest(),
)


def below_huge(data: Data, code: str) -> Case:
    """A client that holds a list, and the largest header that there can be, is given a delta."""
    held: list[Step] = with_list(alone(), LATER_MS)
    return [*held, update(HUGE.signed, HUGE.path(EPOCH)), load_deltas(data).but(code)]


INFLATED: Final = compute_delta_bound(8, 9, 2, 3)

BOUNDS: Final[Cases] = {
    "within": given(DELTA, code=""),
    "a byte more than there may be": given(HEAD + stored(bytes(INFLATED + 1))),
    "zeros without end": given(endless_zeros(HEAD, 100_000)),
    "zeros without end, below the largest header": below_huge(
        endless_zeros(b"\1\0", 2**27), "bad_list"
    ),
    "zeros without end, on the way": given(endless_zeros(b"\1\0", 2**27), DELTA),
    "more bytes than there may be": below_huge(Repeat(b"\1", b"\0", 2**26), "too_large"),
    "more bytes than there may be, on the way": given(
        Repeat(b"\1", b"\0", 2**26), DELTA, code="too_large"
    ),
    "blocks without bytes": given(Repeat(HEAD, EMPTY_BLOCK, 1000), code="too_large"),
    "as many keys as there may be, and no bytes": below_huge(b"\1\x80\x80\x10", "bad_list"),
}

CLASSES: Final[dict[str, Cases]] = {
    "delta: cut off": CUT_OFF,
    "delta: extended": EXTENDED,
    "delta: version": VERSIONS,
    "delta: for another list": WRONG_LIST,
    "delta: order": CHAINS,
    "delta: numbers and places": NUMBERS,
    "delta: swarms": SWARMS,
    "delta: flags and cells": FLAGS,
    "delta: nodes that join": JOINING,
    "delta: a bit is another one": FLIPPED,
    "delta: bounds": BOUNDS,
}
"""Every class of this page."""

NAMES: Final = {
    "delta 11": DELTA,
    "delta 12": LAST,
    "header 11, same list": SAME.signed,
    "header 12": TWELVE.signed,
    "header of one 11": HUGE.signed,
    **{f"delta {n}": step for n, step in enumerate(STEPS, start=1)},
}
"""Bytes that many cases share."""

BEGINNINGS: Final[dict[str, Case]] = {
    "four, same list": HELD,
    "four, header 12": TWO_BEHIND,
    "one, largest header": below_huge(b"", "bad_list")[:-1],
}
"""Steps with which many cases begin."""
