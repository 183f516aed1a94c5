"""What people can do: one table, and nothing else dispatches.

envelope    what all kinds share: wire form, fee, nonce, expiry
accounts    transfer
contact     update_contact
stake       register, contribute, withdraw
leave       request_unlock
rewards     claim_rewards
keys        set_keys
judge       judge
report      report
orders      set_attestors, set_params, set_successor
attest      attest
roles       what a node's role keys have in common
"""

from typing import Final

from ledger.messages import transactions as bodies
from ledger.transactions import (
    accounts,
    attest,
    contact,
    judge,
    keys,
    leave,
    orders,
    report,
    rewards,
    stake,
)
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
           None, attest.attest_signatures, lambda _body: True),
    TxKind(7, "request_unlock", bodies.RequestUnlock, leave.check_request_unlock,
           leave.apply_request_unlock, leave.request_unlock_cost, no_signatures),
    TxKind(8, "claim_rewards", bodies.ClaimRewards, rewards.check_claim_rewards,
           rewards.apply_claim_rewards, rewards.claim_rewards_cost, no_signatures),
    TxKind(9, "set_keys", bodies.SetKeys, keys.check_set_keys, keys.apply_set_keys,
           None, keys.set_keys_signatures),
    TxKind(10, "judge", bodies.Judge, judge.check_judge, judge.apply_judge,
           None, judge.judge_signatures),
    TxKind(11, "report", bodies.Report, report.check_report, report.apply_report,
           report.report_cost, report.report_signatures),
    TxKind(12, "set_attestors", bodies.SetAttestors, orders.check_set_attestors,
           orders.apply_set_attestors, orders.set_attestors_cost, orders.set_attestors_signatures,
           lambda body: bool(body.authority == bodies.BY_RECOVERY)),
    TxKind(13, "set_params", bodies.SetParams, orders.check_set_params, orders.apply_set_params,
           orders.set_params_cost, orders.set_params_signatures),
    TxKind(14, "set_successor", bodies.SetSuccessor, orders.check_set_successor,
           orders.apply_set_successor, orders.set_successor_cost, orders.set_successor_signatures),
)  # fmt: skip
"""Every kind of transaction; a tag is never used again."""

WIRE: Final = Wire(TX_KINDS)
"""Decodes every kind of the table."""
