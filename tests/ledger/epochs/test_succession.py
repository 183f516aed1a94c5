"""How a network ends: from when on headers name its successor, and what is taken after that."""

import pytest
from msgspec.structs import replace

from ledger.errors import REFUSALS, Refusal
from ledger.messages.lists import Attestor
from ledger.messages.state import Succession
from ledger.messages.tables import NODES, SETS, SUCCESSION
from ledger.types import ZERO_HASH
from tests.factory import EPOCH_MS, Network, keys, make_genesis, public
from tests.ledger.epochs.ends import run_end, village
from tests.ledger.refusals.successor import follows, moved, over, withdrawn
from tests.ledger.scenes import SHORT
from tests.life import SUCCESSOR, current, seats, set_attestors, set_successor, withdraw_successor

MOVED = REFUSALS["network_moved"].number


def left_ms(network: Network) -> int:
    """How much later than it could the running epoch has to end for headers to name a successor."""
    record = network.state.one(SUCCESSION)
    return record.from_ms - network.header.valid_after_ms - EPOCH_MS


def test_it_is_named_by_the_header_of_the_epoch_that_ends_at_its_time() -> None:
    network = village(**SHORT)
    follows(network)
    run_end(network)
    assert network.header.successor == ZERO_HASH
    run_end(network, late_ms=left_ms(network))
    assert network.header.successor == SUCCESSOR
    assert network.state.one(SUCCESSION).last_epoch == 0


def test_it_is_not_named_a_millisecond_before() -> None:
    network = Network(**SHORT)
    follows(network)
    run_end(network, late_ms=left_ms(network) - 1)
    assert network.header.successor == ZERO_HASH
    run_end(network)
    assert network.header.successor == SUCCESSOR


def test_what_was_withdrawn_is_never_named() -> None:
    network = Network(**SHORT)
    withdrawn(network)
    run_end(network, late_ms=left_ms(network) + EPOCH_MS)
    assert network.header.successor == ZERO_HASH
    network.block(network.transfer("alice", "bob"))


def test_it_may_be_withdrawn_until_a_header_names_it() -> None:
    network = Network(**SHORT)
    follows(network)
    late_ms = left_ms(network)
    network.settle()
    # its time has come, in the block that ends the epoch
    executed = network.block(
        withdraw_successor(network),
        ms=network.header.valid_after_ms + EPOCH_MS + late_ms - network.chain.tip.time_ms,
    )
    assert executed.ended_epoch
    assert network.header.successor == ZERO_HASH


def test_the_first_final_header_that_names_it_is_the_last_one() -> None:
    network = Network(**SHORT)
    moved(network)
    last = network.header.epoch
    run_end(network)
    assert network.state.one(SUCCESSION).last_epoch == last
    # whoever makes another one all the same names it too, and changes nothing of that
    network.attesting = False
    run_end(network)
    assert network.header.successor == SUCCESSOR
    assert network.state.one(SUCCESSION).last_epoch == last


def test_where_it_is_not_final_the_next_header_names_it_again() -> None:
    network = Network(**SHORT)
    moved(network)
    network.attesting = False
    network.block()
    network.block(network.attest(0), network.attest(1))
    run_end(network)
    assert network.header.successor == SUCCESSOR
    assert network.state.one(SUCCESSION).last_epoch == 0
    network.attesting = True
    again = network.header.epoch
    run_end(network)
    assert network.state.one(SUCCESSION).last_epoch == again


def test_nothing_but_attestations_is_taken_once_such_a_header_is_stored() -> None:
    network = Network(**SHORT)
    follows(network)
    network.settle()
    # the block that ends the epoch is the last one that takes what people send
    ms = network.header.valid_after_ms + EPOCH_MS + left_ms(network) - network.chain.tip.time_ms
    assert network.block(network.transfer("alice", "bob"), ms=ms).ended_epoch
    network.block(network.transfer("alice", "bob"), codes=[MOVED])
    network.forget_sent()
    assert len(network.chain.newest_header().signatures) == 3
    network.block(withdraw_successor(network), set_successor(network, "bob"), codes=[MOVED, MOVED])
    network.forget_sent()
    assert network.state.one(SUCCESSION).genesis_hash == SUCCESSOR


def test_a_pool_refuses_before_the_block_that_stores_the_header_is_made() -> None:
    network = Network(**SHORT)
    moved(network)
    tx = network.chain.decode(network.transfer("alice", "bob"))
    with pytest.raises(Refusal) as caught:
        network.chain.check(tx)
    assert caught.value.code == "network_moved"
    assert caught.value.values == {"successor": SUCCESSOR.hex()}
    attestation = network.chain.decode(network.attest(0))
    network.chain.check(attestation)


def test_recovery_keys_can_still_make_it_final() -> None:
    """The attestors are lost in the hour of the move."""
    network = Network(make_genesis(SHORT, recovery=(keys("rescue").public,)))
    moved(network)
    network.attesting = False
    by_attestors = set_attestors(network, seats(network, "new", kept=current(network)[1:]), "bob")
    network.block(by_attestors, codes=[MOVED])
    network.forget_sent()
    new = seats(network, "a", "b")
    network.block(set_attestors(network, new, recovery=("rescue",)))
    network.end_epoch()
    assert network.state.one(SETS).current == tuple(Attestor(seat.list_key, 1) for seat in new)
    network.attesting = True
    last = network.header.epoch
    network.end_epoch()
    assert network.state.one(SUCCESSION) == Succession(
        SUCCESSOR, network.state.one(SUCCESSION).from_ms, last
    )


def test_nothing_at_all_is_taken_when_it_is_over() -> None:
    network = Network(make_genesis(SHORT, recovery=(keys("rescue").public,)))
    over(network)
    network.block()
    recovery = set_attestors(network, seats(network, "a"), recovery=("rescue",))
    network.block(network.attest(0), recovery, codes=[MOVED, MOVED])


def test_who_asks_in_the_first_half_of_the_notice_has_his_stake_back_before() -> None:
    network = village(**SHORT)
    network.block(set_successor(network, "leo"))
    notice_ms = network.state.one(SUCCESSION).from_ms - network.chain.tip.time_ms
    network.end_epoch(late_ms=notice_ms // 2 - 3 * EPOCH_MS)
    before = network.balance("bob")
    network.block(network.request_unlock("bob", "v1"))
    run_end(network, exited=("v1",))
    run_end(network, late_ms=network.params.unbonding_ms - EPOCH_MS, paid=("v1",))
    assert network.header.successor == ZERO_HASH
    assert network.state.get(NODES, public("v1")) is None
    assert network.balance("bob") > before
    run_end(network, late_ms=max(0, left_ms(network)))
    assert network.header.successor == SUCCESSOR


def test_the_announcement_is_proven_like_every_record() -> None:
    network = Network(**SHORT)
    follows(network)
    network.end_epoch()
    proof = network.view.make_proof(SUCCESSION.letter)
    (raw,) = proof.record
    record = SUCCESSION.codec.decode(raw)
    assert replace(record, from_ms=0) == Succession(SUCCESSOR, 0, 0)
