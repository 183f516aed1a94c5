"""A disk that is full under a real service with load, and has space again afterwards.

The files of the ledger process may grow no further than a limit (RLIMIT_FSIZE), which is set while
it runs: the system then takes a part of a write, or nothing of it, as where no block is left.
"""

import asyncio
import random
import resource
from pathlib import Path
from typing import Final

from ledger.crypto import sha256
from registry.handover import EXIT_FAULT
from tests.faults.damage import file_of
from tests.faults.kill import Acknowledged, Home, check_replay, load
from tests.faults.services import check_there, fill, running, stopped_for

LOAD_S: Final = (0.3, 1.5)
"""Shortest and longest time under load before the disk is full."""

LEFT_BYTES: Final = 8_000
"""What the log of the database may still grow, at most."""


async def fill_disk(times: int, seed: int, folder: Path) -> dict[str, int]:
    """Have the disk full so many times; return how often a write was cut, and what it cost.

    Each time the service ends by itself, says why, and is started again with space. Everything that
    was acknowledged must be told as it was, and the journal must give the state.
    """
    chance = random.Random(seed)
    home = Home(folder / "home", sha256(b"full" + seed.to_bytes(8, "big")))
    acknowledged = Acknowledged()
    for _ in range(times):
        async with running(home.folder, *home.keys) as service:
            await check_there(service.url, newest_of(acknowledged))
            loading = asyncio.create_task(load(home, service.url, acknowledged))
            await asyncio.sleep(chance.uniform(*LOAD_S))
            size = file_of(home.folder / "ledger", "*.log").stat().st_size
            limit = size + chance.randrange(LEFT_BYTES)
            resource.prlimit(service.pid_of("ledger"), resource.RLIMIT_FSIZE, (limit, limit))
            assert await service.wait_end() == EXIT_FAULT
            await loading
        reason = stopped_for(home.folder)[-1]
        assert "the system refuses" in reason, reason
    async with running(home.folder, *home.keys) as service:
        await check_there(service.url, acknowledged)
        await fill(home, service.url, 10, acknowledged)
    height = check_replay(home, acknowledged)
    return {"full": times, "acknowledged": len(acknowledged), "height": height}


def newest_of(acknowledged: Acknowledged) -> Acknowledged:
    """Return the newest of what was acknowledged, which a fault would cost first."""
    names = sorted(acknowledged, key=lambda tx_hash: acknowledged[tx_hash])[-50:]
    return Acknowledged({name: acknowledged[name] for name in names})
