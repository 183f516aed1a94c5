"""Whom a program listens to, what it remembers, and what it does not take for over."""

from typing import Any, Final

import msgspec
import pytest

from ledger.params import HOUR, MINUTE
from registry.addresses import encode_node
from registry.warnings import rounds
from registry.warnings.facts import Failed, Proven
from registry.warnings.rounds import MAX_AHEAD_MS, Proofs, choose, list_watched
from tests.registry.warnings.factory import (
    EPOCH,
    FIRST,
    HEIGHT,
    NODE,
    NOW_MS,
    OPERATOR,
    OTHER,
    SECOND,
    World,
    make_network,
    make_node,
    make_removal,
    make_seen,
)

TWO: Final = {"service": (FIRST, SECOND)}
LATE_MS: Final = NOW_MS - 5_000 - 120_001
HASH: Final = "5f" * 32


def seen(**changes: Any) -> Any:
    """An answer with another network."""
    return make_seen(network=make_network(**changes))


CHOICES: dict[str, tuple[Any, Any, str]] = {
    "the first one that is named": (seen(), seen(), FIRST),
    "the next where that one is silent": (Failed("no"), seen(), SECOND),
    "the next where that one is behind": (seen(time_ms=LATE_MS), seen(), SECOND),
    "the first where both are as late": (seen(time_ms=LATE_MS), seen(time_ms=LATE_MS), FIRST),
    "the next where that one is of another network": (seen(genesis_hash="66" * 32), seen(), SECOND),
    "the next where that one is in the future": (
        seen(time_ms=NOW_MS + MAX_AHEAD_MS + 1), seen(), SECOND,
    ),
    "the first where the other one claims the future": (
        seen(), seen(time_ms=NOW_MS + MAX_AHEAD_MS + 1), FIRST,
    ),
    "nobody where none is of the network": (seen(genesis_hash="66" * 32), Failed("no"), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_who_is_listened_to(name: str) -> None:
    first, second, expected = CHOICES[name]
    assert choose({FIRST: first, SECOND: second}, HASH, NOW_MS) == expected


def test_the_network_that_was_seen_first_is_the_one_that_is_watched() -> None:
    world = World()
    world.network(genesis_hash="66" * 32)
    world.look()
    assert world.memory.genesis_hash == "66" * 32
    world.network(genesis_hash=HASH)
    outcome = world.look()
    assert (outcome.source, outcome.seen, outcome.nodes) == ("", None, {})
    assert world.memory.genesis_hash == "66" * 32


def test_what_nobody_can_look_at_is_not_over() -> None:
    world = World()
    down = make_removal("deregistration", 8, 8, 10 * HOUR)
    world.node(state="decommissioned", removal=down)
    assert len(world.told("decommissioned")) == 1
    kept = world.answers[FIRST]
    world.answers[FIRST] = Failed("it did not answer")
    for _ in range(3):
        world.now_ms += MINUTE
        assert not [m for m in world.look().messages if m.subject == NODE]
    world.answers[FIRST] = kept
    world.now_ms += MINUTE
    assert not [m for m in world.look().messages if m.subject == NODE]


def test_a_check_in_counts_whoever_has_it() -> None:
    world = World(**TWO)
    world.node(FIRST, checked_in_ms=None, agent_faults=None)
    world.node(SECOND, checked_in_ms=NOW_MS - MINUTE, agent_faults=("clock",))
    outcome = world.look()
    facts = outcome.nodes[NODE]
    assert facts is not None
    assert (facts.checked_in_ms, facts.agent_faults) == (NOW_MS - MINUTE, ("clock",))
    world.wait(3 * HOUR)
    assert world.told("agent_silent") == []


AHEAD: dict[str, tuple[int, list[str]]] = {
    "not from the future": (MAX_AHEAD_MS + 1, ["new"]),
    "from as far ahead as clocks may be": (MAX_AHEAD_MS, []),
}


@pytest.mark.parametrize("liar", [FIRST, SECOND])
@pytest.mark.parametrize("name", AHEAD)
def test_a_check_in_counts(name: str, liar: str) -> None:
    """Else one service would hide for ever that an agent is silent, or what it sees."""
    ahead_ms, kinds = AHEAD[name]
    world = World(**TWO)
    for url in (FIRST, SECOND):
        world.node(url, checked_in_ms=NOW_MS - 3 * HOUR, agent_faults=("clock",))
    world.node(liar, checked_in_ms=NOW_MS + ahead_ms, agent_faults=())
    messages = world.look().messages
    for warning in ("agent_silent", "agent_faults"):
        assert [m.kind for m in messages if m.warning == warning] == kinds
    honest = SECOND if liar == FIRST else FIRST
    told = [m for m in messages if m.warning.startswith("agent_")]
    assert all(m.reason.endswith(f"(by {honest})") for m in told)


def test_where_one_service_is_asked_nobody_is_named() -> None:
    world = World()
    world.node(checked_in_ms=NOW_MS - 3 * HOUR, agent_faults=("outdated version",))
    told = [m for m in world.look().messages if m.subject == NODE]
    names = {message.warning for message in told}
    assert names == {"agent_silent", "agent_faults", "outdated_version"}
    assert not any("(by " in message.reason for message in told)


def test_what_an_agent_saw_stays_while_its_service_starts_anew() -> None:
    world = World()
    world.node(agent_faults=("clock",))
    assert len(world.told("agent_faults")) == 1
    world.node(checked_in_ms=None, agent_faults=None)
    world.restart()
    assert world.told("agent_faults") == []
    world.node(checked_in_ms=world.now_ms, agent_faults=())
    assert [m.kind for m in world.told("agent_faults")] == ["over"]


# ---------------------------------------------------------------------------- contradictions

SAME: dict[str, dict[str, Any]] = {
    "they are of different epochs": {"network": {"epoch": EPOCH + 2}},
    "one has not seen the block yet": {"node": {"since_height": HEIGHT + 1}},
    "they are of different networks": {"network": {"genesis_hash": "66" * 32}},
}


@pytest.mark.parametrize("name", SAME)
def test_services_do_not_contradict_each_other_where(name: str) -> None:
    world = World(**TWO)
    world.look()
    world.network(SECOND, **SAME[name].get("network", {}))
    world.node(SECOND, state="decommissioned", **SAME[name].get("node", {}))
    world.look()
    world.wait(HOUR)
    assert world.told("services_disagree") == []


def test_a_node_that_one_service_does_not_know_is_a_contradiction() -> None:
    world = World(**TWO)
    world.lose_node(SECOND)
    world.look()
    world.now_ms += 300_000
    (message,) = world.told("services_disagree")
    assert f"{SECOND} says not registered" in message.reason


# ------------------------------------------------------------------------------------ proofs


def prove(world: World, state: str, epoch: int = EPOCH, height: int = HEIGHT - 60) -> None:
    """Have a state proven."""
    world.proofs = Proofs({NODE: Proven(epoch, height, state, 1 if state else 0)}, True)


def go_down(world: World, since_height: int = HEIGHT - 60) -> None:
    """Let the node be down from a block on."""
    down = make_removal("deregistration", 8, 8, 10 * HOUR)
    world.node(state="decommissioned", removal=down, since_height=since_height)


def test_a_message_says_whether_its_state_is_proven() -> None:
    found = []
    for state in ("decommissioned", "active", ""):
        world = World()
        go_down(world, HEIGHT - 60 if state == "decommissioned" else HEIGHT)
        if state:
            prove(world, state)
        (message,) = world.told("decommissioned")
        found.append(message.proof)
    assert found == ["proven", "waits", "unchecked"]


def test_what_began_after_the_proof_is_no_contradiction_yet() -> None:
    world = World()
    go_down(world, since_height=HEIGHT - 59)
    prove(world, "active")
    assert world.told("contradicted") == []
    # its lists become final, and it is still not proven: then it is one
    world.wait(3 * 30 * MINUTE)
    assert world.told("contradicted") == []
    world.wait(1)
    assert len(world.told("contradicted")) == 1


def test_where_lists_are_not_final_nothing_is_a_contradiction() -> None:
    world = World()
    go_down(world, since_height=HEIGHT - 59)
    prove(world, "active", epoch=EPOCH - 2)
    world.look()
    world.wait(24 * HOUR)
    assert world.told("contradicted") == []


def test_a_service_that_hides_a_decommission_is_found_out() -> None:
    world = World()
    prove(world, "decommissioned")
    (message,) = world.told("contradicted")
    assert "says that it is active" in message.reason


def test_a_payout_is_proven_by_what_is_not_there() -> None:
    world = World()
    world.node(state="exited", removal=None, payout_ms=NOW_MS)
    prove(world, "exited")
    world.look()
    world.lose_node()
    prove(world, "")
    (message,) = world.told("paid_out")
    assert message.proof == "proven"


# --------------------------------------------------------------------- all nodes of an operator


def operated(**settings: Any) -> World:
    """A program that watches all nodes of an operator, of whom one is seen."""
    return World(node=(), operator=OPERATOR, **settings)


def test_nodes_of_an_operator_are_remembered_until_they_are_paid_out() -> None:
    world = operated()
    world.look()
    assert list_watched(world.settings, world.memory) == [NODE]
    world.node(state="exited", removal=None, payout_ms=NOW_MS)
    world.look()
    world.lose_node()
    assert [m.warning for m in world.look().messages] == ["paid_out"]
    assert list_watched(world.settings, world.memory) == []
    assert not [row for row in world.memory.told if row.subject == NODE]


def test_one_is_not_forgotten_while_its_payout_is_not_proven() -> None:
    world = operated()
    prove(world, "active")
    world.look()
    world.lose_node()
    world.look()
    assert list_watched(world.settings, world.memory) == [NODE]
    prove(world, "")
    world.look()
    assert list_watched(world.settings, world.memory) == []


def test_a_service_that_makes_nodes_up_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "MAX_NODES", 3)
    world = operated()
    for number in range(5):
        made_up = encode_node(bytes([number]) * 32)
        node = make_node(key=made_up, penalties_taken="1")
        world.answers[FIRST] = make_seen(nodes={made_up: node})
        told = world.told("slashed")
        assert len(told) == (1 if number < 3 else 0)
    assert len(world.memory.nodes) == 3
    assert {row.subject for row in world.memory.told} <= {"", *world.memory.nodes}


def test_a_named_node_is_watched_for_ever() -> None:
    world = World()
    world.look()
    world.lose_node()
    world.look()
    assert list_watched(world.settings, world.memory) == [NODE]
    assert NODE in world.memory.nodes


def test_who_is_not_watched_any_more_is_forgotten() -> None:
    world = World()
    world.look()
    before = world.memory
    other = World(node=(OTHER,))
    other.memory = before
    other.answers[FIRST] = make_seen(nodes={OTHER: make_node(key=OTHER)})
    other.look()
    assert list(before.nodes) == [OTHER]


def test_links_lead_to_the_page_of_the_node() -> None:
    for page, expected in (
        (None, FIRST),
        ("https://explorer.example/", "https://explorer.example"),
    ):
        world = World(page=page)
        world.node(penalties_taken="1")
        (message,) = world.told("slashed")
        assert message.link == f"{expected}/nodes/{NODE}"


def test_ids_tell_messages_apart() -> None:
    world = World()
    world.node(penalties_taken="1", tombstoned=True, exit_ms=NOW_MS)
    messages = world.look().messages
    again = World()
    again.node(penalties_taken="1", tombstoned=True, exit_ms=NOW_MS)
    assert len({message.id for message in messages}) == len(messages) == 4
    assert [m.id for m in again.look().messages] == [m.id for m in messages]
    assert all(msgspec.json.decode(msgspec.json.encode(m))["id"] == m.id for m in messages)
