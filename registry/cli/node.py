"""`waypost node`: register service nodes, fund them, and look after them.

register      begin a node's life with its operator's stake
setup         the same step by step, with everything checked first (wizard.py)
contribute    add stake to a node that waits for it
withdraw      take it back while the node still waits
contact       sign new contact data with the node's key
set-keys      change the keys of its roles (duty.py)
unlock        ask it to end its duty (duty.py)
status        everything about one node, and what its operator does next
duties        whom it tests now, and who tests it (looking.py)
swarm         who stores what it stores, and how that changed (looking.py)
history       verdicts and rewards, epoch by epoch (looking.py)
list          all nodes, or some: those in one state, or open to contributors (listing.py)
"""

from pathlib import Path
from typing import Annotated, Final

import typer

from registry.amounts import format_amount
from registry.cli.arguments import (
    ADDRESS,
    AMOUNT,
    KEY_FILE,
    ProgramVersion,
    parse_amount,
    parse_node,
)
from registry.cli.duty import set_keys, unlock
from registry.cli.http import DEFAULT_URL, UrlOption
from registry.cli.listing import list_nodes
from registry.cli.looking import duties, history, swarm
from registry.cli.output import Output, OutputOption, emit, refusals
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile
from registry.cli.registering import (
    ATTESTS,
    IPV4,
    IPV6,
    NODE_KEYS,
    ROUTER_PORT,
    ROUTER_PORT_USUAL,
    ROUTER_VERSION,
    STORAGE_PORT,
    STORAGE_PORT_USUAL,
    STORAGE_VERSION,
    SUPPORTED_ROUTER,
    SUPPORTED_STORAGE,
    VALIDATES,
    FeeOption,
    Reached,
    ReserveOption,
    agree,
    change_contact,
    get_next_life,
    get_node,
    make_contact,
)
from registry.cli.sending import GenesisOption, WaitOption
from registry.cli.wizard import setup

NODE_ADDRESS: Final = typer.Option(
    "--node", parser=parse_node, metavar=ADDRESS, help="Address of the node."
)
PAYER: Final = typer.Option("--from", metavar=KEY_FILE, help="Key file of the account that pays.")

app = typer.Typer(no_args_is_help=True)


# --- what changes something ---------------------------------------------------------------------


@app.command()
def register(
    operator: Annotated[
        Path, typer.Option(metavar=KEY_FILE, help="Key file of the operator, who pays the stake.")
    ],
    node: Annotated[Path, NODE_KEYS],
    stake: Annotated[
        int, typer.Option(parser=parse_amount, metavar=AMOUNT, help="The operator's stake.")
    ],
    ipv4: Annotated[bytes | None, IPV4] = None,
    ipv6: Annotated[bytes | None, IPV6] = None,
    storage_port: Annotated[int, STORAGE_PORT] = STORAGE_PORT_USUAL,
    router_port: Annotated[int, ROUTER_PORT] = ROUTER_PORT_USUAL,
    storage_version: Annotated[ProgramVersion | None, STORAGE_VERSION] = None,
    router_version: Annotated[ProgramVersion | None, ROUTER_VERSION] = None,
    fee: FeeOption = 0,
    reserve: ReserveOption = None,
    attests: Annotated[bool, ATTESTS] = False,
    validates: Annotated[bool, VALIDATES] = False,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    wait: WaitOption = True,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Register a service node: begin its life with the operator's stake."""
    from registry.addresses import encode_node
    from registry.cli.http import Service
    from registry.cli.sending import emit_sent, get_target, send_paid
    from registry.keystore import derive
    from registry.wallet import sign_registration

    if not ipv4 and not ipv6:
        raise typer.BadParameter("a node needs --ipv4, --ipv6, or both")
    versions = storage_version or SUPPORTED_STORAGE, router_version or SUPPORTED_ROUTER
    reached = Reached(ipv4, ipv6, storage_port, router_port, *versions)
    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals(), Service(url) as service:
        seed, payer = keys.load(node), keys.load(operator)
        address = encode_node(derive(seed, "node").public)
        owner = derive(payer, "account").public
        target = get_target(service, genesis)
        life = get_next_life(service, address)
        terms = agree(target, life, owner, fee, reserve or (), make_contact(reached))
        terms = terms._replace(attests=attests or validates, validates=validates)
        registration = sign_registration(target.genesis_hash, seed, terms, stake)
        row = send_paid(
            service, target, payer, lambda wallet, t: wallet.register(t, registration), wait
        )
        what = f"registered {address} with {format_amount(stake)}"
        emit_sent(row, output, what, target, node=address, stake=str(stake))


@app.command()
def contribute(
    source: Annotated[Path, PAYER],
    node: Annotated[bytes, NODE_ADDRESS],
    amount: Annotated[
        int, typer.Option(parser=parse_amount, metavar=AMOUNT, help="The stake to add.")
    ],
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    wait: WaitOption = True,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Add stake to a node that waits for it."""
    from registry.addresses import encode_node
    from registry.cli.http import Service
    from registry.cli.sending import emit_sent, get_target, send_paid

    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals(), Service(url) as service:
        seed = keys.load(source)
        life = get_node(service, encode_node(node)).life
        target = get_target(service, genesis)
        row = send_paid(
            service,
            target,
            seed,
            lambda wallet, terms: wallet.contribute(terms, node, life, amount),
            wait,
        )
        what = f"contributed {format_amount(amount)} to {encode_node(node)}"
        emit_sent(row, output, what, target, node=encode_node(node), amount=str(amount))


@app.command()
def withdraw(
    source: Annotated[Path, PAYER],
    node: Annotated[bytes, NODE_ADDRESS],
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    wait: WaitOption = True,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Take the whole of a contribution back from a node that still waits for stake."""
    from registry.addresses import encode_node
    from registry.cli.http import Service
    from registry.cli.sending import emit_sent, get_target, send_paid

    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals(), Service(url) as service:
        seed = keys.load(source)
        life = get_node(service, encode_node(node)).life
        target = get_target(service, genesis)
        row = send_paid(
            service, target, seed, lambda wallet, terms: wallet.withdraw(terms, node, life), wait
        )
        what = f"withdrew the stake in {encode_node(node)}"
        emit_sent(row, output, what, target, node=encode_node(node))


@app.command()
def contact(
    node: Annotated[Path, NODE_KEYS],
    ipv4: Annotated[bytes | None, IPV4] = None,
    ipv6: Annotated[bytes | None, IPV6] = None,
    storage_port: Annotated[int | None, STORAGE_PORT] = None,
    router_port: Annotated[int | None, ROUTER_PORT] = None,
    storage_version: Annotated[ProgramVersion | None, STORAGE_VERSION] = None,
    router_version: Annotated[ProgramVersion | None, ROUTER_VERSION] = None,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    wait: WaitOption = True,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Change a node's contact data at the epoch's end; what is not named stays as it is. Free."""
    from registry.addresses import encode_node
    from registry.cli.http import Service
    from registry.cli.sending import emit_sent, get_target, send
    from registry.keystore import derive
    from registry.wallet import sign_contact

    changes = Reached(ipv4, ipv6, storage_port, router_port, storage_version, router_version)
    if all(change is None for change in changes):
        raise typer.BadParameter("say what changes: an address, a port or a version")
    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals(), Service(url) as service:
        seed = keys.load(node)
        address = encode_node(derive(seed, "node").public)
        known = get_node(service, address)
        target = get_target(service, genesis)
        wanted = make_contact(change_contact(known.pending_contact or known.contact, changes))
        sequence = known.contact_sequence + 1
        raw = sign_contact(target.genesis_hash, seed, known.life, sequence, wanted)
        row = send(service, raw, wait)
        what = f"new contact data of {address}, from the epoch's end on"
        emit_sent(row, output, what, target, node=address, sequence=sequence)


app.command("setup")(setup)
app.command("set-keys")(set_keys)
app.command("unlock")(unlock)


# --- what only looks ----------------------------------------------------------------------------


@app.command()
def status(
    node: Annotated[
        bytes,
        typer.Argument(
            parser=parse_node, metavar=ADDRESS, help="Address of the node.", show_default=False
        ),
    ],
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show everything about one node, and what its operator does next."""
    from registry.addresses import encode_node
    from registry.cli.card import NodeStatus, format_card
    from registry.cli.http import Service, convert
    from registry.cli.sources import now_ms

    with refusals(), Service(url) as service:
        answer = service.get(f"/v1/nodes/{encode_node(node)}")
        known = convert(answer, NodeStatus)
        emit(answer, output, lambda: format_card(known, now_ms()))


app.command("duties")(duties)
app.command("swarm")(swarm)
app.command("history")(history)
app.command("list")(list_nodes)
