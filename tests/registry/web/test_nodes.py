"""The table of nodes and the open ones: what is chosen, in which order, page by page."""

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.messages.state import NODE_STATES
from registry.addresses import NODE, decode_node, encode_node
from registry.api.live import Newest
from registry.card import PAST
from registry.formats.session import NO_ADDRESS, NO_SWARM, SessionContributor
from registry.view import NodeRow
from registry.web.table import COLUMNS, PAGE, Choice, Table, choose, compute_open_stake
from tests.registry.api.fake_ledger import make_node, make_view, push_of
from tests.registry.web.explored import Site, key_of
from tests.registry.web.markup import Read


def shown(page: str) -> list[str]:
    """The nodes of a table, in its order."""
    return [
        e.attributes["data-row"]
        for e in Read(page).named("tr")
        if e.attributes.get("data-row", "").startswith(f"{NODE}1")
    ]


def everybody(site: Site) -> list[dict[str, Any]]:
    """All nodes on their way or on duty, as the API tells of them."""
    nodes: list[dict[str, Any]] = site.client.get("/v1/nodes?limit=200").json()["nodes"]
    return [node for node in nodes if node["state"] not in PAST]


def key_order(node: dict[str, Any]) -> Any:
    """Nodes stand by ascending key where nothing else says more."""
    return decode_node(node["key"])


# ---- What is chosen ----

FILTERS: dict[str, Any] = {
    "": lambda node: True,
    "state=active": lambda node: node["state"] == "active",
    "state=awaiting": lambda node: node["state"] == "awaiting",
    "state=queued": lambda node: node["state"] == "queued",
    "state=decommissioned": lambda node: node["state"] == "decommissioned",
    "open=1": lambda node: int(node["open"]) > 0,
    "open=1&state=active": lambda node: False,
    "q=5.6.7.11": lambda node: "5.6.7.11" in node["contact"]["ipv4"],
    "q=4611686018427387903": lambda node: node["swarm"] == "4611686018427387903",
    "q=nothing": lambda node: False,
}


@pytest.mark.parametrize("query", FILTERS)
def test_filters(site: Site, query: str) -> None:
    page = site.get(f"/nodes?{query}").text
    nodes = sorted(everybody(site), key=key_order)
    wanted = [node["key"] for node in nodes if FILTERS[query](node)]
    assert shown(page) == wanted
    count = f"1 to {len(wanted)} of {len(wanted)} nodes." if wanted else "No node is like that."
    assert count in Read(page).text


def test_the_filters_do_choose(site: Site) -> None:
    """No filter above is true of all or of none by accident."""
    nodes = everybody(site)
    for query in FILTERS:
        chosen = sum(bool(FILTERS[query](node)) for node in nodes)
        expected_none = query in ("open=1&state=active", "q=nothing")
        assert (chosen == 0) == expected_none
        assert query == "" or chosen < len(nodes)


def test_by_operator(site: Site) -> None:
    operator = everybody(site)[0]["operator"]
    wanted = {node["key"] for node in everybody(site) if node["operator"] == operator}
    for text in (operator, operator.upper(), operator[:20]):
        assert set(shown(site.get(f"/nodes?operator={text}").text)) == wanted
    assert shown(site.get("/nodes?operator=wpa1zzzz").text) == []


@pytest.mark.parametrize("cut", [62, 40, 12, 7])
def test_by_an_address_or_its_beginning(site: Site, cut: int) -> None:
    key = encode_node(key_of("town 2"))
    found = shown(site.get(f"/nodes?q={key[:cut]}").text)
    assert key in found
    assert all(other[: min(cut, 55)] == key[: min(cut, 55)] for other in found)
    assert shown(site.get(f"/nodes?q={key_of('town 2').hex()[:16]}").text) == [key]


@given(st.integers(1, 40), st.integers(4, 70), st.booleans())
def test_the_beginning_of_an_address_fits_as_text_does(index: int, cut: int, other: bool) -> None:
    row, typed = make_node(index), make_node(index + other)
    text = encode_node(bytes.fromhex(typed.service_node_pubkey))[:cut]
    address = encode_node(bytes.fromhex(row.service_node_pubkey))
    # the checksum is not looked at: the 51 letters before it say nearly the whole key
    wanted = address[:55].startswith(text[:55]) if len(text) > 4 else address.startswith(text)
    newest = Newest(None, None)  # type: ignore[arg-type]  # nothing of it is looked at
    assert bool(choose([row], newest, Choice(text=text))) == wanted


# ---- In which order ----

ORDERS: dict[str, Any] = {
    "key": lambda node: 0,
    "state": lambda node: list(NODE_STATES.values()).index(node["state"]),
    "staked": lambda node: int(node["staked"]),
    "fee": lambda node: node["fee"],
    "operator": lambda node: node["operator"],
    "swarm": lambda node: int(node["swarm"] or NO_SWARM),
    "address": lambda node: int(IPv4Address(node["contact"]["ipv4"])),
    "version": lambda node: node["contact"]["router_version"],
    "since": lambda node: node["since_ms"],
}


def test_each_column_has_an_order() -> None:
    assert ORDERS.keys() == COLUMNS.keys()


@pytest.mark.parametrize("order", ["up", "down"])
@pytest.mark.parametrize("name", ORDERS)
def test_orders(site: Site, name: str, order: str) -> None:
    page = site.get(f"/nodes?sort={name}&order={order}").text
    nodes = sorted(everybody(site), key=key_order)
    if name == "key":
        wanted = nodes if order == "up" else nodes[::-1]
    else:
        wanted = sorted(nodes, key=ORDERS[name], reverse=order == "down")
    assert shown(page) == [node["key"] for node in wanted]
    headings = [e.attributes for e in Read(page).named("th") if "aria-sort" in e.attributes]
    assert [row["aria-sort"] for row in headings] == [
        "ascending" if order == "up" else "descending"
    ]


# ---- Page by page ----


def crowd(site: Site, count: int) -> None:
    """Have a ledger push many nodes."""
    portal = site.client.portal
    assert portal is not None
    rows = [make_node(index) for index in range(1, count + 1)]
    portal.call(site.ledger.push_nodes, push_of(*rows, first=True))
    portal.call(site.ledger.push, make_view(9_000))


def test_pages_show_each_node_once(small: Site) -> None:
    crowd(small, 2 * PAGE + 7)
    found: list[str] = []
    for number in (1, 2, 3):
        page = small.get(f"/nodes?sort=address&page={number}").text
        found += shown(page)
        assert f"Page {number} of 3" in Read(page).text
    assert len(found) == len(set(found)) == 2 * PAGE + 7
    second = Read(small.get("/nodes?page=2").text).text
    assert f"{PAGE + 1} to {2 * PAGE} of {2 * PAGE + 7} nodes." in second
    # past the end stands the last one
    assert shown(small.get("/nodes?sort=address&page=99").text) == found[2 * PAGE :]


def test_the_pages_keep_what_was_chosen(small: Site) -> None:
    crowd(small, 2 * PAGE)
    page = small.get("/nodes?state=active&q=127.&sort=address&order=down").text
    following = next(link for link in Read(page).links() if link.endswith("page=2"))
    for part in ("state=active", "q=127.", "sort=address", "order=down"):
        assert part in following
    first, second = shown(page), shown(small.get(following).text)
    assert len(first) == len(second) == PAGE
    assert not set(first) & set(second)


# ---- What is kept ----


def test_a_choice_is_made_once_for_a_height() -> None:
    rows = {"a": make_node(1), "b": make_node(2)}
    table, choice = Table(), Choice(sort="address")

    class View:
        height = 1

    newest = Newest(View, None)  # type: ignore[arg-type]  # only the height is looked at
    first = table.choose(rows, newest, choice)
    assert table.choose({}, newest, choice) is first
    View.height = 2
    assert list(table.choose({}, newest, choice)) == []


# ---- What is open ----


def make_waiting(**changes: Any) -> NodeRow:
    """A node that waits for half of its stake."""
    row: dict[str, Any] = {
        "funded": False,
        "active": False,
        "state": "awaiting",
        "total_contributed": 50,
        "staking_requirement": 100,
        "contributors": [SessionContributor("wpa1", 50)],
    }
    return make_node(1, **row | changes)


class Seen:
    """What of the newest view an open stake depends on."""

    time_ms = 1_000
    max_contributors = 4


NEWEST: Any = Newest(Seen, Seen)  # type: ignore[arg-type]
OPEN: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "nothing reserved": ({}, (50, 3)),
    "funded": ({"funded": True}, (0, 0)),
    "a place is kept": ({"reserved": [20], "reserved_until_ms": 1_001}, (30, 2)),
    "a place was kept": ({"reserved": [20], "reserved_until_ms": 1_000}, (50, 3)),
    "all is reserved": ({"reserved": [50], "reserved_until_ms": 1_001}, (0, 0)),
    "no place is left": ({"contributors": [SessionContributor("wpa1", 1)] * 4}, (0, 0)),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_is_open(name: str) -> None:
    changes, wanted = OPEN[name]
    assert compute_open_stake(make_waiting(**changes), NEWEST) == wanted


def test_open_nodes_are_those_of_the_ledger(site: Site) -> None:
    page = site.get("/open").text
    offers = [node for node in everybody(site) if int(node["open"])]
    assert len(offers) == 3
    offers.sort(key=lambda node: (int(node["open"]), node["key"]))
    assert shown(page) == [node["key"] for node in offers]
    text = Read(page).text
    # of `shared` 25 coins are open for 8 accounts; of `kept` 50, since a place is reserved
    assert "25 coins 8 3.125 coins 75 coins of 100 coins 12.5 %" in text
    assert "50 coins 8 6.25 coins 25 coins of 100 coins 5 %" in text


def test_a_node_without_ipv4_says_so(small: Site) -> None:
    portal = small.client.portal
    assert portal is not None
    portal.call(small.ledger.push_nodes, push_of(make_node(1, public_ip=NO_ADDRESS), first=True))
    portal.call(small.ledger.push, make_view(9_000))
    assert "IPv6 only" in Read(small.get("/nodes").text).text


# ---- Nodes whose duty has ended ----


def test_nodes_of_the_past_come_from_the_ledger(site: Site) -> None:
    key = encode_node(key_of("town 3"))
    for query in ("", f"&q={key[:20]}", "&sort=version&order=down"):
        page = site.get(f"/nodes?state=exited{query}").text
        assert shown(page) == [key]
        assert "1 of 1 exited nodes." in Read(page).text
    for query in ("state=exited&open=1", "state=exited&q=nothing", "state=deregistered"):
        assert shown(site.get(f"/nodes?{query}").text) == []
