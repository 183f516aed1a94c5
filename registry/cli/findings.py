"""What checks find: one line each, and what to do about it. `doctor` and the wizard share it."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple


class Level(StrEnum):
    """How bad something is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """What a check found."""

    check: str
    """Its name in the table of checks."""
    level: Level
    text: str
    todo: str = ""
    """What to do; empty where all is well."""


def ok(check: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Level.OK, text)


def doubt(check: str, text: str, todo: str) -> Finding:
    """Return what somebody should know, and that does not stop anything."""
    return Finding(check, Level.WARN, text, todo)


def bad(check: str, text: str, todo: str) -> Finding:
    """Return what has to be mended first."""
    return Finding(check, Level.FAIL, text, todo)


def is_bad(findings: Iterable[Finding]) -> bool:
    """Whether something has to be mended first."""
    return any(finding.level is Level.FAIL for finding in findings)


def describe_findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return findings for programs."""
    return [finding._asdict() | {"level": str(finding.level)} for finding in findings]


def format_findings(findings: Sequence[Finding]) -> str:
    """Return findings for people: what to do stands below what is wrong."""
    width = max((len(finding.check) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:4}  {finding.check.ljust(width)}  {finding.text}")
        if finding.todo:
            lines.append(f"{'':4}  {'':{width}}  -> {finding.todo}")
    return "\n".join(lines)
