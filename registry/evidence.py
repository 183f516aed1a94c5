"""Evidence of an offence: the file that carries it, checking it, and finding it.

- A file is an encoded `Report`, [offence, evidence]: the body of the transaction that reports it.
- It proves itself: of the network nothing is needed but the hash of its genesis file. Whether its
  key is that of a node or an attestor, and whether that was punished already, only a ledger knows.
- What finds evidence compares what it was given, and counts no signature that it did not verify.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any, Final, NamedTuple

from ledger.codec import Codec, Record, encode
from ledger.crypto import Signed, verify, verify_all
from ledger.errors import Refusal
from ledger.messages.duty import Vote, name_faults, vote_signed
from ledger.messages.evidence import MAX_EVIDENCE_BYTES, ListEquivocation, VoteEquivocation
from ledger.messages.lists import Attestor, SignedHeader, attestation, decode_header
from ledger.messages.transactions import Report
from ledger.offences import OFFENCES
from ledger.offences.offence import Offence, Offender
from ledger.transactions.report import identify
from ledger.types import Epoch, Hash, Key
from registry.addresses import encode_node

MAX_FILE_BYTES: Final = MAX_EVIDENCE_BYTES + 6
"""The longest evidence with what stands round it."""

EVIDENCE_FILE: Final[Codec[Report]] = Codec(Report, "evidence file", MAX_FILE_BYTES)


# -------------------------------------------------------------------------------- checking


class Proven(NamedTuple):
    """What a file of evidence proves."""

    report: Report
    offence: Offence
    offender: Offender
    evidence: Any
    """The record of the offence, decoded."""


def check_evidence(raw: bytes, genesis_hash: Hash) -> Proven:
    """Return what the bytes of an evidence file prove on a network. Needs no ledger.

    Refuses with `not_canonical`, `too_large`, `unknown_offence`, `no_contradiction`, `bad_header`,
    `unknown_format`, `bad_signature`.
    """
    report = EVIDENCE_FILE.decode(raw)
    offence, offender = identify(report)
    evidence = offence.codec.decode(report.evidence)
    assert offence.signatures is not None  # `identify` knows no others
    if not all(verify_all(offence.signatures(evidence, genesis_hash))):
        raise Refusal("bad_signature")
    return Proven(report, offence, offender, evidence)


def explain(proven: Proven) -> str:
    """Return in one sentence what was proven."""
    return _SENTENCES[type(proven.evidence)](proven.evidence)


def _explain_votes(evidence: VoteEquivocation) -> str:
    faults = ", ".join(name_faults(evidence.faults))
    return (
        f"the holder of the duty key {evidence.duty_key.hex()} signed two votes on the node "
        f"{encode_node(evidence.node)}, life {evidence.life}, in epoch {evidence.epoch}: that it "
        f"passed, and that it failed ({faults})"
    )


def _explain_headers(evidence: ListEquivocation) -> str:
    first, second = decode_header(evidence.first), decode_header(evidence.second)
    signed = f"the holder of the list key {evidence.list_key.hex()} signed"
    if first.epoch == second.epoch:
        return (
            f"{signed} two headers of epoch {first.epoch}: {first.hash.hex()} and "
            f"{second.hash.hex()}"
        )
    return (
        f"{signed} the header {first.hash.hex()} of epoch {first.epoch}, and the header "
        f"{second.hash.hex()} of epoch {second.epoch}, whose history holds another one in the "
        "place of the first"
    )


_SENTENCES: Final[dict[type[Record], Callable[[Any], str]]] = {
    VoteEquivocation: _explain_votes,
    ListEquivocation: _explain_headers,
}


# --------------------------------------------------------------------------------- finding

_NUMBERS: Final = {offence.name: offence.number for offence in OFFENCES}


class Seen(NamedTuple):
    """A signed header as some source gave it, and the set that its indices count in."""

    signed: SignedHeader
    members: Sequence[Attestor]


class Cast(NamedTuple):
    """A vote as it was received."""

    vote: Vote
    signature: bytes


def compare_headers(genesis_hash: Hash, seen: Sequence[Seen]) -> list[Report]:
    """Return the evidence that signed headers of several sources are together: two of one epoch.

    One piece for each list key and epoch, by ascending epoch and key. Refuses like `decode_header`.
    """
    signers: dict[bytes, dict[Key, bytes]] = {}
    for one in seen:
        signers.setdefault(one.signed.header, {}).update(_verified(genesis_hash, one))
    found: dict[tuple[Epoch, Key], ListEquivocation] = {}
    for first, second in combinations(sorted(signers), 2):
        epoch = decode_header(first).epoch
        if epoch != decode_header(second).epoch:
            continue
        for key, by_first, by_second in _both(signers[first], signers[second]):
            evidence = ListEquivocation(key, first, by_first, second, by_second, b"", ())
            found.setdefault((epoch, key), evidence)
    return [_report("list_equivocation", found[place]) for place in sorted(found)]


def compare_histories(
    genesis_hash: Hash, earlier: Seen, later: Seen, leaf: Hash, path: Sequence[Hash]
) -> list[Report]:
    """Return the evidence that a header is, with a later one whose history holds another there.

    `leaf` is the hash of the leaf that the history of `later` has in the place of `earlier`, and
    `path` its audit path. None where that is the earlier header's own, or not proven. One piece for
    each list key that signed both, by ascending key. Refuses like `decode_header`.
    """
    first, second = earlier.signed.header, later.signed.header
    if decode_header(first).epoch >= decode_header(second).epoch:
        return []
    both = _both(_verified(genesis_hash, earlier), _verified(genesis_hash, later))
    pieces = [
        _report(
            "list_equivocation",
            ListEquivocation(key, first, one, second, other, leaf, tuple(path)),
        )
        for key, one, other in both
    ]
    return [piece for piece in pieces if _contradicts(piece)]


def compare_votes(genesis_hash: Hash, duty_key: Key, one: Cast, other: Cast) -> Report | None:
    """Return the evidence that two votes by one key are together.

    None where they do not contradict each other, or where a signature does not hold.
    """
    passing, failing = sorted((one, other), key=lambda cast: cast.vote.faults)
    vote = failing.vote
    report = _report(
        "vote_equivocation",
        VoteEquivocation(
            duty_key,
            vote.epoch,
            vote.node,
            vote.life,
            passing.signature,
            vote.faults,
            failing.signature,
        ),
    )
    is_pair = passing.vote == Vote(vote.epoch, vote.node, vote.life, 0)
    is_signed = all(
        verify(vote_signed(genesis_hash, duty_key, cast.vote, cast.signature))
        for cast in (passing, failing)
    )
    return report if is_pair and is_signed and _contradicts(report) else None


def _verified(genesis_hash: Hash, seen: Seen) -> dict[Key, bytes]:
    """Return the signatures of a header that hold, by list key."""
    items: list[Signed] = [
        attestation(genesis_hash, seen.signed.header, seen.members[index].list_key, signature)
        for index, signature in seen.signed.signatures
        if index < len(seen.members)
    ]
    valid = verify_all(items)
    return {item.key: item.signature for item, holds in zip(items, valid, strict=True) if holds}


def _both(one: dict[Key, bytes], other: dict[Key, bytes]) -> Iterator[tuple[Key, bytes, bytes]]:
    """Yield each key that signed both with its signatures, by ascending key."""
    for key in sorted(one.keys() & other.keys()):
        yield key, one[key], other[key]


def _report(offence: str, evidence: Record) -> Report:
    return Report(_NUMBERS[offence], encode(evidence))


def _contradicts(report: Report) -> bool:
    try:
        identify(report)
    except Refusal:
        return False
    return True
