"""What a registration needs: its options, contact data, the terms that a node signs, its life.

`waypost node register`, the wizard of `waypost node setup` and `waypost tx build` share it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
import typer

from ledger.errors import Refusal
from ledger.types import BASIS_POINTS
from registry.cli.arguments import (
    ADDRESS,
    AMOUNT,
    KEY_FILE,
    NO_ADDRESS,
    VERSION,
    ProgramVersion,
    Share,
    parse_ipv4,
    parse_ipv6,
    parse_share,
    parse_version,
)

if TYPE_CHECKING:
    from ledger.codec import Record
    from ledger.messages.contact import Contact
    from ledger.messages.tables import Table
    from registry.cli.http import Contact as KnownContact
    from registry.cli.http import Node, Service
    from registry.cli.sending import Target
    from registry.wallet import NodeTerms

R = TypeVar("R", bound="Record")

REGISTRATION_MS: Final = 3_600_000
"""How long a registration may be used, where the network allows it; it is sent at once."""

SUPPORTED_STORAGE: Final = ProgramVersion(2, 11, 0)
"""What a storage server is taken to be, unless its operator says otherwise."""

SUPPORTED_ROUTER: Final = ProgramVersion(11, 6, 0)
"""The same for a service node's program."""

NODE_KEYS: Final = typer.Option("--node", metavar=KEY_FILE, help="Key file of the node.")
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

STORAGE_PORT_USUAL: Final = 22021
ROUTER_PORT_USUAL: Final = 22020

FeeOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--fee",
        min=0,
        max=BASIS_POINTS,
        metavar="BASISPOINTS",
        help="The operator's part of the rewards, in parts of 10,000.",
    ),
]
ReserveOption: TypeAlias = Annotated[
    list[Share] | None,
    typer.Option(
        "--reserve",
        parser=parse_share,
        metavar=f"{ADDRESS}={AMOUNT}",
        help="A place that is kept for one account; may be repeated.",
    ),
]


class Newest(msgspec.Struct):
    """Of a header its epoch."""

    epoch: int


class Headers(msgspec.Struct):
    """Of the network's summary its newest header."""

    newest_header: Newest


class ProvenRecord(msgspec.Struct):
    """Of a proof the record that it is of; it is believed like every other answer here."""

    record: str | None


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


def change_contact(known: "KnownContact", changes: Reached) -> Reached:
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


def agree(
    target: "Target",
    life: int,
    owner: bytes,
    fee: int,
    reserved: Sequence[Share],
    contact: "Contact",
) -> "NodeTerms":
    """Return the terms that a node signs for its operator, for use at once."""
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


def get_next_life(service: "Service", address: str) -> int:
    """Return the life that a registration begins: the first, unless the node had one before."""
    from ledger.messages.tables import HISTORIES
    from registry.addresses import decode_node
    from registry.cli.http import Node, Refused, convert

    answer = service.find(f"/v1/nodes/{address}")
    if answer is not None:
        return convert(answer, Node).life + 1
    try:
        history = look_up(service, HISTORIES, decode_node(address))
    except Refused:
        # a state that is not kept just now says nothing; the ledger will
        return 1
    return 1 if history is None else history.life + 1


def look_up(service: "Service", table: "Table[R]", key: bytes) -> R | None:
    """Return a record of the state at the newest epoch's end, None if there is none.

    Raises `Refused` where that state is not kept.
    """
    from registry.cli.http import BadAnswer, convert

    epoch = convert(service.get("/v1/network"), Headers).newest_header.epoch
    answer = service.get(f"/v1/proofs/{table.name}/{key.hex()}", epoch=epoch)
    raw = convert(answer, ProvenRecord).record
    try:
        return None if raw is None else table.codec.decode(bytes.fromhex(raw))
    except (ValueError, Refusal):
        raise BadAnswer(f"the service gives a record of {table.name} that is none") from None


def get_node(service: "Service", address: str) -> "Node":
    """Return what a service says of a node. Raises `Refused` where it does not know it."""
    from registry.cli.http import Node, convert

    return convert(service.get(f"/v1/nodes/{address}"), Node)
