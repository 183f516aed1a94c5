"""`python -m tests.fuzzing`: fuzz every decoder, guided by what it runs through.

    --runs N        inputs in all, shared out; what slow decoders leave undone goes to the others
    --seconds N     what one decoder takes at most
    --target NAME   this one only; may be repeated
    --jobs N        decoders beside each other
    --out FOLDER    where inputs are kept that led somewhere new (corpus), and findings
    --input FILE    try one input on one target, without atheris

Exit code 1: something was found; 2: atheris is missing.
"""

import argparse
import io
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path

INSTALL = """\
fuzzing needs atheris, which is not in the lock, since not every machine can have it:
  .venv/bin/python -m pip install 'atheris>=3'"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; return the exit code."""
    parser = make_parser()
    options = parser.parse_args(argv)
    if options.input is not None:
        if len(options.target) != 1:
            parser.error("name the one target that the input is for")
        return try_one(options.target[0], options.input)
    try:
        import atheris
    except ImportError:
        print(INSTALL, file=sys.stderr)
        return 2
    # what is imported here is instrumented, and told of: nothing may import it earlier
    told = io.StringIO()
    with redirect_stderr(told), atheris.instrument_imports(include=["ledger", "registry"]):
        from tests.fuzzing.campaign import fuzz_all, print_table
        from tests.fuzzing.targets import find_targets
    began = time.monotonic()
    targets = find_targets(options.target)
    rows = fuzz_all(targets, options.out, options.runs, options.seconds, options.jobs)
    print_table(rows, time.monotonic() - began)
    return 1 if any(row.findings for row in rows) else 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="fuzz", description="Fuzz every decoder.")
    parser.add_argument("--runs", type=int, default=10_000_000, help="inputs in all")
    parser.add_argument("--seconds", type=int, default=600, help="for one decoder at most")
    parser.add_argument("--target", action="append", default=[], metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2, help="decoders beside each other")
    parser.add_argument("--out", type=Path, default=Path("build/fuzzing"), metavar="FOLDER")
    parser.add_argument("--input", type=Path, metavar="FILE", help="try one input on one target")
    return parser


def try_one(name: str, path: Path) -> int:
    """Try the input in a file; what it breaks comes out as it is."""
    from tests.fuzzing.judge import judge
    from tests.fuzzing.targets import TARGETS

    print("taken" if judge(TARGETS[name], path.read_bytes()) else "refused")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
