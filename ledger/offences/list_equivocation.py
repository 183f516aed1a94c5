"""Two list headers by one list key: of one epoch, or of two that cannot belong to one history.

It counts for each format version by itself: while a format changes, an attestor signs a header of
each for the same epoch. Only headers of the format that this version knows are judged.
"""

from typing import Final

from ledger.codec import Codec
from ledger.crypto import Signed
from ledger.errors import Refusal
from ledger.merkle import leaf_hash, root_from_path
from ledger.messages.evidence import MAX_EVIDENCE_BYTES, ListEquivocation
from ledger.messages.lists import ListHeader, attestation, decode_header
from ledger.messages.state import LIST_ROLE
from ledger.offences.offence import Offender
from ledger.types import MAX_AMOUNT, Hash

CODEC: Final[Codec[ListEquivocation]] = Codec(
    ListEquivocation, "list equivocation", MAX_EVIDENCE_BYTES
)


def identify(evidence: ListEquivocation) -> Offender:
    """Return the list key and the epoch of the first header.

    Refuses with `no_contradiction`, and like `decode_header`.
    """
    first, second = decode_header(evidence.first), decode_header(evidence.second)
    if second.epoch > MAX_AMOUNT:
        raise Refusal("no_contradiction", why="no epoch has that number")
    if first.epoch == second.epoch:
        _check_same_epoch(evidence)
    else:
        _check_history(evidence, first, second)
    return Offender(evidence.list_key, LIST_ROLE, first.epoch, 0)


def _check_same_epoch(evidence: ListEquivocation) -> None:
    if evidence.first >= evidence.second:
        raise Refusal("no_contradiction", why="the headers are one, or in the wrong order")
    if evidence.leaf or evidence.path:
        raise Refusal("no_contradiction", why="headers of one epoch need no path")


def _check_history(evidence: ListEquivocation, first: ListHeader, second: ListHeader) -> None:
    """The history of header l is the tree over headers 0 to l − 1."""
    if first.epoch > second.epoch:
        raise Refusal("no_contradiction", why="the headers are in the wrong order")
    if evidence.leaf == leaf_hash(evidence.first):
        raise Refusal("no_contradiction", why="the second header extends the first")
    root = root_from_path(evidence.leaf, first.epoch, second.epoch, evidence.path)
    if root != second.history_root:
        raise Refusal("no_contradiction", why="the path does not lead to the second header")


def signatures(evidence: ListEquivocation, genesis_hash: Hash) -> list[Signed]:
    """Return both attestations."""
    e = evidence
    return [
        attestation(genesis_hash, e.first, e.list_key, e.first_signature),
        attestation(genesis_hash, e.second, e.list_key, e.second_signature),
    ]
