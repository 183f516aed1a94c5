"""What a block did: to nodes, by group; to equivocators; to the list. Counted, and checked.

- A decommission was right if the node was down in the last two epochs that failed it.
- A healthy node is held down for five epochs at most, unless somebody failed it meanwhile.
"""

from collections.abc import Sequence
from typing import Final

from ledger.epochs.standing import is_lost
from ledger.messages.genesis import REGISTRY
from ledger.messages.state import (
    DECOMMISSIONED,
    DEREGISTERED,
    EXITED,
    GONE,
    ON_DUTY,
    TOMBSTONED,
    Node,
)
from ledger.messages.tables import BINDINGS, HISTORIES, NODES, POOL, ROSTERS, SETS
from ledger.messages.transactions import BY_RECOVERY
from ledger.rules.quorums import MEMBER_BYTES
from ledger.rules.removals import DOWN_SHARE
from ledger.state import epoch_key
from ledger.types import Key
from tests.simulation.equivocations import PAID
from tests.simulation.mirror import Change
from tests.simulation.people import BUG, CAPTURED, DOWN, Machine, make_machine
from tests.simulation.plan import COLLUDING, GROUPS, require
from tests.simulation.world import World

MOST_HELD: Final = 5
"""Epochs for which a healthy node stays decommissioned if nobody fails it."""

FOUR: Final = 4
"""Of fewer seats one is a third: the least that may be replaced is too much."""

REST: Final = 48
"""Epochs that pass at most from a payout to the node's next life."""


def count_block(world: World, changes: Sequence[Change]) -> None:
    """Count what the newest block did; `world` still looks at the epoch that ended with it."""
    count_duty(world)
    count_seats(world)
    settle_deeds(world)
    for change in changes:
        count_change(world, change)
    count_list(world)


def count_duty(world: World) -> None:
    """Count how each node passed the epoch, and what it earned."""
    share = world.tally.share(world.plan.share_in(world.epoch))
    reward = world.mirror.one(POOL).accumulator - world.accumulator
    for machine, node in world.on_duty:
        tally = world.tally.group(machine.group)
        is_up = machine.is_up(world.epoch)
        tally.duty += 1
        tally.out += not is_up
        tally.rewards += reward * has_earned(world, machine, node)
        if machine.group != COLLUDING:
            share.honest += 1
        if node.state != DECOMMISSIONED:
            machine.held = 0
            continue
        tally.down += 1
        was_failed = world.epoch in machine.fails
        machine.held = machine.held + 1 if is_up and not was_failed else 0
        tally.held = max(tally.held, machine.held)
        require(machine.held <= MOST_HELD, f"{machine.name} is healthy and held down for too long")


def has_earned(world: World, machine: Machine, before: Node) -> bool:
    """Whether a node earned in the epoch: it earns since before its end, or left at it."""
    after = world.node(machine)
    if after is None or not after.earning:
        return bool(before.earning) and after is not None and after.state in (EXITED, TOMBSTONED)
    return after.entry <= world.accumulator


def count_seats(world: World) -> None:
    """Count who took a seat in the block and who lost one, and whether that was right."""
    before, after, tally = world.sets, world.mirror.one(SETS), world.tally
    is_recovery = before.ordered_by == BY_RECOVERY
    old = [member.list_key for member in before.current]
    if after.current != before.current:
        kept = [member for member in after.current if member.list_key in old]
        tally.set_changes += 1
        is_small = len(old) < FOUR or is_recovery
        tally.bold_changes += 3 * len(kept) <= 2 * len(after.current) and not is_small
    if after.next == after.current or after.next == before.next or is_recovery:
        return
    now = [member.list_key for member in after.current]
    soon = [member.list_key for member in after.next]
    if after.policy == REGISTRY:
        new = [list_key for list_key in soon if list_key not in now]
        tally.seats_taken += len(new)
        tally.unfit_seats += sum(not is_fit(world, list_key) for list_key in new)
    lost = [list_key for list_key in now if is_lost(world.state, list_key, world.params)]
    gone = [list_key for list_key in lost if list_key not in soon]
    tally.lost_seats += len(gone)
    tally.passed_over += bool(lost) and not gone


def is_fit(world: World, list_key: Key) -> bool:
    """Whether a node may take its turn, as its record says."""
    node = world.mirror.get(NODES, world.mirror.one(BINDINGS, list_key).node)
    if node is None or node.state not in ON_DUTY or node.taken:
        return False
    return node.list_key == list_key and bool(node.consensus_key)


def settle_deeds(world: World) -> None:
    """Check that each deed that was proven in this block cost what it had to."""
    for deed in [deed for deed in world.equivocations if deed.outcome]:
        world.equivocations.remove(deed)
        world.caught.append(deed)
        node = world.node(deed.machine)
        paid = node.taken - deed.taken_before if node else 0
        require(paid == deed.cost, f"{deed.machine.name} paid {paid} of {deed.cost}")
        world.tally.group(deed.machine.group).penalties += paid
        world.tally.offences[deed.offence] += deed.outcome == PAID


def count_change(world: World, change: Change) -> None:
    """Count a node's step from one state to another."""
    machine = world.by_key[change.key]
    tally = world.tally.group(machine.group)
    before, after = change.before, change.after
    if before is None:
        return
    if after is None:
        end_life(world, machine, before)
    elif before.state != after.state:
        if after.state == DECOMMISSIONED:
            count_decommission(world, machine)
        elif after.state == DEREGISTERED:
            count_deregistration(world, machine)
        tally.exits += after.state == EXITED
        tally.tombstones += after.state == TOMBSTONED
        world.tally.bug_left += after.state in (EXITED, TOMBSTONED)


def count_decommission(world: World, machine: Machine) -> None:
    """Count by the reasons of the last two failing verdicts that had their effect."""
    reasons = [machine.fails.get(world.epoch - back, "") for back in (1, 2)]
    require(all(reasons), f"{machine.name} is decommissioned without two failing verdicts running")
    reason = worst(reasons)
    world.tally.group(machine.group).decommissions[reason] += 1
    if reason == CAPTURED and machine.group != COLLUDING:
        world.tally.share(world.plan.share_in(world.epoch)).wrong_decommissions += 1
    machine.wrongs = {}
    machine.held = 0


def count_deregistration(world: World, machine: Machine) -> None:
    """Count by the reasons of all failing verdicts since the node was decommissioned."""
    reason = worst(sorted(machine.wrongs))
    world.tally.group(machine.group).deregistrations[reason] += 1
    if reason == CAPTURED and machine.group != COLLUDING:
        world.tally.share(world.plan.share_in(world.epoch)).wrong_deregistrations += 1


def worst(reasons: Sequence[str]) -> str:
    """Return what is to be said of a removal: one wrong verdict makes it wrong."""
    return next((reason for reason in (CAPTURED, BUG) if reason in reasons), DOWN)


def end_life(world: World, machine: Machine, before: Node) -> None:
    """Count the payout; the operator registers the node again, or another one in its place."""
    machine.idle_until = world.epoch + world.random.randint(1, REST)
    tally = world.tally.group(machine.group)
    if before.state in GONE:
        waited = world.time_ms - before.since_ms
        tally.payouts += 1
        tally.payout_ms += waited
        tally.soonest_ms = min(tally.soonest_ms, waited)
    if not world.mirror.one(HISTORIES, machine.key).tombstoned:
        return
    machine.is_gone = True
    group = next(group for group in GROUPS if group.name == machine.group)
    successor = make_machine(group, machine.place, machine.replaced + 1)
    successor.idle_until = machine.idle_until
    world.machines[world.machines.index(machine)] = successor
    world.by_key[successor.key] = successor
    tally.nodes += 1


def count_list(world: World) -> None:
    """Count the nodes of the list that the block left; a bug never empties it."""
    roster = world.mirror.one(ROSTERS, epoch_key(world.epoch + 1))
    size = len(roster.members) // MEMBER_BYTES
    tally, bug = world.tally, world.plan.bug
    tally.smallest_list = min(tally.smallest_list, size)
    if world.epoch not in bug:
        tally.bug_start, tally.bug_left = (
            (size, 0) if world.epoch < bug.start else (tally.bug_start, 0)
        )
        return
    whole = size + tally.bug_left
    tally.bug_lowest = min(tally.bug_lowest, whole)
    require(
        DOWN_SHARE * whole >= (DOWN_SHARE - 1) * tally.bug_start,
        f"a bug leaves {size} of {tally.bug_start} nodes, {tally.bug_left} left by themselves",
    )
