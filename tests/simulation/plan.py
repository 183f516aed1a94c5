"""What is simulated: the network, who lives in it, and when what happens. A seed decides the rest.

The network is the mainnet preset with epochs of one hour and one block each, under the engine
`COMET`, so that blocks can carry what validators did wrong. Attestors order their set, or nodes
take their turns, as a plan says. A shorter run has the same events, only nearer to each other.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from ledger.messages.genesis import FIXED, REGISTRY
from ledger.params import DAY, HOUR, Params, preset
from ledger.types import COIN

YEAR: Final = 8_760
"""Epochs of a year."""

FULL: Final = 320
"""Nodes for which the table of groups stands."""

SHARES: Final = (5, 10, 20, 33)
"""Parts of all nodes that collude, in percent: one for each quarter of the run."""

START_MS: Final = 1_700_000_000_000
RICH: Final = 10_000_000 * COIN
POOL: Final = 40_000_000 * COIN
CHANGES: Final = {"block_ms": HOUR, "epoch_ms": HOUR, "attest_blocks": 1}
"""What differs from the mainnet preset."""

BRISK: Final = {
    "valid_ms": DAY, "trust_ms": 2 * DAY, "report_margin_ms": 12 * HOUR, "evidence_ms": 3 * DAY,
    "unbonding_ms": 4 * DAY, "lock_ms": 8 * DAY, "set_change_ms": DAY, "grace_ms": 12 * HOUR,
    "contributor_wait_ms": 2 * DAY, "founders_until": 4, "absences_most": 6,
}  # fmt: skip
"""What differs besides in a short run, so that nodes leave and come back in it."""


class Violation(Exception):
    """Something does not hold."""


def require(holds: object, why: str) -> None:
    """Raise `Violation` unless something holds."""
    if not holds:
        raise Violation(why)


class Group(NamedTuple):
    """Nodes that behave alike."""

    name: str
    nodes: int
    """Of `FULL`."""
    each: int
    """Nodes of one operator."""
    outage: float
    """Chance that a node which is up goes down, in an epoch."""
    hours: tuple[int, int]
    """Shortest and longest time for which it is then down."""
    meaning: str


HONEST: Final = "honest"
BESIEGED: Final = "besieged"
FLAPPING: Final = "flapping"
LAZY: Final = "lazy"
EQUIVOCATING: Final = "equivocating"
LEAVING: Final = "leaving"
COLLUDING: Final = "colluding"

GROUPS: Final = (
    Group(HONEST, 96, 3, 1 / 1_500, (1, 6), "is up, tests, votes as it saw"),
    Group(BESIEGED, 6, 1, 1 / 150, (2, 5), "honest; the adversary has 13 of its 20 testers"),
    Group(FLAPPING, 24, 2, 1 / 72, (1, 60), "honest, and often down for hours or days"),
    Group(LAZY, 24, 4, 1 / 1_500, (1, 6), "is up, and never votes"),
    Group(EQUIVOCATING, 32, 2, 1 / 1_500, (1, 6), "signs both ways: votes, headers, blocks"),
    Group(LEAVING, 32, 2, 1 / 1_500, (1, 6), "honest; leaves, and comes back with contributors"),
    Group(COLLUDING, 106, 7, 1 / 1_500, (1, 6), "fails healthy nodes where it can, or is silent"),
)
"""Everybody who runs nodes. Colluders that do not collude yet are honest."""

LATECOMERS: Final = 10
"""One node in so many is not among the founders."""

CONTRIBUTORS: Final = tuple(f"contributor {number}" for number in range(24))
WATCHERS: Final = tuple(f"watcher {number}" for number in range(4))
ATTESTORS: Final = tuple(f"attestor {number}" for number in range(5))
RECOVERY: Final = tuple(f"recovery {number}" for number in range(3))
SEAT_WEIGHT: Final = 1


@dataclass(frozen=True)
class Plan:
    """One run."""

    seed: int
    nodes: int = FULL
    """Nodes, about; each group has two at least."""
    epochs: int = YEAR
    share: int | None = None
    """Part of all nodes that collude, in percent, for the whole run; None takes `SHARES`."""
    crashes: int = 60
    """Deaths of the process, about."""
    operations: int = 4
    """What is drawn for each block, beside everybody's duties."""
    quorum: tuple[int, int] = (20, 14)
    """Testers of a node, and how many of them make a verdict."""
    is_brisk: bool = False
    """Whether nodes leave and come back within days."""
    audit_epochs: int = 24
    """From one check of all invariants to the next."""
    takes_turns: bool = False
    """Whether the registry fills the attestors' seats."""

    @property
    def policy(self) -> int:
        """How the set of attestors changes."""
        return REGISTRY if self.takes_turns else FIXED

    @cached_property
    def params(self) -> Params:
        """Parameters of the genesis file."""
        testers, threshold = self.quorum
        quorum = {"quorum_testers": testers, "quorum_threshold": threshold}
        return preset("mainnet", CHANGES | quorum | (BRISK if self.is_brisk else {}))

    @property
    def besiegers(self) -> int:
        """Testers of a besieged node that are the adversary's: one fewer than make a verdict."""
        return self.quorum[1] - 1

    @property
    def haste(self) -> float:
        """How much more often things happen in an epoch than in a run of a year."""
        return YEAR / self.epochs

    @property
    def bug(self) -> range:
        """Epochs in which a bug fails every node at once: within the second quarter."""
        length = min(36, self.epochs // 12)
        begin = self.epochs * 3 // 8
        return range(begin, begin + length)

    def count(self, group: Group) -> int:
        """How many nodes a group has."""
        return max(2, group.nodes * self.nodes // FULL)

    def quarter(self, epoch: int) -> int:
        """The quarter of an epoch, 0 to 3."""
        return min(3, (epoch - 1) * len(SHARES) // self.epochs)

    def share_in(self, epoch: int) -> int:
        """Part of all nodes that collude in an epoch, in percent."""
        return SHARES[self.quarter(epoch)] if self.share is None else self.share
