"""`waypost network`: the rules in force, and orders that change them, signed by many.

rules            parameters and attestors, in force and announced
set-attestors    write an order of another set of attestors to a file
set-params       write an order of other parameters to a file
set-successor    write an order that the network goes on as another one to a file
show             what an order changes, and who signed it
sign             add the signature of a list key, or a recovery key, to the file
submit           send an order that enough have signed
participation    which testers vote, and which attestors sign (participation.py)

An order is a file that goes from holder to holder, or copies of it that each of them signs and
`submit` puts together. `changes` says in words what it does, `seats` finds the seats of a set.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias

import typer

from ledger.errors import Refusal, WaypostError
from registry.cli.arguments import (
    KEY_FILE,
    KeyWeight,
    NewSeat,
    Setting,
    parse_key,
    parse_key_weight,
    parse_new_seat,
    parse_setting,
)
from registry.cli.http import DEFAULT_URL, UrlOption
from registry.cli.output import Output, OutputOption, emit, refusals, warn
from registry.cli.participation import participation
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile
from registry.cli.sending import GenesisOption, WaitOption

if TYPE_CHECKING:
    from registry.cli import http
    from registry.cli.sending import Target
    from registry.orders import OrderFile

NOTICE_EPOCHS: Final = 48
"""Time that holders have to sign, unless an order says otherwise: a day on mainnet."""

LATEST_MS: Final = 2**53

ORDER_FILE: Final = typer.Argument(help="File of the order.", show_default=False)
NewFile: TypeAlias = Annotated[Path, typer.Option("--out", help="The file to write.")]

AddOption: TypeAlias = Annotated[
    list[NewSeat] | None,
    typer.Option(
        parser=parse_new_seat,
        metavar=f"{KEY_FILE}|SEAT[:WEIGHT]",
        help="An attestor that comes: a key file or what `waypost keys seat --genesis` prints; "
        "may be repeated.",
    ),
]
RemoveOption: TypeAlias = Annotated[
    list[bytes] | None,
    typer.Option(
        parser=parse_key, metavar="LISTKEY", help="An attestor that goes; may be repeated."
    ),
]
WeighOption: TypeAlias = Annotated[
    list[KeyWeight] | None,
    typer.Option(
        parser=parse_key_weight,
        metavar="LISTKEY=WEIGHT",
        help="Another weight of one that stays; may be repeated.",
    ),
]

app = typer.Typer(no_args_is_help=True)
app.command()(participation)


class NoVote(WaypostError):
    """A key may not sign an order: it counts for nothing."""


class Known(NamedTuple):
    """The network that an order is for, and its rules in force."""

    name: str
    genesis_hash: bytes
    rules: "http.Rules"


@app.command()
def rules(url: UrlOption = DEFAULT_URL, output: OutputOption = Output.TEXT) -> None:
    """Show the attestors and parameters in force, and what is announced."""
    from registry.cli.changes import format_rules
    from registry.cli.http import Rules, Service, convert

    with refusals(), Service(url) as service:
        answer = service.get("/v1/rules")
        known = convert(answer, Rules)
        emit(answer, output, lambda: format_rules(known))


# --- making an order ----------------------------------------------------------------------------


@app.command("set-attestors")
def set_attestors(
    out: NewFile,
    add: AddOption = None,
    remove: RemoveOption = None,
    weigh: WeighOption = None,
    recovery: Annotated[
        bool,
        typer.Option("--recovery", help="Replace the whole set: for the recovery keys to sign."),
    ] = False,
    epoch: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --recovery: the epoch to send it in; the running one by default."
        ),
    ] = None,
    begin_ms: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=LATEST_MS,
            metavar="MS",
            help="Unix milliseconds from which on the set may be announced; else in time to sign.",
        ),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write an order of another set of attestors to a file, for list keys to sign.

    It moves one seat, or a tenth of the weight. With `--recovery` the set is exactly what `--add`
    names, whatever was before; it takes over at the end of the epoch in which it is sent.
    """
    from ledger.messages.transactions import BY_ATTESTORS, SetAttestors
    from registry.cli.http import Service
    from registry.cli.seats import change_set, find_seat, order_recovery

    if not (add or remove or weigh):
        raise typer.BadParameter("say what changes: --add, --remove or --weigh")
    if recovery and (remove or weigh or begin_ms is not None):
        raise typer.BadParameter("--recovery goes with --add and --epoch alone")
    if epoch is not None and not recovery:
        raise typer.BadParameter("--epoch is for --recovery")
    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals(), Service(url) as service:
        known, target = _ask(service, genesis)
        added = [find_seat(seat, known.genesis_hash, keys) for seat in add or ()]
        if recovery:
            order = order_recovery(known.rules, added, epoch)
        else:
            seats = change_set(known.rules, added, remove or (), weigh or ())
            earliest_ms = known.rules.attestors_earliest_ms
            begin = _check_begin(begin_ms, earliest_ms, target, known.rules)
            order = SetAttestors(BY_ATTESTORS, begin, tuple(seats), ())
        _write(known, order, out, output)


@app.command("set-params")
def set_params(
    out: NewFile,
    changes: Annotated[
        list[Setting],
        typer.Option(
            "--set",
            parser=parse_setting,
            metavar="PARAMETER=VALUE",
            help="A parameter in its own unit; may be repeated.",
        ),
    ],
    from_ms: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=LATEST_MS,
            metavar="MS",
            help="Unix milliseconds from which on they are in force; else as soon as they can be.",
        ),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write an order of other parameters to a file, for list keys to sign.

    They are in force after one unbonding time at least, from the end of an epoch on; what is not
    named stays as it is.
    """
    from ledger.messages.transactions import ParamsOrder, SetParams
    from ledger.params import Params
    from ledger.transactions.orders import check_values
    from registry.cli.http import Service

    with refusals(), Service(url) as service:
        known, target = _ask(service, genesis)
        if known.rules.parameters_from_ms is not None:
            raise Refusal("change_pending")
        old = Params(*(int(row.value) for row in known.rules.parameters))
        new = old._replace(**{change.name: change.value for change in changes})
        earliest_ms = known.rules.parameters_earliest_ms
        begin = _check_begin(from_ms, earliest_ms, target, known.rules)
        order = ParamsOrder(begin, tuple(new))
        check_values(order, old)
        _write(known, SetParams(order, ()), out, output)


@app.command("set-successor")
def set_successor(
    out: NewFile,
    file: Annotated[
        Path | None,
        typer.Argument(help="Genesis file of the network that follows.", show_default=False),
    ] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Withdraw what is announced instead.")
    ] = False,
    from_ms: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=LATEST_MS,
            metavar="MS",
            help="Unix milliseconds from which on headers name it; else as soon as they can.",
        ),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write an order to a file that this network goes on as another one, for list keys to sign.

    Headers name the other network after two unbonding times at least; then this one ends. Until
    a header names it, an order made with `--withdraw` takes it back.
    """
    from ledger.crypto import sha256
    from ledger.messages.transactions import SetSuccessor, SuccessorOrder
    from ledger.types import ZERO_HASH
    from registry.cli.http import Service

    if (file is None) != withdraw or (withdraw and from_ms is not None):
        raise typer.BadParameter("give the genesis file of the network that follows, or --withdraw")
    with refusals(), Service(url) as service:
        known, target = _ask(service, genesis)
        rules = known.rules
        if rules.successor is not None and rules.has_moved:
            raise Refusal("network_moved", successor=rules.successor)
        if file is None:
            if rules.successor_from_ms is None:
                raise Refusal("bad_order", why="nothing is announced that it withdraws")
            order = SuccessorOrder(ZERO_HASH, rules.successor_from_ms)
        else:
            if rules.successor is not None:
                raise Refusal("change_pending")
            raw = file.read_bytes()
            _check_follows(raw, known)
            begin = _check_begin(from_ms, rules.successor_earliest_ms, target, rules)
            order = SuccessorOrder(sha256(raw), begin)
        _write(known, SetSuccessor(order, ()), out, output)


def _check_follows(raw: bytes, known: Known) -> None:
    """Check that a genesis file can follow on a network; say if it leaves behind what is there.

    Refuses like `load_genesis`, and with `bad_order` and `parameter_fixed`.
    """
    from ledger.crypto import sha256
    from ledger.genesis import load_genesis
    from ledger.params import Params, check_fixed

    following = load_genesis(raw)
    if sha256(raw) == known.genesis_hash:
        raise Refusal("bad_order", why="a network cannot follow on itself")
    if not following.predecessor:
        warn("the file names no predecessor: balances and nodes of this network stay behind")
        return
    if following.predecessor != known.genesis_hash:
        raise Refusal("bad_order", why="the file names another network as its predecessor")
    # once a header names it nothing can be changed, and with others it could not begin
    values = (int(row.value) for row in known.rules.parameters)
    check_fixed(Params(*values), Params(*following.params))


def _ask(service: "http.Service", genesis: Path | None) -> tuple[Known, "Target"]:
    """Return the network of a service, for orders and for transactions."""
    from registry.cli.http import Rules, convert
    from registry.cli.sending import get_target

    target = get_target(service, genesis)
    found = convert(service.get("/v1/rules"), Rules)
    return Known(target.name, target.genesis_hash, found), target


def _check_begin(
    told_ms: int | None, earliest_ms: int, target: "Target", known: "http.Rules"
) -> int:
    """Return from when on an order is to hold. Refuses with `change_too_soon`, `bad_order`."""
    from ledger.transactions.orders import check_begin

    in_time_ms = max(earliest_ms, known.time_ms) + NOTICE_EPOCHS * target.params.epoch_ms
    begin = in_time_ms if told_ms is None else told_ms
    check_begin(begin, earliest_ms, known.time_ms)
    return begin


def _write(known: Known, order: Any, out: Path, output: Output) -> None:
    from ledger.codec import encode
    from registry.files import create_durably
    from registry.orders import make_order

    file = make_order(known.genesis_hash, order)
    create_durably(out, encode(file))
    _emit_order(file, known, out, output)


# --- signing and sending ------------------------------------------------------------------------


@app.command()
def show(
    file: Annotated[Path, ORDER_FILE],
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what an order changes, when, and who signed it so far."""
    from registry.cli.http import Service

    with refusals(), Service(url) as service:
        order = _read([file])
        known, _ = _ask(service, genesis)
        _check_network(order, known)
        _emit_order(order, known, file, output)


@app.command()
def sign(
    file: Annotated[Path, ORDER_FILE],
    holder: Annotated[
        Path,
        typer.Option(
            "--keys", metavar=KEY_FILE, help="Key file of an attestor, or of who may recover."
        ),
    ],
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Ask no service: compare with the genesis file instead."),
    ] = False,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Sign an order: add the signature of a list key, or a recovery key, to its file.

    It shows what is signed. With `--offline` it takes the genesis file of the home, or the one that
    is named, and needs no network: for recovery keys, which belong on no machine that has one.
    """
    from ledger.codec import encode
    from registry.cli.http import Service
    from registry.files import write_durably
    from registry.keystore import derive
    from registry.orders import get_order, get_role, sign_order

    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals(), Service(url) as service:
        order = _read([file])
        known = _read_genesis(genesis) if offline else _ask(service, genesis)[0]
        _check_network(order, known)
        role = get_role(get_order(order))
        pair = derive(keys.load(holder), role)
        if pair.public not in _find_voters(order, known):
            why = f"the {role} key {pair.public.hex()} of {holder} may not sign this order"
            if not offline or role != "list":
                raise NoVote(why)
            warn(f"{why} as the genesis file has it: another set may be in force")
        signed = sign_order(order, pair)
        write_durably(file, encode(signed))
        _emit_order(signed, known, file, output)


@app.command()
def submit(
    files: Annotated[
        list[Path],
        typer.Argument(help="File of the order, or several signed copies.", show_default=False),
    ],
    source: Annotated[
        Path, typer.Option("--from", metavar=KEY_FILE, help="Key file of the account that pays.")
    ],
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    wait: WaitOption = True,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Send an order that more than two thirds of the weight have signed; whoever sends it pays.

    Of several copies the signatures are put together.
    """
    from registry.cli.changes import describe_order, format_order
    from registry.cli.http import Service
    from registry.cli.sending import emit_sent, send_paid
    from registry.orders import ORDERS, fill_order

    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals(), Service(url) as service:
        order = _read(files)
        known, target = _ask(service, genesis)
        _check_network(order, known)
        body = fill_order(order, _find_voters(order, known))
        row = send_paid(
            service,
            target,
            keys.load(source),
            lambda wallet, terms: wallet.order(terms, body),
            wait,
        )
        facts = describe_order(order, known.rules)
        what = f"{format_order(facts)}\n{ORDERS[order.kind].name}"
        emit_sent(row, output, what, target, order=facts)


def _read(files: Sequence[Path]) -> "OrderFile":
    """Return the order of some copies, with the signatures of all of them."""
    from registry.client.cache import read_bounded
    from registry.orders import MAX_FILE_BYTES, read_order, unite_orders

    return unite_orders([read_order(read_bounded(file, MAX_FILE_BYTES)) for file in files])


def _read_genesis(path: Path | None) -> Known:
    """Return a network as its genesis file has it."""
    from ledger.crypto import sha256
    from ledger.genesis import load_genesis
    from registry.cli.changes import rules_of
    from registry.home import default_genesis, default_home

    raw = (path or default_genesis(default_home())).read_bytes()
    genesis = load_genesis(raw)
    return Known(genesis.name.decode(), sha256(raw), rules_of(genesis))


def _check_network(order: "OrderFile", known: Known) -> None:
    from registry.cli.sending import WrongNetwork

    if order.genesis_hash != known.genesis_hash:
        raise WrongNetwork(
            f"the order is for the network with the genesis {order.genesis_hash.hex()}, not for "
            f"{known.name} with {known.genesis_hash.hex()}"
        )


def _find_voters(order: "OrderFile", known: Known) -> list[bytes]:
    """Return the keys that may sign an order, by their places."""
    from registry.cli.changes import get_voters

    return [bytes.fromhex(seat.list_key) for seat in get_voters(order, known.rules)]


def _emit_order(order: "OrderFile", known: Known, path: Path, output: Output) -> None:
    from registry.cli.changes import describe_order, format_order

    facts = describe_order(order, known.rules)
    named = {"file": str(path), "network": known.name, "genesis_hash": known.genesis_hash.hex()}
    emit(named | facts, output, lambda: format_order(named | facts))
