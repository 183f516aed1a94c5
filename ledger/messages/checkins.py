"""Check-ins: an agent tells services every hour that it is there. No ledger ever sees one."""

from typing import Final

from ledger.codec import U63, Bytes32, Bytes64, Codec, Record, encode
from ledger.crypto import Signed, signing_bytes
from ledger.messages import tags
from ledger.messages.contact import Version
from ledger.messages.duty import Faults
from ledger.types import Hash

MAX_CHECK_IN_BYTES: Final = 256
"""The longest one has 119."""


class CheckIn(Record, frozen=True):
    """What the agent of a node says, under the tag `CHECK_IN`."""

    node: Bytes32
    time_ms: U63
    """When it was signed, by the clock of the agent's machine."""
    version: Version
    """Of the agent."""
    faults: Faults
    """What the agent finds of its own node: 0 for nothing."""


class SignedCheckIn(Record, frozen=True):
    """A check-in as it is sent."""

    check_in: CheckIn
    signature: Bytes64
    """By the node key."""


SIGNED_CHECK_IN: Final[Codec[SignedCheckIn]] = Codec(SignedCheckIn, "check-in", MAX_CHECK_IN_BYTES)


def check_in_bytes(genesis_hash: Hash, check_in: CheckIn) -> bytes:
    """Return what a node key signs to check in."""
    return signing_bytes(tags.CHECK_IN, genesis_hash, encode(check_in))


def check_in_signed(genesis_hash: Hash, sent: SignedCheckIn) -> Signed:
    """Return what has to be verified for a check-in."""
    message = check_in_bytes(genesis_hash, sent.check_in)
    return Signed(sent.check_in.node, message, sent.signature)
