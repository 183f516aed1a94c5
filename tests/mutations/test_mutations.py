"""Mutated lists, headers, attestations, proofs, transactions and key files, by the thousand.

Each is refused with a declared error, or accepted with exactly what was signed; see `engine`. The
tables stand beside this file; what they come to together is held here.
"""

import pytest

from ledger.transactions import TX_KINDS
from tests.mutations.duty import DUTY
from tests.mutations.engine import Target, run_target
from tests.mutations.files import FILES
from tests.mutations.histories import HISTORIES
from tests.mutations.inheritance import INHERITANCE
from tests.mutations.ledger import LEDGER
from tests.mutations.lists import HEADER, INSIDE_COLUMNS, LISTS, THRESHOLD
from tests.mutations.paths import PATHS
from tests.mutations.proofs import PROOFS

TARGETS: tuple[Target, ...] = (
    *LISTS,
    *PATHS,
    *PROOFS,
    *LEDGER,
    *DUTY,
    *FILES,
    *INHERITANCE,
    *HISTORIES,
)

RUNS = {
    f"{target.name}, {seed}": (target, seed) for target in TARGETS for seed in range(target.seeds)
}


@pytest.mark.parametrize("name", RUNS)
def test_mutations(name: str) -> None:
    target, seed = RUNS[name]
    answers = run_target(target, seed)
    assert answers.total() == target.tries
    # what is refused before anything is looked at tests nothing
    assert answers.keys() - {"", "not_canonical"}


def test_they_are_a_hundred_thousand() -> None:
    assert len(RUNS) == sum(target.seeds for target in TARGETS)
    assert sum(target.mutations for target in TARGETS) >= 100_000


@pytest.mark.parametrize("area", [HEADER, INSIDE_COLUMNS, THRESHOLD])
def test_they_are_ten_thousand_where_it_matters_most(area: str) -> None:
    assert sum(target.mutations for target in TARGETS if target.area == area) >= 10_000


def test_every_kind_of_transaction_is_mutated() -> None:
    names = {target.name for target in TARGETS}
    assert {f"{kind.name} transactions" for kind in TX_KINDS} <= names
