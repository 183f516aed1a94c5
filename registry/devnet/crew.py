"""The processes of the nodes: for each of them an agent, and what stands in for its servers.

They get less of the machine than the service, which a newcomer waits for. All that stand in start
before the first agent, so that no agent finds another node half up for longer than it must.
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Final

from registry.devnet.cast import Cast, CastNode
from registry.keystore import save_insecure_seed
from registry.supervisor import Child

NICENESS: Final = 10

NETWORKS: Final = ("127.0.0.0/8",)
"""What agents may probe."""

KEY_FILE: Final = "node.json"


class Crew:
    """The nodes' processes; each node has two, or none while it is dead."""

    def __init__(
        self,
        cast: Cast,
        folder: Path,
        genesis: Path,
        urls: Sequence[str],
        log_file: IO[bytes] | None = None,
        tell: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """The homes of agents are made in `folder`; they ask the services at `urls`.

        Who ends by itself and should not have is told of.
        """
        self._cast = cast
        self._folder = folder
        self._urls = tuple(urls)
        self._log_file = log_file
        self._tell = tell
        self._children: dict[int, list[Child]] = {}
        self._others: list[Child] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._watching: dict[Child, asyncio.Task[None]] = {}
        """For each process, who waits for its end."""
        self.genesis = genesis

    async def start(self) -> None:
        """Start every node."""
        for node in self._cast.nodes:
            await self._start_servers(node)
        for node in self._cast.nodes:
            await self._start_agent(node)

    async def revive(self, numbers: Iterable[int]) -> None:
        """Start nodes again that were killed."""
        for number in numbers:
            await self._start_servers(self._cast.nodes[number])
            await self._start_agent(self._cast.nodes[number])

    async def kill(self, numbers: Iterable[int]) -> None:
        """End nodes as a power cut does."""
        victims = [child for number in numbers for child in self._children.pop(number)]
        self._forget(victims)
        await asyncio.gather(*(child.kill() for child in victims))

    async def run(self, name: str, module: str, arguments: Sequence[str]) -> None:
        """Start a module that plays along, with its arguments; it ends with the crew at last."""
        await self._start(self._others, name, module, arguments)

    async def stop(self) -> None:
        """End everything, the agents before what stands beside them."""
        await asyncio.gather(*self._starting)
        agents = [child for children in self._children.values() for child in children[1:]]
        servers = [child for children in self._children.values() for child in children[:1]]
        self._children.clear()
        self._forget(list(self._watching))
        for group in (self._others, agents, servers):
            await asyncio.gather(*(child.stop() for child in group))

    def key_file(self, node: CastNode) -> Path:
        """Return the key file of a node, which is made if it is not there yet."""
        path = self._folder / str(node.number) / KEY_FILE
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            save_insecure_seed(path, node.seed)
        return path

    def agent_settings(self, node: CastNode) -> dict[str, Any]:
        """Return what the agent of a node is told."""
        home = self._folder / str(node.number)
        told = make_agent_settings(home, self.key_file(node), self.genesis, self._urls)
        return told | {"ipv4": node.ipv4}

    async def _start_servers(self, node: CastNode) -> None:
        ports = (node.contact.storage_port, node.contact.router_port)
        await self._add(node, "registry.devnet.node", make_server_arguments(node.ipv4, *ports))

    async def _start_agent(self, node: CastNode) -> None:
        told = json.dumps(self.agent_settings(node))
        await self._add(node, "registry.agent", ["--settings", told])

    async def _add(self, node: CastNode, module: str, arguments: Sequence[str]) -> None:
        children = self._children.setdefault(node.number, [])
        await self._start(children, f"{module} of node {node.number}", module, arguments)

    async def _start(
        self, children: list[Child], name: str, module: str, arguments: Sequence[str]
    ) -> None:
        """Start a process; whoever gives up waiting for that does not lose it."""

        async def start() -> None:
            child = await Child.start(name, module, arguments, (), self._log_file)
            os.setpriority(os.PRIO_PROCESS, child.process.pid, NICENESS)
            children.append(child)
            self._watching[child] = asyncio.create_task(self._watch(child))

        starting = asyncio.create_task(start())
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        await asyncio.shield(starting)

    async def _watch(self, child: Child) -> None:
        code = await child.process.wait()
        if code:
            self._tell(f"{child.name} ended with code {code}: see the log")

    def _forget(self, children: Iterable[Child]) -> None:
        """Do not wait for the end of processes that are about to be ended."""
        for child in children:
            self._watching.pop(child).cancel()


def make_agent_settings(
    home: Path, key_file: Path, genesis: Path, urls: Sequence[str]
) -> dict[str, Any]:
    """Return what an agent is told that works on one machine alone."""
    return {
        "home": str(home),
        "node": str(key_file),
        "genesis": str(genesis),
        "services": tuple(urls),
        "networks": NETWORKS,
    }


def make_server_arguments(ipv4: str, storage_port: int, router_port: int) -> list[str]:
    """Return what `registry.devnet.node` is told."""
    ports = ["--storage-port", str(storage_port), "--router-port", str(router_port)]
    return ["--ipv4", ipv4, *ports]
