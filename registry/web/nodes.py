"""Nodes: the table of all, those that take stake, and one node with its history."""

from typing import Any, Final

from ledger.messages.state import NODE_STATES
from ledger.rules.stakes import minimum_contribution
from registry.addresses import decode_node
from registry.api.answers import found
from registry.api.models import NodeCounts
from registry.card import PAST, make_card
from registry.web.history import read_history, tell_history
from registry.web.table import (
    COLUMNS,
    PAGE,
    Choice,
    Line,
    compute_open_stake,
    line_of,
    make_line,
)
from registry.web.visit import Shown, Visit

STATES: Final = tuple(NODE_STATES.values())
MOST_PAST: Final = 200
"""Nodes whose duty has ended that are shown: of them no rows are pushed."""


async def show_table(visit: Visit) -> Shown:
    """Nodes on their way and on duty, or those in one state."""
    choice = _read_choice(visit)
    if choice.state in PAST:
        lines = await _ask_past(visit, choice)
        total, page, pages = len(lines), 1, 1
    else:
        newest = visit.live.newest
        rows = visit.table.choose(visit.live.nodes.rows, newest, choice)
        total, pages = len(rows), max(1, -(-len(rows) // PAGE))
        page = min(visit.number("page", 1, 1), pages)
        start = (page - 1) * PAGE
        lines = [make_line(row, newest) for row in rows[start : start + PAGE]]
    return {
        "lines": lines,
        "total": total,
        "page": page,
        "pages": pages,
        "first": (page - 1) * PAGE + 1 if total else 0,
        "columns": COLUMNS,
        "choice": choice,
        "filters": _filters(choice),
        "states": STATES,
        "counts": visit.network.nodes.model_dump(),
        "known": sum(_counts_of(visit.network.nodes, past=False)),
        "most_past": MOST_PAST,
        "is_past": choice.state in PAST,
    }


def _counts_of(counts: NodeCounts, *, past: bool) -> list[int]:
    return [count for name, count in counts.model_dump().items() if (name in PAST) == past]


def _read_choice(visit: Visit) -> Choice:
    return Choice(
        state=visit.choice("state", STATES, ""),
        operator=visit.text("operator").lower(),
        is_open=visit.choice("open", ("1",), "") == "1",
        text=visit.text("q"),
        sort=visit.choice("sort", COLUMNS, "key"),
        is_down=visit.choice("order", ("up", "down"), "up") == "down",
    )


def _filters(choice: Choice) -> dict[str, str]:
    """What of a choice stands in the address, but for the order."""
    values = {
        "state": choice.state,
        "operator": choice.operator,
        "open": "1" if choice.is_open else "",
        "q": choice.text,
    }
    return {name: value for name, value in values.items() if value}


async def _ask_past(visit: Visit, choice: Choice) -> list[Line]:
    """Nodes whose duty has ended come from the ledger."""
    page = await visit.ask("nodes", after=b"", limit=MOST_PAST, state=choice.state)
    lines = [line_of(node) for node in page["nodes"]]
    if choice.operator:
        lines = [line for line in lines if line.operator.startswith(choice.operator)]
    if choice.text:
        text = choice.text.lower()
        lines = [
            line
            for line in lines
            if line.key.startswith(text) or text in line.address or line.operator.startswith(text)
        ]
    if choice.is_open:
        return []
    orders: dict[str, Any] = {
        "version": lambda line: [int(part) for part in line.version.split(".")],
        "since": lambda line: line.since_ms,
        "swarm": lambda line: line.swarm or 0,
        "address": lambda line: [int(part) for part in line.address.split(".") if part],
    }
    order = orders.get(choice.sort, lambda line: getattr(line, choice.sort))
    return sorted(lines, key=order, reverse=choice.is_down)


async def show_open(visit: Visit) -> Shown:
    """Nodes that anybody may add stake to, the least that is missing first."""
    newest = visit.live.newest
    rows = visit.table.choose(visit.live.nodes.rows, newest, Choice(state="awaiting", is_open=True))
    offers = []
    for row in rows:
        free = compute_open_stake(row, newest)
        offers.append((make_line(row, newest), minimum_contribution(free)))
    offers.sort(key=lambda offer: (offer[0].open, offer[0].key))
    pages = max(1, -(-len(offers) // PAGE))
    page = min(visit.number("page", 1, 1), pages)
    start = (page - 1) * PAGE
    return {
        "offers": offers[start : start + PAGE],
        "total": len(offers),
        "page": page,
        "pages": pages,
    }


async def show_node(visit: Visit) -> Shown:
    """Everything about one node."""
    key = visit.key("key", decode_node)
    node = found(await visit.ask("node", key=key), "node with this key: is it registered?")
    history = await read_history(visit, key)
    return {
        "title": f"Node {node['key'][:12]}…",
        "node": node,
        "groups": make_card(node, visit.now_ms),
        "history": history,
        "told": tell_history(history),
    }
