"""`docs/configuration.md` has every setting: test_spec.py holds its tables, this one its files."""

import os
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from registry.agent.settings import load_settings as load_agent_settings
from registry.settings import load_settings
from registry.warnings.settings import load_warn_settings
from scripts.configuration import PROGRAMS, Program, Undescribed, describe
from scripts.generate_docs import ROOT

PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
LOADERS = {
    "config.toml": load_settings,
    "agent.toml": load_agent_settings,
    "warn.toml": load_warn_settings,
}
EXAMPLES = dict(re.findall(r"^```toml\n# (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", LOADERS)
def test_the_file_of_the_page_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for variable in os.environ:
        if variable.startswith("WAYPOST_"):
            monkeypatch.delenv(variable)
    (tmp_path / name).write_text(EXAMPLES[name], encoding="utf-8")
    settings = LOADERS[name](tmp_path, {})
    given = set(re.findall(r"^(\w+) =", EXAMPLES[name].partition("\n[")[0], re.MULTILINE))
    assert given <= settings.model_fields_set


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.command)
def test_every_setting_has_its_row(program: Program) -> None:
    section = PAGE.partition(f"\n## waypost {program.command}\n")[2].partition("\n## ")[0]
    for name in program.settings.model_fields.keys() - {"home"}:
        assert section.count(f"\n| `{name}` |") == 1


class Silent(BaseModel):
    port: int = 1


class Strange(BaseModel):
    port: complex = 1j
    """A text."""


@pytest.mark.parametrize("kind", [Silent, Strange])
def test_what_says_too_little_of_itself_is_refused(kind: type[BaseModel]) -> None:
    with pytest.raises(Undescribed):
        list(describe(kind))
