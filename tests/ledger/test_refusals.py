"""Every refusal of the ledger, by name; the tables stand in `tests/ledger/refusals/`.

A code without a row, and a code that nobody raises, fail here.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.errors import REFUSALS, Refusal
from ledger.transactions import TX_KINDS, WIRE
from ledger.transactions.envelope import TxKind, check_envelope
from tests.factory import DAY_MS, START_MS, Network
from tests.ledger.refusals.attest import ATTEST
from tests.ledger.refusals.blocks import BLOCKS
from tests.ledger.refusals.contact import CONTACT
from tests.ledger.refusals.encodings import ENCODINGS
from tests.ledger.refusals.envelope import ENVELOPE
from tests.ledger.refusals.genesis import GENESIS, RELATIONS, is_good
from tests.ledger.refusals.inheritance import INHERITANCE
from tests.ledger.refusals.judge import JUDGE
from tests.ledger.refusals.keys import KEYS
from tests.ledger.refusals.kinds import CODES, EVERY, KINDS, OWN, PAID, declared_codes
from tests.ledger.refusals.leave import LEAVE
from tests.ledger.refusals.lists import LISTS
from tests.ledger.refusals.orders import ORDERS
from tests.ledger.refusals.report import REPORT
from tests.ledger.refusals.rewards import REWARDS
from tests.ledger.refusals.rows import ADVICE, Done, Row, code_of, network_of, run_row, text_of
from tests.ledger.refusals.seats import SEATS_OF_NODES
from tests.ledger.refusals.snapshots import SNAPSHOTS
from tests.ledger.refusals.stake import REGISTER, STAKE
from tests.ledger.refusals.successor import SUCCESSIONS
from tests.life import SUCCESSOR

ROOT = Path(__file__).resolve().parents[2]

TABLES: tuple[dict[str, Row], ...] = (
    ENCODINGS,
    KINDS,
    ENVELOPE,
    REGISTER,
    STAKE,
    CONTACT,
    ATTEST,
    BLOCKS,
    GENESIS,
    SNAPSHOTS,
    INHERITANCE,
    LISTS,
    LEAVE,
    REWARDS,
    KEYS,
    JUDGE,
    REPORT,
    ORDERS,
    SUCCESSIONS,
    SEATS_OF_NODES,
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
    "more bytes than a record may have": (
        "65537 bytes are more than the 65536 that are allowed: make it shorter"
    ),
    "expired in the block before": "it was valid up to height 1, this is 2: sign anew",
    "expiry one block too far": "expiry 3603 is past 3602: choose a nearer height",
    "nonce of the last transaction": "nonce 0 was used already, the next is 1: sign anew",
    "nonce that leaves one out": "nonce 1 comes too early, the next is 0: send that one first",
    "fee one unit too low": "the fee 999 is below the minimum of 1000: pay that at least",
    "balance one unit short": (
        "it takes 1000000000000001 atomic units, the account has 1000000000000000: "
        "fund it or send less"
    ),
    "recipient of order one": "recipient is not a usable Ed25519 key: is it copied right?",
    "duty_key of order one": "the duty key is not a usable Ed25519 key: is it copied right?",
    "registration too long by a millisecond": (
        f"the registration may expire at {START_MS + 100 + 14 * DAY_MS} at most: "
        "make one that ends sooner"
    ),
    "registration of the life before": (
        "life 1 of this node was meant, 2 is next or now: make it for that one"
    ),
    "operator's stake one unit below an uneven quarter": (
        "at least 26 atomic units have to be staked here: stake more"
    ),
    "contribution that would take a reserved place": (
        "only 74999999993 atomic units are still open: stake less"
    ),
    "another node's list key as list key": (
        "the list key is bound to another role or node for ever: make a new key"
    ),
    "reserved place for one unit less": (
        "the reserved place takes exactly 7 atomic units: stake that"
    ),
    "contribution where all places are kept": (
        "a node has at most 10 contributors: choose another node"
    ),
    "good IPv6 beside bad IPv4": (
        "10.0.0.1 is not an address that others can reach, give a public one: private"
    ),
    "good IPv4 beside bad IPv6": (
        "fe80:0000:0000:0000:0000:0000:0000:0001 is not an address that others can reach, "
        "give a public one: link-local"
    ),
    "no storage port": "port 0 is out of range: give one from 1 to 65535",
    "update with a sequence before the last": (
        "sequence 6 is not above 7: sign anew with a higher one"
    ),
    "third update in an epoch": (
        "a node changes its contact 2 times an epoch: wait for the next epoch"
    ),
    "attestation after the window": (
        "header 0 takes no attestations now: attest the newest one in time"
    ),
    "seat that the set has not": (
        "the attestor set has no index 3: use the place of the list key in it"
    ),
    "second attestation of a seat": (
        "attestor 0 attested header 0 already: wait for the next header"
    ),
    "unlock by a contributor as soon as the node is active": (
        f"a contributor may ask a node to leave from {START_MS + 70_000} on: wait until then"
    ),
    "second claim in an epoch": (
        "no rewards wait here for this account: wait for the end of an epoch"
    ),
    "keys with the number of contact data": (
        "sequence 7 is not above 7: sign anew with a higher one"
    ),
    "13 votes of 14": "13 votes, 14 are needed: wait for more",
    "verdict of the epoch before the last": (
        "epoch 1 takes no votes and verdicts now: send those of this epoch or the last"
    ),
    "pass of an active node": (
        "this verdict changes nothing for a node that is active: leave it out"
    ),
    "the same evidence again": "this was punished before, at height 1: leave it out",
    "votes of an epoch past the age of evidence": (
        "epoch 1 is past the age of evidence: report offences sooner, change nothing"
    ),
    "two identical headers": (
        "this proves no offence, check the evidence: the headers are one, or in the wrong order"
    ),
    "order one weight short": ("6 of 9 signed, more than two thirds must: get more signatures"),
    "order that moves one unit more than may move": (
        "it moves a weight of 6, 5 may move at once: change less"
    ),
    "parameters with a notice one millisecond short": (
        f"it can be in force from {START_MS + 100 + 4 * DAY_MS} on: make an order for then or later"
    ),
    "transfer: after the network has moved": (
        f"this network goes on as another one: send it there, by the genesis file {SUCCESSOR.hex()}"
    ),
    "longer trust": (f"parameter trust_ms cannot be changed like that: leave it at {2 * DAY_MS}"),
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


@pytest.mark.parametrize("code", REFUSALS)
def test_a_text_says_what_to_do(code: str) -> None:
    assert ADVICE.search(REFUSALS[code].text), REFUSALS[code].text


@pytest.mark.parametrize("kind", TX_KINDS, ids=lambda kind: kind.name)
def test_each_kind_has_every_row_that_applies(kind: TxKind) -> None:
    wanted = [f"{kind.name}: {what}" for what in (*EVERY, *(() if kind.is_free else PAID))]
    assert set(wanted) <= KINDS.keys()
    assert set(OWN[kind.name]) <= ROWS.keys()


@pytest.mark.parametrize("kind", TX_KINDS, ids=lambda kind: kind.name)
def test_the_codes_of_a_kind_are_those_that_its_rules_declare(kind: TxKind) -> None:
    declared = {*declared_codes(kind.check), *declared_codes(kind.signatures)}
    declared |= set() if kind.is_free else set(declared_codes(check_envelope))
    assert declared <= CODES[kind.name]


def test_each_kind_has_a_row_for_each_of_its_codes() -> None:
    codes: dict[str, set[str]] = {kind.name: set() for kind in TX_KINDS}
    for name, row in ROWS.items():
        kind = name.partition(":")[0] if name in KINDS else kind_of(row)
        if kind:
            codes[kind].add(row.code)
        for each, names in OWN.items():
            assert name not in names or kind in (each, ""), f"{name} is about {kind}"
    assert codes == CODES


def kind_of(row: Row) -> str:
    """The kind that a row is about; none where its bytes are no transaction."""
    if isinstance(row, Done):
        return ""
    raw = row.make(network_of(row))
    return "" if code_of(WIRE.decode, raw) else WIRE.decode(raw).kind.name


def test_names_of_rows_are_unique() -> None:
    assert len(ROWS) == sum(len(table) for table in TABLES)


def test_every_code_that_the_ledger_raises_has_a_row() -> None:
    assert {row.code for row in ROWS.values()} == set(raised_in("ledger"))


def test_every_code_is_raised_somewhere() -> None:
    assert set(REFUSALS) - {*raised_in("ledger"), *raised_in("registry")} == set()


FOR_EVER = {
    **{1: "not_canonical", 2: "too_large", 3: "unknown_kind", 4: "bad_signature", 5: "bad_key"},
    **{10: "expired", 11: "expiry_too_far", 12: "nonce_used", 13: "nonce_skipped"},
    **{14: "fee_too_low", 15: "balance_too_low", 16: "amount_zero"},
    **{30: "wrong_operator", 31: "wrong_life", 32: "registration_expired"},
    **{33: "registration_too_long", 34: "node_exists", 35: "unknown_node", 36: "key_in_use"},
    **{37: "keys_not_distinct", 38: "fee_out_of_range", 39: "stake_too_small"},
    **{40: "stake_too_large", 41: "too_many_places", 42: "bad_reservation"},
    **{43: "reserved_amount", 44: "already_contributes", 45: "not_awaiting"},
    **{46: "no_contribution", 47: "operator_stays", 48: "attestor_keys"},
    **{60: "bad_address", 61: "bad_port", 62: "bad_version", 63: "contact_sequence"},
    **{64: "contact_too_often", 80: "attest_closed", 81: "unknown_attestor"},
    **{82: "attested_already", 83: "bad_reveal", 100: "block_height", 101: "block_time"},
    **{102: "block_too_large", 103: "block_link", 104: "block_seal", 105: "block_transaction"},
    **{106: "block_inputs", 120: "bad_parameter", 121: "bad_relation", 122: "bad_genesis"},
    **{123: "bad_snapshot", 124: "bad_inheritance", 125: "inheritance_missing"},
    126: "store_layout",
    **{140: "bad_header", 141: "bad_list", 142: "unknown_format"},
    **{143: "not_final", 144: "wrong_set", 145: "from_the_future", 146: "list_expired"},
    **{147: "roll_back", 148: "fork", 149: "list_missing", 150: "bad_proof"},
    **{151: "bad_path", 152: "bad_history", 153: "trust_expired", 154: "succeeded"},
    155: "wrong_successor",
    **{49: "leaving_already", 50: "unlock_too_early", 51: "not_activated"},
    **{52: "nothing_to_claim", 53: "tombstoned", 65: "keys_too_often"},
    **{160: "verdict_closed", 161: "not_tested", 162: "no_quorum", 163: "bad_testers"},
    **{164: "too_few_votes", 165: "votes_differ", 166: "judged_already"},
    **{167: "verdict_useless", 180: "unknown_offence", 181: "no_contradiction"},
    **{182: "evidence_too_old", 183: "unknown_offender", 184: "punished_already"},
    **{185: "nothing_at_stake", 186: "evidence_early", 200: "too_few_signers"},
    **{201: "bad_order", 202: "change_pending", 203: "change_too_soon"},
    **{204: "turnover_too_high", 205: "parameter_fixed", 206: "key_barred"},
    **{207: "not_on_duty", 208: "network_moved", 220: "outbid"},
}
"""Numbers that were given out, with their codes: rows are added here, and never change."""


def test_every_number_that_was_given_out_is_here() -> None:
    assert {row.number: code for code, row in REFUSALS.items()}.keys() == FOR_EVER.keys()


def test_codes_and_numbers_stay_for_ever() -> None:
    numbers = {row.number: code for code, row in REFUSALS.items()}
    assert {number: numbers.get(number) for number in FOR_EVER} == FOR_EVER


def test_numbers_are_unique_and_fit_a_result() -> None:
    numbers = [row.number for row in REFUSALS.values()]
    assert len(set(numbers)) == len(numbers)
    assert all(1 <= number <= 65_535 for number in numbers)


def test_a_refusal_says_what_and_why() -> None:
    refusal = Refusal("nonce_used", nonce=3, expected=4)
    assert str(refusal) == "nonce_used: nonce 3 was used already, the next is 4: sign anew"
    assert refusal.text == "nonce 3 was used already, the next is 4: sign anew"
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
