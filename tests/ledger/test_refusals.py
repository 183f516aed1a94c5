"""Every refusal of the ledger, by name; the tables stand in `tests/ledger/refusals/`.

A code without a row, and a code that nobody raises, fail here.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.errors import REFUSALS, Refusal
from tests.factory import Network
from tests.ledger.refusals.attest import ATTEST
from tests.ledger.refusals.blocks import BLOCKS
from tests.ledger.refusals.contact import CONTACT
from tests.ledger.refusals.encodings import ENCODINGS
from tests.ledger.refusals.envelope import ENVELOPE
from tests.ledger.refusals.genesis import GENESIS, RELATIONS, is_good
from tests.ledger.refusals.lists import LISTS
from tests.ledger.refusals.rows import Row, run_row
from tests.ledger.refusals.snapshots import SNAPSHOTS
from tests.ledger.refusals.stake import REGISTER, STAKE

ROOT = Path(__file__).resolve().parents[2]

TABLES: tuple[dict[str, Row], ...] = (
    ENCODINGS,
    ENVELOPE,
    REGISTER,
    STAKE,
    CONTACT,
    ATTEST,
    BLOCKS,
    GENESIS,
    SNAPSHOTS,
    LISTS,
)
ROWS: dict[str, Row] = {name: row for table in TABLES for name, row in table.items()}


@pytest.mark.parametrize("name", ROWS)
def test_refused(name: str) -> None:
    run_row(ROWS[name])


@pytest.mark.parametrize("name", RELATIONS)
def test_parameters_that_just_fit_together(name: str) -> None:
    bad, good = RELATIONS[name]
    assert is_good(good)
    assert not is_good(bad)


# ---- the tables are complete ----


def raised_in(package: str) -> Iterator[str]:
    """The code of every refusal that a package's source raises."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Refusal":
                code = call.args[0]
                is_named = isinstance(code, ast.Constant)
                assert is_named or package != "ledger", f"{path}: a code that no table can name"
                yield str(code.value) if isinstance(code, ast.Constant) else ""


def test_names_of_rows_are_unique() -> None:
    assert len(ROWS) == sum(len(table) for table in TABLES)


def test_every_code_that_the_ledger_raises_has_a_row() -> None:
    assert {row.code for row in ROWS.values()} == set(raised_in("ledger"))


def test_every_code_is_raised_somewhere() -> None:
    assert set(REFUSALS) - {*raised_in("ledger"), *raised_in("registry")} == set()


def test_numbers_are_unique_and_fit_a_result() -> None:
    numbers = [row.number for row in REFUSALS.values()]
    assert len(set(numbers)) == len(numbers)
    assert all(1 <= number <= 65_535 for number in numbers)


def test_a_refusal_says_what_and_why() -> None:
    refusal = Refusal("nonce_used", nonce=3, expected=4)
    assert str(refusal) == "nonce_used: nonce 3 was used already, the next is 4"
    assert refusal.text == "nonce 3 was used already, the next is 4"
    assert refusal.values == {"nonce": 3, "expected": 4}
    assert refusal.number == REFUSALS["nonce_used"].number


def test_a_refused_check_leaves_the_scratch_state_alone() -> None:
    network = Network()
    network.block()
    bad = network.chain.decode(network.transfer("alice", "bob", nonce=1))
    good = [network.transfer("alice", "bob", nonce=place) for place in (0, 1)]
    for _ in range(2):
        with pytest.raises(Refusal):
            network.chain.check(bad)
    for raw in good:
        network.chain.check(network.chain.decode(raw))
