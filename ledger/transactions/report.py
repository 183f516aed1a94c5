"""Proving an offence: `report`.

- The evidence proves itself: signatures and the genesis hash are all it needs.
- What proves nothing, nothing new, or nothing that can still be punished, is refused. So a report
  in a block has proven something, and its fee comes back with the bounty.
"""

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import Signed
from ledger.errors import Refusal
from ledger.history import penalty_key
from ledger.messages.tables import POOL
from ledger.messages.transactions import Report
from ledger.offences import get_offence
from ledger.offences.offence import Offence, Offender
from ledger.offences.punish import open_case, punish
from ledger.state import State
from ledger.transactions.envelope import Context, Transaction
from ledger.types import Amount, Hash


def check_report(state: State, tx: Transaction, context: Context) -> None:
    """Refuses with `unknown_offence`, `not_canonical`, `too_large`, `no_contradiction`,
    `bad_header`, `unknown_format`, `unknown_offender`, `evidence_too_old`, `punished_already`,
    `nothing_at_stake`.
    """
    offence, offender = identify(tx.body)
    open_case(state, offence, offender, context.params)


def identify(body: Report) -> tuple[Offence, Offender]:
    """Return the offence and who committed it; needs no state.

    Refuses with `unknown_offence`, `not_canonical`, `too_large`, `no_contradiction`,
    `bad_header`, `unknown_format`.
    """
    offence = get_offence(body.offence)
    if offence is None:
        raise Refusal("unknown_offence", number=body.offence)
    return offence, offence.identify(offence.codec.decode(body.evidence))


def apply_report(state: State, tx: Transaction, context: Context, index: int) -> None:
    """Punish, pay the bounty, give the fee back, and keep the record for everybody."""
    offence, offender = identify(tx.body)
    case = open_case(state, offence, offender, context.params)
    row = punish(state, offence, case, context, reporter=tx.sender)
    pool = state.one(POOL)
    state.put(POOL, replace(pool, balance=pool.balance - tx.fee))
    state.credit(tx.sender, tx.fee)
    state.archived[penalty_key(context.height, index)] = encode(row)


def report_cost(_body: Report) -> Amount:
    """Nothing beside the fee, which comes back."""
    return 0


def report_signatures(_state: State, body: Report, genesis_hash: Hash) -> list[Signed]:
    """Return what the evidence shows that one key signed. Refuses like the check of its bytes."""
    offence = get_offence(body.offence)
    if offence is None or offence.signatures is None:
        raise Refusal("unknown_offence", number=body.offence)
    return offence.signatures(offence.codec.decode(body.evidence), genesis_hash)
