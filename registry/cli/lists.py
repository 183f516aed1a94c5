"""`waypost list`: fetch, show and check the signed node list. No command here believes a server.

fetch     bring the cache up to date
show      the nodes of the list in the cache
swarm     who serves an account
verify    the same checks for files, offline
bundle    the list and all that verifies it as one file (list_files.py)
watch     keep a file up to date for other programs (list_files.py)
audit     compare what several sources serve (list_audit.py)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from registry.cli.list_audit import audit
from registry.cli.list_facts import describe, describe_node, format_facts
from registry.cli.list_files import bundle, watch
from registry.cli.output import Output, OutputOption, Table, emit, refusals
from registry.cli.sources import (
    DEFAULT_URL,
    AgreeOption,
    CacheOption,
    CheckpointOption,
    ExpiredOption,
    GenesisOption,
    SourcesOption,
    fetch_newest,
    open_lists,
    read_beyond,
    read_genesis,
    resume,
    trust,
    warn_if_degraded,
)

ROWS_SHOWN: Final = 20

app = typer.Typer(
    name="list", help="Fetch, show and check the signed node list.", no_args_is_help=True
)


@app.command()
def fetch(
    genesis: GenesisOption = None,
    url: SourcesOption = None,
    out: CacheOption = None,
    allow_expired: ExpiredOption = False,
    checkpoint: CheckpointOption = "",
    agree: AgreeOption = 0,
    output: OutputOption = Output.TEXT,
) -> None:
    """Fetch the newest list, verify it from the genesis file on, and keep it."""
    beyond = read_beyond(checkpoint, agree)
    with refusals():
        opened = open_lists(genesis, out, allow_expired)
        (trusted, _), source = fetch_newest(url or [DEFAULT_URL], opened, beyond)
        facts = describe(trusted) | {"source": source}
        emit(facts, output, lambda: format_facts(trusted, source))


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
        trusted = resume(genesis, out, allow_expired)
        nodes = [describe_node(entry) for entry in trusted.entries]
        found = [node for node in nodes if not filter_ or _matches(node, filter_.lower())]
        shown = found[:limit] if limit else found
        facts = describe(trusted) | {"found": len(found), "nodes": shown}
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
        trusted = resume(genesis, out, allow_expired)
        members = trusted.swarm_of(account_id)
        swarm_id = str(members[0].swarm_id) if members else None
        nodes = [describe_node(entry) for entry in members]
        facts = describe(trusted) | {"swarm": swarm_id, "nodes": nodes}
        named = f"swarm {swarm_id}" if members else "no swarm: the list is empty"
        emit(facts, output, lambda: _tabulate(nodes, f"{named}, epoch {trusted.header.epoch}"))


@app.command()
def verify(
    genesis: Annotated[Path, typer.Argument(help="The genesis file.")],
    file: Annotated[Path, typer.Argument(help="A signed header, or a bundle.")],
    full: Annotated[Path | None, typer.Argument(help="The `full` file of a header's list.")] = None,
    path: Annotated[
        Path | None, typer.Option("--path", help="The trust path from genesis to a header.")
    ] = None,
    allow_expired: ExpiredOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Verify files, offline and without the cache."""
    from registry.client.cache import read_bounded
    from registry.formats.bundle import MAX_BUNDLE_BYTES, is_bundle
    from registry.formats.full import MAX_FULL_BYTES
    from registry.formats.trust import MAX_PATH_BYTES

    with refusals():
        trusted = trust(read_genesis(genesis), allow_expired)
        data = read_bounded(file, MAX_BUNDLE_BYTES)
        if is_bundle(data):
            trusted.load_bundle(data)
        else:
            trusted.update(data, read_bounded(path, MAX_PATH_BYTES) if path else b"")
        if full is not None:
            trusted.load_full(read_bounded(full, MAX_FULL_BYTES))
        warn_if_degraded(trusted)
        facts = describe(trusted) | {"list_verified": not trusted.needs_list}
        emit(facts, output, lambda: format_facts(trusted))


app.command()(bundle)
app.command()(watch)
app.command()(audit)


def _parse_account(text: str) -> bytes:
    from registry.addresses import decode_account

    digits = text.lower()
    if len(digits) == 66 and all(digit in "0123456789abcdef" for digit in digits):
        return bytes.fromhex(digits)
    try:
        return decode_account(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, or as 66 hex digits with its prefix") from None


# ---- How it is shown ----


_HEADINGS: Final = (
    *("node", "swarm", "IPv4", "IPv6"),
    *("storage port", "router port", "storage version", "router version"),
)


def _tabulate(nodes: Sequence[dict[str, Any]], caption: str) -> Table:
    rows = [["-" if cell is None else str(cell) for cell in node.values()] for node in nodes]
    return Table(_HEADINGS, rows, caption)


def _matches(node: dict[str, Any], text: str) -> bool:
    return any(text in str(cell).lower() for cell in node.values() if cell is not None)
