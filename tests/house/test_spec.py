"""Specification and code say the same: a rule has one function, a table is that of its source."""

import importlib
import inspect
import json
import pkgutil
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgspec
import pytest

import ledger
from ledger.codec import Record
from ledger.epochs import EPOCH_STEPS
from ledger.genesis import _rules as genesis_rules
from ledger.genesis import load_genesis
from ledger.history import EpochRow, PenaltyRow, SwarmMove, SwarmRow, VerdictRow
from ledger.invariants import INVARIANTS
from ledger.messages.tables import TABLES
from ledger.offences import OFFENCES
from ledger.params import _relations as relations
from ledger.params import preset
from ledger.transactions import TX_KINDS, WIRE
from ledger.transactions.envelope import no_signatures
from scripts.examples import ENCODINGS, compose_examples
from scripts.generate_docs import EXAMPLES, PART, PARTS, ROOT, fill, find_pages, read_tags

SPEC: Final = ROOT / "docs" / "spec"
PAGES: Final = {page.name: page.read_text(encoding="utf-8") for page in sorted(SPEC.glob("*.md"))}
HEADING: Final = re.compile(r"#{2,3} (?P<title>.+)")
NAMES: Final = re.compile(r"(?P<what>Function|Record): `(?P<path>[\w.]+)`")
NAMES_NONE: Final = re.compile(r"Function: none \(.+\)")
HEX: Final = re.compile(r"(?:[0-9a-f]{2}){16,}")


class Heading(NamedTuple):
    """A heading of a page with the line below it and the text up to the next one."""

    page: str
    title: str
    below: str
    text: str

    @property
    def names(self) -> tuple[str, str] | None:
        """`Function` or `Record` with the path that is named, or None for one without a rule."""
        found = NAMES.fullmatch(self.below)
        return None if found is None else (found["what"], found["path"])

    def __str__(self) -> str:
        return f"docs/spec/{self.page}, {self.title!r}"


def read_headings(page: str, text: str) -> Iterator[Heading]:
    """Every heading of the second and third level; code blocks hold none."""
    lines = text.splitlines()
    starts = []
    fenced = False
    for number, line in enumerate(lines):
        fenced ^= line.startswith("```")
        if not fenced and HEADING.fullmatch(line):
            starts.append(number)
    for start, stop in pairwise([*starts, len(lines)]):
        title = lines[start].lstrip("#").strip()
        below = lines[start + 1] if start + 1 < stop else ""
        yield Heading(page, title, below, "\n".join(lines[start + 2 : stop]))


HEADINGS: Final = [one for page, text in PAGES.items() for one in read_headings(page, text)]
RULES: Final = [one for one in HEADINGS if one.names is not None]


def resolve(path: str) -> Any:
    """The object under a dotted path: of a module, or of a class in one. None if it is missing."""
    module, attributes = path, list[str]()
    while "." in module and find_module(module) is None:
        module, _, name = module.rpartition(".")
        attributes.insert(0, name)
    found: Any = find_module(module)
    for name in attributes:
        found = getattr(found, name, None)
    return found


def find_module(path: str) -> types.ModuleType | None:
    """A module of this project; None if there is no such module."""
    try:
        return importlib.import_module(path) if find_spec(path) is not None else None
    except ModuleNotFoundError:
        return None


def path_of(function: Callable[..., Any]) -> str:
    """The dotted path of a function, as a heading names it."""
    return f"{function.__module__}.{function.__qualname__}"


def headings_that_name(path: str) -> list[Heading]:
    """The headings that a function or record stands under."""
    return [one for one in RULES if one.names is not None and one.names[1] == path]


def named_on(page: str) -> list[str]:
    """What the headings of a page name, in their order."""
    return [one.names[1] for one in RULES if one.page == page and one.names is not None]


# ---- Headings ----


@pytest.mark.parametrize("heading", HEADINGS, ids=str)
def test_a_heading_names_its_function(heading: Heading) -> None:
    assert NAMES.fullmatch(heading.below) or NAMES_NONE.fullmatch(heading.below), (
        f"{heading}: the line below has to be Function: `module.function`, Record: `module.Class` "
        f"or Function: none (why), and is {heading.below!r}"
    )


@pytest.mark.parametrize("heading", RULES, ids=str)
def test_what_a_heading_names_exists(heading: Heading) -> None:
    assert heading.names is not None
    what, path = heading.names
    found = resolve(path)
    assert found is not None, f"{heading}: there is no {path}"
    if what == "Record":
        assert inspect.isclass(found), f"{heading}: {path} is no record"
        return
    assert callable(found), f"{heading}: {path} is no function"
    assert not inspect.isclass(found), f"{heading}: {path} is a class; write Record:"
    home = getattr(found, "__module__", None)
    assert home is None or path.startswith(f"{home}."), (
        f"{heading}: {path} is defined in {home}; name it there"
    )


def test_no_function_stands_under_two_headings() -> None:
    twice = {
        path: [str(one) for one in under]
        for path in sorted({one.names[1] for one in RULES if one.names})
        if len(under := headings_that_name(path)) > 1
    }
    assert not twice, f"a rule is written once, elsewhere is a reference to it: {twice}"


def test_the_readme_leads_to_every_page() -> None:
    linked = re.findall(r"\]\((\w+\.md)\)", PAGES["README.md"])
    assert sorted({*linked, "README.md"}) == sorted(PAGES), "docs/spec/README.md: reading order"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGES[page])
    missing = [link for link in links if not (SPEC / link).exists()]
    assert not missing, f"docs/spec/{page}: there is no {missing}"


# ---- Tables of the code have their rules ----


@pytest.mark.parametrize("kind", TX_KINDS, ids=lambda kind: kind.name)
def test_a_transaction_kind_has_its_headings(kind: Any) -> None:
    title = f"Kind {kind.tag}: {kind.name}"
    pages = [one.page for one in HEADINGS if one.title == title]
    assert len(pages) == 1, f"a heading {title!r} has to stand on one page, stands on {pages}"
    page = pages[0]
    wanted = [kind.body, kind.check, kind.apply, kind.cost, kind.signatures]
    missing = [
        path_of(one)
        for one in wanted
        if one not in (None, no_signatures) and path_of(one) not in named_on(page)
    ]
    assert not missing, f"docs/spec/{page}: no heading names {missing} of {kind.name}"


def test_the_steps_of_an_epochs_end_stand_in_their_order() -> None:
    steps = [path_of(step) for step in EPOCH_STEPS]
    named = [path for path in named_on("epochs.md") if path in steps]
    assert named == steps, "docs/spec/epochs.md: the steps' headings are not those of EPOCH_STEPS"


@pytest.mark.parametrize("offence", OFFENCES, ids=lambda offence: offence.name)
def test_an_offence_has_its_headings(offence: Any) -> None:
    page = "offences.md"
    evidence = typing.get_type_hints(offence.identify)["evidence"]
    title = f"Evidence of {offence.name}"
    assert [one.title for one in headings_that_name(path_of(evidence))] == [title]
    wanted = [evidence, offence.identify, offence.signatures]
    missing = [path_of(one) for one in wanted if one and path_of(one) not in named_on(page)]
    assert not missing, f"docs/spec/{page}: no heading names {missing} of {offence.name}"


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda one: str(one.__name__))
def test_an_invariant_has_its_heading(invariant: Any) -> None:
    assert path_of(invariant) in named_on("state.md")


def read_rules() -> Iterator[str]:
    """The paths of all functions by which the ledger's modules of rules are used."""
    for module in pkgutil.walk_packages(ledger.__path__, "ledger."):
        if RULE_MODULES.fullmatch(module.name):
            for name, found in vars(importlib.import_module(module.name)).items():
                is_here = getattr(found, "__module__", "") == module.name
                if is_here and inspect.isroutine(inspect.unwrap(found)) and name[0] != "_":
                    yield path_of(found)


RULE_MODULES: Final = re.compile(
    r"ledger\.(rules|epochs|offences|transactions)(\.\w+)?|ledger\.(genesis|inheritance|nodes|transition)"
)
NO_RULE: Final = {
    "ledger.epochs.ending.collect_due": "a queue by time, as far as it is due",
    "ledger.nodes.get_members": "a roster, taken apart",
    "ledger.nodes.get_staked": "a sum",
    "ledger.nodes.get_stakes": "a column",
    "ledger.nodes.new_node": "a record with zeros",
    "ledger.offences.get_offence": "a row of a table",
    "ledger.rules.mt19937_64.tempered_words": "an intermediate result, kept",
    "ledger.rules.quorums.unpack_members": "a roster, taken apart",
    "ledger.rules.swarms.excess_of": "a difference",
    "ledger.transactions.envelope.no_signatures": "nothing",
    "ledger.transactions.orders.get_members_of": "columns",
}
"""Functions of these modules that no text has to describe, and what they are instead."""


def test_every_rule_has_its_heading() -> None:
    without = [path for path in read_rules() if not headings_that_name(path)]
    assert sorted(without) == sorted(NO_RULE), (
        "a rule without a heading in docs/spec, or one too many in NO_RULE"
    )


def read_formats() -> list[Any]:
    """The rows of the table of list formats."""
    table = importlib.import_module("registry.formats").FORMATS
    return list(table.values()) if isinstance(table, Mapping) else list(table)


@pytest.mark.parametrize("row", read_formats(), ids=lambda row: str(row.name))
def test_a_list_format_has_its_headings(row: Any) -> None:
    for function in filter(None, (row.encode, row.decode)):
        assert headings_that_name(path_of(function)), (
            f"no heading in docs/spec names {path_of(function)} of the format {row.name}"
        )


# ---- Records ----


def describe(annotation: Any) -> str:
    """A field's type in the words of the table *Widths*."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, meta = typing.get_args(annotation)
        return with_bounds(inner, meta)
    if typing.get_origin(annotation) is tuple:
        inner = [one for one in typing.get_args(annotation) if one is not ...]
        return f"[{', '.join(describe(one) for one in inner)}]"
    if isinstance(annotation, typing.TypeVar):
        return "body"
    name = (typing.get_origin(annotation) or annotation).__name__
    return str(name)


def with_bounds(inner: Any, meta: msgspec.Meta) -> str:
    """A type that has bounds."""
    if inner is int:
        top = {2**8 - 1: "u8", 2**16 - 1: "u16", 2**32 - 1: "u32", 2**63 - 1: "u63"}
        if meta.ge == meta.le:
            return f"{meta.le}"
        return "u64" if meta.le is None else top.get(int(meta.le), f"{meta.ge} … {meta.le}")
    low, high = meta.min_length, meta.max_length
    bounds = f"≤ {high}" if low is None else f"{high}" if low == high else f"{low} … {high}"
    return f"{describe(inner)} {bounds}"


RECORDS: Final = [
    one
    for one in RULES
    if one.names is not None
    and one.names[0] == "Record"
    and inspect.isclass(resolve(one.names[1]))
    and issubclass(resolve(one.names[1]), Record)
]


def read_records() -> Iterator[type[Record]]:
    """Every record that is signed, sent, proven or kept."""
    yield from (VerdictRow, PenaltyRow, EpochRow, SwarmMove, SwarmRow)
    package = importlib.import_module("ledger.messages")
    for module in pkgutil.walk_packages(package.__path__, "ledger.messages."):
        for found in vars(importlib.import_module(module.name)).values():
            is_here = inspect.isclass(found) and found.__module__ == module.name
            if is_here and issubclass(found, Record):
                yield found


@pytest.mark.parametrize("record", [*read_records()], ids=lambda record: str(record.__name__))
def test_a_record_has_its_heading(record: type[Record]) -> None:
    path = f"{record.__module__}.{record.__qualname__}"
    assert headings_that_name(path), f"no heading in docs/spec names {path}"


@pytest.mark.parametrize("row", TABLES, ids=lambda row: str(row.letter.decode()))
def test_a_table_of_the_state_holds_a_record_that_is_described(row: Any) -> None:
    names = [one.names[1].rpartition(".")[2] for one in RULES if one.names is not None]
    assert row.codec.what in names


@pytest.mark.parametrize("heading", RECORDS, ids=str)
def test_a_records_table_is_its_schema(heading: Heading) -> None:
    assert heading.names is not None
    record = resolve(heading.names[1])
    hints = typing.get_type_hints(record, include_extras=True)
    fields = [(name, describe(hints[name])) for name in record.__struct_fields__]
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", heading.text, re.MULTILINE)
    assert rows == fields, f"{heading}: its table of fields is not that of {heading.names[1]}"


# ---- What is made from the code ----


@pytest.mark.parametrize("page", find_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_made_parts_are_up_to_date(page: Any) -> None:
    text = page.read_text(encoding="utf-8")
    assert fill(text) == text, (
        f"{page.relative_to(ROOT)} is behind the code: run python -m scripts.generate_docs"
    )
    assert text.count("<!-- made:") == len(PART.findall(text)), (
        f"{page.relative_to(ROOT)}: a part has no end, or another one's"
    )


def test_every_made_part_is_shown() -> None:
    shown = {name for page in find_pages() for name in PART.findall(page.read_text("utf-8"))}
    assert shown == set(PARTS), "no page shows these parts"


def test_examples_are_up_to_date() -> None:
    assert EXAMPLES.read_text(encoding="utf-8") == compose_examples(), (
        "tests/vectors/examples.json is behind the code: run python -m scripts.generate_docs, and "
        "mind that other bytes mean another network"
    )


def find_hex(value: Any) -> Iterator[str]:
    """Every string of 16 bytes or more in hexadecimal."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from find_hex(one)
    elif isinstance(value, str) and HEX.fullmatch(value):
        yield value


def test_every_example_is_quoted() -> None:
    quoted = "\n".join(re.findall(r"```text\n(.*?)```", "\n".join(PAGES.values()), re.DOTALL))
    joined = re.sub(r"\s", "", re.sub(r"^\S.*$", "/", quoted, flags=re.MULTILINE)).split("/")
    examples = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    for name, one in examples["signed"].items():
        for part in ("message", "signature"):
            assert one[part] in joined, f"no page quotes the {part} of the example {name!r}"
        assert one["message"].endswith(one["payload"]), name
    for name, one in examples["transactions"].items():
        assert one["bytes"] in joined, f"no page quotes the transaction {name!r}"
    for part in ("genesis", "evidence"):
        missing = [text for text in find_hex(examples[part]) if text not in joined]
        assert not missing, f"no page quotes this of the example of {part}: {missing}"
    missing = [one["state_root"] for one in examples["blocks"] if one["state_root"] not in joined]
    assert not missing, f"no page quotes these roots of the chain of the examples: {missing}"


def test_every_kind_and_tag_has_an_example() -> None:
    examples = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    raws = [bytes.fromhex(one["bytes"]) for one in examples["transactions"].values()]
    shown = {WIRE.decode(raw).kind.name for raw in raws}
    assert {kind.name for kind in TX_KINDS} - shown == {"withdraw", "attest"}
    signed = {one["tag"] for one in examples["signed"].values()}
    signing = {tag.decode() for tag, meaning in read_tags() if not meaning.startswith("Hash:")}
    assert signing - signed == {"waypost list header"}, "lists.md shows that one"
    assert {*examples["evidence"]} == {row.name for row in OFFENCES if row.signatures is not None}


@pytest.mark.parametrize(("raw", "why"), ENCODINGS, ids=[why for _, why in ENCODINGS])
def test_an_encoding_is_what_the_page_says(raw: str, why: str) -> None:
    examples = json.loads(EXAMPLES.read_text(encoding="utf-8"))["encodings"]
    found = {one["bytes"]: one["canonical"] for one in examples}
    assert found[raw.replace(" ", "")] == why.startswith("it is one"), raw


# ---- Lists of checks ----


def test_the_relations_of_parameters_are_those_of_the_page() -> None:
    sentences = [why for _, why in relations(preset("mainnet"))]
    shown = re.findall(r"^\| `\w+`.* [≤<] .*\| (.+) \|$", PAGES["parameters.md"], re.MULTILINE)
    assert shown == sentences, "docs/spec/parameters.md: the relations are not those of the code"


def test_the_checks_of_a_genesis_file_are_as_many_as_on_the_page() -> None:
    genesis = json.loads(EXAMPLES.read_text(encoding="utf-8"))["genesis"]["file"]
    rules = genesis_rules(load_genesis(bytes.fromhex(genesis)))
    shown = re.findall(r"^   - ", PAGES["genesis.md"], re.MULTILINE)
    assert len(shown) == len(rules), "docs/spec/genesis.md: the checks are not those of the code"
