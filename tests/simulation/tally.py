"""What is counted: by group of nodes, by share of colluders, and over the whole run."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from ledger.types import Amount


@dataclass
class GroupTally:
    """What happened to one group."""

    nodes: int = 0
    """Keys that were in it, those that came for tombstoned ones included."""
    duty: int = 0
    """Node-epochs on duty."""
    out: int = 0
    """Node-epochs on duty in which the node did not work."""
    down: int = 0
    """Node-epochs for which a node was decommissioned."""
    held: int = 0
    """Most epochs running for which a healthy node was held down and nobody failed it."""
    decommissions: Counter[str] = field(default_factory=Counter)
    """By reason: `down`, `captured`, `bug`."""
    deregistrations: Counter[str] = field(default_factory=Counter)
    exits: int = 0
    tombstones: int = 0
    payouts: int = 0
    payout_ms: int = 0
    """From the end of duty to the payout, all together."""
    soonest_ms: int = 2**62
    """Shortest of them."""
    rewards: Amount = 0
    penalties: Amount = 0


@dataclass
class ShareTally:
    """How verdicts fared while colluders had one share of the nodes."""

    epochs: int = 0
    colluding: int = 0
    """Node-epochs of colluders among those that may test."""
    roster: int = 0
    """Node-epochs of all that may test."""
    healthy: int = 0
    """Node-epochs of healthy nodes that were attacked: quorums that might be captured."""
    captures: int = 0
    expected_captures: float = 0.0
    runs: int = 0
    """Nodes captured for two epochs running."""
    expected_runs: float = 0.0
    out: int = 0
    """Node-epochs of nodes that did not work and that honest testers were to fail."""
    failed: int = 0
    expected_failed: float = 0.0
    honest: int = 0
    """Node-epochs on duty of all that do not collude."""
    wrong_decommissions: int = 0
    """Of nodes that were healthy in one of the two epochs, or in both."""
    expected_wrongs: float = 0.0
    wrong_deregistrations: int = 0


@dataclass
class Tally:
    """The counts of a run."""

    groups: defaultdict[str, GroupTally] = field(default_factory=lambda: defaultdict(GroupTally))
    shares: defaultdict[int, ShareTally] = field(default_factory=lambda: defaultdict(ShareTally))
    applied: Counter[str] = field(default_factory=Counter)
    """Transactions by kind."""
    offences: Counter[str] = field(default_factory=Counter)
    """Punished ones by name."""
    refused: Counter[str] = field(default_factory=Counter)
    """Transactions by `kind: code`."""
    crashes: Counter[str] = field(default_factory=Counter)
    """Deaths by the point at which they came."""
    set_changes: int = 0
    """Sets that took over."""
    bold_changes: int = 0
    """Those, from four seats on, of which a third or more was new without recovery keys."""
    seats_taken: int = 0
    """Seats announced for nodes whose turn it was."""
    unfit_seats: int = 0
    """Those whose node was off duty, or lacked a key, or had lost stake."""
    lost_seats: int = 0
    """Seats of nodes off duty, barred or missing, that went."""
    passed_over: int = 0
    """Changes at which a lost seat had to go and none did."""
    supply_checks: int = 0
    audits: int = 0
    smallest_list: int = 2**31
    bug_start: int = 0
    """Nodes of the list when the bug began."""
    bug_left: int = 0
    """Nodes that have left since by themselves, or were slashed."""
    bug_lowest: int = 2**31
    """Fewest nodes of a list in the time of the bug, those that left by themselves added."""
    bug_failed: int = 0
    """Failing verdicts for healthy nodes in that time."""

    def group(self, name: str) -> GroupTally:
        """Return the counts of a group."""
        return self.groups[name]

    def share(self, percent: int) -> ShareTally:
        """Return the counts of a share of colluders."""
        return self.shares[percent]
