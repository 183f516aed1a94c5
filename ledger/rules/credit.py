"""Uptime credit: what a node may be down before it loses its place.

- It grows with the time for which a node is active, a day in thirty, up to a most.
- Down time is counted in failing epochs, each at the parameter `epoch_ms`: a halt of the chain
  costs nobody anything.
"""

from typing import Final

from ledger.types import TimeMs

EARNED: Final = 24
EARNED_OF: Final = 720
"""Hours of credit for so many hours of activity."""

FAILING_EPOCHS: Final = 2
"""Epochs running that a node has to fail before it is decommissioned; and, once it is, the least
before it is deregistered: never by one verdict."""

QUIET_WINDOWS: Final = 4
"""Judging windows without a failing verdict that bring a decommissioned node back."""

DOWN_COST: Final = 2
"""Credit that a returning node pays for each millisecond it was down."""


def compute_credit(credit_ms: int, active_ms: TimeMs, most_ms: int) -> int:
    """Return the credit of a node that had `credit_ms` and was active for `active_ms` since."""
    return min(credit_ms + active_ms * EARNED // EARNED_OF, most_ms)


def compute_returned_credit(credit_ms: int, failing: int, epoch_ms: int) -> int:
    """Return the credit of a node that comes back after `failing` failing epochs."""
    return max(0, credit_ms - DOWN_COST * failing * epoch_ms)


def is_used_up(credit_ms: int, failing: int, epoch_ms: int) -> bool:
    """Whether a node that was down for `failing` epochs may be deregistered."""
    return failing >= FAILING_EPOCHS and failing * epoch_ms >= credit_ms


def failing_epochs_to_removal(credit_ms: int, epoch_ms: int) -> int:
    """Return how many failing epochs use up a credit."""
    return max(FAILING_EPOCHS, -(-credit_ms // epoch_ms))
