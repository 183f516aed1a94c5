"""Every refusal of the ledger, by name; the tables stand in `tests/ledger/refusals/`.

A code without a row, and a code that nobody raises, fail here.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.errors import REFUSALS, Refusal
from tests.factory import DAY_MS, START_MS, Network
from tests.ledger.refusals.attest import ATTEST
from tests.ledger.refusals.blocks import BLOCKS
from tests.ledger.refusals.contact import CONTACT
from tests.ledger.refusals.encodings import ENCODINGS
from tests.ledger.refusals.envelope import ENVELOPE
from tests.ledger.refusals.genesis import GENESIS, RELATIONS, is_good
from tests.ledger.refusals.lists import LISTS
from tests.ledger.refusals.rows import Done, Row, run_row, text_of
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


TEXTS = {
    "no bytes": "these bytes are not a canonical transaction: encode it again",
    "kind that nobody has": "there is no transaction kind 127: is this version current?",
    "free kind that nobody has": "there is no transaction kind 0: is this version current?",
    "more bytes than a record may have": "65537 bytes are more than the 65536 that are allowed",
    "expired in the block before": "it was valid up to height 1, this is 2: sign anew",
    "expiry one block too far": "expiry 3603 is past 3602: choose a nearer height",
    "nonce of the last transaction": "nonce 0 was used already, the next is 1",
    "nonce that leaves one out": "nonce 1 comes too early, the next is 0",
    "fee one unit too low": "the fee 999 is below the minimum of 1000",
    "balance one unit short": (
        "it takes 1000000000000001 atomic units, the account has 1000000000000000"
    ),
    "recipient of order one": "recipient is not a usable Ed25519 key",
    "duty_key of order one": "the duty key is not a usable Ed25519 key",
    "registration too long by a millisecond": (
        f"the registration may expire at {START_MS + 100 + 14 * DAY_MS} at most"
    ),
    "registration of the life before": "life 1 of this node was meant, 2 is next or now",
    "operator's stake one unit below an uneven quarter": (
        "at least 26 atomic units have to be staked here"
    ),
    "contribution that would take a reserved place": "only 74999999993 atomic units are still open",
    "another node's list key": "the list key is bound to another role or node for ever",
    "reserved place for one unit less": "the reserved place takes exactly 7 atomic units",
    "contribution where all places are kept": "a node has at most 10 contributors",
    "good IPv6 beside bad IPv4": "10.0.0.1 is not an address that others can reach: private",
    "good IPv4 beside bad IPv6": (
        "fe80:0000:0000:0000:0000:0000:0000:0001 is not an address that others can reach: "
        "link-local"
    ),
    "no storage port": "port 0 is out of range",
    "update with a sequence before the last": "sequence 6 is not above 7",
    "third update in an epoch": "a node changes its contact 2 times an epoch",
    "attestation after the window": "header 0 takes no attestations now",
    "seat that the set has not": "the attestor set has no index 3",
    "second attestation of a seat": "attestor 0 attested header 0 already",
}
"""What people read, with the values of the case."""


@pytest.mark.parametrize("name", TEXTS)
def test_text_of_a_refusal(name: str) -> None:
    row = ROWS[name]
    assert not isinstance(row, Done)
    assert text_of(row) == TEXTS[name]


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
