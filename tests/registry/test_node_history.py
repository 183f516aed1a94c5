"""A node's history: what it says is what the ledger did, and it says nothing else."""

from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.history import EpochRow, end_key
from ledger.messages.state import ACTIVE, DECOMMISSIONED, DEREGISTERED, NODE_STATES
from ledger.messages.tables import NODES, POOL
from ledger.nodes import get_total
from ledger.store import MemoryStore
from ledger.views import View
from registry.node_history import MAX_HISTORY_EPOCHS, compute_reward, show_history
from tests.factory import Network, public
from tests.life import FAULTY, judge, report, running, vote_evidence
from tests.registry.town import NODES_NAMES, make_town

EPOCH_MS: Final = 10_000

Paid = dict[bytes, dict[int, int]]
"""What each node got for each epoch."""


def totals(network: Network) -> dict[bytes, int]:
    """What each node earned in its running period."""
    pool = network.state.one(POOL)
    return {key: get_total(node, pool) for key, node in network.state.items(NODES)}


def end_epoch(network: Network, paid: Paid) -> None:
    """End the running epoch, and take down what it brought each node."""
    epoch, before = running(network), totals(network)
    network.end_epoch()
    for key, total in totals(network).items():
        paid.setdefault(key, {})[epoch] = total - before[key]


def history(network: Network, key: bytes, epochs: int = 48) -> list[dict[str, Any]]:
    """The history of a node."""
    shown = show_history(network.view, key, epochs)
    assert shown is not None
    rows: list[dict[str, Any]] = shown["epochs"]
    return rows


def check_rewards(network: Network, paid: Paid) -> dict[bytes, list[Any]]:
    """Compare with what was paid all that every history tells; return the epochs it cannot tell."""
    unknown = {}
    for key, _ in network.state.items(NODES):
        rows = history(network, key)
        assert [row["epoch"] for row in rows] == list(range(1, running(network)))
        told = {row["epoch"]: row["reward"] for row in rows if row["reward"] is not None}
        assert told == {epoch: str(paid[key][epoch]) for epoch in told}
        unknown[key] = [row["epoch"] for row in rows if row["reward"] is None]
    return unknown


def make_network(**params: int) -> Network:
    network = make_town(**{"removal_floor": 9, "activation_floor": 9, **params})
    network.attesting = False
    return network


@pytest.mark.parametrize("payable_ms", [0, 25_000], ids=["at once", "later"])
def test_rewards_are_what_was_paid(payable_ms: int) -> None:
    network = make_network(payable_ms=payable_ms)
    paid: Paid = {}
    steady, down, slashed, leaving, new = (*NODES_NAMES[:4], "newcomer")
    for epoch in range(1, 15):
        if epoch == 2:
            network.block(network.register(new, "judy"))
        if epoch in (4, 5):
            network.block(judge(network, down, FAULTY))
        if epoch == 8:
            network.block(judge(network, down))
        if epoch == 6:
            network.block(report(network, "kim", vote_evidence(network, slashed)))
        if epoch == 10:
            network.block(network.request_unlock("dave", leaving))
        end_epoch(network, paid)
        unknown = check_rewards(network, paid)
        assert unknown[public(steady)] == []
        assert unknown[public(slashed)] == ([] if epoch < 6 else earned_by(paid, slashed, 6))
        is_down = 6 <= epoch < 9
        # while it is down the time before is not told, and once it is back neither is that
        if is_down:
            assert unknown[public(down)] == list(range(first_paid(payable_ms), 6))
        if epoch >= 10:
            assert unknown[public(down)] == list(range(first_paid(payable_ms), 9))
        if epoch >= 10:
            assert unknown[public(leaving)] == list(range(first_paid(payable_ms), 11))
        assert [e for e in unknown.get(public(new), ()) if e > 2] == []
    assert paid[public(steady)][14] > 0
    # nobody was paid before the time for it, and the one that is down is not
    assert (paid[public(steady)][1] > 0) == (payable_ms == 0)
    assert paid[public(down)][6] == paid[public(down)][7] == 0 < paid[public(down)][10]
    assert paid[public(new)][13] == paid[public(steady)][13]


def first_paid(payable_ms: int) -> int:
    """The first epoch that pays the nodes of the start."""
    return max(1, -(-payable_ms // EPOCH_MS))


def earned_by(paid: Paid, name: str, before: int) -> list[int]:
    """The epochs before one for which a node was paid."""
    return [e for e, amount in paid[public(name)].items() if e < before and amount]


def test_no_step_of_telling_is_left_out() -> None:
    """Epochs of one node at every place from which it is told in another way."""
    node = replace(
        make_network().node(NODES_NAMES[0]),
        registered_height=10,
        activated_ms=1_000,
        payable_from_ms=2_000,
        since_ms=1_000,
        earning=1,
        entry=500,
    )
    end = EpochRow(height=20, time_ms=5_000, share=7, earning=3, balance=1, accumulator=507)
    assert compute_reward(node, end) == 7
    assert compute_reward(node, replace(end, accumulator=506)) is None
    assert compute_reward(node, replace(end, height=10)) is None
    assert compute_reward(node, replace(end, time_ms=1_999)) == 0
    assert compute_reward(replace(node, payable_from_ms=0), replace(end, time_ms=1_000)) == 0
    back = replace(node, payable_from_ms=0, since_ms=3_000)
    assert compute_reward(back, replace(end, time_ms=1_000)) == 0
    assert compute_reward(back, replace(end, time_ms=1_001)) == 7
    waits = replace(node, activated_ms=0, payable_from_ms=0, earning=0, since_ms=0)
    assert compute_reward(waits, end) == 0
    for state in NODE_STATES:
        gone = replace(node, state=state, earning=0, since_ms=5_000)
        is_told = state in (ACTIVE, DECOMMISSIONED, DEREGISTERED)
        assert compute_reward(gone, end) == (0 if is_told else None)
        assert compute_reward(gone, replace(end, time_ms=4_999)) is None
        assert compute_reward(gone, replace(end, time_ms=5_001)) == 0


# --------------------------------------------------------------------------------- verdicts


def test_verdicts_by_epoch() -> None:
    network = make_network()
    name = NODES_NAMES[0]
    outcomes = []
    for epoch in range(1, 12):
        faults: int | None = {2: 1, 3: 48, 7: 0}.get(epoch)
        if faults is not None:
            network.block(judge(network, name, faults))
        outcomes.append((epoch, faults))
        # the epoch that runs is not among them, whatever was voted
        assert [row["epoch"] for row in history(network, public(name))] == list(range(1, epoch))
        network.end_epoch()
    rows = history(network, public(name))
    names = {None: [], 0: [], 1: ["storage port"], 48: ["clock", "storage failure"]}
    words = {None: "none", 0: "passed", 1: "failed", 48: "failed"}
    assert [(row["epoch"], row["verdict"], row["faults"]) for row in rows] == [
        (epoch, words[faults], names[faults]) for epoch, faults in outcomes
    ]
    start_ms = network.genesis.start_ms
    assert [row["ended_ms"] for row in rows] == [start_ms + EPOCH_MS * e for e in range(1, 12)]
    # the others were not judged
    others = history(network, public(NODES_NAMES[1]))
    assert {row["verdict"] for row in others} == {"none"}


def test_a_verdict_on_an_earlier_life_is_not_shown() -> None:
    network = make_network()
    key = public(NODES_NAMES[0])
    network.block(judge(network, key, FAULTY))
    network.end_epoch()
    assert history(network, key)[0]["verdict"] == "failed"
    network.rewrite({NODES.letter + key: replace(network.node(NODES_NAMES[0]), life=2)})
    assert history(network, key)[0]["verdict"] == "none"


def test_as_many_epochs_as_are_asked_for() -> None:
    assert MAX_HISTORY_EPOCHS == 336
    network = make_network()
    for _ in range(6):
        network.end_epoch()
    for count in range(1, 9):
        shown = [row["epoch"] for row in history(network, public(NODES_NAMES[0]), count)]
        assert shown == list(range(max(1, 7 - count), 7))


def test_what_the_history_lacks_is_left_out() -> None:
    """As on a node that a snapshot filled at the end of epoch 3."""
    network = make_network()
    for _ in range(6):
        network.end_epoch()
    whole, key = network.view, public(NODES_NAMES[0])
    content = dict(whole.reader.items())
    for epoch in range(4):
        content.pop(end_key(epoch), None)
    view = View(whole.tip, MemoryStore(content).snapshot(), None)
    shown = show_history(view, key, 48)
    assert shown == {"epochs": history(network, key)[3:]}
    assert len(shown["epochs"]) == 3


def test_nobody_has_no_history() -> None:
    assert show_history(make_network().view, bytes(32), 48) is None
