"""The lock holds what pyproject.toml asks for, by hash, and says nothing of where it came from."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.check_wheels import read_lock

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WANTED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
LOCK = list(read_lock(ROOT / "requirements.lock"))


@pytest.mark.parametrize("text", WANTED, ids=lambda text: Requirement(text).name)
def test_each_dependency_is_locked_within_its_bounds(text: str) -> None:
    wanted = Requirement(text)
    name = canonicalize_name(wanted.name)
    locked = [r for r, _ in LOCK if canonicalize_name(r.name) == name]
    assert locked, f"run scripts/lock: {name} is missing"
    for requirement in locked:
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        assert wanted.specifier.contains(pin.version), "run scripts/lock"


def test_every_line_has_hashes() -> None:
    assert [r.name for r, text in LOCK if "--hash=sha256:" not in text] == []


@pytest.mark.parametrize("trace", ["://", "--index", "--find-links", "file:"])
def test_no_address_is_named(trace: str) -> None:
    assert trace not in (ROOT / "requirements.lock").read_text(encoding="utf-8")
