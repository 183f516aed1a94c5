"""What a condition looks at, and what is remembered of a node from one round to the next.

A case is about one subject: a node, the network, a service, or this program itself.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from ledger.params import HOUR
from registry.warnings.facts import (
    TESTED,
    UNFUNDED,
    Failed,
    NetworkFacts,
    NodeFacts,
    Proven,
    Rules,
    Seen,
    Verdict,
    Versions,
)

LAST_SHARE: Final = 20
"""Where an hour is much of the credit, the last hour is a twentieth of the most there can be."""

FAULT_EPOCHS: Final = 2
"""What testers found holds for so many epochs more: an active node that passes gets no verdict."""

BEHIND_BLOCKS: Final = 12
BEHIND_MS: Final = 60_000
"""A service is behind by so many blocks, or so long, whichever is more."""


class Finding(NamedTuple):
    """That a condition holds."""

    key: str
    """Which occurrence: another one of the same subject is told anew."""
    reason: str
    next_step: str
    left_ms: int | None = None
    """Time left until it gets worse, or until what it announces; None where there is no such."""


class Past(msgspec.Struct, frozen=True):
    """What is remembered of a node."""

    life: int
    state: str
    operator: str
    stake: int
    """Atomic units of stake and rewards that it had when it was last seen."""
    check_in_ms: int | None = None
    """The newest check-in that was seen."""
    waits_from_ms: int | None = None
    """Since when no service knows of a check-in, though one is due; None while one does."""
    agent_faults: tuple[str, ...] = ()
    """What the agent saw at that check-in."""
    ended_life: int = 0
    """The newest life that was seen to end; 0 if none was."""
    was_refunded: bool = False
    """Whether that life ended before it was active."""
    doubted_from_ms: int | None = None
    """Since when what the service says differs from what is proven."""
    disputed_from_ms: int | None = None
    """Since when services contradict each other."""
    failing: tuple[int, int] = (0, 0)
    """First and last epoch of the newest run of failing verdicts, if the newest one failed."""


class NodeCase(NamedTuple):
    """One node."""

    address: str
    now_ms: int
    facts: NodeFacts | None
    """None if no such node is registered."""
    past: Past | None
    """None if it was never seen."""
    network: NetworkFacts
    rules: Rules
    check_in_ms: int
    """From one check-in of an agent to the next."""
    patience_ms: int
    claims: Mapping[str, str] = {}
    """What each service says that its state is, where they contradict each other."""
    proven: Proven | None = None
    """What is proven of it; None without a genesis file, and before a list is verified."""
    proves: bool = False
    """Whether there is a genesis file to prove anything from."""
    witness: str = ""
    """URL of the service whose word on its agent counts; empty where only one is asked."""

    @property
    def failure(self) -> Verdict | None:
        """The newest verdict, if it failed and is too new for its faults to be mended for sure."""
        newest = None if self.facts is None else self.facts.newest_failure
        is_old = newest is not None and newest.epoch + FAULT_EPOCHS < self.network.epoch
        return None if is_old else newest

    @property
    def last_hour_ms(self) -> int:
        """How much time before a deregistration counts as the last of it.

        An hour, or a twentieth of the most credit if that is less, but never less than two epochs.
        """
        most = self.rules.value_of("credit_most_ms")
        share = HOUR if most is None else most // LAST_SHARE
        return max(2 * self.network.epoch_ms, min(HOUR, share))

    @property
    def is_proven(self) -> bool | None:
        """Whether the state shown is proven; None if it is neither proven nor disproven yet."""
        if self.proven is None:
            return None
        shown = ("", 0) if self.facts is None else (self.facts.state, self.facts.life)
        proven = (self.proven.state, self.proven.life if self.proven.state else 0)
        if shown == proven:
            return True
        # what began after the header that proves is no lie yet
        is_newer = self.facts is None or self.facts.since_height > self.proven.height
        return None if is_newer else False


class NetworkCase(NamedTuple):
    """The network as a whole."""

    now_ms: int
    network: NetworkFacts
    rules: Rules
    versions: Versions
    list_epochs: int


class ServiceCase(NamedTuple):
    """One service."""

    url: str
    now_ms: int
    answer: Seen | Failed
    failing_from_ms: int | None
    patience_ms: int
    newest_ms: int
    """Time of the newest block that any service shows; 0 if none does."""
    genesis_hash: str
    """Of the network that is watched."""


class ProgramCase(NamedTuple):
    """This program."""

    now_ms: int
    blind_from_ms: int | None
    """Since when no service of the network gives an answer of use."""
    patience_ms: int
    refused: str
    """Code of what is wrong with the lists from which states are proven; empty if nothing is."""
    heartbeat_ms: int
    nodes: Sequence[NodeFacts]
    active: int
    """Warnings that are due now, without news."""
    chain: str


Case: TypeAlias = NodeCase | NetworkCase | ServiceCase | ProgramCase


def behind_ms(network: NetworkFacts) -> int:
    """Return by how much a block may be late."""
    return max(BEHIND_MS, BEHIND_BLOCKS * network.block_ms)


def remember(case: NodeCase) -> Past | None:
    """Return what is remembered of a node after a look at it."""
    facts, past, now_ms = case.facts, case.past, case.now_ms
    if facts is None and past is None:
        return None
    ended, refunded = (past.ended_life, past.was_refunded) if past else (0, False)
    if past is not None and past.life > ended and (facts is None or facts.life > past.life):
        ended, refunded = past.life, past.state in UNFUNDED
    if facts is None:
        assert past is not None
        return msgspec.structs.replace(
            past, ended_life=ended, was_refunded=refunded, waits_from_ms=None, **_doubts(case)
        )
    seen = [past.check_in_ms if past else None, facts.checked_in_ms]
    waits = past.waits_from_ms if past else None
    is_due = facts.state in TESTED and facts.checked_in_ms is None
    return Past(
        life=facts.life,
        state=facts.state,
        operator=facts.operator,
        stake=int(facts.staked) + int(facts.claimable),
        check_in_ms=max((ms for ms in seen if ms is not None), default=None),
        waits_from_ms=(now_ms if waits is None else waits) if is_due else None,
        agent_faults=_newest_faults(facts, past),
        ended_life=ended,
        was_refunded=refunded,
        failing=_find_run(facts, past),
        **_doubts(case),
    )


def _find_run(facts: NodeFacts, past: Past | None) -> tuple[int, int]:
    """Return first and last epoch of the run of failing verdicts that goes on; zeros if none does.

    Services show the newest verdicts only: where it began before these is remembered.
    """
    newest = facts.newest_failure
    if newest is None:
        return 0, 0
    first = newest.epoch
    for verdict in facts.verdicts:
        if not verdict.failed or verdict.epoch + FAULT_EPOCHS < first:
            break
        first = min(first, verdict.epoch)
    known = past.failing if past is not None and past.life == facts.life else (0, 0)
    return min(first, known[0]) if known[1] >= first else first, newest.epoch


def _newest_faults(facts: NodeFacts, past: Past | None) -> tuple[str, ...]:
    """Return what the agent saw last, also where the service that knew it was started anew."""
    if facts.agent_faults is not None:
        return facts.agent_faults
    return past.agent_faults if past is not None and past.life == facts.life else ()


def _doubts(case: NodeCase) -> dict[str, int | None]:
    past = case.past
    doubted = past.doubted_from_ms if past else None
    disputed = past.disputed_from_ms if past else None
    # without a proof nothing was learnt about it
    was_doubted = doubted is not None
    is_doubted = was_doubted if case.proven is None else case.is_proven is not True
    return {
        "doubted_from_ms": (doubted or case.now_ms) if is_doubted else None,
        "disputed_from_ms": (disputed or case.now_ms) if case.claims else None,
    }
