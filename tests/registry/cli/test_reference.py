"""`docs/cli.md` says what the help says. `WAYPOST_REGENERATE=1` writes it anew."""

import os
from pathlib import Path

from registry.cli import GROUPS
from registry.cli.reference import compose

PAGE = Path(__file__).resolve().parents[3] / "docs" / "cli.md"


def test_the_page_is_that_of_the_help() -> None:
    text = compose()
    if os.environ.get("WAYPOST_REGENERATE") == "1":
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text, "run python -m registry.cli.reference"


def test_every_group_has_its_section() -> None:
    text = compose()
    for group in GROUPS:
        assert f"\n## waypost {group.name}\n" in text
        assert f"[`waypost {group.name}`](#waypost-{group.name})" in text
