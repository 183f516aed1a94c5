"""A pass and a fail by one duty key for one vote identity."""

from typing import Final

from ledger.codec import Codec
from ledger.crypto import Signed
from ledger.errors import Refusal
from ledger.messages.duty import Vote, vote_signed
from ledger.messages.evidence import MAX_EVIDENCE_BYTES, VoteEquivocation
from ledger.messages.state import DUTY_ROLE
from ledger.offences.offence import Offender
from ledger.types import Hash

CODEC: Final[Codec[VoteEquivocation]] = Codec(
    VoteEquivocation, "vote equivocation", MAX_EVIDENCE_BYTES
)


def identify(evidence: VoteEquivocation) -> Offender:
    """Return the duty key and the epoch of the votes. Refuses with `no_contradiction`."""
    if evidence.faults == 0:
        raise Refusal("no_contradiction", why="both votes are a pass")
    return Offender(evidence.duty_key, DUTY_ROLE, evidence.epoch, 0)


def signatures(evidence: VoteEquivocation, genesis_hash: Hash) -> list[Signed]:
    """Return both votes."""
    e = evidence
    return [
        vote_signed(genesis_hash, e.duty_key, Vote(e.epoch, e.node, e.life, faults), signature)
        for faults, signature in ((0, e.pass_signature), (e.faults, e.fail_signature))
    ]
