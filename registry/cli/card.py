"""The status of a node as a card to read: what `waypost node status` prints."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from registry.cli.amounts import format_amount, format_duration, format_share, format_time
from registry.cli.http import Contact, Contribution, Node, Units
from registry.cli.output import align

SHOWN: Final = 3
"""Verdicts on a card; `-o json` has all of them."""

GONE: Final = ("exited", "deregistered", "tombstoned")
"""States in which a node has no duty, and needs no agent."""


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
    return align(
        [
            ("node", node.key),
            ("state", f"{node.state} since {format_time(node.since_ms)}"),
            ("next step", node.next_step),
            ("life", str(node.life)),
            ("operator", node.operator),
            ("fee", format_share(node.fee)),
            *_funding(node, now_ms),
            *_agent(node, now_ms),
            *_duty(node),
            *_verdicts(node.verdicts),
            *_rewards(node.rewards, now_ms),
            *_leaving(node, now_ms),
            ("contact", _contact(node.contact)),
            *_pending(node.pending_contact),
            ("swarm", node.swarm or "none: only active nodes have one"),
            ("list key", node.list_key or "none: it does not attest"),
        ]
    )


def _funding(node: NodeStatus, now_ms: int) -> Iterator[tuple[str, str]]:
    staked = format_amount(int(node.staked))
    yield "stake", f"{staked} of {format_amount(int(node.requirement))}"
    is_open = int(node.open) > 0
    more = f"{format_amount(int(node.open))}, {node.open_places} more accounts"
    yield "open", more if is_open else "nothing"
    yield from _shares("contributor", node.contributions)
    yield from _shares("reserved for", node.reserved)
    if node.reserved_until_ms is not None:
        yield "reserved until", _foretell(node.reserved_until_ms, now_ms)
    if int(node.penalties_taken):
        yield "penalties", f"took {format_amount(int(node.penalties_taken))}"
    if node.queue_position is not None:
        yield "queue", f"place {node.queue_position}"


def _shares(name: str, shares: Sequence[Contribution]) -> list[tuple[str, str]]:
    return [(name, f"{share.account} {format_amount(int(share.amount))}") for share in shares]


def _agent(node: NodeStatus, now_ms: int) -> Iterator[tuple[str, str]]:
    if node.state in GONE:
        return
    if node.checked_in_ms is None:
        yield "agent", "has not checked in with this service"
        return
    ago = format_duration(max(0, now_ms - node.checked_in_ms))
    version = ".".join(map(str, node.agent_version or ()))
    faults = ", ".join(node.agent_faults or ()) or "nothing wrong"
    yield "agent", f"{version}, checked in {ago} ago, sees of itself: {faults}"


def _duty(node: NodeStatus) -> Iterator[tuple[str, str]]:
    if node.credit_hours is not None:
        yield "credit", f"{node.credit_hours} h"
    removal = node.removal
    if removal is not None:
        yield (
            removal.threat,
            f"after {removal.failing_epochs_left} more failing epochs, in "
            f"{format_duration(removal.time_left_ms)} at the earliest "
            f"({removal.failing_epochs} of {removal.failing_epochs_needed} so far)",
        )
        if removal.returns_after_epoch is not None:
            yield "back", f"after epoch {removal.returns_after_epoch}, if nothing fails it again"
    if node.testers:
        yield "tested by", f"{len(node.testers)} nodes in this epoch"
    if node.tests:
        yield "has to test", f"{len(node.tests)} nodes in this epoch"
    taken = node.participation
    if taken.drawn:
        yield "voted", f"in {taken.voted} of {taken.drawn} verdicts of {taken.epochs} epochs"
    if taken.headers is not None:
        yield "signed", f"{taken.signed} of {taken.headers} headers"


def _verdicts(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, str]]:
    for verdict in verdicts[:SHOWN]:
        found = f"failed: {', '.join(verdict.faults)}" if verdict.failed else "passed"
        silent = f"; {len(verdict.silent)} silent" if verdict.silent else ""
        yield f"epoch {verdict.epoch}", f"{found} ({len(verdict.votes)} votes{silent})"


def _rewards(rewards: Rewards, now_ms: int) -> Iterator[tuple[str, str]]:
    if rewards.earning:
        yield "earns", f"{format_amount(int(rewards.per_epoch))} an epoch now"
    elif rewards.earns_from_ms is not None:
        start = _foretell(rewards.earns_from_ms, now_ms)
        yield "earns", f"nothing now; from {start} on while active"
    if int(rewards.period_total):
        yield "earned", format_amount(int(rewards.period_total))
    for share in rewards.contributors:
        if int(share.claimable):
            yield "claimable", f"{share.beneficiary} {format_amount(int(share.claimable))}"


def _leaving(node: NodeStatus, now_ms: int) -> Iterator[tuple[str, str]]:
    if node.tombstoned:
        yield "tombstone", "its key was slashed and never returns"
    if node.exit_ms is not None:
        place = "" if node.exit_position is None else f", place {node.exit_position} among those"
        yield "leaves", f"not before {_foretell(node.exit_ms, now_ms)}{place}"
    elif node.contributors_may_ask_from_ms is not None:
        start = _foretell(node.contributors_may_ask_from_ms, now_ms)
        yield "may be asked", f"to leave by any contributor from {start} on"
    if node.payout_ms is not None:
        yield "payout", f"from {_foretell(node.payout_ms, now_ms)} on"


def _foretell(time_ms: int, now_ms: int) -> str:
    """Return a time with how far it is, if it is still to come."""
    shown = format_time(time_ms)
    return f"{shown} (in {format_duration(time_ms - now_ms)})" if time_ms > now_ms else shown


def _pending(contact: Contact | None) -> Iterator[tuple[str, str]]:
    if contact is not None:
        yield "from next epoch", _contact(contact)


def _contact(contact: Contact) -> str:
    def version(parts: tuple[int, int, int]) -> str:
        return ".".join(map(str, parts))

    addresses = " and ".join(address for address in (contact.ipv4, contact.ipv6) if address)
    return (
        f"{addresses}, storage {contact.storage_port} ({version(contact.storage_version)}), "
        f"router {contact.router_port} ({version(contact.router_version)})"
    )
