"""`docs/cli.md`, made from the help of every command.

python -m registry.cli.reference > docs/cli.md
"""

from collections.abc import Iterator
from typing import Any, Final

import typer
from typer.core import TyperGroup

from registry.cli import GROUPS, load

WIDTH: Final = 1_000
"""Of a usage line: wider than any."""

INTRODUCTION: Final = """\
# The command line

Made from the help of the commands by `python -m registry.cli.reference`; a test holds it equal.

- Results go to the standard output: as text, or with `-o json` as JSON, where amounts are decimal
  strings of atomic units. Errors and warnings go to the standard error.
- Exit codes: 0 done; 1 refused or failed, with one line `error: <code>: <what to do>`; 2 the
  command line itself is wrong; 130 interrupted.
- `AMOUNT` is in coins with up to nine decimals (`12`, `0.5`), or in atomic units with a `u` behind
  it (`500u`). `ADDRESS` is an account (`wpa1…`) or a node (`wpn1…`), or 64 hex digits.
- `KEYFILE` is a file that `waypost keys new` made. A command that opens one asks for its passphrase
  in the terminal, up to three times. `--passphrase-file PATH` takes the first line of a file
  instead, which only you may be able to read, and `--passphrase-fd N` that of an open descriptor;
  it then serves all key files of the command. Nothing takes a passphrase as an argument or from the
  environment, where others can read it.
- Commands that ask a service take `--url`, else `WAYPOST_URL`, else `http://127.0.0.1:8420`.
"""


def compose() -> str:
    """Return the page."""
    return "\n".join([INTRODUCTION, *_overview(), *_sections()])


def _overview() -> Iterator[str]:
    yield "| command | what it does |\n|---|---|"
    for group in GROUPS:
        yield f"| [`waypost {group.name}`](#waypost-{group.name}) | {group.help} |"
    yield ""


def _sections() -> Iterator[str]:
    top = typer.Context(TyperGroup(name="waypost"), info_name="waypost")
    for group in GROUPS:
        yield from _describe(load(group), group.name, top, depth=2)


def _describe(command: Any, name: str, parent: Any, depth: int) -> Iterator[str]:
    """Describe a command and those below it."""
    context = typer.Context(command, info_name=name, parent=parent, terminal_width=WIDTH)
    yield f"{'#' * depth} {context.command_path}\n"
    yield f"{command.help}\n"
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage}\n```\n"
    rows = [
        row for parameter in command.params for row in [parameter.get_help_record(context)] if row
    ]
    if rows:
        yield "\n".join(f"- `{what}`: {_sentence(meaning)}" for what, meaning in rows) + "\n"
    if isinstance(command, TyperGroup):
        for below in command.list_commands(context):
            yield from _describe(command.get_command(context, below), below, context, depth + 1)


def _sentence(meaning: str) -> str:
    return " ".join(meaning.split())


if __name__ == "__main__":
    print(compose(), end="")
