"""Headers and their attestations: every field, when they are stored, who signs, what is kept."""

from hashlib import sha256

import pytest
from msgspec.structs import replace

from ledger.history import final_key
from ledger.lists import build_list
from ledger.merkle import leaf_hash, tree_root
from ledger.messages.lists import (
    attestor_set_hash,
    decode_signed_header,
    encode_header,
    encode_signed_header,
    header_signing_bytes,
)
from ledger.messages.tables import ATTESTATIONS, DRAFT, HEADER, HEADERS, SETS, SWARMS
from ledger.steps import run
from tests.factory import (
    ATTESTORS,
    EPOCH_MS,
    START_MS,
    Network,
    keys,
    links,
    next_seed,
    pair_of,
    public,
    verify_cached,
)


def queued_nodes(network: Network, *rows: tuple[str, str]) -> None:
    """Register `(node, operator)` in this order, all in one block."""
    network.block(*[network.register(node, operator) for node, operator in rows])


# ---- the header ----


def test_every_field_of_a_header() -> None:
    network = Network()
    queued_nodes(network, *[(f"node {i}", "alice") for i in range(3)])
    seed = network.genesis.seed
    reveals = [
        (index, links(seat.list_key)[-2])
        for index, seat in enumerate(network.state.one(SETS).current)
    ]
    before = encode_header(Network(network.genesis).header)
    header = network.end_epoch()
    tip = network.chain.tip
    built = run(build_list(network.state))
    attestors = b"".join(a.list_key + (1).to_bytes(4, "big") for a in network.genesis.attestors)
    set_hash = sha256(b"waypost attestors".ljust(32, b"\0") + bytes([3]) + attestors).digest()
    parameters = network.store.get(b"p")
    assert parameters is not None
    assert header._asdict() == {
        "format_version": 1,
        "rules_version": 1,
        "next_format": 1,
        "epoch": 1,
        "height": tip.height,
        "valid_after_ms": tip.time_ms,
        "fresh_until_ms": tip.time_ms + network.params.fresh_ms,
        "valid_until_ms": tip.time_ms + network.params.valid_ms,
        "node_count": 3,
        "swarm_count": len({swarm.swarm_id for _, swarm in network.state.items(SWARMS)}),
        "list_hash": sha256(built.columns).digest(),
        "swarm_root": tree_root([leaf_hash(leaf) for leaf in built.leaves]),
        "set_hash": set_hash,
        "next_set_hash": set_hash,
        "history_root": leaf_hash(before),
        "state_root": tip.root,
        "params_digest": sha256(b"waypost parameters".ljust(32, b"\0") + parameters).digest(),
        "seed": next_seed(seed, *reveals),
        "successor": bytes(32),
    }


def test_header_of_genesis() -> None:
    network = Network()
    header = network.header
    assert (header.epoch, header.height, header.valid_after_ms) == (0, 0, START_MS)
    assert (header.node_count, header.swarm_count) == (0, 0)
    assert header.seed == network.genesis.seed
    assert header.state_root == network.chain.tip.root
    assert header.history_root == sha256(b"").digest()
    assert header.list_hash == sha256(bytes(8)).digest()


def test_header_is_stored_by_the_next_block() -> None:
    network = Network()
    network.end_epoch()
    root, signed = network.chain.tip.root, network.chain.newest_header()
    state = network.state
    draft = state.one(DRAFT).header
    assert signed.signatures == ()
    assert draft == encode_header(network.header._replace(state_root=bytes(32)))
    assert state.one(HEADERS).size == 1
    network.attesting = False
    network.block()
    state = network.state
    assert state.get(DRAFT) is None
    assert state.one(HEADER).header == signed.header == network.chain.newest_header().header
    assert network.header.state_root == root
    assert state.one(HEADERS).size == 2
    assert root != network.chain.tip.root


def test_history_grows_by_one_header_each_epoch() -> None:
    network = Network()
    headers = [network.chain.newest_header().header]
    for _ in range(9):
        header = network.end_epoch()
        assert header.history_root == tree_root([leaf_hash(raw) for raw in headers])
        headers.append(encode_header(header))
    assert len(set(headers)) == 10


def test_list_stays_the_same_within_an_epoch() -> None:
    network = Network()
    queued_nodes(network, ("node 1", "alice"))
    network.end_epoch()
    built = network.chain.newest_list()
    network.block(network.register("node 2", "bob"), network.transfer("alice", "carol"))
    assert run(build_list(network.state)) == built
    assert network.reopen().newest_list() == built


# ---- attestations ----


def test_attestations_are_signatures_of_the_header() -> None:
    network = Network()
    network.settle()
    signed = network.chain.newest_header()
    message = header_signing_bytes(network.hash, signed.header)
    seats = network.state.one(SETS).current
    assert [index for index, _ in signed.signatures] == [0, 1, 2]
    for index, signature in signed.signatures:
        pair = pair_of(seats[index].list_key)
        assert pair == keys(next(n for n in ATTESTORS if public(n) == pair.public))
        item = network.chain.signatures(network.chain.decode(network.attest(index)))[0]
        assert item == (pair.public, message, signature)
        assert verify_cached([item]) == [True]


def test_attestations_are_frozen_at_the_epochs_end() -> None:
    network = Network()
    network.attesting = False
    network.block(network.attest(2), network.attest(0))
    signed = network.chain.newest_header()
    assert network.store.get(final_key(0)) is None
    network.end_epoch()
    frozen = network.store.get(final_key(0))
    assert frozen == encode_signed_header(signed)
    assert decode_signed_header(frozen) == signed
    assert [index for index, _ in signed.signatures] == [0, 2]
    assert list(network.state.items(ATTESTATIONS)) == []
    for _ in range(3):
        network.block(network.attest(1))
        network.end_epoch()
    assert network.store.get(final_key(0)) == frozen


def test_every_header_is_kept_whether_anybody_signed_it_or_not() -> None:
    network = Network()
    signers = [0, 3, 1, 0, 2]
    expected = []
    for count in signers:
        network.attesting = False
        network.block(*[network.attest(index) for index in range(count)])
        expected.append(network.chain.newest_header())
        network.end_epoch()
    for epoch, signed in enumerate(expected):
        raw = network.store.get(final_key(epoch))
        assert raw is not None
        assert decode_signed_header(raw) == signed
        assert len(signed.signatures) == signers[epoch]


@pytest.mark.parametrize(("blocks", "is_open"), [(7, True), (8, False)])
def test_attestations_are_taken_in_the_first_blocks_only(blocks: int, is_open: bool) -> None:
    network = Network()
    network.attesting = False
    network.end_epoch()
    for _ in range(blocks):
        network.block()
    network.block(network.attest(0), codes=[0 if is_open else 80])


def test_the_block_that_ends_the_epoch_still_takes_attestations() -> None:
    network = Network()
    network.attesting = False
    reveal = links(network.state.one(SETS).current[1].list_key)[-2]
    assert network.block(network.attest(1), ms=EPOCH_MS).ended_epoch
    raw = network.store.get(final_key(0))
    assert raw is not None
    assert [index for index, _ in decode_signed_header(raw).signatures] == [1]
    assert network.header.seed == next_seed(network.genesis.seed, (1, reveal))


def test_the_set_stays_under_the_policy_fixed() -> None:
    network = Network()
    sets = network.state.one(SETS)
    assert sets.current == sets.next
    for _ in range(3):
        network.end_epoch()
    assert network.state.one(SETS) == sets


def test_the_next_set_takes_over_at_the_end() -> None:
    network = Network()
    network.settle()
    sets = network.state.one(SETS)
    fewer = sets.current[:2]
    network.rewrite({b"v": replace(sets, next=fewer)})
    network.end_epoch()
    assert network.state.one(SETS) == replace(sets, current=fewer, next=fewer)
    assert network.header.set_hash == network.header.next_set_hash == attestor_set_hash(fewer)
    network.block()
    assert [index for index, _ in network.chain.newest_header().signatures] == [0, 1]
