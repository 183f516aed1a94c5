"""The scheduler's wiring, and nothing else. Consensus never depends on when a job runs."""

import asyncio
from collections.abc import Awaitable, Callable

from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger


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

    scheduler.add_job(
        guarded,
        IntervalTrigger(seconds=interval_ms / 1000),
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,
    )
    scheduler.start()
    try:
        await failed
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
