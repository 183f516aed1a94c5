"""What orders blocks, and who attests.

solo       one producer: a timer, its pool, its seal
follow     blocks from other nodes, every one executed and checked here
comet/     blocks that validators agree on, each with a CometBFT beside it
local      what engines share that take submissions themselves
refill     brings an older copy of a producer's database up to date
attestor   signs each header that this replica made itself
"""

from typing import Final

from ledger.errors import Fault
from ledger.messages.genesis import COMET, ENGINES, SOLO, Genesis

FITTING: Final = {SOLO: ("solo", "follow"), COMET: ("comet",)}
"""Engines with which a node takes part in a network of each of these."""


class WrongEngine(Fault):
    """A node cannot take part in its network with the engine that it is told."""


def check_engine(genesis: Genesis, engine: str) -> None:
    """Check that a node can take part in a network with an engine. Raises `WrongEngine`."""
    fitting = FITTING[genesis.engine]
    if engine not in fitting:
        raise WrongEngine(
            f"the network {genesis.name.decode()} is one of the engine {ENGINES[genesis.engine]}: "
            f"a node takes part in it with the engine {' or '.join(fitting)}, not with {engine}"
        )
