"""Who agrees on blocks, under an engine with validators: the seats, with the keys in force."""

from typing import Any

import pytest
from msgspec.structs import replace

from ledger.errors import REFUSALS
from ledger.messages.evidence import Misbehaviour
from ledger.messages.lists import Attestor
from ledger.messages.state import EXITED, TOMBSTONED
from ledger.messages.tables import NODES, SETS
from ledger.nodes import consensus_address
from ledger.validators import get_validators
from tests.factory import (
    EPOCH_MS,
    REQUIREMENT,
    Network,
    attestor_roles,
    links,
    public,
    validator_of,
)
from tests.ledger.epochs.ends import SHORT_LOCK, run_end, village
from tests.ledger.epochs.seats import (
    CONSENSUS_OF,
    FOUNDERS,
    VALIDATORS_AGREE,
    enlist,
    list_keys,
    realm,
    turn,
)
from tests.ledger.runners.report import run_misbehaviour
from tests.life import current, seats, set_attestors, set_keys

FIRST, SECOND, THIRD = FOUNDERS
UNBONDING_MS = SHORT_LOCK["unbonding_ms"]
RESCUERS = ("rescue 0", "rescue 1")


def agreed(**params: int) -> Network:
    """A realm whose validators agree on blocks."""
    recovery = {"recovery": tuple(sorted(map(public, RESCUERS)))}
    return realm(VALIDATORS_AGREE | recovery, **params)


def taken_over(**params: int) -> Network:
    """Three nodes hold all three seats."""
    network = agreed(**params)
    enlist(network, "n0", "n1", "n2", gone=(FIRST,), came=list_keys("n0"))
    turn(network, gone=(SECOND,), came=list_keys("n1"))
    turn(network, gone=(THIRD,), came=list_keys("n2"))
    turn(network)
    assert validators(network) == ["n0 consensus", "n1 consensus", "n2 consensus"]
    return network


def validators(network: Network) -> list[str]:
    """Who agrees on blocks, by the name of the consensus key."""
    name_of = {public(f"{node} consensus"): f"{node} consensus" for node in KNOWN}
    return sorted(name_of[key] for key in get_validators(network.state))


KNOWN = ("n0", "n1", "n2", "n3", "n0 other", "n0 again", "n1 again")


def rotate(network: Network, name: str = "n0", sequence: int = 1, **changes: Any) -> bytes:
    """A node names another consensus key, unless told otherwise."""
    changes = {"consensus_key": public(f"{name} other consensus")} | changes
    return set_keys(network, name, sequence, f"{name} duty", **changes)


def double(key: str, network: Network, ago_ms: int = 0) -> Misbehaviour:
    """An engine's word that a consensus key signed two blocks, at the newest one or before."""
    tip = network.chain.tip
    return Misbehaviour(consensus_address(public(key)), tip.height, tip.time_ms - ago_ms)


# ---- following the set ----


def test_founders_agree_from_the_start() -> None:
    network = agreed()
    assert get_validators(network.state) == sorted(validator_of(public(n)) for n in FOUNDERS)


def test_under_one_producer_there_are_none() -> None:
    network = realm()
    enlist(network, "n0", "n1", "n2", gone=(FIRST,), came=list_keys("n0"))
    turn(network, gone=(SECOND,), came=list_keys("n1"))
    assert get_validators(network.state) == ()


def test_validators_change_with_the_set_and_not_before() -> None:
    taken_over()


def test_a_set_that_is_not_final_keeps_its_validators() -> None:
    network = agreed()
    enlist(network, "n0", "n1", "n2", gone=(FIRST,), came=list_keys("n0"))
    network.attesting = False
    turn(network, is_final=False)
    assert get_validators(network.state) == sorted(validator_of(public(n)) for n in FOUNDERS)


def test_recovery_changes_both_at_once() -> None:
    network = taken_over()
    kept = (Attestor(public("n0 list"), 1), Attestor(public("n2 list"), 1))
    members = tuple(sorted(kept, key=lambda member: member.list_key))
    network.block(set_attestors(network, seats(network, kept=members), recovery=RESCUERS))
    now = {"current": members, "next": members, "changed_ms": ending_ms(network)}
    run_end(network, sets=CLEARED | now)
    assert validators(network) == ["n0 consensus", "n2 consensus"]


CLEARED: dict[str, Any] = {"ordered": (), "ordered_by": 0, "begin": 0}


def ending_ms(network: Network) -> int:
    """When the running epoch ends."""
    return network.header.valid_after_ms + EPOCH_MS


# ---- following the keys ----


def test_another_consensus_key_is_in_force_at_the_next_end() -> None:
    network = taken_over()
    network.block(rotate(network))
    turn(network, validators={public("n0 list"): public("n0 other consensus")})
    assert validators(network) == ["n0 other consensus", "n1 consensus", "n2 consensus"]
    network.block(rotate(network, sequence=2, consensus_key=public("n0 consensus")))
    turn(network, validators={public("n0 list"): public("n0 consensus")})


def test_all_may_change_their_keys_at_one_end() -> None:
    network = taken_over()
    network.block(*(rotate(network, name) for name in ("n0", "n1", "n2")))
    turn(
        network,
        validators={
            public(f"{name} list"): public(f"{name} other consensus") for name in ("n0", "n1", "n2")
        },
    )


def test_with_another_list_key_too_the_consensus_key_does_not_wait_for_the_seat() -> None:
    network = taken_over()
    key = public("n1 again list")
    network.block(
        rotate(
            network, "n1", list_key=key, list_tip=links(key)[-1],
            consensus_key=public("n1 again consensus"),
        )
    )  # fmt: skip
    turn(
        network,
        gone=list_keys("n1"),
        came=("n1 again list",),
        validators={public("n1 list"): public("n1 again consensus")},
    )
    turn(network)
    assert validators(network) == ["n0 consensus", "n1 again consensus", "n2 consensus"]


NOTHING: dict[str, Any] = {"list_key": b"", "consensus_key": b""}


def test_who_names_no_keys_any_more_agrees_with_the_old_one_to_the_end() -> None:
    network = taken_over()
    enlist(network, "n3", came=list_keys("n3"))
    turn(network)
    network.block(rotate(network, **NOTHING))
    turn(network, gone=list_keys("n0"))
    assert validators(network) == [f"n{number} consensus" for number in range(4)]
    turn(network)
    assert validators(network) == ["n1 consensus", "n2 consensus", "n3 consensus"]


def test_who_moves_and_names_no_key_any_more_keeps_the_old_one() -> None:
    """The seat is announced under the new list key, and its node has another one before it."""
    network = taken_over()
    key = public("n1 again list")
    network.block(rotate(network, "n1", list_key=key, list_tip=links(key)[-1]))
    other = public("n1 other consensus")
    turn(
        network,
        gone=list_keys("n1"),
        came=("n1 again list",),
        validators={public("n1 list"): other},
    )
    network.block(rotate(network, "n1", sequence=2, list_key=key, consensus_key=b""))
    turn(network, validators={key: other})
    assert public("n1 other consensus") in get_validators(network.state)


def test_who_is_to_take_a_seat_names_a_consensus_key_until_it_has_it() -> None:
    network = agreed()
    enlist(network, "n0", "n1", "n2", gone=(FIRST,), came=list_keys("n0"))
    network.attesting = False
    for refused in (rotate(network, **NOTHING), rotate(network, consensus_key=b"")):
        network.block(refused, codes=[REFUSALS["attestor_keys"].number])
    # whoever has no seat announced, or one that counts, may
    network.block(rotate(network, "n2", **NOTHING))
    turn(network, is_final=False)
    network.attesting = True
    turn(network)
    network.block(rotate(network, **NOTHING))
    turn(network)
    assert public("n0 consensus") in get_validators(network.state)


def test_another_key_before_the_seat_counts_is_the_one_that_agrees() -> None:
    network = agreed()
    enlist(network, "n0", "n1", "n2", gone=(FIRST,), came=list_keys("n0"))
    network.block(rotate(network))
    turn(
        network,
        gone=(SECOND,),
        came=list_keys("n1"),
        validators={public("n0 list"): public("n0 other consensus")},
    )


def test_under_one_producer_nobody_has_to_name_one() -> None:
    network = realm()
    enlist(network, "n0", "n1", "n2", gone=(FIRST,), came=list_keys("n0"))
    network.block(rotate(network, **NOTHING))
    turn(network)


# ---- evidence ----


def test_whoever_signs_two_blocks_loses_stake_and_seat() -> None:
    network = taken_over()
    run_misbehaviour(network, double("n0 consensus", network))
    assert network.node("n0").taken == REQUIREMENT * network.params.block_penalty // 10_000
    turn(network, banned=("n0",), gone=list_keys("n0"))
    turn(network, delayed=("n0",))
    assert network.node("n0").state == TOMBSTONED
    assert validators(network) == ["n1 consensus", "n2 consensus"]


def test_a_founder_that_signs_two_blocks_loses_its_seat() -> None:
    network = agreed()
    key = CONSENSUS_OF[public(SECOND)]
    run_misbehaviour(network, replace(double("n0", network), address=consensus_address(key)))
    turn(network, gone=(SECOND,))
    turn(network)
    assert get_validators(network.state) == sorted(
        validator_of(public(name)) for name in (FIRST, THIRD)
    )


KEYS = ("n0 consensus", "n0 other consensus")


@pytest.mark.parametrize("key", KEYS)
def test_evidence_reaches_the_stake_through_rotation_exit_and_the_last_block(key: str) -> None:
    """The block after the one that ends its seat is still signed by it; what it signs there, it
    pays for as long as evidence may be old.
    """
    network = taken_over()
    network.block(rotate(network))
    turn(network, validators={public("n0 list"): public("n0 other consensus")})
    enlist(network, "n3", came=list_keys("n3"))
    turn(network)
    network.block(network.request_unlock("alice", "n0"))
    turn(network, exited=("n0",), gone=list_keys("n0"))
    turn(network, delayed=("n0",))
    left_ms = network.chain.tip.time_ms
    network.block(ms=1)
    late = double(key, network)
    assert network.params.evidence_ms < UNBONDING_MS
    # the last end before the payout: a whole unbonding time after the seat was gone, less a bit
    turn(network, late_ms=UNBONDING_MS - EPOCH_MS - 2)
    assert network.chain.tip.time_ms == left_ms + UNBONDING_MS - 2
    run_misbehaviour(network, late)
    assert network.node("n0").taken == REQUIREMENT * network.params.block_penalty // 10_000
    assert network.node("n0").state == EXITED
    turn(network, paid=("n0",))
    assert network.state.get(NODES, public("n0")) is None


# ---- orders of attestors ----


def ordered() -> Network:
    """Three founders, an active node with every key, one with a list key only; orders are taken."""
    network = village(8, VALIDATORS_AGREE, **(SHORT_LOCK | {"set_change_ms": 0}))
    network.block(
        network.register("n0", "alice", **attestor_roles("n0")),
        network.register("n1", "bob", **(attestor_roles("n1") | {"consensus_key": b""})),
    )
    run_end(network, joined=("n0", "n1"))
    return network


def order(network: Network, *names: str) -> bytes:
    """An order of seats beside those of now, by list key."""
    members = (*current(network), *(Attestor(public(name), 1) for name in names))
    return set_attestors(network, seats(network, kept=members))


def test_an_order_seats_a_node_with_a_consensus_key() -> None:
    network = ordered()
    network.block(order(network, "n0 list"))
    turn(network, came=list_keys("n0"), sets=CLEARED)
    turn(network)
    assert public("n0 consensus") in get_validators(network.state)


def test_an_order_lapses_whose_seat_has_no_consensus_key_by_then() -> None:
    """It was taken back before the order came, and is not there when it would sit."""
    network = ordered()
    network.block(rotate(network, consensus_key=b""), order(network, "n0 list"))
    run_end(network, sets=CLEARED)
    assert network.state.one(SETS).next == current(network)


def test_whose_seat_is_ordered_names_a_consensus_key_until_it_has_it() -> None:
    network = ordered()
    refused = [REFUSALS["attestor_keys"].number]
    network.block(order(network, "n0 list"))
    for change in (rotate(network, **NOTHING), rotate(network, consensus_key=b"")):
        network.block(change, codes=refused)
    network.block(rotate(network, consensus_key=public("n0 other consensus")))
