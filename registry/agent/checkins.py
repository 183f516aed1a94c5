"""Check-ins: telling every service, signed by the node key, that the agent is there.

Nothing depends on them but warnings: a service that hears nothing for a while says so to those who
watch the node. The faults in one are those that the agent itself sees of its own node.
"""

import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import structlog

from ledger.crypto import KeyPair
from ledger.messages.checkins import CheckIn
from ledger.messages.contact import Version
from ledger.messages.duty import FAULTS, name_faults
from ledger.types import Hash
from registry.client.services import Services
from registry.wallet import sign_check_in

log = structlog.get_logger()

PING_SILENCE_S: Final = 300.0
"""Seconds without a ping after which a storage server counts as dead."""

MAX_REPLY_BYTES: Final = 2**14

_BIT_OF: Final = {name: bit for bit, name in FAULTS.items()}


class Pings:
    """When the storage server beside this node last showed that it lives."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # it gets the same time after the start, since it may start later
        self._newest = clock()
        self.count = 0

    def note(self) -> None:
        """It pinged."""
        self._newest = self._clock()
        self.count += 1

    @property
    def is_silent(self) -> bool:
        """Whether it was silent for too long."""
        return self._clock() - self._newest > PING_SILENCE_S


class Checked(NamedTuple):
    """What became of a check-in."""

    at_ms: int
    faults: list[str]
    services: dict[str, str]
    """For each service `taken`, or why it did not take it."""

    @property
    def was_taken(self) -> bool:
        """Whether any service took it."""
        return "taken" in self.services.values()


async def check_in(
    services: Services, genesis_hash: Hash, node: KeyPair, agent: Version, faults: Iterable[str]
) -> Checked:
    """Tell every service that the agent is there, and which faults it sees of its own node."""
    at_ms = time.time_ns() // 1_000_000
    bits = sum(_BIT_OF[name] for name in dict.fromkeys(faults))
    raw = sign_check_in(genesis_hash, node, CheckIn(node.public, at_ms, agent, bits))
    answers = await services.post_to_all("/v1/checkins", {"check_in": raw.hex()}, MAX_REPLY_BYTES)
    outcomes = {
        url: str(answer) if isinstance(answer, Exception) else "taken"
        for url, answer in answers.items()
    }
    for url, outcome in outcomes.items():
        if outcome != "taken":
            log.warning("check-in not taken", service=url, reason=outcome)
    return Checked(at_ms, name_faults(bits), outcomes)
