"""The table of nodes: what comes in, what is kept, and how much of it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.api.node_table import FIELDS, MAX_KEPT, NodeTable
from registry.formats.session import NO_ADDRESS
from registry.ipc import Lost
from registry.view import NodeRow
from tests.registry.api.fake_ledger import SESSION_NODES, entries_of, make_node, plain, push_of

ALL = frozenset(FIELDS)


def table_of(*rows: NodeRow) -> NodeTable:
    """A table that shows some rows."""
    table = NodeTable()
    table.take(push_of(*rows, first=True))
    table.show()
    return table


def shown(table: NodeTable, *, active_only: bool = False) -> Any:
    """What it shows."""
    return msgspec.json.decode(table.render(ALL, active_only))


GOOD = plain(SESSION_NODES[0])

DAMAGED: dict[str, Any] = {
    "nothing": None,
    "a list": [],
    "an empty object": {},
    "no rows": {"first": True, "removed": []},
    "nothing removed": {"first": True, "rows": []},
    "first as a number": {"first": 1, "rows": [], "removed": []},
    "rows by key": {"first": True, "rows": {}, "removed": []},
    "a key that is a number": {"first": False, "rows": [], "removed": [1]},
    "keys as bytes": {"first": False, "rows": [], "removed": [b"a"]},
} | {
    f"a row without {name}": {
        "first": False,
        "rows": [GOOD, {key: value for key, value in GOOD.items() if key != name}],
        "removed": [],
    }
    for name in NodeRow.__struct_fields__
} | {
    f"a row with {name} of another type": {
        "first": False,
        "rows": [GOOD | {name: {}}],
        "removed": [],
    }
    for name in NodeRow.__struct_fields__
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_what_does_not_fit_leaves_nothing_to_show(name: str) -> None:
    table = table_of(*SESSION_NODES)
    table.take(DAMAGED[name])
    # what belongs to the view that is there stays
    assert shown(table) == entries_of(SESSION_NODES)
    table.show()
    for look in (lambda: table.rows, lambda: table.render(ALL, True)):
        with pytest.raises(Lost):
            look()
    table.take(push_of(SESSION_NODES[0]))
    table.show()
    with pytest.raises(Lost):
        table.render_some(ALL, True, None, 1)
    table.take(push_of(SESSION_NODES[1], first=True))
    table.show()
    assert shown(table) == entries_of([SESSION_NODES[1]])


def test_nothing_is_known_at_first() -> None:
    table = NodeTable()
    table.show()
    with pytest.raises(Lost):
        _ = table.rows
    table.take(push_of(*SESSION_NODES))
    table.show()
    with pytest.raises(Lost):
        _ = table.rows


def test_no_nodes_are_something_else_than_unknown_ones() -> None:
    assert table_of().render(ALL, False) == b"[]"


@pytest.mark.parametrize(
    ("changes", "is_usable"),
    [
        ({}, True),
        ({"active": False}, False),
        ({"public_ip": NO_ADDRESS}, False),
        ({"active": False, "public_ip": NO_ADDRESS}, False),
        ({"funded": False}, True),
        ({"storage_port": 0, "swarm_id": 2**64 - 1}, True),
    ],
)
def test_who_is_usable(changes: dict[str, Any], is_usable: bool) -> None:
    table = table_of(make_node(1, **changes))
    assert len(shown(table, active_only=True)) == is_usable
    assert len(shown(table)) == 1


INDEXES = st.integers(1, 6)
CHANGES = st.lists(
    st.tuples(
        st.booleans(),
        st.dictionaries(INDEXES, st.tuples(st.integers(0, 3), st.booleans()), max_size=4),
        st.sets(INDEXES, max_size=3),
        st.booleans(),
        st.sets(st.sampled_from(FIELDS), max_size=2),
    ),
    max_size=12,
)


@given(changes=CHANGES)
def test_it_shows_what_came(changes: list[Any]) -> None:
    """Against a model that makes everything anew."""
    table = table_of()
    model: dict[str, NodeRow] = {}
    visible: dict[str, NodeRow] = {}
    for first, rows, removed, shows, names in changes:
        made = [make_node(i, storage_port=p, active=a) for i, (p, a) in rows.items()]
        gone = [make_node(index).service_node_pubkey for index in sorted(removed)]
        table.take(push_of(*made, first=first, removed=gone))
        model = {} if first else model
        model = {key: row for key, row in model.items() if key not in gone}
        model |= {row.service_node_pubkey: row for row in made}
        if shows:
            table.show()
            visible = dict(sorted(model.items()))
        for active_only in (False, True):
            expected = [row for row in visible.values() if row.active or not active_only]
            assert shown(table, active_only=active_only) == entries_of(expected)
            some = msgspec.json.decode(table.render(frozenset(names), active_only))
            assert some == [
                {n: plain(getattr(r, n)) for n in FIELDS if n in names} for r in expected
            ]


def test_what_is_ready_is_sent_again_and_made_again_only_where_it_changed() -> None:
    table = table_of(*SESSION_NODES)
    names = frozenset(("storage_port",))
    first = table.render(names, True)
    table.show()
    assert table.render(names, True) is first
    entries = dict(table._kept[names]._entries)
    changed = SESSION_NODES[2]
    table.take(push_of(msgspec.structs.replace(changed, storage_port=9)))
    assert table.render(names, True) is first
    table.show()
    assert table.render(names, True) != first
    after = table._kept[names]._entries
    differing = [key for key, entry in entries.items() if after[key] is not entry]
    assert differing == [changed.service_node_pubkey]


def held(table: NodeTable) -> int:
    """The bytes of all JSON that a table keeps."""
    return sum(
        len(raw)
        for json in table._kept.values()
        for raw in (*json._entries.values(), *json._wholes.values())
    )


def test_what_is_kept_is_bounded_by_number() -> None:
    table = table_of(*SESSION_NODES)
    sets = [frozenset(FIELDS[:count]) for count in range(MAX_KEPT + 5)]
    often = table.render(sets[0], False)
    for names in sets:
        table.render(names, True)
        table.render_some(names, False, None, -1)
        # what is asked for again and again stays
        assert table.render(sets[0], False) is often
    assert len(table._kept) == MAX_KEPT
    assert sum(json.size for json in table._kept.values()) == held(table)


def test_what_is_kept_is_bounded_by_size() -> None:
    table = NodeTable(keep_bytes=100_000)
    table.take(push_of(*SESSION_NODES, first=True))
    table.show()
    for count in range(1, len(FIELDS) + 1):
        table.render(frozenset(FIELDS[:count]), True)
        assert held(table) <= 100_000
        assert table._kept
    small = NodeTable(keep_bytes=1)
    small.take(push_of(*SESSION_NODES, first=True))
    small.show()
    small.render(ALL, True)
    small.render(ALL, False)
    # the newest is kept whatever its size
    assert list(small._kept) == [ALL]
    assert small._kept[ALL].size == held(small)
    small.take(push_of(first=True))
    small.show()
    assert small._kept[ALL].size == held(small) == 0
