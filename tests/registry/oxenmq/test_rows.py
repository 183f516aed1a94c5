"""Rows that lie about who is active come out as the list has them; all others as they were told."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from ledger.messages.entries import Entry
from registry.formats.session import NO_SWARM, SessionNode
from registry.oxenmq.rows import Row, ShortNode, correct_rows, prove_rows
from tests.registry.api.fake_ledger import SESSION_NODES, UNREACHABLE_NODE, WAITING_NODE, make_node
from tests.registry.oxenmq.proven import HONEST, make_entry

FIRST = next(node for node in SESSION_NODES if node.active)
OUTSIDER = make_node(99)
GONE = make_node(98, active=False, swarm_id=NO_SWARM)

NOT_ACTIVE = {"active": False, "swarm_id": NO_SWARM, "swarm": "ffffffffffffffff"}


def shorten(nodes: Sequence[SessionNode]) -> list[ShortNode]:
    """The same rows with fewer fields."""
    names = ShortNode.__struct_fields__
    return [ShortNode(**{name: getattr(node, name) for name in names}) for node in nodes]


def correct(rows: Sequence[SessionNode], entries: Sequence[Entry]) -> list[SessionNode]:
    """What becomes of rows; the short form has to come out the same."""
    proven = prove_rows(entries)
    corrected = correct_rows(rows, proven, SessionNode)
    short = correct_rows(shorten(rows), proven, ShortNode)
    assert short == shorten(corrected)
    return corrected


def altered(node: SessionNode, **changes: Any) -> SessionNode:
    """A row that says something else."""
    return msgspec.structs.replace(node, **changes)


def test_honest_rows_stay_as_they_are() -> None:
    assert correct(SESSION_NODES, HONEST) == SESSION_NODES


LIES: dict[str, dict[str, Any]] = {
    "another address": {"public_ip": "127.66.6.6"},
    "no address": {"public_ip": "0.0.0.0"},
    "another storage port": {"storage_port": 1},
    "another router port": {"storage_lmq_port": 1},
    "another swarm": {"swarm_id": 7, "swarm": "7"},
    "no swarm": {"swarm_id": NO_SWARM, "swarm": "ffffffffffffffff"},
    "a swarm's hex of another": {"swarm": "7"},
    "another encryption key": {"pubkey_x25519": OUTSIDER.pubkey_x25519},
    "another signing key": {"pubkey_ed25519": OUTSIDER.pubkey_ed25519},
    "another storage version": {"storage_server_version": (1, 0, 0)},
    "another router version": {"service_node_version": (1, 0, 0)},
    "not active": {"active": False},
    "not funded": {"funded": False},
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_about_a_node_of_the_list_is_mended(name: str) -> None:
    rows = [altered(node, **LIES[name]) if node is FIRST else node for node in SESSION_NODES]
    assert rows != SESSION_NODES
    assert correct(rows, HONEST) == SESSION_NODES


def test_a_node_that_was_left_out_is_added() -> None:
    rows = [node for node in SESSION_NODES if node is not FIRST]
    corrected = correct(rows, HONEST)
    assert [row.pubkey_ed25519 for row in corrected] == [
        row.pubkey_ed25519 for row in SESSION_NODES
    ]
    added = next(row for row in corrected if row.pubkey_ed25519 == FIRST.pubkey_ed25519)
    proven = prove_rows(HONEST)[FIRST.pubkey_ed25519]
    assert {name: getattr(added, name) for name in proven} == proven
    told = {name for name in SessionNode.__struct_fields__ if name not in proven}
    assert {name: getattr(added, name) for name in told} == dict.fromkeys(told, 0) | {
        "operator_address": "",
        "contributors": [],
    }


@pytest.mark.parametrize(
    "changes",
    [{}, {"active": False}, {"swarm_id": NO_SWARM, "swarm": "ffffffffffffffff"}],
    ids=["active in a swarm", "in a swarm", "active"],
)
def test_who_is_not_in_the_list_is_not_active(changes: dict[str, Any]) -> None:
    rows = [*SESSION_NODES, altered(OUTSIDER, **changes)]
    corrected = correct(rows, HONEST)
    shown = {row.pubkey_ed25519: row for row in corrected}[OUTSIDER.pubkey_ed25519]
    assert shown == altered(OUTSIDER, **NOT_ACTIVE)
    assert [row for row in corrected if row is not shown] == SESSION_NODES


def test_what_is_told_of_others_stays() -> None:
    corrected = correct([*SESSION_NODES, GONE], HONEST)
    assert GONE in corrected
    assert WAITING_NODE in corrected
    changed = altered(FIRST, requested_unlock_height=9, operator_fee=3, total_contributed=2)
    rows = [changed if node is FIRST else node for node in SESSION_NODES]
    assert correct(rows, HONEST) == rows


def test_a_node_without_ipv4_has_no_address() -> None:
    proven = prove_rows([make_entry(UNREACHABLE_NODE)])[UNREACHABLE_NODE.pubkey_ed25519]
    assert proven["public_ip"] == "0.0.0.0"


@pytest.mark.parametrize("name", ["pubkey_ed25519", "pubkey_x25519"])
def test_nobody_outside_has_a_key_of_the_list(name: str) -> None:
    thief = altered(GONE, **{name: getattr(FIRST, name)})
    assert thief != GONE
    assert correct([*SESSION_NODES, thief], HONEST) == SESSION_NODES


def test_a_key_that_is_told_twice_is_shown_once() -> None:
    doubled = [*SESSION_NODES, altered(FIRST, pubkey_ed25519=OUTSIDER.pubkey_ed25519)]
    assert correct(doubled, HONEST) == SESSION_NODES


def test_an_empty_list_leaves_nobody_active() -> None:
    corrected: list[Row] = list(correct(SESSION_NODES, []))
    assert len(corrected) == len(SESSION_NODES)
    assert not any(row.active or row.swarm_id != NO_SWARM for row in corrected)
