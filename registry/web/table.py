"""The table of nodes: which rows, in which order, a page at a time; all of it from memory.

- Ten thousand rows take some milliseconds. What was chosen and sorted is kept for the view that it
  is of, since many look at the same few tables.
- Whole addresses and beginnings of them are compared as bits of the key: writing the address of
  each node for each letter that somebody types would take a second.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from ledger.messages.state import NODE_STATES
from ledger.rules.stakes import Open, compute_open
from registry.addresses import NODE, encode_node
from registry.api.live import Newest
from registry.api.node_table import Rows
from registry.formats.session import NO_ADDRESS, NO_SWARM
from registry.roster import MILLIONTHS
from registry.view import NodeRow

PAGE: Final = 50
KEEP: Final = 32
"""Choices that are kept."""

LETTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
"""Of bech32, by value."""


class Line(NamedTuple):
    """A node as a row of the table shows it."""

    key: str
    state: str
    operator: str
    fee: int
    staked: int
    requirement: int
    open: int
    open_places: int
    swarm: int | None
    address: str
    """IPv4; empty if it has none."""
    version: str
    since_ms: int
    leaves: bool


class Choice(NamedTuple):
    """What somebody wants to see."""

    state: str = ""
    """A name in `NODE_STATES`; empty for all."""
    operator: str = ""
    """An account's address, or its beginning."""
    is_open: bool = False
    """Whether anybody may add stake."""
    text: str = ""
    """Part of a key, an address, an operator or a swarm."""
    sort: str = "key"
    is_down: bool = False
    """Whether the greatest comes first."""


class Column(NamedTuple):
    """A column that rows can be sorted by."""

    title: str
    order: Callable[[NodeRow], Any]
    is_number: bool = False


STATE_ORDER: Final = {name: place for place, name in enumerate(NODE_STATES.values())}

COLUMNS: Final = {
    "key": Column("Node", lambda row: row.service_node_pubkey),
    "state": Column("State", lambda row: STATE_ORDER[row.state]),
    "staked": Column("Stake", lambda row: row.total_contributed, is_number=True),
    "fee": Column("Fee", lambda row: row.operator_fee, is_number=True),
    "operator": Column("Operator", lambda row: row.operator_address),
    "swarm": Column("Swarm", lambda row: row.swarm_id),
    "address": Column("Address", lambda row: [int(part) for part in row.public_ip.split(".")]),
    "version": Column("Version", lambda row: row.service_node_version),
    "since": Column("Since", lambda row: row.since_ms),
}
"""By the name that stands in the address of the page."""


class Table:
    """Choices of the rows of the newest view; used on one event loop only."""

    def __init__(self) -> None:
        self._height = -1
        self._kept: OrderedDict[Choice, Sequence[NodeRow]] = OrderedDict()

    def choose(self, rows: Rows, newest: Newest, choice: Choice) -> Sequence[NodeRow]:
        """Return the rows that a choice leaves, in its order."""
        if self._height != newest.view.height:
            self._height = newest.view.height
            self._kept.clear()
        kept = self._kept.get(choice)
        if kept is None:
            kept = self._kept[choice] = choose(rows.values(), newest, choice)
            if len(self._kept) > KEEP:
                self._kept.popitem(last=False)
        self._kept.move_to_end(choice)
        return kept


def choose(rows: Iterable[NodeRow], newest: Newest, choice: Choice) -> list[NodeRow]:
    """Return the rows that a choice leaves, in its order; equal ones by ascending key."""
    found = list(rows)
    if choice.state:
        found = [row for row in found if row.state == choice.state]
    if choice.operator:
        found = [row for row in found if row.operator_address.startswith(choice.operator)]
    if choice.is_open:
        found = [row for row in found if compute_open_stake(row, newest).amount]
    if choice.text:
        fits = _matcher(choice.text.lower())
        found = [row for row in found if fits(row)]
    found.sort(key=lambda row: row.service_node_pubkey)
    found.sort(key=COLUMNS[choice.sort].order, reverse=choice.is_down)
    return found


def _matcher(text: str) -> Callable[[NodeRow], bool]:
    """Return what finds a text in a row."""
    if text.startswith(f"{NODE}1"):
        letters = text[len(NODE) + 1 :][:51]
        if any(letter not in LETTERS for letter in letters):
            return lambda _row: False
        size = 5 * len(letters)
        wanted = sum(
            LETTERS.index(letter) << (size - 5 * place) for place, letter in enumerate(letters, 1)
        )
        return lambda row: int(row.service_node_pubkey, 16) >> (256 - size) == wanted
    return lambda row: (
        text in row.service_node_pubkey
        or text in row.public_ip
        or row.operator_address.startswith(text)
        or (row.active and text in (str(row.swarm_id), row.swarm))
    )


def compute_open_stake(row: NodeRow, newest: Newest) -> Open:
    """Return what of a node's stake is open to everybody: nothing unless it waits for stake."""
    if row.funded:
        return Open(0, 0)
    is_kept = newest.view.time_ms < row.reserved_until_ms
    places = newest.network.max_contributors - len(row.contributors)
    reserved = tuple(row.reserved) if is_kept else ()
    free = compute_open(row.staking_requirement, row.total_contributed, places, reserved)
    return free if free.amount > 0 and free.places > 0 else Open(0, 0)


def make_line(row: NodeRow, newest: Newest) -> Line:
    """Return a row as it is shown."""
    free = compute_open_stake(row, newest)
    return Line(
        key=encode_node(bytes.fromhex(row.service_node_pubkey)),
        state=row.state,
        operator=row.operator_address,
        fee=row.operator_fee // MILLIONTHS,
        staked=row.total_contributed,
        requirement=row.staking_requirement,
        open=free.amount,
        open_places=free.places,
        swarm=None if row.swarm_id == NO_SWARM else row.swarm_id,
        address="" if row.public_ip == NO_ADDRESS else row.public_ip,
        version=".".join(map(str, row.service_node_version)),
        since_ms=row.since_ms,
        leaves=row.requested_unlock_height != 0,
    )


def line_of(node: dict[str, Any]) -> Line:
    """Return the line of a node as the query `nodes` describes it."""
    contact = node["contact"]
    return Line(
        key=node["key"],
        state=node["state"],
        operator=node["operator"],
        fee=node["fee"],
        staked=int(node["staked"]),
        requirement=int(node["requirement"]),
        open=int(node["open"]),
        open_places=node["open_places"],
        swarm=None if node["swarm"] is None else int(node["swarm"]),
        address=contact["ipv4"] or "",
        version=".".join(map(str, contact["router_version"])),
        since_ms=node["since_ms"],
        leaves=node["exit_ms"] is not None,
    )
