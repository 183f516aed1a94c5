"""What everybody does in each epoch without being asked: outages, attestations, verdicts.

- A tester votes as it saw, unless it is down, lazy, or colludes.
- Who colludes fails a healthy node wherever the threshold is reached, passes its own, and withholds
  its vote otherwise. It votes even while its node is down.
- Of a besieged node's testers 13 are the adversary's, whoever was drawn: they fail it while it is
  down, so that it is decommissioned, and never pass it.
- In the time of the bug every honest tester fails every node.
- Nobody sends a verdict that would change nothing. Some come only in the epoch after their own.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from ledger.messages.duty import Vote, vote_bytes
from ledger.messages.lists import header_signing_bytes
from ledger.messages.state import ACTIVE, DECOMMISSIONED, QUEUED, Node
from ledger.messages.tables import BINDINGS, NODES, SETS, VERDICTS
from ledger.messages.transactions import Attest, Judge, TesterVote
from ledger.nodes import get_duty_key
from ledger.rules.quorums import draw_testers
from ledger.state import epoch_key
from ledger.types import Epoch, Key
from tests.simulation.draws import chance, find_capture
from tests.simulation.people import BUG, CAPTURED, DOWN, Machine
from tests.simulation.plan import BESIEGED, COLLUDING, GROUPS, LAZY
from tests.simulation.stand_in import sign
from tests.simulation.world import Draft, Late, World

ATTENDANCE: Final = 0.95
"""Chance that an attestor attests a header."""

LATE: Final = 0.1
"""Part of the verdicts that comes in the epoch after."""

FAULTS: Final = (1, 2, 8)
"""What testers say is wrong."""

KEPT_EPOCHS: Final = 8
"""Epochs for which the reasons of failing verdicts are remembered."""

Votes = tuple[tuple[int, Key, int], ...]
"""Place, tester and faults of each vote, by ascending place."""


# ------------------------------------------------------------------- outages, attestors


def begin_epoch(world: World) -> None:
    """Let nodes go down, and choose who colludes."""
    outage = {group.name: (group.outage, group.hours) for group in GROUPS}
    for machine in world.machines:
        chance_of_it, hours = outage[machine.group]
        if machine.is_up(world.epoch) and world.random.random() < chance_of_it:
            machine.down_until = world.epoch + world.random.randint(*hours)
    world.colluders = choose_colluders(world)


def choose_colluders(world: World) -> int:
    """Return below which number nodes of the group collude, to hold their share of the roster."""
    wanted = round(len(world.members.keys) * world.plan.share_in(world.epoch) / 100)
    active = [world.by_key[key] for key in world.members.keys]
    places = sorted(machine.place for machine in active if machine.group == COLLUDING)
    return places[min(wanted, len(places)) - 1] + 1 if wanted and places else 0


def send_attestations(world: World) -> None:
    """Attest the newest header; whose node is down misses it."""
    for index, seat in enumerate(world.mirror.one(SETS).current):
        holder = world.by_key.get(world.mirror.one(BINDINGS, seat.list_key).node)
        is_up = holder is None or holder.is_up(world.epoch)
        if world.random.random() < ATTENDANCE and is_up:
            world.send(make_attest(world, index))


def make_attest(world: World, index: int) -> Draft:
    """Return the attestation of a seat."""
    seat = world.mirror.one(SETS).current[index]
    header = world.chain.newest_header().header
    signature = sign(seat.list_key, header_signing_bytes(world.hash, header))
    body = Attest(world.epoch - 1, index, world.next_link(seat.list_key), signature)
    return world.free("attest", body)


# ------------------------------------------------------------------------------ quorums


class Testers:
    """Who may test in this epoch, and what they do."""

    def __init__(self, world: World) -> None:
        self.besiegers = world.plan.besiegers
        self.is_bug = world.epoch in world.plan.bug
        machines = [world.by_key[key] for key in world.members.keys]
        self.is_colluding = [world.is_colluding(m) and not self.is_bug for m in machines]
        self.is_voting = {
            m.key: m.group != LAZY and m.is_up(world.epoch) and not colludes
            for m, colludes in zip(machines, self.is_colluding, strict=True)
        }
        self.colluding = {
            m.key: colludes for m, colludes in zip(machines, self.is_colluding, strict=True)
        }
        self.colluders = sum(self.is_colluding)
        self.voters = sum(self.is_voting.values())
        self.voters_of: dict[Key, int] = {}
        for key, operator in zip(world.members.keys, world.members.operators, strict=True):
            if self.is_voting[key]:
                self.voters_of[operator] = self.voters_of.get(operator, 0) + 1

    def split(self, quorum: Sequence[Key], *, is_besieged: bool) -> tuple[list[int], list[int]]:
        """Return the places of a quorum that vote as they saw, and those that collude."""
        places = range(len(quorum))
        colluding = [place for place in places if self.colluding[quorum[place]]]
        if is_besieged:
            others = [place for place in places if not self.colluding[quorum[place]]]
            colluding = [*colluding, *others][: self.besiegers]
        voting = [
            place for place in places if self.is_voting[quorum[place]] and place not in colluding
        ]
        return voting, colluding


def draw_quorum(world: World, key: Key, operator: Key) -> tuple[Key, ...]:
    """Return the testers of a node in this epoch."""
    roster = world.roster
    return draw_testers(world.members, roster.seed, key, operator, roster.testers)


def is_tested(node: Node | None, epoch: Epoch) -> bool:
    """Whether a verdict for an epoch can count for a node."""
    if node is None or node.state not in (QUEUED, ACTIVE, DECOMMISSIONED):
        return False
    return 0 < node.tested_from <= epoch and not node.passed


# ----------------------------------------------------------------------------- verdicts


def send_verdicts(world: World) -> None:
    """Send every verdict that testers reach in this epoch, and late ones for the one before."""
    late, world.late = world.late, []
    for row in late:
        send_late(world, row)
    testers = Testers(world)
    count_testers(world, testers)
    for machine in world.machines:
        node = world.node(machine)
        if node is not None and is_tested(node, world.epoch):
            judge(world, testers, machine, node)


def count_testers(world: World, testers: Testers) -> None:
    """Count who may test."""
    tally = world.tally.share(world.plan.share_in(world.epoch))
    tally.epochs += 1
    tally.colluding += testers.colluders
    tally.roster += len(world.members.keys)


def judge(world: World, testers: Testers, machine: Machine, node: Node) -> None:
    """Let the testers of one node vote, and send the verdict if there is one that is of use."""
    is_up = machine.is_up(world.epoch)
    is_attacked = is_up and machine.group not in (COLLUDING, BESIEGED) and not testers.is_bug
    if is_attacked and node.state != QUEUED:
        expect_capture(world, testers, machine, node)
    if node.state == ACTIVE and is_up and not testers.is_bug:
        if is_attacked:
            capture(world, testers, machine, node)
        return
    quorum = draw_quorum(world, machine.key, node.operator)
    if not quorum:
        return
    voting, colluding = testers.split(quorum, is_besieged=machine.group == BESIEGED)
    fails, passes = voting, colluding if world.is_colluding(machine) else []
    reason = DOWN
    if testers.is_bug:
        reason = BUG if is_up else DOWN
    elif not is_up:
        expect_fail(world, testers, machine, node)
        fails = sorted((*voting, *colluding)) if machine.group == BESIEGED else voting
    else:
        fails = colluding if is_attacked else []
        passes = sorted((*voting, *passes))
        reason = CAPTURED
    threshold = world.roster.threshold
    if len(passes) >= threshold and node.state in (QUEUED, DECOMMISSIONED):
        decide(world, machine, quorum, passes, "")
    elif len(fails) >= threshold and node.state in (ACTIVE, DECOMMISSIONED):
        decide(world, machine, quorum, fails, reason)


def capture(world: World, testers: Testers, machine: Machine, node: Node) -> None:
    """Fail a healthy node if enough of its testers collude."""
    roster = world.roster
    drawn = find_capture(
        world.members,
        roster.seed,
        machine.key,
        node.operator,
        (roster.testers, roster.threshold),
        testers.is_colluding,
    )
    if drawn:
        quorum = [world.members.keys[index] for index in drawn]
        places = [place for place, index in enumerate(drawn) if testers.is_colluding[index]]
        decide(world, machine, quorum, places, CAPTURED)


def decide(
    world: World, machine: Machine, quorum: Sequence[Key], places: Sequence[int], reason: str
) -> None:
    """Send a verdict of as many votes as are needed; with a reason it fails the node."""
    chosen = places[: world.roster.threshold]
    votes = tuple(
        (place, quorum[place], world.random.choice(FAULTS) if reason else 0) for place in chosen
    )
    if reason:
        count_fail(world, machine, world.epoch, reason)
    if reason in ("", DOWN) and world.random.random() < LATE:
        world.late.append(Late(world.epoch, machine, votes, reason))
        return
    send_judge(world, machine, world.epoch, votes, reason)


def send_late(world: World, row: Late) -> None:
    """Send a verdict for the epoch before, if it still says something about the node."""
    node = world.node(row.machine)
    useful = (ACTIVE, DECOMMISSIONED) if row.reason else (QUEUED, DECOMMISSIONED)
    if node is None or not is_tested(node, row.epoch) or node.state not in useful:
        return
    if world.mirror.get(VERDICTS, epoch_key(row.epoch, row.machine.key)) is None:
        send_judge(world, row.machine, row.epoch, row.votes, row.reason)


def send_judge(world: World, machine: Machine, epoch: Epoch, votes: Votes, reason: str) -> None:
    """Send a verdict and remember why it failed the node."""
    world.send(make_judge(world, machine, epoch, votes))
    if not reason:
        return
    machine.fails = {e: why for e, why in machine.fails.items() if e > epoch - KEPT_EPOCHS}
    machine.fails[epoch] = reason
    machine.wrongs[reason] = machine.wrongs.get(reason, 0) + 1


def make_judge(
    world: World, machine: Machine, epoch: Epoch, votes: Iterable[tuple[int, Key, int]]
) -> Draft:
    """Return a verdict of the votes given, each signed by its tester."""
    node = world.mirror.one(NODES, machine.key)
    messages: dict[int, bytes] = {}
    rows = []
    for place, tester, faults in votes:
        if faults not in messages:
            vote = Vote(epoch, machine.key, node.life, faults)
            messages[faults] = vote_bytes(world.hash, vote)
        duty_key = get_duty_key(world.mirror.one(NODES, tester), epoch)
        rows.append(TesterVote(place, faults, sign(duty_key, messages[faults])))
    return world.free("judge", Judge(epoch, machine.key, node.life, tuple(rows)))


# ---------------------------------------------------------------- measured and expected


def expect_capture(world: World, testers: Testers, machine: Machine, node: Node) -> None:
    """Count a quorum that colluders might capture, with the chance that they do."""
    tally = world.tally.share(world.plan.share_in(world.epoch))
    members, roster = world.members, world.roster
    eligible = len(members.keys) - members.nodes_of.get(node.operator, 0)
    likely = chance(eligible, testers.colluders, roster.testers, roster.threshold)
    before = machine.likely if machine.attacked == world.epoch - 1 else 0.0
    tally.healthy += 1
    tally.expected_captures += likely
    tally.expected_runs += likely * before
    if is_run(world, node):
        was_down = machine.fails.get(world.epoch - 1) == DOWN
        tally.expected_wrongs += likely * (1.0 if was_down else before)
    machine.attacked, machine.likely = world.epoch, likely


def is_run(world: World, node: Node) -> bool:
    """Whether failing verdicts for this epoch and the one before decommission a node."""
    return node.state == ACTIVE and node.tested_from < world.epoch


def expect_fail(world: World, testers: Testers, machine: Machine, node: Node) -> None:
    """Count a node that is down, with the chance that enough honest testers say so."""
    if machine.group == BESIEGED or node.state == QUEUED:
        return
    tally = world.tally.share(world.plan.share_in(world.epoch))
    members, roster = world.members, world.roster
    eligible = len(members.keys) - members.nodes_of.get(node.operator, 0)
    voters = testers.voters - testers.voters_of.get(node.operator, 0)
    likely = chance(eligible, voters, roster.testers, roster.threshold)
    tally.out += 1
    tally.expected_failed += likely
    if is_run(world, node) and machine.attacked == world.epoch - 1:
        tally.expected_wrongs += likely * machine.likely


def count_fail(world: World, machine: Machine, epoch: Epoch, reason: str) -> None:
    """Count a failing verdict by its reason."""
    tally = world.tally.share(world.plan.share_in(epoch))
    if reason == CAPTURED:
        tally.captures += 1
        tally.runs += machine.fails.get(epoch - 1) == CAPTURED
    elif reason == BUG:
        world.tally.bug_failed += 1
    elif machine.group != BESIEGED and epoch not in world.plan.bug:
        tally.failed += 1
