"""What stands in the logs: every warning and every error has to be explained by a fault.

A line that is not JSON was written by nobody who knew what he did: it is never explained.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

LOUD: Final = frozenset({"warning", "error", "critical"})


class Explained(NamedTuple):
    """A row of `EXPLAINED`."""

    event: str
    """What the line says, as a pattern."""
    pattern: str
    """What stands somewhere in it."""
    why: str


AWAY: Final = (
    "did not answer|took longer than|answered 503|answers 503|"
    "no service has a signed list|no source takes transactions"
)
"""What is said of a service that is killed, stopped or stands still, by who asks it meanwhile."""

EXPLAINED: Final = (
    Explained("process ended", "", "one of a service's processes was killed, so all of them end"),
    Explained("ledger process lost", "", "it was killed"),
    Explained(
        "epoch not begun|not up to date|no proof|check-in not taken|contact not taken",
        AWAY,
        "the service was away from an agent",
    ),
    Explained(
        "epoch not begun|not up to date|no proof",
        "is not kept here",
        "a service that was started again proves nothing older than that",
    ),
    Explained(
        "no vote: nothing can be told",
        "may be cut off",
        "who was started a moment ago looked at who was dead, before anybody could be heard",
    ),
    Explained("vote refused", "not_tested", "whom it is on went off duty, or came back, meanwhile"),
    Explained("attestation refused", "attest_closed", "it came late, since the service was away"),
    Explained(
        "source failed|submission not passed on|attestation not submitted",
        AWAY,
        "the service was away from an attestor",
    ),
    Explained(
        "fails",
        "no signed answer within|Connect call failed|reset by peer|no answer in time",
        "a node was dead, or stood still",
    ),
    Explained("Invalid HTTP request received.|Unsupported upgrade request.", "uvicorn", "nonsense"),
    Explained("No supported WebSocket library detected.*", "uvicorn", "nonsense asked for one"),
    Explained("socket.send.. raised exception.", "asyncio", "who was written to was killed"),
)


def read_log(path: Path) -> tuple[Counter[str], list[str]]:
    """Return how often each loud event stands in a log, and the lines that nothing explains."""
    counts: Counter[str] = Counter()
    unexplained = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
            event, level = str(row["event"]), str(row["level"])
        except (ValueError, TypeError, KeyError):
            unexplained.append(line)
            continue
        if level not in LOUD:
            continue
        counts[event] += 1
        if not is_explained(event, line):
            unexplained.append(line)
    return counts, unexplained


def is_explained(event: str, line: str) -> bool:
    """Whether a row of the table says why there is such a line."""
    return any(re.fullmatch(row.event, event) and re.search(row.pattern, line) for row in EXPLAINED)
