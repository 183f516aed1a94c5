"""`waypost proof`: a record of the ledger, believed because it is proven and not who tells it.

The newest final header is fetched and verified from the genesis file on, as `waypost list fetch`
does; the record's proof comes from whichever source has one that leads to that header.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from registry.amounts import format_amount, format_share, format_time
from registry.cli.list_facts import format_signers, format_version
from registry.cli.output import Output, OutputOption, align, emit, refusals, warn
from registry.cli.sources import (
    DEFAULT_URL,
    CacheOption,
    ExpiredOption,
    GenesisOption,
    SourcesOption,
    fetch_newest,
    open_lists,
)

if TYPE_CHECKING:
    from ledger.codec import Record
    from ledger.messages.contact import Contact
    from ledger.messages.lists import ListHeader
    from ledger.messages.state import Node, ParamsState
    from ledger.messages.tables import Table
    from registry.client.trusted import TrustedLists

AMOUNTS: Final = frozenset((
    "accrued", "accumulator", "amount", "balance", "entry", "next", "paid", "requirement",
    "supply", "swarm_id", "taken", "values",
))  # fmt: skip
"""Fields whose numbers pass 2^53: JSON has them as decimal strings."""

USUAL_TABLES: Final = {"wpa": "accounts", "wpn": "nodes"}
"""Where the record of an address lies, unless another table is named."""

app = typer.Typer()


class Asked(NamedTuple):
    """Which record is wanted."""

    table: "Table[Any]"
    key: bytes


@app.command()
def proof(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            help="Address of an account or a node; with --table also a key as hex.",
            show_default=False,
        ),
    ] = "",
    table: Annotated[
        str,
        typer.Option(
            "--table",
            metavar="TABLE",
            help="Name of a table of the state, where it is not accounts or nodes.",
            show_default=False,
        ),
    ] = "",
    genesis: GenesisOption = None,
    url: SourcesOption = None,
    out: CacheOption = None,
    allow_expired: ExpiredOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show an account, a node or any other record of the ledger, with its proof checked."""
    asked = _parse(key, table)
    urls = url or [DEFAULT_URL]
    with refusals():
        opened = open_lists(genesis, out, allow_expired)
        (trusted, _), first = fetch_newest(urls, opened, want_list=False)
        record, source = _fetch_record(dict.fromkeys([first, *urls]), trusted.header, asked)
        facts = _describe(trusted, asked, record) | {"source": source}
        emit(facts, output, lambda: _format(trusted, asked, record, source))


def _parse(text: str, name: str) -> Asked:
    """Return which record is meant."""
    from ledger.messages.tables import TABLE_OF
    from registry.addresses import decode_record_key

    name = name or USUAL_TABLES.get(text[:3].lower(), "")
    if not name:
        raise typer.BadParameter("name an account or a node by its address, or say --table")
    table = TABLE_OF.get(name)
    if table is None:
        names = ", ".join(TABLE_OF)
        raise typer.BadParameter(f"there is no table {name!r}, but: {names}")
    try:
        return Asked(table, decode_record_key(table, text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _fetch_record(
    urls: Iterable[str], header: "ListHeader", asked: Asked
) -> tuple["Record | None", str]:
    """Return the record that the first proof that holds shows, and its source.

    Raises the first source's error if none of them has one.
    """
    from ledger.errors import Refusal
    from registry.cli.http import Service, ServiceError
    from registry.client.proofs import read_record

    errors: dict[str, Refusal | ServiceError] = {}
    for url in urls:
        try:
            with Service(url) as service:
                data = _ask(service, header.epoch, asked)
            record = read_record(header, asked.table, asked.key, data)
        except (Refusal, ServiceError) as error:
            errors[url] = error
        else:
            for other, failure in errors.items():
                warn(f"{other}: {failure}")
            return record, url
    first = next(iter(errors.values()))
    for url, each in errors.items():
        first.add_note(f"{url}: {each}")
    raise first


def _ask(service: Any, epoch: int, asked: Asked) -> bytes:
    """Return the proof that a service gives. Raises `ServiceError`."""
    from registry.cli.http import Proof, convert

    path = "/v1/proofs/" + asked.table.name + (f"/{asked.key.hex()}" if asked.key else "")
    return bytes.fromhex(convert(service.get(path, epoch=epoch), Proof).proof)


# ---- How it is shown ----


def _describe(trusted: "TrustedLists", asked: Asked, record: "Record | None") -> dict[str, Any]:
    header = trusted.header
    return {
        "table": asked.table.name,
        "key": asked.key.hex(),
        "record": None if record is None else _plain(record),
        "epoch": header.epoch,
        "height": header.height,
        "time_ms": header.valid_after_ms,
        "header_hash": header.hash.hex(),
        "state_root": header.state_root.hex(),
        "status": str(trusted.status),
        "signers": trusted.signers._asdict(),
        "single_signer": trusted.is_single_signer,
    }


def _plain(value: Any, name: str = "") -> Any:
    """Return a record as JSON has it: fields by name, bytes as hex, amounts as strings."""
    if hasattr(value, "__struct_fields__"):
        return {name: _plain(getattr(value, name), name) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_plain(item, name) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if name in AMOUNTS else value


def _format(trusted: "TrustedLists", asked: Asked, record: "Record | None", source: str) -> str:
    header = trusted.header
    proven = f"by the header of epoch {header.epoch}, signed by {format_signers(trusted)}"
    return align(
        [
            *_list_facts(asked, record),
            ("as of", f"{format_time(header.valid_after_ms)}, block {header.height}"),
            ("proven", proven),
            ("source", source),
        ]
    )


def _list_facts(asked: Asked, record: Any) -> list[tuple[str, str]]:
    from registry.addresses import encode_account, encode_node

    match asked.table.name, record:
        case "accounts", None:
            return [
                ("account", encode_account(asked.key)),
                ("balance", f"{format_amount(0)}: it was never used"),
            ]
        case "accounts", _:
            return [
                ("account", encode_account(asked.key)),
                ("balance", format_amount(record.balance)),
                ("nonce", str(record.nonce)),
            ]
        case "nodes", None:
            return [("node", encode_node(asked.key)), ("state", "not registered")]
        case "nodes", _:
            return [("node", encode_node(asked.key)), *_list_node_facts(record)]
        case "contacts", contact if contact is not None:
            return [("node", encode_node(asked.key)), *_list_contact(contact)]
        case "params", _:
            return _list_parameters(record)
    head = [("table", asked.table.name)]
    if asked.key:
        head.append(("key", asked.key.hex()))
    if record is None:
        return [*head, ("record", "there is none")]
    return [*head, *_list_fields(_plain(record))]


def _list_node_facts(node: "Node") -> list[tuple[str, str]]:
    from ledger.messages.state import NODE_STATES
    from registry.addresses import encode_account

    staked = sum(row.amount for row in node.contributions)
    return [
        ("state", f"{NODE_STATES.get(node.state, node.state)} since {format_time(node.since_ms)}"),
        ("life", str(node.life)),
        ("operator", encode_account(node.operator)),
        ("fee", format_share(node.fee)),
        ("staked", f"{format_amount(staked)} of {format_amount(node.requirement)}"),
        *(
            ("contributor", f"{format_amount(row.amount)} of {encode_account(row.account)}")
            for row in node.contributions
        ),
    ]


def _list_contact(contact: "Contact") -> list[tuple[str, str]]:
    from ipaddress import ip_address

    return [
        ("IPv4", str(ip_address(contact.ipv4)) if contact.ipv4 else "none"),
        ("IPv6", str(ip_address(contact.ipv6)) if contact.ipv6 else "none"),
        ("storage", f"port {contact.storage_port}, {format_version(contact.storage_version)}"),
        ("router", f"port {contact.router_port}, {format_version(contact.router_version)}"),
    ]


def _list_parameters(params: "ParamsState") -> list[tuple[str, str]]:
    from ledger.params import PARAMETERS

    rows = []
    for place, parameter in enumerate(PARAMETERS):
        value = str(params.values[place])
        if params.next and params.next[place] != params.values[place]:
            value += f", from {format_time(params.from_ms)} on {params.next[place]}"
        rows.append((parameter.name, f"{value} {parameter.unit}"))
    return rows


def _list_fields(fields: Any, before: str = "") -> list[tuple[str, str]]:
    """Return the fields of a plain record, those of a record in it behind its name."""
    rows: list[tuple[str, str]] = []
    for name, value in fields.items():
        if isinstance(value, dict):
            rows += _list_fields(value, f"{before}{name} ")
        elif isinstance(value, list):
            rows.append((before + name, ", ".join(map(_join, value)) or "none"))
        else:
            rows.append((before + name, str(value) or "none"))
    return rows


def _join(value: Any) -> str:
    return " ".join(map(str, value.values())) if isinstance(value, dict) else str(value)
