"""Moving coins between accounts: `transfer`."""

from ledger.errors import Refusal
from ledger.messages.transactions import Transfer
from ledger.state import State
from ledger.transactions.envelope import Context, Transaction, check_payee
from ledger.types import Amount


def check_transfer(state: State, tx: Transaction, _context: Context) -> None:
    """Refuses with `amount_zero` and `bad_key`."""
    body: Transfer = tx.body
    if body.amount == 0:
        raise Refusal("amount_zero")
    check_payee(state, body.recipient, "recipient")


def apply_transfer(state: State, tx: Transaction, _context: Context, _index: int) -> None:
    """Credit the recipient; the envelope debited the sender."""
    body: Transfer = tx.body
    state.credit(body.recipient, body.amount)


def transfer_cost(body: Transfer) -> Amount:
    """The amount that moves."""
    return body.amount
