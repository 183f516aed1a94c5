"""What a node's own programs ask, for people: three commands of `waypost node`."""

from collections.abc import Iterator
from typing import Annotated, Final, TypeAlias

import msgspec
import typer

from registry.amounts import format_amount, format_time
from registry.cli.arguments import ADDRESS, parse_node
from registry.cli.http import DEFAULT_URL, Contact, Units, UrlOption
from registry.cli.output import Output, OutputOption, Table, align, emit, refusals

MOST_EPOCHS: Final = 336

NodeArgument: TypeAlias = Annotated[
    bytes,
    typer.Argument(
        parser=parse_node, metavar=ADDRESS, help="Address of the node.", show_default=False
    ),
]


class Member(msgspec.Struct):
    """A node of a swarm."""

    node: str
    contact: Contact


class Test(msgspec.Struct):
    """A node that is to be tested."""

    node: str
    state: str
    contact: Contact
    judged: bool


class Duties(msgspec.Struct):
    """What a node has to do."""

    epoch: int
    epoch_ends_ms: int
    testers_needed: int
    tests: list[Test]
    testers: list[str]
    swarm: str | None
    members: list[Member]


class Change(msgspec.Struct):
    """What an epoch brought for a node's swarm."""

    epoch: int
    swarm: str | None
    entered: bool
    joined: list[str]
    left: list[str]
    dissolved: bool
    moved_from: str | None
    owners: list[str]


class Feed(msgspec.Struct):
    """A node's swarm, and how it changed."""

    epoch: int
    swarm: str | None
    members: list[Member]
    since: int
    changes: list[Change]
    gap: bool


class PastEpoch(msgspec.Struct):
    """How a node fared in an epoch."""

    epoch: int
    ended_ms: int
    verdict: str
    faults: list[str]
    reward: Units | None


class History(msgspec.Struct):
    """How a node fared, epoch by epoch."""

    epochs: list[PastEpoch]


def duties(
    node: NodeArgument, url: UrlOption = DEFAULT_URL, output: OutputOption = Output.TEXT
) -> None:
    """Show whom a node tests in the running epoch, who tests it, and its swarm."""
    from registry.addresses import encode_node
    from registry.cli.http import Service, convert

    with refusals(), Service(url) as service:
        answer = service.get(f"/v1/nodes/{encode_node(node)}/duties")
        known = convert(answer, Duties)
        emit(answer, output, lambda: align([*_list_duties(known)]))


def _list_duties(known: Duties) -> Iterator[tuple[str, str]]:
    yield "epoch", f"{known.epoch}, until {format_time(known.epoch_ends_ms)} at least"
    for test in known.tests:
        done = ", judged" if test.judged else ""
        yield "has to test", f"{test.node} {_reach(test.contact)} {test.state}{done}"
    if not known.tests:
        yield "has to test", "nobody"
    for tester in known.testers:
        yield "tested by", tester
    if not known.testers:
        yield "tested by", "nobody"
    yield "votes", f"{known.testers_needed} make a verdict"
    yield from _list_members(known.swarm, known.members)


def _list_members(swarm: str | None, members: list[Member]) -> Iterator[tuple[str, str]]:
    yield "swarm", swarm or "none: only active nodes have one"
    for member in members:
        yield "member", f"{member.node} {_reach(member.contact)}"


def _reach(contact: Contact) -> str:
    """Return where a storage server is reached."""
    hosts = (contact.ipv4, contact.ipv6 and f"[{contact.ipv6}]")
    return " ".join(f"{host}:{contact.storage_port}" for host in hosts if host)


def swarm(
    node: NodeArgument,
    since: Annotated[
        int | None, typer.Option(min=0, metavar="EPOCH", help="Show changes after this epoch.")
    ] = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show who is in a node's swarm, and how that changed: who needs what data."""
    from registry.addresses import encode_node
    from registry.cli.http import Service, convert

    with refusals(), Service(url) as service:
        asked = {} if since is None else {"since": since}
        answer = service.get(f"/v1/nodes/{encode_node(node)}/swarm", **asked)
        known = convert(answer, Feed)
        emit(answer, output, lambda: align([*_list_feed(known)]))


def _list_feed(known: Feed) -> Iterator[tuple[str, str]]:
    yield "epoch", str(known.epoch)
    yield from _list_members(known.swarm, known.members)
    for change in known.changes:
        for line in _list_change(change):
            yield f"epoch {change.epoch}", line
    if known.gap:
        yield "gap", f"not all that happened since epoch {known.since} is known here"


def _list_change(change: Change) -> Iterator[str]:
    if change.moved_from is not None:
        why = ", which is no more" if change.dissolved else ""
        yield f"left the swarm {change.moved_from}{why}"
    if change.entered:
        yield f"came into the swarm {change.swarm}"
    for node in change.joined:
        yield f"joined by {node}"
    for node in change.left:
        yield f"left by {node}"
    for owner in change.owners:
        yield f"accounts went to the swarm {owner}"


def history(
    node: NodeArgument,
    epochs: Annotated[
        int, typer.Option(min=1, max=MOST_EPOCHS, help="Newest epochs that are shown.")
    ] = 48,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the verdicts on a node and what it was paid, epoch by epoch."""
    from registry.addresses import encode_node
    from registry.cli.http import Service, convert

    with refusals(), Service(url) as service:
        answer = service.get(f"/v1/nodes/{encode_node(node)}/history", epochs=epochs)
        known = convert(answer, History)
        emit(answer, output, lambda: _tabulate(known))


def _tabulate(known: History) -> Table:
    rows = [
        (
            str(row.epoch),
            format_time(row.ended_ms),
            ": ".join(part for part in (row.verdict, ", ".join(row.faults)) if part),
            "not told" if row.reward is None else format_amount(int(row.reward)),
        )
        for row in known.epochs
    ]
    return Table(("epoch", "ended", "verdict", "reward"), rows)
