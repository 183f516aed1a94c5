"""Votes on their way to a verdict: collected until enough testers agree, then put into the pool.

- A vote is held in memory, and nowhere else, until its verdict stands in a block: whoever sent it
  sends it again until it hears that the node is judged, or that the vote can change nothing.
- Neither order nor repetition matters. All that is cheap is checked before a signature.
- The first vote of a tester counts. A second one that contradicts it is kept with it, as evidence.
- A verdict is made once all testers agree, or as soon as enough do once the epoch has ended, so
  that it carries as many votes as came and everybody sees who took part.
- Votes go when their judging window closes; evidence stays, the oldest makes room.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import structlog

from ledger.chain import Chain, Executed
from ledger.codec import encode
from ledger.crypto import Signed, sha256
from ledger.errors import Refusal
from ledger.messages.blocks import Block
from ledger.messages.duty import Vote, name_faults, vote_signed
from ledger.messages.evidence import VoteEquivocation
from ledger.messages.state import Node
from ledger.messages.tables import EPOCH, NODES, ROSTERS, VERDICTS
from ledger.messages.transactions import VERSION, Free, Judge, Report, TesterVote
from ledger.nodes import get_duty_key
from ledger.offences import OFFENCES
from ledger.state import State, epoch_key
from ledger.succession import check_not_moved
from ledger.transactions import TX_KINDS
from ledger.transactions.judge import check_tested, check_useful, get_quorum
from ledger.types import Epoch, Hash, Key
from ledger.views import View
from registry.addresses import encode_node
from registry.ipc import Busy
from registry.pool import Pool
from registry.workers import Verifier

MAX_HELD: Final = 2**19
"""Votes held at most: those of two epochs in which 13,000 nodes have 20 testers each."""

MAX_EVIDENCE: Final = 1_000
"""Contradictions kept at most."""

PAUSE_VOTES: Final = 100
"""Votes between two pauses."""

JUDGE_TAG: Final = next(kind.tag for kind in TX_KINDS if kind.name == "judge")

OFFENCE: Final = next(row.number for row in OFFENCES if row.name == "vote_equivocation")

Place: TypeAlias = tuple[Epoch, Key]
"""An epoch and the node that was tested in it."""

log = structlog.get_logger()


class SentVote(NamedTuple):
    """A vote as it arrives."""

    epoch: Epoch
    node: Key
    life: int
    faults: int
    """0 for a pass."""
    tester: Key
    """The node that tested."""
    signature: bytes
    """By the duty key that the tester has in that epoch."""


class Held(NamedTuple):
    """A verified vote."""

    faults: int
    signature: bytes


class Box:
    """The votes on one node in one epoch."""

    def __init__(self, state: State, epoch: Epoch, key: Key, node: Node) -> None:
        self.epoch = epoch
        self.key = key
        self.life = node.life
        self.quorum = get_quorum(state, epoch, key)
        self.threshold = state.one(ROSTERS, epoch_key(epoch)).threshold
        self.place_of = {tester: place for place, tester in enumerate(self.quorum)}
        self.votes: dict[int, Held] = {}
        """By the tester's place."""
        self.look_at(node)

    def look_at(self, node: Node) -> None:
        """Take in what the node is now: whether a pass, or a fail, can change something."""
        self.is_useful = {is_fail: _is_useful(node, is_fail=is_fail) for is_fail in (False, True)}

    def agreeing(self, *, is_fail: bool) -> list[tuple[int, Held]]:
        """Return the votes of one side by ascending place."""
        rows = sorted(self.votes.items())
        return [(place, held) for place, held in rows if (held.faults != 0) == is_fail]

    def find_verdict(self, running: Epoch) -> Judge | None:
        """Return the verdict that it is time to make, if there is one."""
        for is_fail in (False, True):
            rows = self.agreeing(is_fail=is_fail)
            is_ripe = len(rows) == len(self.quorum) or self.epoch < running
            if self.is_useful[is_fail] and is_ripe and len(rows) >= self.threshold:
                votes = tuple(TesterVote(place, *held) for place, held in rows)
                return Judge(self.epoch, self.key, self.life, votes)
        return None


def _is_useful(node: Node, *, is_fail: bool) -> bool:
    try:
        check_useful(node, is_fail=is_fail)
    except Refusal:
        return False
    return True


class Verdicts:
    """Collects votes for one chain; used on the chain's thread only."""

    def __init__(self, chain: Chain, pool: Pool, verifier: Verifier) -> None:
        self._chain = chain
        self._pool = pool
        self._verifier = verifier
        self._boxes: dict[Place, Box] = {}
        self._made: dict[Place, Hash] = {}
        """The newest verdict of each box, until it stands in a block."""
        self._evidence: dict[tuple[Key, Epoch], VoteEquivocation] = {}
        """One for each duty key and epoch: more would cost its tester no more."""
        self._arriving = 0
        self.held = 0
        """Votes that are held now."""
        self.made = 0
        """Verdicts that were put into the pool since the start."""
        self.on_made: Callable[[Hash], None] = lambda _hash: None
        """Called with each of them that comes into the pool: others may have to hear of it."""

    # ---------------------------------------------------------------------- arrivals

    async def add(self, votes: Sequence[SentVote]) -> list[dict[str, Any]]:
        """Take votes in, and answer for each what became of it.

        Raises `Busy` if they do not all fit.
        """
        if self.held + self._arriving + len(votes) > MAX_HELD:
            raise Busy("as many votes are held as fit")
        self._arriving += len(votes)
        try:
            return await self._add(votes)
        finally:
            self._arriving -= len(votes)

    async def _add(self, votes: Sequence[SentVote]) -> list[dict[str, Any]]:
        opened: dict[Place, Box] = {}
        refusals: list[Refusal | None] = []
        for count, sent in enumerate(votes, 1):
            refusals.append(self._check(sent, opened))
            if count % PAUSE_VOTES == 0:
                await asyncio.sleep(0)
        await self._verify(votes, refusals, opened)
        taken: list[tuple[Box, bool] | Refusal] = []
        for sent, refusal in zip(votes, refusals, strict=True):
            taken.append(self._take(sent) if refusal is None else refusal)
            if len(taken) % PAUSE_VOTES == 0:
                await asyncio.sleep(0)
        touched = [row[0] for row in taken if not isinstance(row, Refusal)]
        await self._judge(list(dict.fromkeys(touched)))
        answers = []
        for sent, row in zip(votes, taken, strict=True):
            answers.append(
                refused_vote(row) if isinstance(row, Refusal) else self._answer(sent, *row)
            )
            if len(answers) % PAUSE_VOTES == 0:
                await asyncio.sleep(0)
        return answers

    def _check(self, sent: SentVote, opened: dict[Place, Box]) -> Refusal | None:
        """Return why a vote is refused, without a look at its signature."""
        place = (sent.epoch, sent.node)
        try:
            check_not_moved(self._chain.view().state, is_finishing=False)
            box = self._boxes.get(place) or opened.get(place)
            if box is None:
                box = opened[place] = self._open(*place, sent.life)
            if sent.life != box.life:
                raise Refusal("wrong_life", life=sent.life, expected=box.life)
            if not box.quorum:
                raise Refusal("no_quorum")
            if sent.tester not in box.place_of:
                raise Refusal("bad_testers")
        except Refusal as refusal:
            return refusal
        return None

    def _open(self, epoch: Epoch, key: Key, life: int) -> Box:
        """Return an empty box. Refuses like `check_tested`."""
        state = self._chain.view().state
        return Box(state, epoch, key, check_tested(state, epoch, key, life))

    async def _verify(
        self,
        votes: Sequence[SentVote],
        refusals: list[Refusal | None],
        opened: Mapping[Place, Box],
    ) -> None:
        """Verify in one go all that is new; a bad signature becomes a refusal."""
        state = self._chain.view().state
        items: list[Signed] = []
        wanted: list[int] = []
        for place, sent in enumerate(votes):
            if place % PAUSE_VOTES == PAUSE_VOTES - 1:
                await asyncio.sleep(0)
            box = self._boxes.get((sent.epoch, sent.node)) or opened.get((sent.epoch, sent.node))
            if refusals[place] is None and box is not None and not self._is_known(sent, box):
                key = get_duty_key(state.one(NODES, sent.tester), sent.epoch)
                vote = Vote(sent.epoch, sent.node, sent.life, sent.faults)
                items.append(vote_signed(self._chain.genesis_hash, key, vote, sent.signature))
                wanted.append(place)
        answers = iter(await self._verifier.verify(items)) if items else iter(())
        for place in wanted:
            # what no answer speaks of is not valid
            if not next(answers, False):
                refusals[place] = Refusal("bad_signature")

    def _is_known(self, sent: SentVote, box: Box) -> bool:
        """Whether a vote adds nothing: one like it is held, or it is too late for the verdict."""
        held = box.votes.get(box.place_of[sent.tester])
        if held is None:
            return self._is_judged(box)
        return not _contradict(held, sent)

    def _is_judged(self, box: Box) -> bool:
        state = self._chain.view().state
        return state.get(VERDICTS, epoch_key(box.epoch, box.key)) is not None

    def _take(self, sent: SentVote) -> tuple[Box, bool] | Refusal:
        """Keep a vote that was verified, or is known; say whether it contradicts an earlier one.

        A block may have come since it was checked.
        """
        place = (sent.epoch, sent.node)
        try:
            box = self._boxes.get(place) or self._open(*place, sent.life)
        except Refusal as refusal:
            return refusal
        at = box.place_of[sent.tester]
        held = box.votes.get(at)
        if held is not None:
            if _contradict(held, sent):
                self._keep_evidence(sent, held)
                return box, True
        elif not self._is_judged(box):
            self._boxes[place] = box
            box.votes[at] = Held(sent.faults, sent.signature)
            self.held += 1
        return box, False

    def _keep_evidence(self, sent: SentVote, held: Held) -> None:
        tester = self._chain.view().state.one(NODES, sent.tester)
        fails = sent.faults != 0
        duty_key = get_duty_key(tester, sent.epoch)
        self._evidence[duty_key, sent.epoch] = VoteEquivocation(
            duty_key=duty_key,
            epoch=sent.epoch,
            node=sent.node,
            life=sent.life,
            pass_signature=held.signature if fails else sent.signature,
            faults=sent.faults if fails else held.faults,
            fail_signature=sent.signature if fails else held.signature,
        )
        if len(self._evidence) > MAX_EVIDENCE:
            del self._evidence[next(iter(self._evidence))]

    # ---------------------------------------------------------------------- verdicts

    async def on_commit(self, _block: Block, executed: Executed) -> None:
        """Let go of what was judged or is too late; make the verdicts that it is time for."""
        for place in list(self._made):
            box = self._boxes.get(place)
            if box is None or self._is_judged(box):
                del self._made[place]
        if executed.ended_epoch:
            await self._close_windows()
            await self._judge(list(self._boxes.values()))
        elif self._made:
            # what left the pool without a block is made anew
            await self._judge([self._boxes[place] for place in self._made])

    async def _close_windows(self) -> None:
        """Drop the boxes whose judging window is closed, or whose node is tested no more."""
        state = self._chain.view().state
        for count, (place, box) in enumerate(list(self._boxes.items()), 1):
            try:
                box.look_at(check_tested(state, box.epoch, box.key, box.life))
            except Refusal:
                self.held -= len(self._boxes.pop(place).votes)
            if count % PAUSE_VOTES == 0:
                await asyncio.sleep(0)

    async def _judge(self, boxes: Sequence[Box]) -> None:
        """Put into the pool what it is time for; what does not fit has its turn after a block."""
        running = self._chain.view().state.one(EPOCH).epoch
        for count, box in enumerate(boxes, 1):
            if count % PAUSE_VOTES == 0:
                await asyncio.sleep(0)
            place = (box.epoch, box.key)
            if self._boxes.get(place) is not box or self._made.get(place) in self._pool:
                continue
            body = box.find_verdict(running)
            if body is None or self._is_judged(box):
                continue
            raw = encode(Free(VERSION, JUDGE_TAG, body))
            self._made[place] = sha256(raw)
            try:
                (refusal,) = await self._pool.add([raw], is_verified=True)
            except Busy:
                return
            if refusal is not None and refusal.code == "network_moved":
                return
            if refusal is None:
                self.made += 1
                self.on_made(self._made[place])
            elif refusal.code != "judged_already":
                del self._made[place]
                log.warning("verdict refused", node=encode_node(box.key), reason=str(refusal))

    # ----------------------------------------------------------------------- answers

    def _answer(self, sent: SentVote, box: Box, contradicts: bool) -> dict[str, Any]:
        is_fail = sent.faults != 0
        if contradicts:
            state = "contradiction"
        elif self._is_judged(box):
            state = "judged"
        else:
            state = "held" if box.is_useful[is_fail] else "noted"
        counts = {"held": len(box.agreeing(is_fail=is_fail)), "needed": box.threshold}
        return {"state": state, **counts, "code": None, "detail": None, "values": {}}

    def show(self, view: View, epoch: Epoch, key: Key) -> dict[str, Any] | None:
        """Return the votes that are held on a node in an epoch; None if it takes no votes."""
        node = view.state.get(NODES, key)
        box = self._boxes.get((epoch, key))
        try:
            if box is None:
                box = self._open(epoch, key, 0 if node is None else node.life)
        except Refusal:
            return None
        return {
            "epoch": epoch,
            "node": encode_node(key),
            "life": box.life,
            "testers": [encode_node(tester) for tester in box.quorum],
            "needed": box.threshold,
            "judged": self._is_judged(box),
            "passes": len(box.agreeing(is_fail=False)),
            "fails": len(box.agreeing(is_fail=True)),
            "votes": [
                {
                    "tester": encode_node(box.quorum[place]),
                    "failed": held.faults != 0,
                    "faults": name_faults(held.faults),
                    "signature": held.signature.hex(),
                }
                for place, held in sorted(box.votes.items())
            ],
        }

    def list_evidence(self) -> dict[str, Any]:
        """Return how much is held, and each contradiction, the newest last."""
        return {
            "held": self.held,
            "made": self.made,
            "contradictions": [
                {
                    "duty_key": row.duty_key.hex(),
                    "epoch": row.epoch,
                    "node": encode_node(row.node),
                    "life": row.life,
                    "pass_signature": row.pass_signature.hex(),
                    "faults": name_faults(row.faults),
                    "fail_signature": row.fail_signature.hex(),
                    "evidence": encode(Report(OFFENCE, encode(row))).hex(),
                }
                for row in self._evidence.values()
            ],
        }


def _contradict(held: Held, sent: SentVote) -> bool:
    return (held.faults != 0) != (sent.faults != 0)


def refused_vote(refusal: Refusal) -> dict[str, Any]:
    """Return what is answered to a vote that is not taken."""
    why = {"code": refusal.code, "detail": refusal.text, "values": refusal.values}
    return {"state": "refused", "held": 0, "needed": 0} | why
