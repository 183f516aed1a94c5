"""The public record of offences, and what a report would do: answers in the shape of the API.

A penalty is kept beside the state; its evidence stands in the block, in the transaction that
reported it or in what the engine found.
"""

from itertools import islice
from typing import Any, Final, NamedTuple

from ledger.codec import encode
from ledger.history import ENGINE_INDEX, PENALTY_ROW, PenaltyRow, penalty_key
from ledger.messages.state import ROLES
from ledger.messages.transactions import Report
from ledger.nodes import get_stakes
from ledger.offences import OFFENCES
from ledger.offences.offence import Offence, Offender
from ledger.offences.punish import open_case
from ledger.rules.penalties import compute_bounty, split_penalty
from ledger.transactions import WIRE
from ledger.transactions.report import identify
from ledger.types import Amount, Epoch, Hash, Height, Key
from ledger.views import View
from registry.addresses import encode_account, encode_node
from registry.evidence import EVIDENCE_FILE

MAX_PAGE: Final = 200
"""Reports in one answer."""

_FIRST: Final = penalty_key(0, 0)
_LETTER: Final = _FIRST[:1]
_STOP: Final = bytes([_LETTER[0] + 1])


class Origin(NamedTuple):
    """Where a penalty came from."""

    report: Report
    reporter: Key
    """Empty for what an engine found, as is the next."""
    transaction: Hash


def list_reports(view: View, before: bytes, limit: int) -> dict[str, Any]:
    """A page of the record, the newest first: those before the place `before`, if there is one."""
    stop = _LETTER + before if before else _STOP
    rows = view.reader.items(_FIRST, stop, reverse=True)
    found = list(islice(rows, min(limit, MAX_PAGE) + 1))
    page = found[: min(limit, MAX_PAGE)]
    return {
        "reports": [_show(view, key, PENALTY_ROW.load(raw)) for key, raw in page],
        "next": page[-1][0][1:] if len(found) > len(page) else None,
    }


def get_report(view: View, height: Height, index: int) -> dict[str, Any] | None:
    """One penalty by the block and the place of its report; None where there is none."""
    key = penalty_key(height, index)
    raw = view.reader.get(key)
    return None if raw is None else _show(view, key, PENALTY_ROW.load(raw))


def check_report(view: View, evidence: bytes) -> dict[str, Any]:
    """What the report of an evidence file would do now; its signatures were verified before.

    Refuses like the transaction does.
    """
    report = EVIDENCE_FILE.decode(evidence)
    offence, offender = identify(report)
    params = view.state.params()
    case = open_case(view.state, offence, offender, params)
    bounty = 0
    if case.record is not None:
        own = split_penalty(get_stakes(case.record), case.penalty)[0]
        bounty = compute_bounty(own, params.bounty_share, params.bounty_cap)
    return _penalty(offence, offender, case.node, case.epoch, case.penalty, bounty)


def _show(view: View, key: bytes, row: PenaltyRow) -> dict[str, Any]:
    height, index = int.from_bytes(key[1:9], "big"), int.from_bytes(key[9:], "big")
    block = view.committed_block(height)
    if index < len(block.transactions):
        tx = WIRE.decode(block.transactions[index])
        origin = Origin(tx.body, tx.sender, tx.hash)
    else:
        piece = block.misbehaviour[ENGINE_INDEX - index]
        origin = Origin(Report(row.offence, piece), b"", b"")
    offence = next(o for o in OFFENCES if o.number == row.offence)
    offender = offence.identify(offence.codec.decode(origin.report.evidence))
    return {
        "height": height,
        "index": index,
        "time_ms": block.header.time_ms,
        "penalty": _penalty(offence, offender, row.node, row.epoch, row.taken, row.bounty),
        "reporter": encode_account(origin.reporter) if origin.reporter else None,
        "transaction": origin.transaction.hex() or None,
        "evidence": encode(origin.report).hex(),
    }


def _penalty(
    offence: Offence, offender: Offender, node: Key, epoch: Epoch, taken: Amount, bounty: Amount
) -> dict[str, Any]:
    return {
        "offence": offence.name,
        "key": offender.key.hex(),
        "role": ROLES[offender.role],
        # a key without a node stands for itself
        "node": None if node == offender.key else encode_node(node),
        "epoch": epoch,
        "taken": str(taken),
        "bounty": str(bounty),
        "tombstones": offence.tombstones,
    }
