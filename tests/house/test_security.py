"""What SECURITY.md says is shown somewhere: its pages and tests exist, and no key is left out."""

import ast
import re
from typing import Final

import pytest

from registry.keystore import ROLE_NUMBERS
from scripts.generate_docs import ROOT

PAGE: Final = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
LINKS: Final = sorted(set(re.findall(r"\]\(([^)]+)\)", PAGE)))
TESTS: Final = sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE)))


def read_section(title: str) -> str:
    """The text under a heading, up to the next one."""
    return re.split(r"^#+ .*$", PAGE.partition(f"\n### {title}\n")[2], flags=re.MULTILINE)[0]


def read_rows(title: str) -> list[list[str]]:
    """The cells of each row of the table under a heading, its head left out."""
    lines = [line for line in read_section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def anchors_of(text: str) -> set[str]:
    """What the headings of a page are linked by."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("link", LINKS)
def test_a_page_exists_with_its_heading(link: str) -> None:
    path, _, anchor = link.partition("#")
    assert (ROOT / path).exists()
    assert not anchor or anchor in anchors_of((ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TESTS)
def test_a_test_exists(name: str) -> None:
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found = {
        one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert function in found if function else any(one.startswith("test_") for one in found)


def test_each_role_of_a_key_has_its_row() -> None:
    assert {row[0].strip("`") for row in read_rows("Keys")} == set(ROLE_NUMBERS)


@pytest.mark.parametrize(("title", "width"), [("Keys", 6), ("Parties", 4)])
def test_a_row_says_everything_and_where_it_is_shown(title: str, width: int) -> None:
    rows = read_rows(title)
    assert len(rows) >= len(ROLE_NUMBERS)
    for row in rows:
        assert len(row) == width
        assert all(row)
        shown = row[-1] != "–"
        assert shown or row[0] == "who hands out program and genesis file"
