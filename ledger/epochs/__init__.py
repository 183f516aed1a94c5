"""An epoch's end: the list of its steps, and their order is the specification.

ending        what the steps hand to each other
seed          the next seed; the header whose attestations end
absences      who missed it
verdicts      what testers found: decommissioned, deregistered, back again
rewards       what the epoch pays
leaving       the end of duty, the payout
changes       contact data and role keys
activations   who becomes active, and in which swarm
rules         attestors and parameters that change
standing      which nodes stand for a seat, and whose turn it is
released      what follows for those whose seats are gone
validators    who agrees on blocks
begin         who tests in the next epoch, when it started, the header
"""

from collections.abc import Callable
from typing import Final

from ledger.epochs.absences import forget_absences
from ledger.epochs.activations import apply_activations, apply_swarms
from ledger.epochs.begin import write_roster, write_start
from ledger.epochs.changes import apply_contacts, apply_keys
from ledger.epochs.ending import Ending, Pauses
from ledger.epochs.leaving import apply_exits, apply_payouts
from ledger.epochs.rewards import pay_rewards
from ledger.epochs.rules import apply_attestors, apply_params
from ledger.epochs.seed import apply_seed, freeze_attestations
from ledger.epochs.validators import apply_validators
from ledger.epochs.verdicts import apply_verdicts
from ledger.state import State

EPOCH_STEPS: Final[tuple[Callable[[State, Ending], Pauses], ...]] = (
    apply_seed,
    freeze_attestations,
    apply_verdicts,
    pay_rewards,
    apply_exits,
    apply_payouts,
    apply_contacts,
    apply_keys,
    apply_activations,
    apply_swarms,
    apply_attestors,
    apply_validators,
    apply_params,
    forget_absences,
    write_roster,
    write_start,
)
"""An epoch's end; `make_header` comes last."""
