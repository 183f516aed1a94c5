"""Two blocks of one height by one validator, as far as an engine gives it.

The engine's validators agreed on it with the block, so nothing is left to verify; under `solo`
nobody could vouch for it, so there it counts for nothing.
"""

from ledger.messages.evidence import MISBEHAVIOUR, Misbehaviour
from ledger.messages.state import CONSENSUS_ROLE
from ledger.offences.offence import Offender

CODEC = MISBEHAVIOUR


def identify(evidence: Misbehaviour) -> Offender:
    """Return the address of the consensus key and the time of the block."""
    return Offender(evidence.address, CONSENSUS_ROLE, None, evidence.time_ms)
