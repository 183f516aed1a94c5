"""`apply_verdicts`: who fails goes off duty, comes back, or is gone for good."""

from hashlib import sha256

import pytest

from ledger.errors import REFUSALS
from ledger.messages.state import ACTIVE, DECOMMISSIONED, Failing
from ledger.messages.tables import FAILING, NODES, PAYOUTS, VERDICTS
from tests.factory import EPOCH_MS, START_MS, Network, next_seed, public
from tests.ledger.epochs.ends import (
    SHORT_LOCK,
    judge_all,
    names_of,
    operator_of,
    put_down,
    run_end,
    village,
)
from tests.life import judge, running, set_params

CREDIT_MS = 40_000
"""What the `minimal` preset gives a node to begin with."""
EARNED_MS = 1_000
"""What it earns in the three epochs until the earliest end at which it can be decommissioned."""


def fail_on(network: Network, name: str, epochs: int) -> None:
    """Fail a node that is down in so many epochs more; the last verdict waits for its window."""
    for _ in range(epochs):
        judge_all(network, name)
        run_end(network)


def failing(network: Network, name: str = "v1") -> Failing | None:
    """The failing epochs that are counted for a node."""
    return network.state.get(FAILING, public(name))


def states(network: Network) -> list[int]:
    """The state of every node, by ascending key."""
    return [node.state for _, node in network.state.items(NODES)]


# ---- decommissioned ----


def test_two_failing_epochs_running_decommission() -> None:
    network = village()
    judge_all(network, "v1")
    run_end(network)
    judge_all(network, "v1")
    run_end(network)
    assert failing(network) == Failing(1, 1)
    run_end(network, down=("v1",))
    assert failing(network) == Failing(0, 3)


def test_a_verdict_may_come_an_epoch_later_and_counts_the_same() -> None:
    network = village()
    run_end(network)
    judge_all(network, "v1", epoch=1)
    judge_all(network, "v1", epoch=2)
    run_end(network)
    run_end(network, down=("v1",))


def test_a_missing_verdict_breaks_the_run() -> None:
    network = village()
    judge_all(network, "v1")
    run_end(network)
    run_end(network)
    judge_all(network, "v1")
    run_end(network)
    assert failing(network) is None
    run_end(network)
    assert failing(network) == Failing(1, 3)
    run_end(network)
    assert failing(network) is None
    assert network.node("v1").state == ACTIVE


def test_faults_are_only_told_and_weigh_the_same() -> None:
    network = village()
    for faults in (63, 2):
        judge_all(network, "v1", faults=faults)
        run_end(network)
    run_end(network, down=("v1",))


def test_several_nodes_are_judged_by_themselves() -> None:
    network = village()
    judge_all(network, "v1", "v2")
    run_end(network)
    judge_all(network, "v2", "v3")
    run_end(network)
    run_end(network, down=("v2",))
    assert (failing(network, "v1"), failing(network, "v3")) == (None, Failing(1, 2))


def test_a_verdict_for_an_epoch_before_the_decommission_does_not_count_against_the_node() -> None:
    network = village()
    for _ in range(2):
        judge_all(network, "v1")
        run_end(network)
    judge_all(network, "v1")
    run_end(network, down=("v1",))
    run_end(network, void=("v1",))
    assert failing(network) == Failing(0, 3)


# ---- credit ----


@pytest.mark.parametrize(
    ("late_ms", "earned_ms"), [(0, 1_000), (29, 1_000), (30, 1_001), (59, 1_001), (60, 1_002)]
)
def test_credit_at_decommission_is_what_was_earned_rounded_down(
    late_ms: int, earned_ms: int
) -> None:
    network = village()
    for _ in range(2):
        judge_all(network, "v1")
        run_end(network)
    run_end(network, late_ms, down=("v1",))
    assert network.node("v1").credit_ms == CREDIT_MS + earned_ms


def test_credit_is_at_most_what_the_parameter_says() -> None:
    network = village(credit_most_ms=CREDIT_MS + 999)
    put_down(network, "v1")
    assert network.node("v1").credit_ms == CREDIT_MS + 999


def test_credit_grows_from_what_was_left_at_the_return() -> None:
    network = village()
    put_down(network, "v1")
    fail_on(network, "v1", 1)
    judge_all(network, "v1", faults=0)
    run_end(network)
    run_end(network, back=("v1",))
    back_ms = network.chain.tip.time_ms
    put_down(network, "v1")
    left_ms = CREDIT_MS + EARNED_MS - 2 * EPOCH_MS
    down_ms = network.node("v1").since_ms - back_ms
    assert network.node("v1").credit_ms == left_ms + down_ms * 24 // 720


def test_a_halt_costs_no_more_credit_than_an_epoch() -> None:
    network = village()
    put_down(network, "v1")
    judge_all(network, "v1")
    run_end(network, late_ms=1_000 * EPOCH_MS)
    judge_all(network, "v1", faults=0)
    run_end(network, late_ms=1_000 * EPOCH_MS)
    assert failing(network) == Failing(1, 4)
    run_end(network, back=("v1",))
    assert network.node("v1").credit_ms == CREDIT_MS + EARNED_MS - 2 * EPOCH_MS


# ---- deregistered ----


@pytest.mark.parametrize(
    ("credit_ms", "epochs"),
    [(40_000, 4), (40_001, 5), (39_999, 4), (50_000, 5), (20_000, 2), (10_000, 2), (0, 2)],
)
def test_node_is_deregistered_exactly_when_its_down_time_reaches_its_credit(
    credit_ms: int, epochs: int
) -> None:
    most = max(0, credit_ms)
    network = village(credit_start_ms=max(0, credit_ms - EARNED_MS), credit_most_ms=most)
    put_down(network, "v1")
    assert network.node("v1").credit_ms == credit_ms
    fail_on(network, "v1", epochs)
    assert (epochs - 1) * EPOCH_MS < max(credit_ms, EPOCH_MS + 1)
    run_end(network, removed=("v1",))


def test_one_failing_verdict_never_deregisters() -> None:
    network = village(credit_start_ms=0, credit_most_ms=0)
    put_down(network, "v1")
    fail_on(network, "v1", 1)
    run_end(network)
    assert (failing(network), network.node("v1").state) == (Failing(1, 4), DECOMMISSIONED)


def test_down_time_counts_failing_epochs_and_no_others() -> None:
    network = village()
    put_down(network, "v1")
    for is_failing in (True, False, True, False, False, True, True, False, False, False, True):
        if is_failing:
            judge_all(network, "v1")
        run_end(network)
    assert failing(network) == Failing(4, 10)
    run_end(network, removed=("v1",))


def test_a_failing_verdict_for_the_decommissioned_needs_no_run() -> None:
    network = village(credit_start_ms=0, credit_most_ms=0)
    put_down(network, "v1")
    for count in (1, 2):
        judge_all(network, "v1")
        run_end(network)
        run_end(network, removed=("v1",) * (count == 2))


def test_stake_of_the_deregistered_is_locked() -> None:
    network = village(credit_start_ms=0, credit_most_ms=0)
    put_down(network, "v1")
    fail_on(network, "v1", 2)
    run_end(network, removed=("v1",))
    places = [place for place, row in network.state.items(PAYOUTS) if row.node == public("v1")]
    due_ms = network.chain.tip.time_ms + network.params.lock_ms
    assert places == [due_ms.to_bytes(8, "big") + public("v1")]


# ---- back ----


def test_a_pass_brings_a_node_back() -> None:
    network = village()
    put_down(network, "v1")
    judge_all(network, "v1", faults=0)
    run_end(network)
    run_end(network, back=("v1",))
    assert network.node("v1").credit_ms == CREDIT_MS + EARNED_MS


@pytest.mark.parametrize(("epochs", "left_ms"), [(0, 41_000), (1, 21_000), (2, 1_000), (3, 0)])
def test_who_comes_back_pays_its_down_time_twice(epochs: int, left_ms: int) -> None:
    network = village()
    put_down(network, "v1")
    fail_on(network, "v1", epochs)
    judge_all(network, "v1", faults=0)
    run_end(network)
    run_end(network, back=("v1",))
    assert network.node("v1").credit_ms == left_ms


def test_four_quiet_windows_bring_a_node_back_and_three_do_not() -> None:
    network = village()
    put_down(network, "v1")
    for _ in range(4):
        run_end(network)
    assert network.node("v1").state == DECOMMISSIONED
    down_epochs = 5
    run_end(network, back=("v1",))
    assert network.node("v1").credit_ms == CREDIT_MS + EARNED_MS
    assert running(network) == 4 + down_epochs


def test_quiet_windows_count_from_the_newest_failing_epoch() -> None:
    network = village()
    put_down(network, "v1")
    run_end(network)
    run_end(network)
    fail_on(network, "v1", 1)
    for _ in range(4):
        run_end(network)
    run_end(network, back=("v1",))


def test_who_is_back_begins_a_new_run() -> None:
    network = village()
    put_down(network, "v1")
    judge_all(network, "v1", faults=0)
    run_end(network)
    judge_all(network, "v1")
    run_end(network, back=("v1",))
    judge_all(network, "v1")
    run_end(network, void=("v1",))
    judge_all(network, "v1")
    run_end(network)
    assert failing(network) == Failing(1, 6)
    run_end(network, down=("v1",))


def test_a_pass_for_an_active_node_is_of_no_use_and_two_verdicts_are_one_too_many() -> None:
    network = village()
    passing = judge(network, "v1", faults=0)
    failing_one = judge(network, "v2", faults=1)
    network.block(passing, failing_one, codes=[REFUSALS["verdict_useless"].number, 0])
    again = judge(network, "v2", faults=2)
    network.block(again, codes=[REFUSALS["judged_already"].number])
    assert [key[8:] for key, _ in network.state.items(VERDICTS)] == [public("v2")]


# ---- the limit, and whose turn it is ----


def turns(network: Network, *names: str) -> list[str]:
    """Names in the order of the hash that decides between equals at the running epoch's end."""
    network.settle()
    seed = next_seed(network.header.seed, *reveals(network))

    def rank(name: str) -> bytes:
        return sha256(b"waypost removal".ljust(32, b"\0") + seed + public(name)).digest()

    return sorted(names, key=rank)


def reveals(network: Network) -> list[tuple[int, bytes]]:
    rows = sorted((key, row) for key, row in network.dump().items() if key[:1] == b"t")
    return [(key[1], row.reveal) for key, row in rows]  # type: ignore[attr-defined]


def test_limit_takes_so_many_by_the_hash_and_the_rest_lapses() -> None:
    network = village(12, removal_floor=2, removal_share=0)
    names = ("v1", "v2", "v3", "v4")
    for _ in range(2):
        judge_all(network, *names)
        run_end(network)
    first, second, third, last = turns(network, *names)
    run_end(network, down=(first, second))
    assert failing(network, third) == failing(network, last) == Failing(2, 2)
    # nobody judges those who had no turn: what was pending is forgotten
    run_end(network)
    assert failing(network, third) is failing(network, last) is None


def test_who_had_no_turn_and_fails_again_goes_before_others() -> None:
    network = village(12, removal_floor=1, removal_share=0)
    judge_all(network, "v1", "v2")
    run_end(network)
    judge_all(network, "v1", "v2", "v3", "v4")
    run_end(network)
    judge_all(network, "v1", "v2", "v3", "v4")
    first, pending = turns(network, "v1", "v2")
    run_end(network, down=(first,))
    # the other one has failed three times now, the two new ones twice
    run_end(network, down=(pending,), void=(first,))
    assert failing(network, pending) == Failing(0, 4)


@pytest.mark.parametrize(("low", "up"), [("v1", "v2"), ("v2", "v1")])
def test_limit_is_common_to_decommissions_and_deregistrations(low: str, up: str) -> None:
    """Both have failed for two epochs: the hash decides, and it is the same whoever is down."""
    network = village(12, removal_floor=1, removal_share=0, credit_start_ms=0, credit_most_ms=0)
    put_down(network, low)
    for _ in range(2):
        judge_all(network, low, up)
        run_end(network)
    first, last = turns(network, low, up)
    run_end(network, removed=(low,) * (first == low), down=(up,) * (first == up))
    assert network.node(last).state == (ACTIVE if last == up else DECOMMISSIONED)
    assert failing(network, last) == Failing(2, 5)


def test_more_failing_epochs_go_first_whatever_the_hash() -> None:
    network = village(12, removal_floor=1, removal_share=0, credit_start_ms=29_000,
                      credit_most_ms=30_000)  # fmt: skip
    put_down(network, "v1")
    judge_all(network, "v1")
    run_end(network)
    judge_all(network, "v1", "v2", "v3")
    run_end(network)
    judge_all(network, "v1", "v2", "v3")
    run_end(network)
    judge_all(network, "v2", "v3")
    # three failing epochs against two
    run_end(network, removed=("v1",))
    first, last = turns(network, "v2", "v3")
    run_end(network, down=(first,))
    assert failing(network, last) == Failing(3, 7)


def test_limit_grows_with_the_active_nodes() -> None:
    network = village(12, removal_floor=0, removal_share=2_500)
    names = ("v1", "v2", "v3")
    put_down(network, *names)
    assert [network.node(name).state for name in names] == [DECOMMISSIONED] * 3


def test_no_removal_without_a_limit() -> None:
    network = village(removal_floor=0, removal_share=0)
    for _ in range(4):
        judge_all(network, "v1")
        run_end(network)
    assert failing(network) == Failing(3, 3)


# ---- a quarter down ----


@pytest.mark.parametrize(("count", "most"), [(6, 1), (7, 1), (8, 2), (11, 2), (12, 3)])
def test_no_more_than_a_quarter_goes_down(count: int, most: int) -> None:
    network = village(count, removal_floor=5)
    names = names_of(count)
    for _ in range(2):
        judge_all(network, *names)
        run_end(network)
    run_end(network, down=tuple(turns(network, *names)[:most]))


def test_the_deregistered_count_as_down_while_their_stake_is_locked() -> None:
    network = village(credit_start_ms=0, credit_most_ms=0)
    put_down(network, "v1", "v2")
    for _ in range(2):
        judge_all(network, *names_of(8))
        run_end(network)
    run_end(network, removed=("v1", "v2"))
    for _ in range(3):
        judge_all(network, *names_of(8)[3:])
        run_end(network)
    assert states(network).count(ACTIVE) == 6


# ---- the time of grace after a change of rules ----

GRACE = {**SHORT_LOCK, "grace_ms": 45_000}


def change_rules(network: Network) -> int:
    """Let other parameters come into force at an end; returns that block time."""
    network.block(set_params(network, reward_rate=1_000))
    run_end(network, late_ms=70_000, rules=True)
    return network.chain.tip.time_ms


def test_nobody_is_removed_in_the_time_of_grace() -> None:
    network = village(**GRACE)
    changed_ms = change_rules(network)
    for _ in range(4):
        judge_all(network, "v1")
        run_end(network)
    assert network.chain.tip.time_ms == changed_ms + 40_000
    assert failing(network) == Failing(3, 4)
    # the grace is over 45 s after the change, and the run goes on
    run_end(network, down=("v1",))


@pytest.mark.parametrize("is_over", [False, True])
def test_grace_ends_at_its_time_exactly(is_over: bool) -> None:
    network = village(**{**GRACE, "grace_ms": 30_000 + (not is_over)})
    change_rules(network)
    for _ in range(2):
        judge_all(network, "v1")
        run_end(network)
    run_end(network, down=("v1",) * is_over)


def test_who_is_down_stays_down_in_the_time_of_grace_and_uses_no_credit() -> None:
    network = village(**{**GRACE, "grace_ms": 90_000}, credit_start_ms=0, credit_most_ms=0)
    put_down(network, "v1")
    change_rules(network)
    for _ in range(6):
        judge_all(network, "v1")
        run_end(network)
    assert failing(network) == Failing(0, 9)
    assert network.node("v1").state == DECOMMISSIONED
    judge_all(network, "v1", faults=0)
    run_end(network)
    run_end(network, back=("v1",))


def test_rules_of_genesis_have_no_time_of_grace() -> None:
    network = village(grace_ms=10**9)
    put_down(network, "v1")
    assert network.node("v1").since_ms == START_MS + 3 * EPOCH_MS
    assert operator_of("v1") == "bob"
