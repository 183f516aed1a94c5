"""`python -m tests.simulation --seed N`: play a year, print what happened, check what has to hold.

Exit code 1: something does not hold; the seed that repeats it is printed.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.simulation.claims import make_claims
from tests.simulation.plan import FULL, SHARES, YEAR, Plan, Violation
from tests.simulation.printing import SUMMARY_HEAD, print_run, summarise
from tests.simulation.run import load, play, start


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; return the exit code."""
    parser = make_parser()
    options = parser.parse_args(argv)
    if options.seeds:
        return play_many(options)
    if options.resume is None and options.seed is None:
        parser.error("name a seed, several, or a checkpoint")
    world = load(options.resume) if options.resume else start(make_plan(options, options.seed))
    began = time.monotonic()
    try:
        play(world, options.checkpoint or options.resume, options.every)
    except Violation as violation:
        print(f"FAILS  {violation}")
        return 1
    claims = make_claims(world)
    print_run(world, claims, time.monotonic() - began)
    if all(claim.holds for claim in claims):
        return 0
    print(f"seed {world.plan.seed} does not hold")
    return 1


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="simulate", description="Simulate a year of a network.")
    parser.add_argument("--seed", type=int, help="what decides everything")
    parser.add_argument("--seeds", metavar="A..B", help="several seeds, for a summary")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="where their table goes")
    parser.add_argument("--jobs", type=int, default=1, help="seeds that run beside each other")
    parser.add_argument("--nodes", type=int, default=FULL)
    parser.add_argument("--epochs", type=int, default=YEAR)
    parser.add_argument(
        "--share", type=int, choices=SHARES, help="percent that collude for the whole run"
    )
    parser.add_argument("--crashes", type=int, default=60, help="deaths of the process, about")
    parser.add_argument("--operations", type=int, default=4, help="drawn for each block")
    parser.add_argument("--brisk", action="store_true", help="nodes leave and return within days")
    parser.add_argument("--turns", action="store_true", help="nodes take the attestors' seats")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="written now and then")
    parser.add_argument("--every", type=int, default=500, help="epochs between two checkpoints")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on from a checkpoint")
    return parser


def make_plan(options: argparse.Namespace, seed: int) -> Plan:
    """Return the plan that the options describe."""
    return Plan(
        seed=seed,
        nodes=options.nodes,
        epochs=options.epochs,
        share=options.share,
        crashes=options.crashes,
        operations=options.operations,
        is_brisk=options.brisk,
        takes_turns=options.turns,
    )


def play_many(options: argparse.Namespace) -> int:
    """Play several seeds, and write a table with a line for each."""
    first, last = map(int, options.seeds.split(".."))
    plans = [make_plan(options, seed) for seed in range(first, last + 1)]
    out = options.summary.open("w") if options.summary else sys.stdout
    print(SUMMARY_HEAD, file=out, flush=True)
    holds = True
    with ProcessPoolExecutor(options.jobs) as pool:
        for held, line in pool.map(play_one, plans):
            print(line, file=out, flush=True)
            holds &= held
    if options.summary:
        out.close()
    return 0 if holds else 1


def play_one(plan: Plan) -> tuple[bool, str]:
    """Play one seed; return whether all holds, and its line."""
    try:
        world = play(start(plan))
    except Violation as violation:
        return False, f"| {plan.seed} | {violation} |"
    claims = make_claims(world)
    return all(claim.holds for claim in claims), summarise(world, claims)


if __name__ == "__main__":
    raise SystemExit(main())
