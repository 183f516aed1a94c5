"""What the steps of an epoch's end hand to each other."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, TypeAlias

from msgspec.structs import replace

from ledger.messages.state import Due, Node
from ledger.messages.tables import Table
from ledger.params import Params
from ledger.state import State, due_key
from ledger.types import Epoch, Hash, Height, Key, TimeMs

PAUSE_RECORDS: Final = 500
"""Records between two pauses: some milliseconds of work."""

Pauses: TypeAlias = Generator[None, None, None]
"""Work that can be interrupted at each `yield`; what runs in between changes no state."""


@dataclass(slots=True)
class Ending:
    """One epoch's end."""

    epoch: Epoch
    """The epoch that ends."""
    height: Height
    time_ms: TimeMs
    params: Params
    """In force in the epoch that ends, up to `apply_params`."""
    seed: Hash
    """Seed of the epoch that ends; from `apply_seed` on that of the next."""
    is_final: bool = False
    """Whether the header that this epoch attested became final."""
    returning: tuple[Key, ...] = ()
    """Decommissioned nodes that come back at this end."""
    newcomers: tuple[Key, ...] = ()
    """Nodes that become active at this end, or at genesis those that have no swarm yet."""

    def enter(self, node: Node, into: int) -> Node:
        """Return a node that enters another state at this end."""
        return replace(node, state=into, since_ms=self.time_ms, since_height=self.height)


def iterate_due(state: State, table: Table[Due], time_ms: TimeMs) -> Iterator[tuple[bytes, Due]]:
    """Yield what of a queue is due, by ascending time and node key."""
    return takewhile(lambda item: item[0] < due_key(time_ms + 1, b""), state.items(table))
