"""The table of groups, the help of every command, and how the program ends."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from ledger.errors import Refusal, WaypostError
from registry import cli
from registry.cli import GROUPS, Group, load
from tests.registry.cli.driver import call


def every_command() -> Iterator[tuple[str, ...]]:
    """The words of every command."""
    for group in GROUPS:
        for words, _ in below(load(group), (group.name,)):
            yield words


def below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The words of a command and of all below it, and whether there is none below."""
    is_group = isinstance(command, TyperGroup)
    yield words, not is_group
    if is_group:
        for name, inner in command.commands.items():
            yield from below(inner, (*words, name))


COMMANDS = list(every_command())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_command_has_help(words: tuple[str, ...]) -> None:
    text = call(*words, "--help").stdout
    assert text.startswith(f"Usage: waypost {' '.join(words)} ")
    assert len(text.splitlines()[2].strip()) > 10


def leaves() -> Iterator[tuple[str, ...]]:
    """The commands that end with a result."""
    for group in GROUPS:
        if group.name not in ("run", "devnet"):
            for words, is_leaf in below(load(group), (group.name,)):
                if is_leaf:
                    yield words


@pytest.mark.parametrize("words", list(leaves()), ids=" ".join)
def test_each_command_prints_json_if_asked_to(words: tuple[str, ...]) -> None:
    assert "-o, --output <text|json>" in call(*words, "--help").stdout


def test_the_help_names_all_groups() -> None:
    text = call("--help").stdout
    for group in GROUPS:
        assert f"  {group.name} " in text
        assert group.help in text


def test_nothing_to_do_shows_the_help() -> None:
    assert "Commands:" in call(code=2).output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nod"], "Did you mean 'node'?"),
        (["node", "statsu"], "Did you mean 'status'?"),
        (["--colour"], "No such option"),
        (["node", "status"], "Missing argument"),
        (["node", "status", "wpn1x"], "this is no address"),
        (["keys", "new", "f", "-o", "yaml"], "not one of 'text', 'json'"),
    ],
)
def test_a_wrong_command_line_ends_with_2(words: list[str], says: str) -> None:
    result = call(*words, code=2)
    assert says in result.stderr
    assert result.stdout == ""


def test_version() -> None:
    assert call("--version").stdout.startswith("waypost")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (
            Refusal("amount_zero"),
            1,
            "error: amount_zero: the amount is zero: send one atomic unit at least\n",
        ),
        (WaypostError("it broke"), 1, "error: waypost_error: it broke\n"),
        (PermissionError(13, "Permission denied", "/f"), 1, "error: io: /f: Permission denied\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_command_lets_through(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, says: str
) -> None:
    app = typer.Typer()

    @app.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(cli, "GROUPS", (Group("broken", "registry.cli.broken", "Breaks."),))
    monkeypatch.setattr(cli, "import_module", lambda _: type("Module", (), {"app": app}))
    assert call("broken", code=code).stderr == says


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()

    @app.command()
    def broken() -> None:
        raise KeyError("bug")

    monkeypatch.setattr(cli, "GROUPS", (Group("broken", "registry.cli.broken", "Breaks."),))
    monkeypatch.setattr(cli, "import_module", lambda _: type("Module", (), {"app": app}))
    with pytest.raises(AssertionError, match="bug"):
        call("broken")
