"""How nodes fared: the vote that a tester signs, and the faults that it may have found."""

from typing import Annotated, Final, TypeAlias

import msgspec

from ledger.codec import U32, U63, Bytes32, Record, encode
from ledger.crypto import Signed, signing_bytes
from ledger.messages import tags
from ledger.types import Hash, Key

FAULTS: Final = {
    1: "storage port",
    2: "router port",
    4: "outdated version",
    8: "wrong address",
    16: "clock",
    32: "storage failure",
}
"""Name of each fault by its bit; bits are never reused."""

MAX_FAULTS: Final = 63
"""All faults at once."""

Faults: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_FAULTS)]
"""A bit set of `FAULTS`: 0 says that the node passed, anything else that it failed."""


class Vote(Record, frozen=True):
    """What a tester signs, under the tag `VOTE`. All but the faults is the vote's identity."""

    epoch: U63
    """Epoch in which the node was tested."""
    node: Bytes32
    """The node that was tested."""
    life: U32
    """The life it was in."""
    faults: Faults
    """0 for a pass, else what was wrong."""


def vote_bytes(genesis_hash: Hash, vote: Vote) -> bytes:
    """Return what a duty key signs to cast a vote."""
    return signing_bytes(tags.VOTE, genesis_hash, encode(vote))


def vote_signed(genesis_hash: Hash, duty_key: Key, vote: Vote, signature: bytes) -> Signed:
    """Return what has to be verified for one vote."""
    return Signed(duty_key, vote_bytes(genesis_hash, vote), signature)


def name_faults(faults: int) -> list[str]:
    """Return the names of the faults in a bit set, lowest bit first."""
    return [name for bit, name in FAULTS.items() if faults & bit]
