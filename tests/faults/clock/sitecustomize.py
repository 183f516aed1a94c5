"""A clock that a test puts forward and back under processes that run.

Python imports this by its name at the start of each process whose `PYTHONPATH` leads here. The file
that `CLOCK_FILE` names holds the milliseconds by which this machine's clock is off, as it is now.
"""

import datetime as module
import os
import time
from pathlib import Path
from typing import Any

_true_ns = time.time_ns
_file = Path(os.environ["CLOCK_FILE"])


def _time_ns() -> int:
    return _true_ns() + 1_000_000 * int(_file.read_text() or "0")


def _time() -> float:
    return _time_ns() / 1e9


class _Shifted(module.datetime):
    @classmethod
    def now(cls, tz: module.tzinfo | None = None) -> Any:
        return cls.fromtimestamp(_time(), tz)


time.time_ns = _time_ns
time.time = _time
module.datetime = _Shifted  # type: ignore[misc]
