"""A disk that is full under a real service with load, and has space again afterwards.

    fill_disk       the files of the ledger process may grow no further than a limit
                    (RLIMIT_FSIZE), which is set while it runs: the system takes a part of a write,
                    or nothing
    fill_small      the home lies on a small disk, which is filled up; by hand, in memory:

        unshare -Urm sh -c 'mount -t tmpfs -o size=8m none /mnt &&
            python -m tests.faults.full_disk /mnt'

The service ends by itself, says why, and is started again with space. Everything that was
acknowledged must be told as it was, and the journal must give the state.
"""

import asyncio
import contextlib
import os
import random
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.crypto import sha256
from registry.handover import EXIT_FAULT
from tests.faults.damage import file_of
from tests.faults.kill import Acknowledged, Home, check_replay, load
from tests.faults.services import Running, check_there, fill, running, stopped_for

LOAD_S: Final = (0.3, 1.5)
"""Shortest and longest time under load before the disk is full."""

LEFT_BYTES: Final = 8_000
"""What the log of the database may still grow, at most."""

LAST_WORDS_BYTES: Final = 4_000
"""What the log of the service may still grow."""

LEFT_ON_DISK: Final = (0, 3_000, 20_000, 60_000)
"""Bytes that are left on the small disk, one after the other."""


async def fill_disk(times: int, seed: int, folder: Path) -> dict[str, int]:
    """Have no file grow any further, so many times; return what was acknowledged."""
    chance = random.Random(seed)
    home = Home(folder / "home", sha256(b"full" + seed.to_bytes(8, "big")))

    def limit_files(service: Running) -> None:
        size = file_of(home.folder / "ledger", "*.log").stat().st_size
        # what it says in the end has to find its place
        said = (home.folder / "log").stat().st_size + LAST_WORDS_BYTES
        limit = max(size, said) + chance.randrange(LEFT_BYTES)
        resource.prlimit(service.pid_of("ledger"), resource.RLIMIT_FSIZE, (limit, limit))

    acknowledged = Acknowledged()
    for _ in range(times):
        await _end_by(limit_files, home, chance.uniform(*LOAD_S), acknowledged)
    return await _check(home, acknowledged, times)


async def fill_small(disk: Path, log: Path) -> dict[str, int]:
    """Fill up the disk on which the home lies, but not its log; return what was acknowledged."""
    home = Home(disk / "home", sha256(b"small"))
    (home.folder / "log").symlink_to(log)
    acknowledged = Acknowledged()
    for left in LEFT_ON_DISK:

        def fill_up(_service: Running, left: int = left) -> None:
            space = os.statvfs(disk)
            # the service writes meanwhile, and may take what is left
            with contextlib.suppress(OSError):
                (disk / "filler").write_bytes(bytes(space.f_bavail * space.f_frsize - left))

        await _end_by(fill_up, home, LOAD_S[1], acknowledged)
        (disk / "filler").unlink()
    return await _check(home, acknowledged, len(LEFT_ON_DISK))


async def _end_by(
    fill_up: Callable[[Running], None], home: Home, load_s: float, acknowledged: Acknowledged
) -> None:
    """Have the disk full after some time under load; the service ends, and says what helps."""
    async with running(home.folder, *home.keys) as service:
        await check_there(service.url, _newest_of(acknowledged))
        loading = asyncio.create_task(load(home, service.url, acknowledged))
        await asyncio.sleep(load_s)
        fill_up(service)
        code = await service.wait_end()
        assert code == EXIT_FAULT, (home.folder / "log").read_text()[-2_000:]
        await loading
    reason = stopped_for(home.folder)[-1]
    assert "the system refuses" in reason or "cannot be written" in reason, reason


def _newest_of(acknowledged: Acknowledged) -> Acknowledged:
    """Return the newest of what was acknowledged, which a fault would cost first."""
    names = sorted(acknowledged, key=lambda tx_hash: acknowledged[tx_hash])[-50:]
    return Acknowledged({name: acknowledged[name] for name in names})


async def _check(home: Home, acknowledged: Acknowledged, times: int) -> dict[str, int]:
    async with running(home.folder, *home.keys) as service:
        await check_there(service.url, acknowledged)
        await fill(home, service.url, 10, acknowledged)
    height = check_replay(home, acknowledged)
    return {"full": times, "acknowledged": len(acknowledged), "height": height}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as elsewhere:
        print(asyncio.run(fill_small(Path(sys.argv[1]), Path(elsewhere) / "log")))
