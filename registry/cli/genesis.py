"""`waypost genesis`: make a genesis file, and check one.

new               from a preset, the producer, the attestors, and the first accounts
import-session    the same, with the nodes of a published list of the Session network
check             every rule of the file, its hash, and what is in it
"""

from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias

import typer

from ledger.errors import WaypostError
from registry.cli.amounts import format_amount, format_in_unit, format_time
from registry.cli.arguments import (
    AMOUNT,
    KEY_FILE,
    NAME,
    VERSION,
    Preset,
    ProgramVersion,
    Seat,
    Setting,
    Share,
    parse_amount,
    parse_holder,
    parse_network_name,
    parse_seat,
    parse_setting,
    parse_share,
    parse_version,
)
from registry.cli.output import (
    Output,
    OutputOption,
    Table,
    align,
    emit,
    format_table,
    refusals,
    warn,
)
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.messages.genesis import Genesis, GenesisAttestor, GenesisNode
    from registry.importing import Imported

LATEST_MS: Final = 2**53
"""Far beyond the calendar, and well within what a block's time can be."""

SESSION_BLOCK_S: Final = 120
"""Seconds from block to block in the network whose lists are imported."""

NameOption: TypeAlias = Annotated[
    str, typer.Option(parser=parse_network_name, metavar=NAME, help="Name of the network.")
]
PresetOption: TypeAlias = Annotated[Preset, typer.Option(help="The parameters to start from.")]
ProducerOption: TypeAlias = Annotated[
    # a Path, or the bytes of a public key
    Any,
    typer.Option(
        parser=parse_holder,
        metavar=f"{KEY_FILE}|KEY",
        help="Key file or public key of who orders the blocks.",
    ),
]
AttestorOption: TypeAlias = Annotated[
    list[Seat],
    typer.Option(
        parser=parse_seat,
        metavar=f"{KEY_FILE}|SEAT[:WEIGHT]",
        help="Who signs lists: a key file or what `waypost keys seat` prints; may be repeated.",
    ),
]
RecoveryOption: TypeAlias = Annotated[
    # as a producer
    list[Any] | None,
    typer.Option(
        parser=parse_holder,
        metavar=f"{KEY_FILE}|KEY",
        help="Who may replace the attestors: a key file or what `waypost keys recovery` prints; "
        "may be repeated.",
    ),
]
OutOption: TypeAlias = Annotated[Path, typer.Option(help="The file to write.")]
AccountOption: TypeAlias = Annotated[
    list[Share] | None,
    typer.Option(
        parser=parse_share,
        metavar="ADDRESS=AMOUNT",
        help="An account that begins with coins; may be repeated.",
    ),
]
PoolOption: TypeAlias = Annotated[
    int | None,
    typer.Option(parser=parse_amount, metavar=AMOUNT, help="What the reward pool begins with."),
]
ChangesOption: TypeAlias = Annotated[
    list[Setting] | None,
    typer.Option(
        "--set",
        parser=parse_setting,
        metavar="PARAMETER=VALUE",
        help="A parameter in its own unit, instead of the preset's; may be repeated.",
    ),
]
StartOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--start-ms",
        min=0,
        max=LATEST_MS,
        metavar="MS",
        help="Unix milliseconds of the start; now by default.",
    ),
]

app = typer.Typer(no_args_is_help=True)


class FileExists(WaypostError):
    """A file that would be written is there already."""


@app.command()
def new(
    name: NameOption,
    preset: PresetOption,
    producer: ProducerOption,
    attestor: AttestorOption,
    out: OutOption,
    account: AccountOption = None,
    pool: PoolOption = None,
    recovery: RecoveryOption = None,
    changes: ChangesOption = None,
    start_ms: StartOption = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a genesis file: all that people have to agree on.

    With the same `--start-ms` and the same other inputs it is the same file.
    """
    plan = _Plan(name, preset, producer, attestor, account, pool, recovery, changes, start_ms, out)
    with refusals():
        raw = _write(plan, KeyFiles(passphrase_file, passphrase_fd))
        emit(describe(raw) | {"file": str(out)}, output, lambda: _format_summary(raw, out))


@app.command("import-session")
def import_session(
    file: Annotated[Path, typer.Argument(help="The published list.", show_default=False)],
    name: NameOption,
    preset: PresetOption,
    producer: ProducerOption,
    attestor: AttestorOption,
    operators: Annotated[
        Path,
        typer.Option(
            metavar="MAP",
            help="JSON file that names each node's operator and duty key.",
        ),
    ],
    out: OutOption,
    router_port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Router port of nodes of which the list has none."),
    ] = None,
    storage_version: Annotated[
        ProgramVersion | None,
        typer.Option(
            parser=parse_version, metavar=VERSION, help="Storage version, where the list has none."
        ),
    ] = None,
    router_version: Annotated[
        ProgramVersion | None,
        typer.Option(
            parser=parse_version, metavar=VERSION, help="Router version, where the list has none."
        ),
    ] = None,
    block_seconds: Annotated[
        int, typer.Option(min=1, max=86_400, help="From block to block in the network of the list.")
    ] = SESSION_BLOCK_S,
    account: AccountOption = None,
    pool: PoolOption = None,
    recovery: RecoveryOption = None,
    changes: ChangesOption = None,
    start_ms: StartOption = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a genesis file whose nodes are those of a published list of the Session network.

    They are active from the start, each with its whole stake, and keep the swarms that the list
    names; nodes that are leaving leave. The map of operators is a JSON object of the form
    {"NODE": {"operator": "ADDRESS", "duty_key": "HEX"}, ...}. Nodes prove nothing here: who
    agrees on the file vouches for them.
    """
    from ledger.messages.contact import Version
    from registry.client.cache import read_bounded
    from registry.formats.session_json import MAX_SESSION_JSON_BYTES, decode_session_json
    from registry.importing import MAX_OPERATORS_BYTES, Told, import_nodes, read_operators

    with refusals():
        height, published = decode_session_json(read_bounded(file, MAX_SESSION_JSON_BYTES))
        owners = read_operators(read_bounded(operators, MAX_OPERATORS_BYTES))
        storage, router = (text and Version(*text) for text in (storage_version, router_version))
        told = Told(router_port, storage, router, 1_000 * block_seconds)
        start = time_ns() // 1_000_000 if start_ms is None else start_ms
        imported = import_nodes(published, height, owners, told, start)
        plan = _Plan(name, preset, producer, attestor, account, pool, recovery, changes, start, out)
        raw = _write(plan, KeyFiles(passphrase_file, passphrase_fd), imported.nodes)
        _warn_of_rest(imported)
        left_out = {"inactive": imported.inactive, "unreachable": imported.unreachable}
        facts = describe(raw) | {"file": str(out)} | {"left_out": left_out}
        emit(facts, output, lambda: _format_summary(raw, out))


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


# --- making -------------------------------------------------------------------------------------


class _Plan(NamedTuple):
    """What both ways to make a genesis file are told."""

    name: str
    preset: Preset
    producer: Path | bytes
    attestors: list[Seat]
    accounts: list[Share] | None
    pool: int | None
    recovery: list[Path | bytes] | None
    changes: list[Setting] | None
    start_ms: int | None
    out: Path


def _write(plan: _Plan, keys: KeyFiles, nodes: "Iterable[GenesisNode]" = ()) -> bytes:
    """Write the genesis file of a plan, and return its bytes."""
    from ledger.messages.lists import MAX_ATTESTORS
    from registry.files import create_durably
    from registry.founding import make_genesis
    from registry.keystore import RECOVERY

    for option, given in (("--attestor", plan.attestors), ("--recovery", plan.recovery or ())):
        if len(given) > MAX_ATTESTORS:
            raise typer.BadParameter(f"{option}: there are at most {MAX_ATTESTORS}")
    if plan.out.exists():
        raise FileExists(f"{plan.out} exists already: a genesis file is never overwritten")
    raw = make_genesis(
        plan.name,
        plan.preset,
        dict(plan.changes or ()),
        _find_key(plan.producer, "producer", keys),
        [_find_seat(seat, keys) for seat in plan.attestors],
        [(share.account, share.amount) for share in plan.accounts or ()],
        plan.pool or 0,
        plan.start_ms,
        nodes,
        [_find_key(holder, RECOVERY, keys) for holder in plan.recovery or ()],
    )
    create_durably(plan.out, raw)
    return raw


def _find_key(holder: Path | bytes, role: str, keys: KeyFiles) -> bytes:
    from registry.keystore import derive

    return holder if isinstance(holder, bytes) else derive(keys.load(holder), role).public


def _find_seat(seat: Seat, keys: KeyFiles) -> "GenesisAttestor":
    from ledger.messages.genesis import GenesisAttestor
    from registry.founding import make_seat

    if isinstance(seat.holder, Path):
        return make_seat(keys.load(seat.holder), seat.weight)
    return GenesisAttestor(seat.holder.list_key, seat.weight, seat.holder.tip)


def _warn_of_rest(imported: "Imported") -> None:
    for count, what in (
        (imported.inactive, "nodes of the list are not active there, and were left out"),
        (imported.unreachable, "nodes of the list have no address or port, and were left out"),
        (imported.unlisted, "nodes of the map of operators are not among those imported"),
    ):
        if count:
            warn(f"{count} {what}")


# --- showing ------------------------------------------------------------------------------------


def describe(raw: bytes) -> dict[str, Any]:
    """Return what a genesis file says, for programs. Refuses like `load_genesis`."""
    from ledger.crypto import sha256
    from ledger.genesis import compute_supply, load_genesis
    from ledger.params import PARAMETERS
    from registry.addresses import encode_account
    from registry.engines import ENGINES

    genesis = load_genesis(raw)
    balances = [(encode_account(row.account), row.balance) for row in genesis.accounts]
    return {
        "name": genesis.name.decode(),
        "hash": sha256(raw).hex(),
        "start_ms": genesis.start_ms,
        "engine": ENGINES[genesis.engine],
        "producer": genesis.producer.hex(),
        "policy": "fixed",
        "seed": genesis.seed.hex(),
        "supply": str(compute_supply(genesis)),
        "pool": str(genesis.pool),
        "attestors": [
            {"list_key": seat.list_key.hex(), "weight": seat.weight, "tip": seat.tip.hex()}
            for seat in genesis.attestors
        ],
        "single_signer": _is_single_signer(genesis),
        "recovery": [key.hex() for key in genesis.recovery],
        "accounts": [{"account": account, "balance": str(units)} for account, units in balances],
        "nodes": _describe_nodes(genesis),
        "parameters": {
            row.name: {"value": str(value), "unit": row.unit}
            for row, value in zip(PARAMETERS, genesis.params, strict=True)
        },
        "differs_from_preset": dict(zip(("preset", "in"), _nearest_preset(genesis), strict=True)),
    }


def _describe_nodes(genesis: "Genesis") -> dict[str, int]:
    from ledger.messages.genesis import NEW_SWARM

    return {
        "count": len(genesis.nodes),
        "operators": len({row.operator for row in genesis.nodes}),
        "with_swarm": sum(row.swarm_id != NEW_SWARM for row in genesis.nodes),
        "leaving": sum(bool(row.exit_ms) for row in genesis.nodes),
    }


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


def _format_nodes(genesis: "Genesis") -> list[tuple[str, str]]:
    if not genesis.nodes:
        return []
    count, operators, with_swarm, leaving = _describe_nodes(genesis).values()
    swarms = (
        f"{with_swarm} keep their swarm, " if with_swarm else "their swarms follow from the seed, "
    )
    return [
        ("nodes", f"{count} of {operators} operators, active from the start"),
        ("", f"{swarms}{leaving} are leaving"),
    ]


def _format_engine(genesis: "Genesis") -> str:
    from registry.engines import ENGINES

    engine = ENGINES[genesis.engine]
    return f"{engine}, producer {genesis.producer.hex()}" if genesis.producer else engine


def _format_summary(raw: bytes, file: Path) -> str:
    from ledger.crypto import sha256
    from ledger.genesis import compute_supply
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
            ("engine", _format_engine(genesis)),
            (
                "attestors",
                f"{len(genesis.attestors)} of weight {weights}"
                + (single if _is_single_signer(genesis) else ""),
            ),
            *(("recovery key", key.hex()) for key in genesis.recovery),
            ("accounts", str(len(genesis.accounts))),
            *_format_nodes(genesis),
            ("supply", f"{format_amount(compute_supply(genesis))}, reward pool included"),
            ("pool", format_amount(genesis.pool)),
            ("parameters", f"those of the preset {preset_name}{but}"),
        ]
    )


def _format_parameters(raw: bytes) -> str:
    from ledger.messages.genesis import GENESIS
    from ledger.params import PARAMETERS

    genesis: Genesis = GENESIS.decode(raw)
    rows = [
        [row.name, str(value), row.unit, format_in_unit(value, row.unit), row.meaning]
        for row, value in zip(PARAMETERS, genesis.params, strict=True)
    ]
    return format_table(Table(("parameter", "value", "unit", "that is", "meaning"), rows))
