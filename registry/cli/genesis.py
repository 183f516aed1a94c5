"""`waypost genesis`: make a genesis file, and check one.

new      from a preset, the key files of producer and attestors, and the first accounts
check    every rule of the file, its hash, and what is in it
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ledger.errors import WaypostError
from registry.cli.amounts import format_amount, format_span, format_time
from registry.cli.arguments import (
    AMOUNT,
    KEY_FILE,
    Seat,
    Setting,
    Share,
    parse_amount,
    parse_seat,
    parse_setting,
    parse_share,
)
from registry.cli.output import (
    Output,
    OutputOption,
    Preset,
    Table,
    align,
    emit,
    format_table,
    refusals,
)

if TYPE_CHECKING:
    from ledger.messages.genesis import Genesis
    from ledger.params import Parameter

app = typer.Typer(no_args_is_help=True)


class FileExists(WaypostError):
    """A file that would be written is there already."""


@app.command()
def new(
    name: Annotated[str, typer.Option(help="Name of the network: a-z, 0-9 and -.")],
    producer: Annotated[Path, typer.Option(metavar=KEY_FILE, help="Key file of the producer.")],
    attestor: Annotated[
        list[Seat],
        typer.Option(
            parser=parse_seat,
            metavar=f"{KEY_FILE}[:WEIGHT]",
            help="Key file of an attestor, and its weight if that is not 1; one for each.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    preset: Annotated[Preset, typer.Option(help="The parameters to start from.")],
    account: Annotated[
        list[Share] | None,
        typer.Option(
            parser=parse_share,
            metavar="ADDRESS=AMOUNT",
            help="An account that begins with coins; one for each.",
        ),
    ] = None,
    pool: Annotated[
        int, typer.Option(parser=parse_amount, metavar=AMOUNT, help="Coins in the reward pool.")
    ] = 0,
    changes: Annotated[
        list[Setting] | None,
        typer.Option(
            "--set",
            parser=parse_setting,
            metavar="PARAMETER=VALUE",
            help="A parameter that is not the preset's, in its own unit; one for each.",
        ),
    ] = None,
    start_ms: Annotated[
        int | None,
        typer.Option(min=0, help="Unix milliseconds of the start; now by default."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a genesis file: everything that people have to agree on."""
