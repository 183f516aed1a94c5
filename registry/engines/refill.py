"""A refill: what a producer served and lost comes back from nodes that followed.

The producer goes on from the newest block that any of them has, so each one that is named has to
say what its newest is. A block that none of them has counts as never served.
"""

import asyncio
from typing import Final

import msgspec
import structlog

from ledger.types import Height
from registry.engines.follow import BadSource, Follow

RETRY_S: Final = 1.0

log = structlog.get_logger()


class _Network(msgspec.Struct):
    """What a node says of its chain."""

    genesis_hash: str
    height: int


class Refill(Follow):
    """Follows the nodes that it is told, up to where they are."""

    async def fetch(self) -> None:
        """Fetch and execute blocks up to the newest that any node has.

        It waits for nodes that do not answer. Raises `Diverged`.
        """
        await self.catch_up(max([await self._newest(source) for source in self._sources]))

    async def _newest(self, source: str) -> Height:
        while True:
            try:
                status, answer = await self._ask("GET", f"{source}/v1/network")
                if status != 200:
                    raise BadSource(f"it answers {status}")
                network = msgspec.json.decode(answer, type=_Network)
                if network.genesis_hash != self._replica.chain.genesis_hash.hex():
                    raise BadSource("it is of another network")
                return network.height
            except (BadSource, ValueError, RecursionError) as error:
                log.warning("source failed", source=source, reason=str(error))
                await asyncio.sleep(RETRY_S)
