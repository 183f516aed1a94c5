"""The way out of a node: `request_unlock`.

- The operator may ask at any time, any contributor `contributor_wait_ms` after the activation.
- Duty ends at an epoch's end, in the order of asking, a few nodes each time; the stake is paid out
  `unbonding_ms` later. Before a node was active, all stake comes back at that epoch's end.
- Nothing is taken back: who asked once leaves.
"""

from ledger.errors import Refusal
from ledger.messages.state import GONE
from ledger.messages.tables import NODES
from ledger.messages.transactions import RequestUnlock
from ledger.nodes import ask_to_leave, get_node
from ledger.state import State
from ledger.transactions.envelope import Context, Transaction
from ledger.types import Amount


def check_request_unlock(state: State, tx: Transaction, context: Context) -> None:
    """Refuses with `unknown_node`, `wrong_life`, `no_contribution`, `leaving_already`,
    `not_activated`, `unlock_too_early`.
    """
    body: RequestUnlock = tx.body
    node = get_node(state, body.node, body.life)
    if all(c.account != tx.sender for c in node.contributions):
        raise Refusal("no_contribution")
    # a founding node may have its time of leaving still before it: then asking means sooner
    if node.state in GONE or 0 < node.exit_ms <= context.time_ms:
        raise Refusal("leaving_already")
    if tx.sender == node.operator:
        return
    if not node.activated_ms:
        raise Refusal("not_activated")
    from_ms = node.activated_ms + context.params.contributor_wait_ms
    if context.time_ms < from_ms:
        raise Refusal("unlock_too_early", from_ms=from_ms)


def apply_request_unlock(state: State, tx: Transaction, context: Context, _index: int) -> None:
    """Give the node its place among the exits, at this block's time."""
    body: RequestUnlock = tx.body
    node = state.one(NODES, body.node)
    state.put(NODES, ask_to_leave(state, body.node, node, context.time_ms), body.node)


def request_unlock_cost(_body: RequestUnlock) -> Amount:
    """Nothing beside the fee."""
    return 0
