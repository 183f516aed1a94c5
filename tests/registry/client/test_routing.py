"""Routing: paths over distinct networks, swarms in random order, and nodes that failed."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Misuse
from ledger.messages.contact import Contact
from ledger.messages.entries import Entry
from ledger.rules.swarms import position_of
from registry.client import routing
from registry.client.routing import (
    HOPS,
    MAX_HOPS,
    MAX_STRIKES,
    TRIES,
    NoPath,
    RoutingTable,
    are_apart,
    networks_of,
)
from tests.ledger.rules import swarms_reference
from tests.registry.client.clients import holding
from tests.registry.client.factory import digest, make_entries, make_list
from tests.registry.client.places import Place, apart, keys, node, nodes, start, strike_out

V4, V6 = (1, None), (None, 1)


def drawn(draw: Callable[[], Sequence[Entry]], times: int = 100) -> set[Entry]:
    """All that comes out of many draws."""
    return {entry for _ in range(times) for entry in draw()}


# --- networks -------------------------------------------------------------------------------------

TOGETHER: dict[str, tuple[Place, Place, bool]] = {
    "one /24": ((1, None), (1, None), True),
    "one /48": ((None, 1), (None, 1), True),
    "another /24": ((1, None), (2, None), False),
    "another /48": ((None, 1), (None, 2), False),
    "IPv4 and IPv6": ((1, None), (None, 1), False),
    "both in one /24": ((1, 1), (1, 2), True),
    "both in one /48": ((1, 1), (2, 1), True),
    "one of two in the /24": ((1, 1), (1, None), True),
    "one of two in the /48": ((1, 1), (None, 1), True),
    "both elsewhere": ((1, 1), (2, 2), False),
}


@pytest.mark.parametrize(("one", "other", "share"), TOGETHER.values(), ids=TOGETHER.keys())
def test_nodes_of_one_network_are_on_no_path_together(
    one: Place, other: Place, share: bool
) -> None:
    entries = nodes(one, other)
    assert are_apart(entries) is not share
    table = start(entries)
    if share:
        with pytest.raises(NoPath):
            table.path(2)
    else:
        assert sorted(table.path(2)) == sorted(entries)


def test_a_network_is_24_bits_of_ipv4_and_48_of_ipv6() -> None:
    contact = node(0, (0, 0)).contact
    ipv4, ipv6 = bytes([45, 76, 3, 9]), bytes.fromhex("2a0104f8c0de12340000000000000009")
    entry = Entry(bytes(32), Contact(ipv4, ipv6, 1, 1, *[contact.storage_version] * 2), 0)
    assert networks_of(entry) == (ipv4[:3], ipv6[:6])


# --- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hops", range(1, MAX_HOPS + 1))
def test_a_path_has_as_many_hops_as_asked_for(hops: int) -> None:
    path = start(apart(9)).path(hops)
    assert len(path) == len(set(keys(path))) == hops
    assert are_apart(path)


def test_a_path_has_three_hops_unless_asked_otherwise() -> None:
    assert len(RoutingTable(apart(9)).path()) == HOPS == 3


def test_a_guard_stays_the_first_hop() -> None:
    entries = apart(6)
    table = start(entries)
    paths = [table.path(guard=entries[2].key) for _ in range(100)]
    assert {path[0] for path in paths} == {entries[2]}
    assert {entry for path in paths for entry in path[1:]} == set(entries) - {entries[2]}
    assert table.path(1, guard=entries[2].key) == [entries[2]]


LACKING: dict[str, tuple[list[Entry], int]] = {
    "no node": ([], 1),
    "too few nodes": (apart(2), 3),
    "one /24": (nodes(*[V4] * 9), 2),
    "one /48": (nodes(*[V6] * 9), 2),
    "two networks": (nodes(*[V4, V6] * 5), 3),
    "a hub of each kind": (nodes(*[(0, n) for n in range(9)], *[(n, 0) for n in range(9)]), 3),
}


@pytest.mark.parametrize(("entries", "hops"), LACKING.values(), ids=LACKING.keys())
def test_a_list_that_cannot_give_a_path_is_refused(entries: list[Entry], hops: int) -> None:
    with pytest.raises(NoPath, match=f"^no_path: no {hops} nodes of the list are in distinct"):
        start(entries).path(hops)


def test_a_guard_without_company_is_refused() -> None:
    entries = nodes((0, 0), (0, None), (None, 0), (1, None))
    table = start(entries)
    with pytest.raises(NoPath, match="with this guard"):
        table.path(3, guard=entries[0].key)
    assert table.path(3, guard=entries[1].key)[0] == entries[1]


def test_a_guard_that_left_or_failed_or_is_this_node_is_refused() -> None:
    entries = apart(6)
    table = start(entries[:5], own_key=entries[0].key)
    strike_out(table, entries[1])
    for entry, why in ((entries[5], "not in"), (entries[0], "own node"), (entries[1], "3 strikes")):
        with pytest.raises(NoPath, match=why):
            table.path(guard=entry.key)


@pytest.mark.parametrize("hops", [-1, 0, MAX_HOPS + 1])
def test_another_number_of_hops_is_the_callers_mistake(hops: int) -> None:
    with pytest.raises(Misuse):
        start(apart(9)).path(hops)


HUBS: list[Place] = [*((0, n) for n in range(1, 60)), *((n, 0) for n in range(1, 60))]
HIDDEN: dict[str, tuple[list[Place], int]] = {
    "all but two in one network": ([*((0, n) for n in range(200)), (1, 201), (2, 202)], 3),
    "all but two in the same two networks": ([*[(0, 0)] * 200, (0, 1), (1, 0)], 2),
    "one beside two hubs": ([*HUBS, (70, 70)], 3),
    "two hubs and an end of each": ([(0, 0), *HUBS, (1, None), (None, 1)], 4),
}


@pytest.mark.parametrize(("places", "hops"), HIDDEN.values(), ids=HIDDEN.keys())
@pytest.mark.parametrize("tries", [0, TRIES])
def test_a_path_that_is_hard_to_draw_is_found(
    places: list[Place], hops: int, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "TRIES", tries)
    entries = nodes(*places)
    path = start(entries).path(hops)
    assert len(path) == hops
    assert are_apart(path)


def test_this_node_is_never_drawn() -> None:
    entries = [node(number, (number, None)) for number in range(5)]
    table = start(entries, own_key=entries[0].key)
    assert drawn(table.path) == drawn(lambda: table.swarm_of(bytes(32))) == set(entries[1:])
    table.strike(entries[0].key)
    table.update(entries)
    assert drawn(table.path) == set(entries[1:])


# --- swarms ---------------------------------------------------------------------------------------


@given(
    st.sets(st.integers(0, 2**64 - 2), min_size=1, max_size=9),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 40),
)
def test_a_swarm_is_the_nearest_by_its_distances_to_all(
    ids: set[int], account: bytes, count: int
) -> None:
    ordered = sorted(ids)
    entries = [node(n, (n, None), ordered[n % len(ids)]) for n in range(len(ids) + count)]
    expected = swarms_reference.nearest(ordered, position_of(account))
    swarm = start(entries).swarm_of(account)
    assert sorted(swarm) == sorted(e for e in entries if e.swarm_id == expected)


def test_a_swarm_is_that_of_the_verified_list() -> None:
    client = holding(make_list(entries=make_entries(50, 7)))
    table = start(client.entries)
    for number in range(50):
        account = b"\x05" + digest(f"account {number}")
        expected = client.swarm_of(account)
        assert sorted(table.swarm_of(account)) == sorted(table.swarm_of(account[1:])) == expected


def test_without_nodes_there_is_no_swarm() -> None:
    assert start([]).swarm_of(bytes(32)) == []


def test_a_swarm_of_nobody_but_this_node_is_nobody_elses() -> None:
    entries = [node(0, (0, None), swarm_id=0), node(1, (1, None), swarm_id=2**63)]
    table = start(entries, own_key=entries[0].key)
    assert table.swarm_of(bytes(32)) == []


@pytest.mark.parametrize("length", [0, 31, 34, 66])
def test_an_account_id_of_another_length_is_the_callers_mistake(length: int) -> None:
    with pytest.raises(Misuse):
        start(apart(3)).swarm_of(bytes(length))


# --- strikes --------------------------------------------------------------------------------------


def test_a_node_is_avoided_after_three_strikes_and_not_before() -> None:
    entries = apart(5)
    table = start(entries)
    for count in (1, 2):
        table.strike(entries[0].key)
        assert table.strikes_of(entries[0].key) == count
        assert drawn(table.path) == drawn(lambda: table.swarm_of(bytes(32))) == set(entries)
    table.strike(entries[0].key)
    assert table.is_avoided(entries[0].key)
    assert drawn(table.path) == drawn(lambda: table.swarm_of(bytes(32))) == set(entries[1:])


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_another_number_of_strikes_may_be_asked_for(limit: int) -> None:
    entries = apart(5)
    table = start(entries, max_strikes=limit)
    strike_out(table, entries[0], times=limit - 1)
    assert not table.is_avoided(entries[0].key)
    table.strike(entries[0].key)
    assert table.is_avoided(entries[0].key)


def test_a_node_without_strikes_is_never_avoided() -> None:
    with pytest.raises(Misuse):
        start(apart(3), max_strikes=0)


def test_who_is_forgiven_starts_anew() -> None:
    entries = apart(5)
    table = start(entries)
    strike_out(table, entries[0], times=9)
    table.forgive(entries[0].key)
    assert table.strikes_of(entries[0].key) == 0
    assert drawn(table.path) == set(entries)
    strike_out(table, entries[0], times=MAX_STRIKES - 1)
    table.forgive(entries[0].key)
    table.strike(entries[0].key)
    assert not table.is_avoided(entries[0].key)


def test_strikes_stay_with_nodes_that_stay_and_go_with_those_that_leave() -> None:
    entries = apart(6)
    table = start(entries)
    strike_out(table, entries[0], entries[1])
    table.strike(entries[2].key)
    moved = entries[0]._replace(swarm_id=5)
    table.update([moved, *entries[2:]])
    assert [table.strikes_of(entry.key) for entry in entries] == [3, 0, 1, 0, 0, 0]
    assert drawn(table.path) == set(entries[2:])
    table.update(entries)
    assert drawn(table.path) == set(entries[1:])


def test_a_node_that_is_not_listed_gets_no_strikes() -> None:
    table = start(apart(3))
    for act in (table.strike, table.forgive):
        act(digest("nobody"))
    assert table.strikes_of(digest("nobody")) == 0


def test_where_nobody_else_is_left_those_with_the_fewest_strikes_come_first() -> None:
    entries = apart(4)
    table = start(entries)
    for count, entry in enumerate(entries):
        strike_out(table, entry, times=MAX_STRIKES + count)
    paths = [table.path() for _ in range(100)]
    assert {entry for path in paths for entry in path} == set(entries[:3])
    assert {path[0] for path in paths} == {path[2] for path in paths} == set(entries[:3])
    assert {tuple(table.swarm_of(bytes(32))) for _ in range(20)} == {tuple(entries)}
    table.forgive(entries[3].key)
    assert drawn(table.path) == {entries[3], *entries[:2]}
    assert table.swarm_of(bytes(32)) == [entries[3]]


def test_nodes_that_failed_alike_are_all_used_again() -> None:
    entries = apart(12)
    table = start(entries)
    strike_out(table, *entries)
    assert drawn(table.path) == set(entries)
    assert {path[0] for path in (table.path() for _ in range(200))} == set(entries)
