"""Votes become verdicts: whatever their order, once, and nothing is lost without a word."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.errors import Refusal
from ledger.history import VERDICT_ROW, verdict_key
from ledger.messages.state import DECOMMISSIONED
from ledger.messages.tables import NODES, VERDICTS
from ledger.messages.transactions import Judge
from ledger.state import epoch_key
from ledger.transactions.judge import get_quorum
from registry import pool as pool_module
from registry import verdicts as module
from registry.evidence import check_evidence
from registry.ipc import Busy
from registry.verdicts import SentVote, Verdicts
from tests.factory import QUARTER, keys, public
from tests.life import FAULTY, SUCCESSOR, report, set_keys, set_successor
from tests.registry.factory import Node, in_loop, settle
from tests.registry.town import (
    NODES_NAMES,
    TESTERS,
    THRESHOLD,
    go_to_end,
    make_town,
    vote_of,
    votes_of,
)

BAD = "town 0"
"""The node that the votes are on."""

OTHER_FAULT = 16


class Town:
    """A replica of a town, and its votes."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.network = node.network
        self.verdicts: Verdicts = node.replica.verdicts

    async def send(self, *votes: SentVote) -> list[str]:
        """Send votes and return their states, or the codes of refusals."""
        rows = await self.verdicts.add(votes)
        assert [row.keys() for row in rows] == [
            {"state", "held", "needed", "code", "detail", "values"}
        ] * len(votes)
        assert all((row["state"] == "refused") == (row["code"] is not None) for row in rows)
        return [row["code"] or row["state"] for row in rows]

    @property
    def waiting(self) -> list[Judge]:
        """The verdicts that wait for a block."""
        return [tx.body for tx in self.node.pool.candidates() if tx.kind.name == "judge"]

    def verdict(self, epoch: int, name: str = BAD) -> Any:
        """The verdict that stands in the state."""
        return self.network.state.get(VERDICTS, epoch_key(epoch, public(name)))

    @property
    def asked(self) -> int:
        """Signatures that were verified."""
        return sum(self.node.verifier.asked)


@asynccontextmanager
async def a_town(names: tuple[str, ...] = NODES_NAMES, **params: int) -> AsyncIterator[Town]:
    node = Node(make_town(names, **params))
    try:
        yield Town(node)
    finally:
        await node.close()


# ------------------------------------------------------------------------------ agreement


@pytest.mark.parametrize("seed", range(6))
@in_loop
async def test_neither_order_nor_repetition_matters(seed: int) -> None:
    async with a_town() as town:
        votes = votes_of(town.network, BAD)
        chance = Random(seed)
        sent = votes * 3
        chance.shuffle(sent)
        while sent:
            size = chance.randrange(1, 5)
            await town.send(*sent[:size])
            del sent[:size]
        (made,) = town.waiting
        assert (made.epoch, made.node, made.life) == (1, public(BAD), 1)
        assert [row.place for row in made.votes] == list(range(TESTERS))
        assert [row.signature for row in made.votes] == [vote.signature for vote in votes]
        assert (town.verdicts.held, town.verdicts.made) == (TESTERS, 1)
        # a duplicate in one batch is verified with it, those that come later are not
        assert TESTERS <= town.asked <= 3 * TESTERS
        await town.node.block()
        assert town.verdict(1).faults == FAULTY


@in_loop
async def test_the_same_votes_again_are_not_verified_again() -> None:
    async with a_town() as town:
        votes = votes_of(town.network, BAD, count=3)
        assert await town.send(*votes) == ["held"] * 3
        assert await town.send(*votes) == ["held"] * 3
        assert town.asked == 3


@in_loop
async def test_faults_may_differ() -> None:
    async with a_town() as town:
        some = votes_of(town.network, BAD)
        others = votes_of(town.network, BAD, OTHER_FAULT)
        await town.send(*some[:2], *others[2:])
        await town.node.block()
        assert town.verdict(1).faults == FAULTY | OTHER_FAULT


@in_loop
async def test_answers_count() -> None:
    async with a_town() as town:
        for place, vote in enumerate(votes_of(town.network, BAD), 1):
            (row,) = await town.verdicts.add([vote])
            assert (row["state"], row["held"], row["needed"]) == ("held", place, THRESHOLD)


@in_loop
async def test_enough_votes_wait_for_the_others_until_the_epoch_ends() -> None:
    async with a_town() as town:
        votes = votes_of(town.network, BAD)
        await town.send(*votes[:THRESHOLD])
        await town.node.block()
        assert town.waiting == []
        await go_to_end(town.node)
        (made,) = town.waiting
        assert len(made.votes) == THRESHOLD
        await town.node.block()
        assert town.verdict(1) is not None
        raw = town.node.chain.view().reader.get(verdict_key(1, public(BAD)))
        assert raw is not None
        assert VERDICT_ROW.load(raw).silent == (votes[-1].tester,)


@in_loop
async def test_the_last_vote_that_is_needed_may_come_in_the_next_epoch() -> None:
    async with a_town() as town:
        votes = votes_of(town.network, BAD)
        await town.send(*votes[: THRESHOLD - 1])
        await go_to_end(town.node)
        assert town.waiting == []
        assert await town.send(votes[-1]) == ["held"]
        (made,) = town.waiting
        assert [row.place for row in made.votes] == [0, 1, 2, 4]


@in_loop
async def test_both_sides_may_be_held_and_the_larger_one_wins() -> None:
    async with a_town() as town:
        fails = votes_of(town.network, BAD, count=THRESHOLD)
        dissent = votes_of(town.network, BAD, 0)[-1]
        assert await town.send(dissent, *fails) == ["noted", *["held"] * THRESHOLD]
        await go_to_end(town.node)
        (made,) = town.waiting
        assert [row.faults for row in made.votes] == [FAULTY] * THRESHOLD


@in_loop
async def test_too_few_votes_make_no_verdict() -> None:
    async with a_town() as town:
        await town.send(*votes_of(town.network, BAD, count=THRESHOLD - 1))
        await go_to_end(town.node)
        await go_to_end(town.node)
        assert (town.waiting, town.verdicts.made) == ([], 0)


@in_loop
async def test_a_pass_of_a_node_on_duty_is_noted_and_makes_no_verdict() -> None:
    async with a_town() as town:
        assert await town.send(*votes_of(town.network, BAD, 0)) == ["noted"] * TESTERS
        await go_to_end(town.node)
        assert (town.waiting, town.verdicts.held) == ([], TESTERS)


@in_loop
async def test_a_queued_node_passes() -> None:
    async with a_town(activation_verdict=1) as town:
        await town.node.block(town.network.register("new", "alice"))
        await go_to_end(town.node)
        # who registered could know the testers of this epoch, so they do not count yet
        assert await town.send(*votes_of(town.network, "new")) == ["not_tested"] * TESTERS
        await go_to_end(town.node)
        assert await town.send(*votes_of(town.network, "new")) == ["noted"] * TESTERS
        # as the first votes count, others have to vote now
        assert town.waiting == []
        await go_to_end(town.node)
        assert await town.send(*votes_of(town.network, "new", 0)) == ["held"] * TESTERS
        await town.node.block()
        await go_to_end(town.node)
        await go_to_end(town.node)
        assert town.network.node("new").activated_ms > 0


# -------------------------------------------------------------------------------- judged


@in_loop
async def test_what_is_judged_is_said_without_a_look_at_the_signature() -> None:
    async with a_town() as town:
        votes = votes_of(town.network, BAD)
        await town.send(*votes[:THRESHOLD])
        await go_to_end(town.node)
        await town.node.block()
        asked = town.asked
        assert await town.send(*votes) == ["judged"] * TESTERS
        assert await town.send(votes[-1]._replace(signature=bytes(64))) == ["judged"]
        assert (town.asked, town.verdicts.held) == (asked, THRESHOLD)


@in_loop
async def test_a_verdict_that_somebody_else_made_counts() -> None:
    async with a_town() as town:
        votes = votes_of(town.network, BAD)
        await town.send(*votes)
        (tx,) = town.node.pool.candidates()
        async with a_town() as other:
            assert await other.node.pool.add([tx.raw]) == [None]
            assert await other.send(*votes) == ["held"] * TESTERS
            assert len(other.waiting) == 1
            await other.node.block()
            await other.node.block()
            assert await other.send(*votes) == ["judged"] * TESTERS
            assert len(other.waiting) == 0


@in_loop
async def test_a_verdict_that_left_the_pool_is_made_anew() -> None:
    async with a_town() as town:
        await town.send(*votes_of(town.network, BAD))
        (tx,) = town.node.pool.candidates()
        town.node.pool._remove(tx.hash)
        # the block is made of what the pool has: nothing
        await town.node.block()
        assert len(town.waiting) == 1
        await town.node.block()
        assert town.verdict(1) is not None
        assert town.waiting == []


@in_loop
async def test_a_full_pool_delays_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_town() as town:
        with monkeypatch.context() as patched:
            patched.setattr(pool_module, "MAX_WAITING", 0)
            assert await town.send(*votes_of(town.network, BAD)) == ["held"] * TESTERS
            assert (town.waiting, town.verdicts.made) == ([], 0)
        await town.node.block()
        assert (len(town.waiting), town.verdicts.made) == (1, 1)


# ------------------------------------------------------------------------------- refused


def other_than(town: Town, name: str) -> bytes:
    """A node that does not test another."""
    quorum = get_quorum(town.network.state, 1, public(name))
    return next(
        public(other) for other in NODES_NAMES if public(other) not in (*quorum, public(name))
    )


CHEAP: dict[str, tuple[str, Callable[[Town, SentVote], SentVote]]] = {
    "the first epoch that was none": ("verdict_closed", lambda _, vote: vote._replace(epoch=0)),
    "an epoch to come": ("verdict_closed", lambda _, vote: vote._replace(epoch=2)),
    "a node that nobody knows": ("unknown_node", lambda _, vote: vote._replace(node=bytes(32))),
    "a former life": ("wrong_life", lambda _, vote: vote._replace(life=0)),
    "a life to come": ("wrong_life", lambda _, vote: vote._replace(life=2)),
    "a node that tests itself": (
        "bad_testers",
        lambda _, vote: vote._replace(tester=vote.node),
    ),
    "a node that was not drawn": (
        "bad_testers",
        lambda town, vote: vote._replace(tester=other_than(town, BAD)),
    ),
    "an account": ("bad_testers", lambda _, vote: vote._replace(tester=public("alice"))),
}


@pytest.mark.parametrize("name", CHEAP)
@in_loop
async def test_what_is_cheap_comes_before_a_signature(name: str) -> None:
    code, change = CHEAP[name]
    async with a_town() as town:
        good = votes_of(town.network, BAD)[0]
        assert await town.send(change(town, good)) == [code]
        # also where the node has votes already
        assert await town.send(good, change(town, good)) == ["held", code]
        assert town.asked == 1
        assert town.verdicts.held == 1


@in_loop
async def test_a_node_that_is_not_tested() -> None:
    async with a_town() as town:
        await town.node.block(town.network.register("new", "alice", QUARTER))
        before = town.asked
        sent = votes_of(town.network, BAD)[0]._replace(node=public("new"))
        assert await town.send(sent) == ["not_tested"]
        assert town.asked == before


@in_loop
async def test_too_few_nodes_of_others() -> None:
    async with a_town(NODES_NAMES[:TESTERS]) as town:
        sent = vote_of(town.network, BAD, public("town 1"))
        assert await town.send(sent) == ["no_quorum"]
        assert town.asked == 0


@in_loop
async def test_a_forged_vote_among_good_ones() -> None:
    async with a_town() as town:
        votes = votes_of(town.network, BAD)
        forged = votes[2]._replace(signature=votes[3].signature)
        changed = votes[4]._replace(faults=OTHER_FAULT)
        states = await town.send(votes[0], forged, votes[1], changed)
        assert states == ["held", "bad_signature", "held", "bad_signature"]
        assert await town.send(votes[2], votes[4]) == ["held", "held"]
        assert town.verdicts.held == 4


@in_loop
async def test_another_networks_vote_is_forged_here() -> None:
    async with a_town() as town, a_town(removal_floor=4) as other:
        assert await town.send(votes_of(other.network, BAD)[0]) == ["bad_signature"]
        assert town.verdicts.held == 0


@in_loop
async def test_late_votes_are_refused_and_let_go_of() -> None:
    async with a_town() as town:
        votes = votes_of(town.network, BAD)
        await town.send(*votes[:2])
        await go_to_end(town.node)
        assert await town.send(votes[2]) == ["held"]
        await go_to_end(town.node)
        assert town.verdicts.held == 0
        assert await town.send(*votes) == ["verdict_closed"] * TESTERS
        assert town.verdicts.show(town.node.chain.view(), 1, public(BAD)) is None


@in_loop
async def test_votes_go_with_what_the_node_was() -> None:
    async with a_town() as town:
        for _ in range(3):
            await town.send(*votes_of(town.network, BAD))
            await town.node.block()
            await go_to_end(town.node)
        assert town.network.node(BAD).state == DECOMMISSIONED
        # those of the epoch before are for the active node that it was
        assert [place for place in town.verdicts._boxes if place[1] == public(BAD)] == []
        assert await town.send(*votes_of(town.network, BAD, at=3)) == ["not_tested"] * TESTERS


@in_loop
async def test_a_window_that_closes_while_signatures_are_verified() -> None:
    async with a_town() as town:
        votes = votes_of(town.network, BAD)
        town.node.verifier.gate.clear()
        sending = asyncio.create_task(town.send(*votes))
        await settle()
        assert not sending.done()
        for _ in range(2):
            await go_to_end(town.node)
        town.node.verifier.gate.set()
        assert await sending == ["verdict_closed"] * TESTERS
        assert town.verdicts.held == 0


@in_loop
async def test_two_that_send_the_same_at_a_time() -> None:
    async with a_town() as town:
        votes = votes_of(town.network, BAD)
        town.node.verifier.gate.clear()
        sending = [asyncio.create_task(town.send(*votes)) for _ in range(2)]
        await settle()
        town.node.verifier.gate.set()
        assert await asyncio.gather(*sending) == [["held"] * TESTERS] * 2
        assert (town.verdicts.held, town.verdicts.made, len(town.waiting)) == (TESTERS, 1, 1)


@in_loop
async def test_what_does_not_fit_is_refused_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_town() as town:
        monkeypatch.setattr(module, "MAX_HELD", TESTERS)
        votes = votes_of(town.network, BAD)
        await town.send(*votes[:3])
        with pytest.raises(Busy):
            await town.verdicts.add(votes_of(town.network, "town 1", count=3))
        assert town.verdicts.held == 3
        assert await town.send(*votes[3:]) == ["held", "held"]


# ----------------------------------------------------------------------- contradictions


@pytest.mark.parametrize("first", [0, FAULTY], ids=["pass first", "fail first"])
@in_loop
async def test_a_contradiction_is_evidence_and_counts_once(first: int) -> None:
    async with a_town() as town:
        tester = get_quorum(town.network.state, 1, public(BAD))[0]
        votes = [vote_of(town.network, BAD, tester, f) for f in (first, FAULTY - first)]
        await town.send(votes[0])
        (row,) = await town.verdicts.add([votes[1]])
        assert (row["state"], row["held"]) == ("contradiction", 0)
        assert town.verdicts.held == 1
        shown = town.verdicts.list_evidence()
        (found,) = shown["contradictions"]
        by_faults = {vote.faults: vote.signature.hex() for vote in votes}
        assert (found["pass_signature"], found["fail_signature"]) == (
            by_faults[0],
            by_faults[FAULTY],
        )
        proven = check_evidence(bytes.fromhex(found["evidence"]), town.network.hash)
        assert proven.offender.key == town.network.state.one(NODES, tester).duty_key
        # the ledger punishes it
        before = sum(c.amount for c in town.network.state.one(NODES, tester).contributions)
        await town.node.block(report(town.network, "leo", proven.evidence))
        after = sum(c.amount for c in town.network.state.one(NODES, tester).contributions)
        assert after < before


@in_loop
async def test_a_forged_contradiction_is_none() -> None:
    async with a_town() as town:
        vote = votes_of(town.network, BAD)[0]
        await town.send(vote)
        assert await town.send(vote._replace(faults=0)) == ["bad_signature"]
        assert town.verdicts.list_evidence()["contradictions"] == []


@in_loop
async def test_a_contradiction_in_one_batch() -> None:
    async with a_town() as town:
        fail, passed = votes_of(town.network, BAD)[0], votes_of(town.network, BAD, 0)[0]
        assert await town.send(fail, passed) == ["held", "contradiction"]
        assert len(town.verdicts.list_evidence()["contradictions"]) == 1


@in_loop
async def test_evidence_outlives_its_window_and_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_town() as town:
        monkeypatch.setattr(module, "MAX_EVIDENCE", 2)
        for name in NODES_NAMES[:2]:
            for faults in (FAULTY, 0):
                await town.send(*votes_of(town.network, name, faults))
        for _ in range(3):
            await go_to_end(town.node)
        assert town.verdicts.held == 0
        kept = town.verdicts.list_evidence()["contradictions"]
        assert len(kept) == 2
        assert len({(row["duty_key"], row["epoch"]) for row in kept}) == 2


# ------------------------------------------------------------------------------- showing


@in_loop
async def test_what_is_held_is_shown() -> None:
    async with a_town() as town:
        votes = votes_of(town.network, BAD)
        view = town.node.chain.view()
        empty = town.verdicts.show(view, 1, public(BAD))
        assert empty is not None
        assert (empty["votes"], empty["needed"], empty["judged"]) == ([], THRESHOLD, False)
        assert town.verdicts.held == 0
        await town.send(*votes[:2], votes_of(town.network, BAD, 0)[3])
        shown = town.verdicts.show(view, 1, public(BAD))
        assert shown is not None
        assert (shown["passes"], shown["fails"], len(shown["testers"])) == (1, 2, TESTERS)
        assert [row["signature"] for row in shown["votes"]][:2] == [
            vote.signature.hex() for vote in votes[:2]
        ]
        assert [row["faults"] for row in shown["votes"]] == [["storage port"]] * 2 + [[]]
        for epoch, key in ((2, public(BAD)), (1, bytes(32))):
            assert town.verdicts.show(view, epoch, key) is None


@in_loop
async def test_votes_by_a_former_duty_key_count_for_its_epochs() -> None:
    async with a_town() as town:
        tester = get_quorum(town.network.state, 1, public(BAD))[0]
        name = next(name for name in NODES_NAMES if public(name) == tester)
        old = vote_of(town.network, BAD, tester)
        await town.node.block(set_keys(town.network, name, duty="new duty"))
        await go_to_end(town.node)
        assert await town.send(old) == ["held"]
        assert town.network.node(name).duty_key == keys("new duty").public
        new = [vote for vote in votes_of(town.network, "town 1") if vote.tester == tester]
        assert await town.send(*new) == ["held"] * len(new)


def test_refusals_are_answers() -> None:
    answer = module.refused_vote(Refusal("not_tested", epoch=3))
    assert (answer["state"], answer["code"], answer["values"]) == (
        "refused",
        "not_tested",
        {"epoch": 3},
    )


@in_loop
async def test_a_network_that_has_moved_takes_no_votes() -> None:
    async with a_town() as town:
        votes = votes_of(town.network, BAD, count=THRESHOLD)
        assert await town.send(*votes) == ["held"] * THRESHOLD
        await town.node.block(set_successor(town.network, "leo"))
        with capture_logs() as lines:
            await town.node.block(ms=3 * town.network.params.unbonding_ms)
        assert town.network.header.successor == SUCCESSOR
        # what was held becomes no verdict any more, and nobody is told so for each node
        assert (town.waiting, lines) == ([], [])
        assert await town.send(*votes) == ["network_moved"] * THRESHOLD
