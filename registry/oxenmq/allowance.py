"""What one host may cost in a second, so that none takes the time of the others.

A message costs one unit, and rows that nobody asked for lately cost more. Programs that come over
Unix sockets count as one host.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

UNITS_A_SECOND: Final = 500
"""About 100 ms of one core."""


class Peer(NamedTuple):
    """The far side of a connection."""

    listener: int
    """Which one it came to."""
    number: int
    """Which of its connections this is; none has the number of another, ever."""
    host: str
    """Its IP address; nothing over a Unix socket."""
    is_local: bool
    """Whether it is a program of this machine."""


class Allowance:
    """What hosts have used of this second."""

    def __init__(self, monotonic: Callable[[], float], units: int = UNITS_A_SECOND) -> None:
        self._monotonic = monotonic
        self._units = units
        self._second = -1
        self._used: Counter[str] = Counter()

    def take(self, host: str, units: int = 1) -> bool:
        """Whether a host has so many units left; they are used then.

        Who has used nothing in this second may take as much as one answer costs.
        """
        second = int(self._monotonic())
        if second != self._second:
            self._second = second
            self._used.clear()
        used = self._used[host]
        if used and used + units > self._units:
            return False
        self._used[host] = used + units
        return True
