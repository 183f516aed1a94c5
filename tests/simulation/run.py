"""One run: block after block, what everybody does, and what has to hold after each.

- Blocks come in three ways: proposed from what is good and validated; refused by `validate` when
  bad transactions are in them, and finalized all the same; finalized at once.
- Now and then the process dies at a named point, or a write fails. It begins anew with what
  survived, and has to come to the tip that a replica reaches which did not die.
- What does not hold raises `Violation`, which names the seed and the height.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ledger.chain import CRASH_POINTS, Chain, Executed
from ledger.codec import Record
from ledger.errors import REFUSALS, Refusal
from ledger.invariants import find_violations
from ledger.messages.blocks import BlockInput
from ledger.steps import run
from ledger.store import Crashed
from ledger.transactions.envelope import Transaction
from tests.simulation.aftermath import count_block
from tests.simulation.mirror import Mirror
from tests.simulation.operations.table import DUTIES, OPERATIONS
from tests.simulation.plan import Plan, Violation, require
from tests.simulation.stand_in import verify_all
from tests.simulation.world import Sent, World

POINTS: Final = (
    *(point for point in CRASH_POINTS if not point.startswith("init")),
    "store.before_write",
    "store.after_write",
)
"""Where the process dies."""

WRITE_FAILS: Final = {"a write that failed": False, "a write that failed and landed": True}
"""How else it does, and whether the batch was written."""

FORGET_AFTER: Final = 100
"""Blocks from one snapshot to the next, which the chain goes on from without its history."""

NAMES: Final = {row.number: code for code, row in REFUSALS.items()} | {0: ""}
WEIGHTS: Final = [operation.weight for operation in OPERATIONS]


def play(world: World, checkpoint: Path | None = None, every: int = 500) -> World:
    """Play to the end of the plan; write a checkpoint now and then."""
    while world.epoch <= world.plan.epochs:
        play_block(world)
        done = world.epoch - 1
        if checkpoint is not None and done % every == 0:
            save(world, checkpoint)
    return world


def start(plan: Plan) -> World:
    """Return the world before its first block."""
    return World(plan)


def save(world: World, path: Path) -> None:
    """Write a checkpoint, which takes the place of the one before when it is complete."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(pickle.dumps(world))
    fresh.replace(path)


def load(path: Path) -> World:
    """Return the world of a checkpoint that this program wrote."""
    world: World = pickle.loads(path.read_bytes())
    return world


def play_block(world: World) -> None:
    """Play one epoch, which is one block."""
    for duty in DUTIES:
        duty.do(world)
    for operation in world.random.choices(OPERATIONS, WEIGHTS, k=world.plan.operations):
        draft = operation.make(world)
        if draft is not None:
            world.send(draft, operation.code)
    deaths = sum(world.tally.crashes.values())
    try:
        changed = execute(world)
        has_died = sum(world.tally.crashes.values()) > deaths
        nodes = world.mirror.apply(changed)
        is_same = not has_died or world.mirror == Mirror(world.store)
        require(is_same, "another state after a crash")
        count_block(world, nodes)
        check(world)
    except Violation as violation:
        where = f"seed {world.plan.seed}, nodes {world.plan.nodes}, height {world.height}"
        raise Violation(f"{where}: {violation}") from violation
    is_end = world.chain.view().ended_epoch is not None
    if is_end and world.chain.tip.height - world.forgotten >= FORGET_AFTER:
        world.forget_history()
    world.begin_block()


# --------------------------------------------------------------------------- execution


def execute(world: World) -> Mapping[bytes, Record | None]:
    """Execute and commit the next block; returns the records that it changed."""
    block = make_input(world, world.outbox)
    way = world.random.random()
    if way < 0.3:
        block = propose(world)
    elif way < 0.4:
        validate(world, block)
    if world.deaths.random() < world.plan.crashes / world.plan.epochs:
        return die_and_return(world, block)
    executed = run(world.chain.finalize(block), verify_all)
    check_codes(world, block, executed)
    made, batch = world.chain.begin_commit()
    world.store.write(batch)
    return world.chain.end_commit(made)


def make_input(world: World, rows: list[Sent]) -> BlockInput:
    """Return a block of what is on its way."""
    raws = tuple(row.raw for row in rows)
    return BlockInput(world.height, world.time_ms, b"", tuple(world.misbehaviour), raws)


def propose(world: World) -> BlockInput:
    """Return the block that is proposed of what is on its way: all that is good, nothing else."""
    candidates = [tx for row in world.outbox if (tx := verify(world, row)) is not None]
    block = run(
        world.chain.propose(world.height, world.time_ms, b"", candidates, tuple(world.misbehaviour))
    )
    world.outbox = [row for row in world.outbox if not row.code]
    left = [row.kind for row in world.outbox if row.raw not in block.transactions]
    require(block == make_input(world, world.outbox), f"proposed without {left}")
    return block


def verify(world: World, row: Sent) -> Transaction | None:
    """Return a transaction whose signatures are valid, as a pool does; None if they are not."""
    try:
        tx = world.chain.decode(row.raw)
        return tx if all(verify_all(world.chain.signatures(tx))) else None
    except Refusal as refusal:
        require_code(row, refusal.code)
        return None


def validate(world: World, block: BlockInput) -> None:
    """Validate a block: it is refused if it holds a bad transaction."""
    bad = [row for row in world.outbox if row.code]
    try:
        run(world.chain.validate(block), verify_all)
    except Refusal as refusal:
        require(bad and refusal.code == "block_transaction", f"validate: {refusal}")
    else:
        require(not bad, "validate lets a bad transaction pass")


def require_code(row: Sent, code: str) -> None:
    """Require that a transaction did what it had to."""
    require(code == row.code, f"{row.kind} is {code or 'applied'}, not {row.code or 'applied'}")


def check_codes(world: World, block: BlockInput, executed: Executed) -> None:
    """Check that each transaction did what it had to, and count it."""
    require(executed.ended_epoch, "the block does not end its epoch")
    tally = world.tally
    for row, number in zip(world.outbox, executed.codes, strict=True):
        code = NAMES[number]
        require_code(row, code)
        if code:
            tally.refused[f"{row.kind}: {code}"] += 1
        else:
            tally.applied[row.kind] += 1


def die_and_return(world: World, block: BlockInput) -> Mapping[bytes, Record | None]:
    """Die while a block is executed or committed, begin anew, and go where others are."""
    twin = Chain(world.store.survivor(), world.genesis)
    executed = run(twin.finalize(block), verify_all)
    check_codes(world, block, executed)
    made, batch = twin.begin_commit()
    twin.store.write(batch)
    changed = twin.end_commit(made)
    fate = world.deaths.choice((*POINTS, *WRITE_FAILS))
    world.tally.crashes[fate] += 1
    if fate in WRITE_FAILS:
        world.store.fail_next_write(WRITE_FAILS[fate])
    else:
        world.store.arm(fate)
    try:
        run(world.chain.finalize(block), verify_all)
        world.chain.commit()
    except (Crashed, OSError):
        world.open(world.store.survivor())
    else:
        raise Violation(f"nobody died at {fate}")
    require(world.chain.tip.height in (block.height - 1, block.height), "a block was lost")
    if world.chain.tip.height < block.height:
        again = run(world.chain.finalize(block), verify_all)
        require(again.codes == executed.codes, "another outcome after a crash")
        world.chain.commit()
    require(world.chain.tip == twin.tip, f"another tip after a crash at {fate}")
    return changed


# ----------------------------------------------------------------------------- checks


def check(world: World) -> None:
    """Check what has to hold after each block, and now and then everything."""
    world.tally.supply_checks += 1
    coins, supply = world.mirror.coins, world.mirror.supply
    require(coins == supply, f"{coins} atomic units instead of {supply}")
    if world.chain.tip.height % world.plan.audit_epochs == 0:
        world.tally.audits += 1
        violations = find_violations(world.state)
        require(not violations, "; ".join(violations[:3]))
