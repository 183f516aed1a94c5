"""The runner of `claim_rewards`, and what a period of rewards gives to whom."""

from fractions import Fraction
from math import floor

from msgspec.structs import replace

from ledger.messages.state import Node
from ledger.messages.tables import NODES, POOL
from tests.factory import Network, public
from tests.ledger.effects import Sheet, expect_applied


def run_claim_rewards(network: Network, who: str = "alice", node: str = "node") -> int:
    """`claim_rewards`: what waits goes to the beneficiaries; returns how much that was."""
    sheet = Sheet(network)
    sheet.pay(who, 0)
    record = sheet.get(NODES, public(node))
    claimed, rows = 0, []
    for part, row in zip(owed(sheet, record), record.contributions, strict=True):
        if public(who) in (row.account, row.beneficiary) and part > row.paid:
            sheet.move(row.beneficiary, part - row.paid)
            claimed += part - row.paid
            row = replace(row, paid=part)
        rows.append(row)
    assert claimed > 0
    sheet.put(NODES, public(node), replace(record, contributions=tuple(rows)))
    sheet.fill_pool(0, -claimed)
    expect_applied(network, sheet, network.claim_rewards(who, node))
    return claimed


def earned(sheet: Sheet, record: Node) -> int:
    """What a node earned in the running period."""
    since = sheet.get(POOL).accumulator - record.entry if record.earning else 0
    return int(record.accrued + since)


def owed(sheet: Sheet, record: Node) -> list[int]:
    """What each contribution is owed of the running period, with what it claimed of that.

    The fee is the operator's, the rest is shared by stake, each part rounded down once.
    """
    total = earned(sheet, record)
    fee = Fraction(record.fee, 10_000)
    staked = sum(row.amount for row in record.contributions)
    parts = []
    for place, row in enumerate(record.contributions):
        share = Fraction(row.amount, staked) if staked else Fraction(place == 0)
        own = (1 - fee) * share + (fee if place == 0 else 0)
        parts.append(floor(total * own))
    return parts


def close_period(sheet: Sheet, key: bytes) -> None:
    """All that waits in a node has to be paid, the remainder to its operator; a period begins."""
    record = sheet.get(NODES, key)
    total, parts = earned(sheet, record), owed(sheet, record)
    parts[0] += total - sum(parts)
    for part, row in zip(parts, record.contributions, strict=True):
        if part > row.paid:
            sheet.move(row.beneficiary, part - row.paid)
    sheet.fill_pool(0, sum(row.paid for row in record.contributions) - total)
    sheet.put(
        NODES,
        key,
        replace(
            record,
            accrued=0,
            entry=sheet.get(POOL).accumulator,
            contributions=tuple(replace(row, paid=0) for row in record.contributions),
        ),
    )
