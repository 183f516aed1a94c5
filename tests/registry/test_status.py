"""The status of a node: what it says lies ahead is what the ledger then does."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.messages.lists import Attestor
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    DECOMMISSIONED,
    DEREGISTERED,
    EXITED,
    NODE_STATES,
    QUEUED,
    TOMBSTONED,
)
from ledger.messages.tables import NODES, PAYOUTS, POOL
from ledger.nodes import get_owed
from ledger.rules.rewards import compute_owed
from registry.addresses import encode_account, encode_node
from registry.duties import USUAL_EPOCHS, Duties
from registry.status import (
    NEXT_STEPS,
    Places,
    describe,
    get_status,
    list_claimable,
    name_situation,
    show_hours,
    sum_claimable,
)
from tests.factory import QUARTER, REQUIREMENT, Network, attestor_roles, places, public
from tests.life import (
    FAULTY,
    current,
    header_evidence,
    judge,
    report,
    running,
    seats,
    set_attestors,
    set_keys,
    vote_evidence,
)
from tests.registry.town import NODES_NAMES, TESTERS, THRESHOLD, lives, make_town

BAD = NODES_NAMES[0]
OPERATOR = "alice"
HOUR_MS = 3_600_000


def status(network: Network, name: str = BAD) -> dict[str, Any]:
    """The status of a node."""
    return get_status(network.view, public(name), network.node(name), Duties())


def fail(network: Network, name: str = BAD, epochs: int = 1) -> None:
    """Have a node fail, epoch by epoch."""
    for _ in range(epochs):
        network.block(judge(network, name, FAULTY))
        network.end_epoch()


def put(network: Network, name: str = BAD, **changes: Any) -> None:
    """Change a node's record."""
    network.rewrite({NODES.letter + public(name): replace(network.node(name), **changes)})


# ---------------------------------------------------------------------------- situations


def go_down(network: Network) -> None:
    fail(network, epochs=2)
    network.end_epoch()


def go_away(network: Network) -> None:
    while network.node(BAD).state != DEREGISTERED:
        fail(network)


def make_liar(network: Network) -> None:
    roles = attestor_roles("liar")
    network.block(network.register("liar", "bob", **roles))
    network.end_epoch()
    network.block(report(network, "leo", header_evidence(network, roles["list_key"])))


def leave(network: Network) -> None:
    network.block(network.request_unlock(OPERATOR, BAD))


def leave_a_seat(network: Network) -> None:
    network.block(network.register("new", "alice", **attestor_roles("new")))
    network.end_epoch()
    kept = (*current(network), Attestor(public("new list"), 1))
    network.block(set_attestors(network, seats(network, kept=kept)))
    network.end_epoch()
    network.end_epoch()
    network.block(network.request_unlock("alice", "new"))


def ended(make: Callable[[Network], object]) -> Callable[[Network], object]:
    """Let an epoch's end follow."""

    def make_and_end(network: Network) -> None:
        make(network)
        network.end_epoch()

    return make_and_end


def give_up(network: Network) -> None:
    network.block(network.register("new", "alice", QUARTER))
    network.block(network.request_unlock("alice", "new"))


Make = Callable[[Network], object]

SITUATIONS: dict[str, tuple[int, str, Make, dict[str, int]]] = {
    "awaiting": (
        AWAITING, "new", lambda n: n.block(n.register("new", "alice", QUARTER)), {},
    ),
    "given up": (AWAITING, "new", give_up, {}),
    "untested": (
        QUEUED, "new", lambda n: n.block(n.register("new", "alice")), {"activation_verdict": 1},
    ),
    "queued": (QUEUED, "new", lambda n: n.block(n.register("new", "alice")), {}),
    "active": (ACTIVE, BAD, lambda n: None, {}),
    "failing": (ACTIVE, BAD, ended(fail), {}),
    "leaving": (ACTIVE, BAD, leave, {}),
    "decommissioned": (DECOMMISSIONED, BAD, go_down, {}),
    "slashed": (ACTIVE, "liar", make_liar, {}),
    "exited": (EXITED, BAD, ended(leave), {}),
    "seated": (EXITED, "new", ended(leave_a_seat), {}),
    "deregistered": (DEREGISTERED, BAD, go_away, {}),
    "tombstoned": (TOMBSTONED, "liar", ended(make_liar), {}),
}  # fmt: skip
"""State, node, how it comes there, parameters."""


@pytest.mark.parametrize("name", SITUATIONS)
def test_each_situation_has_its_next_step(name: str) -> None:
    state, node, make, params = SITUATIONS[name]
    network = make_town(**params)
    make(network)
    record = network.node(node)
    assert record.state == state
    assert name_situation(network.state, public(node), record, Places(network.state)) == name
    shown = status(network, node)
    assert (shown["state"], shown["next_step"]) == (NODE_STATES[state], NEXT_STEPS[name])
    assert (shown["removal"] is None) == (state not in (ACTIVE, DECOMMISSIONED))
    assert (shown["credit_ms"] is None) == (state not in (ACTIVE, DECOMMISSIONED))
    assert (shown["payout_ms"] is None) == (state not in (EXITED, DEREGISTERED, TOMBSTONED))
    assert shown["tombstoned"] == (node == "liar")


def test_no_situation_is_without_a_test() -> None:
    assert SITUATIONS.keys() == NEXT_STEPS.keys()
    assert {row[0] for row in SITUATIONS.values()} == set(NODE_STATES)


def test_in_every_state_a_page_shows_a_part_of_the_status() -> None:
    network = make_town()
    for raws, ms in lives(network):
        network.block(*raws, ms=ms)
        shown_places = Places(network.state)
        for key, node in network.state.items(NODES):
            full = get_status(network.view, key, node, Duties())
            row = describe(network.view, key, node, shown_places)
            assert row == {name: full[name] for name in row}


# --------------------------------------------------------------------------- what threatens


def epochs_until(network: Network, state: int) -> int:
    """Have a node fail until it is in a state; the number of failing verdicts that took."""
    count = 0
    while network.node(BAD).state != state:
        before = network.chain.tip.height
        if network.node(BAD).tested_from <= running(network):
            network.block(judge(network, BAD, FAULTY))
            count += 1
        network.end_epoch()
        assert network.chain.tip.height > before
    return count


@pytest.mark.parametrize("failed", [0, 1, 2])
def test_the_time_to_a_decommission_is_what_it_takes(failed: int) -> None:
    network = make_town()
    network.end_epoch()
    fail(network, epochs=failed)
    shown = status(network)["removal"]
    assert shown["threat"] == "decommission"
    assert shown["failing_epochs_left"] == 2 - failed
    assert shown["returns_after_epoch"] is None
    assert shown["time_left_ms"] == shown["earliest_ms"] - network.chain.tip.time_ms
    # those for the epoch that runs, and for the one before if nobody judged it yet
    if not failed:
        network.block(judge(network, BAD, FAULTY, epoch=running(network) - 1))
    epochs_until(network, DECOMMISSIONED)
    assert network.chain.tip.time_ms == shown["earliest_ms"]


@pytest.mark.parametrize("credit_ms", [0, 1, 20_000, 20_001, 45_000])
@pytest.mark.parametrize("failed", [0, 1])
def test_the_time_to_a_deregistration_is_what_it_takes(credit_ms: int, failed: int) -> None:
    network = make_town()
    go_down(network)
    put(network, credit_ms=credit_ms)
    fail(network, epochs=failed)
    if failed:
        network.end_epoch()
    shown = status(network)["removal"]
    assert shown["threat"] == "deregistration"
    assert shown["failing_epochs"] == failed
    if failed:
        # what was not judged in time may still be
        network.block(judge(network, BAD, FAULTY, epoch=running(network) - 1))
    left = shown["failing_epochs_left"] - failed
    # one more verdict is made while the last one waits for its effect
    assert epochs_until(network, DEREGISTERED) == left + 1
    assert network.chain.tip.time_ms == shown["earliest_ms"]
    assert shown["failing_epochs_needed"] == shown["failing_epochs"] + shown["failing_epochs_left"]


def test_one_that_is_down_is_back_when_it_was_said() -> None:
    network = make_town()
    go_down(network)
    after = status(network)["removal"]["returns_after_epoch"]
    while network.node(BAD).state == DECOMMISSIONED:
        ended = running(network)
        network.end_epoch()
    assert (network.node(BAD).state, ended) == (ACTIVE, after)


def test_a_failing_verdict_that_waits_is_counted() -> None:
    network = make_town()
    assert status(network)["removal"]["failing_epochs_left"] == 2
    network.block(judge(network, BAD, FAULTY))
    assert status(network)["removal"]["failing_epochs_left"] == 1
    network.end_epoch()
    network.block(judge(network, BAD, FAULTY))
    assert status(network)["removal"]["failing_epochs_left"] == 0


def test_credit_in_hours() -> None:
    assert [show_hours(ms) for ms in (0, 35_999, 36_000, HOUR_MS, 48 * HOUR_MS - 1)] == [
        "0.00", "0.00", "0.01", "1.00", "47.99",
    ]  # fmt: skip
    network = make_town()
    first = status(network)["credit_ms"]
    assert first == network.params.credit_start_ms
    network.block(ms=9_000)
    assert status(network)["credit_ms"] == first + 9_000 * 24 // 720


# ------------------------------------------------------------------------------- verdicts


def test_verdicts_tell_who_found_what_and_who_was_silent() -> None:
    network = make_town(removal_floor=0, removal_share=0)
    network.block(judge(network, BAD, FAULTY, count=THRESHOLD))
    network.end_epoch()
    network.block(judge(network, BAD, 16, count=TESTERS))
    second, first = status(network)["verdicts"]
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert (first["failed"], first["faults"], second["faults"]) == (
        True,
        ["storage port"],
        ["clock"],
    )
    assert [len(row["votes"]) for row in (first, second)] == [THRESHOLD, TESTERS]
    assert (len(first["silent"]), second["silent"]) == (1, [])
    voted = [vote["tester"] for vote in first["votes"]]
    assert set(voted) | set(first["silent"]) == set(voted + first["silent"])
    assert status(network)["testers"] == [vote["tester"] for vote in second["votes"]]


def test_old_verdicts_are_not_shown() -> None:
    network = make_town(removal_floor=0, removal_share=0)
    network.block(judge(network, BAD, FAULTY))
    for _ in range(USUAL_EPOCHS - 1):
        network.end_epoch()
    assert [row["epoch"] for row in status(network)["verdicts"]] == [1]
    network.end_epoch()
    assert status(network)["verdicts"] == []


def test_verdicts_of_a_former_life_are_not_shown() -> None:
    network = make_town()
    network.block(judge(network, BAD, FAULTY))
    put(network, life=2)
    assert status(network)["verdicts"] == []


# -------------------------------------------------------------------------------- rewards


def test_rewards_are_what_a_claim_brings() -> None:
    network = make_town()
    network.block(network.register("new", "alice", 2 * QUARTER))
    network.block(network.contribute("bob", 2 * QUARTER, "new", beneficiary=public("carol")))
    for _ in range(4):
        network.end_epoch()
    node, pool = network.node("new"), network.state.one(POOL)
    shown = status(network, "new")["rewards"]
    assert shown["earning"]
    assert shown["earns_from_ms"] == node.payable_from_ms
    owed = get_owed(node, pool)
    assert [int(row["claimable"]) for row in shown["contributors"]] == owed
    assert int(shown["claimable"]) == sum(owed) > 0
    share = int(shown["per_epoch"])
    assert [int(row["per_epoch"]) for row in shown["contributors"]] == compute_owed(
        share, node.fee, [c.amount for c in node.contributions]
    )
    before, total = pool.accumulator, int(shown["period_total"])
    # what an account has to its credit is what its beneficiaries get
    key = public("new")
    assert sum_claimable(network.view, [key], public("carol")) == str(owed[1])
    assert list_claimable(network.view, [key], public("bob")) == []
    assert list_claimable(network.view, [key], public("alice")) == [
        {"node": encode_node(key), "claimable": str(owed[0])}
    ]
    balance = network.balance("carol")
    network.block(network.claim_rewards("bob", "new"))
    assert network.balance("carol") == balance + owed[1]
    after = status(network, "new")["rewards"]
    assert [row["claimed"] for row in after["contributors"]] == ["0", str(owed[1])]
    assert after["contributors"][1]["claimable"] == "0"
    network.end_epoch()
    assert network.state.one(POOL).accumulator - before == share
    assert int(status(network, "new")["rewards"]["period_total"]) == total + share


def test_who_is_down_earns_nothing_and_keeps_what_it_has() -> None:
    network = make_town(payable_ms=0)
    go_down(network)
    shown = status(network)["rewards"]
    assert (shown["earning"], shown["per_epoch"]) == (False, "0")
    assert int(shown["claimable"]) > 0


# ------------------------------------------------------------------------ funding, leaving


def test_reserved_places_lapse() -> None:
    network = make_town()
    network.block(network.register("new", "alice", QUARTER, reserved=places(("erin", QUARTER))))
    shown = status(network, "new")
    assert shown["reserved"] == [
        {"account": encode_account(public("erin")), "amount": str(QUARTER)}
    ]
    until_ms = network.node("new").since_ms + network.params.reservation_ms
    assert shown["reserved_until_ms"] == until_ms
    assert (shown["open"], shown["open_places"]) == (str(2 * QUARTER), 8)
    network.settle()
    network.block(ms=until_ms - network.chain.tip.time_ms)
    shown = status(network, "new")
    assert (shown["reserved"], shown["reserved_until_ms"]) == ([], None)
    assert (shown["open"], shown["open_places"]) == (str(3 * QUARTER), 9)


def test_a_penalty_opens_no_place() -> None:
    network = make_town()
    network.block(report(network, "leo", vote_evidence(network, BAD)))
    shown = status(network)
    taken = int(shown["penalties_taken"])
    assert taken == REQUIREMENT // 100
    assert int(shown["staked"]) == REQUIREMENT - taken
    assert (shown["open"], shown["open_places"]) == ("0", 0)


def test_places_among_those_that_leave_and_the_payout() -> None:
    network = make_town()
    for operator, name in (("bob", NODES_NAMES[1]), (OPERATOR, BAD)):
        network.block(network.request_unlock(operator, name))
    assert [status(network, name)["exit_position"] for name in NODES_NAMES[:3]] == [2, 1, None]
    network.end_epoch()
    assert status(network)["exit_position"] == 1
    gone = status(network, NODES_NAMES[1])
    assert gone["exit_position"] is None
    assert gone["payout_ms"] == gone["since_ms"] + network.params.unbonding_ms
    (place, _) = next(network.state.items(PAYOUTS))
    assert int.from_bytes(place[:8], "big") == gone["payout_ms"]


def test_the_lock_of_a_deregistered_node_is_longer() -> None:
    network = make_town()
    go_away(network)
    shown = status(network)
    assert shown["payout_ms"] == shown["since_ms"] + network.params.lock_ms


def test_when_contributors_may_ask() -> None:
    network = make_town()
    network.block(network.register("new", "alice"))
    assert status(network, "new")["contributors_may_ask_from_ms"] is None
    network.end_epoch()
    shown = status(network, "new")
    expected = shown["activated_ms"] + network.params.contributor_wait_ms
    assert shown["contributors_may_ask_from_ms"] == expected


def test_keys_that_wait_are_shown() -> None:
    network = make_town()
    assert status(network)["pending_keys"] is None
    network.block(set_keys(network, BAD, duty="new duty"))
    assert status(network)["pending_keys"] == {
        "duty_key": public("new duty").hex(),
        "list_key": None,
        "consensus_key": None,
    }
    network.end_epoch()
    shown = status(network)
    assert (shown["pending_keys"], shown["duty_key"]) == (None, public("new duty").hex())
