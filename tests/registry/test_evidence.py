"""Evidence without any ledger: what a file proves, what it does not, and how it is found."""

from collections.abc import Sequence
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.crypto import KeyPair, sign
from ledger.errors import Refusal
from ledger.merkle import audit_path, leaf_hash, tree_root
from ledger.messages.duty import FAULTS, Vote, name_faults, vote_bytes
from ledger.messages.evidence import MAX_EVIDENCE_BYTES, ListEquivocation, VoteEquivocation
from ledger.messages.lists import (
    Attestor,
    ListHeader,
    SignedHeader,
    decode_header,
    encode_header,
    header_signing_bytes,
)
from ledger.messages.transactions import Report
from ledger.offences import OFFENCES
from registry.addresses import encode_node
from registry.evidence import (
    MAX_FILE_BYTES,
    Cast,
    Seen,
    check_evidence,
    compare_headers,
    compare_histories,
    compare_votes,
    explain,
)
from tests.factory import Network, keys, pair_of, public
from tests.life import OFFENCE, fork_evidence, header_evidence, vote_evidence

NETWORK: Final = Network()
LIST_KEY: Final = NETWORK.genesis.attestors[0].list_key
DUTY: Final = keys("duty")


def votes(**changes: Any) -> VoteEquivocation:
    """A pass and a fail by one duty key."""
    return vote_evidence(NETWORK, "node", pair=DUTY, faults=5, **changes)


def file_of(evidence: Record, offence: str = "") -> bytes:
    """The file of a piece of evidence."""
    names = {VoteEquivocation: "vote_equivocation", ListEquivocation: "list_equivocation"}
    return encode(Report(OFFENCE[offence or names[type(evidence)]], encode(evidence)))


# ---------------------------------------------------------------------------------- checking

GOOD: Final[dict[str, tuple[Record, bytes, str]]] = {
    "two votes": (votes(), DUTY.public, "that it passed, and that it failed"),
    "two headers": (header_evidence(NETWORK, LIST_KEY), LIST_KEY, "two headers of epoch 1"),
    "two histories": (fork_evidence(NETWORK, LIST_KEY), LIST_KEY, "whose history holds another"),
}


@pytest.mark.parametrize(("evidence", "key", "says"), GOOD.values(), ids=GOOD.keys())
def test_what_is_proven(evidence: Any, key: bytes, says: str) -> None:
    proven = check_evidence(file_of(evidence), NETWORK.hash)
    assert proven.evidence == evidence
    assert proven.report.evidence == encode(evidence)
    assert proven.offence.number == proven.report.offence
    assert proven.offender.key == key
    first = evidence.epoch if isinstance(evidence, VoteEquivocation) else 1
    assert proven.offender.epoch == first
    sentence = explain(proven)
    assert says in sentence
    assert key.hex() in sentence


def test_the_sentence_names_the_node_and_what_was_wrong_with_it() -> None:
    sentence = explain(check_evidence(file_of(votes()), NETWORK.hash))
    assert encode_node(public("node")) in sentence
    assert ", ".join(name_faults(5)) in sentence
    assert sum(fault in sentence for fault in FAULTS.values()) == 2


def test_the_sentence_names_both_headers() -> None:
    for evidence in (header_evidence(NETWORK, LIST_KEY), fork_evidence(NETWORK, LIST_KEY)):
        sentence = explain(check_evidence(file_of(evidence), NETWORK.hash))
        for raw in (evidence.first, evidence.second):
            assert decode_header(raw).hash.hex() in sentence


def test_every_offence_that_can_be_reported_has_a_sentence() -> None:
    proven = [check_evidence(file_of(evidence), NETWORK.hash) for evidence, _, _ in GOOD.values()]
    reportable = {offence.name for offence in OFFENCES if offence.signatures is not None}
    assert {row.offence.name for row in proven} == reportable


HEADERS: Final = header_evidence(NETWORK, LIST_KEY)
FORK: Final = fork_evidence(NETWORK, LIST_KEY)

REFUSED: Final[dict[str, tuple[bytes, str]]] = {
    # forged
    "a vote that somebody else signed": (
        file_of(votes(pass_signature=votes().fail_signature)), "bad_signature"),
    "a vote on another node": (file_of(replace(votes(), node=public("other"))), "bad_signature"),
    "a vote in another life": (file_of(replace(votes(), life=2)), "bad_signature"),
    "a vote for another epoch": (file_of(replace(votes(), epoch=2)), "bad_signature"),
    "votes by another key": (file_of(replace(votes(), duty_key=public("other"))), "bad_signature"),
    "a first header that nobody signed": (
        file_of(replace(HEADERS, first_signature=bytes(64))), "bad_signature"),
    "a second header that nobody signed": (
        file_of(replace(HEADERS, second_signature=bytes(64))), "bad_signature"),
    # useless
    "two passes": (file_of(replace(votes(), faults=0)), "no_contradiction"),
    "one header twice": (file_of(replace(HEADERS, second=HEADERS.first)), "no_contradiction"),
    "headers in the wrong order": (
        file_of(replace(HEADERS, first=HEADERS.second, second=HEADERS.first)), "no_contradiction"),
    "a later header that extends the first": (
        file_of(replace(FORK, leaf=leaf_hash(FORK.first))), "no_contradiction"),
    "a path that leads elsewhere": (
        file_of(replace(FORK, leaf=leaf_hash(b"invented"))), "no_contradiction"),
    # no evidence at all
    "nothing": (b"", "not_canonical"),
    "a file that is cut off": (file_of(votes())[:-1], "not_canonical"),
    "a byte too many": (file_of(votes()) + b"\0", "not_canonical"),
    "a file that is too long": (bytes(MAX_FILE_BYTES + 1), "too_large"),
    "an offence that there is not": (encode(Report(99, b"")), "unknown_offence"),
    "what only an engine can prove": (
        encode(Report(OFFENCE["block_equivocation"], b"")), "unknown_offence"),
    "evidence of another offence": (
        file_of(votes(), "list_equivocation"), "not_canonical"),
    "a header that is none": (
        file_of(replace(HEADERS, first=b"\0\1" + bytes(340))), "bad_header"),
    "a header of a format to come": (
        file_of(replace(HEADERS, first=b"\0\7" + HEADERS.first[2:])), "unknown_format"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_what_proves_nothing(raw: bytes, code: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_evidence(raw, NETWORK.hash)
    assert refused.value.code == code


@pytest.mark.parametrize("evidence", [row[0] for row in GOOD.values()], ids=GOOD.keys())
def test_evidence_of_another_network_proves_nothing_here(evidence: Record) -> None:
    with pytest.raises(Refusal) as refused:
        check_evidence(file_of(evidence), Network(epoch_ms=20_000).hash)
    assert refused.value.code == "bad_signature"


def test_the_longest_evidence_fits_a_file() -> None:
    assert len(encode(Report(255, bytes(MAX_EVIDENCE_BYTES)))) == MAX_FILE_BYTES


# ----------------------------------------------------------------------------------- headers

SEATS: Final = tuple(Attestor(row.list_key, 1) for row in NETWORK.genesis.attestors)
HERE: Final = NETWORK.header._replace(epoch=7)
ELSEWHERE: Final = HERE._replace(state_root=bytes(32))


def attest(header: ListHeader, pair: KeyPair) -> bytes:
    """A list key's signature of a header."""
    return sign(pair, header_signing_bytes(NETWORK.hash, encode_header(header)))


def seen(header: ListHeader, signers: Sequence[int], members: Sequence[Attestor] = SEATS) -> Seen:
    """A header with the signatures of these seats of a set."""
    rows = tuple((index, attest(header, pair_of(members[index].list_key))) for index in signers)
    return Seen(SignedHeader(encode_header(header), rows), members)


def offenders(reports: Sequence[Report]) -> list[tuple[int | None, bytes]]:
    """Epoch and key of each report, all of which hold."""
    proven = [check_evidence(encode(report), NETWORK.hash) for report in reports]
    assert {row.offence.name for row in proven} <= {"list_equivocation"}
    return [(row.offender.epoch, row.offender.key) for row in proven]


def test_who_signed_two_headers_of_an_epoch_is_found_once() -> None:
    sources = [
        seen(HERE, (0, 1)),
        seen(ELSEWHERE, (1, 2)),
        # of a third one too, and of the first once more, with another signature
        seen(HERE._replace(seed=bytes(32)), (1,)),
        seen(HERE, (2,)),
    ]
    wanted = [(7, SEATS[1].list_key), (7, SEATS[2].list_key)]
    assert offenders(compare_headers(NETWORK.hash, sources)) == wanted
    assert offenders(compare_headers(NETWORK.hash, sources[::-1])) == wanted


def test_each_epoch_counts_for_itself() -> None:
    later = [header._replace(epoch=9) for header in (HERE, ELSEWHERE)]
    sources = [seen(header, (0,)) for header in (*later, HERE, ELSEWHERE)]
    key = SEATS[0].list_key
    assert offenders(compare_headers(NETWORK.hash, sources)) == [(7, key), (9, key)]


def test_indices_count_in_the_set_of_their_header() -> None:
    turned = SEATS[::-1]
    sources = [seen(HERE, (0,)), seen(ELSEWHERE, (2,), turned)]
    assert offenders(compare_headers(NETWORK.hash, sources)) == [(7, SEATS[0].list_key)]


FORGED: Final = seen(ELSEWHERE, (1,)).signed
HARMLESS: Final[dict[str, list[Seen]]] = {
    "nothing": [],
    "one source": [seen(HERE, (0, 1, 2))],
    "the same header twice": [seen(HERE, (0, 1)), seen(HERE, (0, 2))],
    "two headers by others": [seen(HERE, (0,)), seen(ELSEWHERE, (1,))],
    "two epochs": [seen(HERE, (0,)), seen(ELSEWHERE._replace(epoch=8), (0,))],
    "a signature that somebody put in another place": [
        seen(HERE, (0,)),
        Seen(FORGED._replace(signatures=((0, FORGED.signatures[0][1]),)), SEATS),
    ],
    "a seat that the set has not": [
        seen(HERE, (0,)), Seen(FORGED._replace(signatures=((9, bytes(64)),)), SEATS)
    ],
}  # fmt: skip


@pytest.mark.parametrize("sources", HARMLESS.values(), ids=HARMLESS.keys())
def test_nobody_is_found_who_did_nothing(sources: list[Seen]) -> None:
    assert compare_headers(NETWORK.hash, sources) == []


def test_what_is_no_header_is_refused() -> None:
    broken = Seen(SignedHeader(bytes(10), ()), SEATS)
    with pytest.raises(Refusal):
        compare_headers(NETWORK.hash, [broken, seen(HERE, (0,))])


# --------------------------------------------------------------------------------- histories

LEAVES: Final = [leaf_hash(bytes([place])) for place in range(9)]
LATER: Final = HERE._replace(epoch=9, history_root=tree_root(LEAVES))
PATH: Final = tuple(audit_path(LEAVES, 7))


def test_who_signed_a_header_and_a_history_without_it_is_found() -> None:
    reports = compare_histories(
        NETWORK.hash, seen(HERE, (0, 1, 2)), seen(LATER, (0, 2)), LEAVES[7], PATH
    )
    assert offenders(reports) == [(7, SEATS[0].list_key), (7, SEATS[2].list_key)]


def test_a_history_that_holds_the_header_is_no_offence() -> None:
    leaves = [*LEAVES[:7], leaf_hash(encode_header(HERE)), *LEAVES[8:]]
    later = LATER._replace(history_root=tree_root(leaves))
    path = audit_path(leaves, 7)
    both = seen(HERE, (0,)), seen(later, (0,))
    assert compare_histories(NETWORK.hash, *both, leaves[7], path) == []


def test_a_path_that_proves_nothing_finds_nobody() -> None:
    both = seen(HERE, (0,)), seen(LATER, (0,))
    assert compare_histories(NETWORK.hash, *both, leaf_hash(b"invented"), PATH) == []
    assert compare_histories(NETWORK.hash, *both, LEAVES[7], PATH[1:]) == []


def test_histories_of_one_epoch_or_the_wrong_way_round_find_nobody() -> None:
    earlier, later = seen(HERE, (0,)), seen(LATER, (0,))
    assert compare_histories(NETWORK.hash, later, earlier, LEAVES[7], PATH) == []
    assert compare_histories(NETWORK.hash, earlier, earlier, LEAVES[7], PATH) == []


# ------------------------------------------------------------------------------------- votes

PASS: Final = Vote(7, public("node"), 1, 0)
FAIL: Final = replace(PASS, faults=3)


def cast(vote: Vote, pair: KeyPair = DUTY) -> Cast:
    """A vote with its signature."""
    return Cast(vote, sign(pair, vote_bytes(NETWORK.hash, vote)))


@pytest.mark.parametrize("turned", [False, True])
def test_a_pass_and_a_fail_are_evidence(turned: bool) -> None:
    pair = [cast(PASS), cast(FAIL)][:: -1 if turned else 1]
    report = compare_votes(NETWORK.hash, DUTY.public, *pair)
    assert report is not None
    proven = check_evidence(encode(report), NETWORK.hash)
    assert (proven.offence.name, proven.offender.key) == ("vote_equivocation", DUTY.public)
    assert (proven.offender.epoch, proven.evidence.faults) == (7, 3)


AGREEING: Final[dict[str, tuple[Cast, Cast]]] = {
    "the same vote": (cast(FAIL), cast(FAIL)),
    "two passes": (cast(PASS), cast(PASS)),
    "two faults": (cast(FAIL), cast(replace(FAIL, faults=4))),
    "two nodes": (cast(PASS), cast(replace(FAIL, node=public("other")))),
    "two lives": (cast(PASS), cast(replace(FAIL, life=2))),
    "two epochs": (cast(PASS), cast(replace(FAIL, epoch=8))),
    "a pass by another key": (cast(PASS, keys("other")), cast(FAIL)),
    "a fail by another key": (cast(PASS), cast(FAIL, keys("other"))),
}


@pytest.mark.parametrize("pair", AGREEING.values(), ids=AGREEING.keys())
def test_votes_that_do_not_contradict(pair: tuple[Cast, Cast]) -> None:
    assert compare_votes(NETWORK.hash, DUTY.public, *pair) is None
