"""`waypost signer`: watermarks, the newest thing that each key of a home has signed.

status    what they are
export    a backup of them
import    take over what a backup knows and the home does not

Keys are in no backup of watermarks, and watermarks in none of keys. Status and export only read,
also while a service runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.errors import WaypostError
from registry.cli.arguments import HomeOption
from registry.cli.output import Output, OutputOption, Table, emit, refusals, warn
from registry.home import GENESIS, WATERMARKS

if TYPE_CHECKING:
    from registry.watermarks import Mark

app = typer.Typer(no_args_is_help=True)


class NothingSigned(WaypostError):
    """A home has no watermarks."""


@app.command()
def status(home: HomeOption = None, output: OutputOption = Output.TEXT) -> None:
    """Show the newest thing that each key signed, and where that is noted."""
    from registry.watermarks import list_watermarks

    with refusals():
        folder, network = _open(home)
        rows = [
            describe(held.mark) | {"restored": bool(held.restored), "file": str(path)}
            for path, held in list_watermarks(folder, network)
        ]
        columns = ("role", "key", "number", "hash", "state", "file")
        shown = [
            (*_cells(row), "restored" if row["restored"] else "certain", row["file"])
            for row in rows
        ]
        emit(rows, output, Table(columns, shown) if rows else _format_none(folder))


@app.command("export")
def export_(
    file: Annotated[Path, typer.Argument(help="The backup to write.", show_default=False)],
    home: HomeOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write a backup of all watermarks, of mode 600, also while the node runs.

    An older backup in FILE is replaced; one that knows more than this home is not.
    """
    from registry.watermarks import make_backup, write_backup

    with refusals():
        folder, network = _open(home)
        backup = make_backup(folder, network)
        if not backup.marks:
            raise NothingSigned(_format_none(folder))
        write_backup(file, backup)
        rows = [describe(mark) for mark in backup.marks]
        emit(rows, output, Table(("role", "key", "number", "hash"), list(map(_cells, rows))))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="The backup to read.", show_default=False)],
    home: HomeOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Raise watermarks to what a backup knows; none is ever lowered. The node must not run.

    A key may have signed more since the backup was made. What is raised therefore counts as
    restored: an attestor waits until it is certain not to contradict itself, a producer has to be
    started with --refill or --new-watermark.
    """
    from registry.watermarks import Watermarks, import_backup, read_backup

    with refusals():
        folder, network = _open(home)
        backup = read_backup(file, network)
        watermarks = Watermarks(folder, network)
        try:
            imported = import_backup(watermarks, backup)
        finally:
            watermarks.close()
        rows = [describe(mark) | {"outcome": outcome} for mark, outcome in imported]
        if any(row["outcome"] == "raised" for row in rows):
            warn("restored: what a key signed after this backup was made is not known here")
        columns = ("role", "key", "number", "hash", "outcome")
        shown = [(*_cells(row), row["outcome"]) for row in rows]
        emit(rows, output, Table(columns, shown))


def describe(mark: "Mark") -> dict[str, Any]:
    """Return what a mark says."""
    return {
        "role": mark.role.decode(),
        "key": mark.key.hex(),
        "number": mark.number,
        "hash": mark.hash.hex(),
    }


def _cells(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return row["role"], row["key"], str(row["number"]), row["hash"]


def _format_none(folder: Path) -> str:
    return f"there are no watermarks in {folder}: this home has signed nothing yet, or lost them"


def _open(home: Path | None) -> tuple[Path, bytes]:
    """Return the folder of a home's watermarks, and the hash of its genesis file."""
    from ledger.crypto import sha256
    from registry.home import default_home

    folder = home or default_home()
    return folder / WATERMARKS, sha256((folder / GENESIS).read_bytes())
