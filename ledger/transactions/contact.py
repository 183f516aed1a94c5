"""A node's contact data: `update_contact`.

- Signed by the node key for one life, with a sequence number above all that it used before.
- At most `MAX_CHANGES` in an epoch; the last one takes effect at the epoch's end.
"""

from typing import Final

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import Signed, signing_bytes
from ledger.errors import Refusal
from ledger.messages import tags
from ledger.messages.state import PendingContact
from ledger.messages.tables import HISTORIES, PENDING
from ledger.messages.transactions import UpdateContact
from ledger.nodes import get_node
from ledger.rules.contacts import check_contact
from ledger.state import State
from ledger.transactions.envelope import Context, Transaction
from ledger.types import Hash

MAX_CHANGES: Final = 2
"""Changes of a node's contact data in one epoch."""


def check_update_contact(state: State, tx: Transaction, context: Context) -> None:
    """Refuses with `unknown_node`, `wrong_life`, `contact_sequence`, `contact_too_often` and
    those of the contact data.
    """
    body: UpdateContact = tx.body
    update = body.update
    get_node(state, update.node, update.life)
    last = state.one(HISTORIES, update.node).sequence
    if update.sequence <= last:
        raise Refusal("contact_sequence", sequence=update.sequence, last=last)
    pending = state.get(PENDING, update.node)
    if pending is not None and pending.changes >= MAX_CHANGES:
        raise Refusal("contact_too_often", limit=MAX_CHANGES)
    check_contact(update.contact, context.params)


def apply_update_contact(state: State, tx: Transaction, _context: Context, _index: int) -> None:
    """Count the sequence number at once, keep the contact data for the epoch's end."""
    body: UpdateContact = tx.body
    update = body.update
    history = state.one(HISTORIES, update.node)
    state.put(HISTORIES, replace(history, sequence=update.sequence), update.node)
    pending = state.get(PENDING, update.node)
    changes = 1 if pending is None else pending.changes + 1
    state.put(PENDING, PendingContact(changes, update.contact), update.node)


def update_contact_signatures(
    _state: State, body: UpdateContact, genesis_hash: Hash
) -> list[Signed]:
    """Return the node key's signature."""
    message = signing_bytes(tags.CONTACT, genesis_hash, encode(body.update))
    return [Signed(body.update.node, message, body.signature)]
