"""What a BFT engine finds, case by case."""

from typing import Any

import pytest
from msgspec.structs import replace

from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.messages.evidence import Misbehaviour
from ledger.messages.genesis import COMET
from ledger.messages.state import ACTIVE, EXITED, TOMBSTONED
from ledger.messages.tables import HISTORIES, SETS, STARTS
from ledger.offences.punish import is_barred
from tests.factory import REQUIREMENT, Network, attestor_roles, public, validator_of
from tests.ledger.refusals.rows import submit
from tests.ledger.runners.report import piece, run_misbehaviour, run_report
from tests.ledger.scenes import SHORT, enter, let_go, pay_out, town
from tests.life import current, header_evidence, report, set_keys, vote_evidence

ENGINE: dict[str, Any] = {"engine": COMET, "producer": b""}


def begin(**params: int) -> Network:
    """A network whose validators agree on blocks, with an active node of alice."""
    network = town(ENGINE | {"nodes": town().genesis.nodes}, **params)
    enter(network)
    # its stake pays for what comes from now on
    network.block()
    return network


@pytest.fixture
def network() -> Network:
    return begin()


def test_a_validator_pays_and_leaves(network: Network) -> None:
    run_misbehaviour(network, piece("node", network))
    assert network.node().taken == REQUIREMENT * network.params.block_penalty // 10_000
    network.end_epoch()
    assert network.node().state == TOMBSTONED


def test_under_one_producer_it_counts_for_nothing() -> None:
    network = town()
    enter(network)
    run_misbehaviour(network, piece("node", network), counted=())
    network.end_epoch()
    assert network.node().state == ACTIVE


def test_what_is_no_evidence_has_no_effect(network: Network) -> None:
    good = piece("node", network)
    pieces = (b"", b"\xc0", piece("nobody", network), good, b"\x93" * 3)
    run_misbehaviour(network, *pieces, counted=(3,))


def test_two_validators_in_one_block(network: Network) -> None:
    roles = attestor_roles("node 2")
    network.block(network.register("node 2", "kim", **roles))
    network.end_epoch()
    run_misbehaviour(network, piece("node", network), piece("node 2", network), counted=(0, 1))


def test_the_same_in_one_block_counts_once(network: Network) -> None:
    once = piece("node", network)
    again = replace(once, height=once.height - 1)
    run_misbehaviour(network, once, once, again, counted=(0,))


def test_the_same_in_three_blocks_counts_once(network: Network) -> None:
    once = piece("node", network)
    run_misbehaviour(network, once)
    run_misbehaviour(network, once, counted=())
    run_misbehaviour(network, once, once, counted=())


def test_another_epoch_costs_no_more(network: Network) -> None:
    run_misbehaviour(network, piece("node", network))
    run_misbehaviour(network, piece("node", network, ago_ms=10_000), counted=())


def test_the_last_block_of_an_epoch_is_of_that_epoch(network: Network) -> None:
    network.end_epoch()
    run_misbehaviour(network, piece("node", network))


def founder(network: Network, ago_ms: int = 0) -> Misbehaviour:
    """An engine's word on the first founding attestor, who has no node."""
    key = validator_of(current(network)[0].list_key)
    return replace(piece("node", network, ago_ms), address=sha256(key)[:20])


def test_a_founder_without_a_node_is_barred_under_its_list_key(network: Network) -> None:
    list_key = current(network)[0].list_key
    run_misbehaviour(network, founder(network))
    assert is_barred(network.state, list_key)
    network.end_epoch()
    assert list_key not in [member.list_key for member in network.state.one(SETS).next]


def test_blocks_and_headers_of_a_founder_count_once(network: Network) -> None:
    """Whatever came first, its list key is marked once for an epoch, and nothing else is there."""
    list_key = current(network)[0].list_key
    run_misbehaviour(network, founder(network), founder(network), counted=(0,))
    evidence = header_evidence(network, list_key)
    with pytest.raises(Refusal, match="punished_already"):
        submit(network, report(network, "leo", evidence))


def test_headers_and_then_blocks_of_a_founder(network: Network) -> None:
    run_report(network, "leo", header_evidence(network, current(network)[0].list_key))
    run_misbehaviour(network, founder(network), counted=(0,))


def test_the_first_block_has_the_time_of_genesis(network: Network) -> None:
    """As CometBFT makes it: so an offence at that time is one of epoch 0."""
    early = replace(founder(network), time_ms=network.genesis.start_ms, height=1)
    run_misbehaviour(network, early)


def test_the_first_block_gets_too_old_too() -> None:
    network = begin(**SHORT)
    early = replace(founder(network), time_ms=network.genesis.start_ms, height=1)
    while next(network.state.items(STARTS))[0] == bytes(8):
        network.end_epoch()
    run_misbehaviour(network, early, counted=())


def test_before_the_time_of_genesis_there_is_no_offence(network: Network) -> None:
    early = replace(founder(network), time_ms=network.genesis.start_ms - 1, height=1)
    run_misbehaviour(network, early, counted=())


def test_a_node_that_was_not_there_then_is_not_liable(network: Network) -> None:
    """Its address is marked, and nothing else: a later stake does not pay."""
    early = replace(piece("node", network), time_ms=network.genesis.start_ms, height=1)
    run_misbehaviour(network, early)
    assert network.node().taken == 0
    network.end_epoch()
    assert network.node().state == ACTIVE


def test_after_votes_it_costs_what_is_missing(network: Network) -> None:
    run_report(network, "leo", vote_evidence(network, "node"))
    run_misbehaviour(network, piece("node", network))
    assert network.node().taken == REQUIREMENT * network.params.block_penalty // 10_000


def test_headers_after_blocks_cost_what_is_missing(network: Network) -> None:
    run_misbehaviour(network, piece("node", network))
    run_report(network, "leo", header_evidence(network, public("node list")))
    assert network.node().taken == REQUIREMENT * network.params.list_penalty // 10_000


def test_blocks_after_headers_cost_nothing(network: Network) -> None:
    run_report(network, "leo", header_evidence(network, public("node list")))
    run_misbehaviour(network, piece("node", network), counted=())


def test_the_address_of_a_former_consensus_key(network: Network) -> None:
    network.block(set_keys(network, consensus_key=public("node 2 consensus")))
    network.end_epoch()
    run_misbehaviour(network, piece("node", network))


def test_the_address_of_the_new_consensus_key(network: Network) -> None:
    network.block(set_keys(network, consensus_key=public("node 2 consensus")))
    network.end_epoch()
    run_misbehaviour(network, piece("node 2", network))


def test_a_list_key_is_no_consensus_key(network: Network) -> None:
    stranger = replace(piece("node", network), address=public("node list")[:20])
    run_misbehaviour(network, stranger, counted=())


def test_a_validator_that_has_left_is_slashed_and_stays_what_it_is(network: Network) -> None:
    let_go(network)
    run_misbehaviour(network, piece("node", network, ago_ms=1))
    network.end_epoch()
    assert network.node().state == EXITED
    assert network.state.one(HISTORIES, public("node")).tombstoned == 1


def test_it_is_too_old_once_its_epoch_is_forgotten() -> None:
    network = begin(**SHORT)
    old = piece("node", network)
    while next(network.state.items(STARTS))[0] < (2).to_bytes(8, "big"):
        network.end_epoch()
    run_misbehaviour(network, replace(old, time_ms=network.genesis.start_ms + 1), counted=())


def test_a_stake_that_was_paid_out_leaves_the_tombstone() -> None:
    network = begin(**SHORT)
    let_go(network)
    pay_out(network)
    run_misbehaviour(network, piece("node", network))
    assert network.state.one(HISTORIES, public("node")).tombstoned == 1
