"""Bad verdicts and bad reports: what testers and watchers must not get through."""

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.messages.lists import decode_header
from ledger.messages.state import ACTIVE, DECOMMISSIONED, QUEUED, Node
from ledger.messages.tables import HISTORIES, VERDICTS
from ledger.messages.transactions import Report
from ledger.state import epoch_key
from ledger.types import Key
from tests.factory import public
from tests.simulation.duties import draw_quorum, is_tested, make_judge
from tests.simulation.equivocations import (
    make_fork_evidence,
    make_header_evidence,
    make_report,
    make_vote_evidence,
)
from tests.simulation.operations.accounts import forge
from tests.simulation.people import Machine
from tests.simulation.plan import BESIEGED, EQUIVOCATING, WATCHERS
from tests.simulation.world import Draft, World

# ----------------------------------------------------------------------------- verdicts


def find_tested(
    world: World, *states: int, group: str = ""
) -> tuple[Machine, Node, tuple[Key, ...]] | None:
    """Return a node that testers are drawn for and that no verdict is on its way about."""
    judged = judged_now(world)

    def wants(machine: Machine) -> bool:
        node = world.node(machine)
        if node is None or node.state not in states or not is_tested(node, world.epoch):
            return False
        is_fresh = world.mirror.get(VERDICTS, epoch_key(world.epoch, machine.key)) is None
        return is_fresh and machine.key not in judged and group in ("", machine.group)

    machine = world.find(wants)
    node = world.node(machine) if machine else None
    if machine is None or node is None:
        return None
    quorum = draw_quorum(world, machine.key, node.operator)
    return (machine, node, quorum) if quorum else None


def judged_now(world: World) -> dict[Key, None]:
    """Return the nodes that verdicts on their way are about."""
    rows = [row.raw for row in world.outbox if row.kind == "judge" and not row.code]
    return dict.fromkeys(world.chain.decode(raw).body.node for raw in rows)


def judge(world: World, count: int = 0, spread: int = 0, faults: int = 1) -> Draft | None:
    """A verdict by the first testers, whoever they are, on an active node."""
    found = find_tested(world, ACTIVE)
    if found is None:
        return None
    machine, _, quorum = found
    votes = [
        (place, tester, faults if place >= spread else 0) for place, tester in enumerate(quorum)
    ]
    return make_judge(world, machine, world.epoch, votes[: count or world.roster.threshold])


def judge_besieged(world: World) -> Draft | None:
    """As many testers of a healthy node as the adversary has, one too few, fail it."""
    found = find_tested(world, ACTIVE, group=BESIEGED)
    if found is None:
        return None
    machine, _, quorum = found
    votes = [(place, tester, 1) for place, tester in enumerate(quorum)]
    return make_judge(world, machine, world.epoch, votes[: world.plan.besiegers])


def judge_in_two_minds(world: World) -> Draft | None:
    """Votes that do not agree."""
    return judge(world, spread=1)


def judge_unasked(world: World) -> Draft | None:
    """A pass for a node that is active."""
    return judge(world, faults=0)


def judge_forged(world: World) -> Draft | None:
    """A vote that its tester did not sign."""
    draft = judge(world)
    return forge(draft) if draft else None


def judge_as_strangers(world: World) -> Draft | None:
    """Votes of more testers than were drawn."""
    found = find_tested(world, ACTIVE)
    if found is None:
        return None
    machine, _, quorum = found
    votes = [(place + 1, tester, 1) for place, tester in enumerate(quorum)]
    return make_judge(world, machine, world.epoch, votes)


def judge_twice(world: World) -> Draft | None:
    """A verdict that is on its way already."""
    sent = [row for row in world.outbox if row.kind == "judge" and not row.code]
    return Draft(world.random.choice(sent).raw, "judge", b"") if sent else None


def judge_too_late(world: World) -> Draft | None:
    """An epoch that takes no verdicts any more."""
    if world.epoch < 3:
        return None
    return change_judge(world, epoch=world.epoch - 2)


def judge_former_life(world: World) -> Draft | None:
    """The life before this one."""
    found = find_tested(world, ACTIVE)
    if found is None:
        return None
    return change_judge(world, life=found[1].life - 1, found=found)


def change_judge(
    world: World,
    found: tuple[Machine, Node, tuple[Key, ...]] | None = None,
    **changes: int,
) -> Draft | None:
    """A verdict with something changed after its votes were signed."""
    found = found or find_tested(world, ACTIVE)
    if found is None:
        return None
    machine, _, quorum = found
    votes = [(place, tester, 1) for place, tester in enumerate(quorum)]
    draft = make_judge(world, machine, world.epoch, votes)
    return world.free("judge", replace(world.chain.decode(draft.raw).body, **changes))


def judge_untested(world: World) -> Draft | None:
    """A node that was not yet what it is now when that epoch began."""
    machine = world.find(
        lambda m: (
            world.is_in(m, ACTIVE, QUEUED, DECOMMISSIONED)
            and not is_tested(world.node(m), world.epoch - 1)
            and is_tested(world.node(m), world.epoch)
        )
    )
    node = world.node(machine) if machine else None
    if machine is None or node is None or world.epoch < 2:
        return None
    votes = [
        (place, key, 1) for place, key in enumerate(world.members.keys[: world.roster.threshold])
    ]
    return make_judge(world, machine, world.epoch - 1, votes)


# ------------------------------------------------------------------------------ reports


def report(world: World, number: int, evidence: bytes) -> Draft:
    """A report by one of the watchers."""
    return world.paid("report", world.random.choice(WATCHERS), Report(number, evidence))


def report_again(world: World) -> Draft | None:
    """A deed that was punished before, while the evidence is not too old."""
    oldest = world.epoch - world.params.evidence_ms // world.params.epoch_ms
    rows = [deed for deed in world.caught[-40:] if deed.epoch > oldest + 2]
    rows = [deed for deed in rows if deed.offence != "block_equivocation" and deed.cost]
    if not rows:
        return None
    return make_report(world, world.random.choice(WATCHERS), world.random.choice(rows))


def report_old(world: World) -> Draft | None:
    """A deed that is too old."""
    machine = world.find_in(ACTIVE)
    node = world.node(machine) if machine else None
    oldest = world.epoch - world.params.evidence_ms // world.params.epoch_ms - 2
    if machine is None or node is None or oldest < 1:
        return None
    return report(world, 1, encode(make_vote_evidence(world, node.duty_key, machine, oldest)))


def report_nothing(world: World) -> Draft | None:
    """Two votes that both pass."""
    machine = world.find_in(ACTIVE)
    node = world.node(machine) if machine else None
    if machine is None or node is None:
        return None
    evidence = make_vote_evidence(world, node.duty_key, machine, faults=0)
    return report(world, 1, encode(evidence))


def report_one_history(world: World) -> Draft | None:
    """Two headers of which the second holds the first."""
    header = decode_header(world.chain.newest_header().header)
    evidence = make_fork_evidence(world, public("nobody"), header)
    own = sha256(b"\0" + evidence.first)
    return report(world, 2, encode(replace(evidence, leaf=own)))


def report_nobody(world: World) -> Draft | None:
    """A key that nobody ever had."""
    header = decode_header(world.chain.newest_header().header)
    return report(world, 2, encode(make_header_evidence(world, public("nobody"), header)))


def report_former_node(world: World) -> Draft | None:
    """A key whose node was paid out: nothing is at stake any more."""
    machine = world.find(
        lambda m: (
            world.node(m) is None
            and m.group != EQUIVOCATING
            and world.mirror.get(HISTORIES, m.key) is not None
        )
    )
    tested = world.find_in(ACTIVE)
    if machine is None or tested is None or machine.key in world.busy:
        return None
    key = public(f"{machine.name} duty {machine.generation}")
    return report(world, 1, encode(make_vote_evidence(world, key, tested)))


def report_blocks(world: World) -> Draft:
    """An offence that only engines give."""
    return report(world, 3, b"")


def report_forged(world: World) -> Draft | None:
    """Two votes of which the key signed one."""
    machine = world.find_in(ACTIVE)
    node = world.node(machine) if machine else None
    if machine is None or node is None:
        return None
    evidence = make_vote_evidence(world, node.duty_key, machine)
    return report(world, 1, encode(replace(evidence, fail_signature=bytes(64))))
