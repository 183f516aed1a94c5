"""`waypost node`: register service nodes, fund them, and look after them.

register      begin a node's life with its operator's stake
contribute    add stake to a node that waits for it
withdraw      take it back while the node still waits
contact       sign new contact data with the node's key
set-keys      change the keys of its roles (duty.py)
unlock        ask it to end its duty (duty.py)
status        everything about one node, and what its operator does next
list          all nodes, or those in one state
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import typer

from registry.cli.amounts import format_amount
from registry.cli.arguments import (
    ADDRESS,
    AMOUNT,
    KEY_FILE,
    NO_ADDRESS,
    VERSION,
    ProgramVersion,
    Share,
    parse_amount,
    parse_ipv4,
    parse_ipv6,
    parse_node,
    parse_share,
    parse_version,
)
from registry.cli.duty import set_keys, unlock
from registry.cli.http import DEFAULT_URL, UrlOption
from registry.cli.output import Output, OutputOption, Table, emit, refusals
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile
from registry.cli.sending import GenesisOption, WaitOption

if TYPE_CHECKING:
    from ledger.messages.contact import Contact
    from registry.cli import http
    from registry.cli.sending import Target
    from registry.wallet import NodeTerms

REGISTRATION_MS: Final = 3_600_000
"""How long a registration may be used, where the network allows it; it is sent at once."""

SUPPORTED_STORAGE: Final = ProgramVersion(2, 11, 0)
"""What a storage server is taken to be, unless its operator says otherwise."""

SUPPORTED_ROUTER: Final = ProgramVersion(11, 6, 0)
"""The same for a service node's program."""

PAGE: Final = 200

State: TypeAlias = Literal[
    "awaiting", "queued", "active", "exited", "decommissioned", "deregistered", "tombstoned"
]
"""A name in `ledger.messages.state.NODE_STATES`."""

NODE_ADDRESS: Final = typer.Option(
    "--node", parser=parse_node, metavar=ADDRESS, help="Address of the node."
)
NODE_KEYS: Final = typer.Option("--node", metavar=KEY_FILE, help="Key file of the node.")
PAYER: Final = typer.Option("--from", metavar=KEY_FILE, help="Key file of the account that pays.")
IPV4: Final = typer.Option(
    parser=parse_ipv4, metavar=ADDRESS, help=f"IPv4 address, or `{NO_ADDRESS}`."
)
IPV6: Final = typer.Option(
    parser=parse_ipv6, metavar=ADDRESS, help=f"IPv6 address, or `{NO_ADDRESS}`."
)
STORAGE_PORT: Final = typer.Option(
    min=1, max=65535, metavar="PORT", help="Port of the storage server."
)
ROUTER_PORT: Final = typer.Option(min=1, max=65535, metavar="PORT", help="Port of QUIC and OxenMQ.")
STORAGE_VERSION: Final = typer.Option(
    parser=parse_version,
    metavar=VERSION,
    help=f"Version of the storage server; {'.'.join(map(str, SUPPORTED_STORAGE))} at first.",
)
ROUTER_VERSION: Final = typer.Option(
    parser=parse_version,
    metavar=VERSION,
    help=f"Version of the node's program; {'.'.join(map(str, SUPPORTED_ROUTER))} at first.",
)
ATTESTS: Final = typer.Option("--attests", help="Name a list key too, to become an attestor.")
VALIDATES: Final = typer.Option(
    "--validates",
    help="Name a list key and a consensus key, to stand for a seat among the validators.",
)

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
    storage_port: Annotated[int, STORAGE_PORT] = 22021,
    router_port: Annotated[int, ROUTER_PORT] = 22020,
    storage_version: Annotated[ProgramVersion | None, STORAGE_VERSION] = None,
    router_version: Annotated[ProgramVersion | None, ROUTER_VERSION] = None,
    fee: Annotated[
        int,
        typer.Option(
            min=0,
            max=10_000,
            metavar="BASISPOINTS",
            help="The operator's part of the rewards, in parts of 10,000.",
        ),
    ] = 0,
    reserve: Annotated[
        list[Share] | None,
        typer.Option(
            parser=parse_share,
            metavar="ADDRESS=AMOUNT",
            help="A place that is kept for one account; may be repeated.",
        ),
    ] = None,
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
        life = _get_next_life(service, address)
        terms = _agree(target, life, owner, fee, reserve or (), make_contact(reached))
        terms = terms._replace(attests=attests or validates, validates=validates)
        registration = sign_registration(target.genesis_hash, seed, terms, stake)
        row = send_paid(
            service, target, payer, lambda wallet, t: wallet.register(t, registration), wait
        )
        what = f"registered {address} with {format_amount(stake)}"
        emit_sent(row, output, what, target, node=address, stake=str(stake))


def _agree(
    target: "Target",
    life: int,
    owner: bytes,
    fee: int,
    reserved: Sequence[Share],
    contact: "Contact",
) -> "NodeTerms":
    from ledger.messages.transactions import Place
    from registry.wallet import NodeTerms

    return NodeTerms(
        life=life,
        operator=owner,
        beneficiary=owner,
        fee=fee,
        reserved=tuple(Place(*share) for share in sorted(reserved)),
        contact=contact,
        expiry_ms=target.time_ms + min(REGISTRATION_MS, target.params.registration_ms),
        attests=False,
    )


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
        life = _get_node(service, encode_node(node)).life
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
        life = _get_node(service, encode_node(node)).life
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
        known = _get_node(service, address)
        target = get_target(service, genesis)
        wanted = make_contact(_change(known.pending_contact or known.contact, changes))
        sequence = known.contact_sequence + 1
        raw = sign_contact(target.genesis_hash, seed, known.life, sequence, wanted)
        row = send(service, raw, wait)
        what = f"new contact data of {address}, from the epoch's end on"
        emit_sent(row, output, what, target, node=address, sequence=sequence)


app.command("set-keys")(set_keys)
app.command("unlock")(unlock)


class Reached(NamedTuple):
    """Where a node is reached, as far as somebody said."""

    ipv4: bytes | None
    ipv6: bytes | None
    storage_port: int | None
    router_port: int | None
    storage_version: ProgramVersion | None
    router_version: ProgramVersion | None


def make_contact(reached: Reached) -> "Contact":
    """Return contact data; what nobody said is refused by the ledger."""
    from ledger.messages.contact import Contact, Version

    return Contact(
        reached.ipv4 or b"",
        reached.ipv6 or b"",
        reached.storage_port or 0,
        reached.router_port or 0,
        Version(*(reached.storage_version or (0, 0, 0))),
        Version(*(reached.router_version or (0, 0, 0))),
    )


def _change(known: "http.Contact", changes: Reached) -> Reached:
    """Return where a node is reached once it changes; what nobody said stays."""
    before = Reached(
        parse_ipv4(known.ipv4 or NO_ADDRESS),
        parse_ipv6(known.ipv6 or NO_ADDRESS),
        known.storage_port,
        known.router_port,
        ProgramVersion(*known.storage_version),
        ProgramVersion(*known.router_version),
    )
    said = {name: value for name, value in changes._asdict().items() if value is not None}
    return before._replace(**said)


def _get_next_life(service: "http.Service", address: str) -> int:
    """Return the life that a registration begins: the first, unless the node had one before."""
    from registry.cli.http import Node, convert

    answer = service.find(f"/v1/nodes/{address}")
    return 1 if answer is None else convert(answer, Node).life + 1


def _get_node(service: "http.Service", address: str) -> "http.Node":
    from registry.cli.http import Node, convert

    return convert(service.get(f"/v1/nodes/{address}"), Node)


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

    with refusals(), Service(url) as service:
        answer = service.get(f"/v1/nodes/{encode_node(node)}")
        known = convert(answer, NodeStatus)
        emit(answer, output, lambda: format_card(known))


@app.command("list")
def list_nodes(
    state: Annotated[
        State | None, typer.Option(help="Nodes in this state only.", show_default=False)
    ] = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the registered nodes, all of them from one height."""
    from registry.cli.http import Node, NodePage, Service, convert

    with refusals(), Service(url) as service:
        nodes: list[dict[str, Any]] = []
        wanted: dict[str, str | int] = {"limit": PAGE} | ({"state": state} if state else {})
        cursor: dict[str, str] = {}
        while True:
            page = convert(service.get("/v1/nodes", **wanted, **cursor), NodePage)
            nodes += page.nodes
            if page.next is None or not page.nodes:
                break
            cursor = {"cursor": page.next}
        known = convert(nodes, list[Node])
        kind = f"{state or 'registered'} node{'' if len(nodes) == 1 else 's'}"
        caption = f"{len(nodes)} {kind} at height {page.height}"
        facts = {"height": page.height, "nodes": nodes}
        emit(facts, output, lambda: _tabulate(known, caption))


def _tabulate(nodes: Sequence["http.Node"], caption: str) -> Table:
    rows = [
        [
            node.key,
            node.state,
            format_amount(int(node.staked)),
            format_amount(int(node.open)),
            node.contact.ipv4 or "-",
            node.contact.ipv6 or "-",
            node.swarm or "-",
        ]
        for node in nodes
    ]
    return Table(("node", "state", "stake", "open", "IPv4", "IPv6", "swarm"), rows, caption)
