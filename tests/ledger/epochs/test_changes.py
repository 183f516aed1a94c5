"""`apply_contacts` and `apply_keys`: what nodes announced comes into force at the end."""

import pytest
from msgspec.structs import replace

from ledger.crypto import KeyPair
from ledger.errors import REFUSALS
from ledger.messages.duty import Vote
from ledger.messages.tables import CHAINLINKS, NODES
from ledger.messages.transactions import Judge
from ledger.nodes import get_duty_key
from ledger.transactions.judge import get_quorum
from tests.factory import Network, attestor_roles, free, keys, links, make_contact, public
from tests.ledger.epochs.ends import run_end, village
from tests.life import cast, judge, running, set_keys


def judge_with(network: Network, epoch: int, tester: str, pair: KeyPair) -> bytes:
    """A verdict on `v1` by all testers, of whom one signs with this pair."""
    body: Judge = network.chain.decode(judge(network, "v1", faults=1, epoch=epoch, count=5)).body
    quorum = get_quorum(network.state, epoch, public("v1"))
    place = quorum.index(public(tester))
    signature = cast(pair, network, Vote(epoch, public("v1"), 1, 1))
    votes = list(body.votes)
    votes[place] = replace(votes[place], signature=signature)
    return free("judge", replace(body, votes=tuple(votes)))


def test_contact_data_of_every_state_changes() -> None:
    network = village()
    network.block(network.register("queued", "leo"), network.register("waits", "kim", 25 * 10**9))
    network.block(
        *(
            network.update_contact(name, contact=make_contact(place))
            for place, name in enumerate(("v1", "queued", "waits"), 100)
        )
    )
    run_end(network, joined=("queued",))


def test_new_duty_key_signs_from_the_next_epoch_on() -> None:
    network = village()
    epoch = running(network)
    network.block(set_keys(network, "v1", duty="v1 duty 2"))
    run_end(network)
    node = network.node("v1")
    assert get_duty_key(node, epoch) == public("v1 duty")
    assert get_duty_key(node, epoch + 1) == public("v1 duty 2")


@pytest.mark.parametrize("is_former", [True, False])
def test_former_duty_key_is_judged_for_the_old_epoch_and_the_new_one_for_the_next(
    is_former: bool,
) -> None:
    """Of six nodes each is tested by all the others, so `v2` votes in both epochs."""
    network = village(6)
    epoch = running(network)
    new, former = keys("v2 duty 2"), keys("v2 duty")
    network.block(set_keys(network, "v2", duty="v2 duty 2"))
    run_end(network)
    tested, right, wrong = (epoch, former, new) if is_former else (epoch + 1, new, former)
    refused = judge_with(network, tested, "v2", wrong)
    network.block(refused, codes=[REFUSALS["bad_signature"].number])
    network.block(judge_with(network, tested, "v2", right))
    run_end(network)


def test_a_change_that_keeps_the_duty_key_keeps_the_one_before_attributable() -> None:
    network = village()
    network.block(network.register("seat", "leo", **attestor_roles("seat")))
    run_end(network, joined=("seat",))
    network.block(set_keys(network, "seat", duty="seat duty 2"))
    run_end(network)
    first = network.node("seat")
    network.block(set_keys(network, "seat", sequence=2, duty="seat duty 2", list_key=b""))
    run_end(network)
    second = network.node("seat")
    assert (second.former_duty_key, second.keys_epoch) == (first.former_duty_key, first.keys_epoch)
    assert (second.list_key, second.list_tip) == (b"", b"")


@pytest.mark.parametrize("renews", [False, True])
def test_chain_goes_on_unless_a_tip_is_given(renews: bool) -> None:
    network = village()
    network.block(network.register("seat", "leo", **attestor_roles("seat")))
    run_end(network, joined=("seat",))
    key = public("seat list")
    before = network.state.one(CHAINLINKS, key)
    tip = links(public("another chain"))[-1]
    network.block(set_keys(network, "seat", list_tip=tip if renews else b""))
    run_end(network)
    assert (network.state.one(CHAINLINKS, key) == before) is not renews
    assert network.node("seat").list_tip == (tip if renews else links(key)[-1])


def test_new_list_key_begins_its_chain_at_the_end() -> None:
    network = village()
    key = public("late list")
    tip = links(key)[-1]
    network.block(set_keys(network, "v1", duty="v1 duty", list_key=key, list_tip=tip))
    assert network.state.get(CHAINLINKS, key) is None
    run_end(network)
    assert network.state.one(CHAINLINKS, key).value == tip
    assert network.state.one(NODES, public("v1")).list_key == key


def test_list_key_of_before_goes_on_with_its_chain_and_names_no_tip() -> None:
    network = village()
    first, second = public("seat list"), public("seat list 2")
    network.block(network.register("seat", "leo", **attestor_roles("seat")))
    run_end(network, joined=("seat",))
    tip = links(second)[-1]
    network.block(set_keys(network, "seat", 1, "seat duty", list_key=second, list_tip=tip))
    run_end(network)
    network.block(set_keys(network, "seat", 2, "seat duty", list_key=first))
    run_end(network)
    assert network.node("seat").list_tip == b""
    assert network.state.one(CHAINLINKS, first).value == links(first)[-1]


def test_keys_and_contact_data_share_their_sequence_numbers() -> None:
    network = village()
    network.block(set_keys(network, "v1", sequence=5))
    late = network.update_contact("v1", sequence=5)
    network.block(late, codes=[REFUSALS["contact_sequence"].number])
    network.block(network.update_contact("v1", sequence=6))
    run_end(network)
