"""What one host may cost in a second, so that none takes the time of the others.

A message costs a unit, more if it is long; rows that nobody asked for lately cost more, and so do
the bytes of an answer. Who has any units left may take as much as one answer costs: what is too
much is taken off his next seconds. Programs that come over Unix sockets count as one host.
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
    """What hosts have used of this second, and of those to come."""

    def __init__(self, monotonic: Callable[[], float], units: int = UNITS_A_SECOND) -> None:
        self._monotonic = monotonic
        self._units = units
        self._second = -1
        self._used: Counter[str] = Counter()

    def take(self, host: str, units: int = 1) -> bool:
        """Whether a host has anything left; so many units are used then."""
        self._pass_on()
        if self._used[host] >= self._units:
            return False
        self._used[host] += units
        return True

    def charge(self, host: str, units: int) -> None:
        """Have a host pay for what it got already."""
        self._pass_on()
        self._used[host] += units

    def _pass_on(self) -> None:
        """Forget what was used of the seconds that are over."""
        second = int(self._monotonic())
        over = (second - self._second) * self._units
        if over:
            self._second = second
            self._used = Counter({host: u - over for host, u in self._used.items() if u > over})
