"""`waypost completion`: what a real bash completes, and that it costs no more than it has to."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from registry.cli import COMPLETION, GROUPS
from tests.registry.cli.driver import call, call_json
from tests.registry.cli.person import ROOT, bare_environment
from tests.registry.cli.test_startup import HEAVY

TYPED: Final = """
set -e
eval "$(waypost completion bash)"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
complete -p waypost | grep -q -- '-o default -F _waypost_completion waypost'
_waypost_completion waypost "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""What bash does when somebody presses the tabulator behind the words that it is given."""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder for the path, with the program in it."""
    path = tmp_path / "waypost"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m registry "$@"\n')
    path.chmod(0o755)
    return tmp_path


def press_tab(program: Path, *typed: str) -> list[str]:
    """What bash offers behind some words, the last of which may be a part of one."""
    environment = bare_environment() | {"PATH": f"{program}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", TYPED, "bash", "waypost", *typed],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=ROOT,
    )
    assert done.stderr == ""
    return done.stdout.split()


OFFERED: Final[dict[str, tuple[Sequence[str], set[str]]]] = {
    "groups": ([""], {group.name for group in GROUPS}),
    "a part of a group": (["no"], {"node"}),
    "commands of a group": (["rewards", ""], {"show", "claim"}),
    "a command below another": (["tx", "build", "w"], {"withdraw"}),
    "options": (["node", "list", "--o"], {"--open", "--operator", "--output"}),
    "choices": (["node", "list", "--state", "a"], {"awaiting", "active"}),
    "choices of a format": (["node", "list", "-o", ""], {"text", "json"}),
    "choices of an argument": (["completion", ""], {"bash", "zsh", "fish"}),
    # then bash completes the names of files, as it was told to
    "nothing where a file is wanted": (["keys", "show", "x"], set()),
}


@pytest.mark.parametrize(("typed", "offered"), OFFERED.values(), ids=OFFERED.keys())
def test_what_bash_offers(program: Path, typed: Sequence[str], offered: set[str]) -> None:
    assert set(press_tab(program, *typed)) == offered


PROGRAM: Final = """
import json, sys
from registry.cli import main
try:
    main()
except SystemExit:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(("typed", "groups"), [("no", set()), ("node list --st", {"node"})])
def test_it_loads_what_is_meant_and_nothing_else(typed: str, groups: set[str]) -> None:
    words = ["waypost", *typed.split(" ")]
    asking = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env=bare_environment() | asking | {COMPLETION: "complete_bash"},
        cwd=ROOT,
    )
    assert done.stdout.split()
    modules = set(json.loads(done.stderr.splitlines()[-1]))
    assert not modules & (HEAVY | {"httpx2", "nacl", "asyncio", "structlog"})
    loaded = {group.name for group in GROUPS if group.module in modules}
    assert loaded == groups


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str) -> None:
    text = call("completion", shell).stdout
    first, *rest = text.splitlines()
    assert first.startswith("#")
    assert f"waypost completion {shell}" in first
    assert any(COMPLETION in line and f"complete_{shell}" in line for line in rest)
    assert call_json("completion", shell) == {"shell": shell, "script": text.rstrip("\n")}
    found = shutil.which(shell)
    if found is not None:  # a machine need not have them all
        check = subprocess.run([found, "-n"], input=text, capture_output=True, text=True)
        assert (check.returncode, check.stderr) == (0, "")


@pytest.mark.parametrize(
    ("shell", "more"), [("zsh", {}), ("fish", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"})]
)
def test_what_the_other_shells_are_answered(shell: str, more: dict[str, str]) -> None:
    """Their scripts ask like this; the shells themselves need not be on this machine."""
    asking = {COMPLETION: f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "waypost node list --sort s"}
    done = subprocess.run(
        [sys.executable, "-m", "registry"],
        capture_output=True,
        text=True,
        check=True,
        env=bare_environment() | asking | more,
        cwd=ROOT,
    )
    assert ("stake" in done.stdout, "since" in done.stdout) == (True, True)
    assert "minimum" not in done.stdout


def test_another_shell_is_none() -> None:
    assert "not one of 'bash', 'zsh', 'fish'" in call("completion", "tcsh", code=2).stderr


def test_nothing_is_installed_behind_anybodys_back() -> None:
    assert "install-completion" not in call("--help").stdout
