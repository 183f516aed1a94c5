"""10,000 legal orders of calls, with deaths in between: the Chain is where it has to be.

A failure names its seed; `WAYPOST_DRIVER_SEED=<seed>` runs that one alone.
"""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ledger import nodes, transition
from ledger.chain import Chain
from ledger.epochs import leaving, verdicts
from ledger.history import PenaltyRow
from ledger.messages.blocks import BlockInput
from ledger.messages.state import Node
from ledger.messages.tables import POOL
from ledger.offences import OFFENCES
from ledger.offences import punish as punish_module
from ledger.state import State
from ledger.transactions import TX_KINDS, report
from tests.ledger.driver import POINTS, play

SEQUENCES = 10_000
CHUNK = 1_000
ONE_SEED = os.environ.get("WAYPOST_DRIVER_SEED", "")
STARTS = [int(ONE_SEED)] if ONE_SEED else list(range(0, SEQUENCES, CHUNK))


CALLS = (
    *("init", "offer", "bad offer", "replay", "decided elsewhere", "decided unseen"),
    *("propose", "validate", "refuse block_transaction", "finalize again"),
    *("commit", "commit in parts", "death at a pause", "death by a failed write", "epoch ends"),
    *(f"death at {point}" for point in POINTS),
    *(f"code {number}" for number in (0, 4, 12, 13, 15, 16, 34, 35, 63, 80, 82)),
)
DEEDS = (
    *(f"applied {kind.name}" for kind in TX_KINDS),
    *(f"offence {offence.name}" for offence in OFFENCES),
    *("attestors change", "parameters change"),
)
CHANGES = (
    # by verdicts
    *("active to decommissioned", "decommissioned to active", "decommissioned to deregistered"),
    # by coming, going, and offences
    *("queued to active", "active to exited", "active to tombstoned", "payouts"),
)


@pytest.mark.parametrize("start", STARTS)
def test_sequences_from(start: int) -> None:
    total = play_all(range(start, start + (1 if ONE_SEED else CHUNK)))
    if not ONE_SEED:
        assert [name for name in (*CALLS, *DEEDS, *CHANGES) if not total[name]] == []


def play_all(seeds: range) -> Counter[str]:
    total: Counter[str] = Counter()
    for seed in seeds:
        total += play(seed)
    return total


# ---- what is wrong is noticed: where the replica errs, and where all do ----


def finalize_persists(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not committed reaches the store."""
    original = Chain.finalize

    def finalize(chain: Chain, block: Any, verified: Any = ()) -> Any:
        executed = yield from original(chain, block, verified)
        if chain._execution is not None:
            chain.store.write(chain._execution.changes)
        return executed

    monkeypatch.setattr(Chain, "finalize", finalize)


def stale_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that was executed is taken for whichever is decided."""
    original = Chain.finalize

    def finalize(chain: Chain, block: Any, verified: Any = ()) -> Any:
        if chain._execution is not None and chain._execution.header is None:
            chain._execution.input = block
        return original(chain, block, verified)

    monkeypatch.setattr(Chain, "finalize", finalize)


def forgotten_deletions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that a block deletes stay among those that were decoded before."""
    original = State.changed_records
    monkeypatch.setattr(
        State,
        "changed_records",
        lambda state: {k: r for k, r in original(state).items() if r is not None},
    )


def unsynced_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit returns before its batch is safe."""
    original = Chain.commit

    def commit(chain: Chain, seal: bytes = b"") -> Any:
        write = chain.store.write
        with monkeypatch.context() as patch:
            patch.setattr(
                chain.store, "write", lambda changes, sync=True: write(changes, sync=False)
            )
            return original(chain, seal)

    monkeypatch.setattr(Chain, "commit", commit)


def blind_proposer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a proposer has ready lacks the penalties for the misbehaviour that it names."""
    original = Chain.propose

    def propose(chain: Chain, *arguments: Any) -> Any:
        *rest, misbehaviour = arguments
        block: BlockInput = yield from original(chain, *rest)
        block = block._replace(misbehaviour=misbehaviour)
        assert chain._execution is not None
        chain._execution.input = block
        return block

    monkeypatch.setattr(Chain, "propose", propose)


def penalty_that_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a penalty takes does not come into the pool."""

    def punish(state: State, *arguments: Any, **keywords: Any) -> PenaltyRow:
        row = punish_module.punish(state, *arguments, **keywords)
        pool = state.one(POOL)
        state.put(POOL, replace(pool, balance=pool.balance - row.taken + row.bounty))
        return row

    monkeypatch.setattr(report, "punish", punish)
    monkeypatch.setattr(transition, "punish", punish)


def minted_bounty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reporter's bounty comes from nowhere, beside the one that the offender pays."""

    def punish(state: State, *arguments: Any, **keywords: Any) -> PenaltyRow:
        row = punish_module.punish(state, *arguments, **keywords)
        state.credit(keywords["reporter"], row.bounty)
        return row

    monkeypatch.setattr(report, "punish", punish)


def second_payout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever leaves is given his stake twice."""

    def end_life(state: State, key: bytes, node: Node) -> None:
        nodes.end_life(state, key, node)
        for c in node.contributions:
            state.credit(c.account, c.amount)

    monkeypatch.setattr(leaving, "end_life", end_life)


def verdict_that_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """One failing verdict counts as two, so that it alone deregisters a node that is down."""
    original = verdicts._fail

    def fail(*arguments: Any, **keywords: Any) -> None:
        original(*arguments, **keywords)
        original(*arguments, **keywords)

    monkeypatch.setattr(verdicts, "_fail", fail)


def verdict_that_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """One failing verdict decommissions a node."""
    monkeypatch.setattr(verdicts, "FAILING_EPOCHS", 1)


FAULTS = (
    *(finalize_persists, stale_execution, forgotten_deletions, unsynced_commit, blind_proposer),
    *(penalty_that_vanishes, minted_bounty, second_payout),
    *(verdict_that_counts_twice, verdict_that_is_enough),
)


@pytest.mark.parametrize("plant", FAULTS)
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="WAYPOST_DRIVER_SEED=") as caught:
        play_all(range(300))
    assert caught.value.__cause__ is not None
