"""How a process learns that it has to stop: a signal, or the end of the one that started it.

A child inherits the reading end of a pipe whose writing end only its parent holds. When the
parent dies, however it dies, the pipe ends and the child stops; nothing is left behind.
"""

import asyncio
import os
import signal
from typing import Final

NONE: Final = -1
"""No lifeline: only signals stop the process."""


async def until_stopped(lifeline: int = NONE) -> None:
    """Return on SIGTERM, on SIGINT, or when the lifeline ends."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if lifeline != NONE:
        os.set_blocking(lifeline, False)
        loop.add_reader(lifeline, stop.set)
    await stop.wait()
    if lifeline != NONE:
        loop.remove_reader(lifeline)
