"""Clocks that jump under a real producer, its attestor and its follower, with load.

The processes see the machine's clock through `clock/sitecustomize.py`, so nobody else's is moved.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

from ledger.crypto import sha256
from registry.home import GENESIS
from tests.faults.kill import Acknowledged, Home, check_replay, load, start_service, wait_ready
from tests.faults.services import check_there, connect, eventually, height_of, running

HERE: Final = Path(__file__).parent / "clock"
HOUR_MS: Final = 3_600_000
JUMPS_MS: Final = (-HOUR_MS, 0, HOUR_MS, 0, 365 * 24 * HOUR_MS, 0)
"""Where the clock is put, one after the other, against the right time."""

BLOCKS: Final = 5
"""Blocks that are waited for after each jump."""


class Clock:
    """The clock of the processes that get `environment`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.put(0)
        path = [str(HERE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        self.environment = {
            "PYTHONPATH": os.pathsep.join(part for part in path if part),
            "CLOCK_FILE": str(file),
        }

    def put(self, off_ms: int) -> None:
        """Have it off by so much from now on; a reader finds the old or the new time."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(off_ms))
        fresh.replace(self._file)


async def jump(folder: Path) -> dict[str, int]:
    """Put the clock of a producer to each of `JUMPS_MS` under load.

    Blocks and acknowledgements go on after each, a follower with a right clock has the same chain,
    and nothing that was acknowledged is lost. Returns how many jumps, and what was acknowledged.
    """
    clock = Clock(folder / "clock")
    home = Home(folder / "home", sha256(b"clocks"))
    peer = folder / "peer"
    peer.mkdir()
    (peer / GENESIS).write_bytes(home.genesis)
    acknowledged = Acknowledged()
    async with running(home.folder, *home.keys, **clock.environment) as service:
        following = start_service(peer, "--engine", "follow", "--follow", service.url)
        try:
            peer_url = await wait_ready(following)
            loading = asyncio.create_task(load(home, service.url, acknowledged))
            for off_ms in JUMPS_MS:
                clock.put(off_ms)
                known = len(acknowledged)
                start = await height_of(service.url)

                async def goes_on(start: int = start, known: int = known) -> bool:
                    is_higher = await height_of(service.url) >= start + BLOCKS
                    return is_higher and len(acknowledged) > known

                await eventually(goes_on, f"no blocks with a clock that is {off_ms} ms off")
            loading.cancel()
            await asyncio.wait([loading])
            newest = await height_of(service.url)

            async def has_followed() -> bool:
                return await height_of(peer_url) >= newest

            await eventually(has_followed, "the follower stays behind")
            await check_there(peer_url, acknowledged)
            times = [await _time_of(peer_url, height) for height in range(1, newest + 1)]
            assert times == sorted(set(times))
        finally:
            following.terminate()
            following.wait()
    check_replay(home, acknowledged)
    return {"jumps": len(JUMPS_MS), "acknowledged": len(acknowledged), "height": newest}


async def _time_of(url: str, height: int) -> int:
    async with connect(url) as client:
        return int((await client.get(f"/v1/blocks/{height}")).json()["time_ms"])
