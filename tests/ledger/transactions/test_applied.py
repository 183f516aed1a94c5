"""What each kind does, case by case; the runners of `effects` assert everything else."""

from importlib import import_module

import pytest

from ledger.transactions import TX_KINDS
from ledger.types import MAX_AMOUNT
from tests.factory import (
    BLOCK_MS,
    FEE,
    QUARTER,
    REQUIREMENT,
    RICH,
    START_MS,
    Network,
    attestor_roles,
    links,
    make_contact,
    make_genesis,
    places,
    public,
)
from tests.ledger.runners.accounts import run_transfer
from tests.ledger.runners.attest import run_attest
from tests.ledger.runners.contact import run_update_contact
from tests.ledger.runners.stake import run_contribute, run_register, run_withdraw
from tests.ledger.scenes import wait_until

IPV6 = bytes.fromhex("26200000000000000000000000000001")


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def waiting() -> Network:
    """With a node of alice that waits for three quarters of its stake."""
    network = Network()
    network.block(network.register(stake=QUARTER))
    return network


def test_every_kind_has_a_runner() -> None:
    for kind in TX_KINDS:
        area = kind.check.__module__.rpartition(".")[2]
        runners = import_module(f"tests.ledger.runners.{area}")
        assert callable(getattr(runners, f"run_{kind.name}")), kind.name


# ---- transfer ----


def test_transfer(network: Network) -> None:
    run_transfer(network, "alice", "bob", 5)


def test_transfer_to_new_account(network: Network) -> None:
    run_transfer(network, "alice", "stranger", 1)


def test_transfer_to_oneself_costs_the_fee(network: Network) -> None:
    run_transfer(network, "alice", "alice", 5)


def test_transfer_of_everything_leaves_an_empty_account(network: Network) -> None:
    run_transfer(network, "alice", "bob", RICH - FEE)
    assert network.balance("alice") == 0
    assert network.state.account(public("alice")).nonce == 1


def test_transfer_to_oneself_of_everything(network: Network) -> None:
    run_transfer(network, "alice", "alice", RICH - FEE)


def test_transfer_with_a_fee_of_everything_else(network: Network) -> None:
    run_transfer(network, "alice", "bob", 1, fee=RICH - 1)


def test_transfer_of_the_whole_supply() -> None:
    alice = make_genesis().accounts[0]
    genesis = make_genesis(pool=0, accounts=(type(alice)(public("alice"), MAX_AMOUNT),))
    network = Network(genesis)
    run_transfer(network, "alice", "bob", MAX_AMOUNT - FEE)
    run_transfer(network, "bob", "alice", MAX_AMOUNT - 2 * FEE)


def test_transfers_of_one_sender_in_one_block(network: Network) -> None:
    network.block(*[network.transfer("alice", "bob", 5) for _ in range(3)])
    assert network.balance("alice") == RICH - 3 * (5 + FEE)


def test_coins_received_can_be_spent_in_the_same_block(network: Network) -> None:
    network.block(network.transfer("alice", "new", 5 + FEE), network.transfer("new", "bob", 5))
    assert network.balance("new") == 0


# ---- the envelope's limits, just met ----


def test_expiry_in_the_block_that_carries_it(network: Network) -> None:
    network.settle()
    raw = network.transfer("alice", "bob", expiry=network.chain.tip.height + 1)
    network.block(raw)


def test_expiry_as_far_as_allowed(network: Network) -> None:
    network.settle()
    limit = network.chain.tip.height + 1 + network.params.max_lifetime_blocks
    network.block(network.transfer("alice", "bob", expiry=limit))


def test_transaction_as_long_as_allowed() -> None:
    size = len(Network().register(**attestor_roles("node")))
    network = Network(max_transaction_bytes=size)
    network.block(network.register(**attestor_roles("node")))


# ---- register ----


def test_register_with_a_quarter_waits(network: Network) -> None:
    run_register(network, "node", "alice", QUARTER)


def test_register_with_everything_joins_the_queue(network: Network) -> None:
    run_register(network, "node", "alice", REQUIREMENT)


def test_register_with_every_role(network: Network) -> None:
    run_register(network, "node", "alice", REQUIREMENT, **attestor_roles("node"))


def test_register_with_consensus_key_only(network: Network) -> None:
    run_register(network, "node", "alice", QUARTER, consensus_key=public("node consensus"))


def test_register_with_reserved_places(network: Network) -> None:
    reserved = places(("bob", 30), ("carol", 40))
    run_register(network, "node", "alice", QUARTER, reserved=reserved)


def test_register_with_all_places_reserved(network: Network) -> None:
    rest = REQUIREMENT - QUARTER
    names = ("bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan")
    reserved = places(*[(name, 1) for name in names], ("judy", rest - len(names)))
    run_register(network, "node", "alice", QUARTER, reserved=reserved)
    for name in names:
        run_contribute(network, name, 1)
    run_contribute(network, "judy", rest - len(names))


@pytest.mark.parametrize("fee", [0, 10_000])
def test_register_with_extreme_fees(network: Network, fee: int) -> None:
    run_register(network, "node", "alice", QUARTER, fee=fee)


def test_register_with_ipv6(network: Network) -> None:
    run_register(network, "node", "alice", QUARTER, contact=make_contact(ipv4=b"", ipv6=IPV6))


def test_register_with_both_addresses(network: Network) -> None:
    run_register(network, "node", "alice", QUARTER, contact=make_contact(ipv6=IPV6))


def test_register_pays_another_beneficiary(network: Network) -> None:
    run_register(network, "node", "alice", QUARTER, beneficiary=public("a cold wallet"))


def test_register_just_before_it_expires(network: Network) -> None:
    network.settle()
    expiry = network.chain.tip.time_ms + BLOCK_MS
    run_register(network, "node", "alice", QUARTER, expiry_ms=expiry)


def test_register_with_the_longest_expiry(network: Network) -> None:
    network.settle()
    # the check outside of blocks counts from the newest block
    expiry = network.chain.tip.time_ms + network.params.registration_ms
    run_register(network, "node", "alice", QUARTER, expiry_ms=expiry)


def test_register_one_unit_above_an_uneven_quarter() -> None:
    network = Network(staking_requirement=101)
    run_register(network, "node", "alice", 26)


def test_register_two_nodes_of_one_operator(network: Network) -> None:
    run_register(network, "node 1", "alice", REQUIREMENT)
    run_register(network, "node 2", "alice", QUARTER)


def test_register_with_keys_of_an_earlier_life(network: Network) -> None:
    run_register(network, "node", "alice", QUARTER, **attestor_roles("node"))
    end_life(network)
    tip = links(public("node list"), 80)[-1]
    roles = attestor_roles("node") | {"list_tip": tip}
    run_register(network, "node", "bob", QUARTER, life=2, **roles)


def end_life(network: Network, node: str = "node") -> None:
    """Take a waiting node out of the state, as leaving will; what is permanent stays."""
    record = network.node(node)
    for contribution in record.contributions:
        account = network.state.account(contribution.account)
        back = type(account)(account.balance + contribution.amount, account.nonce)
        network.rewrite({b"a" + contribution.account: back})
    network.rewrite({b"n" + public(node): None, b"c" + public(node): None})


# ---- contribute and withdraw ----


def test_contribute_an_equal_part(waiting: Network) -> None:
    open_amount = REQUIREMENT - QUARTER
    run_contribute(waiting, "bob", -(-open_amount // 9))


def test_contribute_everything_that_is_open(waiting: Network) -> None:
    run_contribute(waiting, "bob", REQUIREMENT - QUARTER)


def test_contribute_the_last_unit(network: Network) -> None:
    network.block(network.register(stake=REQUIREMENT - 1))
    run_contribute(network, "bob", 1)


def test_nine_equal_parts_fund_a_node(waiting: Network) -> None:
    names = ("bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy")
    left = REQUIREMENT - QUARTER
    for place, name in enumerate(names):
        part = -(-left // (len(names) - place))
        run_contribute(waiting, name, part)
        left -= part
    assert left == 0


def test_contribute_to_a_reserved_place(network: Network) -> None:
    network.block(network.register(stake=QUARTER, reserved=places(("bob", 7))))
    run_contribute(network, "bob", 7)


def test_contribute_beside_a_reserved_place(network: Network) -> None:
    network.block(network.register(stake=QUARTER, reserved=places(("bob", 7))))
    run_contribute(network, "carol", REQUIREMENT - QUARTER - 7)
    run_contribute(network, "bob", 7)


def kept(network: Network) -> int:
    """A node of alice with places for bob and carol; when those lapse."""
    network.block(network.register(stake=QUARTER, reserved=places(("bob", 7), ("carol", 8))))
    return network.node().since_ms + network.params.reservation_ms


def test_places_are_kept_for_the_last_millisecond(network: Network) -> None:
    wait_until(network, kept(network) - BLOCK_MS - 1)
    run_contribute(network, "bob", 7)
    assert network.node().reserved == places(("carol", 8))


def test_places_lapse_in_the_block_that_reaches_their_time(network: Network) -> None:
    wait_until(network, kept(network) - BLOCK_MS)
    run_contribute(network, "dave", REQUIREMENT // 2)
    assert network.node().reserved == ()


def test_contribute_what_was_kept_for_others(network: Network) -> None:
    wait_until(network, kept(network))
    run_contribute(network, "dave", REQUIREMENT - QUARTER)


def test_contribute_less_than_a_place_that_lapsed() -> None:
    network = Network()
    network.block(network.register(stake=QUARTER, reserved=places(("bob", REQUIREMENT // 2))))
    wait_until(network, network.node().since_ms + network.params.reservation_ms)
    run_contribute(network, "bob", REQUIREMENT // 4)


def test_withdraw(waiting: Network) -> None:
    run_contribute(waiting, "bob", REQUIREMENT // 4)
    run_withdraw(waiting, "bob")


def test_withdraw_from_the_middle_keeps_the_order(waiting: Network) -> None:
    for name in ("bob", "carol", "dave"):
        run_contribute(waiting, name, REQUIREMENT // 8)
    run_withdraw(waiting, "carol")
    accounts = [c.account for c in waiting.node().contributions]
    assert accounts == [public("alice"), public("bob"), public("dave")]


def test_withdraw_of_a_reserved_place_opens_it_to_all(network: Network) -> None:
    network.block(network.register(stake=QUARTER, reserved=places(("bob", 7))))
    run_contribute(network, "bob", 7)
    run_withdraw(network, "bob")
    run_contribute(network, "carol", REQUIREMENT - QUARTER)


def test_contribute_again_after_withdrawing(waiting: Network) -> None:
    run_contribute(waiting, "bob", REQUIREMENT // 8)
    run_withdraw(waiting, "bob")
    run_contribute(waiting, "bob", REQUIREMENT - QUARTER)


def test_a_node_funded_in_one_block(network: Network) -> None:
    network.settle()
    height = network.chain.tip.height + 1
    network.block(
        network.transfer("bob", "alice"),
        network.register(stake=QUARTER),
        network.contribute("bob", REQUIREMENT - QUARTER),
    )
    rows = [key for key in network.dump() if key[:1] == b"q"]
    assert rows == [b"q" + height.to_bytes(8, "big") + (2).to_bytes(4, "big")]


# ---- update_contact ----


def test_update_contact(waiting: Network) -> None:
    run_update_contact(waiting, "node", 1, make_contact(9))


def test_update_contact_twice(waiting: Network) -> None:
    run_update_contact(waiting, "node", 1, make_contact(9))
    run_update_contact(waiting, "node", 1_000, make_contact(10, ipv6=IPV6))


def test_update_contact_of_a_funded_node(network: Network) -> None:
    network.block(network.register())
    run_update_contact(network, "node", 2**63 - 1, make_contact(9))


def test_update_contact_of_an_active_node(network: Network) -> None:
    network.block(network.register())
    network.end_epoch()
    run_update_contact(network, "node", 1, make_contact(9))


# ---- attest ----


@pytest.mark.parametrize("index", range(3))
def test_attest(network: Network, index: int) -> None:
    run_attest(network, index)


def test_attest_each_epoch(network: Network) -> None:
    for _ in range(3):
        for index in (2, 0, 1):
            run_attest(network, index)
        network.end_epoch()


def test_attest_in_the_last_block_that_takes_it() -> None:
    network = Network(attest_blocks=3)
    network.attesting = False
    network.block()
    network.block()
    run_attest(network, 1)
    assert network.chain.tip.height == 3


def test_first_block_takes_attestations(network: Network) -> None:
    network.attesting = False
    network.block(*[network.attest(index) for index in range(3)])
    assert len(network.chain.newest_header().signatures) == 3
    assert network.chain.tip.time_ms == START_MS + BLOCK_MS
