"""What a run prints: tables of counts, then the claims; and its line in a summary of many seeds."""

from collections.abc import Iterator, Sequence
from typing import Final

from ledger.params import DAY
from ledger.types import COIN
from tests.factory import public
from tests.simulation.claims import Claim
from tests.simulation.draws import chance
from tests.simulation.people import BUG, CAPTURED, DOWN
from tests.simulation.plan import GROUPS, RICH, SHARES, WATCHERS, YEAR, Plan
from tests.simulation.world import World

SUMMARY_HEAD: Final = (
    "| seed | applied | refused | crashes | deeds punished | captured at 20 % | captured at 33 % "
    "| twice running at 33 % | wrongly decommissioned at 5, 10, 20, 33 % | wrongly deregistered "
    "| held | claims | final root |\n"
    "|" + 13 * "---|"
)


def print_run(world: World, claims: Sequence[Claim], seconds: float) -> None:
    """Print everything about a run that is over."""
    plan, tip = world.plan, world.chain.tip
    print(f"seed {plan.seed}: {len(world.machines)} nodes, {tip.height:,} epochs of one block, "
          f"{seconds:.0f} s")  # fmt: skip
    print(f"final root {tip.root.hex()}")
    for lines in (_groups(world), _shares(world), _counts(world)):
        print()
        print("\n".join(lines))
    print()
    for claim in claims:
        print(f"{'holds' if claim.holds else 'FAILS'}  {claim.text}: {claim.figures}")


def _table(rows: Sequence[Sequence[object]]) -> Iterator[str]:
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        yield "  ".join(cells)


def _groups(world: World) -> Iterator[str]:
    head = ("group", "nodes", "node-years", "hours not working", "hours down", "decommissioned",
            "wrongly", "by the bug", "deregistered", "wrongly", "by the bug", "left", "tombstoned",
            "paid out", "days to it, least", "mean", "rewards", "penalties")  # fmt: skip
    rows: list[Sequence[object]] = [head]
    for group in GROUPS:
        tally = world.tally.group(group.name)
        removed, gone = tally.decommissions, tally.deregistrations
        paid = tally.payouts
        rows.append((
            group.name, tally.nodes, f"{tally.duty / YEAR:.1f}", tally.out, tally.down,
            removed[DOWN], removed[CAPTURED], removed[BUG], gone[DOWN], gone[CAPTURED], gone[BUG],
            tally.exits, tally.tombstones, paid, f"{tally.soonest_ms / DAY:.1f}" if paid else "",
            f"{tally.payout_ms / DAY / paid:.1f}" if paid else "", tally.rewards // COIN,
            tally.penalties // COIN,
        ))  # fmt: skip
    yield from _table(rows)
    yield f"bounties of the watchers: {count_bounties(world) // COIN:,} coins"


def count_bounties(world: World) -> int:
    """Return what watchers got, who send reports and nothing else."""
    return sum(world.state.account(public(name)).balance - RICH for name in WATCHERS)


def _shares(world: World) -> Iterator[str]:
    head = ("colluders", "held", "attacked", "captured", "computed", "a quorum in", "computed",
            "twice running", "computed", "wrongly decommissioned", "computed", "deregistered",
            "node-years", "down", "failed", "computed")  # fmt: skip
    rows: list[Sequence[object]] = [head]
    for percent, tally in sorted(world.tally.shares.items()):
        rows.append((
            f"{percent} %", f"{100 * tally.colluding / tally.roster:.1f} %", tally.healthy,
            tally.captures, f"{tally.expected_captures:.3g}",
            one_in(tally.healthy, tally.captures), one_in(tally.healthy, tally.expected_captures),
            tally.runs, f"{tally.expected_runs:.3g}", tally.wrong_decommissions,
            f"{tally.expected_wrongs:.3g}",
            tally.wrong_deregistrations, f"{tally.honest / YEAR:.1f}", tally.out, tally.failed,
            f"{tally.expected_failed:.1f}",
        ))  # fmt: skip
    yield from _table(rows)


def one_in(count: int, hits: float) -> str:
    """Return in how many of `count` one hit comes."""
    return f"{count / hits:.3g}" if hits else "-"


def _counts(world: World) -> Iterator[str]:
    tally = world.tally
    for name, counts in (
        ("applied", tally.applied),
        ("offences punished", tally.offences),
        ("refused", tally.refused),
        ("crashes", tally.crashes),
    ):
        parts = [f"{key} {count:,}" for key, count in sorted(counts.items())]
        yield f"{name} ({counts.total():,}): {', '.join(parts)}"
    yield f"smallest list: {tally.smallest_list} nodes"


def summarise(world: World, claims: Sequence[Claim]) -> str:
    """Return a run's line in the table of a summary."""
    tally = world.tally
    shares = [tally.shares[percent] for percent in SHARES if percent in tally.shares]
    last = shares[-1]
    twenty = tally.share(20)
    failed = [claim.text for claim in claims if not claim.holds]
    cells = (
        world.plan.seed,
        f"{tally.applied.total():,}",
        f"{tally.refused.total():,}",
        tally.crashes.total(),
        tally.offences.total(),
        f"{twenty.captures} ({twenty.expected_captures:.2g})",
        f"{last.captures} ({last.expected_captures:.0f})",
        f"{last.runs} ({last.expected_runs:.2g})",
        ", ".join(str(share.wrong_decommissions) for share in shares),
        sum(share.wrong_deregistrations for share in shares),
        max(group.held for group in tally.groups.values()),
        "all hold" if not failed else "; ".join(failed),
        world.chain.tip.root.hex()[:16],
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def describe_captures(nodes: int = 300) -> list[str]:
    """Return a table of how often a quorum of mainnet is captured, for `docs/simulation.md`."""
    lines = [
        "| colluders | a quorum is captured once in | a node's quorums in a year | twice running "
        "in a year of a node |",
        "|---|---|---|---|",
    ]
    for percent in SHARES:
        likely = chance(nodes - 1, nodes * percent // 100, *Plan(0).quorum)
        cells = f"{1 / likely:.3g}", f"{YEAR * likely:.2g}", f"{YEAR * likely**2:.2g}"
        lines.append(f"| {percent} % | {' | '.join(cells)} |")
    return lines
