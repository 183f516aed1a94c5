"""Every warning comes when it is due, is not repeated, and is over when it is over."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from ledger.messages.duty import FAULTS
from ledger.messages.lists import FORMAT_VERSION, RULES_VERSION
from ledger.messages.state import NODE_STATES
from ledger.params import HOUR, MINUTE
from registry.warnings.facts import Failed, Proven, Verdict
from registry.warnings.on_nodes import FAULT_STEPS
from registry.warnings.rounds import Proofs
from registry.warnings.table import NEWS, ROW_OF, WARNINGS, Severity
from tests.registry.warnings.factory import (
    EPOCH,
    FIRST,
    HEIGHT,
    NODE,
    NOW_MS,
    PARAMS,
    SECOND,
    Change,
    World,
    make_header,
    make_node,
    make_removal,
    make_seen,
)

EPOCH_MS: Final = PARAMS.epoch_ms
PAYOUT_MS: Final = NOW_MS + 5 * 24 * HOUR
FAILED: Final = (Verdict(EPOCH, True, ("storage port",)), Verdict(EPOCH - 1, False, ()))


class Story(NamedTuple):
    """How a warning comes and goes."""

    near: Change
    """What is nearly, but not yet, a reason for it."""
    due: Change
    over: Change
    """What ends it."""
    says: tuple[str, ...]
    """What its reason has to say."""
    over_says: str = ""
    """What is said at the end; nothing if empty."""
    left_ms: int | None = None
    settings: Mapping[str, Any] = {}


def active(left: int, time_left_ms: int = EPOCH_MS, verdicts: Any = FAILED) -> Change:
    """An active node for which so many epochs have to fail."""
    removal = make_removal("decommission", left, 2, time_left_ms)
    return lambda world: world.node(state="active", removal=removal, verdicts=verdicts)


def down(left: int, needed: int = 8, time_left_ms: int = 10 * HOUR) -> Change:
    """A decommissioned node for which so many epochs have to fail."""
    removal = make_removal("deregistration", left, needed, time_left_ms)
    return lambda world: world.node(state="decommissioned", removal=removal, verdicts=FAILED)


def calm(world: World) -> None:
    """All is well."""
    world.answers = {url: make_seen() for url in world.settings.service}
    later, world.now_ms = world.now_ms - NOW_MS, NOW_MS
    world.wait(later)


def gone(state: str, payout_ms: int | None = PAYOUT_MS) -> Change:
    """A node whose duty is over."""
    return lambda world: world.node(
        state=state, removal=None, credit_ms=None, payout_ms=payout_ms, exit_ms=None
    )


def leave_silent(since_ms: int) -> Change:
    """An agent that checked in last so long ago."""
    return lambda world: world.node(checked_in_ms=world.now_ms - since_ms)


def verdict(*faults: str) -> Change:
    """A newest verdict that names faults."""
    return lambda world: world.node(verdicts=(Verdict(EPOCH, bool(faults), faults),))


def fail(url: str, why: str = "it did not answer") -> Change:
    """A service without an answer of use."""
    return lambda world: world.answers.update({url: Failed(why)})


def both(*changes: Change) -> Change:
    """Several changes, one after the other."""

    def make(world: World) -> None:
        for change in changes:
            change(world)

    return make


def wait(ms: int) -> Change:
    """Let time go by, with a look before it."""

    def make(world: World) -> None:
        world.look()
        world.wait(ms)

    return make


def prove(state: str, epoch: int = EPOCH, life: int = 1) -> Change:
    """What a header proves of the node."""
    proven = Proven(epoch, HEIGHT - 60, state, life)

    def make(world: World) -> None:
        world.proofs = Proofs({NODE: proven}, True)

    return make


def refuse(code: str) -> Change:
    """Lists that do not hold."""

    def make(world: World) -> None:
        world.proofs = Proofs({}, True, code)

    return make


def late(ms: int) -> Change:
    """A first service whose newest block is so old."""
    return lambda world: world.network(time_ms=world.now_ms - ms)


def announce(from_ms: int | None) -> Change:
    """Another minimum fee is announced."""

    def make(world: World) -> None:
        rows = [
            msgspec.structs.replace(row, next="77" if row.name == "minimum_fee" else row.value)
            for row in world.seen().rules.parameters
        ]
        world.rules(parameters=tuple(rows), parameters_from_ms=from_ms)

    return make


def forget(world: World) -> None:
    """Nothing was ever seen of the node."""
    world.memory.nodes.clear()


TWO: Final = {"service": (FIRST, SECOND)}
PATIENCE_MS: Final = 300_000

STORIES: Final[dict[str, Story]] = {
    "failing": Story(
        active(2), active(1), active(2, verdicts=(Verdict(EPOCH + 1, False, ()),)),
        ("epoch 48", "storage port", "one more failing epoch"), "does not fail", EPOCH_MS,
    ),
    "decommission_due": Story(
        active(1), active(0), down(8), ("storage port", "decommissioned at the end"), "", EPOCH_MS
    ),
    "decommissioned": Story(
        active(0), down(8), active(2), ("off duty", "8 more"), "on duty again", 10 * HOUR
    ),
    "half_credit_used": Story(
        down(5), down(4), active(2), ("4 of 8",), "", 10 * HOUR
    ),
    "last_hour": Story(
        down(3, time_left_ms=HOUR + 1), down(2, time_left_ms=HOUR), gone("deregistered"),
        ("as good as used up",), "", HOUR,
    ),
    "deregistered": Story(
        down(1), gone("deregistered"), World.lose_node, ("down for longer",), "",
        PAYOUT_MS - NOW_MS,
    ),
    "wrong_address": Story(
        verdict("storage port"), verdict("storage port", "wrong address"), verdict(),
        ("203.0.113.7", "22021", "epoch 48"), "not found any more",
    ),
    "outdated_version": Story(
        verdict("clock"), verdict("outdated version"), verdict(), ("testers", "too old"),
        "not found any more",
    ),
    "agent_silent": Story(
        leave_silent(2 * HOUR), leave_silent(2 * HOUR + 1), leave_silent(0),
        ("not checked in for 2 h", "2026-"), "checks in",
    ),
    "agent_faults": Story(
        lambda world: world.node(agent_faults=()),
        lambda world: world.node(agent_faults=("clock", "router port")),
        lambda world: world.node(agent_faults=()),
        ("clock, router port",), "no such fault",
    ),
    "slashed": Story(
        lambda world: world.node(penalties_taken="0"),
        lambda world: world.node(penalties_taken="1500000000"),
        World.lose_node, ("1.5 coins",),
    ),
    "tombstoned": Story(
        lambda world: world.node(penalties_taken="5"),
        lambda world: world.node(tombstoned=True, payout_ms=PAYOUT_MS),
        World.lose_node, ("never returns",), "", PAYOUT_MS - NOW_MS,
    ),
    "leaving": Story(
        lambda world: world.node(exit_ms=None),
        lambda world: world.node(state="active", payout_ms=None, exit_ms=world.now_ms + HOUR),
        gone("exited"), ("asked to leave",), "", HOUR,
    ),
    "exited": Story(
        lambda world: world.node(exit_ms=world.now_ms),
        gone("exited"), World.lose_node, ("duty has ended",), "", PAYOUT_MS - NOW_MS,
    ),
    "paid_out": Story(
        gone("exited"), World.lose_node, calm, ("paid out", "25007 coins"),
    ),
    "unknown_node": Story(
        lambda world: None, both(forget, World.lose_node), calm,
        ("no node is registered",), "it is registered",
    ),
    "services_disagree": Story(
        both(lambda world: world.node(SECOND, state="decommissioned"), wait(PATIENCE_MS - 1)),
        both(lambda world: world.node(SECOND, state="decommissioned"), wait(PATIENCE_MS)),
        lambda world: world.node(SECOND, state="active"),
        (f"{FIRST} says active", f"{SECOND} says decommissioned"), "agrees again", None, TWO,
    ),
    "contradicted": Story(
        prove("active"), prove("decommissioned"), prove("active"),
        ("says that it is active", "proves that it is decommissioned", "epoch 48"),
        "agrees again",
    ),
    "list_not_final": Story(
        lambda world: world.network(latest_final=make_header(EPOCH - 2)),
        lambda world: world.network(latest_final=make_header(EPOCH - 3)),
        calm, ("of 3 epochs", "epoch 45"), "is final",
        PARAMS.valid_ms - 3 * EPOCH_MS - 10 * MINUTE,
    ),
    "list_not_fresh": Story(
        lambda world: world.network(
            latest_final=msgspec.structs.replace(make_header(47), fresh_until_ms=world.now_ms)
        ),
        lambda world: world.network(
            latest_final=msgspec.structs.replace(make_header(47), fresh_until_ms=world.now_ms - 1)
        ),
        calm, ("epoch 47", "fresh until"), "is final", PARAMS.valid_ms - EPOCH_MS - 10 * MINUTE,
    ),
    "new_version": Story(
        lambda world: world.versions(rules_version=RULES_VERSION),
        lambda world: world.versions(next_format=FORMAT_VERSION + 1),
        calm, (f"next list format {FORMAT_VERSION + 1}",),
    ),
    "parameters_change": Story(
        announce(None), announce(NOW_MS + 24 * HOUR), calm,
        ("minimum_fee 1000000 becomes 77",), "", 24 * HOUR,
    ),
    "network_moves": Story(
        lambda world: world.rules(successor_from_ms=None),
        lambda world: world.rules(successor="77" * 32, successor_from_ms=NOW_MS + HOUR),
        calm, ("77" * 32,), "", HOUR,
    ),
    "service_unreachable": Story(
        both(fail(SECOND), wait(PATIENCE_MS - 1)), both(fail(SECOND), wait(PATIENCE_MS)), calm,
        ("no answer of use", "it did not answer"), "it answers", None, TWO,
    ),
    "service_behind": Story(
        late(PATIENCE_MS + 120_000), late(PATIENCE_MS + 120_001), calm,
        (f"{HEIGHT}", "no service has a newer one"), "up to date",
    ),
    "other_network": Story(
        wait(1), both(wait(1), lambda world: world.network(genesis_hash="66" * 32)), calm,
        ("66" * 32, "5f" * 32), "same network",
    ),
    "nothing_watched": Story(
        both(fail(FIRST), wait(PATIENCE_MS - 1)), both(fail(FIRST), wait(PATIENCE_MS)), calm,
        ("no service answers",), "watched again",
    ),
    "lists_refused": Story(
        refuse(""), refuse("fork"), refuse(""), ("fork",), "hold again",
    ),
}  # fmt: skip
"""For each warning but the heartbeat."""


@pytest.mark.parametrize("name", STORIES)
def test_a_warning_comes_once_and_ends_once(name: str) -> None:
    story, row = STORIES[name], ROW_OF[name]
    world = World(**story.settings)
    story.near(world)
    assert world.told(name) == []
    calm(world)
    assert world.told(name) == []

    started_ms = world.now_ms
    story.due(world)
    outcome = world.look()
    (message,) = [message for message in outcome.messages if message.warning == name]
    assert (message.kind, message.severity) == ("new", row.severity)
    assert all(text in message.reason for text in story.says), message.reason
    assert message.next_step
    assert message.left_ms == (None if story.left_ms is None else story.left_ms)
    assert (name in {due.row.name for due in outcome.active}) == (name not in NEWS)
    assert world.now_ms - started_ms <= PATIENCE_MS

    assert world.told(name) == []
    world.restart()
    world.wait(1)
    assert world.told(name) == []
    if row.reminder_ms:
        world.now_ms += row.reminder_ms
        assert [message.kind for message in world.told(name)] == ["reminder"]
        assert world.told(name) == []

    story.over(world)
    endings = world.told(name)
    assert [message.kind for message in endings] == ["over"] * bool(story.over_says)
    assert all(story.over_says in message.reason for message in endings)
    assert name not in {due.row.name for due in world.look().due} or name in NEWS
    world.restart()
    assert world.told(name) == []


def test_every_warning_has_a_story() -> None:
    assert {row.name for row in WARNINGS} == STORIES.keys() | {"heartbeat"}
    assert len({row.name for row in WARNINGS}) == len(WARNINGS)


@pytest.mark.parametrize("name", [name for name in STORIES if name != "paid_out"])
def test_what_comes_back_is_told_again_but_not_within_its_quiet_time(name: str) -> None:
    story, quiet_ms = STORIES[name], ROW_OF[name].quiet_ms
    world = World(**story.settings)
    story.due(world)
    assert len(world.told(name)) == 1
    story.over(world)
    world.look()
    story.due(world)
    assert len(world.told(name)) == (0 if quiet_ms else 1)
    world.restart()
    world.now_ms += quiet_ms
    assert [message.kind for message in world.told(name)] == ["new"] * bool(quiet_ms)


# ------------------------------------------------------------------------------------- closer


def test_all_is_well_and_nothing_is_said_but_the_heartbeat() -> None:
    world = World()
    assert [message.warning for message in world.look().messages] == ["heartbeat"]
    world.wait(HOUR)
    assert world.look().messages == ()


def test_a_heartbeat_comes_once_a_day_also_after_a_restart() -> None:
    world = World()
    (first,) = world.told("heartbeat")
    assert "1 active" in first.reason
    world.wait(HOUR)
    world.restart()
    assert world.told("heartbeat") == []
    world.wait(24 * HOUR)
    (second,) = world.told("heartbeat")
    assert second.kind == "new"
    assert second.id != first.id


def test_without_a_heartbeat_there_is_none() -> None:
    assert World(heartbeat_h=0).look().messages == ()


def test_a_heartbeat_is_honest_about_silence() -> None:
    world = World()
    fail(FIRST)(world)
    (message,) = world.told("heartbeat")
    assert "nothing is known" in message.reason


def test_a_node_is_warned_of_every_step_before_it() -> None:
    world = World()
    steps = [active(2), active(1), active(0), down(8), down(4), down(1, time_left_ms=HOUR)]
    told = []
    for step in [*steps, gone("deregistered"), World.lose_node]:
        step(world)
        told += [message.warning for message in world.look().messages]
        world.wait(EPOCH_MS)
    assert told == [
        "heartbeat", "failing", "decommission_due", "decommissioned", "half_credit_used",
        "last_hour", "deregistered", "paid_out",
    ]  # fmt: skip


def test_what_got_worse_is_not_said_to_be_over() -> None:
    world = World()
    for step in (active(1), active(0), down(8)):
        step(world)
        kinds = [m.kind for m in world.look().messages]
        assert "over" not in kinds


LAST_HOURS: dict[str, tuple[dict[str, int], int]] = {
    "mainnet: an hour": ({}, HOUR),
    "a small credit: a twentieth of the most": ({"credit_most_ms": 15 * HOUR}, 45 * MINUTE),
    "but never less than two epochs": ({"credit_most_ms": MINUTE}, HOUR),
}


@pytest.mark.parametrize("name", LAST_HOURS)
def test_the_last_hour_is_shorter_where_epochs_are_short(name: str) -> None:
    changes, limit_ms = LAST_HOURS[name]
    world = World()
    if changes:
        rows = [
            msgspec.structs.replace(row, value=str(changes.get(row.name, row.value)))
            for row in world.seen().rules.parameters
        ]
        world.rules(parameters=tuple(rows))
        world.network(epoch_ms=EPOCH_MS if "never" in name else 5 * MINUTE)
    down(3, time_left_ms=limit_ms + 1)(world)
    assert world.told("last_hour") == []
    down(3, time_left_ms=limit_ms)(world)
    assert len(world.told("last_hour")) == 1


def test_a_second_penalty_is_told_too() -> None:
    world = World()
    for taken, count in (("5", 1), ("5", 0), ("9", 1), ("9", 0)):
        world.node(penalties_taken=taken)
        assert len(world.told("slashed")) == count


def test_another_life_is_told_anew() -> None:
    world = World()
    gone("deregistered")(world)
    world.look()
    world.lose_node()
    assert [m.reason for m in world.told("paid_out")] != []
    world.node(life=2, state="deregistered", payout_ms=PAYOUT_MS, removal=None)
    assert len(world.told("deregistered")) == 1


def test_a_life_that_ended_between_two_looks_is_told() -> None:
    world = World()
    gone("exited")(world)
    world.look()
    world.node(life=2, state="active", payout_ms=None)
    (message,) = world.told("paid_out")
    assert "of its last life" in message.reason
    assert world.told("paid_out") == []


def test_one_that_was_never_active_was_given_up() -> None:
    world = World()
    world.node(state="queued", removal=None, credit_ms=None)
    world.look()
    world.lose_node()
    (message,) = world.told("paid_out")
    assert "given up" in message.reason


def test_every_fault_has_a_step_and_every_state_is_known() -> None:
    assert FAULT_STEPS.keys() == set(FAULTS.values())
    for state in NODE_STATES.values():
        world = World()
        world.node(state=state)
        assert world.look().nodes[NODE] == msgspec.structs.replace(make_node(), state=state)


@pytest.mark.parametrize("state", ["awaiting", "exited", "deregistered", "tombstoned"])
def test_an_agent_need_not_run_where_nobody_tests(state: str) -> None:
    world = World()
    world.node(state=state, checked_in_ms=NOW_MS - 24 * HOUR, agent_faults=("clock",))
    assert not {m.warning for m in world.look().messages} & {"agent_silent", "agent_faults"}


def test_a_service_that_started_just_now_makes_no_agent_silent() -> None:
    """It keeps check-ins in memory only: none of them is no news until two intervals are over."""
    world = World()
    world.look()
    world.wait(24 * HOUR)
    world.node(checked_in_ms=None)
    assert world.told("agent_silent") == []
    world.wait(2 * HOUR)
    assert world.told("agent_silent") == []
    world.wait(1)
    (message,) = world.told("agent_silent")
    assert "the last one came" in message.reason


def test_an_agent_that_never_came_is_silent_too() -> None:
    world = World()
    world.node(checked_in_ms=None)
    world.look()
    world.wait(2 * HOUR + 1)
    (message,) = world.told("agent_silent")
    assert "none is known" in message.reason


def test_severities_are_three() -> None:
    assert {row.severity for row in WARNINGS} == set(Severity)
