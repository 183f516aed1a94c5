"""One epoch of testing: when each node is looked at, and what that comes to.

- The times are drawn at random by the agent, so that no node knows when to be there.
- A node passes once a look at each of its addresses that can be tested finds nothing wrong. One
  that fails is looked at again, at least twice and some time later, before anybody says so.
- What cannot be told is no vote. An address that the settings do not allow, or to which there is no
  way from here, is not tested. Of the addresses of one kind, IPv4 or IPv6, a fault counts only if
  somebody was heard over that kind in the same epoch: else it may be this machine that is cut off.
  Where it hears none of those that it tests, it asks a few others.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import structlog

from ledger.messages.duty import name_faults
from ledger.types import Epoch, Key, TimeMs
from registry.addresses import encode_node
from registry.agent.networks import Networks
from registry.agent.probes import Looked, Prober, Target, look

log = structlog.get_logger()

DECIDED: Final = 0.85
"""Part of an epoch after which votes are decided, so that they are in before it ends."""

LEAST: Final = 0.3
"""Part of an epoch that has to be left for testing; who comes later says nothing in it."""

FIRST: Final = (0.0, 0.4)
AGAIN: Final = ((0.5, 0.6), (0.75, 0.85))
"""Parts of the time for testing within which a node is first looked at, and looked at again."""

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
    return Window(now_ms, until_ms)


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
        self._newest: dict[Key, dict[bytes, Looked]] = {}
        """What the newest look at each address of a node came to."""
        self._passed: set[Key] = set()
        self.heard: set[int] = set()
        """Kinds of addresses, 4 and 6, over which somebody was heard."""

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
        addresses = self._networks.select(target.contact)
        for part in (FIRST, *AGAIN):
            if target.node in self._passed or not addresses:
                return
            await self._sleep_until(window.pick(part))
            await self._visit(target, addresses)

    async def _visit(self, target: Target, addresses: Sequence[bytes]) -> None:
        looks: dict[bytes, Looked] = {}
        for address in addresses:
            async with self._gate:
                looked = await self._look(self._prober, target, address)
            if looked is not None:
                looks[address] = looked
                if looked.was_heard:
                    self.heard.add(looked.family)
        self._newest[target.node] = looks
        if looks and not any(looked.faults for looked in looks.values()):
            self._passed.add(target.node)

    async def _control(self, window: Window) -> None:
        """Ask others, over each kind of address over which nobody was heard."""
        await self._sleep_until(window.pick((CONTROLLED, CONTROLLED)))
        if not self._find_unheard():
            return
        for target in await self._controls():
            for address in self._networks.select(target.contact):
                family = 4 if len(address) == 4 else 6
                if family in self._find_unheard():
                    looked = await self._look(self._prober, target, address)
                    if looked is not None and looked.was_heard:
                        self.heard.add(family)

    def _find_unheard(self) -> set[int]:
        looked = {each.family for looks in self._newest.values() for each in looks.values()}
        return looked - self.heard

    def _decide(self, target: Target) -> Verdict | None:
        """Return what is to be said of a node; None if nothing can be."""
        looks = self._newest.get(target.node, {})
        counted = [looked for looked in looks.values() if looked.family in self.heard]
        if target.node in self._passed:
            return Verdict(target, 0, ())
        if not counted:
            log.warning(
                "no vote: nothing can be told",
                epoch=self.epoch,
                node=encode_node(target.node),
                reason="nobody is heard, so this machine may be cut off"
                if looks
                else "none of its addresses can or may be reached from here",
            )
            return None
        faults = 0
        for looked in counted:
            faults |= looked.faults
        # one address is right, and of the other nothing can be told
        reasons = tuple(f"{f.probe}: {f.why}" for looked in counted for f in looked.findings)
        if faults:
            log.warning(
                "fails",
                epoch=self.epoch,
                node=encode_node(target.node),
                faults=name_faults(faults),
                reasons=reasons,
            )
        return Verdict(target, faults, reasons)

    async def _sleep_until(self, at_ms: TimeMs) -> None:
        while (left_ms := at_ms - self._clock()) > 0:
            await asyncio.sleep(left_ms / 1000)
