"""The house rules catch what they are there for, and let pass what we write instead."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.house_rules import FILE_LINES, FUNCTION_LINES, check_file, check_tree

RULES = Path(__file__).resolve().parents[2] / "scripts" / "house_rules.py"
LEDGER = "ledger/rules/some.py"
LEVELDB = "ledger/leveldb.py"
SERVICE = "registry/view.py"
CLIENT = "registry/client/trusted.py"

# In pieces, since the rules read this file too.
LATER = "TO" + "DO"
BROKEN = "FIX" + "ME"
THREE_X = "XX" + "X"

REFUSED = {
    "float literal": (LEDGER, "rate = 0.5", "float"),
    "float literal in scientific form": (LEDGER, "rate = 1e9", "float"),
    "imaginary literal": (LEDGER, "unit = 1j", "float"),
    "float()": (LEDGER, "def f(x: int) -> object:\n    return float(x)", "float"),
    "true division": (LEDGER, "def f(a: int) -> object:\n    return a / 2", "division"),
    "true division in place": (LEDGER, "a = 4\na /= 2", "division"),
    "for over a display": (LEDGER, "for x in {1, 2}:\n    pass", "set-order"),
    "for over set()": (LEDGER, "for x in set([1]):\n    pass", "set-order"),
    "for over frozenset()": (LEDGER, "for x in frozenset([1]):\n    pass", "set-order"),
    "for over a set comprehension": (LEDGER, "for x in {y for y in [1]}:\n    pass", "set-order"),
    "comprehension over a set": (LEDGER, "a = [x for x in {1, 2}]", "set-order"),
    "generator over a set in sorted": (LEDGER, "a = sorted(x for x in {1, 2})", "set-order"),
    "for over an annotated name": (
        LEDGER,
        "def f() -> None:\n    a: set[int] = make()\n    for x in a:\n        pass",
        "set-order",
    ),
    "for over an assigned name": (
        LEDGER,
        "def f() -> None:\n    a = set(make())\n    for x in a:\n        pass",
        "set-order",
    ),
    "for over a name assigned from such a name": (
        LEDGER,
        "def f() -> None:\n    a = {1}\n    b = a | make()\n    for x in b:\n        pass",
        "set-order",
    ),
    "for over an argument": (
        LEDGER,
        "def f(a: frozenset[int]) -> None:\n    for x in a:\n        pass",
        "set-order",
    ),
    "for over an argument of an abstract type": (
        LEDGER,
        "def f(a: 'collections.abc.Set[int] | None') -> None:\n    for x in a:\n        pass",
        "set-order",
    ),
    "for over a module's constant": (
        LEDGER,
        "A: Final = frozenset([1])\n\ndef f() -> None:\n    for x in A:\n        pass",
        "set-order",
    ),
    "for over a declared attribute": (
        LEDGER,
        "class A:\n    seen: set[int]\n\n    def f(self) -> None:\n"
        "        for x in self.seen:\n            pass",
        "set-order",
    ),
    "for over an attribute annotated on self": (
        LEDGER,
        "class A:\n    def __init__(self) -> None:\n        self.seen: set[int] = make()\n\n"
        "    def f(self) -> None:\n        for x in self.seen:\n            pass",
        "set-order",
    ),
    "for over joined keys": (
        LEDGER,
        "def f(a: Map, b: Map) -> None:\n    for x in a.keys() | b.keys():\n        pass",
        "set-order",
    ),
    "for over a union": (LEDGER, "for x in a.union(b):\n    pass", "set-order"),
    "for over one of two": (LEDGER, "for x in {1} if a else {2}:\n    pass", "set-order"),
    "list of a set": (LEDGER, "a = list({1, 2})", "set-order"),
    "tuple of a set": (LEDGER, "a = tuple({1, 2})", "set-order"),
    "join of a set": (LEDGER, "a = b''.join({b'1'})", "set-order"),
    "enumerate of a set": (LEDGER, "a = dict(enumerate({1}))", "set-order"),
    "dictionary from a set": (LEDGER, "a = dict.fromkeys({1}, 0)", "set-order"),
    "unpacked set": (LEDGER, "a = [*{1, 2}]", "set-order"),
    "set taken apart": (LEDGER, "a, b = {1, 2}", "set-order"),
    "some element of a set": (LEDGER, "a = {1, 2}\nb = a.pop()", "set-order"),
    "yield from a set": (LEDGER, "def f() -> Walk:\n    yield from {1}", "set-order"),
    "hash()": (LEDGER, "a = hash(b'1')", "hash"),
    "id()": (LEDGER, "a = id(b'1')", "id"),
    "open()": (LEDGER, "a = open('file')", "io"),
    "print()": (LEDGER, "print(1)", "io"),
    "eval()": (LEDGER, "a = eval('1')", "dynamic"),
    "hash() in LevelDB's file": (LEVELDB, "a = hash(b'1')", "hash"),
    "random": (LEDGER, "import random", "import"),
    "time": (LEDGER, "import time", "import"),
    "a name from time": (LEDGER, "from time import monotonic", "import"),
    "datetime": (LEDGER, "from datetime import datetime", "import"),
    "the environment": (LEDGER, "import os\na = os.environ['A']", "import"),
    "locale": (LEDGER, "import locale", "import"),
    "threading": (LEDGER, "import threading", "import"),
    "concurrent.futures": (LEDGER, "import concurrent.futures", "import"),
    "asyncio": (LEDGER, "import asyncio", "import"),
    "asyncio inside a function": (LEDGER, "def f() -> None:\n    import asyncio", "import"),
    "socket": (LEDGER, "import socket", "import"),
    "secrets": (LEDGER, "import secrets", "import"),
    "uuid": (LEDGER, "import uuid", "import"),
    "ipaddress": (LEDGER, "import ipaddress", "import"),
    "unicodedata": (LEDGER, "import unicodedata", "import"),
    "zlib": (LEDGER, "import zlib", "import"),
    "numpy": (LEDGER, "import numpy as np", "import"),
    "a library nobody allowed": (LEDGER, "import attrs", "import"),
    "the service": (LEDGER, "from registry.view import View", "import"),
    "plyvel": (LEDGER, "import plyvel", "import"),
    "plyvel_next": (LEDGER, "import plyvel_next", "import"),
    "time in LevelDB's file": (LEVELDB, "import time", "import"),
    "state in the client": (CLIENT, "import ledger.state", "reader-import"),
    "state from the ledger in the client": (CLIENT, "from ledger import state", "reader-import"),
    "a rule in the formats": (
        "registry/formats/full.py",
        "from ledger.rules.rewards import share",
        "reader-import",
    ),
    "the ledger as a whole in the client": (CLIENT, "import ledger", "reader-import"),
    "a long file": (SERVICE, "a = 1\n" * (FILE_LINES + 1), "file-length"),
    "a long function": (
        SERVICE,
        "async def f() -> None:\n" + "    a = 1\n" * FUNCTION_LINES,
        "function-length",
    ),
    "something left for later": (SERVICE, f"a = 1  # {LATER}: better", "unfinished"),
    "something broken in prose": ("docs/page.md", f"{BROKEN}: rewrite", "unfinished"),
    "three letters in a script": ("scripts/run", f"# {THREE_X}", "unfinished"),
    "what is not Python": (SERVICE, "def f(:", "syntax"),
}

ALLOWED = {
    "integers": (LEDGER, "rate = 5\ntotal = 7 // 2\nrest = 7 % 2"),
    "a check that refuses floats": (LEDGER, "def f(x: object) -> bool:\n    return type(x) is int"),
    "for over a sorted set": (LEDGER, "for x in sorted({1, 2}):\n    pass"),
    "comprehension over a sorted set": (LEDGER, "a = [x for x in sorted({1, 2})]"),
    "list of a sorted set": (LEDGER, "a = list(sorted(set([1])))"),
    "join of a sorted set": (LEDGER, "a = b''.join(sorted({b'1'}))"),
    "membership": (LEDGER, "A = frozenset([1])\n\ndef f(x: int) -> bool:\n    return x in A"),
    "size of a set": (LEDGER, "a = len({1, 2})"),
    "a set of a list": (LEDGER, "a = {x for x in [1, 2]}\nb = set([1, 2])"),
    "one set joined to another": (LEDGER, "a = {1}\nb = a | {2}\na.update(b)\na -= b"),
    "for over a list": (LEDGER, "def f(a: list[int]) -> None:\n    for x in a:\n        pass"),
    "for over sets in a list": (
        LEDGER,
        "def f(a: list[set[int]]) -> None:\n    for x in a:\n        pass",
    ),
    "an argument named like an outer set": (
        LEDGER,
        "a = {1}\n\ndef f(a: list[int]) -> None:\n    for x in a:\n        pass",
    ),
    "a name that is a set elsewhere": (
        LEDGER,
        "def f() -> None:\n    a = {1}\n\ndef g(a: Names) -> None:\n    for x in a:\n        pass",
    ),
    "bits": (LEDGER, "def f(a: int, b: int) -> Walk:\n    return range(a & b)"),
    "the last element of a list": (LEDGER, "a = [1, 2]\nb = a.pop()"),
    "dictionary in the order of its keys": (LEDGER, "for x in sorted({1: 2}):\n    pass"),
    "a field called hash": (LEDGER, "class A:\n    hash: bytes\n    id: int\n\nb = A().hash"),
    "a method called open": (LEDGER, "a = store.open('x')"),
    "hashlib and struct": (LEDGER, "import hashlib\nimport struct\nfrom typing import Final"),
    "msgspec and nacl": (LEDGER, "import msgspec\nfrom nacl.bindings import sodium_init"),
    "the ledger's own modules": (LEDGER, "from ledger.types import Height\nfrom . import time"),
    "the database behind the Store": (LEVELDB, "import plyvel\nimport plyvel_next"),
    "files in LevelDB's file": (LEVELDB, "import os\nfrom pathlib import Path\na = open('x')"),
    "clocks, floats and sets in the service": (
        SERVICE,
        "import time\na = 0.5 / 2\nfor x in {1}:\n    print(hash(x))",
    ),
    "what any reader needs": (
        CLIENT,
        "from ledger import codec\nfrom ledger.messages.lists import Header\n"
        "from ledger.rules.swarms import nearest_swarm\nimport ledger.merkle",
    ),
    "state in the pool's neighbours": ("registry/queries.py", "from ledger.state import State"),
    "a file of just the size": (SERVICE, "a = 1\n" * FILE_LINES),
    "a function of just the size": (
        SERVICE,
        "@decorator\ndef f() -> None:\n" + "    a = 1\n" * (FUNCTION_LINES - 1),
    ),
    "a long file of tests": ("tests/ledger/test_some.py", "a = 1\n" * (FILE_LINES + 1)),
    "generated messages": ("registry/engines/abci_pb2.py", "a = 1\n" * (FILE_LINES + 1)),
    "words that hold the three letters": (SERVICE, f"a = 'mktemp {THREE_X}{THREE_X}'"),
}


@pytest.mark.parametrize(("path", "text", "rule"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(path: str, text: str, rule: str) -> None:
    assert {finding.rule for finding in check_file(Path(path), text)} == {rule}


@pytest.mark.parametrize(("path", "text"), ALLOWED.values(), ids=ALLOWED.keys())
def test_allowed(path: str, text: str) -> None:
    assert [str(finding) for finding in check_file(Path(path), text)] == []


def test_a_finding_says_where_and_what_instead() -> None:
    (finding,) = check_file(Path(LEDGER), "a = 4\nb = a / 2\n")
    assert str(finding) == f"{LEDGER}:2: division: use //, and say where the rest goes"


def test_only_our_files_are_read(tmp_path: Path) -> None:
    for name in ("ledger/a.py", ".venv/ledger/a.py", "registry/web/static/a.js", "scripts/a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {LATER}\n", encoding="utf-8")
    found = [str(finding.path) for finding in check_tree(tmp_path)]
    assert found == ["ledger/a.py", "scripts/a"]


@pytest.mark.parametrize(("text", "code"), [("a = 1\n", 0), ("a = 0.5\n", 1)])
def test_exit_code(tmp_path: Path, text: str, code: int) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "a.py").write_text(text, encoding="utf-8")
    run = subprocess.run([sys.executable, RULES, tmp_path], capture_output=True, check=False)
    assert run.returncode == code
