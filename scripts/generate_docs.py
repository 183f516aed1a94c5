"""Write those parts of the documentation that are made from the code.

    python -m scripts.generate_docs     rewrites them in place, and tests/vectors/examples.json

A part stands in its page between two markers, `<!-- made: NAME -->` and `<!-- end: NAME -->`; what
is outside of them is written by hand. tests/house/test_spec.py holds every part to its source.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

from ledger.errors import REFUSALS
from ledger.messages import tags
from ledger.messages.duty import FAULTS
from ledger.messages.state import NODE_STATES, ROLES
from ledger.messages.tables import TABLES
from ledger.offences import OFFENCES
from ledger.params import DAY, HOUR, MINUTE, PARAMETERS, PRESETS, SECOND, Parameter
from ledger.rules.routable import UNROUTABLE_IPV4, UNROUTABLE_IPV6, Prefix
from ledger.transactions import TX_KINDS
from ledger.types import COIN, MAX_AMOUNT
from registry.agent.probes import PROBES
from scripts.configuration import COLUMNS, PROGRAM_COLUMNS, PROGRAMS, limit_rows, program_rows
from scripts.examples import (
    ENCODINGS,
    SENT,
    compose_examples,
    example_evidence,
    is_canonical_version,
    quote_block,
    quote_evidence,
    quote_genesis,
    quote_roots,
    quote_signed,
    quote_transaction,
    signed_examples,
)

ROOT: Final = Path(__file__).resolve().parent.parent
EXAMPLES: Final = ROOT / "tests" / "vectors" / "examples.json"
PAGES: Final = ("docs/configuration.md", "docs/spec/*.md", "genesis/*.md")
"""Which pages have parts."""

PART: Final = re.compile(r"<!-- made: (?P<name>[^>]+) -->\n.*?<!-- end: (?P=name) -->", re.DOTALL)


class UnknownPart(Exception):
    """A page has markers of a part that nothing makes."""


def main() -> None:
    """Rewrite every part, and the examples in bytes."""
    EXAMPLES.write_text(compose_examples(), encoding="utf-8")
    for page in find_pages():
        before = page.read_text(encoding="utf-8")
        after = fill(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(page.relative_to(ROOT))


def find_pages() -> list[Path]:
    """Every page that may have parts."""
    return [page for pattern in PAGES for page in sorted(ROOT.glob(pattern))]


def fill(page: str) -> str:
    """Return a page with each of its parts made anew. Raises `UnknownPart`."""

    def made(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in PARTS:
            raise UnknownPart(f"nothing makes the part {name!r}; there are {sorted(PARTS)}")
        return f"<!-- made: {name} -->\n{PARTS[name]()}\n<!-- end: {name} -->"

    return PART.sub(made, page)


def table(head: str, rows: Iterator[str]) -> str:
    """A table of Markdown."""
    columns = head.count("|") - 1
    return "\n".join((head, "|" + columns * "---|", *rows))


# ---- Tables of the ledger ----


def parameter_table() -> str:
    """Every parameter by its place in the genesis file."""
    return table(
        "| place | name | unit | from | to | meaning |",
        (
            f"| {place} | `{row.name}` | {row.unit} | {row.low} | {row.high} | {row.meaning} |"
            for place, row in enumerate(PARAMETERS)
        ),
    )


def preset_table() -> str:
    """Every parameter with the values of each preset, for people."""
    return table(
        f"| name | unit | range | {' | '.join(PRESETS)} | meaning |",
        (
            f"| `{row.name}` | {row.unit} | {spoken(row, row.low)} … {spoken(row, row.high)} | "
            f"{' | '.join(spoken(row, value) for value in row.presets)} | {row.meaning} |"
            for row in PARAMETERS
        ),
    )


UNITS: Final = {
    "ms": ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s")),
    "atomic units": ((COIN, "COIN"),),
}
"""Larger units by the unit of a parameter, largest first."""


def spoken(row: Parameter, value: int) -> str:
    """A value, and what it is in the largest unit that it is a multiple of."""
    if value == MAX_AMOUNT:
        return "2^63 − 1"
    for size, name in UNITS.get(row.unit, ()):
        if value and value % size == 0:
            return f"{value:,} ({value // size:,} {name})"
    return f"{value:,}"


def key_table() -> str:
    """Every table of the state by its letter."""
    return table(
        "| letter | name | rest of the key | record | holds |",
        (
            f"| `{row.letter.decode()}` | `{row.name}` | {row.key or 'nothing: one record'} | "
            f"`{row.codec.what}` | {row.meaning} |"
            for row in TABLES
        ),
    )


def refusal_table() -> str:
    """Every code."""
    return table(
        "| number | code | text |",
        (f"| {row.number} | `{code}` | {row.text} |" for code, row in REFUSALS.items()),
    )


def kind_table() -> str:
    """Every kind of transaction by its tag."""
    return table(
        "| tag | kind | body | paid by |",
        (
            f"| {kind.tag} | `{kind.name}` | `{kind.body.__name__}` | "
            f"{'nobody' if kind.is_free else 'its sender'} |"
            for kind in TX_KINDS
        ),
    )


def offence_table() -> str:
    """Every offence with who gives the evidence and what it costs."""
    return table(
        "| number | offence | given by | parameter of its penalty | tombstone |",
        (
            f"| {row.number} | `{row.name}` | {'a report' if row.signatures else 'an engine'} | "
            f"`{row.penalty}` | {'yes' if row.tombstones else 'no'} |"
            for row in OFFENCES
        ),
    )


def tag_table() -> str:
    """Every tag with what the code says of it."""
    return table(
        "| tag | for |",
        (f"| `{tag.decode()}` | {meaning} |" for tag, meaning in read_tags()),
    )


def probe_table() -> str:
    """The probes, with the first line of what each says of itself."""
    return table(
        "| probe | what has to hold | else the fault |",
        (
            f"| {probe.name} | {(inspect.getdoc(probe.check) or '').rstrip('.')} | {probe.fault} |"
            for probe in PROBES
        ),
    )


def read_tags() -> Iterator[tuple[bytes, str]]:
    """Each tag of the module with the text below it."""
    lines = ast.parse(inspect.getsource(tags)).body
    for line, below in pairwise(lines):
        match line, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                yield getattr(tags, name), str(text).rstrip(".")


def number_table(names: dict[int, str]) -> str:
    """Numbers that stand for names."""
    return table("| number | name |", (f"| {one} | {name} |" for one, name in names.items()))


def prefix_table(prefixes: tuple[Prefix, ...], separator: str, width: int, form: str) -> str:
    """Prefixes with their bytes in groups of `width`."""

    def written(address: bytes) -> str:
        groups = [address[at : at + width] for at in range(0, len(address), width)]
        return separator.join(format(int.from_bytes(group, "big"), form) for group in groups)

    return table(
        "| first address | bits | why |",
        (f"| `{written(row.address)}` | {row.bits} | {row.why} |" for row in prefixes),
    )


def encoding_table() -> str:
    """The encodings, with what the decoder makes of them."""
    return table(
        "| bytes | answer | because |",
        (
            f"| `{raw}` | "
            f"{'a `Version`' if is_canonical_version(bytes.fromhex(raw)) else '`not_canonical`'}"
            f" | {why} |"
            for raw, why in ENCODINGS
        ),
    )


PARTS: Final[dict[str, Callable[[], str]]] = {
    "parameters": parameter_table,
    "presets": preset_table,
    "state keys": key_table,
    "node states": lambda: number_table(NODE_STATES),
    "roles": lambda: number_table(ROLES),
    "faults": lambda: number_table(FAULTS),
    "probes": probe_table,
    "offences": offence_table,
    "refusals": refusal_table,
    "kinds": kind_table,
    "tags": tag_table,
    "encodings": encoding_table,
    "IPv4": lambda: prefix_table(UNROUTABLE_IPV4, ".", 1, "d"),
    "IPv6": lambda: prefix_table(UNROUTABLE_IPV6, ":", 2, "04x"),
    **{
        f"settings of waypost {one.command}": partial(
            lambda one: table(PROGRAM_COLUMNS, program_rows(one)), one
        )
        for one in PROGRAMS
    },
    "limits": lambda: table(COLUMNS, limit_rows()),
    "genesis example": quote_genesis,
    "block example": quote_block,
    "roots of the examples": quote_roots,
    **{f"{name} signed": partial(quote_signed, name) for name in (*signed_examples(), "block")},
    **{f"{name} evidence": partial(quote_evidence, name) for name in example_evidence()},
    **{f"{name} sent": partial(quote_transaction, name) for name in SENT},
}
"""What each part is made by."""


if __name__ == "__main__":
    main()
