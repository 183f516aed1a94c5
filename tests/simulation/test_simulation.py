"""A short simulation: everything occurs in it, and it repeats exactly from its seed."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.errors import REFUSALS
from ledger.messages.tables import SETS
from ledger.offences import OFFENCES
from ledger.transactions import TX_KINDS
from tests.factory import public
from tests.simulation import run
from tests.simulation.claims import make_claims
from tests.simulation.equivocations import A_YEAR, DEED_OF, DEEDS
from tests.simulation.operations import accounts
from tests.simulation.operations.table import DUTIES, OPERATIONS
from tests.simulation.people import CAPTURED
from tests.simulation.plan import ATTESTORS, BESIEGED, GROUPS, SHARES, Plan, Violation
from tests.simulation.printing import describe_captures
from tests.simulation.world import World

SHORT = Plan(seed=13, nodes=48, epochs=480, operations=40, crashes=20, is_brisk=True)
"""A few dozen nodes, some hundred epochs."""

BRIEF = Plan(seed=5, nodes=48, epochs=120, operations=6, crashes=12)
"""Enough to compare."""


CAPTURED_OFTEN = Plan(seed=2, nodes=64, epochs=800, share=33, quorum=(10, 7), is_brisk=True)
"""A third colludes, and quorums are so small that it has many of them."""

TURNS = Plan(
    seed=6, nodes=48, epochs=480, operations=40, crashes=20, is_brisk=True, takes_turns=True
)
"""The short run where nodes take their turns on the attestors' seats."""

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def played() -> World:
    """The short run, at its end. Nobody changes it."""
    return run.play(run.start(SHORT))


@pytest.fixture(scope="module")
def turned() -> World:
    """The short run with turns, at its end. Nobody changes it."""
    return run.play(run.start(TURNS))


@pytest.fixture(scope="module")
def brief() -> World:
    """The brief run, at its end. Nobody changes it."""
    return run.play(run.start(BRIEF))


# ------------------------------------------------------------------------- the tables


def test_tables_are_complete() -> None:
    """Every kind of transaction and every offence is sent, and every code exists."""
    sent = {kind for duty in DUTIES for kind in duty.kinds}
    sent |= {row.kind for row in OPERATIONS if not row.code}
    assert sent == {row.name for row in (*TX_KINDS, *OFFENCES)}
    refused = {row.kind for row in OPERATIONS if row.code}
    assert refused == {row.name for row in TX_KINDS}
    assert {row.code for row in OPERATIONS if row.code} <= set(REFUSALS)


def test_offences_are_committed() -> None:
    """Each offence has a way to commit it, nodes that do, and a rate."""
    names = {offence.name for offence in OFFENCES}
    assert names == set(DEED_OF) == set(A_YEAR) == {deed for deeds in DEEDS for deed in deeds}


def test_documented_chances() -> None:
    """The table of captures in the docs is what is computed."""
    text = (ROOT / "docs" / "simulation.md").read_text()
    assert "\n".join(describe_captures()) in text


# ---------------------------------------------------------------------- what occurred


def test_everything_occurs(played: World) -> None:
    """Each kind, each offence and each refusal of the table, and crashes of several kinds."""
    tally = played.tally
    assert set(tally.applied) == {kind.name for kind in TX_KINDS}
    assert {name for name, count in tally.offences.items() if count} == {o.name for o in OFFENCES}
    assert set(tally.refused) == {f"{row.kind}: {row.code}" for row in OPERATIONS if row.code}
    assert len(tally.crashes) >= 5
    assert set(tally.shares) == set(SHARES)
    assert set(tally.groups) == {group.name for group in GROUPS}


def test_claims_hold(played: World) -> None:
    """What is said of a run holds for this one."""
    assert [claim for claim in make_claims(played) if not claim.holds] == []
    assert played.tally.supply_checks == SHORT.epochs
    assert played.tally.audits == SHORT.epochs // SHORT.audit_epochs


def test_nodes_take_their_turns(turned: World) -> None:
    """Nodes come for the founders, some are lost, and everything that is claimed holds."""
    tally = turned.tally
    assert [claim for claim in make_claims(turned) if not claim.holds] == []
    assert tally.seats_taken > len(ATTESTORS)
    assert tally.lost_seats > 0
    founders = {public(name) for name in ATTESTORS}
    seated = {member.list_key for member in turned.mirror.one(SETS).current}
    assert not founders & seated
    assert tally.refused["set_attestors: bad_order"] > 0
    assert set(tally.applied) == {kind.name for kind in TX_KINDS}


def test_small_quorums_are_captured() -> None:
    """Where colluders capture quorums, nodes are wronged, as often as computed."""
    world = run.play(run.start(CAPTURED_OFTEN))
    tally = world.tally.share(33)
    assert tally.captures > 100
    assert tally.runs > 0
    assert tally.wrong_decommissions > 0
    assert sum(group.decommissions[CAPTURED] for group in world.tally.groups.values()) == (
        tally.wrong_decommissions
    )
    assert [claim for claim in make_claims(world) if not claim.holds] == []


# --------------------------------------------------------------------------- repeating


def outcome(world: World) -> tuple[object, ...]:
    """What has to be the same."""
    return world.chain.tip, world.tally, [deed.outcome for deed in world.caught]


def test_repeats_from_its_seed(brief: World) -> None:
    """Twice the same, and another seed is another run."""
    assert outcome(run.play(run.start(BRIEF))) == outcome(brief)
    other = run.play(run.start(replace(BRIEF, seed=6)))
    assert other.chain.tip.root != brief.chain.tip.root


def test_crashes_change_nothing(brief: World) -> None:
    """Without them everything is the same."""
    whole = run.play(run.start(replace(BRIEF, crashes=0)))
    assert brief.tally.crashes.total() > 0
    assert whole.tally.crashes.total() == 0
    assert whole.chain.tip == brief.chain.tip
    assert whole.tally.refused == brief.tally.refused


def test_resumes_from_a_checkpoint(brief: World, tmp_path: Path) -> None:
    """Who goes on from the last checkpoint comes to the same end."""
    path = tmp_path / "checkpoint"
    run.play(run.start(BRIEF), path, every=50)
    world = run.load(path)
    assert world.chain.tip.height == 100
    assert outcome(run.play(world)) == outcome(brief)


def test_repeats_in_another_process(brief: World) -> None:
    """The order of hashes in a process has no effect, and the command prints the root."""
    arguments = [f"--seed={BRIEF.seed}", f"--nodes={BRIEF.nodes}", f"--epochs={BRIEF.epochs}",
                 f"--operations={BRIEF.operations}", f"--crashes={BRIEF.crashes}"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert f"final root {brief.chain.tip.root.hex()}" in done.stdout
    holds = all(claim.holds for claim in make_claims(brief))
    assert done.returncode == (0 if holds else 1)


# ----------------------------------------------------------------------------- noticing


def mint(world: World) -> None:
    """A coin that nobody had."""
    world.mirror.coins += 1


def expect_refusal(world: World) -> None:
    """A good transaction that had to be refused."""
    world.send(accounts.transfer(world), "amount_zero")


def expect_success(world: World) -> None:
    """A bad transaction that had to be applied."""
    world.send(accounts.transfer_nothing(world))


def expect_another_code(world: World) -> None:
    """A bad transaction that had to be refused for another reason."""
    world.send(accounts.transfer_nothing(world), "nonce_used")


def forge(world: World) -> None:
    """A signature that was not made with the stand-in, on a good transaction."""
    world.send(accounts.transfer_forged(world))


@pytest.mark.parametrize(
    "break_it", [mint, expect_refusal, expect_success, expect_another_code, forge]
)
def test_notices(break_it: Callable[[World], None]) -> None:
    """What does not hold ends the run, and names the seed and the height.

    A proposer leaves out what is bad without asking why, so not every block notices everything.
    """
    world = run.start(replace(BRIEF, crashes=0))
    with pytest.raises(Violation, match=r"seed 5, nodes 48, height \d+: "):
        play_broken(world, break_it)


def play_broken(world: World, break_it: Callable[[World], None]) -> None:
    """Break something in each of some blocks."""
    for _ in range(20):
        break_it(world)
        run.play_block(world)


def test_notices_a_lost_record() -> None:
    """What the state after a crash lacks is missed."""
    world = run.start(replace(BRIEF, crashes=BRIEF.epochs))
    world.mirror.tables[b"b"].popitem()
    with pytest.raises(Violation, match="another state after a crash"):
        run.play_block(world)


TAMPERED: dict[str, Callable[[World], None]] = {
    "wrongly decommissioned": lambda world: _set(world.tally.share(20), wrong_decommissions=1),
    "never deregistered": lambda world: _set(world.tally.share(5), wrong_deregistrations=1),
    "13 of 20": lambda world: world.tally.group(BESIEGED).decommissions.update([CAPTURED]),
    "longer than 5 epochs": lambda world: _set(world.tally.group(BESIEGED), held=6),
    "every equivocator": lambda world: world.equivocations.append(world.caught.pop()),
    "supply is constant": lambda world: _set(world.mirror, coins=0),
    "two thirds of the next set": lambda world: _set(world.tally, bold_changes=1),
    "lost seats": lambda world: _set(world.tally, passed_over=1),
    "three quarters": lambda world: _set(world.tally, bug_lowest=1),
    "at 33 % quorums": lambda world: _set(world.tally.share(33), captures=1_000),
    "at 33 % for two": lambda world: _set(world.tally.share(33), runs=1_000),
    "at 10 % nodes that are down": lambda world: _set(world.tally.share(10), failed=1_000),
}
"""What must not be, by a part of the claim that it breaks."""


def _set(tally: object, **values: int) -> None:
    for name, value in values.items():
        setattr(tally, name, value)


def test_claim_of_turns_can_fail(turned: World) -> None:
    """It fails where a seat was given to whom it must not be."""
    world: World = pickle.loads(pickle.dumps(turned))
    world.tally.unfit_seats = 1
    failed = [claim.text for claim in make_claims(world) if not claim.holds]
    assert failed == ["seats are for nodes on duty that lost no stake, each with its keys"]


@pytest.mark.parametrize("text", TAMPERED)
def test_claims_can_fail(played: World, text: str) -> None:
    """Each claim fails where it has to, and nothing else does."""
    world: World = pickle.loads(pickle.dumps(played))
    TAMPERED[text](world)
    failed = [claim.text for claim in make_claims(world) if not claim.holds]
    assert failed
    assert [claim for claim in failed if text not in claim] == []
