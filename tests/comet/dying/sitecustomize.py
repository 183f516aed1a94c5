"""Lets a ledger process die at once where its environment tells: DIES_AT=point:count.

Python imports this module by itself in every process whose path has this folder. `POINTS` says what
the points are; the process dies when it comes there for the count-th time.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

BEFORE: Final = "before"
AFTER: Final = "after"

POINTS: Final = {
    "info": ("application", "info", BEFORE),
    "init_chain": ("application", "init_chain", AFTER),
    "check_tx": ("application", "check_txs", AFTER),
    "prepare_proposal": ("application", "prepare_proposal", AFTER),
    "process_proposal": ("application", "process_proposal", AFTER),
    "finalize_block": ("application", "finalize_block", BEFORE),
    "finalized": ("application", "finalize_block", AFTER),
    "commit": ("application", "commit", BEFORE),
    "before the write": ("store", "write", BEFORE),
    "after the write": ("store", "write", AFTER),
    "committed": ("application", "commit", AFTER),
}
"""What of the application, or of the store, is called there, and on which side of it one dies."""


def die_at(point: str, count: int) -> None:
    """Change what is called at a point, so that it ends this process."""
    place, name, side = POINTS[point]
    owner = _application() if place == "application" else _store()
    left = [count]

    def come() -> None:
        left[0] -= 1
        if left[0] == 0:
            sys.stderr.write(f"dies at {point}\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    wrap = _wrap_async if place == "application" else _wrap
    setattr(owner, name, wrap(getattr(owner, name), come, is_before=side == BEFORE))


def _application() -> type:
    from registry.engines.comet.application import Application

    return Application


def _store() -> type:
    from ledger.leveldb import LevelStore

    return LevelStore


def _wrap(called: Callable[..., Any], come: Callable[[], None], *, is_before: bool) -> Any:
    @functools.wraps(called)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if is_before:
            come()
        result = called(*args, **kwargs)
        if not is_before:
            come()
        return result

    return wrapped


def _wrap_async(called: Callable[..., Any], come: Callable[[], None], *, is_before: bool) -> Any:
    @functools.wraps(called)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        if is_before:
            come()
        result = await called(*args, **kwargs)
        if not is_before:
            come()
        return result

    return wrapped


if "DIES_AT" in os.environ and "registry.ledger_process" in sys.orig_argv:
    told, times = os.environ["DIES_AT"].rsplit(":", 1)
    die_at(told, int(times))
