"""`waypost tx build`: transactions for keys that are elsewhere. It needs no key file.

Each command asks a service for what has to stand in the transaction, and writes a draft.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias

import typer

from registry.cli.arguments import (
    ADDRESS,
    AMOUNT,
    ProgramVersion,
    PublicSeat,
    parse_account,
    parse_amount,
    parse_key,
    parse_node,
    parse_public_seat,
)
from registry.cli.http import DEFAULT_URL, UrlOption
from registry.cli.output import Output, OutputOption, refusals
from registry.cli.registering import (
    IPV4,
    IPV6,
    ROUTER_PORT,
    ROUTER_PORT_USUAL,
    ROUTER_VERSION,
    STORAGE_PORT,
    STORAGE_PORT_USUAL,
    STORAGE_VERSION,
    SUPPORTED_ROUTER,
    SUPPORTED_STORAGE,
    FeeOption,
    Reached,
    ReserveOption,
    change_contact,
    get_next_life,
    get_node,
    make_contact,
)
from registry.cli.sending import GenesisOption

if TYPE_CHECKING:
    from ledger.codec import Record
    from registry.cli.http import Service
    from registry.cli.sending import Target

LIFETIME_BLOCKS: Final = 2**31
"""As long as the network allows: the way to a machine without a network takes a while."""

FromOption: TypeAlias = Annotated[
    bytes,
    typer.Option("--from", parser=parse_account, metavar=ADDRESS, help="Account that pays."),
]
NodeOption: TypeAlias = Annotated[
    bytes, typer.Option("--node", parser=parse_node, metavar=ADDRESS, help="Address of the node.")
]
OutOption: TypeAlias = Annotated[
    Path, typer.Option("--out", help="The file to write; none is ever overwritten.")
]
NonceOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Number of the account's transaction, where several wait to be signed.",
        show_default=False,
    ),
]
SeatOption: TypeAlias = Annotated[
    PublicSeat | None,
    typer.Option(
        parser=parse_public_seat,
        metavar="LISTKEY:TIP[:CONSENSUSKEY]",
        help="To attest, and with a consensus key to stand for a seat among the validators: what "
        "`waypost keys seat` prints.",
    ),
]
DutyKeyOption: TypeAlias = Annotated[
    bytes,
    typer.Option(parser=parse_key, metavar="KEY", help="Its duty key: `waypost keys show`."),
]

app = typer.Typer(no_args_is_help=True, help="Write a transaction to a file, to sign it elsewhere.")


class Where(NamedTuple):
    """For which network a draft is, and where it goes."""

    url: str
    genesis: Path | None
    out: Path
    output: Output


@app.command()
def transfer(
    source: FromOption,
    to: Annotated[
        bytes, typer.Option(parser=parse_account, metavar=ADDRESS, help="Account that receives.")
    ],
    amount: Annotated[
        int, typer.Option(parser=parse_amount, metavar=AMOUNT, help="What it receives.")
    ],
    out: OutOption,
    nonce: NonceOption = None,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Send coins from one account to another."""
    from ledger.messages.transactions import Transfer

    body = Transfer(to, amount)
    _save_paid(Where(url, genesis, out, output), source, nonce, lambda _, __: body)


@app.command()
def register(
    operator: Annotated[
        bytes,
        typer.Option(
            parser=parse_account, metavar=ADDRESS, help="The operator, who pays the stake."
        ),
    ],
    node: NodeOption,
    duty_key: DutyKeyOption,
    stake: Annotated[
        int, typer.Option(parser=parse_amount, metavar=AMOUNT, help="The operator's stake.")
    ],
    out: OutOption,
    ipv4: Annotated[bytes | None, IPV4] = None,
    ipv6: Annotated[bytes | None, IPV6] = None,
    storage_port: Annotated[int, STORAGE_PORT] = STORAGE_PORT_USUAL,
    router_port: Annotated[int, ROUTER_PORT] = ROUTER_PORT_USUAL,
    storage_version: Annotated[ProgramVersion | None, STORAGE_VERSION] = None,
    router_version: Annotated[ProgramVersion | None, ROUTER_VERSION] = None,
    fee: FeeOption = 0,
    reserve: ReserveOption = None,
    seat: SeatOption = None,
    nonce: NonceOption = None,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Register a service node. Its key file signs first, then the operator's.

    Once the node has signed, any number of people may hold the file; only the operator whom it
    names can use it.
    """
    from ledger.messages.transactions import Place, Register, Registration
    from registry.addresses import encode_node
    from registry.drafts import UNSIGNED

    if not ipv4 and not ipv6:
        raise typer.BadParameter("a node needs --ipv4, --ipv6, or both")
    versions = storage_version or SUPPORTED_STORAGE, router_version or SUPPORTED_ROUTER
    contact = make_contact(Reached(ipv4, ipv6, storage_port, router_port, *versions))
    named = seat or PublicSeat(b"", b"")

    def make(service: "Service", target: "Target") -> Register:
        registration = Registration(
            node=node,
            life=get_next_life(service, encode_node(node)),
            operator=operator,
            beneficiary=operator,
            fee=fee,
            reserved=tuple(Place(*share) for share in sorted(reserve or ())),
            contact=contact,
            duty_key=duty_key,
            list_key=named.list_key,
            list_tip=named.tip,
            consensus_key=named.consensus_key,
            expiry_ms=target.time_ms + target.params.registration_ms,
        )
        return Register(
            registration=registration,
            node_signature=UNSIGNED,
            duty_signature=UNSIGNED,
            list_signature=UNSIGNED if named.list_key else b"",
            consensus_signature=UNSIGNED if named.consensus_key else b"",
            stake=stake,
        )

    _save_paid(Where(url, genesis, out, output), operator, nonce, make)


@app.command()
def contribute(
    source: FromOption,
    node: NodeOption,
    amount: Annotated[
        int, typer.Option(parser=parse_amount, metavar=AMOUNT, help="The stake to add.")
    ],
    out: OutOption,
    nonce: NonceOption = None,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Add stake to a node that waits for it."""
    from ledger.messages.transactions import Contribute

    where = Where(url, genesis, out, output)
    _save_for_node(where, source, nonce, node, lambda life: Contribute(node, life, amount, source))


@app.command()
def withdraw(
    source: FromOption,
    node: NodeOption,
    out: OutOption,
    nonce: NonceOption = None,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Take the whole of a contribution back from a node that still waits for stake."""
    from ledger.messages.transactions import Withdraw

    where = Where(url, genesis, out, output)
    _save_for_node(where, source, nonce, node, lambda life: Withdraw(node, life))


@app.command()
def unlock(
    source: FromOption,
    node: NodeOption,
    out: OutOption,
    nonce: NonceOption = None,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Ask a node to end its duty, so that all its stake comes back. Nothing takes this back."""
    from ledger.messages.transactions import RequestUnlock

    where = Where(url, genesis, out, output)
    _save_for_node(where, source, nonce, node, lambda life: RequestUnlock(node, life))


@app.command()
def claim(
    source: FromOption,
    node: NodeOption,
    out: OutOption,
    nonce: NonceOption = None,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Have what waits in a node paid to its beneficiary."""
    from ledger.messages.transactions import ClaimRewards

    where = Where(url, genesis, out, output)
    _save_for_node(where, source, nonce, node, lambda life: ClaimRewards(node, life))


@app.command()
def contact(
    node: NodeOption,
    out: OutOption,
    ipv4: Annotated[bytes | None, IPV4] = None,
    ipv6: Annotated[bytes | None, IPV6] = None,
    storage_port: Annotated[int | None, STORAGE_PORT] = None,
    router_port: Annotated[int | None, ROUTER_PORT] = None,
    storage_version: Annotated[ProgramVersion | None, STORAGE_VERSION] = None,
    router_version: Annotated[ProgramVersion | None, ROUTER_VERSION] = None,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Change a node's contact data at the epoch's end; what is not named stays as it is. Free."""
    from ledger.messages.transactions import ContactUpdate, UpdateContact
    from registry.addresses import encode_node
    from registry.drafts import UNSIGNED

    changes = Reached(ipv4, ipv6, storage_port, router_port, storage_version, router_version)
    if all(change is None for change in changes):
        raise typer.BadParameter("say what changes: an address, a port or a version")

    def make(service: "Service") -> UpdateContact:
        known = get_node(service, encode_node(node))
        wanted = make_contact(change_contact(known.pending_contact or known.contact, changes))
        update = ContactUpdate(node, known.life, known.contact_sequence + 1, wanted)
        return UpdateContact(update, UNSIGNED)

    _save_free(Where(url, genesis, out, output), make)


@app.command("set-keys")
def set_keys(
    node: NodeOption,
    out: OutOption,
    duty_key: Annotated[
        bytes | None,
        typer.Option(parser=parse_key, metavar="KEY", help="Its new duty key.", show_default=False),
    ] = None,
    seat: SeatOption = None,
    no_seat: Annotated[
        bool, typer.Option("--no-seat", help="Take list key and consensus key away.")
    ] = False,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Change the keys of a node's roles at the epoch's end; what is not named stays. Free.

    Every key proves itself, also one that stays: the key files of all of them sign.
    """
    from ledger.messages.transactions import KeyChange, SetKeys
    from registry.addresses import encode_node
    from registry.cli.duty import RoleKeys
    from registry.cli.http import convert
    from registry.drafts import UNSIGNED

    if (duty_key is None and seat is None and not no_seat) or (seat is not None and no_seat):
        raise typer.BadParameter("say what changes: --duty-key, and one of --seat and --no-seat")

    def make(service: "Service") -> SetKeys:
        known = convert(service.get(f"/v1/nodes/{encode_node(node)}"), RoleKeys)
        stays = PublicSeat(
            bytes.fromhex(known.list_key or ""), b"", bytes.fromhex(known.consensus_key or "")
        )
        now = PublicSeat(b"", b"") if no_seat else seat or stays
        # the chain of a key that stays goes on
        tip = b"" if now.list_key == stays.list_key else now.tip
        change = KeyChange(
            node=node,
            life=known.life,
            sequence=known.contact_sequence + 1,
            duty_key=duty_key or bytes.fromhex(known.duty_key),
            list_key=now.list_key,
            list_tip=tip,
            consensus_key=now.consensus_key,
        )
        return SetKeys(
            change=change,
            node_signature=UNSIGNED,
            duty_signature=UNSIGNED,
            list_signature=UNSIGNED if now.list_key else b"",
            consensus_signature=UNSIGNED if now.consensus_key else b"",
        )

    _save_free(Where(url, genesis, out, output), make)


# --- what they share ----------------------------------------------------------------------------


def _save_for_node(
    where: Where, source: bytes, nonce: int | None, node: bytes, make: Callable[[int], "Record"]
) -> None:
    """Save what an account asks of a node's present life."""
    from registry.addresses import encode_node

    def make_body(service: "Service", _target: "Target") -> "Record":
        return make(get_node(service, encode_node(node)).life)

    _save_paid(where, source, nonce, make_body)


def _save_paid(
    where: Where,
    source: bytes,
    nonce: int | None,
    make: Callable[["Service", "Target"], "Record"],
) -> None:
    from registry.cli.http import Service
    from registry.cli.offline import save_draft
    from registry.cli.sending import get_target, get_terms
    from registry.drafts import draft_paid

    with refusals(), Service(where.url) as service:
        target = get_target(service, where.genesis)
        terms = get_terms(service, target, source, LIFETIME_BLOCKS)
        if nonce is not None:
            terms = terms._replace(nonce=nonce)
        body = make(service, target)
        draft = draft_paid(target.name, target.genesis_hash, source, terms, body)
        save_draft(draft, where.out, where.output)


def _save_free(where: Where, make: Callable[["Service"], Any]) -> None:
    from registry.cli.http import Service
    from registry.cli.offline import save_draft
    from registry.cli.sending import get_target
    from registry.drafts import draft_free

    with refusals(), Service(where.url) as service:
        target = get_target(service, where.genesis)
        draft = draft_free(target.name, target.genesis_hash, make(service))
        save_draft(draft, where.out, where.output)
