"""Headers: which ones a client takes, which it refuses, and what is left afterwards."""

from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import pytest

from ledger.messages.lists import (
    MAX_SIGNED_HEADER_BYTES,
    Attestor,
    attestor_set_hash,
    decode_signed_header,
)
from registry.client import Status
from registry.client.checks import MAX_AHEAD_MS
from registry.client.trusted import Signers
from tests.registry.client import factory
from tests.registry.client.clients import go_on, holding, refused, snapshot, start
from tests.registry.client.factory import (
    EPOCH,
    EPOCH_MS,
    FRESH_MS,
    NOW_MS,
    START_MS,
    VALID_MS,
    make_entries,
    make_genesis,
    make_list,
)

# --- a list that holds ----------------------------------------------------------------------------


def test_a_client_that_has_only_the_genesis_file_verifies_a_list() -> None:
    made = make_list()
    client = start(made)
    assert (client.is_empty, client.needs_list) == (True, False)
    assert client.update(made.signed) == made.header == client.header
    assert (client.is_empty, client.needs_list) == (False, True)
    client.load_full(made.full)
    assert client.entries == made.entries
    assert (client.is_empty, client.needs_list) == (False, False)
    assert client.signed_header == made.signed
    assert client.status is Status.FRESH
    assert client.genesis_hash == sha256(made.genesis).digest()
    assert len(client.fingerprint) == 12


def test_a_newer_header_takes_over_and_wants_its_own_list() -> None:
    client = holding(make_list())
    newer = make_list(EPOCH + 1, entries=make_entries(28, 4))
    client.start_update(NOW_MS + EPOCH_MS)
    client.update(newer.signed)
    assert client.header == newer.header
    refused("list_missing", lambda: client.entries)
    refused("list_missing", lambda: client.swarm_of(bytes(33)))
    client.load_full(newer.full)
    assert client.entries == newer.entries
    assert len(client.swarm_ids) == 4


def test_a_list_that_stayed_the_same_is_not_loaded_again() -> None:
    made = make_list()
    client = holding(made)
    client.start_update(NOW_MS + EPOCH_MS)
    client.update(make_list(EPOCH + 1).signed)
    assert not client.needs_list
    assert client.entries == made.entries


def test_epochs_that_were_never_final_may_be_left_out() -> None:
    client = holding(make_list())
    client.start_update(NOW_MS + 50 * EPOCH_MS)
    go_on(client, make_list(EPOCH + 50))
    assert client.header.epoch == EPOCH + 50


def test_the_header_of_genesis_holds() -> None:
    made = make_list(0)
    client = start(made, now_ms=START_MS)
    assert client.update(made.signed).epoch == 0
    client.start_update(START_MS + EPOCH_MS)
    assert client.update(make_list(1).signed).epoch == 1


def test_the_same_header_adds_its_signatures() -> None:
    weights = (1, 1, 1, 1)
    client = start(make_list(weights=weights))
    client.update(make_list(weights=weights, signers=(0, 1, 2)).signed)
    assert client.signers == Signers(3, 4, 3, 4)
    client.update(make_list(weights=weights, signers=(1, 2, 3)).signed)
    assert client.signers == Signers(4, 4, 4, 4)
    assert client.signed_header == make_list(weights=weights).signed
    client.update(make_list(weights=weights, signers=(0, 1, 3)).signed)
    assert client.signers == Signers(4, 4, 4, 4), "what was verified stays"


def test_an_empty_list_holds() -> None:
    client = holding(make_list(entries=[]))
    assert client.entries == []
    assert client.swarm_ids == []
    assert client.swarm_of(bytes(32)) == []


def test_what_a_caller_gets_is_the_callers() -> None:
    client = holding(make_list())
    client.entries.clear()
    client.swarm_ids.clear()
    client.swarm_of(bytes(32)).clear()
    assert client.entries == make_entries()
    assert len(client.swarm_of(bytes(32))) == 7


def test_the_longest_signed_header_is_as_long_as_the_bound() -> None:
    assert len(make_list(weights=[1] * 25).signed) == MAX_SIGNED_HEADER_BYTES


# --- headers that are refused ---------------------------------------------------------------------

OTHER_GENESIS = make_genesis(start_ms=START_MS - 1)
GOOD = make_list()
SIGNATURES = dict(decode_signed_header(GOOD.signed).signatures)


def with_bits(signed: bytes, bits: int) -> bytes:
    """The same with another set of signers, and as many signatures as that takes."""
    return signed[:342] + bits.to_bytes(4, "big") + bits.bit_count() * signed[346:410]


HEADERS: dict[str, tuple[str, bytes]] = {
    "nothing": ("bad_header", b""),
    "half a header": ("bad_header", GOOD.signed[:200]),
    "no set of signers": ("bad_header", GOOD.signed[:342]),
    "half a set of signers": ("bad_header", GOOD.signed[:344]),
    "the last byte is missing": ("bad_header", GOOD.signed[:-1]),
    "a byte is left over": ("bad_header", GOOD.signed + b"\0"),
    "a signature is missing": ("bad_header", GOOD.signed[:-64]),
    "a signature too many": ("bad_header", GOOD.signed + GOOD.signed[-64:]),
    "an index that no set has": ("bad_header", with_bits(GOOD.signed, 1 << 25)),
    "another format": ("unknown_format", make_list(format_version=2).signed),
    "fresh until before it is valid": ("bad_header", make_list(fresh_until_ms=1).signed),
    "valid until before it is not fresh": ("bad_header", make_list(valid_until_ms=1).signed),
    "more swarms than nodes": ("bad_header", make_list(node_count=2).signed),
    "more nodes than a list has": ("bad_header", make_list(node_count=2**18 + 1).signed),
    "another set": ("wrong_set", make_list(weights=(1, 1, 2)).signed),
    "a set of one of them": ("wrong_set", make_list(weights=(1,)).signed),
    "a set that does not sign": ("wrong_set", make_list(set_hash=bytes(32)).signed),
    "nobody signed": ("not_final", make_list(signers=()).signed),
    "one of three signed": ("not_final", make_list(signers=(1,)).signed),
    "two of three signed": ("not_final", make_list(signers=(0, 2)).signed),
    "an index beyond the set": ("unknown_attestor", with_bits(GOOD.signed, 0b1111)),
    "another network": ("bad_signature", make_list(genesis=OTHER_GENESIS).signed),
    "a signature of zeros": ("bad_signature", make_list(signatures={1: bytes(64)}).signed),
    "the signature of another header": (
        "bad_signature",
        make_list(EPOCH + 1, signatures={0: SIGNATURES[0]}).signed,
    ),
    "two signatures the wrong way round": (
        "bad_signature",
        make_list(signatures={0: SIGNATURES[1], 1: SIGNATURES[0]}).signed,
    ),
    "one signer for all": ("bad_signature", make_list(signatures={1: SIGNATURES[0]}).signed),
    "later than now and 5 min": (
        "from_the_future",
        make_list(
            valid_after_ms=NOW_MS + MAX_AHEAD_MS + 1,
            fresh_until_ms=NOW_MS + MAX_AHEAD_MS + 2,
        ).signed,
    ),
    "more epochs than there was time for": (
        "from_the_future",
        make_list(EPOCH + 1, valid_after_ms=START_MS + (EPOCH + 1) * EPOCH_MS - 1).signed,
    ),
    "an epoch at the end of time": (
        "from_the_future",
        make_list(
            2**64 - 1,
            height=1,
            valid_after_ms=NOW_MS,
            fresh_until_ms=2**63,
            valid_until_ms=2**63,
        ).signed,
    ),
    "a time before genesis": ("from_the_future", make_list(0, valid_after_ms=START_MS - 1).signed),
    "expired": (
        "list_expired",
        make_list(fresh_until_ms=NOW_MS - 1, valid_until_ms=NOW_MS - 1).signed,
    ),
}


@pytest.mark.parametrize(("code", "signed"), HEADERS.values(), ids=HEADERS.keys())
def test_a_header_is_refused_and_changes_nothing(code: str, signed: bytes) -> None:
    client = start(GOOD)
    before = snapshot(client)
    refused(code, lambda: client.update(signed))
    assert snapshot(client) == before
    client.update(GOOD.signed)


# For who holds a list, one from before genesis is simply older, and a jump takes a path.
OTHERS = ("a time before genesis", "more epochs than there was time for")
LATER = {name: case for name, case in HEADERS.items() if name not in OTHERS}
LATER["an epoch at the end of time"] = ("bad_path", LATER["an epoch at the end of time"][1])


@pytest.mark.parametrize(("code", "signed"), LATER.values(), ids=LATER.keys())
def test_a_client_that_holds_a_list_keeps_it(code: str, signed: bytes) -> None:
    client = holding(make_list(EPOCH - 1))
    before = snapshot(client)
    refused(code, lambda: client.update(signed))
    assert snapshot(client) == before
    client.update(GOOD.signed)


def test_roll_back() -> None:
    client = holding(make_list())
    before = snapshot(client)
    refusal = refused("roll_back", lambda: client.update(make_list(EPOCH - 1).signed))
    assert refusal.values == {"epoch": EPOCH - 1, "newest": EPOCH}
    assert snapshot(client) == before


def test_the_set_that_signs_next_is_the_one_that_the_newest_header_names() -> None:
    other = attestor_set_hash([Attestor(factory.seat(5).public, 1)])
    client = start()
    client.update(make_list(next_set_hash=other).signed)
    client.start_update(NOW_MS + EPOCH_MS)
    refused("wrong_set", lambda: client.update(make_list(EPOCH + 1).signed))
    # Its members are not known to this client.
    unknown = make_list(EPOCH + 1, set_hash=other).signed
    refused("wrong_set", lambda: client.update(unknown))


FINALITY: dict[str, tuple[Sequence[int], Sequence[int], bool]] = {
    "one of one": ((1,), (0,), True),
    "two of two": ((1, 1), (0, 1), True),
    "one of two": ((1, 1), (0,), False),
    "exactly two thirds": ((1, 1, 1), (0, 1), False),
    "three of four": ((1, 1, 1, 1), (0, 1, 3), True),
    "two of four": ((1, 1, 1, 1), (0, 3), False),
    "the one that weighs enough": ((9, 1, 1), (0,), True),
    "all but the one that weighs enough": ((9, 1, 1), (1, 2), False),
    "just two thirds of the weight": ((4, 1, 1), (0,), False),
    "one more than two thirds": ((5, 1, 1), (0,), True),
    "the largest weights": ((2**32 - 1,) * 25, range(17), True),
    "the largest weights and one too few": ((2**32 - 1,) * 25, range(16), False),
}


@pytest.mark.parametrize(("weights", "signers", "holds"), FINALITY.values(), ids=FINALITY.keys())
def test_more_than_two_thirds_of_the_weight(
    weights: Sequence[int], signers: Sequence[int], holds: bool
) -> None:
    made = make_list(weights=weights, signers=signers)
    client = start(made)
    if holds:
        assert client.update(made.signed) == made.header
    else:
        refused("not_final", lambda: client.update(made.signed))


def test_a_signature_too_many_that_does_not_hold_is_one_too_many() -> None:
    weights = (1, 1, 1, 1)
    made = make_list(weights=weights, signatures={3: bytes(64)})
    refused("bad_signature", lambda: start(made).update(made.signed))


# --- forks ----------------------------------------------------------------------------------------


def test_a_fork_stops_everything_and_keeps_both_headers() -> None:
    made, other = make_list(), make_list(state_root=bytes(32))
    client = holding(made)
    refusal = refused("fork", lambda: client.update(other.signed))
    assert refusal.values == {"epoch": EPOCH}
    assert client.evidence == (made.signed, other.signed)
    newer = make_list(EPOCH + 1)
    client.start_update(NOW_MS + EPOCH_MS)
    for act in (
        lambda: client.update(newer.signed),
        lambda: client.update(made.signed),
        lambda: client.load_full(made.full),
        lambda: client.entries,
        lambda: client.swarm_ids,
        lambda: client.swarm_of(bytes(33)),
    ):
        refused("fork", act)
    assert client.header == made.header
    assert len(client.fingerprint) == 12


def test_a_header_that_is_not_final_forks_nothing() -> None:
    client = holding(make_list())
    other = make_list(state_root=bytes(32), signers=(0, 1))
    refused("not_final", lambda: client.update(other.signed))
    assert client.evidence is None


TIMES_OF_FORKS: dict[str, dict[str, Any]] = {
    "expired": {"valid_after_ms": 1, "fresh_until_ms": 2, "valid_until_ms": 3},
    "from the future": {
        "valid_after_ms": 2**62,
        "fresh_until_ms": 2**62 + 1,
        "valid_until_ms": 2**62 + 1,
    },
}


@pytest.mark.parametrize("times", TIMES_OF_FORKS.values(), ids=TIMES_OF_FORKS.keys())
def test_a_fork_is_one_whatever_time_the_second_header_claims(times: dict[str, Any]) -> None:
    client = holding(make_list())
    refused("fork", lambda: client.update(make_list(**times).signed))
    assert client.evidence is not None


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after_ms", "status"),
    [
        (0, Status.FRESH),
        (FRESH_MS, Status.FRESH),
        (FRESH_MS + 1, Status.DEGRADED),
        (VALID_MS, Status.DEGRADED),
    ],
)
def test_a_list_is_fresh_then_degraded(after_ms: int, status: Status) -> None:
    made = make_list()
    client = holding(made, now_ms=made.header.valid_after_ms + after_ms)
    assert client.status is status
    assert client.entries == made.entries


def test_a_list_expires_in_the_hands_of_a_client() -> None:
    made = make_list()
    client = holding(made)
    client.start_update(made.header.valid_until_ms + 1)
    assert client.status is Status.EXPIRED
    for act in (lambda: client.entries, lambda: client.swarm_of(bytes(32))):
        refused("list_expired", act)
    refused("list_expired", lambda: client.update(made.signed))
    refused("list_expired", lambda: client.load_full(made.full))
    assert client.header == made.header


def test_who_asks_for_it_uses_an_expired_list() -> None:
    made = make_list()
    client = holding(made, made.header.valid_until_ms + 1, allow_expired=True)
    assert client.status is Status.EXPIRED
    assert client.entries == made.entries
    assert len(client.swarm_of(bytes(32))) == 7


def test_one_reference_time_for_all_until_the_next_update() -> None:
    made = make_list()
    client = start(made, now_ms=made.header.valid_after_ms - MAX_AHEAD_MS - 1)
    refused("from_the_future", lambda: client.update(made.signed))
    client.start_update(made.header.valid_after_ms - MAX_AHEAD_MS)
    client.update(made.signed)


def test_a_header_cannot_jump_ahead_of_time_in_steps() -> None:
    client = start(now_ms=NOW_MS)
    for step in range(1, 5):
        early = START_MS + (EPOCH + step) * EPOCH_MS - 1
        made = make_list(EPOCH + step, valid_after_ms=early)
        refused("from_the_future", partial(client.update, made.signed, made.path()))
    ahead = MAX_AHEAD_MS // EPOCH_MS
    far = make_list(EPOCH + ahead)
    client.update(far.signed, far.path())
    refused("from_the_future", lambda: client.update(make_list(EPOCH + ahead + 1).signed))


def test_a_client_that_was_off_for_long_still_knows_how_far_it_had_come() -> None:
    made = make_list()
    kept = holding(made).anchor_file
    client = start(made, now_ms=made.header.valid_until_ms + 1)
    refused("list_expired", lambda: client.update(made.signed))
    assert client.is_empty
    assert client.resume(kept) == made.header
    refused("list_expired", lambda: client.load_full(made.full))
    refused("list_expired", lambda: client.entries)
    refused("roll_back", lambda: client.update(make_list(EPOCH - 1).signed))
    days = 2 * VALID_MS // EPOCH_MS
    client.start_update(NOW_MS + days * EPOCH_MS)
    go_on(client, make_list(EPOCH + days))
    assert client.status is Status.FRESH
