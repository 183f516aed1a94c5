"""The status of a node as a card to read: what `waypost node status` prints."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from registry.card import make_card
from registry.cli.http import Node, Units
from registry.cli.output import align

SHOWN: Final = 3
"""Verdicts on a card; `-o json` has all of them."""


class Vote(msgspec.Struct):
    """A vote that a verdict carries."""

    tester: str
    faults: list[str]


class Verdict(msgspec.Struct):
    """What testers found of a node in an epoch."""

    epoch: int
    failed: bool
    faults: list[str]
    votes: list[Vote]
    silent: list[str]


class Removal(msgspec.Struct):
    """How far a node is from being taken off duty."""

    threat: str
    failing_epochs: int
    failing_epochs_needed: int
    failing_epochs_left: int
    time_left_ms: int
    returns_after_epoch: int | None


class Share(msgspec.Struct):
    """What one contributor gets of the rewards."""

    account: str
    beneficiary: str
    per_epoch: Units
    claimable: Units


class Rewards(msgspec.Struct):
    """What a node earns."""

    earning: bool
    earns_from_ms: int | None
    per_epoch: Units
    period_total: Units
    claimable: Units
    contributors: list[Share]


class Participation(msgspec.Struct):
    """How a node took part."""

    epochs: int
    drawn: int
    voted: int
    headers: int | None
    signed: int | None


class NodeStatus(Node):
    """Everything about a node."""

    activated_ms: int | None
    credit_hours: str | None
    penalties_taken: Units
    tombstoned: bool
    removal: Removal | None
    verdicts: list[Verdict]
    testers: list[str]
    tests: list[str]
    rewards: Rewards
    exit_position: int | None
    contributors_may_ask_from_ms: int | None
    participation: Participation
    checked_in_ms: int | None = None
    """Null where no check-in came since the service started."""
    agent_version: tuple[int, int, int] | None = None
    agent_faults: list[str] | None = None


def format_card(node: NodeStatus, now_ms: int) -> str:
    """Return the card; times that are to come stand beside how far that is from now."""
    lines = [("node", node.key)]
    for group in make_card(msgspec.to_builtins(node), now_ms):
        lines += [(fact.name, f"{fact.link} {fact.text}".strip()) for fact in group.facts]
        if group.title == "Duty":
            lines += _verdicts(node.verdicts)
    return align(lines)


def _verdicts(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, str]]:
    for verdict in verdicts[:SHOWN]:
        found = f"failed: {', '.join(verdict.faults)}" if verdict.failed else "passed"
        silent = f"; {len(verdict.silent)} silent" if verdict.silent else ""
        yield f"epoch {verdict.epoch}", f"{found} ({len(verdict.votes)} votes{silent})"
