"""Lists that a command takes by the real clock."""

import time
from typing import Any, Final

from tests.registry.client.factory import EPOCH_MS, FRESH_MS, VALID_MS, MadeList, make_list

NEWEST: Final = 900
"""The epoch that has just ended. Most of the time since the network's start was one long halt."""


def newest(age_ms: int = 1_000, epoch: int | None = None, **options: Any) -> MadeList:
    """The list of an epoch that ended so many milliseconds ago, by the usual epochs since."""
    ended_ms = time.time_ns() // 10**6 - age_ms
    times = {
        "valid_after_ms": ended_ms,
        "fresh_until_ms": ended_ms + FRESH_MS,
        "valid_until_ms": ended_ms + VALID_MS,
    }
    number = NEWEST - age_ms // EPOCH_MS if epoch is None else epoch
    return make_list(number, **(times | options))
