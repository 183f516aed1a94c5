"""What has to hold at the end of a run, each as a sentence, with the figures that show it."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from tests.simulation.aftermath import MOST_HELD
from tests.simulation.draws import is_plausible
from tests.simulation.equivocations import PAID
from tests.simulation.people import CAPTURED
from tests.simulation.plan import BESIEGED, YEAR
from tests.simulation.world import World

HARMLESS: Final = 20
"""Percent of all nodes up to which colluders do honest nodes no harm."""

ONE_IN: Final = 1_000
"""Node-years in which an honest node may be wrongly decommissioned once."""


class Claim(NamedTuple):
    """Something that holds or does not."""

    text: str
    holds: bool
    figures: str


def nobody_is_wronged(world: World) -> Iterator[Claim]:
    """With colluders up to a fifth."""
    for percent, tally in sorted(world.tally.shares.items()):
        if percent > HARMLESS:
            continue
        years = tally.honest / YEAR
        wrong, expected = tally.wrong_decommissions, tally.expected_wrongs
        is_rare = ONE_IN * max(wrong, expected) < years
        yield Claim(
            f"with colluders at {percent} % honest nodes are wrongly decommissioned less than once "
            f"in {ONE_IN:,} node-years, and never deregistered",
            is_rare and not tally.wrong_deregistrations,
            f"{wrong} and {tally.wrong_deregistrations} in {years:.1f} node-years, where "
            f"{expected:.2g} wrong decommissions are to be expected",
        )


def thirteen_do_no_harm(world: World) -> Iterator[Claim]:
    """The besieged, and everybody else who is healthy and down."""
    besieged = world.tally.group(BESIEGED)
    tried = world.tally.refused["judge: too_few_votes"]
    yield Claim(
        f"{world.plan.besiegers} of {world.plan.quorum[0]} colluders never decommission a healthy "
        "node",
        not besieged.decommissions[CAPTURED] and tried > 0,
        f"{besieged.decommissions[CAPTURED]} in {besieged.duty:,} node-epochs of besieged nodes, "
        f"{tried} tries with {world.plan.besiegers} votes refused",
    )
    held = max(tally.held for tally in world.tally.groups.values())
    yield Claim(
        f"nor do they hold a healthy node down for longer than {MOST_HELD} epochs",
        held <= MOST_HELD,
        f"{besieged.held} at most after {besieged.decommissions.total()} decommissions of besieged "
        f"nodes, {held} of all",
    )


def equivocators_pay(world: World) -> Iterator[Claim]:
    """Each deed is proven; who did one has lost stake or its place."""
    caught = world.caught
    equivocators = {deed.machine.name: False for deed in (*caught, *world.equivocations)}
    for deed in caught:
        equivocators[deed.machine.name] |= deed.outcome == PAID
    paid = sum(deed.outcome == PAID for deed in caught)
    yield Claim(
        "every equivocator is caught and pays",
        not world.equivocations and all(equivocators.values()),
        f"{sum(equivocators.values())} of {len(equivocators)} nodes; {paid} deeds punished, "
        f"{len(caught) - paid} covered by a heavier penalty, {len(world.equivocations)} open",
    )


def supply_is_constant(world: World) -> Iterator[Claim]:
    """Added up after each block."""
    blocks = world.chain.tip.height
    yield Claim(
        "supply is constant to the unit at every block",
        world.tally.supply_checks == blocks and world.mirror.coins == world.mirror.supply,
        f"{world.tally.supply_checks:,} of {blocks:,} blocks, {world.tally.audits} times all "
        "invariants",
    )


def seats_change_gently(world: World) -> Iterator[Claim]:
    """Whether attestors order their set, or nodes take their turns."""
    tally = world.tally
    yield Claim(
        "of four attestors or more a change leaves more than two thirds of the next set in place",
        tally.bold_changes == 0 and tally.set_changes > 0,
        f"{tally.bold_changes} of {tally.set_changes} changes",
    )
    yield Claim(
        "lost seats go first",
        tally.passed_over == 0,
        f"{tally.lost_seats} went, {tally.passed_over} changes passed one over",
    )
    if world.plan.takes_turns:
        yield Claim(
            "seats are for nodes on duty that lost no stake, each with its keys",
            tally.unfit_seats == 0 and tally.seats_taken > 0,
            f"{tally.seats_taken} seats taken, {tally.unfit_seats} by others",
        )


def a_bug_empties_nothing(world: World) -> Iterator[Claim]:
    """Every node failed at once, for days."""
    tally = world.tally
    yield Claim(
        "a bug that fails every node at once leaves three quarters of the list",
        4 * tally.bug_lowest >= 3 * tally.bug_start and tally.bug_failed > 0,
        f"{tally.bug_lowest} of {tally.bug_start} nodes after {tally.bug_failed:,} verdicts in "
        f"{len(world.plan.bug)} epochs",
    )


def rates_are_as_computed(world: World) -> Iterator[Claim]:
    """Neither tail of Poisson is below one in a billion."""
    for percent, tally in sorted(world.tally.shares.items()):
        for what, measured, expected in (
            ("quorums are captured", tally.captures, tally.expected_captures),
            ("for two epochs running", tally.runs, tally.expected_runs),
            ("nodes are wrongly decommissioned", tally.wrong_decommissions, tally.expected_wrongs),
            ("nodes that are down are failed", tally.failed, tally.expected_failed),
        ):
            yield Claim(
                f"with colluders at {percent} % {what} as often as computed",
                is_plausible(measured, expected),
                f"{measured:,} measured, {expected:.3g} expected",
            )


CLAIMS: Final[tuple[Callable[[World], Iterator[Claim]], ...]] = (
    nobody_is_wronged,
    thirteen_do_no_harm,
    equivocators_pay,
    supply_is_constant,
    seats_change_gently,
    a_bug_empties_nothing,
    rates_are_as_computed,
)
"""Every claim, in the order in which they are printed."""


def make_claims(world: World) -> list[Claim]:
    """Return what is to be said of a run that is over."""
    return [claim for make in CLAIMS for claim in make(world)]
