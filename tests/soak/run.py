"""One run: everything starts, goes on for some minutes, comes to rest, ends and is looked at."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, NamedTuple

from ledger.chain import Chain
from ledger.crypto import sha256
from ledger.leveldb import LevelStore
from registry.home import GENESIS
from tests.soak.clients import Client
from tests.soak.faults import Faults
from tests.soak.load import Load
from tests.soak.logs import read_log
from tests.soak.memory import Memory
from tests.soak.town import Kept, Town

CLIENTS: Final = 3
REST_S: Final = 180.0
"""Time in which all nodes have to be back on duty, once nothing goes wrong any more."""

SHOWN: Final = 10


class Report(NamedTuple):
    """What a run came to."""

    lines: list[str]
    findings: list[str]
    """What does not hold; none if all is well."""


async def soak(folder: Path, minutes: float, seed: int) -> Report:
    """Run for so many minutes. In the second half nothing hits the service's own processes."""
    town = Town(folder, sha256(seed.to_bytes(8, "big") + time.time_ns().to_bytes(8, "big")))
    chance = random.Random(seed)
    load, faults, memory = Load(town, chance), Faults(town, chance), Memory(town)
    clients = [Client(town, folder / f"client-{number}") for number in range(CLIENTS)]
    await town.start()
    height = await town.find_height() or 0
    everything: list[Coroutine[Any, Any, None]] = [load.run(), memory.run()]
    going = [asyncio.create_task(each) for each in everything]
    going += [asyncio.create_task(client.run()) for client in clients]
    failing = asyncio.create_task(faults.run())
    findings = []
    try:
        for is_second in (False, True):
            faults.spares_service = is_second
            done, _ = await asyncio.wait(
                [*going, failing], timeout=30 * minutes, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                await task
        await _cancel([failing])
        findings += await _come_to_rest(town)
        findings += await _catch_up(town, clients)
        growing = memory.find_growing()
        sizes = memory.describe()
        last = await town.find_height() or 0
        await _cancel(going)
    finally:
        codes = await town.stop()
    findings += [f"stopped with exit code {code}" for code in codes if code]
    findings += growing + load.wrong + town.said
    findings += [wrong for client in clients for wrong in client.wrong]
    findings += _check_chains(town, load)
    counts, unexplained = read_log(folder / "log")
    findings += [f"nothing explains: {line[:400]}" for line in unexplained[:SHOWN]]
    if len(unexplained) > SHOWN:
        findings.append(f"and {len(unexplained) - SHOWN} more lines that nothing explains")
    lines = [
        f"{minutes:g} minutes, seed {seed}, blocks {height} to {last}",
        f"{len(load.committed)} transfers acknowledged; refused as they had to be: "
        f"{dict(load.refused)}",
        f"reads: {dict(load.answers)}; cut off by a death: {load.cut}",
        f"lists verified by each client: {[len(client.headers) for client in clients]}",
        "faults:",
        *(f"  {count:4} {name}" for name, count in sorted(faults.counts.items())),
        "memory:",
        *(f"  {line}" for line in sizes),
        "warnings and errors in the log:",
        *(f"  {count:4} {event}" for event, count in counts.most_common()),
    ]
    return Report(lines, findings)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    """End tasks; what one of them failed by is raised."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


async def _come_to_rest(town: Town) -> list[str]:
    """Wait until every node is on duty again; return what is wrong if that does not come."""
    deadline = time.monotonic() + REST_S
    states: list[str] = []
    while time.monotonic() < deadline:
        states = await town.list_states()
        if all(state == "active" for state in states):
            return []
        await asyncio.sleep(1.0)
    return [f"at the end nodes are {sorted(set(states))}"]


async def _catch_up(town: Town, clients: list[Client]) -> list[str]:
    """Wait until all clients have verified a list that has become final since."""
    wanted = await town.stage.get_epoch() + 1
    deadline = time.monotonic() + REST_S
    while time.monotonic() < deadline:
        if all(client.newest >= wanted for client in clients):
            break
        await asyncio.sleep(1.0)
    else:
        return [f"clients have {[client.newest for client in clients]}, not epoch {wanted}"]
    common = set.intersection(*(set(client.headers) for client in clients))
    return [
        f"clients have different lists of epoch {epoch}"
        for epoch in common
        if len({client.headers[epoch] for client in clients}) > 1
    ]


def _check_chains(town: Town, load: Load) -> list[str]:
    """Look at the databases: all of it is there, replays, and is the same everywhere."""
    findings = []
    home = town.service.settings.home
    audit = subprocess.run(
        [sys.executable, "-m", "registry", "ledger", "audit", "--home", str(home), "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if audit.returncode:
        findings.append(f"the audit says: {audit.stdout}{audit.stderr}")
    blocks = _read_blocks(town.service)
    for kept in town.kept[1:]:
        other = _read_blocks(kept)
        if any(mine != theirs for mine, theirs in zip(blocks, other, strict=False)) or not other:
            findings.append(f"{kept.name} holds other blocks")
    found = {
        sha256(raw).hex(): height
        for height, (_, transactions) in enumerate(blocks, 1)
        for raw in transactions
    }
    lost = [each for each, height in load.committed.items() if found.get(each) != height]
    if lost:
        findings.append(f"{len(lost)} acknowledged transactions are lost, such as {lost[0]}")
    if not load.committed:
        findings.append("no transfer was acknowledged")
    return findings


def _read_blocks(kept: Kept) -> list[tuple[bytes, tuple[bytes, ...]]]:
    """Return the state root after each block, and its transactions."""
    store = LevelStore(kept.settings.home / "ledger", create=False)
    try:
        view = Chain(store, (kept.settings.home / GENESIS).read_bytes()).view()
        found = []
        for height in range(1, view.tip.height + 1):
            block = view.committed_block(height)
            found.append((bytes(block.header.state_root), tuple(block.transactions)))
        return found
    finally:
        store.close()
