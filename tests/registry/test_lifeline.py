"""How a process learns that it has to stop."""

import asyncio
import os
import signal

import pytest

from registry.lifeline import until_stopped
from tests.registry.factory import in_loop

PATIENCE_S = 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@in_loop
async def test_a_signal_right_after_the_call_is_seen(number: signal.Signals) -> None:
    stopped = until_stopped()
    for _ in range(2):
        # whoever is impatient changes nothing
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stopped, PATIENCE_S)


@in_loop
async def test_it_stops_with_the_one_that_holds_the_other_end() -> None:
    reading, writing = os.pipe()
    stopped = until_stopped(reading)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(stopped), 0.05)
    os.close(writing)
    await asyncio.wait_for(stopped, PATIENCE_S)
    os.close(reading)


@in_loop
async def test_who_is_given_up_on_says_nothing_later() -> None:
    reading, writing = os.pipe()
    until_stopped(reading).cancel()
    # the latest call is the one that is told
    stopped = until_stopped(reading)
    os.close(writing)
    await asyncio.wait_for(stopped, PATIENCE_S)
    os.close(reading)
