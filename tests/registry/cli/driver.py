"""Calling the command line in this process."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from registry.cli import app


def call(*arguments: object, code: int = 0, given: str | bytes | None = None) -> Result:
    """Run a command that has to end with this exit code; `given` is its standard input."""
    texts = [str(argument) for argument in arguments]
    result = CliRunner().invoke(app, texts, prog_name="waypost", input=given)
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def call_json(*arguments: object, given: str | bytes | None = None) -> Any:
    """Run a command with `-o json` and return what it prints."""
    return json.loads(call(*arguments, "-o", "json", given=given).stdout)


def error_of(result: Result) -> str:
    """The code of the one line of error that a command printed."""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line.split(": ")[1]
