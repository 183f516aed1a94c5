"""One epoch of testing: when each node is looked at, and what that comes to.

- The times are drawn at random by the agent, so that no node knows when to be there.
- An address of a node passes once a look at it finds nothing wrong. One that fails is looked at
  again, at least twice and some time later, before anybody says so.
- What cannot be told is no vote. An address that the settings do not allow, or to which there is no
  way from here, is not tested. Of the addresses of one kind, IPv4 or IPv6, a fault counts only if
  somebody was heard over that kind in the same epoch, and that a TCP connection does not come about
  only if one did: else it may be this machine that is cut off. Where none of those that it tests
  shows that, it asks a few others.
- Nobody is looked at once votes are due, and no look outlasts the epoch.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import structlog

from ledger.messages.contact import IPV4_BYTES
from ledger.messages.duty import name_faults
from ledger.types import Epoch, Key, TimeMs
from registry.addresses import encode_node
from registry.agent.networks import Networks
from registry.agent.probes import (
    CONNECTS,
    Finding,
    Looked,
    Prober,
    Target,
    compute_faults,
    look,
)

log = structlog.get_logger()

DECIDED: Final = 0.85
"""Part of an epoch after which votes are decided, so that they are in before it ends."""

LEAST: Final = 0.3
"""Part of an epoch that has to be left for testing; who comes later says nothing in it."""

FIRST: Final = (0.0, 0.4)
AGAIN: Final = ((0.5, 0.6), (0.75, 0.85))
"""Parts of the time for testing within which a node is first looked at, and looked at again."""

LOOKS: Final = 1 + len(AGAIN)
"""Looks at an address after which what the last one found is a fault."""

CONTROLLED: Final = 0.9
"""Part of that time after which others are asked, where nobody was heard."""

AT_A_TIME: Final = 16
"""Looks at a time."""

MAX_WAIT_S: Final = 5.0
"""Seconds for each step of a look; a tenth of an epoch where that is shorter."""

Look: TypeAlias = Callable[[Prober, Target, bytes], Awaitable[Looked | None]]
Controls: TypeAlias = Callable[[], Awaitable[Sequence[Target]]]
"""Returns some active nodes that are not tested here."""
Clock: TypeAlias = Callable[[], TimeMs]

_random = random.SystemRandom()


class Verdict(NamedTuple):
    """What this node says of another one."""

    target: Target
    faults: int
    """0 for a pass."""
    reasons: tuple[str, ...]
    """What was found, for people."""


class Window(NamedTuple):
    """When an epoch is tested."""

    from_ms: TimeMs
    until_ms: TimeMs
    """When votes are decided."""
    end_ms: TimeMs
    """The epoch's end, at the earliest."""

    def pick(self, part: tuple[float, float]) -> TimeMs:
        """Return a random time in a part of it."""
        span = self.until_ms - self.from_ms
        return self.from_ms + round(span * _random.uniform(*part))


def find_window(start_ms: TimeMs, epoch_ms: int, now_ms: TimeMs) -> Window | None:
    """Return when to test in an epoch that began at `start_ms`; None if it is too late for that.

    Nor is there one before it began, which says that this machine's clock is wrong.
    """
    until_ms = start_ms + round(DECIDED * epoch_ms)
    if now_ms < start_ms or until_ms - now_ms < LEAST * epoch_ms:
        return None
    return Window(now_ms, until_ms, start_ms + epoch_ms)


def compute_wait_s(epoch_ms: int) -> float:
    """Return the seconds for each step of a look."""
    return min(MAX_WAIT_S, epoch_ms / 10_000)


class Round:
    """The tests of one epoch."""

    def __init__(
        self,
        prober: Prober,
        targets: Sequence[Target],
        networks: Networks,
        controls: Controls,
        clock: Clock,
        look: Look = look,
    ) -> None:
        self._prober = prober
        self._targets = targets
        self._networks = networks
        self._controls = controls
        self._clock = clock
        self._look = look
        self._gate = asyncio.Semaphore(AT_A_TIME)
        self._looks: dict[Key, dict[bytes, list[Looked]]] = {row.node: {} for row in targets}
        """What the looks at each address of a node came to, where that can be told."""
        self.heard: set[int] = set()
        """Kinds of addresses, 4 and 6, over which somebody was heard."""
        self.reached: set[int] = set()
        """Kinds of addresses over which a TCP connection came about."""

    @property
    def epoch(self) -> Epoch:
        """The epoch."""
        return self._prober.epoch

    async def run(self, window: Window) -> list[Verdict]:
        """Test every node; return what is to be said of them, by ascending node."""
        async with asyncio.TaskGroup() as tests:
            for target in self._targets:
                tests.create_task(self._test(target, window))
            if self._targets:
                tests.create_task(self._control(window))
        await self._sleep_until(window.until_ms)
        verdicts = [self._decide(target) for target in self._targets]
        return [verdict for verdict in verdicts if verdict is not None]

    async def _test(self, target: Target, window: Window) -> None:
        addresses, looks = self._networks.select(target.contact), self._looks[target.node]
        for part in (FIRST, *AGAIN):
            left = [each for each in addresses if not _passes(looks.get(each, ()))]
            if not left:
                return
            await self._sleep_until(window.pick(part))
            for address in left:
                async with self._gate:
                    looked = await self._visit(target, address, window)
                if looked is not None:
                    looks.setdefault(address, []).append(looked)

    async def _visit(self, target: Target, address: bytes, window: Window) -> Looked | None:
        """Look at a node; None if nothing can be told of it, or not in time."""
        now_ms = self._clock()
        if now_ms > window.until_ms:
            return None
        try:
            async with asyncio.timeout((window.end_ms - now_ms) / 1000):
                looked = await self._look(self._prober, target, address)
        except TimeoutError:
            return None
        except Exception:
            # a fault of ours says nothing of this node, and must not cost all the others a vote
            log.exception("look failed", epoch=self.epoch, node=encode_node(target.node))
            return None
        if looked is not None and looked.was_heard:
            self.heard.add(looked.family)
        if looked is not None and looked.was_reached:
            self.reached.add(looked.family)
        return looked

    async def _control(self, window: Window) -> None:
        """Ask others, over each kind of address that nobody has shown to work from here."""
        await self._sleep_until(window.pick((CONTROLLED, CONTROLLED)))
        if not self._find_doubtful():
            return
        for target in await self._controls():
            for address in self._networks.select(target.contact):
                if (4 if len(address) == IPV4_BYTES else 6) in self._find_doubtful():
                    await self._visit(target, address, window)

    def _find_doubtful(self) -> set[int]:
        """Return the kinds of addresses over which something failed that may be this machine's."""
        looked = {
            each.family
            for looks in self._looks.values()
            for found in looks.values()
            for each in found
        }
        return looked - (self.heard & self.reached)

    def _decide(self, target: Target) -> Verdict | None:
        """Return what is to be said of a node; None if nothing can be."""
        looks = self._looks[target.node].values()
        failed = [found[-1] for found in looks if len(found) == LOOKS and not _passes(found)]
        counted = [finding for looked in failed for finding in self._select(looked)]
        if not counted:
            # one address is right, and of the other nothing can be told
            if any(map(_passes, looks)):
                return Verdict(target, 0, ())
            log.warning(
                "no vote: nothing can be told",
                epoch=self.epoch,
                node=encode_node(target.node),
                reason="this machine may be cut off, since nobody else is heard or reached"
                if looks
                else "none of its addresses can or may be reached from here",
            )
            return None
        faults = compute_faults(counted)
        reasons = tuple(f"{finding.probe}: {finding.why}" for finding in counted)
        log.warning(
            "fails",
            epoch=self.epoch,
            node=encode_node(target.node),
            faults=name_faults(faults),
            reasons=reasons,
        )
        return Verdict(target, faults, reasons)

    def _select(self, looked: Looked) -> list[Finding]:
        """Return what was found that cannot be this machine's fault."""
        if looked.family not in self.heard:
            return []
        is_reached = looked.family in self.reached
        return [each for each in looked.findings if is_reached or each.probe not in CONNECTS]

    async def _sleep_until(self, at_ms: TimeMs) -> None:
        while (left_ms := at_ms - self._clock()) > 0:
            await asyncio.sleep(left_ms / 1000)


def _passes(found: Sequence[Looked]) -> bool:
    """Whether the looks at an address have ended with one that found nothing wrong."""
    return bool(found) and not found[-1].findings
