"""`waypost genesis`: make a genesis file, and check one.

new      from a preset, the key files of producer and attestors, and the first accounts
check    every rule of the file, its hash, and what is in it
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ledger.errors import WaypostError
from registry.cli.amounts import format_amount, format_share, format_span, format_time
from registry.cli.arguments import (
    AMOUNT,
    KEY_FILE,
    NAME,
    Preset,
    Seat,
    Setting,
    Share,
    parse_amount,
    parse_network_name,
    parse_seat,
    parse_setting,
    parse_share,
)
from registry.cli.output import Output, OutputOption, Table, align, emit, format_table, refusals

if TYPE_CHECKING:
    from ledger.messages.genesis import Genesis
    from ledger.params import Parameter

LATEST_MS: Final = 2**53
"""Far beyond the calendar, and well within what a block's time can be."""

CHANGES: Final = typer.Option(
    "--set",
    parser=parse_setting,
    metavar="PARAMETER=VALUE",
    help="A parameter in its own unit, instead of the preset's; may be repeated.",
)
START: Final = typer.Option(
    "--start-ms",
    min=0,
    max=LATEST_MS,
    metavar="MS",
    help="Unix milliseconds of the start; now by default.",
)

app = typer.Typer(no_args_is_help=True)


class FileExists(WaypostError):
    """A file that would be written is there already."""


@app.command()
def new(
    name: Annotated[
        str, typer.Option(parser=parse_network_name, metavar=NAME, help="Name of the network.")
    ],
    preset: Annotated[Preset, typer.Option(help="The parameters to start from.")],
    producer: Annotated[
        Path, typer.Option(metavar=KEY_FILE, help="Key file of who orders the blocks.")
    ],
    attestor: Annotated[
        list[Seat],
        typer.Option(
            parser=parse_seat,
            metavar=f"{KEY_FILE}[:WEIGHT]",
            help="Key file of who signs lists, with a weight if not 1; may be repeated.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    account: Annotated[
        list[Share] | None,
        typer.Option(
            parser=parse_share,
            metavar="ADDRESS=AMOUNT",
            help="An account that begins with coins; may be repeated.",
        ),
    ] = None,
    pool: Annotated[
        int | None,
        typer.Option(parser=parse_amount, metavar=AMOUNT, help="What the reward pool begins with."),
    ] = None,
    changes: Annotated[list[Setting] | None, CHANGES] = None,
    start_ms: Annotated[int | None, START] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a genesis file: all that people have to agree on.

    With the same `--start-ms` and the same other inputs it is the same file.
    """
    from ledger.messages.lists import MAX_ATTESTORS
    from registry.files import write_durably
    from registry.founding import make_genesis
    from registry.keystore import load_seed

    if len(attestor) > MAX_ATTESTORS:
        raise typer.BadParameter(f"--attestor: there are at most {MAX_ATTESTORS}")
    with refusals():
        if out.exists():
            raise FileExists(f"{out} exists already: a genesis file is never overwritten")
        raw = make_genesis(
            name,
            preset,
            dict(changes or ()),
            load_seed(producer),
            [(load_seed(seat.path), seat.weight) for seat in attestor],
            [(share.account, share.amount) for share in account or ()],
            pool or 0,
            start_ms,
        )
        write_durably(out, raw)
        emit(describe(raw) | {"file": str(out)}, output, lambda: _format_summary(raw, out))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The genesis file.", show_default=False)],
    output: OutputOption = Output.TEXT,
) -> None:
    """Check every rule of a genesis file, and show its hash and what is in it."""
    with refusals():
        raw = file.read_bytes()
        facts = describe(raw) | {"file": str(file)}
        emit(facts, output, lambda: f"{_format_summary(raw, file)}\n\n{_format_parameters(raw)}")


# --- showing ------------------------------------------------------------------------------------


def describe(raw: bytes) -> dict[str, Any]:
    """Return what a genesis file says, for programs. Refuses like `load_genesis`."""
    from ledger.crypto import sha256
    from ledger.genesis import load_genesis
    from ledger.params import PARAMETERS
    from registry.addresses import encode_account

    genesis = load_genesis(raw)
    balances = [(encode_account(row.account), row.balance) for row in genesis.accounts]
    return {
        "name": genesis.name.decode(),
        "hash": sha256(raw).hex(),
        "start_ms": genesis.start_ms,
        "engine": "solo",
        "producer": genesis.producer.hex(),
        "policy": "fixed",
        "seed": genesis.seed.hex(),
        "supply": str(_supply(genesis)),
        "pool": str(genesis.pool),
        "attestors": [
            {"list_key": seat.list_key.hex(), "weight": seat.weight, "tip": seat.tip.hex()}
            for seat in genesis.attestors
        ],
        "single_signer": _is_single_signer(genesis),
        "accounts": [{"account": account, "balance": str(units)} for account, units in balances],
        "parameters": {
            row.name: {"value": str(value), "unit": row.unit}
            for row, value in zip(PARAMETERS, genesis.params, strict=True)
        },
        "differs_from_preset": dict(zip(("preset", "in"), _nearest_preset(genesis), strict=True)),
    }


def _supply(genesis: "Genesis") -> int:
    return genesis.pool + sum(row.balance for row in genesis.accounts)


def _is_single_signer(genesis: "Genesis") -> bool:
    from ledger.messages.lists import has_single_signer

    return has_single_signer([seat.weight for seat in genesis.attestors])


def _nearest_preset(genesis: "Genesis") -> tuple[str, list[str]]:
    """Return the preset that has most values in common, and the parameters that differ."""
    from ledger.params import PARAMETERS, PRESETS

    differing = [
        [
            row.name
            for row, value in zip(PARAMETERS, genesis.params, strict=True)
            if row.presets[column] != value
        ]
        for column in range(len(PRESETS))
    ]
    nearest = min(range(len(PRESETS)), key=lambda column: len(differing[column]))
    return PRESETS[nearest], differing[nearest]


def _format_summary(raw: bytes, file: Path) -> str:
    from ledger.crypto import sha256
    from ledger.messages.genesis import GENESIS

    genesis: Genesis = GENESIS.decode(raw)
    preset_name, differing = _nearest_preset(genesis)
    but = f" but for {', '.join(differing)}" if differing else ""
    weights = ", ".join(str(seat.weight) for seat in genesis.attestors)
    single = "; SINGLE SIGNER: one of them alone makes a list final"
    return align(
        [
            ("genesis", str(file)),
            ("hash", sha256(raw).hex()),
            ("network", genesis.name.decode()),
            ("start", format_time(genesis.start_ms)),
            ("engine", f"solo, producer {genesis.producer.hex()}"),
            (
                "attestors",
                f"{len(genesis.attestors)} of weight {weights}"
                + (single if _is_single_signer(genesis) else ""),
            ),
            ("accounts", str(len(genesis.accounts))),
            ("supply", f"{format_amount(_supply(genesis))}, reward pool included"),
            ("pool", format_amount(genesis.pool)),
            ("parameters", f"those of the preset {preset_name}{but}"),
        ]
    )


def _format_parameters(raw: bytes) -> str:
    from ledger.messages.genesis import GENESIS
    from ledger.params import PARAMETERS

    genesis: Genesis = GENESIS.decode(raw)
    rows = [
        [row.name, str(value), row.unit, _format_value(row, value), row.meaning]
        for row, value in zip(PARAMETERS, genesis.params, strict=True)
    ]
    return format_table(Table(("parameter", "value", "unit", "that is", "meaning"), rows))


def _format_value(row: "Parameter", value: int) -> str:
    """Return a value in a larger unit, where there is one for it."""
    match row.unit:
        case "ms":
            return format_span(value)
        case "atomic units":
            return format_amount(value)
        case "1/10000":
            return format_share(value)
        case _:
            return ""
