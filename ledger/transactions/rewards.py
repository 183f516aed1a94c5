"""What nodes earned: `claim_rewards`.

Who contributes to a node, and who is named as beneficiary, may claim; it goes to the beneficiary.
"""

from msgspec.structs import replace

from ledger.errors import Refusal
from ledger.messages.state import Contribution
from ledger.messages.tables import NODES, POOL
from ledger.messages.transactions import ClaimRewards
from ledger.nodes import get_node, get_owed
from ledger.state import State
from ledger.transactions.envelope import Context, Transaction
from ledger.types import Amount, Key


def check_claim_rewards(state: State, tx: Transaction, _context: Context) -> None:
    """Refuses with `unknown_node`, `wrong_life`, `no_contribution`, `nothing_to_claim`."""
    body: ClaimRewards = tx.body
    node = get_node(state, body.node, body.life)
    own = [_is_of(c, tx.sender) for c in node.contributions]
    if not any(own):
        raise Refusal("no_contribution")
    owed = get_owed(node, state.one(POOL))
    if not any(part for part, is_own in zip(owed, own, strict=True) if is_own):
        raise Refusal("nothing_to_claim")


def _is_of(contribution: Contribution, sender: Key) -> bool:
    return sender in (contribution.account, contribution.beneficiary)


def apply_claim_rewards(state: State, tx: Transaction, _context: Context, _index: int) -> None:
    """Pay what waits to each beneficiary that the sender is or has named."""
    body: ClaimRewards = tx.body
    node = state.one(NODES, body.node)
    pool = state.one(POOL)
    claimed, rows = 0, []
    for part, c in zip(get_owed(node, pool), node.contributions, strict=True):
        if part and _is_of(c, tx.sender):
            state.credit(c.beneficiary, part)
            claimed += part
            c = replace(c, paid=c.paid + part)
        rows.append(c)
    state.put(NODES, replace(node, contributions=tuple(rows)), body.node)
    state.put(POOL, replace(pool, accrued=pool.accrued - claimed))


def claim_rewards_cost(_body: ClaimRewards) -> Amount:
    """Nothing beside the fee."""
    return 0
