"""Evidence and reports for the network whose genesis hash the examples of the models name.

EVIDENCE    a file with a pass and a fail by one duty key
FORGED      the same, but that one signature is none
USELESS     a file with two passes
REPORT      a transaction that reports `EVIDENCE`
TRANSFER    one of another kind
"""

from typing import Any, Final

from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.crypto import sign
from ledger.messages.duty import Vote, vote_bytes
from ledger.messages.evidence import VoteEquivocation
from ledger.messages.transactions import VERSION, Envelope, Report, Transfer
from registry.api.models import EPOCH, HASH
from tests.factory import FEE, TAG, keys, paid, public
from tests.life import OFFENCE

NETWORK: Final = bytes.fromhex(HASH)
PASS: Final = Vote(EPOCH, public("node"), 1, 0)
FAIL: Final = replace(PASS, faults=3)


def _sign(vote: Vote) -> bytes:
    return sign(keys("duty"), vote_bytes(NETWORK, vote))


VOTES: Final = VoteEquivocation(
    duty_key=public("duty"),
    epoch=EPOCH,
    node=PASS.node,
    life=1,
    pass_signature=_sign(PASS),
    faults=FAIL.faults,
    fail_signature=_sign(FAIL),
)


def file_of(evidence: VoteEquivocation) -> bytes:
    """The file that carries evidence."""
    return encode(Report(OFFENCE["vote_equivocation"], encode(evidence)))


def _pay(kind: str, body: Record) -> bytes:
    envelope: Envelope[Any] = Envelope(VERSION, TAG[kind], public("alice"), 0, FEE, 100, body)
    return paid(NETWORK, "alice", envelope)


EVIDENCE: Final = file_of(VOTES)
FORGED: Final = file_of(replace(VOTES, fail_signature=bytes(64)))
USELESS: Final = file_of(replace(VOTES, faults=0))
REPORT: Final = _pay("report", Report(OFFENCE["vote_equivocation"], encode(VOTES)))
TRANSFER: Final = _pay("transfer", Transfer(public("bob"), 5))
