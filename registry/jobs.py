"""The scheduler's wiring, and nothing else. Consensus never depends on when a job runs."""

import asyncio
from collections.abc import Awaitable, Callable

from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger


async def run_every(interval_ms: int, job: Callable[[], Awaitable[None]]) -> None:
    """Run `job` every `interval_ms`, never twice at a time, until cancelled or it raises."""
    scheduler = AsyncIOScheduler(
        jobstores={"default": MemoryJobStore()},
        executors={"default": AsyncIOExecutor()},
        timezone="UTC",
    )
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def guarded() -> None:
        try:
            await job()
        except Exception as error:
            if not failed.done():
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
        scheduler.shutdown(wait=False)
