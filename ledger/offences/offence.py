"""What all offences share."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ledger.codec import Codec
from ledger.crypto import Signed
from ledger.params import Params
from ledger.types import Epoch, Hash


class Offender(NamedTuple):
    """Who did it, and when."""

    key: bytes
    """The key that signed twice, 32 bytes; of a validator its address, 20 bytes."""
    role: int
    """The role that the key has to have."""
    epoch: Epoch | None
    """Epoch of the offence; None where the evidence has a time instead."""
    time_ms: int
    """Block time of the offence where there is no epoch, else 0."""


class Offence(NamedTuple):
    """One row of `OFFENCES`."""

    number: int
    """1 to 255; never used again."""
    name: str
    codec: Codec[Any]
    """Of its evidence."""
    identify: Callable[[Any], Offender]
    """Says who did what the evidence shows. Refuses with `no_contradiction`."""
    signatures: Callable[[Any, Hash], list[Signed]] | None
    """What has to be verified; None where an engine vouches for it, so that nobody reports it."""
    penalty: str
    """Name of the parameter that says what it costs."""
    tombstones: bool
    """Whether the node never returns."""

    def get_share(self, params: Params) -> int:
        """Return the part of the stake that it costs, parts of 10,000."""
        share: int = getattr(params, self.penalty)
        return share
