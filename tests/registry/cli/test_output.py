"""What commands print: text on a terminal and elsewhere, JSON, errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ledger.errors import Refusal, StoreInUse
from registry.cli.output import (
    Output,
    Table,
    align,
    emit,
    fail,
    format_table,
    printable,
    refusals,
    warn,
)

ROOT = Path(__file__).resolve().parents[3]
TABLE = Table(("name", "coins"), (("alice", "5"), ("bob", "1000000")), "2 of 2")
HOSTILE = "\x1b[2Jgone\r[bold]\u202e"


def not_called() -> str:
    raise AssertionError("text is not made for JSON")


def test_json_is_the_value(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"a": "1", "b": [None, 2]}, Output.JSON, not_called)
    assert json.loads(capsys.readouterr().out) == {"a": "1", "b": [None, 2]}


def test_text_is_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    emit({}, Output.TEXT, "as it is")
    emit({}, "text", lambda: "made late")
    emit([], Output.TEXT, TABLE)
    assert capsys.readouterr().out == (
        "as it is\nmade late\nname   coins\nalice  5\nbob    1000000\n2 of 2\n"
    )


def test_what_came_from_outside_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(HOSTILE) == "\\x1b[2Jgone\\r[bold]\\u202e"
    emit({}, Output.TEXT, HOSTILE)
    emit({}, Output.TEXT, Table(("a",), ((HOSTILE,),), HOSTILE))
    warn(HOSTILE)
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert printed.err == "warning: \\x1b[2Jgone\\r[bold]\\u202e\n"


def test_tables_without_rows_and_facts_without_values() -> None:
    assert format_table(Table(("a", "bc"), ())) == "a  bc"
    assert align([("epoch", "5"), ("", "more"), ("signed by", "3")]) == (
        "epoch      5\n           more\nsigned by  3"
    )
    assert align([]) == ""


def test_a_refusal_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    refusal = Refusal("roll_back", epoch=1, newest=2)
    refusal.add_note("a note")
    with pytest.raises(typer.Exit) as caught:
        fail(refusal)
    assert caught.value.exit_code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    first, note = printed.err.splitlines()
    assert first == "error: roll_back: epoch 1 is older than the epoch 2 held: ask another source"
    assert note == "  a note"


ERRORS: dict[str, tuple[Exception, str]] = {
    "a refusal": (Refusal("list_missing"), "error: list_missing: no list is verified yet"),
    "a fault": (StoreInUse("/x"), "error: store_in_use: the store /x is in use"),
    "a file": (FileNotFoundError(2, "No such file", "/x"), "error: io: /x: No such file"),
    "a full disk": (OSError("disk full"), "error: io: disk full"),
}


@pytest.mark.parametrize(("error", "line"), ERRORS.values(), ids=ERRORS.keys())
def test_errors_that_are_expected(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught, refusals():
        raise error
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.parametrize("error", [KeyError("x"), BrokenPipeError()])
def test_errors_that_are_not(error: Exception) -> None:
    with pytest.raises(type(error)), refusals():
        raise error


CODE = """
import sys
from registry.cli.output import Table, emit
emit({}, "text", Table(("name", "value"), (("[red]a[/red]", "\\x1b[2J"),), "[b]below[/b]"))
sys.stderr.write(str("rich" in sys.modules))
"""


def test_rich_is_used_on_a_terminal_only() -> None:
    command = [sys.executable, "-c", CODE]
    plain = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert plain.stderr == "False"
    assert plain.stdout == "name          value\n[red]a[/red]  \\x1b[2J\n[b]below[/b]\n"

    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm", "NO_COLOR": "1"}
    drawn = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=theirs, stderr=subprocess.PIPE, check=True
    )
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert drawn.stderr == b"True"
    for text in ("[red]a[/red]", "\\x1b[2J", "[b]below[/b]"):
        assert text in shown
