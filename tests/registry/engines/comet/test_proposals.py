"""Transactions on their way into a block: what is checked, proposed and accepted."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.errors import REFUSALS
from registry import pool as pool_module
from registry.engines.comet import abci_pb2 as abci
from registry.engines.comet.server import MAX_BATCH
from registry.engines.comet.translate import BUSY, COMMITTED
from tests.factory import EPOCH_MS, FEE, Network
from tests.flip import flip
from tests.ledger.refusals.successor import over
from tests.ledger.scenes import SHORT
from tests.registry.engines.comet.far import Side, comet_genesis, served, stamp
from tests.registry.factory import in_loop, settle


def code(name: str) -> int:
    return REFUSALS[name].number


def forge(raw: bytes) -> bytes:
    """A transaction whose signature, at its end, is another one."""
    return flip(raw)


# ------------------------------------------------------------------------------------- checks


@in_loop
async def test_what_is_good_waits_in_the_pool() -> None:
    async with served() as side:
        raw = side.node.network.transfer("alice", "bob")
        answer = await side.mempool.ask("check_tx", tx=raw)
        assert answer == abci.ResponseCheckTx()
        assert sha256(raw) in side.node.pool
        # again, as when a peer sends it
        assert await side.check(raw) == [0]
        assert len(side.node.pool) == 1


BAD = {
    "no transaction": (lambda n: b"nonsense", "unknown_kind"),
    "nothing": (lambda n: b"", "not_canonical"),
    "a signature that does not fit": (
        lambda n: forge(n.transfer("alice", "bob")),
        "bad_signature",
    ),
    "a nonce that was used": (lambda n: n.transfer("alice", "bob", nonce=0), "nonce_used"),
    "a nonce too early": (lambda n: n.transfer("carol", "bob", nonce=1), "nonce_skipped"),
    "a fee too low": (lambda n: n.transfer("carol", "bob", fee=FEE - 1), "fee_too_low"),
    "too much": (lambda n: n.transfer("carol", "bob", 2**62), "balance_too_low"),
    "expired": (lambda n: n.transfer("carol", "bob", expiry=1), "expired"),
    "too long": (lambda n: n.transfer("carol", "bob") + bytes(70_000), "too_large"),
}


@pytest.mark.parametrize(("make", "name"), BAD.values(), ids=BAD)
@in_loop
async def test_what_is_bad_is_refused_by_its_code(make: Any, name: str) -> None:
    async with served() as side:
        network = side.node.network
        await side.decide(network.transfer("alice", "bob"))
        raw = make(network)
        answer = await side.mempool.ask("check_tx", tx=raw)
        assert (answer.info, answer.code, answer.codespace) == (name, code(name), "waypost")
        assert answer.log
        assert not answer.log.startswith(name)
        assert len(side.node.pool) == 0


@in_loop
async def test_signatures_of_many_are_verified_together() -> None:
    async with served() as side:
        network, verifier = side.node.network, side.node.verifier
        raws = [network.transfer("alice", "bob") for _ in range(20)]
        raws[7] = forge(raws[7])
        verifier.gate.clear()
        side.mempool.send("check_tx", tx=network.transfer("carol", "bob"))
        await settle()
        for raw in raws:
            side.mempool.send("check_tx", tx=raw)
        side.mempool.send("flush")
        await settle()
        verifier.gate.set()
        got = [await side.mempool.receive() for _ in range(22)]
        codes = [answer.code for name, answer in got if name == "check_tx"]
        # after the one that is bad, the nonces of the rest come too early
        skipped = [code("nonce_skipped")] * 12
        assert codes == [0, *[0] * 7, code("bad_signature"), *skipped]
        assert got[-1][0] == "flush"
        assert verifier.asked == [1, 20]


@in_loop
async def test_a_pool_that_is_full_says_so_and_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 2)
    async with served() as side:
        raws = [side.node.network.transfer("alice", "bob") for _ in range(3)]
        assert await side.check(*raws) == [0, 0, BUSY]
        answer = await side.mempool.ask("check_tx", tx=raws[2])
        assert (answer.code, answer.info, answer.log) == (BUSY, "busy", "the pool is full")
        # what is in it is answered all the same
        assert await side.check(raws[0], again=True) == [0]
        assert await side.check(raws[1]) == [0]
        await side.decide(*raws[:2])
        assert await side.check(raws[2]) == [0]


@in_loop
async def test_what_stands_in_a_block_is_kept_by_nobody() -> None:
    async with served() as side:
        network = side.node.network
        good, bad = network.transfer("alice", "bob"), network.transfer("carol", "bob", nonce=3)
        await side.decide(good, bad)
        assert await side.check(good, bad) == [COMMITTED, COMMITTED]
        assert await side.check(good, again=True) == [COMMITTED]


@in_loop
async def test_checked_again_it_has_its_fate() -> None:
    async with served() as side:
        network = side.node.network
        stays = network.transfer("carol", "bob")
        first, other = network.transfer("alice", "bob"), network.transfer("alice", "dave", nonce=0)
        passes = network.transfer("erin", "bob", expiry=1)
        assert await side.check(stays, first, passes) == [0, 0, 0]
        # another node's choice of two with one nonce
        await side.decide(other)
        again = await side.check(stays, first, passes, again=True)
        assert again == [0, code("nonce_used"), code("expired")]
        # one that nobody remembers is checked like a new one
        fresh = network.transfer("frank", "bob")
        assert await side.check(fresh, b"nonsense", again=True) == [0, code("unknown_kind")]
        assert sha256(fresh) in side.node.pool


@in_loop
async def test_a_mixed_batch_is_answered_in_order() -> None:
    async with served() as side:
        network = side.node.network
        known = network.transfer("alice", "bob")
        await side.check(known)
        side.node.verifier.gate.clear()
        side.mempool.send("check_tx", tx=network.transfer("leo", "bob"))
        await settle()
        rows = [
            (known, abci.RECHECK),
            (network.transfer("carol", "bob"), abci.NEW),
            (b"nonsense", abci.RECHECK),
            (known, abci.NEW),
        ]
        for raw, kind in rows:
            side.mempool.send("check_tx", tx=raw, type=kind)
        await settle()
        side.node.verifier.gate.set()
        got = [(await side.mempool.receive())[1].code for _ in range(5)]
        assert got == [0, 0, 0, code("unknown_kind"), 0]
        assert len(rows) < MAX_BATCH


# ---------------------------------------------------------------------------------- proposals


@in_loop
async def test_a_proposal_is_what_the_pool_has_in_its_order() -> None:
    async with served() as side:
        network = side.node.network
        raws = [network.transfer(who, "bob") for who in ("carol", "alice", "carol", "dave")]
        assert await side.check(*raws) == [0] * 4
        # CometBFT's own order, which lacks one, does not matter
        assert await side.prepare(*reversed(raws[1:])) == tuple(raws)
        assert await side.process(*raws)
        # a round changes nothing
        assert await side.prepare(ms=2_000) == tuple(raws)
        assert side.node.chain.tip.height == 0
        executed = await side.decide(*raws)
        assert [row.code for row in executed.tx_results] == [0] * 4
        assert await side.prepare() == ()


@in_loop
async def test_what_only_cometbft_has_comes_after_it_and_is_verified() -> None:
    async with served() as side:
        network = side.node.network
        first = network.transfer("alice", "bob")
        await side.check(first)
        second, alone = network.transfer("alice", "bob"), network.transfer("carol", "bob")
        forged = forge(network.transfer("dave", "bob"))
        early = network.transfer("erin", "bob", nonce=4)
        side.node.verifier.asked.clear()
        theirs = [b"", b"nonsense", forged, early, alone, first, second, alone]
        assert await side.prepare(*theirs) == (first, alone, second)
        # all of those that can be read, in one go; what the pool has was verified before
        assert side.node.verifier.asked == [5]
        assert len(side.node.pool) == 1


@in_loop
async def test_a_proposal_fits_both_limits() -> None:
    genesis = comet_genesis({"max_block_transactions": 5, "max_block_bytes": 20_000})
    async with served(genesis) as side:
        network = side.node.network
        raws = [network.transfer("alice", "bob") for _ in range(8)]
        assert await side.check(*raws) == [0] * 8
        assert await side.prepare() == tuple(raws[:5])
        size = abci.ResponsePrepareProposal(txs=raws[:3]).ByteSize()
        for most, count in ((size, 3), (size - 1, 2), (1, 0), (0, 0), (-1, 0)):
            assert await side.prepare(most=most) == tuple(raws[:count])
            assert await side.process(*raws[:count])
        # what was cut is executed as it is decided
        await side.prepare(most=size)
        executed = await side.decide(*raws[:3])
        assert [row.code for row in executed.tx_results] == [0] * 3
        assert len(side.node.pool) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 0},
        {"height": 5},
        {"height": -1},
        {"time": stamp(2**63)},
        {"txs": [b"", b"\xc1", b"\x92" * 5_000]},
        {"misbehavior": [abci.Misbehavior()] * 3},
        {"misbehavior": [abci.Misbehavior(height=-5, time=stamp(-5))]},
    ],
)
@in_loop
async def test_no_request_makes_a_proposal_fail(changes: dict[str, Any]) -> None:
    async with served() as side:
        raw = side.node.network.transfer("alice", "bob")
        await side.check(raw)
        proposed = await side.prepare(**changes)
        is_next = not {"height", "time"} & {*changes}
        assert proposed == ((raw,) if is_next else ())
        assert await side.process(*proposed, **(changes | {"txs": proposed})) is is_next


# --------------------------------------------------------------------------------- acceptance


REJECTED: dict[str, Any] = {
    "no transaction": lambda s: {"txs": [b"nonsense"]},
    "a forged one": lambda s: {"txs": [forge(s.node.network.transfer("alice", "bob"))]},
    "one that is refused": lambda s: {"txs": [s.node.network.transfer("alice", "bob", nonce=2)]},
    "one twice": lambda s: {"txs": [s.node.network.transfer("alice", "bob")] * 2},
    "too many": lambda s: {"txs": [s.node.network.transfer("alice", "bob") for _ in range(6)]},
    "too large": lambda s: {"txs": [bytes(20_001)]},
    "another height": lambda s: {"height": 2},
    "no time": lambda s: {"time": stamp(2**63)},
}


@pytest.mark.parametrize("make", REJECTED.values(), ids=REJECTED)
@in_loop
async def test_what_is_rejected(make: Any) -> None:
    genesis = comet_genesis({"max_block_transactions": 5, "max_block_bytes": 20_000})
    async with served(genesis) as side:
        with capture_logs() as lines:
            assert not await side.process(**make(side))
        (line,) = [line for line in lines if line["event"] == "proposal rejected"]
        assert line["reason"]
        # and the next round is not disturbed
        side.node.network.forget_sent()
        good = side.node.network.transfer("alice", "bob")
        assert await side.process(good)
        assert [row.code for row in (await side.decide(good)).tx_results] == [0]


@in_loop
async def test_what_the_pool_has_is_not_verified_again() -> None:
    async with served() as side:
        network = side.node.network
        raws = [network.transfer("alice", "bob") for _ in range(3)]
        await side.check(*raws[:2])
        side.node.verifier.asked.clear()
        assert await side.process(*raws)
        assert side.node.verifier.asked == [1]
        # what was executed for a vote is not executed again
        await side.decide(*raws)
        assert side.node.verifier.asked == [1]


@in_loop
async def test_what_is_decided_elsewhere_is_not_verified_again_either() -> None:
    async with served() as side:
        raws = [side.node.network.transfer("alice", "bob") for _ in range(3)]
        await side.check(*raws[:2])
        side.node.verifier.asked.clear()
        await side.decide(*raws)
        assert side.node.verifier.asked == [1]


@in_loop
async def test_an_empty_block_is_accepted() -> None:
    async with served() as side:
        assert await side.process()
        executed = await side.decide()
        assert not executed.tx_results


# --------------------------------------------------------------------------------------- over


@in_loop
async def test_nothing_is_decided_once_the_network_is_over() -> None:
    network = Network(comet_genesis(SHORT))
    over(network)
    async with served(network.genesis, store=network.store) as side:
        tip = side.node.chain.tip
        assert await side.prepare(network.transfer("alice", "bob")) == ()
        with capture_logs() as lines:
            assert not await side.process()
            assert not await side.process(ms=EPOCH_MS)
        assert {line["event"] for line in lines} == {"proposal rejected: the network is over"}
        raw = network.transfer("alice", "bob")
        assert await side.check(raw) == [code("network_moved")]
        answer = await side.query.ask("info")
        assert answer.last_block_app_hash == tip.root
        # others that decide all the same are followed
        executed = await side.decide()
        assert executed.app_hash == side.node.chain.tip.root
        assert side.node.chain.tip.height == tip.height + 1


@in_loop
async def test_a_round_that_is_not_decided_leaves_no_trace() -> None:
    genesis = comet_genesis()
    async with served(genesis) as side, served(genesis) as plain:
        network = side.node.network
        mine = [network.transfer("alice", "bob") for _ in range(3)]
        await side.check(*mine)
        other = network.transfer("carol", "bob")
        for ms in (100, 50_000):
            assert await side.prepare(ms=ms) == tuple(mine)
            assert await side.process(*mine, ms=ms)
            assert not await side.process(b"nonsense", ms=ms)
        roots = [await _decide(one, other) for one in (side, plain)]
        assert roots[0] == roots[1]
        assert encode(side.node.chain.tip) == encode(plain.node.chain.tip)
        assert await side.prepare() == tuple(mine)


async def _decide(side: Side, *raws: bytes) -> bytes:
    return (await side.decide(*raws, ms=700)).app_hash
