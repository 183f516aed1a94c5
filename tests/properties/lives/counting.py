"""What happened in all lives together, and how often it has to happen at least.

A machine that sends much and reaches little passes every check; so what it reached is counted by
what the ledger did, held to least numbers, and printed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from ledger.errors import REFUSALS
from ledger.messages.state import (
    ACTIVE,
    DECOMMISSIONED,
    DEREGISTERED,
    GONE,
    NODE_STATES,
    Node,
)
from ledger.offences import OFFENCES
from ledger.transactions import TX_KINDS

LEAST: Final[dict[str, dict[str, int]]] = {
    "kinds": {kind.name: 50 for kind in TX_KINDS},
    "offences": {offence.name: 5 for offence in OFFENCES},
    "states": dict.fromkeys(NODE_STATES.values(), 20),
    "events": {
        **{"epoch ends": 500, "payouts": 20, "refunds": 20, "later lives": 5, "came back": 20},
        **{"slashed after leaving": 5, "sets took over": 20, "parameters changed": 20},
        **{"nodes took their turns": 20, "seats missed headers": 20, "validators changed": 20},
        **{"validators changed their keys": 5},
    },
}
"""How often everything has to happen at least."""

CODE_OF: Final = {row.number: code for code, row in REFUSALS.items()}
OFFENCE_OF: Final = {offence.number: offence.name for offence in OFFENCES}


class Tally:
    """Counts in groups."""

    def __init__(self) -> None:
        self.groups: dict[str, Counter[str]] = {
            name: Counter() for name in ("kinds", "offences", "states", "events", "refusals")
        }

    def clear(self) -> None:
        """Begin anew."""
        for row in self.groups.values():
            row.clear()

    def count_transactions(self, kinds: Iterable[str], codes: Iterable[int]) -> None:
        """What was applied, by kind; what was refused, by reason."""
        for kind, code in zip(kinds, codes, strict=True):
            if code:
                self.groups["refusals"][CODE_OF[code]] += 1
            else:
                self.groups["kinds"][kind] += 1

    def count_offences(self, numbers: Iterable[int]) -> None:
        """What was punished."""
        self.groups["offences"].update(OFFENCE_OF[number] for number in numbers)

    def count_nodes(self, before: Mapping[bytes, Node], after: Mapping[bytes, Node]) -> None:
        """Who entered which state, and what else became of nodes."""
        events = self.groups["events"]
        for key, node in after.items():
            was = before.get(key)
            if was is None or was.state != node.state:
                self.groups["states"][NODE_STATES[node.state]] += 1
            if was is None:
                events["later lives"] += node.life > 1
            elif was.state == DECOMMISSIONED and node.state == ACTIVE:
                events["came back"] += 1
            elif was.state in GONE and node.taken > was.taken:
                events["slashed after leaving"] += 1
        for key in before.keys() - after.keys():
            events["payouts" if before[key].state in GONE else "refunds"] += 1
        down = [node for node in after.values() if node.state in (DECOMMISSIONED, DEREGISTERED)]
        events["down at once"] = max(events["down at once"], len(down))

    def count_event(self, name: str, happened: bool) -> None:
        """Something that happened, or did not."""
        self.groups["events"][name] += happened

    def shortfalls(self) -> dict[str, int]:
        """What happened less often than it has to, with how often it did."""
        return {
            f"{group}: {name}": self.groups[group][name]
            for group, row in LEAST.items()
            for name, least in row.items()
            if self.groups[group][name] < least
        }

    def table(self) -> str:
        """What happened, one line for each group."""
        return "\n".join(
            f"{group:9} " + " · ".join(f"{name} {row[name]:,}" for name in sorted(row))
            for group, row in self.groups.items()
        )
