"""Scripts about the file full and the columns in it."""

import struct
from hashlib import sha256
from typing import Final

from ledger.messages.entries import COLUMNS
from ledger.messages.lists import MAX_NODES, MAX_SWARMS
from registry.formats.full import compute_columns_bound, compute_full_bound
from tests.flip import flip
from tests.registry.client.factory import MadeList, digest, make_entries
from tests.registry.client.verify.headers import NODES, TEN, alone, full, of_four
from tests.registry.client.verify.script import (
    Case,
    Cases,
    Data,
    Repeat,
    entries,
    load_full,
    start,
    update,
)

FULL: Final = full(TEN)
BOUND: Final = compute_columns_bound(len(NODES), 2)


def given(data: Data, code: str = "", made: MadeList = TEN) -> Case:
    """A client is given a file for the header that it took."""
    return [start(made.genesis), update(made.signed), load_full(data).but(code)]


# ---- Deflate ----


class Bits:
    """Bits as deflate packs them, the lowest of a byte first."""

    def __init__(self) -> None:
        self._bits: list[int] = []

    def number(self, value: int, size: int) -> "Bits":
        """A number, the lowest bit first."""
        self._bits += [value >> place & 1 for place in range(size)]
        return self

    def code(self, value: int, size: int) -> "Bits":
        """A Huffman code, the highest bit first."""
        self._bits += [value >> place & 1 for place in reversed(range(size))]
        return self

    def literal(self, byte: int) -> "Bits":
        """A byte by the fixed codes."""
        return self.code(0x30 + byte, 8) if byte < 144 else self.code(0x190 + byte - 144, 9)

    def match(self, distance_code: int = 0) -> "Bits":
        """258 bytes of before, by the fixed codes."""
        return self.code(0b11000101, 8).code(distance_code, 5)

    def to_bytes(self) -> bytes:
        """All of them, with zeros at the end."""
        padded = self._bits + [0] * (-len(self._bits) % 8)
        return bytes(
            sum(bit << place for place, bit in enumerate(padded[at : at + 8]))
            for at in range(0, len(padded), 8)
        )


def stored(data: bytes, *, is_last: bool = True) -> bytes:
    """A block that is not compressed."""
    size = struct.pack("<HH", len(data), len(data) ^ 0xFFFF)
    return bytes([is_last]) + size + data


def fixed(data: bytes) -> bytes:
    """A block with the fixed codes, without looking back."""
    bits = Bits().number(0b011, 3)
    for byte in data:
        bits.literal(byte)
    return bits.code(0, 7).to_bytes()


def endless_zeros(head: bytes, size: int) -> Repeat:
    """A file that inflates to more than `size` zeros, 158 to each of its bytes, and has no end.

    Eight matches take 13 bytes, so that these repeat.
    """
    bits = Bits().number(0b011, 3).literal(0)
    for _ in range(24):
        bits.match()
    raw = bits.to_bytes()
    assert raw[2:15] == raw[15:28]
    return Repeat(head + raw[:2], raw[2:15], size // (8 * 258) + 1)


EMPTY_BLOCK: Final = stored(b"", is_last=False)
HALF: Final = len(TEN.columns) // 2

CUT_OFF: Final[Cases] = {
    "whole": [*given(FULL), entries()],
    **{
        f"after {size} bytes": given(FULL[:size], "bad_list")
        for size in (0, 1, 2, 5, 6, 7, 100, len(FULL) - 1)
    },
    "before the last block": given(b"\1" + stored(TEN.columns, is_last=False), "bad_list"),
    "within a code": given(b"\1" + fixed(TEN.columns)[:-1], "bad_list"),
}

LIMIT: Final = compute_full_bound(BOUND)

EXTENDED: Final[Cases] = {
    "not at all": given(FULL),
    "by blocks without bytes before": given(b"\1" + EMPTY_BLOCK * 3 + FULL[1:]),
    "up to the bound of a file": given(
        b"\1" + EMPTY_BLOCK * ((LIMIT - len(FULL)) // 5) + FULL[1:]
    ),
    "by a zero": given(FULL + b"\0", "bad_list"),
    "by a byte": given(FULL + b"\xff", "bad_list"),
    "by another block": given(FULL + stored(b""), "bad_list"),
    "by a stream of codes": given(FULL + fixed(b""), "bad_list"),
    "by itself": given(FULL + FULL[1:], "too_large"),
    "by all that the bound leaves": given(FULL + bytes(LIMIT - len(FULL)), "bad_list"),
    "by a byte more": given(FULL + bytes(LIMIT - len(FULL) + 1), "too_large"),
    "by a million bytes": given(Repeat(FULL, b"\0", 10**6), "too_large"),
    "by a byte behind codes": given(b"\1" + fixed(TEN.columns) + b"\0", "bad_list"),
}  # fmt: skip

VERSIONS: Final[Cases] = {
    "1": given(FULL),
    **{
        str(version): given(bytes([version]) + FULL[1:], "unknown_format")
        for version in (0, 2, 3, 128, 255)
    },
    "2, without anything else": given(b"\2", "unknown_format"),
    "2, and too large": given(Repeat(b"\2", b"\0", LIMIT), "too_large"),
}

WRONG_SYMBOL: Final = Bits().number(0b011, 3).code(0b11000110, 8).code(0, 5)
TOO_FAR: Final = Bits().number(0b011, 3).literal(0).match(1)
NO_CODES: Final = Bits().number(0b101, 3).number(0, 14).number(0, 12)

DEFLATE: Final[Cases] = {
    "two blocks": given(
        b"\1" + stored(TEN.columns[:HALF], is_last=False) + stored(TEN.columns[HALF:])
    ),
    "fixed codes": given(b"\1" + fixed(TEN.columns)),
    "a block of no kind": given(b"\1\7" + FULL[2:], "bad_list"),
    "a length that contradicts itself": given(flip(FULL, 4), "bad_list"),
    "a length that is not there": given(
        b"\1\1\xff\xff\0\0" + TEN.columns, "bad_list"
    ),
    "a symbol that has no meaning": given(b"\1" + WRONG_SYMBOL.to_bytes(), "bad_list"),
    "a look back before the beginning": given(b"\1" + TOO_FAR.to_bytes(), "bad_list"),
    "codes of nothing": given(b"\1" + NO_CODES.to_bytes() + bytes(40), "bad_list"),
    "with the head and end of zlib": given(b"\1\x78\x01" + FULL[1:] + bytes(4), "bad_list"),
    "with the head of gzip": given(
        b"\1\x1f\x8b\x08" + bytes(7) + FULL[1:] + bytes(8), "bad_list"
    ),
    "not deflated": given(b"\1" + TEN.columns, "bad_list"),
    "noise": given(b"\1" + digest("noise") * 8, "bad_list"),
}  # fmt: skip

HUGE: Final = alone(node_count=MAX_NODES, swarm_count=MAX_SWARMS)
ZEROS: Final = alone(list_hash=sha256(bytes(BOUND + 1)).digest())

BOUNDS: Final[Cases] = {
    "as many bytes as there may be": given(
        full(longest := of_four(entries=NODES[:1])), made=longest
    ),
    "a byte more than there may be": given(b"\1" + stored(bytes(BOUND + 1)), "bad_list", ZEROS),
    "zeros without end": given(endless_zeros(b"\1", 50_000), "bad_list"),
    "zeros without end, below the largest header": given(
        endless_zeros(b"\1", 2**27), "bad_list", HUGE
    ),
    "more zeros than there may be": given(Repeat(b"\1", b"\0", 2**25), "too_large", HUGE),
    "blocks without bytes": given(Repeat(b"\1", EMPTY_BLOCK, 200), "too_large"),
    "a block of zeros": given(
        Repeat(b"\1\1" + struct.pack("<HH", 40_000, 40_000 ^ 0xFFFF), b"\0", 40_000), "too_large"
    ),
}

HASHES: Final[Cases] = {
    "its own": given(FULL),
    "that of another list": given(full(of_four(entries=make_entries(8, 1))), "bad_list"),
    "that of an empty list": given(full(of_four(entries=[])), "bad_list"),
    "zeros": given(FULL, "bad_list", alone(list_hash=bytes(32))),
    "of the file": given(FULL, "bad_list", alone(list_hash=sha256(FULL).digest())),
    "of the deflated part": given(FULL, "bad_list", alone(list_hash=sha256(FULL[1:]).digest())),
    **{
        f"a bit at byte {place} is another one": given(flip(FULL, 6 + place), "bad_list")
        for place in (0, 7, 8, 30, 290, 300, 320, 400, len(TEN.columns) - 1)
    },
}

# ---- Columns ----


def parts_of(made: MadeList) -> dict[str, list[bytes]]:
    """The columns of a list, cell by cell."""
    cells = [[] for _ in COLUMNS]  # type: list[list[bytes]]
    at = 8
    ids = []
    for _ in range(made.header.swarm_count):
        ids.append(made.columns[at : at + 8])
        at += 8
    flags: list[bytes] = []
    for place, (name, width) in enumerate(COLUMNS):
        bit = {"ipv4": 1, "ipv6": 2}.get(name, 0)
        for node in range(made.header.node_count):
            if not bit or flags[node][0] & bit:
                cells[place].append(made.columns[at : at + width])
                at += width
        flags = cells[1]
    assert at == len(made.columns)
    names = [name for name, _ in COLUMNS]
    return {"swarm_ids": ids, **dict(zip(names, cells, strict=True))}


PARTS: Final = parts_of(TEN)


def columns(nodes: int = 8, swarms: int = 2, **changed: list[bytes]) -> bytes:
    """The columns with other cells."""
    cells = b"".join(b"".join(each) for each in (PARTS | changed).values())
    return struct.pack(">II", nodes, swarms) + cells


def swapped(cells: list[bytes], a: int, b: int) -> list[bytes]:
    """Two cells in each other's place."""
    changed = list(cells)
    changed[a], changed[b] = changed[b], changed[a]
    return changed


def with_cell(name: str, place: int, cell: bytes) -> list[bytes]:
    """A column with another cell."""
    return [cell if n == place else old for n, old in enumerate(PARTS[name])]


def signed_columns(raw: bytes, code: str = "bad_list", nodes: int = 8, swarms: int = 2) -> Case:
    """A client is given columns whose hash was signed, whatever they are."""
    made = alone(list_hash=sha256(raw).digest(), node_count=nodes, swarm_count=swarms)
    return given(b"\1" + stored(raw), code, made)


SIZE: Final = len(TEN.columns)
EMPTY: Final = bytes(8)

COUNTS: Final[Cases] = {
    "those of the list": signed_columns(columns(), ""),
    "none": signed_columns(EMPTY, "", 0, 0),
    "a node more": signed_columns(columns(9), nodes=9),
    "a node less": signed_columns(columns(7), nodes=7),
    "a swarm more": signed_columns(columns(8, 3), swarms=3),
    "a swarm less": signed_columns(columns(8, 1), swarms=1),
    "more nodes than a list has": signed_columns(columns(MAX_NODES + 1)),
    "more swarms than nodes": signed_columns(columns(1, 2)),
    "all the nodes of a number": signed_columns(columns(2**32 - 1, 2**32 - 1)),
    "the header has a node more": signed_columns(columns(), nodes=9),
    "the header has a node less": signed_columns(
        alone(entries=NODES[:3]).columns, nodes=4, swarms=2
    ),
    "the header has a swarm less": signed_columns(columns(), swarms=1),
    "the header has a swarm more": signed_columns(columns(), swarms=3),
    "a node without a swarm": signed_columns(columns(8, 0, swarm_ids=[]), swarms=0),
}

LENGTHS: Final[Cases] = {
    "all bytes": signed_columns(columns(), ""),
    **{
        f"{size} bytes": signed_columns(columns()[:size])
        for size in (0, 4, 7, 8, 23, 24, 100, 280, 300, SIZE - 16, SIZE - 1)
    },
    "a byte more": signed_columns(columns() + b"\0"),
    "two bytes more": signed_columns(columns() + bytes(2)),
    "a byte behind nothing": signed_columns(EMPTY + b"\0", nodes=0, swarms=0),
    "one address too many": signed_columns(columns(ipv4=[*PARTS["ipv4"], bytes(4)])),
    "one address too few": signed_columns(columns(ipv6=PARTS["ipv6"][1:])),
}

KEYS: Final[Cases] = {
    "ascending": signed_columns(columns(), ""),
    "the first two swapped": signed_columns(columns(key=swapped(PARTS["key"], 0, 1))),
    "the last two swapped": signed_columns(columns(key=swapped(PARTS["key"], 6, 7))),
    "first and last swapped": signed_columns(columns(key=swapped(PARTS["key"], 0, 7))),
    "descending": signed_columns(columns(key=PARTS["key"][::-1])),
    "one twice": signed_columns(columns(key=with_cell("key", 4, PARTS["key"][3]))),
    "one all over": signed_columns(columns(key=PARTS["key"][:1] * 8)),
}

LAST_ID: Final = b"\xff" * 8
IDS: Final = PARTS["swarm_ids"]

SWARM_IDS: Final[Cases] = {
    "ascending": signed_columns(columns(), ""),
    "the largest that there can be": signed_columns(
        columns(swarm_ids=[IDS[0], LAST_ID[:7] + b"\xfe"]), ""
    ),
    "swapped": signed_columns(columns(swarm_ids=IDS[::-1])),
    "one twice": signed_columns(columns(swarm_ids=IDS[:1] * 2)),
    "the larger one twice": signed_columns(columns(swarm_ids=IDS[1:] * 2)),
    "no swarm": signed_columns(columns(swarm_ids=[IDS[0], LAST_ID])),
    "no swarm alone": signed_columns(
        columns(8, 1, swarm_ids=[LAST_ID], swarm_index=[bytes(2)] * 8), swarms=1
    ),
    "descending, of as many as nodes": signed_columns(
        columns(
            8,
            8,
            swarm_ids=[bytes([8 - n]) * 8 for n in range(8)],
            swarm_index=[bytes([0, n]) for n in range(8)],
        ),
        swarms=8,
    ),
}

FLAGS: Final[Cases] = {
    "1, 2 and 3": signed_columns(columns(), ""),
    **{
        f"{value}": signed_columns(columns(flags=with_cell("flags", 1, bytes([value]))))
        for value in (0, 4, 5, 7, 128, 129, 255)
    },
    "0, without an address": signed_columns(
        columns(flags=with_cell("flags", 1, b"\0"), ipv4=PARTS["ipv4"][1:])
    ),
    "two flags in each other's place, and so a wrong length": signed_columns(
        columns(flags=with_cell("flags", 0, b"\1"))
    ),
}

PLACES: Final[Cases] = {
    "as they are": signed_columns(columns(), ""),
    "those of other swarms": [
        *signed_columns(columns(swarm_index=PARTS["swarm_index"][::-1]), ""),
        entries(),
    ],
    "one beyond": signed_columns(columns(swarm_index=with_cell("swarm_index", 3, b"\0\2"))),
    "one far beyond": signed_columns(columns(swarm_index=with_cell("swarm_index", 3, b"\xff\xff"))),
    "one of another byte order": signed_columns(
        columns(swarm_index=with_cell("swarm_index", 3, b"\1\0"))
    ),
    "a swarm without a node": signed_columns(columns(swarm_index=[bytes(2)] * 8)),
    "the other without a node": signed_columns(columns(swarm_index=[b"\0\1"] * 8)),
    "all beyond": signed_columns(columns(swarm_index=[b"\0\2", b"\0\3"] * 4)),
}

CLASSES: Final[dict[str, Cases]] = {
    "full: cut off": CUT_OFF,
    "full: extended": EXTENDED,
    "full: version": VERSIONS,
    "full: deflate": DEFLATE,
    "full: bounds": BOUNDS,
    "full: hash": HASHES,
    "columns: counts": COUNTS,
    "columns: length": LENGTHS,
    "columns: keys": KEYS,
    "columns: swarm ids": SWARM_IDS,
    "columns: flags": FLAGS,
    "columns: places": PLACES,
}
"""Every class of this page."""

NAMES: Final = {"columns 10": TEN.columns, "fixed 10": b"\1" + fixed(TEN.columns)}
"""Bytes that many cases share."""
