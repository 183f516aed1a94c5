"""`python -m bench [section…]`: measure, print, and keep the figures.

Exit code 1: a figure does not keep its limit.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench import (
    anvil,
    engines,
    epoch_end,
    execution,
    growth,
    lists,
    serving,
    startup,
    submission,
    swarms,
)
from bench.figures import Report, Section

SECTIONS: Final[dict[str, Callable[[Section], None]]] = {
    "execution": execution.run,
    "growth": growth.run,
    "swarms": swarms.run,
    "lists": lists.run,
    "serving": serving.run,
    "epoch_end": epoch_end.run,
    "submission": submission.run,
    "anvil": anvil.run,
    "startup": startup.run,
    "engines": engines.run,
}
"""Every section, in the order in which all of them run."""

STOPPED: Final = 143
"""Exit code after SIGTERM."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sections named, or all; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure against limits and peers.")
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--json", type=Path, default=Path("bench-results.json"), metavar="FILE")
    options = parser.parse_args(argv)
    for name in options.sections:
        if name not in SECTIONS:
            parser.error(f"there is no section {name}: {', '.join(SECTIONS)}")
    # so that whoever stops it finds nothing left: what runs beside it ends, what it wrote goes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    report = Report()
    for name in options.sections or SECTIONS:
        with report.section(name) as section:
            SECTIONS[name](section)
    report.save(options.json)
    missed = report.missed()
    print(f"\n{len(missed)} limits not kept{''.join(f'; {name}' for name in missed)}")
    print(f"figures in {options.json}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
