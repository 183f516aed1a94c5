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


def until_stopped(lifeline: int = NONE) -> asyncio.Future[None]:
    """Return what is done on SIGTERM, on SIGINT, or when the lifeline ends.

    It watches from this call on: ask before serving, since whoever sees that a process serves may
    already tell it to stop.
    """
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()

    def stop() -> None:
        if lifeline != NONE:
            loop.remove_reader(lifeline)
        if not stopped.done():
            stopped.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if lifeline != NONE:
        os.set_blocking(lifeline, False)
        loop.add_reader(lifeline, stop)
    return stopped
