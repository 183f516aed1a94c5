"""What orders blocks, and who attests.

solo       one producer: a timer, its pool, its seal
follow     blocks from other nodes, every one executed and checked here
refill     brings an older copy of a producer's database up to date
attestor   signs each header that this replica made itself
"""

from typing import Final

from ledger.errors import Fault
from ledger.messages.genesis import COMET, SOLO, Genesis

ENGINES: Final = {SOLO: "solo", COMET: "comet"}
"""Name of each engine that a genesis file may ask for."""


class EngineMissing(Fault):
    """A network needs an engine that this version does not have."""


def check_engine(genesis: Genesis) -> None:
    """Check that the engine of a network can be run here. Raises `EngineMissing`."""
    if genesis.engine != SOLO:
        name, needed = genesis.name.decode(), ENGINES[genesis.engine]
        raise EngineMissing(
            f"the network {name} needs the engine {needed}, which this version cannot run yet: use "
            f"a version that has it, or a genesis file whose engine is {ENGINES[SOLO]}"
        )
