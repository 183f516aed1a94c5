"""What the ledger process pushes to the web process after each commit: all that it needs to serve
lists, the network's summary and events without asking anybody.
"""

from typing import Any

import msgspec


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
