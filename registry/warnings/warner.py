"""The program: asks in rounds, notes what is new, and sends it.

A round is: ask all services, prove what can be proven, compare with what was told, write that down
with the messages that follow, and only then let anything leave.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

from ledger.errors import Fault
from registry.client.services import Services
from registry.jobs import run_every
from registry.lifeline import until_stopped
from registry.warnings.channels import Channel, NotSent
from registry.warnings.facts import Seen
from registry.warnings.memory import Keeper, hold
from registry.warnings.messages import Message
from registry.warnings.metrics import Gauges, serve
from registry.warnings.outbox import Outbox, Standing
from registry.warnings.proofs import Prover
from registry.warnings.rounds import Outcome, Proofs, choose, list_final, list_watched, play
from registry.warnings.settings import WarnSettings
from registry.warnings.watch import Answers, ask_all

log = structlog.get_logger()


def wall_clock() -> int:
    """Return this machine's time, Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Once(NamedTuple):
    """What one round did."""

    outcome: Outcome
    channels: dict[str, Standing]


class Warner:
    """One program that warns. Made inside of a loop; `close` it."""

    def __init__(
        self,
        settings: WarnSettings,
        channels: list[Channel],
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        """Take up what is kept. Raises `BadMemory`, and a `Fault` without the genesis file."""
        self._settings = settings
        self._clock = clock
        self._keeper = Keeper(settings.memory_path)
        self._services = Services(settings.service)
        self._prover = self._make_prover()
        self.outbox = Outbox(self._keeper, channels)
        self.gauges = Gauges()
        self.gauges.watch(lambda: self.outbox.standings)

    def _make_prover(self) -> Prover | None:
        path = self._settings.genesis
        if path is None:
            return None
        try:
            genesis = path.read_bytes()
        except OSError as error:
            raise Fault(f"the genesis file {path} cannot be read: {error.strerror}") from None
        folder = self._settings.lists_path
        prover = Prover(genesis, folder, self._services, self._clock())
        self._keeper.memory.genesis_hash = prover.genesis_hash
        return prover

    async def run_round(self) -> Outcome:
        """Ask, compare, write down; what is new waits for the channels then."""
        settings, memory = self._settings, self._keeper.memory
        answers = await ask_all(self._services, list_watched(settings, memory), settings.operator)
        proofs = await self._prove(answers)
        outcome = play(settings, memory, answers, proofs, self._clock())
        self.outbox.put(outcome.messages)
        self._keeper.save()
        self.outbox.wake()
        self.gauges.show(outcome)
        return outcome

    async def _prove(self, answers: Answers) -> Proofs:
        prover, now_ms = self._prover, self._clock()
        if prover is None:
            return Proofs()
        seen = answers.get(choose(answers, prover.genesis_hash, now_ms))
        if not isinstance(seen, Seen):
            return Proofs(is_on=True, refused=prover.refused)
        await prover.update(now_ms, list_final(answers, prover.genesis_hash))
        return Proofs(await prover.prove(list(seen.nodes)), True, prover.refused)

    async def run(self) -> None:
        """Go on for ever, a round after the other."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.outbox.run())
            group.create_task(self._run_rounds())

    async def _run_rounds(self) -> None:
        async def repeat() -> None:
            try:
                outcome = await self.run_round()
            except Exception:
                # a fault of this program: what waits is still sent, and the next round may do
                log.exception("round failed")
                return
            for news in outcome.messages:
                log.info("told", warning=news.warning, kind=news.kind, subject=news.subject)

        await repeat()
        await run_every(self._settings.every_s * 1000, repeat)

    async def close(self) -> None:
        """End all connections."""
        await self._services.close()
        await self.outbox.close()


# ------------------------------------------------------------------------------- what is called


async def warn(settings: WarnSettings, channels: list[Channel]) -> None:
    """Warn until told to stop by a signal.

    Raises `HomeInUse`, `BadMemory`, `CannotListen`, and a `Fault` without the genesis file.
    """
    with hold(settings.home):
        warner = Warner(settings, channels)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(warner.close)
            stop = until_stopped()
            address = settings.metrics_address
            if address is not None:
                port = await stack.enter_async_context(serve(warner.gauges, *address))
                log.info("metrics", host=address[0], port=port)
            log.info("watching", services=settings.service, home=str(settings.home))
            work = asyncio.ensure_future(warner.run())
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            for task in (work, stop):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work


async def warn_once(settings: WarnSettings, channels: list[Channel]) -> Once:
    """Play one round, send what waits, and return what was found. Raises as `warn` does."""
    with hold(settings.home):
        warner = Warner(settings, channels)
        try:
            outcome = await warner.run_round()
            await warner.outbox.send_once()
            return Once(outcome, warner.outbox.standings)
        finally:
            await warner.close()


async def send_test(channels: list[Channel], now_ms: int) -> dict[str, str]:
    """Send a test message through each channel; return what went wrong, nothing where it did not.

    Nothing is kept of it.
    """
    message = Message(
        id=f"{now_ms:032x}",
        kind="test",
        warning="test",
        severity="info",
        chain="",
        subject="",
        time_ms=now_ms,
        reason="somebody asked for a test message",
        left_ms=None,
        next_step="nothing",
        link=None,
        proof="unchecked",
    )

    async def send(channel: Channel) -> str:
        try:
            await channel.send(message, 0)
        except NotSent as failure:
            return str(failure)
        finally:
            await channel.close()
        return ""

    found = await asyncio.gather(*map(send, channels))
    return {channel.name: why for channel, why in zip(channels, found, strict=True)}
