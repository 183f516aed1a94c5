"""What the steps of an epoch's end hand to each other."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from msgspec.structs import replace

from ledger.messages.state import Due, Node
from ledger.messages.tables import Table
from ledger.params import Params
from ledger.state import State, due_key
from ledger.types import Epoch, Hash, Height, Key, TimeMs

PAUSE_RECORDS: Final = 500
"""Records that are changed between two pauses: some milliseconds of work."""

PAUSE_LOOKS: Final = 2_000
"""Records that are looked at between two pauses."""

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
    swarm_of: Mapping[Key, int] = field(default_factory=dict)
    """From `apply_swarms` on: the swarm of each active node, by ascending key."""

    def enter(self, node: Node, into: int) -> Node:
        """Return a node that enters another state at this end."""
        return replace(node, state=into, since_ms=self.time_ms, since_height=self.height)


def collect_due(
    state: State, table: Table[Due], time_ms: TimeMs
) -> Generator[None, None, list[tuple[bytes, Due]]]:
    """Return what of a queue is due, by ascending time and node key; with pauses."""
    end = due_key(time_ms + 1, b"")
    due: list[tuple[bytes, Due]] = []
    for place, row in state.items(table):
        if place >= end:
            break
        due.append((place, row))
        if len(due) % PAUSE_LOOKS == 0:
            yield
    return due
