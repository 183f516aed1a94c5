"""All nodes of a network, or some of them: `waypost node list`.

`SORTS` is the table of orders; `--open` shows those in which a contributor can take a place.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import typer

from registry.amounts import format_amount, format_duration, format_share
from registry.cli.arguments import ADDRESS, parse_account
from registry.cli.http import DEFAULT_URL, UrlOption
from registry.cli.output import Output, OutputOption, Table, emit, refusals

if TYPE_CHECKING:
    from registry.cli.http import Node, Service

PAGE: Final = 200

State: TypeAlias = Literal[
    "awaiting", "queued", "active", "exited", "decommissioned", "deregistered", "tombstoned"
]
"""A name in `ledger.messages.state.NODE_STATES`."""

Sort: TypeAlias = Literal["key", "open", "minimum", "fee", "stake", "since"]
"""A name in `SORTS`."""


class Listed(NamedTuple):
    """A node with what the service says of it, and the least that a contributor may stake."""

    node: "Node"
    answer: dict[str, Any]
    minimum: int
    """Atomic units; 0 where nothing is open."""


SORTS: Final[dict[str, Callable[[Listed], int | str]]] = {
    "key": lambda row: row.node.key,
    "open": lambda row: int(row.node.open),
    "minimum": lambda row: row.minimum,
    "fee": lambda row: row.node.fee,
    "stake": lambda row: int(row.node.staked),
    "since": lambda row: row.node.since_ms,
}
"""What nodes can be sorted by, smallest first; those that are equal by their key."""


def list_nodes(
    state: Annotated[
        State | None, typer.Option(help="Nodes in this state only.", show_default=False)
    ] = None,
    is_open: Annotated[
        bool,
        typer.Option(
            "--open", help="Those that wait for stake which anybody may add, and the terms."
        ),
    ] = False,
    operator: Annotated[
        bytes | None,
        typer.Option(
            parser=parse_account,
            metavar=ADDRESS,
            help="Nodes of this operator only.",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        Sort | None,
        typer.Option(help="What to sort by, smallest first: key, with --open what is open."),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Largest first.")] = False,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the registered nodes, all of them from one height.

    With `--open` only those in which a contributor can take a place at once, the one first that
    lacks least: what is open, the least that one has to stake, the places that are left, the
    operator's fee, what is kept for others, and for how long it has been waiting.
    """
    from registry.addresses import encode_account
    from registry.cli.http import Service

    if is_open and state not in (None, "awaiting"):
        raise typer.BadParameter("only a node that awaits stake is open")
    with refusals(), Service(url) as service:
        height, rows = _fetch(service, "awaiting" if is_open else state)
        if operator is not None:
            owner = encode_account(operator)
            rows = [row for row in rows if row.node.operator == owner]
        if is_open:
            rows = [row for row in rows if row.minimum]
        order = SORTS[sort or ("open" if is_open else "key")]
        rows.sort(key=lambda row: row.node.key)
        rows.sort(key=order, reverse=reverse)
        facts = {"height": height, "nodes": [row.answer for row in rows]}
        kind = "open" if is_open else state or "registered"
        caption = f"{len(rows)} {kind} node{'' if len(rows) == 1 else 's'} at height {height}"
        emit(facts, output, lambda: (_tabulate_open if is_open else _tabulate)(rows, caption))


def _fetch(service: "Service", state: str | None) -> tuple[int, list[Listed]]:
    """Return the height and all the nodes in a state, page by page."""
    from registry.cli.http import NodePage, convert

    found: list[dict[str, Any]] = []
    wanted: dict[str, str | int] = {"limit": PAGE} | ({"state": state} if state else {})
    cursor: dict[str, str] = {}
    while True:
        page = convert(service.get("/v1/nodes", **wanted, **cursor), NodePage)
        found += page.nodes
        if page.next is None or not page.nodes:
            return page.height, [_look_at(answer) for answer in found]
        cursor = {"cursor": page.next}


def _look_at(answer: dict[str, Any]) -> Listed:
    from ledger.rules.stakes import Open, minimum_contribution
    from registry.cli.http import Node, convert

    node = convert(answer, Node)
    is_open = node.state == "awaiting" and node.exit_ms is None and node.open_places > 0
    minimum = minimum_contribution(Open(int(node.open), node.open_places)) if is_open else 0
    return Listed(node, answer | {"minimum_contribution": str(minimum)}, minimum)


def _tabulate(rows: Sequence[Listed], caption: str) -> Table:
    cells = [
        [
            node.key,
            node.state,
            format_amount(int(node.staked)),
            format_amount(int(node.open)),
            node.contact.ipv4 or "-",
            node.contact.ipv6 or "-",
            node.swarm or "-",
        ]
        for node, _, _ in rows
    ]
    return Table(("node", "state", "stake", "open", "IPv4", "IPv6", "swarm"), cells, caption)


def _tabulate_open(rows: Sequence[Listed], caption: str) -> Table:
    from registry.cli.sources import now_ms

    now = now_ms()
    cells = [
        [
            node.key,
            format_amount(int(node.open)),
            format_amount(minimum),
            str(node.open_places),
            format_share(node.fee),
            _format_reserved(node, now),
            format_duration(max(0, now - node.since_ms)),
            node.operator,
        ]
        for node, _, minimum in rows
    ]
    columns = ("node", "open", "at least", "places", "fee", "reserved", "waiting", "operator")
    return Table(columns, cells, caption)


def _format_reserved(node: "Node", now: int) -> str:
    if not node.reserved:
        return "-"
    amount = format_amount(sum(int(place.amount) for place in node.reserved))
    if node.reserved_until_ms is None:
        return amount
    return f"{amount} for {format_duration(max(0, node.reserved_until_ms - now))}"
