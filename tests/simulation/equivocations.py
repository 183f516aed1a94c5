"""Signing both ways: how it is done, and how every case of it is brought to an end.

- An equivocating node's duty key votes pass and fail in one quorum that it is in. By its number,
  its list key signs two headers besides, of one epoch or of two histories; or its consensus key
  signs two blocks, which the engine sees.
- Some ask to leave in the same block. Watchers report at once, or just before the evidence is too
  old; an engine tells at once.
- One deed of a key in one epoch; it must be punished, unless a heavier penalty of that node took
  all that it would cost, or the node has to leave for its votes already.
"""

from typing import Final

from ledger.codec import Record, encode
from ledger.crypto import sha256
from ledger.merkle import audit_path, leaf_hash, tree_root
from ledger.messages.duty import Vote, vote_bytes
from ledger.messages.evidence import ListEquivocation, Misbehaviour, VoteEquivocation
from ledger.messages.lists import ListHeader, decode_header, encode_header, header_signing_bytes
from ledger.messages.state import ACTIVE
from ledger.messages.tables import HISTORIES
from ledger.messages.transactions import Report, RequestUnlock
from ledger.nodes import consensus_address
from ledger.offences import OFFENCES
from ledger.offences.offence import Offence
from ledger.params import HOUR
from ledger.types import BASIS_POINTS, Key
from tests.simulation.duties import draw_quorum, is_tested
from tests.simulation.people import Machine
from tests.simulation.plan import EQUIVOCATING, WATCHERS, YEAR
from tests.simulation.stand_in import sign
from tests.simulation.world import Draft, Equivocation, World

OFFENCE: Final = {offence.name: offence for offence in OFFENCES}

DEEDS: Final = (
    ("vote_equivocation",),
    ("vote_equivocation",),
    ("vote_equivocation", "list_equivocation"),
    ("vote_equivocation", "block_equivocation"),
)
"""What an equivocating node does, by its number."""

A_YEAR: Final = {"vote_equivocation": 20, "list_equivocation": 4, "block_equivocation": 4}
"""How often a node would do it in a year."""

ESCAPES: Final = 0.2
"""Part of the equivocators that ask to leave in the same block."""

LAST_MINUTE: Final = 0.1
"""Part of the reports that come when the evidence is nearly too old."""

LAST_EPOCHS: Final = 20
"""Epochs at a run's end in which nobody equivocates, and all that was seen is reported."""

PAID: Final = "paid"
COVERED: Final = "covered"


def equivocate(world: World) -> None:
    """Let some nodes sign both ways, while there is time to report it."""
    if world.epoch > world.plan.epochs - LAST_EPOCHS:
        return
    for machine in world.machines:
        if machine.group != EQUIVOCATING:
            continue
        for name in DEEDS[machine.place % len(DEEDS)]:
            likely = A_YEAR[name] * world.plan.haste / YEAR
            if world.is_in(machine, ACTIVE) and world.random.random() < likely:
                commit(world, machine, OFFENCE[name])


def commit(world: World, machine: Machine, offence: Offence) -> None:
    """Sign both ways, and perhaps try to escape; a watcher has seen it."""
    found = DEED_OF[offence.name](world, machine)
    if found is None:
        return
    key, evidence = found
    due = min(world.epoch + delay(world), world.plan.epochs - LAST_EPOCHS + 1)
    deed = Equivocation(offence.name, machine, key, world.epoch, due, encode(evidence))
    world.equivocations.append(deed)
    if offence.signatures is None:
        world.misbehaviour += (deed.evidence, deed.evidence, b"nothing")
        expect_penalty(world, deed)
        deed.outcome = PAID
        world.busy[machine.key] = None
        return
    node = world.node(machine)
    if node is not None and not node.exit_ms and world.random.random() < ESCAPES:
        body = RequestUnlock(machine.key, node.life)
        world.send(world.paid("request_unlock", machine.operator, body))
        world.busy[machine.key] = None


def delay(world: World) -> int:
    """Return after how many epochs a watcher reports: soon, or at the last minute."""
    if world.random.random() < LAST_MINUTE:
        return world.params.evidence_ms // HOUR - world.random.randint(2, 30)
    return world.random.choice((0, 1, 1, 1, 2, 5))


def vote_twice(world: World, machine: Machine) -> tuple[Key, Record] | None:
    """Vote pass and fail on a node in whose quorum the equivocator is."""
    node = world.node(machine)
    tested = world.find(lambda other: is_tester_of(world, machine, other))
    if tested is None or node is None:
        return None
    return node.duty_key, make_vote_evidence(world, node.duty_key, tested)


def is_tester_of(world: World, machine: Machine, other: Machine) -> bool:
    """Whether a node is among the testers of another one in this epoch."""
    node = world.node(other)
    if node is None or not is_tested(node, world.epoch):
        return False
    return machine.key in draw_quorum(world, other.key, node.operator)


def make_vote_evidence(
    world: World, duty_key: Key, tested: Machine, epoch: int | None = None, faults: int = 1
) -> VoteEquivocation:
    """Return two votes of a key on a node."""
    node = world.node(tested)
    life = node.life if node else 1
    epoch = world.epoch if epoch is None else epoch
    good, bad = (
        sign(duty_key, vote_bytes(world.hash, Vote(epoch, tested.key, life, faults)))
        for faults in (0, faults)
    )
    return VoteEquivocation(duty_key, epoch, tested.key, life, good, faults, bad)


def attest_twice(world: World, machine: Machine) -> tuple[Key, Record] | None:
    """Sign two headers of the newest epoch, or one of it and one that does not extend it."""
    node = world.node(machine)
    if node is None or not node.list_key:
        return None
    header = decode_header(world.chain.newest_header().header)
    if header.epoch < node.liable_from:
        # it has no stake yet that would answer for that epoch, and can have no seat
        return None
    make = make_fork_evidence if world.random.random() < 0.5 else make_header_evidence
    return node.list_key, make(world, node.list_key, header)


def make_header_evidence(world: World, list_key: Key, header: ListHeader) -> ListEquivocation:
    """Return two headers of one epoch."""
    other = header._replace(list_hash=sha256(header.list_hash))
    first, second = sorted((encode_header(header), encode_header(other)))
    return ListEquivocation(
        list_key, first, attest(world, list_key, first), second, attest(world, list_key, second),
        b"", (),
    )  # fmt: skip


def make_fork_evidence(world: World, list_key: Key, header: ListHeader) -> ListEquivocation:
    """Return a header and one of the epoch after, whose history holds another one in its place."""
    leaves = [leaf_hash(bytes(2) + place.to_bytes(8, "big")) for place in range(header.epoch + 1)]
    later = header._replace(epoch=header.epoch + 1, history_root=tree_root(leaves))
    first, second = encode_header(header), encode_header(later)
    return ListEquivocation(
        list_key, first, attest(world, list_key, first), second, attest(world, list_key, second),
        leaves[-1], tuple(audit_path(leaves, header.epoch)),
    )  # fmt: skip


def attest(world: World, list_key: Key, header: bytes) -> bytes:
    """Return an attestation of a header."""
    return sign(list_key, header_signing_bytes(world.hash, header))


def seal_twice(world: World, machine: Machine) -> tuple[bytes, Record] | None:
    """Sign two blocks of the height before, as the engine's validators agree."""
    node = world.node(machine)
    tip = world.chain.tip
    if node is None or not node.consensus_key or world.epoch - 1 < node.liable_from:
        return None
    address = consensus_address(node.consensus_key)
    return address, Misbehaviour(address, tip.height, tip.time_ms)


DEED_OF: Final = {
    "vote_equivocation": vote_twice,
    "list_equivocation": attest_twice,
    "block_equivocation": seal_twice,
}
"""How each offence is committed. A test holds it equal to `OFFENCES`."""


# ----------------------------------------------------------------------------- reports


def send_reports(world: World) -> None:
    """Report what is due, one deed of a node at a time."""
    for deed in world.equivocations:
        if deed.due > world.epoch or deed.machine.key in world.busy:
            continue
        expect_penalty(world, deed)
        is_covered = not deed.cost and not is_first_tombstone(world, deed)
        deed.outcome = COVERED if is_covered else PAID
        draft = make_report(world, world.random.choice(WATCHERS), deed)
        world.send(draft, "nothing_at_stake" if is_covered else "")
        world.busy[deed.machine.key] = None


def make_report(world: World, who: str, deed: Equivocation) -> Draft:
    """Return a report of a deed."""
    return world.paid("report", who, Report(OFFENCE[deed.offence].number, deed.evidence))


def expect_penalty(world: World, deed: Equivocation) -> None:
    """Write down what a deed has to cost now, worked out apart from the ledger's rule."""
    node, offence = world.node(deed.machine), OFFENCE[deed.offence]
    if node is None:
        return
    staked = sum(c.amount for c in node.contributions)
    due = (staked + node.taken) * offence.get_share(world.params) // BASIS_POINTS
    if offence.tombstones or world.mirror.one(HISTORIES, deed.machine.key).tombstoned:
        due -= node.taken
    elif staked * BASIS_POINTS < node.requirement * world.params.stake_floor:
        # it has to leave for its votes already, and they cost it no more
        due = 0
    deed.cost, deed.taken_before = min(max(due, 0), staked), node.taken


def is_first_tombstone(world: World, deed: Equivocation) -> bool:
    """Whether a deed costs a node its place for ever, and none did before."""
    is_tombstoned = world.mirror.one(HISTORIES, deed.machine.key).tombstoned
    return OFFENCE[deed.offence].tombstones and not is_tombstoned
