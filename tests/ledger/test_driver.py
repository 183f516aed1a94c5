"""10,000 legal orders of calls, with deaths in between: the Chain is where it has to be.

A failure names its seed; `WAYPOST_DRIVER_SEED=<seed>` runs that one alone.
"""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from ledger.chain import Chain
from ledger.state import State
from tests.ledger.driver import POINTS, play

SEQUENCES = 10_000
CHUNK = 1_000
ONE_SEED = os.environ.get("WAYPOST_DRIVER_SEED", "")
STARTS = [int(ONE_SEED)] if ONE_SEED else list(range(0, SEQUENCES, CHUNK))


@pytest.mark.parametrize("start", STARTS)
def test_sequences_from(start: int) -> None:
    play_all(range(start, start + (1 if ONE_SEED else CHUNK)))


def play_all(seeds: range) -> Counter[str]:
    total: Counter[str] = Counter()
    for seed in seeds:
        total += play(seed)
    return total


# ---- the driver reaches what it is for, and notices what is wrong ----

CALLS = (
    *("init", "offer", "bad offer", "replay", "decided elsewhere", "decided unseen"),
    *("propose", "validate", "refuse block_transaction", "finalize again"),
    *("commit", "commit in parts", "death at a pause", "death by a failed write", "epoch ends"),
    *(f"death at {point}" for point in POINTS),
    *(f"code {number}" for number in (0, 4, 12, 13, 15, 16, 34, 35, 63, 80, 82)),
)


def test_sequences_reach_everything() -> None:
    total = play_all(range(400))
    assert [name for name in CALLS if not total[name]] == []


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


@pytest.mark.parametrize(
    "plant", [finalize_persists, stale_execution, forgotten_deletions, unsynced_commit]
)
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="WAYPOST_DRIVER_SEED=") as caught:
        play_all(range(300))
    assert caught.value.__cause__ is not None
