"""Published lists of the Session network, made into founding nodes."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ledger.errors import WaypostError
from ledger.messages.contact import Version
from ledger.messages.genesis import NEW_SWARM, GenesisNode
from registry.addresses import encode_account, encode_node
from registry.formats.session import NO_SWARM
from registry.formats.session_json import PublishedNode, decode_session_json
from registry.importing import (
    BadOperators,
    Imported,
    Incomplete,
    Owner,
    Told,
    TooLate,
    import_nodes,
    read_operators,
)
from tests.registry.operators import OPERATORS, make_key, make_operators
from tests.registry.session_network import LEAVING, NODES, session_network

START_MS = 1_700_000_000_000
HEIGHT = 1_000
BLOCK_MS = 120_000
STORAGE, ROUTER = Version(2, 11, 0), Version(11, 6, 0)
TOLD = Told(22_020, STORAGE, ROUTER, BLOCK_MS)
NOTHING = Told(None, None, None, BLOCK_MS)
NODE, OTHER = make_key("node"), make_key("other")
OWNER = Owner(make_key("operator"), make_key("duty"))


def published(key: bytes = NODE, **changes: Any) -> PublishedNode:
    """A node of which a list says what every list says, and nothing else."""
    node = PublishedNode(
        key=key,
        ipv4=bytes((127, 0, 0, 1)),
        storage_port=22_021,
        router_port=None,
        unlock_height=0,
        swarm_id=None,
        storage_version=None,
        router_version=None,
        active=True,
    )
    return node._replace(**changes)


def imported(*nodes: PublishedNode, told: Told = TOLD) -> Imported:
    owners = {node.key: OWNER for node in nodes}
    return import_nodes(nodes, HEIGHT, owners, told, START_MS)


def only(node: PublishedNode, told: Told = TOLD) -> GenesisNode:
    (row,) = imported(node, told=told).nodes
    return row


# ---- nodes ----


def test_what_the_list_lacks_is_what_was_told() -> None:
    row = only(published())
    assert (row.node, row.operator, row.duty_key) == (NODE, *OWNER)
    assert (row.contact.ipv4, row.contact.ipv6) == (bytes((127, 0, 0, 1)), b"")
    assert (row.contact.storage_port, row.contact.router_port) == (22_021, 22_020)
    assert (row.contact.storage_version, row.contact.router_version) == (STORAGE, ROUTER)
    assert (row.swarm_id, row.exit_ms) == (NEW_SWARM, 0)


def test_what_the_list_says_goes_before_what_was_told() -> None:
    node = published(
        router_port=7,
        storage_version=Version(1, 2, 3),
        router_version=Version(4, 5, 6),
        swarm_id=9,
    )
    for told in (TOLD, NOTHING):
        row = only(node, told)
        assert row.contact.router_port == 7
        assert row.contact.storage_version == Version(1, 2, 3)
        assert row.contact.router_version == Version(4, 5, 6)
        assert row.swarm_id == 9


def test_version_of_nothing_but_zeros_says_nothing() -> None:
    zeros = Version(0, 0, 0)
    row = only(published(storage_version=zeros, router_version=zeros))
    assert (row.contact.storage_version, row.contact.router_version) == (STORAGE, ROUTER)


def test_node_without_a_swarm_gets_one_from_the_genesis() -> None:
    assert only(published(swarm_id=NO_SWARM)).swarm_id == NEW_SWARM


@pytest.mark.parametrize(
    ("unlock_height", "exit_ms"),
    [
        (0, 0),
        (HEIGHT + 1, START_MS + BLOCK_MS),
        (HEIGHT + 720, START_MS + 86_400_000),
        (HEIGHT, START_MS + 1),
        (1, START_MS + 1),
    ],
)
def test_leaving_node_may_go_when_it_would_have_been_unlocked(
    unlock_height: int, exit_ms: int
) -> None:
    assert only(published(unlock_height=unlock_height)).exit_ms == exit_ms


@pytest.mark.parametrize("unlock_height", [2**63 - 1, (2**63 - START_MS) // BLOCK_MS + HEIGHT + 1])
def test_node_that_leaves_later_than_any_block_is_named(unlock_height: int) -> None:
    with pytest.raises(TooLate, match=f"{encode_node(NODE)}.*{unlock_height}"):
        imported(published(unlock_height=unlock_height))
    last = (2**63 - 1 - START_MS) // BLOCK_MS + HEIGHT
    assert 2**63 - 1 - BLOCK_MS < only(published(unlock_height=last)).exit_ms < 2**63


@pytest.mark.parametrize("changes", [{"active": False}, {"ipv4": bytes(4)}, {"storage_port": 0}])
def test_list_of_which_nothing_is_left_makes_no_network(changes: dict[str, Any]) -> None:
    with pytest.raises(Incomplete, match="has no node"):
        imported(published(**changes))
    with pytest.raises(Incomplete, match="has no node"):
        imported()


def test_who_is_not_active_or_cannot_be_reached_is_left_out_and_counted() -> None:
    made = imported(
        published(),
        published(make_key("inactive"), active=False),
        published(make_key("no address"), ipv4=bytes(4)),
        published(make_key("no port"), storage_port=0),
    )
    assert [row.node for row in made.nodes] == [NODE]
    assert made[1:] == (1, 2, 3)


def test_nodes_stand_by_ascending_key() -> None:
    made = imported(published(max(NODE, OTHER)), published(min(NODE, OTHER)))
    assert [row.node for row in made.nodes] == sorted((NODE, OTHER))


def test_the_network_of_real_size() -> None:
    raw = session_network()
    height, nodes = decode_session_json(raw)
    made = import_nodes(nodes, height, read_operators(make_operators(raw)), TOLD, START_MS)
    assert len(made.nodes) == NODES
    assert sum(bool(row.exit_ms) for row in made.nodes) == LEAVING
    assert len({row.operator for row in made.nodes}) == OPERATORS
    assert made[1:] == (0, 0, 0)


INCOMPLETE: dict[str, tuple[PublishedNode, Told, str]] = {
    "no router port": (published(), TOLD._replace(router_port=None), "--router-port"),
    "router port zero": (
        published(router_port=0),
        TOLD._replace(router_port=None),
        "--router-port",
    ),
    "no storage version": (published(), TOLD._replace(storage_version=None), "--storage-version"),
    "no router version": (published(), TOLD._replace(router_version=None), "--router-version"),
    "storage version 0.0.0": (
        published(storage_version=Version(0, 0, 0)),
        TOLD._replace(storage_version=None),
        "--storage-version",
    ),
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_nothing_is_guessed(name: str) -> None:
    node, told, option = INCOMPLETE[name]
    with pytest.raises(Incomplete, match=option):
        imported(node, told=told)


def test_node_without_an_owner_is_named() -> None:
    with pytest.raises(Incomplete, match=f"lacks 1 of 2 nodes.*{encode_node(OTHER)}"):
        import_nodes((published(), published(OTHER)), HEIGHT, {NODE: OWNER}, TOLD, START_MS)


# ---- the map of operators ----

ENTRY = {"operator": encode_account(OWNER.operator), "duty_key": OWNER.duty_key.hex()}


def written(entries: Any) -> Callable[[], bytes]:
    return lambda: json.dumps(entries).encode()


def test_map_names_nodes_and_accounts_as_addresses_or_in_hex() -> None:
    owner = Owner(OWNER.operator, make_key("another duty"))
    in_hex = {"operator": owner.operator.hex(), "duty_key": owner.duty_key.hex().upper()}
    raw = json.dumps({encode_node(NODE): ENTRY, OTHER.hex(): in_hex}).encode()
    assert read_operators(raw) == {NODE: OWNER, OTHER: owner}


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "no bytes": (lambda: b"", "not of the form"),
    "no text": (lambda: b"\xff", "not of the form"),
    "no object": (written([ENTRY]), "not of the form"),
    "entry that is no object": (written({NODE.hex(): "x"}), "not of the form"),
    "no operator": (written({NODE.hex(): {"duty_key": ENTRY["duty_key"]}}), "operator"),
    "no duty key": (written({NODE.hex(): {"operator": ENTRY["operator"]}}), "duty_key"),
    "another field": (written({NODE.hex(): ENTRY | {"fee": 1}}), "fee"),
    "name that is no node": (written({"node": ENTRY}), "no address"),
    "account as a node": (written({encode_account(NODE): ENTRY}), "of an account"),
    "node as an operator": (
        written({NODE.hex(): ENTRY | {"operator": encode_node(NODE)}}),
        "of a node",
    ),
    "duty key of 31 bytes": (written({NODE.hex(): ENTRY | {"duty_key": "00" * 31}}), "64 hex"),
    "duty key that is no hex": (written({NODE.hex(): ENTRY | {"duty_key": "x" * 64}}), "64 hex"),
    "duty key with spaces": (
        written({NODE.hex(): ENTRY | {"duty_key": " ".join(["ab"] * 32)}}),
        "64 hex",
    ),
    "duty key that is no key": (
        written({NODE.hex(): ENTRY | {"duty_key": "00" * 32}}),
        f"{NODE.hex()}: its duty_key is not a usable key",
    ),
    "operator that is no key": (
        written({NODE.hex(): ENTRY | {"operator": "00" * 32}}),
        f"{NODE.hex()}: its operator is not a usable key",
    ),
    "duty key of two nodes": (
        written({NODE.hex(): ENTRY, OTHER.hex(): ENTRY}),
        f"{OTHER.hex()}: its duty_key is that of {NODE.hex()}",
    ),
    "node twice": (written({NODE.hex(): ENTRY, encode_node(NODE): ENTRY}), "twice"),
    "node twice in the same words": (
        lambda: (
            f'{{"{NODE.hex()}": {json.dumps(ENTRY)}, '.encode()
            + f'"{NODE.hex()}": {json.dumps(ENTRY)}}}'.encode()
        ),
        "comes twice",
    ),
    "deep nesting": (lambda: b"[" * 100_000, "not of the form"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_map_is_refused(name: str) -> None:
    make, why = REFUSED[name]
    with pytest.raises(BadOperators, match=why) as caught:
        read_operators(make())
    assert isinstance(caught.value, WaypostError)
