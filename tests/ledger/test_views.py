"""What is read beside the blocks: checks of transactions, committed heights, proofs."""

import pytest

from ledger import chain as chain_module
from ledger.codec import encode
from ledger.errors import Misuse, Refusal
from ledger.history import final_key
from ledger.merkle import sparse_verify
from ledger.messages.lists import (
    attestor_set_hash,
    decode_header,
    decode_signed_header,
    encode_header,
)
from ledger.replay import execute_block
from ledger.views import PINNED_HEIGHTS
from tests.factory import FEE, RICH, Network, public, replay, verify_cached
from tests.life import current, seats, set_attestors


@pytest.fixture
def network() -> Network:
    network = Network()
    network.settle()
    return network


# ---- checks ----


def test_checks_follow_each_other_until_the_next_commit(network: Network) -> None:
    first, second = (network.transfer("alice", "bob") for _ in range(2))
    chain = network.chain
    with pytest.raises(Refusal, match="nonce_skipped"):
        chain.check(chain.decode(second))
    chain.check(chain.decode(first))
    chain.peek(chain.decode(second))
    chain.check(chain.decode(second))
    with pytest.raises(Refusal, match="nonce_used"):
        chain.check(chain.decode(first))
    network.block()
    chain.check(chain.decode(first))


def test_checks_count_the_money(network: Network) -> None:
    chain = network.chain
    chain.check(chain.decode(network.transfer("alice", "bob", RICH - FEE)))
    with pytest.raises(Refusal, match="balance_too_low"):
        chain.check(chain.decode(network.transfer("alice", "bob", 0)))
    chain.check(chain.decode(network.transfer("bob", "carol", 2 * RICH - 2 * FEE)))


def test_one_update_with_a_sequence_passes(network: Network) -> None:
    network.block(network.register())
    chain = network.chain
    chain.check(chain.decode(network.update_contact()))
    with pytest.raises(Refusal, match="contact_sequence"):
        chain.check(chain.decode(network.update_contact()))


def test_the_first_block_of_an_epoch_can_be_checked_for(network: Network) -> None:
    network.attesting = False
    network.end_epoch()
    tx = network.chain.decode(network.attest(0))
    assert all(verify_cached(network.chain.signatures(tx)))
    network.chain.check(tx)
    with pytest.raises(Refusal, match="attested_already"):
        network.chain.check(tx)


# ---- views ----


def test_the_newest_list_is_built_once(network: Network) -> None:
    network.block(network.register())
    network.end_epoch()
    built = network.chain.newest_list()
    network.block(network.transfer("alice", "bob"))
    assert network.chain.newest_list() is built
    reopened = network.reopen()
    assert reopened.newest_list() is reopened.newest_list()


def test_the_last_heights_can_be_read(network: Network) -> None:
    assert PINNED_HEIGHTS == 64
    roots = {network.chain.tip.height: network.chain.tip.root}
    for _ in range(PINNED_HEIGHTS + 10):
        network.block(network.transfer("alice", "bob", 1))
        roots[network.chain.tip.height] = network.chain.tip.root
    newest = network.chain.tip.height
    assert network.chain.view_at(newest - PINNED_HEIGHTS) is None
    assert network.chain.view_at(newest + 1) is None
    assert network.chain.view_at(-1) is None
    for height in range(newest - PINNED_HEIGHTS + 1, newest + 1):
        view = network.chain.view_at(height)
        assert view is not None
        assert view.tip.height == height
        assert view.tip.root == roots[height]
        assert view.state.account(public("alice")).nonce == height - 1
        raw, proof = view.prove(b"a" + public("alice"))
        assert sparse_verify(roots[height], b"a" + public("alice"), raw, proof)
    assert network.chain.view().tip == network.chain.tip


# ---- states that headers name ----


def test_the_state_that_a_header_names_is_kept_through_a_long_epoch() -> None:
    network = Network()
    header = network.end_epoch()
    for _ in range(PINNED_HEIGHTS + 10):
        network.block(network.transfer("alice", "bob"), ms=1)
        end = network.chain.end_of(header.epoch)
        assert end is not None
        assert (end.tip.height, end.tip.root) == (header.height, header.state_root)
        assert end.ended_epoch == header.epoch
        assert end.state.account(public("alice")).nonce == 0
    assert network.chain.view_at(header.height) is None
    assert network.chain.view().ended_epoch is None


def test_the_end_before_is_kept_until_the_next_one(network: Network) -> None:
    for epoch in range(1, 5):
        network.end_epoch()
        kept = [one for one in range(epoch + 2) if network.chain.end_of(one) is not None]
        # the newest header is not final yet, the one before is
        assert kept == [epoch - 1, epoch]
        network.settle()
        assert network.chain.end_of(epoch - 1) is not None


def test_the_newest_final_state_is_kept_however_many_epochs_are_not_final(
    network: Network,
) -> None:
    final = network.end_epoch()
    network.settle()
    network.attesting = False
    for epoch in range(2, 12):
        network.end_epoch()
        kept = [one for one in range(epoch + 1) if network.chain.end_of(one) is not None]
        assert kept == [1, epoch]
    end = network.chain.end_of(1)
    assert end is not None
    assert end.tip.root == final.state_root
    network.attesting = True
    network.settle()
    network.end_epoch()
    assert network.chain.end_of(1) is None


def test_what_is_not_kept_is_let_go_of(network: Network) -> None:
    views = []
    for _ in range(4):
        network.end_epoch()
        views.append(network.view)
    for _ in range(PINNED_HEIGHTS):
        network.block(ms=1)
    *old, last, newest = views
    for view in (last, newest):
        assert view.reader.get(b"p") is not None
    for view in old:
        with pytest.raises(Misuse, match="closed"):
            view.reader.get(b"p")


def test_a_start_within_an_epoch_has_no_state_to_prove_from(network: Network) -> None:
    header = network.end_epoch()
    assert network.reopen().end_of(header.epoch) is not None
    network.block()
    chain = network.reopen()
    assert chain.end_of(header.epoch) is None
    header = network.end_epoch()
    end = chain.end_of(header.epoch)
    assert end is not None
    assert end.tip.root == header.state_root


def test_a_proof_that_travels_is_made_where_an_epoch_ended(network: Network) -> None:
    header = network.end_epoch()
    end = network.view
    proof = end.make_proof(b"a" + public("alice"))
    assert (proof.epoch, proof.height) == (header.epoch, header.height)
    assert proof.record == (end.reader.get(b"a" + public("alice")),)
    assert end.make_proof(b"n" + public("nobody")).record == ()
    network.block()
    with pytest.raises(Misuse, match="no header"):
        network.view.make_proof(b"p")


# ---- proofs ----


def test_a_view_proves_records_and_their_absence(network: Network) -> None:
    network.block(network.register())
    old = network.view
    network.end_epoch()
    for view in (old, network.view):
        root = view.tip.root
        for key in (b"a" + public("alice"), b"n" + public("node"), b"p"):
            raw, proof = view.prove(key)
            assert raw is not None
            assert sparse_verify(root, key, raw, proof)
            assert not sparse_verify(root, key, raw + b"\0", proof)
            assert not sparse_verify(root, key, None, proof)
        raw, proof = view.prove(b"n" + public("nobody"))
        assert raw is None
        assert sparse_verify(root, b"n" + public("nobody"), None, proof)
    key = b"s" + public("node")
    assert old.prove(key)[0] is None
    raw, proof = network.view.prove(key)
    assert sparse_verify(network.chain.tip.root, key, raw, proof)
    assert not sparse_verify(old.tip.root, key, raw, proof)


def test_decoded_records_may_be_forgotten(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_module, "MAX_RECENT", 0)
    other = replay(network.raw, network.blocks)
    for _ in range(3):
        network.block(network.transfer("alice", "bob"))
        execute_block(other, network.blocks[-1])
        assert other._recent == {}
    monkeypatch.setattr(chain_module, "MAX_RECENT", len(other._recent) + 10**6)
    network.end_epoch()
    execute_block(other, network.blocks[-1])
    assert other._recent != {}
    assert other.tip == network.chain.tip


def test_decoded_records_that_are_kept_are_those_of_the_store(network: Network) -> None:
    network.block(network.register(stake=25 * 10**9))
    network.block(network.contribute("bob", 75 * 10**9), network.transfer("alice", "bob", nonce=9),
                  codes=[0, 13])  # fmt: skip
    for _ in range(3):
        network.end_epoch()
        network.block(network.update_contact(sequence=network.chain.tip.height))
        kept = network.chain._recent
        assert len(kept) > 10
        for key, record in kept.items():
            assert network.store.get(key) == (None if record is None else encode(record))


def test_sets_that_were_in_force_are_known_by_their_hash() -> None:
    network = Network()
    before = current(network)
    network.block(set_attestors(network, seats(network, kept=before[1:])))
    for _ in range(3):
        network.end_epoch()
    view = network.view
    assert view.attestors(attestor_set_hash(before)) == before
    assert view.attestors(attestor_set_hash(before[1:])) == before[1:] == current(network)
    assert view.attestors(bytes(32)) == ()
    frozen = decode_signed_header(view.reader.get(final_key(1)) or b"")
    assert view.weigh(frozen) == (3, 3)
    unknown = decode_header(frozen.header)._replace(set_hash=bytes(32))
    assert view.weigh(frozen._replace(header=encode_header(unknown))) == (0, 0)
