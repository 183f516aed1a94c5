"""What waits for a block: in which order, how much of it, and what becomes of each."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from ledger.chain import PAUSE_TRANSACTIONS
from ledger.crypto import Signed, sha256
from ledger.steps import run
from ledger.transactions.envelope import Transaction
from registry import pool as pool_module
from registry.ipc import Busy
from tests.factory import PEOPLE, QUARTER, make_contact, verify_cached
from tests.registry.factory import Node, in_loop, settle
from tests.registry.pools import codes, fate, made, waiting

# ------------------------------------------------------------------------------ arrivals


@in_loop
async def test_transactions_wait_in_the_order_of_their_coming() -> None:
    async with made() as node:
        network = node.network
        raws = [network.transfer(who, "kim") for who in ("dave", "alice", "alice", "bob", "alice")]
        assert codes(await node.pool.add(raws[:3])) == [None] * 3
        assert codes(await node.pool.add(raws[3:])) == [None] * 2
        assert waiting(node) == raws
        assert (await node.block()).transactions == tuple(raws)
        assert len(node.pool) == 0


@in_loop
async def test_several_of_one_sender_fit_in_one_batch_and_a_gap_does_not() -> None:
    async with made() as node:
        first, second, third = (node.network.transfer("alice", "bob") for _ in range(3))
        assert codes(await node.pool.add([first, third])) == [None, "nonce_skipped"]
        assert codes(await node.pool.add([second, third])) == [None, None]
        assert waiting(node) == [first, second, third]


@in_loop
async def test_sending_again_changes_nothing() -> None:
    async with made() as node:
        raw = node.network.transfer("alice", "bob")
        assert codes(await node.pool.add([raw, raw])) == [None, None]
        assert codes(await node.pool.add([raw])) == [None]
        assert waiting(node) == [raw]
        assert fate(node, raw) == ("pending", None)
        await node.block()
        assert codes(await node.pool.add([raw])) == [None]
        assert waiting(node) == []
        # what became of it is the chain's to say
        assert fate(node, raw) is None
        # verified as often as it stood in its first batch
        assert node.verifier.asked == [2]


@in_loop
async def test_what_is_no_transaction_is_refused_and_the_rest_is_not() -> None:
    async with made() as node:
        good = node.network.transfer("alice", "bob")
        bad = [b"", b"garbage", good[:-1], good + b"\0", bytes(2**20)]
        outcomes = codes(await node.pool.add([*bad, good]))
        assert outcomes[-1] is None
        assert set(outcomes[:-1]) <= {"not_canonical", "unknown_kind", "too_large"}
        assert waiting(node) == [good]


@in_loop
async def test_a_bad_signature_is_refused_alone() -> None:
    async with made() as node:
        network = node.network
        good = [network.transfer(who, "kim") for who in ("alice", "bob")]
        forged = network.transfer("carol", "kim")[:-64] + bytes(64)
        register = network.register("node", "dave")
        spoilt = network.register("other", "erin", duty_key=bytes(32))
        outcomes = await node.pool.add([good[0], forged, register, spoilt, good[1]])
        assert codes(outcomes) == [None, "bad_signature", None, "bad_signature", None]
        assert waiting(node) == [good[0], register, good[1]]
        assert codes(await node.pool.add([forged])) == ["bad_signature"]


@pytest.mark.parametrize("missing", [1, 2, 3])
@in_loop
async def test_what_the_verifier_does_not_speak_of_is_not_valid(
    monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    async with made() as node:

        async def verify(items: Sequence[Signed]) -> list[bool]:
            return [True] * (len(items) - missing)

        monkeypatch.setattr(node.verifier, "verify", verify)
        raws = [node.network.transfer("alice", "bob"), node.network.register("node", "carol")]
        # the transfer has one signature, the registration three
        assert codes(await node.pool.add(raws)) == [None, "bad_signature"]
        assert waiting(node) == raws[:1]


@in_loop
async def test_what_is_free_is_checked_before_its_signature() -> None:
    async with made() as node:
        network = node.network
        await node.block(network.register("node"))
        node.verifier.asked.clear()
        refused = {
            network.update_contact("node", sequence=0): "contact_sequence",
            network.update_contact("nobody"): "unknown_node",
            network.attest(7): "unknown_attestor",
            network.attest(0, epoch=5): "attest_closed",
            network.attest(0, reveal=bytes(32)): "bad_reveal",
        }
        assert codes(await node.pool.add(list(refused))) == list(refused.values())
        assert node.verifier.asked == []


@in_loop
async def test_of_two_for_the_same_thing_the_first_one_stays() -> None:
    async with made() as node:
        network = node.network
        await node.block(network.register("node"))
        contact = network.update_contact("node", sequence=3)
        attest = network.attest(0)
        assert codes(await node.pool.add([contact, attest])) == [None, None]
        other = network.update_contact("node", sequence=3, contact=make_contact(7))
        assert other != contact
        again = [other, contact, attest, network.attest(0, signature=bytes(64))]
        told = ["contact_sequence", None, None, "attested_already"]
        assert codes(await node.pool.add(again)) == told
        assert waiting(node) == [contact, attest]
        # nobody is told that something waits which does not
        assert fate(node, other) is None


@in_loop
async def test_of_two_for_the_same_thing_in_one_batch_the_first_one_stays() -> None:
    async with made() as node:
        network = node.network
        await node.block(network.register("node"))
        pair = [network.update_contact("node", contact=make_contact(last)) for last in (6, 7)]
        assert codes(await node.pool.add(pair)) == [None, "contact_sequence"]
        assert waiting(node) == pair[:1]


# -------------------------------------------------------------------------------- bounds


@in_loop
async def test_a_full_pool_is_busy_and_takes_nothing_of_a_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 3)
    async with made() as node:
        raws = [node.network.transfer("alice", "bob") for _ in range(4)]
        with pytest.raises(Busy):
            await node.pool.add(raws)
        assert waiting(node) == []
        assert codes(await node.pool.add(raws[:3])) == [None] * 3
        with pytest.raises(Busy):
            await node.pool.add(raws[3:])
        await node.block()
        assert codes(await node.pool.add(raws[3:])) == [None]


@in_loop
async def test_bytes_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with made() as node:
        raws = [node.network.transfer("alice", "bob") for _ in range(3)]
        monkeypatch.setattr(pool_module, "MAX_WAITING_BYTES", sum(map(len, raws[:2])))
        with pytest.raises(Busy):
            await node.pool.add(raws)
        assert codes(await node.pool.add(raws[:2])) == [None, None]
        with pytest.raises(Busy):
            await node.pool.add(raws[2:])
        await node.block()
        assert codes(await node.pool.add(raws[2:])) == [None]


@in_loop
async def test_the_bound_holds_for_those_that_come_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 3)
    async with made() as node:
        node.verifier.gate.clear()
        people = PEOPLE[:5]
        raws = [node.network.transfer(who, "leo") for who in people]
        adds = [asyncio.create_task(node.pool.add([raw])) for raw in raws]
        await settle()
        node.verifier.gate.set()
        outcomes = await asyncio.gather(*adds, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [list] * 3 + [Busy] * 2
        assert waiting(node) == raws[:3]
        # what was refused, or failed, leaves its place to others
        await node.block()
        assert codes(await node.pool.add(raws[3:])) == [None, None]


@in_loop
async def test_a_failed_batch_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 1)
    async with made() as node:
        raw = node.network.transfer("alice", "bob")

        async def fail(_items: object) -> list[bool]:
            raise OSError("the workers are gone")

        with monkeypatch.context() as broken:
            broken.setattr(node.verifier, "verify", fail)
            with pytest.raises(OSError, match="workers"):
                await node.pool.add([raw])
        assert codes(await node.pool.add([raw])) == [None]


# ---------------------------------------------------------------------------- departures


@in_loop
async def test_after_a_commit_what_became_invalid_is_dropped_with_its_reason() -> None:
    async with made() as node:
        network = node.network
        await node.block(network.register("node"), network.register("open", "bob", QUARTER))
        mine = network.transfer("alice", "bob")
        stake = network.contribute("carol", 3 * QUARTER, "open")
        contact = network.update_contact("node", sequence=1)
        soon = network.transfer("dave", "bob", expiry=network.chain.tip.height + 1)
        good = [network.transfer("erin", "bob"), network.transfer("erin", "bob")]
        raws = [mine, good[0], stake, contact, soon, good[1]]
        assert codes(await node.pool.add(raws)) == [None] * 6
        # a block takes none of them, but alice's nonce, the open stake and a sequence number
        await node.block(
            network.transfer("alice", "kim", nonce=1),
            network.contribute("frank", 3 * QUARTER, "open"),
            network.update_contact("node", sequence=9),
        )
        assert waiting(node) == good
        assert fate(node, mine) == ("dropped", "nonce_used")
        assert fate(node, stake) == ("dropped", "not_awaiting")
        assert fate(node, contact) == ("dropped", "contact_sequence")
        assert fate(node, soon) == ("expired", "expired")
        assert [fate(node, raw) for raw in good] == [("pending", None)] * 2


@in_loop
async def test_what_comes_after_something_dropped_goes_with_it() -> None:
    async with made() as node:
        network = node.network
        soon = network.transfer("alice", "bob", expiry=1)
        later = network.transfer("alice", "bob")
        assert codes(await node.pool.add([soon, later])) == [None, None]
        await node.block(network.transfer("kim", "leo"))
        assert (fate(node, soon), fate(node, later)) == (
            ("expired", "expired"),
            ("dropped", "nonce_skipped"),
        )
        # a new one with the same nonce is welcome, and so is the one that came after it
        fresh = network.transfer("alice", "bob", 6, nonce=0)
        assert codes(await node.pool.add([fresh, later])) == [None, None]
        assert fate(node, later) == ("pending", None)


@in_loop
async def test_an_attestation_that_comes_too_late_has_expired() -> None:
    async with made(attest_blocks=2) as node:
        attest = node.network.attest(0)
        assert codes(await node.pool.add([attest])) == [None]
        for _ in range(2):
            await node.block(node.network.transfer("alice", "bob"))
        assert fate(node, attest) == ("expired", "attest_closed")


@in_loop
async def test_fates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_FATES", 2)
    async with made() as node:
        raws = [node.network.transfer(who, "leo", expiry=1) for who in PEOPLE[:3]]
        await node.pool.add(raws)
        await node.block(node.network.transfer("kim", "leo"))
        assert [fate(node, raw) for raw in raws] == [None, *[("expired", "expired")] * 2]


# ----------------------------------------------------------------------------- followers


@in_loop
async def test_followers_hear_of_a_commit_and_of_a_drop() -> None:
    async with made() as node:
        network = node.network
        taken = network.transfer("alice", "bob")
        dropped = network.transfer("carol", "bob", expiry=1)
        left = network.transfer("dave", "bob")
        await node.pool.add([taken, dropped, left])
        follows = {
            raw: [asyncio.create_task(node.pool.settled(sha256(raw))) for _ in range(2)]
            for raw in (taken, dropped, left)
        }
        await settle()
        assert not any(task.done() for tasks in follows.values() for task in tasks)
        await node.block(taken)
        await settle()
        done = {raw: [task.done() for task in tasks] for raw, tasks in follows.items()}
        assert done == {taken: [True, True], dropped: [True, True], left: [False, False]}
        follows[left][0].cancel()
        await node.block()
        await follows[left][1]


@in_loop
async def test_who_follows_what_does_not_wait_hears_at_once() -> None:
    async with made() as node:
        await node.pool.settled(bytes(32))
        await node.block(node.network.transfer("alice", "bob"))
        await node.pool.settled(sha256(node.network.transfer("alice", "bob", nonce=0)))


# ----------------------------------------------------------------- while a commit goes on


async def with_backlog(node: Node) -> list[bytes]:
    """Fill the pool with more than one block takes, and with more than one piece of work."""
    raws = [node.network.transfer("alice", "bob") for _ in range(3 * PAUSE_TRANSACTIONS + 20)]
    assert codes(await node.pool.add(raws)) == [None] * len(raws)
    return raws


def halfway(monkeypatch: pytest.MonkeyPatch, node: Node) -> asyncio.Event:
    """Set when the next commit has checked one piece of what waits again."""
    checks, event, check = 0, asyncio.Event(), node.chain.check

    def counting(tx: Transaction) -> None:
        nonlocal checks
        checks += 1
        check(tx)
        if checks == PAUSE_TRANSACTIONS:
            event.set()

    monkeypatch.setattr(node.chain, "check", counting)
    return event


@in_loop
async def test_what_comes_while_the_rest_is_checked_again_is_judged_by_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with made(max_block_transactions=1) as node:
        network = node.network
        backlog = await with_backlog(node)
        register = network.register("node", "bob")
        assert codes(await node.pool.add([register])) == [None]
        is_halfway = halfway(monkeypatch, node)
        committing = asyncio.create_task(node.block())
        await is_halfway.wait()
        # the node that this speaks for is registered by the last one that waits
        late = [network.update_contact("node"), network.transfer("alice", "bob")]
        assert codes(await node.pool.add(late)) == [None, None]
        await committing
        assert waiting(node) == [*backlog[1:], register, *late]


@in_loop
async def test_those_that_queue_up_during_a_commit_outlast_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with made(max_block_transactions=10) as node:
        backlog = await with_backlog(node)
        late = [node.network.transfer("alice", "bob") for _ in range(400)]
        is_halfway = halfway(monkeypatch, node)
        first = asyncio.create_task(node.block())
        await is_halfway.wait()
        adds = [asyncio.create_task(node.pool.add([raw])) for raw in late]
        await first
        # the next block ends its commit while many of them wait for their turn
        await node.block()
        outcomes = [codes(outcome) for outcome in await asyncio.gather(*adds)]
        assert outcomes == [[None]] * len(late)
        assert waiting(node) == [*backlog[20:], *late]


@in_loop
async def test_what_is_committed_while_it_is_verified_again_does_not_come_back() -> None:
    async with made() as node:
        raw = node.network.transfer("alice", "bob")
        node.verifier.gate.clear()
        adding = asyncio.create_task(node.pool.add([raw]))
        await settle()
        node.verifier.gate.set()
        run(node.chain.finalize(node.next_input(raw)), verify_cached)
        node.chain.commit()
        assert codes(await adding) == [None]
        assert waiting(node) == []


@pytest.mark.parametrize("seed", range(5))
@in_loop
async def test_whatever_comes_when_every_block_takes_all_that_waits(seed: int) -> None:
    chance = Random(seed)
    async with made() as node:
        network = node.network
        kept: list[bytes] = []

        async def send(raws: Sequence[bytes]) -> None:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            outcomes = await node.pool.add(raws)
            kept.extend(raw for raw, told in zip(raws, outcomes, strict=True) if told is None)

        sent: list[bytes] = []
        for _ in range(40):
            batch = [
                network.transfer(chance.choice(PEOPLE), chance.choice(PEOPLE))
                for _ in range(chance.randrange(1, 30))
            ]
            batch += chance.sample(sent, min(2, len(sent)))
            sent += batch
            sending = asyncio.create_task(send(batch))
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                await node.block()
            await sending
        await node.block()
        # nothing was refused, for each sender's nonces came in order; each is in one block
        assert set(kept) == set(sent)
        assert len(node.pool) == 0
        heights = range(1, node.chain.tip.height + 1)
        blocks = [node.chain.view().block(height) for height in heights]
        found = [raw for block in blocks if block for raw in block.transactions]
        assert len(found) == len(set(found))
        assert set(found) == set(sent)
