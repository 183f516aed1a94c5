"""What the ledger process pushes to the web process after each commit: all that it needs to serve
lists, the network's summary, nodes for the Session network and events without asking anybody.

    nodes    `PushedNodes`: rows that changed; to a new subscriber all of them
    view     `PushedView`: the height that they belong to, which follows them
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from ledger.types import Key
from registry.formats.session import SessionNode

MAX_PUSHED_ROWS: Final = 2_000
"""In one push: about 2 MB."""


class NodeRow(SessionNode, frozen=True):
    """A node with what the explorer shows of it besides."""

    state: str
    """A name in `NODE_STATES`."""
    life: int
    since_ms: int
    """Block time at which it entered that state."""
    reserved: list[int]
    """Atomic units of each place that is kept for an account."""
    reserved_until_ms: int
    """Block time up to which they are kept."""


class PushedNodes(msgspec.Struct, frozen=True):
    """Nodes that changed, or a piece of all nodes."""

    first: bool
    """Whether to forget all rows known before."""
    rows: Sequence[NodeRow]
    """New or changed."""
    removed: Sequence[str]
    """Keys of nodes that are not shown any more, as hex."""


def cut_nodes(
    rows: Sequence[NodeRow], removed: Sequence[Key] = (), *, first: bool = False
) -> Iterator[PushedNodes]:
    """Yield the pushes of these rows, at least one, each of `MAX_PUSHED_ROWS` at most."""
    gone = [key.hex() for key in removed]
    for start in range(0, max(1, len(rows)), MAX_PUSHED_ROWS):
        piece = rows[start : start + MAX_PUSHED_ROWS]
        yield PushedNodes(first and not start, piece, [] if start else gone)


class PublishedList(msgspec.Struct, frozen=True):
    """One epoch's list, ready to be served."""

    epoch: int
    header: bytes
    """The signed header, with the signatures known so far."""
    is_final: bool
    is_frozen: bool
    """Whether no signature can be added any more."""
    full: bytes
    """The file in the format `full`."""


class Event(msgspec.Struct, frozen=True):
    """Something that happened at `height`."""

    event: str
    """`block`, `epoch` or `list_final`."""
    height: int
    data: dict[str, Any]


class PushedView(msgspec.Struct, frozen=True):
    """One committed height as the web process sees it."""

    height: int
    time_ms: int
    root: str
    block_hash: str
    """Of the newest block, as hex; at height 0 that of the genesis file."""
    epoch: int
    """The running epoch."""
    epoch_ends_ms: int
    """Block time from which on the epoch may end."""
    chain: str
    genesis: bytes
    ready: bool
    """Whether the newest final list is fresh."""
    network: dict[str, Any]
    """The answer to the query `network`."""
    lists: list[PublishedList]
    """By ascending epoch: the newest, the newest final one, and some before them."""
    latest: int | None
    """Epoch of the newest final list."""
    events: list[Event]
    """Since the view before."""
    votes_held: int = 0
    """Votes that wait for their verdict."""
    verdicts_made: int = 0
    """Verdicts made of votes since the ledger process started."""
