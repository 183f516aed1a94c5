"""`waypost list`: fetch, show and check the signed node list. No command here believes a server.

fetch     bring the cache up to date
show      the nodes of the list in the cache
swarm     who serves an account
verify    the same checks for files, offline
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from registry.cli.output import Output, OutputOption, Table, align, emit, refusals, warn

if TYPE_CHECKING:
    from ledger.messages.contact import Version
    from ledger.messages.entries import Entry
    from registry.client.cache import ListCache
    from registry.client.trusted import TrustedLists

DEFAULT_URL: Final = "http://127.0.0.1:8420"
ROWS_SHOWN: Final = 20

app = typer.Typer(
    name="list", help="Fetch, show and check the signed node list.", no_args_is_help=True
)

GenesisOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--genesis", help="Genesis file; that of the home directory by default."),
]
SourcesOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--url", envvar="WAYPOST_URL", help="A source; may be given several times."),
]
CacheOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--out", help="Folder of verified lists; one in the home by default."),
]
ExpiredOption: TypeAlias = Annotated[
    bool, typer.Option("--allow-expired", help="Use a list past its valid-until too.")
]


@app.command()
def fetch(
    genesis: GenesisOption = None,
    url: SourcesOption = None,
    out: CacheOption = None,
    allow_expired: ExpiredOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Fetch the newest list, verify it from the genesis file on, and keep it."""
    with refusals():
        trusted, source = fetch_newest(url or [DEFAULT_URL], genesis, out, allow_expired)
        facts = _describe(trusted) | {"source": source}
        emit(facts, output, lambda: _format_facts(trusted, source))


@app.command()
def show(
    genesis: GenesisOption = None,
    out: CacheOption = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Nodes to show; 0 shows all.")
    ] = ROWS_SHOWN,
    filter_: Annotated[
        str, typer.Option("--filter", help="Only nodes with this text in one of their columns.")
    ] = "",
    allow_expired: ExpiredOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the nodes of the newest list that was fetched."""
    with refusals():
        trusted = _resume(genesis, out, allow_expired)
        nodes = [_describe_node(entry) for entry in trusted.entries]
        found = [node for node in nodes if not filter_ or _matches(node, filter_.lower())]
        shown = found[:limit] if limit else found
        facts = _describe(trusted) | {"found": len(found), "nodes": shown}
        caption = f"{len(shown)} of {len(found)} nodes"
        if len(found) != len(nodes):
            caption += f" that match, of {len(nodes)}"
        emit(facts, output, lambda: _tabulate(shown, f"{caption}, epoch {trusted.header.epoch}"))


@app.command()
def swarm(
    account: Annotated[
        str, typer.Argument(help="66 hex digits with the prefix, 64 without, or an address.")
    ],
    genesis: GenesisOption = None,
    out: CacheOption = None,
    allow_expired: ExpiredOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Name the swarm that serves an account, and its nodes."""
    account_id = _parse_account(account)
    with refusals():
        trusted = _resume(genesis, out, allow_expired)
        members = trusted.swarm_of(account_id)
        swarm_id = str(members[0].swarm_id) if members else None
        nodes = [_describe_node(entry) for entry in members]
        facts = _describe(trusted) | {"swarm": swarm_id, "nodes": nodes}
        named = f"swarm {swarm_id}" if members else "no swarm: the list is empty"
        emit(facts, output, lambda: _tabulate(nodes, f"{named}, epoch {trusted.header.epoch}"))


@app.command()
def verify(
    genesis: Annotated[Path, typer.Argument(help="The genesis file.")],
    header: Annotated[Path, typer.Argument(help="A signed header.")],
    full: Annotated[Path | None, typer.Argument(help="The `full` file of its list.")] = None,
    allow_expired: ExpiredOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Verify files, offline and without the cache."""
    from registry.client.cache import read_bounded
    from registry.client.trusted import MAX_SIGNED_HEADER_BYTES
    from registry.formats.full import MAX_FULL_BYTES

    with refusals():
        trusted = _trust(_read_genesis(genesis), allow_expired)
        trusted.update(read_bounded(header, MAX_SIGNED_HEADER_BYTES))
        if full is not None:
            trusted.load_full(read_bounded(full, MAX_FULL_BYTES))
        _warn_if_degraded(trusted)
        facts = _describe(trusted) | {"list_verified": full is not None}
        emit(facts, output, lambda: _format_facts(trusted))


# ---- What the commands start from ----


def fetch_newest(
    urls: Sequence[str], genesis: Path | None, folder: Path | None, allow_expired: bool
) -> tuple["TrustedLists", str]:
    """Bring the cache up to date; return what is verified, and the source of its newest header."""
    from registry.client.http import fetch_lists

    trusted, cache = _open(genesis, folder, allow_expired)
    fetched = fetch_lists(urls, trusted, cache)
    for source, failure in fetched.failures.items():
        warn(f"{source}: {failure}")
    _warn_if_degraded(trusted)
    return trusted, fetched.source


def _open(
    genesis: Path | None, folder: Path | None, allow_expired: bool
) -> tuple["TrustedLists", "ListCache"]:
    from registry.client.cache import ListCache
    from registry.home import LISTS, default_genesis, default_home

    home = default_home()
    raw = _read_genesis(genesis or default_genesis(home))
    trusted = _trust(raw, allow_expired)
    # One folder a network, since a home may see several: a devnet that starts over is another.
    network = trusted.genesis_hash.hex()[:16]
    return trusted, ListCache(folder or home / LISTS / network, raw)


def _resume(genesis: Path | None, folder: Path | None, allow_expired: bool) -> "TrustedLists":
    trusted, cache = _open(genesis, folder, allow_expired)
    cache.resume(trusted)
    _warn_if_degraded(trusted)
    return trusted


def _trust(genesis: bytes, allow_expired: bool) -> "TrustedLists":
    from time import time_ns

    from registry.client.trusted import TrustedLists

    return TrustedLists(genesis, time_ns() // 10**6, allow_expired=allow_expired)


def _read_genesis(path: Path) -> bytes:
    from ledger.messages.genesis import MAX_GENESIS_BYTES
    from registry.client.cache import read_bounded

    try:
        return read_bounded(path, MAX_GENESIS_BYTES)
    except FileNotFoundError:
        raise typer.BadParameter(
            f"there is no genesis file {path}: name one, or set WAYPOST_HOME"
        ) from None


def _parse_account(text: str) -> bytes:
    from registry.addresses import decode_account

    digits = text.lower()
    if len(digits) == 66 and all(digit in "0123456789abcdef" for digit in digits):
        return bytes.fromhex(digits)
    try:
        return decode_account(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, or as 66 hex digits with its prefix") from None


def _warn_if_degraded(trusted: "TrustedLists") -> None:
    from registry.client.trusted import Status

    if trusted.is_empty or trusted.status is Status.FRESH:
        return
    until = _format_time(trusted.header.fresh_until_ms)
    warn(f"the list is {trusted.status}: it was fresh until {until}")


# ---- How it is shown ----


def _describe(trusted: "TrustedLists") -> dict[str, Any]:
    header, signers = trusted.header, trusted.signers
    return {
        "genesis_hash": trusted.genesis_hash.hex(),
        "epoch": header.epoch,
        "height": header.height,
        "header_hash": header.hash.hex(),
        "list_hash": header.list_hash.hex(),
        "node_count": header.node_count,
        "swarm_count": header.swarm_count,
        "valid_after_ms": header.valid_after_ms,
        "fresh_until_ms": header.fresh_until_ms,
        "valid_until_ms": header.valid_until_ms,
        "status": str(trusted.status),
        "signers": signers._asdict(),
        "single_signer": trusted.is_single_signer,
        "fingerprint": trusted.fingerprint,
    }


def _format_facts(trusted: "TrustedLists", source: str = "") -> str:
    header, words = trusted.header, trusted.fingerprint
    fresh, valid = _format_time(header.fresh_until_ms), _format_time(header.valid_until_ms)
    facts = [
        ("epoch", str(header.epoch)),
        ("nodes", f"{header.node_count} in {header.swarm_count} swarms"),
        ("signed by", format_signers(trusted)),
        ("status", f"{trusted.status}: fresh until {fresh}, valid until {valid}"),
        ("fingerprint", " ".join(words[:6])),
        ("", " ".join(words[6:])),
    ]
    return align([*facts, ("source", source)] if source else facts)


def format_signers(trusted: "TrustedLists") -> str:
    """Return who signed the newest header."""
    signers = trusted.signers
    share = 100 * signers.weight // signers.total
    signed = f"{signers.signed} of {signers.seats} attestors, {share} % of the weight"
    return signed + (" (single signer)" if trusted.is_single_signer else "")


def _describe_node(entry: "Entry") -> dict[str, Any]:
    from ipaddress import ip_address

    from registry.addresses import encode_node

    contact = entry.contact
    return {
        "node": encode_node(entry.key),
        "swarm": str(entry.swarm_id),
        "ipv4": str(ip_address(contact.ipv4)) if contact.ipv4 else None,
        "ipv6": str(ip_address(contact.ipv6)) if contact.ipv6 else None,
        "storage_port": contact.storage_port,
        "router_port": contact.router_port,
        "storage_version": format_version(contact.storage_version),
        "router_version": format_version(contact.router_version),
    }


_HEADINGS: Final = (
    *("node", "swarm", "IPv4", "IPv6"),
    *("storage port", "router port", "storage version", "router version"),
)


def _tabulate(nodes: Sequence[dict[str, Any]], caption: str) -> Table:
    rows = [["-" if cell is None else str(cell) for cell in node.values()] for node in nodes]
    return Table(_HEADINGS, rows, caption)


def _matches(node: dict[str, Any], text: str) -> bool:
    return any(text in str(cell).lower() for cell in node.values() if cell is not None)


def format_version(version: "Version") -> str:
    """Return a version as people write it."""
    return f"{version.major}.{version.minor}.{version.patch}"


def _format_time(time_ms: int) -> str:
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"  # later than the calendar goes
