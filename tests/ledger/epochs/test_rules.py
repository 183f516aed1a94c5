"""`apply_attestors` and `apply_params`: rules that change, and how headers announce them."""

from hashlib import sha256
from typing import Any

import pytest

from ledger.codec import encode
from ledger.errors import REFUSALS
from ledger.messages.genesis import GenesisAttestor
from ledger.messages.lists import Attestor, attestor_set_hash
from ledger.messages.tables import CHAINLINKS, PARAMS
from ledger.transactions.judge import get_quorum
from tests.factory import (
    ATTESTORS,
    EPOCH_MS,
    Network,
    links,
    make_genesis,
    public,
)
from tests.ledger.epochs.ends import SHORT_LOCK, judge_all, run_end, village
from tests.life import (
    current,
    header_evidence,
    report,
    running,
    seats,
    set_attestors,
    set_keys,
    set_params,
)

TURN_MS = 60_000
"""Least time between two changes of the attestors in the `minimal` preset."""


def tips(*names: str) -> dict[bytes, bytes]:
    """The hash chains that new seats bring."""
    return {public(name): links(public(name))[-1] for name in names}


def members(network: Network, *names: str, without: int = 1) -> tuple[Attestor, ...]:
    """The current set without its last seats, and with these new ones."""
    kept = current(network)[: len(current(network)) - without]
    return tuple(sorted((*kept, *(Attestor(public(name), 1) for name in names)), key=_key))


def _key(member: Attestor) -> bytes:
    return member.list_key


def order(network: Network, name: str = "new seat", **changes: Any) -> tuple[Attestor, ...]:
    """Order one seat for another, and return the set that is to come."""
    after = members(network, name)
    kept = current(network)[:-1]
    network.block(set_attestors(network, seats(network, name, kept=kept), **changes))
    return after


CLEARED: dict[str, Any] = {"ordered": (), "ordered_by": 0, "begin": 0}


def announced(network: Network, late_ms: int = 0) -> dict[str, Any]:
    """The time of the running epoch's end, as that of a change."""
    return {"changed_ms": network.header.valid_after_ms + EPOCH_MS + late_ms}


# ---- attestors ----


def test_order_is_announced_becomes_final_and_takes_over() -> None:
    network = Network()
    old = current(network)
    new = order(network)
    run_end(network, sets={**CLEARED, **announced(network), "next": new}, tips=tips("new seat"))
    assert network.header.set_hash == attestor_set_hash(old)
    assert network.header.next_set_hash == attestor_set_hash(new)
    # the old set attests the header that announces the new one
    run_end(network, sets={"current": new})
    assert network.header.set_hash == network.header.next_set_hash == attestor_set_hash(new)
    network.settle()
    assert [index for index, _ in network.chain.newest_header().signatures] == [0, 1, 2]


@pytest.mark.parametrize("signers", [0, 2])
def test_set_that_is_not_final_is_announced_again(signers: int) -> None:
    """Two of three seats are not more than two thirds of the weight."""
    network = Network()
    new = order(network)
    run_end(network, sets={**CLEARED, **announced(network), "next": new}, tips=tips("new seat"))
    network.attesting = False
    for _ in range(3):
        network.block()
        network.block(*(network.attest(index) for index in range(signers)))
        run_end(network)
        assert network.header.next_set_hash == attestor_set_hash(new)
        assert network.header.set_hash != network.header.next_set_hash
    network.attesting = True
    run_end(network, sets={"current": new})


def test_order_waits_for_its_time() -> None:
    network = Network()
    begin = network.header.valid_after_ms + 2 * EPOCH_MS
    new = order(network, begin=begin)
    run_end(network)
    run_end(network, sets={**CLEARED, "changed_ms": begin, "next": new}, tips=tips("new seat"))


def test_next_change_waits_its_time_after_the_last() -> None:
    network = Network()
    new = order(network)
    first_ms = announced(network)["changed_ms"]
    run_end(network, sets={**CLEARED, "changed_ms": first_ms, "next": new}, tips=tips("new seat"))
    run_end(network, sets={"current": new})
    early = set_attestors(
        network, seats(network, "third", kept=current(network)[:-1]), begin=first_ms + TURN_MS - 1
    )
    network.block(early, codes=[REFUSALS["change_too_soon"].number])
    network.forget_sent()
    after = order(network, "third", begin=first_ms + TURN_MS)
    for _ in range(4):
        run_end(network)
    run_end(
        network,
        sets={**CLEARED, "changed_ms": first_ms + TURN_MS, "next": after},
        tips=tips("third"),
    )


def accuse(network: Network, member: Attestor) -> None:
    """Report two headers by a seat."""
    network.block(report(network, "alice", header_evidence(network, member.list_key)))


def test_barred_seats_go_first_and_one_at_a_time() -> None:
    network = Network(set_change_ms=0)
    old = current(network)
    accuse(network, old[0])
    accuse(network, old[1])
    run_end(network, sets={**announced(network), "next": old[1:]})
    # until it has taken over the barred seats count, and nothing else moves
    run_end(network, sets={**announced(network), "current": old[1:], "next": old[2:]})
    run_end(network, sets={"current": old[2:]})
    assert network.header.set_hash == attestor_set_hash(old[2:])


def test_seats_go_at_once_as_far_as_a_tenth_of_the_weight() -> None:
    names = sorted((f"seat {number}" for number in range(25)), key=public)
    rows = tuple(GenesisAttestor(public(n), 1, links(public(n))[-1]) for n in names)
    network = Network(make_genesis(attestors=rows))
    old = current(network)
    for member in old[:3]:
        accuse(network, member)
    run_end(network, sets={**announced(network), "next": old[2:]})


def test_the_last_seat_stays_whatever_it_did() -> None:
    network = Network(make_genesis(attestors=make_genesis().attestors[:1]))
    accuse(network, current(network)[0])
    for _ in range(3):
        run_end(network)
    assert len(current(network)) == 1


def test_barred_seat_goes_before_an_order_which_then_does_not_fit() -> None:
    network = Network(set_change_ms=20_000)
    old = current(network)
    order(network)
    accuse(network, old[0])
    first_ms = announced(network)["changed_ms"]
    run_end(network, sets={"changed_ms": first_ms, "next": old[1:]})
    run_end(network, sets={"current": old[1:]})
    # the order keeps a seat that is barred: it lapses, and another one may come
    run_end(network, sets=CLEARED)
    after = order(network)
    run_end(
        network,
        sets={**CLEARED, **announced(network), "next": after},
        tips=tips("new seat"),
    )


def test_order_that_would_move_too_much_by_now_lapses() -> None:
    network = Network(set_change_ms=20_000)
    old = current(network)
    # the order lets another seat go than the one that is lost meanwhile, which it names no more
    kept = old[1:]
    network.block(set_attestors(network, seats(network, "new seat", kept=kept)))
    accuse(network, old[1])
    run_end(network, sets={**announced(network), "next": (old[0], old[2])})
    run_end(network, sets={"current": (old[0], old[2])})
    run_end(network, sets=CLEARED)
    assert network.state.get(CHAINLINKS, public("new seat")) is None


RESCUERS = ("rescue 0", "rescue 1", "rescue 2")


def rescued(**params: int) -> Network:
    """A network with a recovery set."""
    recovery = tuple(sorted(map(public, RESCUERS)))
    return Network(make_genesis(params, recovery=recovery))


def test_recovery_replaces_all_seats_at_once_though_nobody_attests() -> None:
    network = rescued()
    network.attesting = False
    names = ("a", "b")
    network.block(set_attestors(network, seats(network, *names), recovery=RESCUERS))
    new = tuple(sorted((Attestor(public(name), 1) for name in names), key=_key))
    run_end(
        network,
        sets={**CLEARED, **announced(network), "current": new, "next": new},
        tips=tips(*names),
    )
    assert network.header.set_hash == attestor_set_hash(new)
    network.attesting = True
    run_end(network)
    assert current(network) == new


def test_recovery_goes_before_what_was_ordered_and_announced() -> None:
    network = rescued()
    new = order(network)
    run_end(network, sets={**CLEARED, **announced(network), "next": new}, tips=tips("new seat"))
    network.block(set_attestors(network, seats(network, "a"), recovery=RESCUERS))
    alone = (Attestor(public("a"), 1),)
    run_end(
        network,
        sets={**CLEARED, **announced(network), "current": alone, "next": alone},
        tips=tips("a"),
    )


def test_recovery_gives_back_seats_whose_chains_were_lost() -> None:
    """The same list keys, each with the tip of a new chain."""
    network = rescued()
    again = seats(network, *ATTESTORS)
    network.settle()
    accepted = [network.state.one(CHAINLINKS, seat.list_key).accepted for seat in again]
    assert accepted == [1, 1, 1]
    network.block(set_attestors(network, again, recovery=RESCUERS))
    same = current(network)
    run_end(
        network,
        sets={**CLEARED, **announced(network), "current": same, "next": same},
        tips=tips(*ATTESTORS),
    )
    run_end(network)


def exhausted() -> tuple[Network, bytes]:
    """A network with one seat whose hash chain has no link left, and its list key."""
    key = public("short")
    network = Network(make_genesis(attestors=(GenesisAttestor(key, 1, links(key)[2]),)))
    network.attesting = False
    for place in (1, 0):
        network.block()
        network.block(network.attest(0, reveal=links(key)[place]))
        run_end(network)
    network.block()
    for guess in (bytes(32), links(key)[0], links(key)[1]):
        late = network.attest(0, reveal=guess)
        network.block(late, codes=[REFUSALS["bad_reveal"].number])
    return network, key


def test_exhausted_chain_is_renewed_by_an_order() -> None:
    network, key = exhausted()
    network.block(set_attestors(network, seats(network, "short")))
    same = current(network)
    run_end(
        network,
        sets={**CLEARED, **announced(network), "next": same},
        tips=tips("short"),
    )
    network.block()
    network.block(network.attest(0, reveal=links(key)[-2]))
    run_end(network)


def test_exhausted_chain_of_a_node_is_renewed_by_its_keys() -> None:
    network, _ = exhausted()
    network.block(set_attestors(network, seats(network, "short")))
    run_end(network, sets={**CLEARED, **announced(network)}, tips=tips("short"))
    key = public("node list")
    network.block(network.register(list_key=key, list_tip=links(key)[0], consensus_key=b""))
    run_end(network, joined=("node",))
    assert network.state.one(CHAINLINKS, key).value == links(key)[0]
    network.block(set_keys(network, list_tip=links(key)[-1]))
    run_end(network)
    assert network.state.one(CHAINLINKS, key).value == links(key)[-1]


# ---- parameters ----


def digest(network: Network) -> bytes:
    """What a header has to commit to, of the parameters as they are written down."""
    record = encode(network.state.one(PARAMS))
    return sha256(b"waypost parameters".ljust(32, b"\0") + record).digest()


def test_parameters_are_announced_by_the_next_header_and_in_force_at_their_time() -> None:
    network = village(**SHORT_LOCK)
    before = network.header.params_digest
    network.block(set_params(network, reward_rate=1_000, minimum_fee=2_000))
    announced_values = network.state.one(PARAMS).next
    assert network.params.reward_rate == 1_510
    run_end(network)
    assert before != network.header.params_digest == digest(network)
    assert network.params.reward_rate == 1_510
    from_ms = network.state.one(PARAMS).from_ms
    late_ms = from_ms - network.chain.tip.time_ms - EPOCH_MS
    run_end(network, late_ms - 1)
    assert network.params.reward_rate == 1_510
    run_end(network, rules=True)
    assert tuple(network.params) == announced_values
    assert network.header.params_digest == digest(network)
    changed = network.state.one(PARAMS)
    assert (changed.next, changed.from_ms) == ((), 0)
    assert changed.changed_ms == network.chain.tip.time_ms


def test_parameters_come_into_force_at_their_time_exactly() -> None:
    network = village(**SHORT_LOCK)
    from_ms = network.header.valid_after_ms + 7 * EPOCH_MS
    network.block(set_params(network, from_ms=from_ms, reward_rate=1_000))
    for _ in range(6):
        run_end(network)
    run_end(network, rules=True)
    assert network.state.one(PARAMS).changed_ms == from_ms


def test_quorums_of_other_sizes_are_drawn_from_the_next_roster_on() -> None:
    network = village(**SHORT_LOCK)
    network.block(set_params(network, quorum_testers=3, quorum_threshold=2))
    run_end(network, late_ms=70_000, rules=True)
    epoch = running(network)
    assert len(get_quorum(network.state, epoch - 1, public("v1"))) == 5
    assert len(get_quorum(network.state, epoch, public("v1"))) == 3
    judge_all(network, "v1", epoch=epoch - 1, count=4)
    judge_all(network, "v1", epoch=epoch, count=2)
    run_end(network)


def test_only_one_change_of_parameters_waits() -> None:
    network = village(**SHORT_LOCK)
    network.block(set_params(network, reward_rate=1_000))
    second = set_params(network, reward_rate=900)
    network.block(second, codes=[REFUSALS["change_pending"].number])
