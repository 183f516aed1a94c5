"""Everything that anybody sends, in two tables: what has to be done, and what is drawn.

- A duty is done in each epoch by whoever has to; operations are drawn by weight.
- An operation with a code is wrong on purpose, and has to be refused with it.
- What cannot be done at the moment is left out.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from tests.simulation import duties, equivocations
from tests.simulation.operations import accounts, keys, orders, verdicts
from tests.simulation.world import Draft, World


class Duty(NamedTuple):
    """One row of what is done in each epoch."""

    kinds: tuple[str, ...]
    """Names in `TX_KINDS` that it sends, and in `OFFENCES` that it commits or reports."""
    do: Callable[[World], None]


class Operation(NamedTuple):
    """One row of what is drawn."""

    kind: str
    """A name in `TX_KINDS`."""
    weight: int
    make: Callable[[World], Draft | None]
    code: str = ""
    """Code of the refusal; empty where it has to be applied."""


DUTIES: Final = (
    Duty((), duties.begin_epoch),
    Duty(("attest",), duties.send_attestations),
    Duty(("judge",), duties.send_verdicts),
    Duty(("report",), equivocations.send_reports),
    Duty(tuple(equivocations.DEED_OF), equivocations.equivocate),
)
"""In their order, before anything is drawn."""

# fmt: off
OPERATIONS: Final = (
    Operation("transfer", 40, accounts.transfer),
    Operation("transfer", 3, accounts.transfer_nothing, "amount_zero"),
    Operation("transfer", 3, accounts.transfer_too_much, "balance_too_low"),
    Operation("transfer", 3, accounts.transfer_again, "nonce_used"),
    Operation("transfer", 3, accounts.transfer_ahead, "nonce_skipped"),
    Operation("transfer", 3, accounts.transfer_cheaply, "fee_too_low"),
    Operation("transfer", 3, accounts.transfer_late, "expired"),
    Operation("transfer", 3, accounts.transfer_for_ever, "expiry_too_far"),
    Operation("transfer", 3, accounts.transfer_forged, "bad_signature"),
    Operation("register", 40, accounts.register),
    Operation("register", 3, accounts.register_twice, "node_exists"),
    Operation("register", 3, accounts.register_for_another, "wrong_operator"),
    Operation("register", 3, accounts.register_old_life, "wrong_life"),
    Operation("register", 3, accounts.register_expired, "registration_expired"),
    Operation("register", 3, accounts.register_foreign_key, "key_in_use"),
    Operation("register", 3, accounts.register_one_key, "keys_not_distinct"),
    Operation("register", 3, accounts.register_too_little, "stake_too_small"),
    Operation("register", 3, accounts.register_private_address, "bad_address"),
    Operation("register", 3, accounts.register_tombstoned, "tombstoned"),
    Operation("contribute", 60, accounts.contribute),
    Operation("contribute", 3, accounts.contribute_to_nobody, "unknown_node"),
    Operation("contribute", 3, accounts.contribute_too_much, "stake_too_large"),
    Operation("contribute", 3, accounts.contribute_too_little, "stake_too_small"),
    Operation("contribute", 3, accounts.contribute_late, "not_awaiting"),
    Operation("contribute", 3, accounts.contribute_again, "already_contributes"),
    Operation("withdraw", 8, accounts.withdraw),
    Operation("withdraw", 3, accounts.withdraw_as_operator, "operator_stays"),
    Operation("withdraw", 3, accounts.withdraw_late, "not_awaiting"),
    Operation("request_unlock", 12, accounts.request_unlock),
    Operation("request_unlock", 1, accounts.request_unlock_as_contributor),
    Operation("request_unlock", 3, accounts.request_unlock_early, "unlock_too_early"),
    Operation("request_unlock", 3, accounts.request_unlock_twice, "leaving_already"),
    Operation("request_unlock", 3, accounts.request_unlock_as_stranger, "no_contribution"),
    Operation("claim_rewards", 30, accounts.claim_rewards),
    Operation("claim_rewards", 3, accounts.claim_nothing, "nothing_to_claim"),
    Operation("claim_rewards", 3, accounts.claim_former_life, "wrong_life"),
    Operation("claim_rewards", 3, accounts.claim_as_stranger, "no_contribution"),
    Operation("update_contact", 20, keys.update_contact),
    Operation("update_contact", 3, keys.update_contact_again, "contact_sequence"),
    Operation("update_contact", 3, keys.update_contact_of_former_life, "wrong_life"),
    Operation("update_contact", 3, keys.update_contact_without_port, "bad_port"),
    Operation("update_contact", 3, keys.update_contact_forged, "bad_signature"),
    Operation("set_keys", 12, keys.set_keys),
    Operation("set_keys", 3, keys.set_keys_again, "contact_sequence"),
    Operation("set_keys", 3, keys.set_foreign_keys, "key_in_use"),
    Operation("set_keys", 3, keys.set_keys_too_late, "leaving_already"),
    Operation("attest", 3, keys.attest_twice, "attested_already"),
    Operation("attest", 3, keys.attest_old, "attest_closed"),
    Operation("attest", 3, keys.attest_nowhere, "unknown_attestor"),
    Operation("attest", 3, keys.attest_forged, "bad_signature"),
    Operation("attest", 3, keys.attest_without_link, "bad_reveal"),
    Operation("judge", 12, verdicts.judge_besieged, "too_few_votes"),
    Operation("judge", 3, verdicts.judge_in_two_minds, "votes_differ"),
    Operation("judge", 3, verdicts.judge_unasked, "verdict_useless"),
    Operation("judge", 3, verdicts.judge_forged, "bad_signature"),
    Operation("judge", 3, verdicts.judge_as_strangers, "bad_testers"),
    Operation("judge", 3, verdicts.judge_twice, "judged_already"),
    Operation("judge", 3, verdicts.judge_too_late, "verdict_closed"),
    Operation("judge", 3, verdicts.judge_former_life, "wrong_life"),
    Operation("judge", 3, verdicts.judge_untested, "not_tested"),
    Operation("report", 3, verdicts.report_again, "punished_already"),
    Operation("report", 3, verdicts.report_old, "evidence_too_old"),
    Operation("report", 3, verdicts.report_nothing, "no_contradiction"),
    Operation("report", 3, verdicts.report_one_history, "no_contradiction"),
    Operation("report", 3, verdicts.report_nobody, "unknown_offender"),
    Operation("report", 3, verdicts.report_former_node, "nothing_at_stake"),
    Operation("report", 3, verdicts.report_blocks, "unknown_offence"),
    Operation("report", 3, verdicts.report_forged, "bad_signature"),
    Operation("set_attestors", 6, orders.set_attestors),
    Operation("set_attestors", 2, orders.recover),
    Operation("set_attestors", 3, orders.order_with_few, "too_few_signers"),
    Operation("set_attestors", 3, orders.order_too_much, "turnover_too_high"),
    Operation("set_attestors", 3, orders.order_too_soon, "change_too_soon"),
    Operation("set_attestors", 3, orders.order_twice, "change_pending"),
    Operation("set_attestors", 3, orders.order_barred, "key_barred"),
    Operation("set_attestors", 3, orders.order_off_duty, "not_on_duty"),
    Operation("set_attestors", 3, orders.order_out_of_turn, "bad_order"),
    Operation("set_params", 6, orders.set_params),
    Operation("set_params", 3, orders.params_with_few, "too_few_signers"),
    Operation("set_params", 3, orders.params_too_soon, "change_too_soon"),
    Operation("set_params", 3, orders.params_fixed, "parameter_fixed"),
    Operation("set_params", 3, orders.params_out_of_range, "bad_parameter"),
    Operation("set_params", 3, orders.params_unfit, "bad_relation"),
    Operation("set_params", 3, orders.params_twice, "change_pending"),
    Operation("set_successor", 3, orders.set_successor),
    Operation("set_successor", 3, orders.withdraw_successor),
    Operation("set_successor", 3, orders.successor_with_few, "too_few_signers"),
    Operation("set_successor", 3, orders.successor_too_soon, "change_too_soon"),
    Operation("set_successor", 3, orders.successor_twice, "change_pending"),
    Operation("set_successor", 3, orders.withdraw_nothing, "bad_order"),
)
# fmt: on
