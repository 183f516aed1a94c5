"""`waypost devnet --fail N`: nodes die, are found out and taken off duty, and come back.

Nobody tells the network: testers find nothing at the nodes' addresses. A node that is off duty is
started again at once, before the uptime credit that it had is used up.
"""

import asyncio
from typing import Any, Final

from ledger.types import Epoch
from registry.devnet.crew import Crew
from registry.devnet.stage import LOOK_S, Stage, name_nodes

VICTIMS: Final = (2, 7, 12, 17, 22)
"""Who dies first, and so on: nodes of one place each."""

GONE: Final = ("deregistered", "exited")
"""States from which no node comes back."""


class Failing:
    """So many nodes that die once, and what comes of it."""

    def __init__(self, stage: Stage, crew: Crew, count: int) -> None:
        self._stage = stage
        self._crew = crew
        self._count = count
        self._victims: tuple[int, ...] = ()
        self._dead: set[int] = set()
        self._states: dict[int, str] = {}
        self._judged: dict[int, Epoch] = {}
        """The newest epoch whose verdict was told."""

    async def play(self) -> None:
        """Kill them, tell what happens, and start them again, until each is back or gone."""
        await self._stage.wait_until_tested()
        self._victims = await self._stage.choose(VICTIMS, self._count)
        if not self._victims:
            self._stage.tell("no node is on duty that may die for --fail: start over with --fresh")
            return
        await self._kill()
        left = list(self._victims)
        while left:
            await asyncio.sleep(LOOK_S)
            await self._look(left)
            await self._revive()
            left = [number for number in left if not self._is_over(number)]
        if all(self._states[number] == "active" for number in self._victims):
            self._stage.tell(f"{name_nodes(self._victims)} back on duty: that is all of --fail")

    async def _kill(self) -> None:
        epoch = await self._stage.get_epoch()
        self._states = dict.fromkeys(self._victims, "active")
        # what was before is no news
        self._judged = dict.fromkeys(self._victims, epoch - 1)
        await self._crew.kill(self._victims)
        self._dead.update(self._victims)
        where = ", ".join(self._stage.cast.nodes[number].ipv4 for number in self._victims)
        self._stage.tell(
            f"epoch {epoch}: {name_nodes(self._victims)} killed, agents and servers ({where})"
        )

    async def _look(self, numbers: list[int]) -> None:
        """Tell what is new, of all nodes of which it is the same at once."""
        epoch = await self._stage.get_epoch()
        told: dict[str, list[int]] = {}
        for number in numbers:
            node = await self._stage.get_node(number)
            for text in [*self._tell_verdicts(number, node), *self._tell_state(number, node)]:
                told.setdefault(text, []).append(number)
        for text, same in told.items():
            self._stage.tell(f"epoch {epoch}: {name_nodes(same)} {text}")

    def _tell_verdicts(self, number: int, node: dict[str, Any]) -> list[str]:
        fresh = [row for row in node["verdicts"] if row["epoch"] > self._judged[number]]
        self._judged[number] = max([self._judged[number], *(row["epoch"] for row in fresh)])
        return [_say_verdict(row) for row in reversed(fresh)]

    def _tell_state(self, number: int, node: dict[str, Any]) -> list[str]:
        before, self._states[number] = self._states[number], node["state"]
        return [] if before == node["state"] else [_say_state(node)]

    async def _revive(self) -> None:
        fallen = [number for number in self._dead if self._states[number] != "active"]
        back = sorted(number for number in fallen if self._states[number] not in GONE)
        if back:
            await self._crew.revive(back)
            self._dead.difference_update(back)
            self._stage.tell(f"{name_nodes(back)} started again, agents and servers")

    def _is_over(self, number: int) -> bool:
        state = self._states[number]
        return state in GONE or (state == "active" and number not in self._dead)


def _say_verdict(row: dict[str, Any]) -> str:
    asked = len(row["votes"]) + len(row["silent"])
    by = f"{len(row['votes'])} of {asked} testers agree"
    if row["failed"]:
        return f"failed in epoch {row['epoch']}, {by}: {', '.join(row['faults'])}"
    return f"passed in epoch {row['epoch']}, {by}"


def _say_state(node: dict[str, Any]) -> str:
    credit = f"{node['credit_ms'] // 1000} s of uptime credit left"
    if node["state"] == "active":
        return f"recommissioned: on duty again, {credit}"
    if node["state"] == "decommissioned":
        return f"decommissioned: off duty and unpaid, {credit} until deregistered"
    return f"{node['state']}: down for longer than the credit"
