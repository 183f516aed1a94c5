"""`waypost devnet --equivocate N`: nodes cheat, and somebody watches, reports them, and collects.

The watcher is `waypost report watch` with an account of its own; whoever else watches first gets
the bounty in its place.
"""

import asyncio
from pathlib import Path
from typing import Any, Final

from registry.addresses import encode_account
from registry.devnet.crew import Crew
from registry.devnet.stage import LOOK_S, Stage, name_nodes, show_coins
from registry.keystore import save_insecure_seed

CHEATS: Final = (3, 8, 13, 18, 23)
"""Who cheats first, and so on: other nodes than those that die."""

WATCHER: Final = "watcher"
"""Name of the watcher's account, and of its key file."""


class Cheating:
    """So many nodes that cheat once, and what comes of it."""

    def __init__(self, stage: Stage, crew: Crew, folder: Path, count: int) -> None:
        self._stage = stage
        self._crew = crew
        self._key_file = folder / f"{WATCHER}.json"
        self._count = count
        self._cheats: dict[str, int] = {}
        """By the node's address."""
        self._caught: set[int] = set()
        self._punished: set[int] = set()
        self._earned = 0
        """What the watcher got, atomic units."""
        self._account = encode_account(stage.cast.account(WATCHER).public)

    async def play(self) -> None:
        """Start the watcher and the cheats, and tell what happens, until each is punished."""
        await self._watch()
        await self._stage.wait_until_tested()
        chosen = await self._stage.choose(CHEATS, self._count)
        if not chosen:
            self._stage.tell("no node is on duty that may cheat: start over with --fresh")
            return
        self._cheats = {self._stage.cast.nodes[number].address: number for number in chosen}
        height = (await self._stage.get("/v1/network"))["height"]
        for number in self._cheats.values():
            await self._cheat(number)
        epoch, cheats = await self._stage.get_epoch(), name_nodes(self._cheats.values())
        self._stage.tell(
            f"epoch {epoch}: {cheats} cheating: each signs a pass and a fail of one node, and "
            "sends both"
        )
        while len(self._punished) < len(self._cheats):
            await asyncio.sleep(LOOK_S)
            await self._tell_caught()
            await self._tell_punished(height)
        self._stage.tell(
            f"the watcher earned {show_coins(self._earned)}: that is all of --equivocate"
        )

    async def _watch(self) -> None:
        if not self._key_file.exists():
            save_insecure_seed(self._key_file, self._stage.cast.seed_of(WATCHER))
        while (await self._stage.get(f"/v1/accounts/{self._account}"))["balance"] == "0":
            await asyncio.sleep(LOOK_S)
        arguments = ["report", "watch", "--from", str(self._key_file), "--every", "1", "-o", "json"]
        for url in self._stage.services.urls:
            arguments += ["--url", url]
        await self._crew.run("the watcher", "registry", arguments)
        self._stage.tell(
            "a watcher looks for votes that contradict each other: waypost report watch"
        )

    async def _cheat(self, number: int) -> None:
        node = self._stage.cast.nodes[number]
        arguments = ["--node", str(self._crew.key_file(node)), "--genesis", str(self._crew.genesis)]
        for url in self._stage.services.urls:
            arguments += ["--service", url]
        await self._crew.run(f"the cheat of node {number}", "registry.devnet.cheat", arguments)

    async def _tell_caught(self) -> None:
        """Tell whose two votes a service has."""
        votes = await self._stage.get("/v1/verdicts")
        duty_keys = {row["duty_key"]: row for row in votes["contradictions"]}
        for number in self._cheats.values():
            node = await self._stage.get_node(number)
            row = duty_keys.get(node["duty_key"])
            if row is not None and number not in self._caught:
                self._caught.add(number)
                self._stage.tell(
                    f"node {number}: a service has both votes, on {self._name(row['node'])} in "
                    f"epoch {row['epoch']}: that is evidence"
                )

    async def _tell_punished(self, height: int) -> None:
        """Tell who was punished after a height."""
        page = await self._stage.get("/v1/reports")
        for report in reversed(page["reports"]):
            number = self._cheats.get(report["penalty"]["node"], -1)
            if number >= 0 and number not in self._punished and report["height"] > height:
                self._punished.add(number)
                if report["reporter"] == self._account:
                    self._earned += int(report["penalty"]["bounty"])
                self._stage.tell(self._say_punished(number, report))

    def _say_punished(self, number: int, report: dict[str, Any]) -> str:
        penalty = report["penalty"]
        who = "the watcher" if report["reporter"] == self._account else report["reporter"]
        return (
            f"node {number}: reported by {who} in block {report['height']}: "
            f"{show_coins(penalty['taken'])} of its stake taken, {show_coins(penalty['bounty'])} "
            "of it for the report"
        )

    def _name(self, address: str) -> str:
        numbers = {node.address: node.number for node in self._stage.cast.nodes}
        return f"node {numbers[address]}" if address in numbers else address
