"""`waypost genesis`: make a genesis file, and check one.

new               from a preset, who orders blocks, who signs lists, and the first accounts
import-session    the same, with the nodes of a published list of the Session network
check             every rule of the file, its hash, and what is in it
"""

from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import typer

from ledger.errors import WaypostError
from registry.cli.arguments import (
    AMOUNT,
    KEY_FILE,
    NAME,
    VERSION,
    Engine,
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
from registry.cli.genesis_facts import describe, format_parameters, format_summary
from registry.cli.output import Output, OutputOption, emit, refusals, warn
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.messages.genesis import GenesisAttestor, GenesisNode
    from registry.importing import Imported

LATEST_MS: Final = 2**53
"""Far beyond the calendar, and well within what a block's time can be."""

SESSION_BLOCK_S: Final = 120
"""Seconds from block to block in the network whose lists are imported."""

NameOption: TypeAlias = Annotated[
    str, typer.Option(parser=parse_network_name, metavar=NAME, help="Name of the network.")
]
PresetOption: TypeAlias = Annotated[Preset, typer.Option(help="The parameters to start from.")]
Policy: TypeAlias = Literal["fixed", "registry"]

EngineOption: TypeAlias = Annotated[
    Engine,
    typer.Option(help="Who orders the blocks: one producer, or the attestors together."),
]
PolicyOption: TypeAlias = Annotated[
    Policy,
    typer.Option(
        help="How the attestors change: by their own orders, or as the nodes that stand for a seat."
    ),
]
PredecessorOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="GENESIS",
        help="Genesis file of the network with whose last state this one begins.",
    ),
]
ProducerOption: TypeAlias = Annotated[
    # a Path, or the bytes of a public key
    Any,
    typer.Option(
        parser=parse_holder,
        metavar=f"{KEY_FILE}|KEY",
        help="Key file or public key of who orders the blocks, with the engine solo.",
    ),
]
AttestorOption: TypeAlias = Annotated[
    list[Seat],
    typer.Option(
        parser=parse_seat,
        metavar=f"{KEY_FILE}|SEAT[:WEIGHT][@NODE]",
        help="Who signs lists, and validates: a key file or what `waypost keys seat` prints, and a "
        "founding node whose stake stands behind it; may be repeated.",
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
    attestor: AttestorOption,
    out: OutOption,
    producer: ProducerOption = None,
    engine: EngineOption = "solo",
    policy: PolicyOption = "fixed",
    predecessor: PredecessorOption = None,
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
    order = _Order(engine, producer, policy, predecessor)
    plan = _Plan(name, preset, order, attestor, account, pool, recovery, changes, start_ms, out)
    with refusals():
        raw = _write(plan, KeyFiles(passphrase_file, passphrase_fd))
        emit(describe(raw) | {"file": str(out)}, output, lambda: format_summary(raw, out))


@app.command("import-session")
def import_session(
    file: Annotated[Path, typer.Argument(help="The published list.", show_default=False)],
    name: NameOption,
    preset: PresetOption,
    attestor: AttestorOption,
    operators: Annotated[
        Path,
        typer.Option(
            metavar="MAP",
            help="JSON file that names each node's operator and duty key.",
        ),
    ],
    out: OutOption,
    producer: ProducerOption = None,
    engine: EngineOption = "solo",
    policy: PolicyOption = "fixed",
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

    order = _Order(engine, producer, policy, None)
    with refusals():
        height, published = decode_session_json(read_bounded(file, MAX_SESSION_JSON_BYTES))
        owners = read_operators(read_bounded(operators, MAX_OPERATORS_BYTES))
        storage, router = (text and Version(*text) for text in (storage_version, router_version))
        told = Told(router_port, storage, router, 1_000 * block_seconds)
        start = time_ns() // 1_000_000 if start_ms is None else start_ms
        imported = import_nodes(published, height, owners, told, start)
        plan = _Plan(name, preset, order, attestor, account, pool, recovery, changes, start, out)
        raw = _write(plan, KeyFiles(passphrase_file, passphrase_fd), imported.nodes)
        _warn_of_rest(imported)
        left_out = {"inactive": imported.inactive, "unreachable": imported.unreachable}
        facts = describe(raw) | {"file": str(out)} | {"left_out": left_out}
        emit(facts, output, lambda: format_summary(raw, out))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The genesis file.", show_default=False)],
    output: OutputOption = Output.TEXT,
) -> None:
    """Check every rule of a genesis file, and show its hash and what is in it."""
    with refusals():
        raw = file.read_bytes()
        facts = describe(raw) | {"file": str(file)}
        emit(facts, output, lambda: f"{format_summary(raw, file)}\n\n{format_parameters(raw)}")


# --- making -------------------------------------------------------------------------------------


class _Order(NamedTuple):
    """Who orders the blocks, and how that changes."""

    engine: Engine
    producer: Path | bytes | None
    policy: Policy
    predecessor: Path | None

    def check(self) -> None:
        """See that there is a producer where one is needed, and none elsewhere."""
        if self.engine == "solo" and self.producer is None:
            raise typer.BadParameter("the engine solo needs a --producer")
        if self.engine == "comet" and self.producer is not None:
            raise typer.BadParameter("with the engine comet there is no --producer")


class _Plan(NamedTuple):
    """What both ways to make a genesis file are told."""

    name: str
    preset: Preset
    order: _Order
    attestors: list[Seat]
    accounts: list[Share] | None
    pool: int | None
    recovery: list[Path | bytes] | None
    changes: list[Setting] | None
    start_ms: int | None
    out: Path


def _write(plan: _Plan, keys: KeyFiles, nodes: "Iterable[GenesisNode]" = ()) -> bytes:
    """Write the genesis file of a plan, and return its bytes."""
    from ledger.crypto import sha256
    from ledger.messages.genesis import COMET, FIXED, REGISTRY, SOLO
    from ledger.messages.lists import MAX_ATTESTORS
    from registry.files import create_durably
    from registry.founding import make_genesis
    from registry.keystore import RECOVERY

    order = plan.order
    order.check()
    for option, given in (("--attestor", plan.attestors), ("--recovery", plan.recovery or ())):
        if len(given) > MAX_ATTESTORS:
            raise typer.BadParameter(f"{option}: there are at most {MAX_ATTESTORS}")
    if plan.out.exists():
        raise FileExists(f"{plan.out} exists already: a genesis file is never overwritten")
    raw = make_genesis(
        plan.name,
        plan.preset,
        dict(plan.changes or ()),
        b"" if order.producer is None else _find_key(order.producer, "producer", keys),
        [_find_seat(seat, keys, order.engine) for seat in plan.attestors],
        [(share.account, share.amount) for share in plan.accounts or ()],
        plan.pool or 0,
        plan.start_ms,
        nodes,
        [_find_key(holder, RECOVERY, keys) for holder in plan.recovery or ()],
        engine=COMET if order.engine == "comet" else SOLO,
        policy=REGISTRY if order.policy == "registry" else FIXED,
        predecessor=sha256(order.predecessor.read_bytes()) if order.predecessor else b"",
    )
    create_durably(plan.out, raw)
    return raw


def _find_key(holder: Path | bytes, role: str, keys: KeyFiles) -> bytes:
    from registry.keystore import derive

    return holder if isinstance(holder, bytes) else derive(keys.load(holder), role).public


def _find_seat(seat: Seat, keys: KeyFiles, engine: Engine) -> "GenesisAttestor":
    from msgspec.structs import replace

    from ledger.messages.genesis import GenesisAttestor
    from registry.founding import make_seat

    validates, holder = engine == "comet", seat.holder
    if isinstance(holder, Path):
        made = make_seat(keys.load(holder), seat.weight, validates=validates)
        return replace(made, node=seat.node)
    # the line is the same whether its holder is going to validate or not
    consensus_key = holder.consensus_key if validates else b""
    return GenesisAttestor(holder.list_key, seat.weight, holder.tip, consensus_key, seat.node)


def _warn_of_rest(imported: "Imported") -> None:
    for count, what in (
        (imported.inactive, "nodes of the list are not active there, and were left out"),
        (imported.unreachable, "nodes of the list have no address or port, and were left out"),
        (imported.unlisted, "nodes of the map of operators are not among those imported"),
    ):
        if count:
            warn(f"{count} {what}")
