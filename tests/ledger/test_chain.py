"""The Chain: blocks from proposal to commit, and what is read meanwhile."""

from contextlib import suppress

import pytest

from ledger import chain as chain_module
from ledger.chain import PAUSE_TRANSACTIONS, Chain, Executed
from ledger.codec import encode
from ledger.crypto import Signed, sha256, verify
from ledger.errors import REFUSALS, Misuse, Refusal
from ledger.history import Location
from ledger.messages.blocks import BLOCK, BlockInput, block_hash, block_seal
from ledger.messages.genesis import COMET
from ledger.messages.state import Account
from ledger.messages.tables import NODES
from ledger.steps import run
from ledger.store import MemoryStore
from tests.factory import (
    BLOCK_MS,
    EPOCH_MS,
    FEE,
    RICH,
    START_MS,
    Network,
    make_genesis,
    public,
    replay,
    verify_cached,
)
from tests.flip import flip


@pytest.fixture
def network() -> Network:
    network = Network()
    network.settle()
    return network


def propose(network: Network, *raws: bytes, ms: int = BLOCK_MS) -> BlockInput:
    """The block that the network's chain makes of these candidates."""
    tip = network.chain.tip
    candidates = [network.chain.decode(raw) for raw in raws]
    steps = network.chain.propose(
        tip.height + 1, tip.time_ms + ms, network.genesis.producer, candidates
    )
    return run(steps, verify_cached)


def finalize(chain: Chain, block: BlockInput) -> Executed:
    return run(chain.finalize(block), verify_cached)


def twin(network: Network) -> Chain:
    """A chain that executed the same blocks and nothing else."""
    return replay(network.raw, network.blocks)


class Counting:
    """Verifies, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Signed] = []

    def __call__(self, items: list[Signed]) -> list[bool]:
        self.asked += items
        return verify_cached(items)


# ---- start ----


def test_chain_before_init() -> None:
    chain = Chain(MemoryStore(), encode(make_genesis()))
    assert not chain.is_initialised
    with pytest.raises(Misuse):
        _ = chain.tip


def test_init_writes_height_zero(network: Network) -> None:
    chain = Chain(MemoryStore(), network.raw)
    chain.init()
    assert chain.is_initialised
    assert chain.tip.height == 0
    assert chain.tip.time_ms == START_MS
    assert chain.tip.block_hash == chain.genesis_hash == sha256(network.raw)
    assert chain.view().state.account(public("alice")) == Account(RICH, 0)


def test_init_twice_does_nothing(network: Network) -> None:
    before, tip = dict(network.store.items()), network.chain.tip
    network.chain.init()
    network.reopen().init()
    assert dict(network.store.items()) == before
    assert network.chain.tip == tip


def test_a_file_that_was_checked_is_not_checked_again(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_genesis(_raw: bytes) -> None:
        raise Refusal("bad_genesis", why="it was checked")

    monkeypatch.setattr(chain_module, "load_genesis", load_genesis)
    assert network.reopen().genesis == network.genesis
    with pytest.raises(Refusal, match="it was checked"):
        Chain(MemoryStore(), network.raw)


def test_opened_again_it_is_where_it_was(network: Network) -> None:
    network.block(network.register())
    for _ in range(3):
        network.end_epoch()
        tip, built = network.chain.tip, network.chain.newest_list()
        header = network.chain.newest_header()
        chain = network.reopen()
        assert (chain.tip, chain.newest_list(), chain.newest_header()) == (tip, built, header)
        network.block()


# ---- proposals ----


def test_proposal_keeps_the_order_and_leaves_out_what_is_bad(network: Network) -> None:
    good = [network.transfer("alice", "bob"), network.transfer("carol", "bob")]
    poor = network.transfer("a stranger", "bob")
    skipped = network.transfer("dave", "bob", nonce=5)
    block = propose(network, good[0], poor, good[1], good[0], skipped)
    assert block.transactions == tuple(good)


def test_proposal_has_room_for_so_many(network: Network) -> None:
    small = Network(max_block_transactions=3)
    small.settle()
    raws = [small.transfer("alice", "bob") for _ in range(5)]
    assert propose(small, *raws).transactions == tuple(raws[:3])


@pytest.mark.parametrize("missing", [0, 1])
def test_proposal_fits_its_bytes_and_goes_on_to_what_is_shorter(missing: int) -> None:
    like = Network()
    limit = 2 * len(like.register()) + len(like.transfer("alice", "bob")) - missing
    small = Network(max_block_bytes=limit, max_transaction_bytes=1_000)
    small.settle()
    long = [small.register(f"node of {who}", who) for who in ("alice", "dave", "erin")]
    short = small.transfer("bob", "carol")
    chosen = propose(small, *long, short).transactions
    assert chosen == ((long[0], long[1]) if missing else (long[0], long[1], short))


def test_proposal_has_room_for_so_many_free_ones() -> None:
    small = Network(max_free_transactions=2)
    small.attesting = False
    small.block(*[small.register(f"node {i}") for i in range(3)])
    updates = [small.update_contact(f"node {i}") for i in range(3)]
    paid = small.transfer("bob", "carol")
    assert propose(small, *updates, paid).transactions == (*updates[:2], paid)


@pytest.mark.parametrize("evidence", [1, 400, 5_000])
def test_a_proposal_with_evidence_is_one_that_others_vote_for(evidence: int) -> None:
    """No proposer can leave it out, so it takes nothing from the limit of transactions."""
    limits = {"max_block_bytes": 1_000, "max_transaction_bytes": 1_000}
    small = Network(make_genesis(limits, engine=COMET, producer=b""))
    small.settle()
    tip = small.chain.tip
    raws = [small.transfer("alice", "bob") for _ in range(20)]
    steps = small.chain.propose(
        tip.height + 1,
        tip.time_ms + 1,
        b"",
        [small.chain.decode(raw) for raw in raws],
        (bytes(evidence),),
    )
    block = run(steps, verify_cached)
    assert block.misbehaviour == (bytes(evidence),)
    assert 0 < len(block.transactions) < len(raws)
    run(twin(small).validate(block), verify_cached)


def test_a_vote_takes_what_a_proposal_may_hold(network: Network) -> None:
    small = Network(max_block_transactions=3)
    small.settle()
    raws = [small.transfer("alice", "bob") for _ in range(3)]
    run(small.chain.validate(small.input(*raws)), verify_cached)


def test_a_vote_takes_a_block_of_exactly_its_limit(network: Network) -> None:
    raws = [network.transfer("alice", "bob") for _ in range(9)]
    size = sum(map(len, raws))
    exact = Network(max_block_bytes=size, max_transaction_bytes=1_000)
    exact.settle()
    raws = [exact.transfer("alice", "bob") for _ in range(9)]
    run(exact.chain.validate(exact.input(*raws)), verify_cached)


@pytest.mark.parametrize("what", ["bytes", "transactions", "evidence"])
def test_a_vote_on_what_is_too_large_looks_at_nothing(what: str) -> None:
    limits = {"max_block_bytes": 1_000, "max_transaction_bytes": 1_000}
    small = Network(
        make_genesis({"max_block_transactions": 2} if what == "transactions" else limits)
    )
    small.settle()
    count = {"bytes": 8, "transactions": 3, "evidence": 1}[what]
    block = small.input(*[small.transfer("alice", "bob") for _ in range(count)])
    if what == "evidence":
        block = block._replace(misbehaviour=(bytes(900),))
    with pytest.raises(Refusal, match="block_too_large"):
        next(small.chain.validate(block))


def test_proposal_is_ready_for_finalize(network: Network) -> None:
    block = propose(network, network.transfer("alice", "bob"))
    counting = Counting()
    executed = run(network.chain.finalize(block), counting)
    assert counting.asked == []
    assert executed.root == finalize(twin(network), block).root


def test_vote_is_ready_for_finalize(network: Network) -> None:
    block = network.input(network.transfer("alice", "bob"))
    run(network.chain.validate(block), verify_cached)
    counting = Counting()
    assert run(network.chain.finalize(block), counting).codes == (0,)
    assert counting.asked == []


def test_what_was_verified_before_is_not_verified_again(network: Network) -> None:
    raws = [network.transfer("alice", "bob"), network.transfer("carol", "bob")]
    counting = Counting()
    run(network.chain.finalize(network.input(*raws), {sha256(raws[0])}), counting)
    assert [item.key for item in counting.asked] == [public("carol")]


def test_rounds_of_other_blocks_leave_no_trace(network: Network) -> None:
    network.block(network.register(stake=25 * 10**9))
    beside = twin(network)
    decided = network.input(network.contribute("bob", 75 * 10**9), ms=EPOCH_MS)
    others = [
        network.input(network.transfer("alice", "bob", nonce=1), ms=5),
        network.input(network.contribute("carol", 75 * 10**9), ms=EPOCH_MS + 7),
        network.input(network.transfer("a stranger", "bob")),
        network.input(b"nonsense"),
    ]
    for block in others:
        propose(network, *[raw for raw in block.transactions if len(raw) > 10])
        with suppress(Refusal):
            run(network.chain.validate(block), verify_cached)
    executed = finalize(network.chain, decided)
    assert executed.ended_epoch
    assert executed == finalize(beside, decided)
    assert network.chain.commit() == beside.commit()


# ---- finalize and commit ----


def test_finalize_of_what_nobody_proposed_here(network: Network) -> None:
    propose(network, network.transfer("alice", "bob"))
    block = network.input(network.transfer("carol", "bob"))
    assert finalize(network.chain, block) == finalize(twin(network), block)


def test_finalize_gives_each_transaction_its_code(network: Network) -> None:
    good = network.transfer("alice", "bob")
    raws = [
        network.transfer("a stranger", "bob"),
        good,
        b"",
        network.transfer("alice", "bob", nonce=0, fee=2 * FEE),
        network.transfer("alice", "bob", nonce=7),
        flip(good),
    ]
    names = ["balance_too_low", "", "not_canonical", "nonce_used", "nonce_skipped"]
    codes = [REFUSALS[name].number if name else 0 for name in (*names, "bad_signature")]
    network.block(*raws, codes=codes)
    assert network.balance("bob") == RICH + 5
    for index, (raw, code) in enumerate(zip(raws, codes, strict=True)):
        assert network.view.location(sha256(raw)) == Location(2, index, code)


def test_bad_transactions_change_nothing_at_an_epochs_end(network: Network) -> None:
    beside = twin(network)
    plain = network.input(ms=EPOCH_MS)
    spoilt = network.input(network.transfer("a stranger", "bob"), b"nonsense", ms=EPOCH_MS)
    executed = finalize(network.chain, spoilt)
    assert executed.codes == (15, 3)
    assert executed.root == finalize(beside, plain).root


def test_finalize_again_gives_the_same(network: Network) -> None:
    network.block(network.register())
    for ms in (BLOCK_MS, EPOCH_MS):
        block = network.input(network.transfer("alice", "bob"), ms=ms)
        first = finalize(network.chain, block)
        assert finalize(network.chain, block) == first
        assert finalize(network.chain, network.input(ms=ms)) != first
        assert finalize(network.chain, block) == first
        assert network.chain.commit().header.state_root == first.root
        network.blocks.append(network.chain.view().block(first.input.height) or network.blocks[0])


def test_the_last_block_finalized_is_the_one_committed(network: Network) -> None:
    first = network.input(network.transfer("alice", "bob"))
    second = network.input(network.transfer("carol", "bob"))
    finalize(network.chain, first)
    finalize(network.chain, second)
    assert network.chain.commit().input == second


def test_a_finalize_that_was_dropped_halfway_is_done_anew(network: Network) -> None:
    network.block(*[network.register(f"node {i}", "bob") for i in range(3)])
    block = network.input(network.transfer("alice", "bob"), ms=EPOCH_MS)
    expected = finalize(twin(network), block).root
    pauses = 0
    while True:
        steps = network.chain.finalize(block, {sha256(raw) for raw in block.transactions})
        try:
            for _ in range(pauses + 1):
                next(steps)
        except StopIteration:
            break
        steps.close()
        with pytest.raises(Misuse):
            network.chain.commit()
        assert finalize(network.chain, block).root == expected
        network.reopen()
        pauses += 1
    assert pauses > 5


def test_commit_needs_a_finalized_block(network: Network) -> None:
    for act in (network.chain.commit, network.chain.begin_commit, network.chain.header):
        with pytest.raises(Misuse):
            act()
    block = propose(network)
    with pytest.raises(Misuse):
        network.chain.commit()
    finalize(network.chain, block)
    network.chain.commit()
    with pytest.raises(Misuse):
        network.chain.commit()


def test_finalize_writes_nothing(network: Network) -> None:
    before = dict(network.store.items())
    finalize(network.chain, network.input(network.register(), ms=EPOCH_MS))
    assert dict(network.store.items()) == before
    assert network.view.tip == network.chain.tip


def test_seal_and_proposer_have_their_lengths(network: Network) -> None:
    finalize(network.chain, network.input())
    with pytest.raises(Misuse):
        network.chain.commit(bytes(65))
    network.chain.commit(bytes(64))
    finalize(network.chain, network.input()._replace(proposer=bytes(33)))
    with pytest.raises(Misuse):
        network.chain.commit()
    finalize(network.chain, network.input()._replace(proposer=bytes(32)))
    network.chain.commit()
    assert network.reopen().tip.height == 3


def test_block_says_what_it_is(network: Network) -> None:
    previous = network.chain.tip
    network.block(network.transfer("alice", "bob"))
    block = network.blocks[-1]
    header = block.header
    assert header.previous == previous.block_hash
    assert (header.height, header.time_ms) == (previous.height + 1, previous.time_ms + BLOCK_MS)
    assert header.state_root == network.chain.tip.root
    assert network.chain.tip.block_hash == block_hash(header)
    assert verify(block_seal(network.hash, network.genesis.producer, header, block.seal))
    assert BLOCK.decode(encode(block)) == block == network.view.block(header.height)
    assert network.view.block(header.height + 1) is None


def test_misbehaviour_is_part_of_a_block_and_changes_no_state(network: Network) -> None:
    beside = twin(network)
    plain, blamed = network.input(), network.input()._replace(misbehaviour=(b"evidence",))
    finalize(beside, plain)
    assert finalize(network.chain, blamed).root == finalize(beside, plain).root
    block = network.chain.commit()
    assert block.misbehaviour == (b"evidence",)
    assert block.header.inputs != beside.commit().header.inputs
    assert block.input == blamed


def test_a_write_that_goes_on_elsewhere_does_not_show_through(network: Network) -> None:
    raw = network.register()
    finalize(network.chain, network.input(raw))
    update = network.chain.decode(network.update_contact())
    block, batch = network.chain.begin_commit()
    network.store.write(batch)
    before = network.chain.tip
    with pytest.raises(Refusal, match="unknown_node"):
        network.chain.peek(update)
    assert network.view.state.get(NODES, public("node")) is None
    network.chain.check(network.chain.decode(raw))
    assert network.chain.tip == before
    changed = network.chain.end_commit(block)
    assert changed[b"n" + public("node")] == network.node()
    network.chain.check(update)


def test_duplicates_in_a_block_do_not_hide_where_it_was_applied(network: Network) -> None:
    raw = network.transfer("alice", "bob")
    network.block(raw, raw, codes=[0, 12])
    assert network.view.location(sha256(raw)) == Location(2, 0, 0)
    network.block(raw, codes=[12])
    assert network.view.location(sha256(raw)) == Location(2, 0, 0)


def test_what_was_refused_and_then_applied_stands_where_it_was_applied(network: Network) -> None:
    early = network.transfer("alice", "bob", nonce=1)
    network.block(early, codes=[13])
    assert network.view.location(sha256(early)) == Location(2, 0, 13)
    network.block(early, network.transfer("alice", "bob", nonce=0), early, codes=[13, 0, 0])
    assert network.view.location(sha256(early)) == Location(3, 2, 0)
    assert network.view.location(bytes(32)) is None


# ---- pauses ----


def test_work_on_a_large_block_pauses(network: Network) -> None:
    count = 3 * PAUSE_TRANSACTIONS
    raws = [network.transfer("alice", "bob") for _ in range(count)]
    block = network.input(*raws)
    chain = network.chain
    candidates = [chain.decode(raw) for raw in raws]
    for steps in (
        chain.propose(block.height, block.time_ms, block.proposer, candidates),
        chain.validate(block),
    ):
        assert pauses_of(steps) >= 3
    assert finalize(chain, block).codes == (0,) * count


def pauses_of(steps: object) -> int:
    """How often work pauses, when everything that it asks for is valid."""
    count, answer = 0, None
    while True:
        try:
            asked = steps.send(answer)  # type: ignore[attr-defined]
        except StopIteration:
            return count
        count += asked is None
        answer = None if asked is None else [True] * len(asked)


def test_too_few_answers_are_no_proof(network: Network) -> None:
    block = network.input(network.transfer("alice", "bob"), network.transfer("carol", "bob"))
    assert run(network.chain.finalize(block), lambda items: [True]).codes == (0, 4)
    assert run(twin(network).finalize(block), lambda items: []).codes == (4, 4)


def test_checks_between_pauses_see_the_last_committed_state(network: Network) -> None:
    block = network.input(network.transfer("alice", "bob"), ms=EPOCH_MS)
    steps = network.chain.finalize(block, {sha256(raw) for raw in block.transactions})
    tx = network.chain.decode(block.transactions[0])
    for _ in steps:
        network.chain.peek(tx)
        assert network.view.state.account(public("alice")).nonce == 0
    network.chain.commit()
    with pytest.raises(Refusal, match="nonce_used"):
        network.chain.peek(tx)
