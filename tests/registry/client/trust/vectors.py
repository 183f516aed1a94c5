"""How the cases of this folder are written to `tests/vectors/trust.json`, with what they rest on.

    WAYPOST_REGENERATE=1 pytest tests/registry/client/test_trust_vectors.py

The shape is that of `tests/vectors/verify.json`: bytes are put together of pieces of those that
have names. docs/vectors.md tells how to read it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from ledger.merkle import History, split_leaves
from registry.client import TrustedLists
from registry.formats.bundle import Bundle, encode_bundle
from registry.formats.trust import Hop, encode_hop
from tests.registry.client.factory import make_hashes
from tests.registry.client.trust import hops, keeping, ways
from tests.registry.client.trust.hops import GENESIS, MAIN, NOW_MS, ORDER, SAVED, A, B, C, D, R
from tests.registry.client.trust.line import Line, members_of
from tests.registry.client.vectors import store
from tests.registry.client.verify.script import (
    Answer,
    Case,
    Cases,
    Repeat,
    Value,
    run,
)

VECTOR: Final = Path(__file__).resolve().parents[3] / "vectors" / "trust.json"

Piece: TypeAlias = str | list[Any]
"""Hexadecimal, or `[name, from, to]` of named bytes, or `[hexadecimal, times]`."""

CLASSES: Final[Mapping[str, Cases]] = {**hops.CLASSES, **ways.CLASSES, **keeping.CLASSES}

LEFT_OUT: Final = (
    "hop: signatures",
    "path: headers on the way that do not hold",
    "path: bytes",
    "client: the first check gives the code",
)
"""Classes whose like is in `verify.json`."""

SHOWN: Final = {name: cases for name, cases in CLASSES.items() if name not in LEFT_OUT}

MOST_CHARACTERS: Final = 900
"""What a refused case takes at most: one whose bytes are nobody else's is left out for its size."""

LINES: Final[Mapping[str, Line]] = {
    "main": MAIN,
    "saved": SAVED,
    "after": hops.AFTER,
    "open": hops.OPEN,
    "steady": ways.STEADY,
    "split": ways.SPLIT,
    "old": keeping.OLD,
    "older": keeping.OLDER,
    "most": keeping.MOST,
    "too old": keeping.TOO_OLD,
    "fixed": keeping.FIXED_LINE,
    "ended": keeping.ENDED,
    "last": keeping.LAST,
}
"""Lines whose headers have names: "main 3" is the signed header of epoch 3 of `MAIN`."""

WORTH: Final = 12
"""Bytes in a row that are the same: fewer are not worth a piece of their own."""


def name_bytes() -> dict[str, bytes]:
    """Return all that may have a name; a header has that of the first line that it is on."""
    names = {"genesis": GENESIS, "genesis of policy 2": keeping.OPEN}
    names["genesis that follows"] = keeping.FOLLOWING
    names["genesis of one"] = ways.STEADY.genesis
    for title, line in LINES.items():
        for made in line.made:
            if made.signed not in names.values():
                names[f"{title} {made.header.epoch}"] = made.signed
    for title, seats in zip("ABCDR", (A, B, C, D, R), strict=True):
        names[f"set {title}"] = encode_hop(Hop((members_of(seats),)))[1:-2]
    names["recovery"] = encode_hop(Hop((), ORDER))[1:-1]
    return names


class Writer:
    """Writes bytes as pieces of those that have names, each as long as can be."""

    def __init__(self, names: Mapping[str, bytes]) -> None:
        self._names = names
        self._places: dict[bytes, list[tuple[str, int]]] = {}
        for name, data in names.items():
            for at in range(len(data) - WORTH + 1):
                self._places.setdefault(data[at : at + WORTH], []).append((name, at))

    def write(self, value: Value) -> Any:
        """Return a value of a step as it stands in the file."""
        if isinstance(value, Repeat):
            middle: Piece = [value.piece.hex(), value.times]
            return [*self._pieces(value.head), middle, *self._pieces(value.tail)]
        if isinstance(value, bytes):
            named = next((name for name, data in self._names.items() if data == value), None)
            return named or [*self._pieces(value)]
        return value

    def _pieces(self, data: bytes) -> Iterator[Piece]:
        at = start = 0
        while at < len(data):
            size, name, place = self._longest(data, at)
            if not size:
                at += 1
                continue
            if start < at:
                yield data[start:at].hex()
            yield [name, place, place + size]
            at = start = at + size
        if start < len(data):
            yield data[start:].hex()

    def _longest(self, data: bytes, at: int) -> tuple[int, str, int]:
        """The longest part of named bytes with which `data` goes on; 0 bytes if there is none."""
        found = [
            (_shared(self._names[name], place, data, at), name, place)
            for name, place in self._places.get(data[at : at + WORTH], ())
        ]
        return max(found, key=lambda each: each[0], default=(0, "", 0))


def _shared(named: bytes, place: int, data: bytes, at: int) -> int:
    size = 0
    while (
        place + size < len(named)
        and named[place + size : place + size + 1] == data[at + size : at + size + 1]
    ):
        size += 1
    return size


# ---- The file ----


def compose() -> dict[str, Any]:
    """Return all that the file holds."""
    names = name_bytes()
    writer = Writer(names)
    beginnings = name_beginnings(names)
    classes = [
        {"class": name, "cases": [*_write_cases(writer, beginnings, cases)]}
        for name, cases in SHOWN.items()
    ]
    first = {name: [*_write_steps(writer, name, case)] for name, case in beginnings.items()}
    bundles = [*describe_bundles(writer)]
    used = _names_in([classes, first, bundles])
    return {
        "about": "Made by tests/registry/client/trust/vectors.py; docs/vectors.md tells how to run "
        "it.",
        "bytes": {name: data.hex() for name, data in names.items() if name in used},
        "beginnings": first,
        "classes": classes,
        "histories": [describe_history(*each) for each in HISTORIES],
        "bundles": bundles,
    }


def name_beginnings(names: Mapping[str, bytes]) -> dict[str, Case]:
    """Return the steps with which several cases begin, each by the header that is held then."""
    counts: dict[str, tuple[Case, int]] = {}
    for case in (case for cases in SHOWN.values() for case in cases.values()):
        first = case[:-1]
        counts[repr(first)] = (first, counts.get(repr(first), (first, 0))[1] + 1)
    named: dict[str, Case] = {}
    for first, count in counts.values():
        held = [name for name, data in names.items() if data in first[-1].values.values()]
        if count > 1 and held:
            assert held[0] not in named, "two beginnings have one name"
            named[held[0]] = first
    return named


def _write_cases(
    writer: Writer, beginnings: Mapping[str, Case], cases: Cases
) -> Iterator[dict[str, Any]]:
    for title, case in cases.items():
        name = next((name for name, first in beginnings.items() if first == case[:-1]), "")
        steps = [*_write_steps(writer, title, case)][len(beginnings.get(name, ())) :]
        row = {"title": title} | ({"begin": name} if name else {}) | {"steps": steps}
        if not case[-1].refused or len(json.dumps(row)) <= MOST_CHARACTERS:
            yield row


def _write_steps(writer: Writer, title: str, case: Case) -> Iterator[Answer]:
    before: Answer | None = None
    for step, answer in zip(case, run(case), strict=True):
        assert answer.get("refused", "") == step.refused, f"{title}: {step.do}: {answer}"
        now = answer.pop("held")
        written = {"do": step.do} | {name: writer.write(v) for name, v in step.values.items()}
        yield written | answer | ({} if now == before else {"held": now})
        before = now


def _names_in(value: Any) -> set[str]:
    """Every string of the file: names are among them."""
    if isinstance(value, str):
        return {value}
    items: Sequence[Any] = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(items, list):
        return set()
    return set().union(*map(_names_in, items))


HISTORIES: Final = ((0, 0), (0, 1), (0, 11), (1, 1), (3, 4), (3, 11), (5, 8))
"""Numbers of leaves from which and to which a history is extended."""


def describe_history(start: int, stop: int) -> dict[str, Any]:
    """A history, the roots of the subtrees that are added, and the history with them.

    Leaf e is the hash of the header of epoch e of the line `steady`.
    """
    leaves = ways.STEADY[11].leaves
    before = History(start, make_hashes(leaves[:start], 0))
    roots = make_hashes(leaves[:stop], start)
    after = before.extend(stop, roots)
    assert after is not None
    return {
        "size": start,
        "peaks": [peak.hex() for peak in before.peaks],
        "subtrees": [[each.level, each.place] for each in split_leaves(start, stop)],
        "roots": [root.hex() for root in roots],
        "extended_size": stop,
        "extended_peaks": [peak.hex() for peak in after.peaks],
        "extended_root": after.root().hex(),
    }


WHOLE: Final = Bundle(MAIN.along(5), MAIN[5].signed, store(MAIN[5].columns))
"""Its list is not compressed, so that no library has a part in it."""
BUNDLE: Final = encode_bundle(WHOLE)

BUNDLES: Final[Mapping[str, tuple[str, bytes]]] = {
    "whole": ("", BUNDLE),
    "nothing": ("bad_list", b""),
    "another format": ("unknown_format", b"\2" + BUNDLE[1:9]),
    "half a length": ("bad_list", BUNDLE[:3]),
    "a path longer than the file": ("bad_list", b"\1\0\x40\0\0" + BUNDLE[5:9]),
    "a path longer than one may be": ("too_large", b"\1\0\x40\0\1" + BUNDLE[5:9]),
    "cut off within its path": ("bad_list", BUNDLE[:300]),
    "cut off within its header": ("bad_list", BUNDLE[: -len(WHOLE.full) - 1]),
    "without a path": ("wrong_set", encode_bundle(WHOLE._replace(path=b""))),
    "with a path that is cut off": (
        "bad_path",
        encode_bundle(WHOLE._replace(path=WHOLE.path[:-1])),
    ),
    "without its list": ("bad_list", encode_bundle(WHOLE._replace(full=b""))),
}
"""Files with the code with which a client that has the genesis file refuses them."""


def describe_bundles(writer: Writer) -> Iterator[dict[str, Any]]:
    """Each bundle, with what a client that begins from genesis makes of it."""
    for title, (code, data) in BUNDLES.items():
        row: dict[str, Any] = {"title": title, "genesis": writer.write(GENESIS), "now_ms": NOW_MS}
        row["bundle"] = writer.write(data)
        if code:
            yield row | {"refused": code}
            continue
        client = TrustedLists(GENESIS, NOW_MS)
        header = client.load_bundle(data)
        nodes = [entry.key.hex() for entry in client.entries]
        anchor = writer.write(client.anchor_file)
        yield row | {"epoch": header.epoch, "anchor": anchor, "nodes": nodes}


def to_text(file: Mapping[str, Any]) -> str:
    """The file: a line for each case, so that a change of one is seen as one."""
    parts = [f'"about": {json.dumps(file["about"])}']
    parts += [f'"{name}": {_rows(file[name])}' for name in ("bytes", "beginnings")]
    classes = [
        f'{{"class": {json.dumps(each["class"])}, "cases": {_rows(each["cases"])}}}'
        for each in file["classes"]
    ]
    parts.append('"classes": [\n' + ",\n".join(classes) + "\n]")
    parts += [f'"{name}": {_rows(file[name])}' for name in ("histories", "bundles")]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _rows(values: Mapping[str, Any] | Sequence[Any]) -> str:
    if isinstance(values, Mapping):
        pairs = [f"{json.dumps(name)}: {_line(value)}" for name, value in values.items()]
        return "{\n" + ",\n".join(pairs) + "\n}"
    return "[\n" + ",\n".join(map(_line, values)) + "\n]"


def _line(what: object) -> str:
    return json.dumps(what, separators=(",", ":"))
