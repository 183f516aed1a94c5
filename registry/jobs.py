"""The scheduler's wiring, and nothing else. Consensus never depends on when a job runs.

The scheduler counts by the machine's clock, which may be put forward or back by any time. A job
runs every interval all the same: what was missed by a clock put forward is one run, found without
counting; after one put back the next run is due at once, at most `LOOK_S` later.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.job import Job
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

# it would warn of each run that is left out because the one before is not over: that is the rule
logging.getLogger("apscheduler").setLevel(logging.ERROR)

LOOK_S: Final = 1.0
"""How often it is looked whether the clock was put back."""


class Every(BaseTrigger):  # type: ignore[misc]
    """Due when an interval is over; the library's own trigger goes through all that passed."""

    def __init__(self, interval: timedelta) -> None:
        self.interval = interval

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """Return the first time after `now` that is whole intervals after `previous`."""
        if previous is None or previous > now:
            return now + self.interval
        return previous + ((now - previous) // self.interval + 1) * self.interval


async def run_every(interval_ms: int, job: Callable[[], Awaitable[None]]) -> None:
    """Run `job` every `interval_ms`, never twice at a time, until cancelled or it raises.

    Once this ends nothing of the job runs any more.
    """
    scheduler = AsyncIOScheduler(
        jobstores={"default": MemoryJobStore()},
        executors={"default": AsyncIOExecutor()},
        timezone="UTC",
    )
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    running: set[asyncio.Task[None]] = set()

    async def guarded() -> None:
        task = asyncio.ensure_future(job())
        running.add(task)
        # the scheduler would only log how it ended
        await asyncio.wait([task])
        running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not failed.done():
            failed.set_exception(error)

    interval = timedelta(milliseconds=interval_ms)
    scheduled = scheduler.add_job(
        guarded, Every(interval), coalesce=True, max_instances=1, misfire_grace_time=None
    )
    scheduler.start()
    try:
        while not failed.done():
            await asyncio.wait([failed], timeout=LOOK_S)
            _follow_clock(scheduled, interval)
        failed.result()
    finally:
        scheduler.pause()
        # a run that is due right now gets to its first step
        await asyncio.sleep(0)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        # only now: it would cancel, and log as an error, what still runs
        scheduler.shutdown(wait=False)


def _follow_clock(scheduled: Job, interval: timedelta) -> None:
    """Make a job due that is further away than its interval: the clock was put back."""
    now = datetime.now(UTC)
    if scheduled.next_run_time - now > interval:
        scheduled.modify(next_run_time=now)
