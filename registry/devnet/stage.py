"""What happens on a development network, seen through its services: what acts share.

An act is a coroutine that does something to nodes and tells what comes of it. What it tells it
reads from the services, like anybody.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

from ledger.types import COIN, Amount, Epoch
from registry.client.services import ServiceRefused, Services
from registry.client.transport import Unavailable
from registry.devnet.cast import Cast

LOOK_S: Final = 0.5
"""Time from one look to the next."""


class Stage:
    """The services of a network, its cast, and who tells."""

    def __init__(self, cast: Cast, services: Services, tell: Callable[[str], None]) -> None:
        self.cast = cast
        self.services = services
        self.tell = tell
        self._is_tested = asyncio.Event()

    async def get(self, path: str) -> Any:
        """Return an answer, however long it takes to get one; None if there is no such thing."""
        while True:
            try:
                return await self.services.get(path)
            except ServiceRefused:
                return None
            except Unavailable:
                await asyncio.sleep(LOOK_S)

    async def get_epoch(self) -> Epoch:
        """Return the epoch that runs."""
        epoch: Epoch = (await self.get("/v1/network"))["epoch"]
        return epoch

    async def get_node(self, number: int) -> dict[str, Any]:
        """Return what is known of a node; for one whose record is gone, that it has exited."""
        node: dict[str, Any] | None = await self.get(f"/v1/nodes/{self.cast.nodes[number].address}")
        return node or {"state": "exited", "verdicts": [], "duty_key": ""}

    async def choose(self, numbers: Sequence[int], count: int) -> tuple[int, ...]:
        """Return the first `count` of these nodes that are on duty, or all of them if less are."""
        states = [(await self.get_node(number))["state"] for number in numbers]
        active = [n for n, state in zip(numbers, states, strict=True) if state == "active"]
        return tuple(active[:count])

    async def tell_tests(self) -> None:
        """Tell of the first epoch in which each node that is to be tested was, by enough others."""
        while True:
            epoch = await self.get_epoch()
            # that of the epoch before may have come in last
            for looked in (epoch - 1, epoch):
                rows = await self._get_votes(looked)
                if rows and all(map(_is_enough, rows)):
                    self._tell_tests(looked, rows)
                    self._is_tested.set()
                    return
            await asyncio.sleep(LOOK_S)

    async def wait_until_tested(self) -> None:
        """Wait until that was told: whatever happens to nodes from now on, others notice."""
        await self._is_tested.wait()

    async def _get_votes(self, epoch: Epoch) -> list[dict[str, Any]]:
        paths = [f"/v1/verdicts/{epoch}/{node.address}" for node in self.cast.nodes]
        return [row for row in [await self.get(path) for path in paths] if row is not None]

    def _tell_tests(self, epoch: Epoch, rows: Sequence[dict[str, Any]]) -> None:
        passed = sum(row["passes"] >= row["needed"] for row in rows)
        votes = sum(row["passes"] + row["fails"] for row in rows)
        self.tell(
            f"epoch {epoch}: the agents tested each other and cast {votes} votes: "
            f"{passed} of {len(rows)} nodes passed"
        )


def _is_enough(row: dict[str, Any]) -> bool:
    enough: bool = max(row["passes"], row["fails"]) >= row["needed"]
    return enough


def name_nodes(numbers: Iterable[int]) -> str:
    """Return how nodes are told of, such as `nodes 2, 7 and 12`."""
    *most, last = map(str, sorted(numbers))
    return f"nodes {', '.join(most)} and {last}" if most else f"node {last}"


def show_coins(units: Amount | str) -> str:
    """Return an amount in coins."""
    coins = Decimal(units) / COIN
    return f"{coins.normalize():f} {'coin' if coins == 1 else 'coins'}"
