"""What goes wrong on purpose, drawn at random from a table, one thing after the other.

Each fault mends itself: what it kills is started again by whoever keeps it, what it stops goes on.
After each of them blocks have to be made again.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from registry.devnet.cast import STORAGE_PORT
from tests.fuzz.hostile import MALFORMED
from tests.soak.town import Kept, Town, find_processes

PAUSE_S: Final = (3.0, 12.0)
"""Shortest and longest time between a fault and the next one."""

STALL_S: Final = 3.0
AWAY_S: Final = (4.0, 15.0)
"""How long nodes are away: shorter than the uptime credit that they begin with."""

MOST_AWAY: Final = 3
SILENT: Final = 300
"""Connections that say nothing."""

SILENT_S: Final = 5.0
DATAGRAMS: Final = 500


class Faults:
    """Makes faults, and counts them."""

    def __init__(self, town: Town, chance: random.Random) -> None:
        self._town = town
        self._chance = chance
        self.counts: Counter[str] = Counter()
        self.spares_service = False
        """Whether the service's own processes are left alone, so that one sees what they hold."""

    async def run(self) -> None:
        """Make faults until cancelled; a fault that has begun comes to its end."""
        while True:
            await asyncio.sleep(self._chance.uniform(*PAUSE_S))
            rows = [row for row in FAULTS if not (self.spares_service and row.hits_service)]
            (row,) = self._chance.choices(rows, [row.weight for row in rows])
            self.counts[row.name] += 1
            await asyncio.shield(self._make(row))

    async def _make(self, row: "Fault") -> None:
        await row.make(self._town, self._chance)
        await self._town.wait_for_blocks(1)


class Fault(NamedTuple):
    """A row of `FAULTS`."""

    name: str
    weight: int
    hits_service: bool
    make: Callable[[Town, random.Random], Awaitable[None]]


async def kill_part(part: str, town: Town, _chance: random.Random) -> None:
    """Kill one of the service's processes."""
    _kill(town.service, part)


async def stop_service(town: Town, _chance: random.Random) -> None:
    """Ask the service to end."""
    town.service.send(signal.SIGTERM)


async def kill_attestor(town: Town, chance: random.Random) -> None:
    """Kill a process of an attestor."""
    _kill(chance.choice(town.kept[1:]), chance.choice(("ledger", "worker", "supervisor")))


async def stall_part(part: str, town: Town, _chance: random.Random) -> None:
    """Have one of the service's processes stand still, as on a machine that swaps."""
    await _stall(town.service.pids.get(part))


async def kill_nodes(town: Town, chance: random.Random) -> None:
    """Kill nodes, agents and servers, and start them again."""
    numbers = chance.sample(range(len(town.cast.nodes)), chance.randint(1, MOST_AWAY))
    await town.crew.kill(numbers)
    await asyncio.sleep(chance.uniform(*AWAY_S))
    await town.crew.revive(numbers)


async def stall_agent(_town: Town, chance: random.Random) -> None:
    """Have an agent stand still."""
    await _stall(chance.choice(find_processes("registry.agent")))


async def say_nothing(town: Town, _chance: random.Random) -> None:
    """Connect to the service many times from one address, and say nothing, or half a request."""
    connections = []
    for number in range(SILENT):
        with contextlib.suppress(OSError):
            connection = socket.create_connection(
                ("127.0.0.1", town.port), 2.0, source_address=("127.0.77.1", 0)
            )
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                connection.send(b"GET /v1/network HT"[: number % 19])
            connections.append(connection)
        await asyncio.sleep(0)
    await asyncio.sleep(SILENT_S)
    for connection in connections:
        connection.close()


async def send_nonsense(town: Town, _chance: random.Random) -> None:
    """Send the service requests that are none."""
    for raw in MALFORMED.values():
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2.0):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", town.port, local_addr=("127.0.78.1", 0)
                )
                writer.write(raw)
                await reader.read(1)
                writer.close()


async def send_datagrams(town: Town, chance: random.Random) -> None:
    """Send an agent datagrams that are no challenges."""
    node = chance.choice(town.cast.nodes)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.79.1", 0))
        for _ in range(DATAGRAMS):
            with contextlib.suppress(OSError):
                sock.sendto(chance.randbytes(chance.randrange(1, 600)), (node.ipv4, STORAGE_PORT))
            await asyncio.sleep(0.001)


FAULTS: Final = (
    Fault("the service's ledger process killed", 3, True, partial(kill_part, "ledger")),
    Fault("its web process killed", 2, True, partial(kill_part, "web")),
    Fault("a worker of it killed", 2, True, partial(kill_part, "worker")),
    Fault("its supervisor killed", 2, True, partial(kill_part, "supervisor")),
    Fault("the service stopped and started", 2, True, stop_service),
    Fault("its ledger process stands still", 2, True, partial(stall_part, "ledger")),
    Fault("its web process stands still", 2, True, partial(stall_part, "web")),
    Fault("a process of an attestor killed", 3, False, kill_attestor),
    Fault("nodes killed, and started again", 5, False, kill_nodes),
    Fault("an agent stands still", 2, False, stall_agent),
    Fault("300 connections that say nothing", 2, False, say_nothing),
    Fault("requests that are none", 2, False, send_nonsense),
    Fault("500 datagrams that are no challenge", 2, False, send_datagrams),
)


def _kill(kept: Kept, part: str) -> None:
    pid = kept.pids.get(part)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def _stall(pid: int | None) -> None:
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(STALL_S)
        finally:
            os.kill(pid, signal.SIGCONT)
