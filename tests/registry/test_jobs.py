"""A job runs again and again, one at a time, until it fails or is told to stop."""

import asyncio
import logging

import pytest

from registry.jobs import run_every
from tests.registry.factory import eventually, in_loop, settle


class Job:
    """Counts its runs; `holds` keeps it busy."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.running = 0
        self.most = 0
        self.holds = asyncio.Event()
        self.holds.set()
        self.fails_at = 0

    async def __call__(self) -> None:
        self.begun += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.begun == self.fails_at:
                raise ValueError("this run failed")
            await self.holds.wait()
            self.ended += 1
        finally:
            self.running -= 1


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@in_loop
async def test_a_job_runs_again_and_again_until_it_is_cancelled() -> None:
    job = Job()
    task = asyncio.create_task(run_every(1, job))
    await eventually(lambda: job.ended >= 3)
    await stop(task)
    ended = job.ended
    await asyncio.sleep(0.01)
    assert job.ended == ended


@in_loop
async def test_a_job_that_takes_longer_is_not_run_twice_at_a_time() -> None:
    job = Job()
    job.holds.clear()
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    task = asyncio.create_task(run_every(1, job))
    await eventually(lambda: job.begun)
    await asyncio.sleep(0.02)
    assert job.begun == 1
    job.holds.set()
    # what was missed meanwhile is made up for by one run
    await eventually(lambda: job.ended >= 2)
    assert job.most == 1
    await stop(task)


@pytest.mark.parametrize("fails_at", [1, 3])
@in_loop
async def test_a_failure_ends_it_and_comes_out(fails_at: int) -> None:
    job = Job()
    job.fails_at = fails_at
    with pytest.raises(ValueError, match="this run failed"):
        await run_every(1, job)
    assert (job.begun, job.running) == (fails_at, 0)
    await asyncio.sleep(0.01)
    assert job.begun == fails_at


@in_loop
async def test_once_it_has_ended_nothing_of_the_job_runs(caplog: pytest.LogCaptureFixture) -> None:
    job = Job()
    job.holds.clear()
    task = asyncio.create_task(run_every(1, job))
    await eventually(lambda: job.running)
    await stop(task)
    assert (job.running, job.ended) == (0, 0)
    job.holds.set()
    await settle()
    assert (job.running, job.ended) == (0, 0)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@in_loop
async def test_a_job_that_finishes_something_when_it_is_cancelled_is_waited_for() -> None:
    finished = False

    async def job() -> None:
        nonlocal finished
        try:
            await asyncio.sleep(3600)
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            finished = True

    task = asyncio.create_task(run_every(1, job))
    await asyncio.sleep(0.02)
    await stop(task)
    assert finished
