"""`set_attestors`, `set_params` and `set_successor`, case by case."""

from typing import Any

import pytest
from msgspec.structs import replace

from ledger.errors import REFUSALS
from ledger.messages.genesis import GenesisAttestor
from ledger.messages.lists import Attestor
from ledger.messages.state import Chainlink
from ledger.messages.tables import CHAINLINKS, PARAMS, SETS, SUCCESSION
from ledger.types import ZERO_HASH
from tests.factory import ATTESTORS, Network, attestor_roles, links, make_genesis, public
from tests.ledger.runners.orders import run_set_attestors, run_set_params, run_set_successor
from tests.ledger.runners.report import run_report
from tests.life import current, header_evidence, seats, set_successor

RECOVERY = tuple(sorted(("recovery 0", "recovery 1", "recovery 2", "recovery 3"), key=public))
MONTH_MS = 30 * 86_400_000


@pytest.fixture
def network() -> Network:
    return Network(make_genesis(recovery=tuple(map(public, RECOVERY))))


def weighted(*weights: int) -> Network:
    """Attestors with these weights, by ascending key."""
    names = sorted((f"attestor {place}" for place in range(len(weights))), key=public)
    rows = tuple(
        GenesisAttestor(public(name), weight, links(public(name))[-1])
        for name, weight in zip(names, weights, strict=True)
    )
    return Network(make_genesis(attestors=rows))


def one_more(network: Network, name: str = "attestor 3") -> Any:
    """The seats of now, and one more."""
    return seats(network, name, kept=current(network))


# ---- set_attestors ----


def test_one_attestor_more(network: Network) -> None:
    run_set_attestors(network, one_more(network))


def test_one_attestor_less(network: Network) -> None:
    run_set_attestors(network, seats(network, kept=current(network)[1:]))


def test_one_attestor_for_another(network: Network) -> None:
    run_set_attestors(network, seats(network, "attestor 3", kept=current(network)[1:]))


def test_order_is_announced_and_takes_over(network: Network) -> None:
    new = one_more(network)
    run_set_attestors(network, new)
    before = current(network)
    network.end_epoch()
    sets = network.state.one(SETS)
    assert sets.current == before
    assert sets.next == tuple(Attestor(seat.list_key, 1) for seat in new)
    assert (sets.ordered, sets.ordered_by, sets.begin) == ((), 0, 0)
    key = public("attestor 3")
    assert network.state.one(CHAINLINKS, key) == Chainlink(links(key)[-1], 0)
    network.end_epoch()
    assert current(network) == sets.next


def test_weights_move_as_far_as_the_heaviest_seat() -> None:
    network = weighted(5, 3, 3)
    new = seats(network, kept=[replace(seat, weight=4) for seat in current(network)[1:]])
    run_set_attestors(network, new)


def test_a_tenth_of_the_weight_moves_where_that_is_more() -> None:
    network = weighted(*[2] * 22)
    kept = current(network)
    # 4 of 44: the first seat gives up its 2 and two others 1 each
    rows = [replace(row, weight=1) for row in kept[1:3]]
    run_set_attestors(network, seats(network, kept=[*rows, *kept[3:]]))


def test_nothing_but_another_hash_chain(network: Network) -> None:
    old = current(network)[0]
    name = next(name for name in ATTESTORS if public(name) == old.list_key)
    run_set_attestors(network, seats(network, name, kept=current(network)[1:]))


def test_just_more_than_two_thirds_of_the_weight_sign() -> None:
    network = weighted(1, 1, 1, 1)
    run_set_attestors(network, one_more(network, "attestor 9"), signers=(0, 2, 3))


def test_a_node_gets_a_seat_with_the_list_key_that_it_has(network: Network) -> None:
    network.block(network.register(**attestor_roles("node")))
    network.end_epoch()
    member = Attestor(public("node list"), 1)
    run_set_attestors(network, seats(network, kept=(*current(network), member)))


def test_order_for_the_block_that_carries_it(network: Network) -> None:
    network.settle()
    run_set_attestors(network, one_more(network), begin=network.chain.tip.time_ms + 100)


def test_order_thirty_days_later_than_it_could_be(network: Network) -> None:
    network.settle()
    limit = network.chain.tip.time_ms + MONTH_MS
    run_set_attestors(network, one_more(network), begin=limit)


def test_next_order_as_soon_as_it_may_be_in_force(network: Network) -> None:
    network.block()
    run_set_attestors(network, one_more(network))
    for _ in range(2):
        network.end_epoch()
    sets = network.state.one(SETS)
    assert sets.current == sets.next
    assert len(sets.current) == 4
    earliest = sets.changed_ms + network.params.set_change_ms
    run_set_attestors(network, one_more(network, "attestor 4"), begin=earliest)


# ---- set_attestors by the recovery keys ----


def test_recovery_replaces_everybody(network: Network) -> None:
    new = seats(network, "attestor 7", "attestor 8")
    run_set_attestors(network, new, recovery=RECOVERY)
    network.end_epoch()
    sets = network.state.one(SETS)
    assert sets.current == sets.next == tuple(Attestor(seat.list_key, 1) for seat in new)


def test_recovery_by_just_more_than_two_thirds(network: Network) -> None:
    run_set_attestors(network, seats(network, "attestor 7"), recovery=RECOVERY[:3])


def test_recovery_replaces_an_order_that_waits(network: Network) -> None:
    run_set_attestors(network, one_more(network))
    run_set_attestors(network, seats(network, "attestor 7"), recovery=RECOVERY)


def test_recovery_while_another_set_is_announced(network: Network) -> None:
    run_set_attestors(network, one_more(network))
    network.end_epoch()
    assert network.state.one(SETS).current != network.state.one(SETS).next
    run_set_attestors(network, seats(network, "attestor 7"), recovery=RECOVERY)


# ---- a seat that is lost ----


def test_a_key_without_a_node_loses_its_seat(network: Network) -> None:
    lost = current(network)[1]
    assert run_report(network, "leo", header_evidence(network, lost.list_key)) is None
    network.end_epoch()
    assert network.state.one(SETS).next == tuple(m for m in current(network) if m != lost)


# ---- set_params ----


def test_other_parameters_as_soon_as_may_be(network: Network) -> None:
    run_set_params(network, minimum_fee=2_000, vote_penalty=200)


def test_other_parameters_thirty_days_later_than_they_could_be(network: Network) -> None:
    network.settle()
    limit = network.chain.tip.time_ms + network.params.unbonding_ms + MONTH_MS
    run_set_params(network, from_ms=limit, minimum_fee=2_000)


@pytest.mark.parametrize("name", ["unbonding_ms", "max_transaction_bytes"])
def test_what_may_only_grow_grows(network: Network, name: str) -> None:
    run_set_params(network, **{name: getattr(network.params, name) + 1})


def test_parameters_are_in_force_at_the_end_of_the_epoch_that_reaches_their_time(
    network: Network,
) -> None:
    run_set_params(network, minimum_fee=2_000)
    state = network.state.one(PARAMS)
    network.settle()
    network.end_epoch(late_ms=state.from_ms - network.chain.tip.time_ms - 20_000)
    assert network.params.minimum_fee == 1_000
    network.end_epoch(late_ms=20_000)
    assert network.params.minimum_fee == 2_000
    now = network.chain.tip.time_ms
    changed = network.state.one(PARAMS)
    assert (changed.values, changed.changed_ms) == (state.next, now)
    assert (changed.next, changed.from_ms) == ((), 0)


# ---- set_successor ----


def test_a_successor_as_soon_as_may_be(network: Network) -> None:
    run_set_successor(network)


def test_a_successor_thirty_days_later_than_it_could_be(network: Network) -> None:
    network.settle()
    first_ms = network.chain.tip.time_ms + 2 * network.params.unbonding_ms
    run_set_successor(network, from_ms=first_ms + MONTH_MS)


def test_a_successor_by_just_more_than_two_thirds_of_the_weight() -> None:
    run_set_successor(weighted(5, 3, 3), signers=(0, 1))


def test_a_successor_is_withdrawn_and_another_one_comes_later(network: Network) -> None:
    run_set_successor(network)
    first_ms = network.state.one(SUCCESSION).from_ms
    # whoever it is that sends what was signed
    run_set_successor(network, "bob", ZERO_HASH, first_ms)
    assert network.state.one(SUCCESSION).genesis_hash == ZERO_HASH
    run_set_successor(network, successor=32 * b"\1")
    second_ms = network.state.one(SUCCESSION).from_ms
    assert second_ms > first_ms
    run_set_successor(network, "bob", ZERO_HASH, second_ms)


def test_a_withdrawal_counts_once(network: Network) -> None:
    """What was signed to withdraw one successor does not withdraw the next."""
    run_set_successor(network)
    old_ms = network.state.one(SUCCESSION).from_ms
    run_set_successor(network, "bob", ZERO_HASH, old_ms)
    run_set_successor(network, successor=32 * b"\1")
    again = set_successor(network, "bob", ZERO_HASH, old_ms)
    network.block(again, codes=[REFUSALS["bad_order"].number])
    assert network.state.one(SUCCESSION).genesis_hash == 32 * b"\1"
