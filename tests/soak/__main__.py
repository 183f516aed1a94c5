"""`python -m tests.soak --minutes 60`: a development network with load, clients and faults.

It prints what happened, and checks what has to hold; exit code 1: something does not.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.soak.run import soak


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; return the exit code."""
    parser = argparse.ArgumentParser(prog="soak", description="Run a network for a long time.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1, help="what decides which faults there are")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where everything stays")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="wp", dir="/tmp") as folder:
        place = options.keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        report = asyncio.run(soak(place, options.minutes, options.seed))
    print("\n".join(report.lines))
    for finding in report.findings:
        print(f"FAILS  {finding}")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
