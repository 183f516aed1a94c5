"""The runner of `update_contact`."""

from msgspec.structs import replace

from ledger.messages.contact import Contact
from ledger.messages.state import PendingContact
from ledger.messages.tables import HISTORIES, PENDING
from tests.factory import Network, public
from tests.ledger.effects import Sheet, expect_applied


def run_update_contact(network: Network, node: str, sequence: int, contact: Contact) -> None:
    """`update_contact`: the number counts at once, the contact data waits for the epoch's end."""
    sheet = Sheet(network)
    key = public(node)
    sheet.put(HISTORIES, key, replace(sheet.get(HISTORIES, key), sequence=sequence))
    pending = sheet.get(PENDING, key)
    changed = 1 if pending is None else pending.changes + 1
    sheet.put(PENDING, key, PendingContact(changed, contact))
    raw = network.update_contact(node, sequence, contact=contact)
    expect_applied(network, sheet, raw)
