"""How a node fared, epoch by epoch: the verdicts on it and what it was paid.

- Of an epoch the ledger's history keeps what each earning node got, and the accumulator. What one
  node got follows from when its running time of earning began; before that it is not told, unless
  the node cannot have earned.
- A replica knows nothing of what was before the snapshot that filled it.
"""

from typing import Any, Final

from ledger.history import EPOCH_ROW, VERDICT_ROW, EpochRow, end_key, verdict_key
from ledger.messages.duty import name_faults
from ledger.messages.state import ACTIVE, DECOMMISSIONED, DEREGISTERED, Node
from ledger.messages.tables import EPOCH, NODES
from ledger.types import Amount, Epoch, Key
from ledger.views import View

MAX_HISTORY_EPOCHS: Final = 336
"""A week on mainnet."""


def show_history(view: View, key: Key, epochs: int) -> dict[str, Any] | None:
    """Return what is known of the newest `epochs` epochs that ended, the oldest first.

    None if there is no such node.
    """
    node = view.state.get(NODES, key)
    if node is None:
        return None
    running = view.state.one(EPOCH).epoch
    rows = []
    for epoch in range(max(1, running - min(epochs, MAX_HISTORY_EPOCHS)), running):
        raw = view.reader.get(end_key(epoch))
        if raw is not None:
            rows.append(_show_epoch(view, epoch, key, node, EPOCH_ROW.load(raw)))
    return {"epochs": rows}


def _show_epoch(view: View, epoch: Epoch, key: Key, node: Node, end: EpochRow) -> dict[str, Any]:
    faults = get_faults(view, epoch, key, node)
    reward = compute_reward(node, end)
    verdicts = {None: "none", 0: "passed"}
    return {
        "epoch": epoch,
        "ended_ms": end.time_ms,
        "verdict": verdicts.get(faults, "failed"),
        "faults": name_faults(faults or 0),
        "reward": None if reward is None else str(reward),
    }


def get_faults(view: View, epoch: Epoch, key: Key, node: Node) -> int | None:
    """Return all faults that a verdict on this life of a node names, 0 for a pass; None without."""
    raw = view.reader.get(verdict_key(epoch, key))
    row = None if raw is None else VERDICT_ROW.load(raw)
    if row is None or row.life != node.life:
        return None
    faults = 0
    for _, found in row.votes:
        faults |= found
    return faults


def compute_reward(node: Node, end: EpochRow) -> Amount | None:
    """Return what a node got for an epoch that ended; None where that cannot be told."""
    if end.height <= node.registered_height:
        return None
    earns_from_ms = max(node.activated_ms + 1, node.payable_from_ms)
    if not node.activated_ms or end.time_ms < earns_from_ms:
        return 0
    if end.time_ms == node.since_ms:
        # who came on duty at this end, or was taken off it, got nothing; who left it did
        return 0 if node.state in (ACTIVE, DECOMMISSIONED, DEREGISTERED) else None
    if node.earning:
        # an epoch that ended before it began to earn had a smaller accumulator, or paid nothing
        return end.share if end.accumulator - end.share >= node.entry else None
    return 0 if end.time_ms > node.since_ms else None
