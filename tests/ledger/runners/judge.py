"""The runner of `judge`."""

from ledger.crypto import sha256
from ledger.history import VerdictRow
from ledger.messages.state import Verdict
from ledger.messages.tables import EPOCH, NODES, ROSTERS, VERDICTS
from ledger.messages.transactions import TesterVote
from tests.factory import Network, public
from tests.ledger.effects import Sheet, expect_applied
from tests.life import ballots, judge


def run_judge(
    network: Network,
    node: str = "node",
    faults: tuple[int, ...] = (0, 0, 0, 0),
    epoch: int | None = None,
    votes: tuple[TesterVote, ...] | None = None,
) -> None:
    """`judge`: the verdict waits for its window's end, who voted what is kept for ever.

    `faults` are what the first testers found, unless there are `votes`.
    """
    sheet = Sheet(network)
    epoch = sheet.get(EPOCH).epoch if epoch is None else epoch
    key = public(node)
    votes = ballots(network, node, faults, epoch) if votes is None else votes
    record = sheet.get(NODES, key)
    testers = draw(sheet, epoch, key, record.operator)
    found = 0
    for vote in votes:
        found |= vote.faults
    place = epoch.to_bytes(8, "big") + key
    sheet.put(VERDICTS, place, Verdict(record.life, found))
    voted = {vote.place: vote.faults for vote in votes}
    rows = tuple((testers[at], vote) for at, vote in sorted(voted.items()))
    silent = tuple(tester for at, tester in enumerate(testers) if at not in voted)
    sheet.keep(b"V", place, VerdictRow(record.life, rows, silent))
    expect_applied(network, sheet, judge(network, node, epoch=epoch, votes=votes))


def draw(sheet: Sheet, epoch: int, node: bytes, operator: bytes) -> list[bytes]:
    """The testers of a node in an epoch, drawn as the rule's text says."""
    roster = sheet.get(ROSTERS, epoch.to_bytes(8, "big"))
    starts = range(0, len(roster.members), 64)
    members = [(roster.members[at : at + 32], roster.members[at + 32 : at + 64]) for at in starts]
    drawn: list[bytes] = []
    counter = 0
    while len(drawn) < roster.testers:
        data = b"waypost quorum".ljust(32, b"\0") + roster.seed + node + counter.to_bytes(4, "big")
        number = int.from_bytes(sha256(data)[:8], "big")
        counter += 1
        if number >= 2**64 - 2**64 % len(members):
            continue
        tester, owner = members[number % len(members)]
        if tester not in drawn and owner != operator:
            drawn.append(tester)
    return drawn
