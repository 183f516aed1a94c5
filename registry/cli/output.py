"""What commands print, the same way everywhere.

- Results go to stdout, as text or as JSON; errors and warnings go to stderr, always as text.
- An error is one line, `error: <code>: <what to do>`, and indented lines with more; exit code 1.
  What is wrong with the command line itself is said by typer, with exit code 2.
- `rich` draws tables on a terminal only, and is loaded only then. Elsewhere columns are parted by
  two spaces and nothing is cut off, so that other programs can read them.
- What came from outside is shown with its control characters spelt out.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple, NoReturn, TypeAlias

import typer

from ledger.errors import WaypostError

EXIT_REFUSED: Final = 1


class Output(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"


OutputOption: TypeAlias = Annotated[
    Output, typer.Option("--output", "-o", help="Print text for people or JSON for programs.")
]
"""The type of each command's parameter `output`, whose default is `Output.TEXT`."""


class Table(NamedTuple):
    """Rows of text under headings."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Each as long as `columns`."""
    caption: str = ""
    """A line below it."""


Text: TypeAlias = str | Table


def emit(value: dict[str, Any] | list[Any], output: str, text: Text | Callable[[], Text]) -> None:
    """Print a result: `value` as JSON, or `text`, which may be made when it is needed.

    `value` holds what JSON has, with amounts and swarm ids as decimal strings.
    """
    if output == Output.JSON:
        print(json.dumps(value, indent=2))
        return
    shown = text() if callable(text) else text
    if isinstance(shown, str):
        print(printable(shown))
    elif sys.stdout.isatty():
        _print_rich(shown)
    else:
        print(format_table(shown))


def align(facts: Sequence[tuple[str, str]]) -> str:
    """Return one line for each name and value, the values below each other."""
    width = max((len(name) for name, _ in facts), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}".rstrip() for name, value in facts)


def fail(error: Exception) -> NoReturn:
    """Print a refusal, or another error that has a `code` and a `text`, and exit with 1.

    One without a code is named by its type: `StoreInUse` becomes `store_in_use`.
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
    _print_error(getattr(error, "code", name), getattr(error, "text", str(error)))
    for note in getattr(error, "__notes__", ()):
        print(printable(f"  {note}"), file=sys.stderr)
    raise typer.Exit(EXIT_REFUSED)


def warn(text: str) -> None:
    """Print a warning."""
    print(printable(f"warning: {text}"), file=sys.stderr)


@contextmanager
def refusals() -> Iterator[None]:
    """Hand the errors that are expected inside to `fail`; the body of a command stands in it.

    What is not expected gets through with its traceback.
    """
    try:
        yield
    except WaypostError as error:
        fail(error)
    except BrokenPipeError:
        raise  # whoever read our output has seen enough; typer ends quietly
    except OSError as error:
        what = error.strerror or str(error)
        _print_error("io", f"{error.filename}: {what}" if error.filename else what)
        raise typer.Exit(EXIT_REFUSED) from None


def printable(text: str) -> str:
    """Return a text whose control characters, but for newlines, are spelt out."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text
    )


def format_table(table: Table) -> str:
    """Return a table as lines with columns of equal width, two spaces between them."""
    rows = [[printable(cell) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, printable(table.caption)] if table.caption else lines)


def _print_error(code: str, text: str) -> None:
    print(printable(f"error: {code}: {text}"), file=sys.stderr)


def _print_rich(table: Table) -> None:
    # Imported here: it takes longer than most commands, and only a terminal shows what it does.
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text as RichText

    # Without `RichText`, brackets in a cell would be markup.
    caption = RichText(printable(table.caption)) if table.caption else None
    drawn = RichTable(box=None, caption=caption, caption_justify="left", header_style="bold")
    for heading in table.columns:
        drawn.add_column(RichText(heading), overflow="fold")
    for row in table.rows:
        drawn.add_row(*(RichText(printable(cell)) for cell in row))
    Console().print(drawn)
