"""One node's status in words, as the command line prints it and a page shows it: its card."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from ledger.messages.state import GONE, NODE_STATES
from registry.amounts import format_amount, format_duration, format_share, format_time

PAST: Final = frozenset(NODE_STATES[state] for state in GONE)
"""States of nodes whose duty has ended."""


class Fact(NamedTuple):
    """A line of the card: what it is about, maybe a link to somebody, and the rest in words."""

    name: str
    text: str
    link: str = ""
    """The address of an account or a node, which stands before the text."""


class Group(NamedTuple):
    """Lines that belong together, under a heading."""

    title: str
    facts: Sequence[Fact]


def make_card(node: dict[str, Any], now_ms: int) -> list[Group]:
    """Return the card of a node, the answer to the query `node`, in groups; none is empty.

    Times that are to come stand beside how far that is from now.
    """
    groups = [
        Group("Now", [*_now(node), *_agent(node, now_ms)]),
        Group("Stake", list(_funding(node, now_ms))),
        Group("Duty", list(_duty(node))),
        Group("Rewards", list(_rewards(node["rewards"], now_ms))),
        Group("Leaving", list(_leaving(node, now_ms))),
        Group("Where it is reached", list(_reached(node))),
    ]
    return [group for group in groups if group.facts]


def _now(node: dict[str, Any]) -> Iterator[Fact]:
    yield Fact("state", f"{node['state']} since {format_time(node['since_ms'])}")
    yield Fact("next step", node["next_step"])
    yield Fact("life", str(node["life"]))
    yield Fact("operator", "", node["operator"])
    yield Fact("fee", format_share(node["fee"]))


def _agent(node: dict[str, Any], now_ms: int) -> Iterator[Fact]:
    if node["state"] in PAST:
        return
    if node["checked_in_ms"] is None:
        yield Fact("agent", "has not checked in with this service")
        return
    ago = format_duration(max(0, now_ms - node["checked_in_ms"]))
    version = ".".join(map(str, node["agent_version"]))
    faults = ", ".join(node["agent_faults"]) or "nothing wrong"
    yield Fact("agent", f"{version}, checked in {ago} ago, sees of itself: {faults}")


def _funding(node: dict[str, Any], now_ms: int) -> Iterator[Fact]:
    yield Fact("stake", f"{_coins(node['staked'])} of {_coins(node['requirement'])}")
    is_open = int(node["open"]) > 0
    more = f"{_coins(node['open'])}, {node['open_places']} more accounts"
    yield Fact("open", more if is_open else "nothing")
    for name, shares in (("contributor", "contributions"), ("reserved for", "reserved")):
        for share in node[shares]:
            yield Fact(name, _coins(share["amount"]), share["account"])
    if node["reserved_until_ms"] is not None:
        yield Fact("reserved until", _foretell(node["reserved_until_ms"], now_ms))
    if int(node["penalties_taken"]):
        yield Fact("penalties", f"took {_coins(node['penalties_taken'])}")
    if node["queue_position"] is not None:
        yield Fact("queue", f"place {node['queue_position']}")


def _duty(node: dict[str, Any]) -> Iterator[Fact]:
    if node["credit_hours"] is not None:
        yield Fact("credit", f"{node['credit_hours']} h")
    removal = node["removal"]
    if removal is not None:
        yield Fact(
            removal["threat"],
            f"after {removal['failing_epochs_left']} more failing epochs, in "
            f"{format_duration(removal['time_left_ms'])} at the earliest "
            f"({removal['failing_epochs']} of {removal['failing_epochs_needed']} so far)",
        )
        if removal["returns_after_epoch"] is not None:
            back = f"after epoch {removal['returns_after_epoch']}, if nothing fails it again"
            yield Fact("back", back)
    if node["testers"]:
        yield Fact("tested by", f"{len(node['testers'])} nodes in this epoch")
    if node["tests"]:
        yield Fact("has to test", f"{len(node['tests'])} nodes in this epoch")
    taken = node["participation"]
    if taken["drawn"]:
        verdicts = f"{taken['voted']} of {taken['drawn']} verdicts of {taken['epochs']} epochs"
        yield Fact("voted", f"in {verdicts}")
    if taken["headers"] is not None:
        yield Fact("signed", f"{taken['signed']} of {taken['headers']} headers")


def _rewards(rewards: dict[str, Any], now_ms: int) -> Iterator[Fact]:
    if rewards["earning"]:
        yield Fact("earns", f"{_coins(rewards['per_epoch'])} an epoch now")
    elif rewards["earns_from_ms"] is not None:
        start = _foretell(rewards["earns_from_ms"], now_ms)
        yield Fact("earns", f"nothing now; from {start} on while active")
    if int(rewards["period_total"]):
        yield Fact("earned", _coins(rewards["period_total"]))
    for share in rewards["contributors"]:
        if int(share["claimable"]):
            yield Fact("claimable", _coins(share["claimable"]), share["beneficiary"])


def _leaving(node: dict[str, Any], now_ms: int) -> Iterator[Fact]:
    if node["tombstoned"]:
        yield Fact("tombstone", "its key was slashed and never returns")
    asked_ms = node["contributors_may_ask_from_ms"]
    if node["exit_ms"] is not None:
        place = node["exit_position"]
        behind = "" if place is None else f", place {place} among those"
        yield Fact("leaves", f"not before {_foretell(node['exit_ms'], now_ms)}{behind}")
    elif asked_ms is not None:
        start = _foretell(asked_ms, now_ms)
        yield Fact("may be asked", f"to leave by any contributor from {start} on")
    if node["payout_ms"] is not None:
        yield Fact("payout", f"from {_foretell(node['payout_ms'], now_ms)} on")


def _reached(node: dict[str, Any]) -> Iterator[Fact]:
    yield Fact("contact", _contact(node["contact"]))
    if node["pending_contact"] is not None:
        yield Fact("from next epoch", _contact(node["pending_contact"]))
    yield Fact("swarm", node["swarm"] or "none: only active nodes have one")
    yield Fact("list key", node["list_key"] or "none: it does not attest")


def _contact(contact: dict[str, Any]) -> str:
    addresses = " and ".join(contact[kind] for kind in ("ipv4", "ipv6") if contact[kind])
    storage, router = (
        ".".join(map(str, contact[f"{part}_version"])) for part in ("storage", "router")
    )
    return (
        f"{addresses}, storage {contact['storage_port']} ({storage}), "
        f"router {contact['router_port']} ({router})"
    )


def _foretell(time_ms: int, now_ms: int) -> str:
    """Return a time with how far it is, if it is still to come."""
    shown = format_time(time_ms)
    return f"{shown} (in {format_duration(time_ms - now_ms)})" if time_ms > now_ms else shown


def _coins(units: str) -> str:
    return format_amount(int(units))
