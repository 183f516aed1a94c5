"""What people can do: one table, and nothing else dispatches.

envelope    what all kinds share: wire form, fee, nonce, expiry
accounts    transfer
contact     update_contact
stake       register, contribute, withdraw
attest      attest
"""

from typing import Final

from ledger.messages import transactions as bodies
from ledger.transactions import accounts, attest, contact, stake
from ledger.transactions.envelope import TxKind, Wire, no_signatures

TX_KINDS: Final = (
    TxKind(1, "transfer", bodies.Transfer, accounts.check_transfer, accounts.apply_transfer,
           accounts.transfer_cost, no_signatures),
    TxKind(2, "register", bodies.Register, stake.check_register, stake.apply_register,
           stake.register_cost, stake.register_signatures),
    TxKind(3, "contribute", bodies.Contribute, stake.check_contribute, stake.apply_contribute,
           stake.contribute_cost, no_signatures),
    TxKind(4, "withdraw", bodies.Withdraw, stake.check_withdraw, stake.apply_withdraw,
           stake.withdraw_cost, no_signatures),
    TxKind(5, "update_contact", bodies.UpdateContact, contact.check_update_contact,
           contact.apply_update_contact, None, contact.update_contact_signatures),
    TxKind(6, "attest", bodies.Attest, attest.check_attest, attest.apply_attest,
           None, attest.attest_signatures),
)  # fmt: skip
"""Every kind of transaction; a tag is never used again."""

WIRE: Final = Wire(TX_KINDS)
"""Decodes every kind of the table."""
