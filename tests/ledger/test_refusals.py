"""Every refusal of the ledger, by name; the tables stand in `tests/ledger/refusals/`."""

import pytest

from tests.ledger.refusals.attest import ATTEST
from tests.ledger.refusals.contact import CONTACT
from tests.ledger.refusals.encodings import ENCODINGS
from tests.ledger.refusals.envelope import ENVELOPE
from tests.ledger.refusals.rows import Row, run_row
from tests.ledger.refusals.stake import REGISTER, STAKE

TABLES: tuple[dict[str, Row], ...] = (ENCODINGS, ENVELOPE, REGISTER, STAKE, CONTACT, ATTEST)
ROWS: dict[str, Row] = {name: row for table in TABLES for name, row in table.items()}


def test_names_are_unique() -> None:
    assert len(ROWS) == sum(len(table) for table in TABLES)


@pytest.mark.parametrize("name", ROWS)
def test_refused(name: str) -> None:
    run_row(ROWS[name])
