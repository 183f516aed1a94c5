"""The Session forms of an example: the same bytes as ever, and quoted by the specification.

    WAYPOST_REGENERATE=1 pytest tests/registry/formats/test_session_vectors.py

writes `tests/vectors/session_forms.json` anew, and the parts of `docs/spec/session_forms.md` that
quote it, which stand between `<!-- vector: NAME -->` and `<!-- end vector: NAME -->`.
"""

import json
import os
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from ledger.crypto import convert_to_x25519
from ledger.messages.contact import Contact, Version
from ledger.messages.state import ACTIVE, Contribution, Swarm
from ledger.nodes import new_node
from ledger.params import preset
from registry.formats import FORMATS, Source
from registry.formats.session import SessionNode
from registry.formats.session_binary import decode_session_binary
from registry.formats.session_json import decode_session_json
from registry.roster import make_row
from tests.registry.session_network import make_key

ROOT: Final = Path(__file__).resolve().parents[3]
VECTOR: Final = ROOT / "tests" / "vectors" / "session_forms.json"
PAGE: Final = ROOT / "docs" / "spec" / "session_forms.md"
PART: Final = re.compile(
    r"<!-- vector: (?P<name>[a-z ]+) -->\n.*?<!-- end vector: (?P=name) -->", re.DOTALL
)

HEIGHT: Final = 720
PARAMS: Final = preset("testnet", {"block_ms": 5_000})


def make_rows() -> list[SessionNode]:
    """Three active nodes: a plain one, one without IPv4, and one that leaves."""
    storage, router = Version(2, 11, 0), Version(11, 6, 0)
    ipv6 = bytes.fromhex("2a010000000000000000000000000001")
    contacts = (
        Contact(bytes([127, 16, 0, 1]), b"", 22021, 22020, storage, router),
        Contact(b"", ipv6, 22021, 22020, storage, router),
        Contact(bytes([127, 16, 0, 3]), ipv6, 443, 1090, Version(2, 12, 255), router),
    )
    swarm_ids = (2**63, 100, 2**64 - 2)
    exits_ms = (0, 0, 1_700_000_612_001)
    rows: list[SessionNode] = []
    for place, key in enumerate(sorted(make_key(number) for number in range(3))):
        node = new_node(
            life=1,
            state=ACTIVE,
            since_ms=1_700_000_600_000,
            since_height=120,
            registered_height=100 + place,
            liable_from=1,
            operator=key,
            fee=500,
            requirement=100,
            contributions=(Contribution(key, key, 75, 0), Contribution(make_key(9), key, 25, 0)),
            reserved=(),
            duty_key=make_key(10 + place),
            list_key=b"",
            list_tip=b"",
            consensus_key=b"",
            x25519=convert_to_x25519(key),
            exit_ms=exits_ms[place],
        )
        swarm = Swarm(swarm_ids[place])
        rows.append(make_row(key, node, contacts[place], swarm, None, PARAMS))
    return rows


def compose_vector() -> dict[str, Any]:
    """Return the whole example."""
    source = Source(b"", HEIGHT, make_rows())
    return {
        "about": "Made by tests/registry/formats/test_session_vectors.py; "
        "docs/spec/session_forms.md quotes it.",
        "height": HEIGHT,
        "rows": msgspec.to_builtins(
            msgspec.convert(msgspec.to_builtins(source.nodes), list[SessionNode])
        ),
        "session-json": FORMATS["session-json"].make(source).decode(),
        "session-binary": FORMATS["session-binary"].make(source).hex(),
    }


def quote_json() -> Iterator[str]:
    """The whole file, cut to the width of the page."""
    text = WRITTEN["session-json"]
    yield f"the file, {len(text)} bytes, without the white space that is here"
    # only between the fields of an entry, not within a version
    spaced = text.replace(',"', ', "').replace("},{", "}, {")
    yield from (f"    {line}" for line in textwrap.wrap(spaced, 92))


def quote_binary() -> Iterator[str]:
    """The whole file, an entry at a time."""
    text = WRITTEN["session-binary"]
    yield f"the file, {len(text) // 2} bytes"
    for start in range(0, len(text), 102):
        entry = text[start : start + 102]
        yield f"    {entry[:64]}"
        yield f"    {entry[64:80]} {entry[80:88]} {entry[88:92]} {entry[92:96]} {entry[96:]}"


PARTS: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "session json": quote_json,
    "session binary": quote_binary,
}
"""What makes each part of the page."""


def fill(page: str) -> str:
    """Return the page with each of its parts made anew."""

    def made(found: re.Match[str]) -> str:
        name = found["name"]
        body = "\n".join(PARTS[name]())
        return f"<!-- vector: {name} -->\n```text\n{body}\n```\n<!-- end vector: {name} -->"

    return PART.sub(made, page)


if os.environ.get("WAYPOST_REGENERATE") == "1":
    VECTOR.write_text(json.dumps(compose_vector(), indent=2) + "\n", encoding="utf-8")

WRITTEN: Final = json.loads(VECTOR.read_text(encoding="utf-8"))

if os.environ.get("WAYPOST_REGENERATE") == "1":
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def test_the_example_is_what_the_code_makes() -> None:
    assert json.loads(json.dumps(compose_vector())) == WRITTEN, (
        "the code makes other bytes than tests/vectors/session_forms.json holds; "
        "WAYPOST_REGENERATE=1 writes the file and docs/spec/session_forms.md anew"
    )


def test_the_page_quotes_the_example() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [match["name"] for match in PART.finditer(text)] == list(PARTS)
    assert text.count("<!-- vector:") == len(PARTS)
    assert fill(text) == text, "docs/spec/session_forms.md: WAYPOST_REGENERATE=1 fills it anew"


def test_the_table_of_the_page_is_the_row() -> None:
    rows = re.search(r"## Row of a node\n.*?\n## ", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert rows is not None
    shown = re.findall(r"^\| `(\w+)` \|", rows[0], re.MULTILINE)
    assert tuple(shown) == SessionNode.__struct_fields__


def test_both_files_say_the_same_of_the_nodes_with_ipv4() -> None:
    height, published = decode_session_json(WRITTEN["session-json"].encode())
    binary = decode_session_binary(bytes.fromhex(WRITTEN["session-binary"]))
    assert height == HEIGHT
    assert [
        (n.key, n.swarm_id, n.ipv4, n.storage_port, n.router_port, n.storage_version)
        for n in published
    ] == [tuple(node) for node in binary]
    assert [node.key.hex() for node in binary] == [
        WRITTEN["rows"][place]["pubkey_ed25519"] for place in (0, 2)
    ]
    # 12.001 s are three blocks of 5 s
    assert [node.unlock_height for node in published] == [0, 123]
