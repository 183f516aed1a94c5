"""Duty from epoch to epoch: testing, deciding, and sending what was decided.

- An epoch is tested while it runs, and never after; its votes are sent until the next one ends.
- What was decided before a restart is sent again as it was, and nothing is decided anew.
- Votes are decided only for the epoch that the newest verified header governs, once it began by
  this machine's clock.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import structlog

from ledger.messages.duty import Vote, name_faults
from ledger.rules.quorums import unpack_members
from ledger.types import Epoch, Key
from registry.addresses import encode_node
from registry.agent.assignment import CONTROLS, Assignment, find_control
from registry.agent.ledger import Ledger, Unproven, now_ms
from registry.agent.networks import Networks
from registry.agent.probes import Prober, Target
from registry.agent.rounds import Round, Verdict, compute_wait_s, find_window
from registry.agent.settings import AgentSettings, parse_version
from registry.agent.status import Status
from registry.agent.votes import Ballot, Batch, Sending
from registry.client.services import Services
from registry.watermarks import SignerRefuses, WatermarkNotWritten

log = structlog.get_logger()

MIN_PAUSE_S: Final = 1.0
"""Seconds between two times that votes are sent, at least; a block's time where that is longer."""

_random = random.SystemRandom()


class Judging:
    """The duty of one node."""

    def __init__(
        self,
        settings: AgentSettings,
        ledger: Ledger,
        services: Services,
        ballot: Ballot,
        node: Key,
        status: Status,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._services = services
        self._ballot = ballot
        self._node = node
        self._status = status
        self._networks = Networks(settings.networks)
        self._tasks: dict[Epoch, asyncio.Task[None]] = {}

    def resume(self) -> None:
        """Send again what was decided for the running epoch and the one before."""
        running = self._ledger.running
        for epoch in () if running is None else (running, running - 1):
            if epoch < 0 or epoch in self._tasks:
                continue
            try:
                batch = self._ballot.load(epoch)
            except SignerRefuses as refusal:
                self._say_why(epoch, str(refusal))
                continue
            if batch is not None:
                log.info("votes resumed", epoch=epoch, votes=len(batch.votes))
                self._start(epoch, partial(self._finish, epoch, batch.votes))

    def begin(self, assignment: Assignment) -> None:
        """Test and judge in an epoch, unless that was begun already."""
        epoch = assignment.epoch
        self._status.put(
            duties={
                "epoch": epoch,
                "tests": [encode_node(target.node) for target in assignment.targets],
                "unproven": [encode_node(key) for key in assignment.unproven],
            }
        )
        if epoch not in self._tasks:
            self._start(epoch, partial(self._judge, assignment))

    async def close(self) -> None:
        """End everything; what was not decided is not."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _start(self, epoch: Epoch, work: Callable[[], Awaitable[None]]) -> None:
        async def guarded() -> None:
            try:
                await work()
            except (SignerRefuses, WatermarkNotWritten, OSError) as error:
                self._say_why(epoch, str(error))
            except Exception:
                log.exception("duty failed", epoch=epoch)
                self._say_why(epoch, "the agent has a fault; its log has the details")

        for old in [old for old, task in self._tasks.items() if old < epoch - 2 and task.done()]:
            del self._tasks[old]
        self._tasks[epoch] = asyncio.create_task(guarded())

    # ------------------------------------------------------------------------- one epoch

    async def _judge(self, assignment: Assignment) -> None:
        epoch, epoch_ms = assignment.epoch, self._ledger.epoch_ms
        if not assignment.targets:
            self._say_why(epoch, "this node has nobody to test")
            return
        # before anybody is tested for nothing
        self._ballot.check(epoch)
        window = find_window(assignment.start_ms, epoch_ms, now_ms())
        if window is None:
            self._say_why(
                epoch, "too little of the epoch was left for testing, or the clock is off"
            )
            return
        testing = Round(
            self._make_prober(epoch),
            assignment.targets,
            self._networks,
            lambda: self._find_controls(assignment),
            now_ms,
        )
        verdicts = await testing.run(window)
        self._status.put(judged={"epoch": epoch, "verdicts": [_show(each) for each in verdicts]})
        if not verdicts:
            self._say_why(epoch, "nothing can be told of any node: is this machine cut off?")
            return
        votes = [Vote(epoch, row.target.node, row.target.life, row.faults) for row in verdicts]
        await self._finish(epoch, votes)

    async def _finish(self, epoch: Epoch, votes: Sequence[Vote]) -> None:
        """Decide, sign and send."""
        batch = await asyncio.to_thread(self._ballot.decide, epoch, votes)
        log.info(
            "votes decided",
            epoch=epoch,
            passes=sum(vote.faults == 0 for vote in batch.votes),
            fails=sum(vote.faults != 0 for vote in batch.votes),
        )
        sending = Sending(self._services, batch, self._ballot.sign(batch))
        pause_s = max(MIN_PAUSE_S, self._ledger.block_ms / 1000)
        following = asyncio.create_task(self._follow(batch, sending, pause_s))
        try:
            await sending.run(pause_s, lambda: self._is_open(epoch))
        finally:
            following.cancel()
        self._show_votes(batch, sending)
        log.info("votes sent", epoch=epoch, services=sending.counts)

    async def _follow(self, batch: Batch, sending: Sending, pause_s: float) -> None:
        while True:
            self._show_votes(batch, sending)
            await asyncio.sleep(pause_s)

    def _show_votes(self, batch: Batch, sending: Sending) -> None:
        newest = self._status.get("votes")
        if newest is not None and newest["epoch"] > batch.epoch:
            return
        fails = [
            {"node": encode_node(vote.node), "faults": name_faults(vote.faults)}
            for vote in batch.votes
            if vote.faults
        ]
        votes = {
            "epoch": batch.epoch,
            "passes": len(batch.votes) - len(fails),
            "fails": fails,
            "services": sending.counts,
        }
        self._status.put(votes=votes, no_votes=None)

    def _is_open(self, epoch: Epoch) -> bool:
        """Whether votes for an epoch can still be taken, as far as is known."""
        running = self._ledger.running
        return running is None or running <= epoch + 1

    async def _find_controls(self, assignment: Assignment) -> list[Target]:
        """Return some other active nodes, at random."""
        tested = {target.node for target in assignment.targets} | {self._node}
        keys = [key for key in unpack_members(assignment.roster.members).keys if key not in tested]
        found = []
        for key in _random.sample(keys, min(CONTROLS, len(keys))):
            try:
                target = await find_control(self._ledger, assignment.epoch, key)
            except Unproven as error:
                log.info("no control", node=encode_node(key), reason=str(error))
                continue
            if target is not None:
                found.append(target)
        return found

    def _make_prober(self, epoch: Epoch) -> Prober:
        settings = self._settings
        return Prober(
            self._ledger.genesis_hash,
            self._node,
            epoch,
            compute_wait_s(self._ledger.epoch_ms),
            parse_version(settings.required_storage_version),
            parse_version(settings.required_router_version),
        )

    def _say_why(self, epoch: Epoch, why: str) -> None:
        log.info("no votes", epoch=epoch, reason=why)
        self._status.put(no_votes={"epoch": epoch, "why": why})


def _show(verdict: Verdict) -> dict[str, Any]:
    return {
        "node": encode_node(verdict.target.node),
        "faults": name_faults(verdict.faults),
        "reasons": list(verdict.reasons),
    }
