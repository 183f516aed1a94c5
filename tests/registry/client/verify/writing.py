"""How scripts are written to `tests/vectors/verify.json`, and read from there.

Bytes that many cases share have a name; others are put together of pieces of these and of what
differs, so that a case of a thousand bytes takes a line.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple, TypeAlias

from tests.registry.client.verify.script import Answer, Case, Cases, Repeat, Value, run

Piece: TypeAlias = str | list[Any]
"""Hexadecimal, or `[name, from, to]` of named bytes, or `[hexadecimal, times]`."""

WORTH: Final = 12
"""Bytes in a row that are the same: fewer are not worth a piece of their own."""


RUN: Final = re.compile(rb"(.)\1{23,}", re.DOTALL)
"""One byte, again and again."""


class Writer:
    """Writes the bytes of cases as pieces of those that have names."""

    def __init__(self, names: Mapping[str, bytes]) -> None:
        self._names = names

    def write(self, value: Value) -> Any:
        """A value of a step as it stands in the file."""
        if isinstance(value, Repeat):
            return [*self._pieces(value.head), [value.piece.hex(), value.times],
                    *self._pieces(value.tail)]  # fmt: skip
        if isinstance(value, bytes):
            return self._shortest(value)
        if isinstance(value, tuple | list):
            return [self.write(each) for each in value]
        return value

    def _shortest(self, data: bytes) -> str | list[Piece]:
        for name, named in self._names.items():
            if named == data:
                return name
        return self._pieces(data)

    def _pieces(self, data: bytes) -> list[Piece]:
        if not data:
            return []
        ways: list[list[Piece]] = [[data.hex()]]
        for name, named in self._names.items():
            if _are_alike(named, data):
                ways += (list(_align(name, named, data)), list(_split(name, named, data)))
        ways = [[shorter for piece in way for shorter in _shorten(piece)] for way in ways]
        return min(ways, key=lambda pieces: len(json.dumps(pieces)))


def _are_alike(named: bytes, data: bytes) -> bool:
    """Whether it is worth a closer look: some bytes in a row are the same."""
    places = (0, 1, WORTH, 5 * WORTH, len(data) // 2, -WORTH)
    return any(data[at:][:WORTH] == named[at:][:WORTH] != b"" for at in places)


def _shorten(piece: Piece) -> Iterator[Piece]:
    """Hexadecimal without long runs of one byte."""
    if isinstance(piece, list):
        yield piece
        return
    data, last = bytes.fromhex(piece), 0
    for found in RUN.finditer(data):
        if last < found.start():
            yield data[last : found.start()].hex()
        yield [found[1].hex(), len(found[0])]
        last = found.end()
    if last < len(data):
        yield data[last:].hex()


def _align(name: str, named: bytes, data: bytes) -> Iterator[Piece]:
    """Pieces where both have the same bytes at the same places."""
    equal = [a == b for a, b in zip_longest(named, data)][: len(data)]
    start = at = 0
    while at < len(data):
        end = at
        while end < len(data) and equal[end]:
            end += 1
        if end - at >= WORTH:
            if start < at:
                yield data[start:at].hex()
            yield [name, at, end]
            start = end
        at = max(end, at + 1)
    if start < len(data):
        yield data[start:].hex()


def _split(name: str, named: bytes, data: bytes) -> Iterator[Piece]:
    """A beginning and an end that are the same, and what is between."""
    head = _shared(named, data)
    most = min(len(named), len(data)) - head
    tail = _shared(named[::-1][:most], data[::-1][:most])
    if head:
        yield [name, 0, head]
    if head + tail < len(data):
        yield data[head : len(data) - tail].hex()
    if tail:
        yield [name, len(named) - tail, len(named)]


def _shared(a: bytes, b: bytes) -> int:
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y),
                min(len(a), len(b)))  # fmt: skip


# ---- The file ----


class Page(NamedTuple):
    """What one module gives."""

    names: Mapping[str, bytes]
    """Bytes that many cases share."""
    beginnings: Mapping[str, Case]
    """Steps with which many cases begin."""
    classes: Mapping[str, Cases]


def compose(page: Page) -> dict[str, Any]:
    """All that the file holds. What a case is refused with has to be what its table says."""
    writer = Writer(page.names)
    return {
        "about": "Made by tests/registry/client/test_verify_vectors.py; docs/vectors.md tells how "
        "to run it.",
        "bytes": {name: data.hex() for name, data in page.names.items()},
        "beginnings": {
            name: _write_steps(writer, name, case) for name, case in page.beginnings.items()
        },
        "classes": [
            {
                "class": name,
                "cases": [
                    _write_case(writer, page.beginnings, name, title, case)
                    for title, case in cases.items()
                ],
            }
            for name, cases in page.classes.items()
        ],
    }


def _write_case(
    writer: Writer, beginnings: Mapping[str, Case], name: str, title: str, case: Case
) -> dict[str, Any]:
    steps = _write_steps(writer, f"{name}, {title}", case)
    begin, size = "", 0
    for each, first in beginnings.items():
        if len(first) > size and list(case[: len(first)]) == list(first):
            begin, size = each, len(first)
    return {"title": title} | ({"begin": begin} if begin else {}) | {"steps": steps[size:]}


def _write_steps(writer: Writer, title: str, case: Case) -> list[Answer]:
    steps, before = [], None
    for step, answer in zip(case, run(case), strict=True):
        assert answer.get("refused", "") == step.refused, f"{title}: {step.do}: {answer}"
        written = {"do": step.do} | {k: writer.write(v) for k, v in step.values.items()}
        now = answer.pop("held")
        steps.append(written | answer | ({} if now == before else {"held": now}))
        before = now
    return steps


def to_text(file: Mapping[str, Any]) -> str:
    """The file: a line for each case, so that a change of one is seen as one."""
    lines = [f'{{"about": {json.dumps(file["about"])},', '"bytes": {']
    rows = [f"{json.dumps(name)}: {json.dumps(data)}" for name, data in file["bytes"].items()]
    lines += [",\n".join(rows), "},", '"beginnings": {']
    rows = [f"{json.dumps(name)}: {_line(each)}" for name, each in file["beginnings"].items()]
    lines += [",\n".join(rows), "},", '"classes": [']
    classes = []
    for each in file["classes"]:
        cases = ",\n".join(map(_line, each["cases"]))
        classes.append(f'{{"class": {json.dumps(each["class"])}, "cases": [\n{cases}\n]}}')
    return "\n".join([*lines, ",\n".join(classes), "]}"]) + "\n"


def _line(what: object) -> str:
    return json.dumps(what, separators=(",", ":"))


INPUTS: Final = ("genesis", "header", "path", "file", "account", "anchor", "fingerprint")
"""Fields of a step that are bytes; `files` are several."""


def read_bytes(names: Mapping[str, str], written: str | Sequence[Piece]) -> bytes:
    """The bytes of a field."""
    if isinstance(written, str):
        return bytes.fromhex(names[written])
    parts = []
    for piece in written:
        match piece:
            case str(text):
                parts.append(bytes.fromhex(text))
            case [name, start, end]:
                parts.append(bytes.fromhex(names[name])[start:end])
            case [text, times]:
                parts.append(bytes.fromhex(text) * times)
    return b"".join(parts)


def read_step(names: Mapping[str, str], written: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a step."""
    values = dict(written)
    for field in INPUTS:
        if field in values:
            values[field] = read_bytes(names, values[field])
    if "files" in values:
        values["files"] = [read_bytes(names, each) for each in values["files"]]
    return values


ANSWERS: Final = ("refused", "status", "nodes", "entries")
"""Fields of a step that say what comes of it, besides `held`."""


def expected(steps: Sequence[Mapping[str, Any]]) -> list[Answer]:
    """What has to come of each step; what is held stays where a step does not say otherwise."""
    answers, now = [], None
    for step in steps:
        now = step.get("held", now)
        answers.append({name: step[name] for name in ANSWERS if name in step} | {"held": now})
    return answers


def all_steps(file: Mapping[str, Any], case: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps of a case, those with which it begins included."""
    begin = file["beginnings"][case["begin"]] if "begin" in case else []
    return [*begin, *case["steps"]]
