"""A job runs again and again, one at a time, until it fails or is told to stop."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from apscheduler.schedulers import base as scheduler_module

from registry import jobs
from registry.jobs import Every, run_every
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
async def test_a_job_that_takes_longer_is_not_run_twice_at_a_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = Job()
    job.holds.clear()
    task = asyncio.create_task(run_every(1, job))
    await eventually(lambda: job.begun)
    await asyncio.sleep(0.02)
    assert job.begun == 1
    job.holds.set()
    # what was missed meanwhile is made up for by one run
    await eventually(lambda: job.ended >= 2)
    assert job.most == 1
    await stop(task)
    assert caplog.text == ""


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


class Clock:
    """The machine's clock, as the scheduler sees it, that a test puts forward or back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off = timedelta(0)
        clock = self

        class Shifted(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Any:
                return datetime.now(tz) + clock.off

        for module in (jobs, scheduler_module):
            monkeypatch.setattr(module, "datetime", Shifted)


@pytest.mark.parametrize(
    "jump",
    [timedelta(hours=-1), timedelta(days=-20_000), timedelta(hours=1), timedelta(days=20_000)],
    ids=["an hour back", "to 1970", "an hour forward", "from 1970"],
)
@in_loop
async def test_a_clock_that_jumps_holds_nothing_up(
    jump: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LOOK_S", 0.01)
    clock, job = Clock(monkeypatch), Job()
    task = asyncio.create_task(run_every(1, job))
    await eventually(lambda: job.ended >= 3)
    clock.off = jump
    ended = job.ended
    await eventually(lambda: job.ended >= ended + 10)
    assert job.most == 1
    await stop(task)


def test_what_was_missed_is_one_run_and_the_times_stay() -> None:
    trigger = Every(timedelta(seconds=10))
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert trigger.get_next_fire_time(None, noon) == noon + timedelta(seconds=10)
    for late_s, next_s in ((0, 10), (9, 10), (10, 20), (25, 30), (31_536_007, 31_536_010)):
        found = trigger.get_next_fire_time(noon, noon + timedelta(seconds=late_s))
        assert found == noon + timedelta(seconds=next_s), late_s
    # put back: what is planned lies ahead
    assert trigger.get_next_fire_time(noon, noon - timedelta(days=1)) == noon + timedelta(
        days=-1, seconds=10
    )
